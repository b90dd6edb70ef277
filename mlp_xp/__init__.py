"""A teaching notebook's MNIST network, written once against the Python array API standard."""

from mlp_xp.api import train
from mlp_xp.backend import open_backend
from mlp_xp.config import TrainConfig
from mlp_xp.data.datasets import load_dataset
from mlp_xp.metrics import predict

__version__ = "0.1.0"
__all__ = ["TrainConfig", "load_dataset", "open_backend", "predict", "train"]
