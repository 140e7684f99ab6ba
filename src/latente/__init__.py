"""latente: train, understand and use image generators with a latent space.

The public names are loaded when first used, so that importing the package stays quick.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["PRESETS", "load", "open_run", "resume", "train"]

_HOMES = {
    "train": "latente.training",
    "resume": "latente.training",
    "open_run": "latente.run",
    "PRESETS": "latente.presets",
    "load": "latente.data.datasets",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'latente' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
