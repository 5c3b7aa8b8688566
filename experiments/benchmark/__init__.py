"""What SWR costs: the optimiser's step alone, its compilation, and training."""
