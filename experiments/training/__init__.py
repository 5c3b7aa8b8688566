"""A network, its training step, and what runs many of them side by side."""
