"""Experiments on plasticity: jitted training scripts for Soft Weight Rescaling.

Data flow one way: :mod:`config <experiments.config>` → :mod:`datasets
<experiments.datasets>` → :mod:`training <experiments.training>` (and the
protocol, such as :mod:`warm_start <experiments.warm_start>`) → records →
:mod:`report <experiments.report>`.
"""
