"""What every test stands on: its own cache, one language, one thread, and toy images on disk."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from latente import messages
from toy import drawn


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Toy networks are slower with more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where sets are prepared: once for all tests, and never the person's own."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, shared_cache: Path) -> Iterator[None]:
    """Nothing of the person's environment reaches a test: cache, language, thread count, generators."""
    monkeypatch.setenv("LATENTE_CACHE", str(shared_cache))
    monkeypatch.delenv("LATENTE_LANG", raising=False)
    monkeypatch.setenv("LC_ALL", "C")
    messages.set_language(None)
    torch.manual_seed(0)
    yield
    messages.set_language(None)
    torch.set_num_threads(1)  # a resumed run takes its own


@pytest.fixture(scope="session")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 grey images of 8x8 in 3 classes, as .npz; 2 of them end up held out."""
    path = tmp_path_factory.mktemp("sets") / "grey.npz"
    images, labels = drawn(48, (1, 8, 8))
    np.savez(path, images=images.transpose(0, 2, 3, 1), labels=labels)
    return path


@pytest.fixture(scope="session")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 colour images of 9x8 without labels, as .npy."""
    path = tmp_path_factory.mktemp("sets") / "colour.npy"
    np.save(path, drawn(20, (3, 9, 8))[0].transpose(0, 2, 3, 1))
    return path
