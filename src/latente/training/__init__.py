"""How a model is learned, once, for all families."""

from latente.training.life import resume, train

__all__ = ["resume", "train"]
