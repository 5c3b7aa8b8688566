"""Experiments on plasticity: jitted training scripts for Soft Weight Rescaling.

Rooms, each of which imports only from those before it: :mod:`data
<experiments.data>` and :mod:`models <experiments.models>`, :mod:`methods
<experiments.methods>`, :mod:`training <experiments.training>`, :mod:`protocols
<experiments.protocols>`, :mod:`reporting <experiments.reporting>`, :mod:`commands
<experiments.commands>`. Data flow one way: configuration → data → loop → metrics →
report.
"""
