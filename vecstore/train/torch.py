"""Trainable tables as torch modules, in the place of `torch.nn.EmbeddingBag` and `torch.nn.Embedding`."""

try:
    import torch as _torch
except ImportError as error:
    raise ImportError("vecstore.train.torch needs torch: pip install 'vecstore[torch]'") from error

from vecstore.train.bags import Embedding, EmbeddingBag
from vecstore.train.collection import EmbeddingBagCollection, EmbeddingBagConfig, JaggedTensor, KeyedTensor

assert _torch is not None

__all__ = [
    "Embedding",
    "EmbeddingBag",
    "EmbeddingBagCollection",
    "EmbeddingBagConfig",
    "JaggedTensor",
    "KeyedTensor",
]
