"""Images and labels: which sets there are, and how they are read."""

from experiments.data.dataset import Dataset
from experiments.data.reading import load_dataset
from experiments.data.sources import SOURCES, Source

__all__ = ["SOURCES", "Dataset", "Source", "load_dataset"]
