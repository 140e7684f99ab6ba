"""A feature network: images -> features, on which distances between sets of images are taken.

Three kinds: raw pixels; a trained run of the classifier family; and weights that the user has on disk (Inception-v3,
DINOv2). A distance means nothing without the network that it was taken on, so each has a checksum of its weights and
says how it prepares images; both belong to the protocol of every number.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from latente.data.datasets import ImageSet
from latente.data.stream import see
from latente.evaluation import dinov2, inception
from latente.messages import Problem
from latente.run import Run

_AT_ONCE = 500  # images
_PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")


@dataclass(frozen=True)
class Judge:
    """A feature network, ready to be used on the CPU."""

    name: str
    checksum: str  # sha256 of the weights, in hexadecimal; "pixels" where there are none
    size: int  # F, features an image
    prepare: str  # what is done to images first
    read: Callable[[Tensor], Tensor] = field(repr=False, compare=False)  # some images -> their features
    at_once: int = _AT_ONCE  # images read together: what bounds the memory

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """[n, C, H, W] in [-1, 1] -> [n, F] float32, each row of one image alone. Problem if it cannot read them."""
        return torch.cat([self.read(part).float() for part in torch.split(images, self.at_once)])

    def protocol(self) -> dict[str, str]:
        """What two distances must share to be compared."""
        return {"features": self.name, "features_checksum": self.checksum, "features_prepare": self.prepare}


def pixels(image_shape: tuple[int, int, int]) -> Judge:
    """The pixels themselves, F = C H W."""
    channels, height, width = image_shape

    def read(images: Tensor) -> Tensor:
        _check_shape("pixels", image_shape, images)
        return images.flatten(1)

    return Judge("pixels", "pixels", channels * height * width, "as they are, [-1, 1]", read)


def of_run(run: Run) -> Judge:
    """What the last layer of a trained classifier reads.

    Raises:
        Problem: the run is of another family, was not trained to its end, or its last checkpoint is damaged.
    """
    config = run.config
    if config.model.family != "classifier":
        raise Problem("judges.other_family", folder=run.folder, family=config.model.family)
    if run.stopped() != "finished":
        shown, until = max(run.checkpoints(), default=0), config.training.images
        raise Problem("judges.unfinished", folder=run.folder, images=shown, until=until)
    net = run.network()
    name = re.sub(r"^\d{5}-", "", run.folder.resolve().name)  # the number says nothing on another machine
    shape: tuple[int, int, int] = tuple(run.dataset["image_shape"])

    def read(images: Tensor) -> Tensor:
        _check_shape(name, shape, images)
        features: Tensor = net.features(images)
        return features

    size = net.features(torch.zeros(1, *shape)).shape[1]
    return Judge(name, checksum(net.state_dict()), size, "as they are, [-1, 1]", read)


def of_weights(path: str | Path) -> Judge:
    """Inception-v3 or DINOv2 with the weights in a .safetensors file, recognised by their keys.

    The checksum is that of the tensors in use: the same weights in another file have the same one.

    Raises:
        Problem: there is no such file, it holds pickles (never read: they can run any program) or anything else but
            safetensors, its keys are of no network known here, or some are missing, unknown or of another shape.
    """
    path = Path(path).expanduser()
    tensors = _opened(path)
    if inception.MARK in tensors:
        if "AuxLogits.fc.weight" in tensors or ("fc.bias" in tensors and tensors["fc.bias"].numel() == 1000):
            raise Problem("judges.torchvision", path=path)
        unused = {key for key in tensors if key.endswith(".num_batches_tracked")}
        whole = _used(path, "Inception-v3", tensors, inception.shapes() | inception.UNUSED, unused)
        used = {key: whole[key] for key in inception.shapes()}
        net = inception.network(used)
        return _of_pictures("inception-v3", used, inception.SIZE, inception.PREPARE, inception.prepare, net)
    if dinov2.recognises(tensors):
        name = dinov2.name(tensors)
        used = _used(path, "DINOv2", tensors, dinov2.shapes(tensors), {dinov2.UNUSED})
        size = used[dinov2.MARK].numel()
        return _of_pictures(name, used, size, dinov2.PREPARE, dinov2.prepare, lambda x: dinov2.features(used, x))
    raise Problem("judges.unknown_network", path=path, key=next(iter(tensors), "-"))


def features_of(judge: Judge, chunks: Iterable[Tensor]) -> Iterator[NDArray[np.float32]]:
    """Images in chunks [n, C, H, W] in [-1, 1] -> features in chunks [n, F]: no more than one chunk is held."""
    for chunk in chunks:
        found: NDArray[np.float32] = judge.features(chunk).numpy()
        yield found


def chunks_of(images: ImageSet, indices: NDArray[np.int64] | None = None) -> Iterator[Tensor]:
    """The images at `indices` (all of them, if none are given) in that order, a few at a time, as networks see them."""
    indices = np.arange(len(images)) if indices is None else indices
    for start in range(0, len(indices), _AT_ONCE):
        yield see(images.gather(indices[start : start + _AT_ONCE]))


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """sha256 of names, types, shapes and values, in the order of the names, in hexadecimal."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].detach().cpu().contiguous().numpy()
        total.update(f"{name} {values.dtype} {values.shape}\n".encode())
        total.update(values.tobytes())
    return total.hexdigest()


def coloured(images: Tensor) -> Tensor:
    """Images of 1, 3 or 4 channels -> 3 channels [n, 3, H, W] in [-1, 1]: grey repeated, transparent ones on white."""
    channels = images.shape[1]
    if channels == 1:
        return images.expand(-1, 3, -1, -1)
    if channels == 4:
        alpha = (images[:, 3:] + 1) / 2  # [n, 1, H, W] in [0, 1]
        return alpha * images[:, :3] + (1 - alpha)
    return images


def _opened(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise Problem("judges.no_file", path=path)
    try:
        return load_file(path)
    except SafetensorError:
        key = "judges.pickle" if path.suffix.lower() in _PICKLED else "judges.not_safetensors"
        raise Problem(key, path=path) from None


def _used(
    path: Path,
    network: str,
    tensors: Mapping[str, Tensor],
    wanted: Mapping[str, tuple[int, ...]],
    unused: Collection[str],
) -> dict[str, Tensor]:
    """The tensors that a network needs, in float32; Problem where the file lacks any, or has others not `unused`."""
    missing = [key for key in wanted if key not in tensors]
    unknown = [key for key in tensors if key not in wanted and key not in unused]
    if missing or unknown:
        key, keys = ("judges.missing_keys", missing) if missing else ("judges.unknown_keys", unknown)
        raise Problem(key, path=path, network=network, count=len(keys), first=keys[0])
    for key, shape in wanted.items():
        if tuple(tensors[key].shape) != shape:
            given = "x".join(map(str, tensors[key].shape))
            raise Problem("judges.key_shape", path=path, key=key, given=given, wanted="x".join(map(str, shape)))
    return {key: tensors[key].float() for key in wanted}


def _of_pictures(
    name: str,
    used: Mapping[str, Tensor],
    size: int,
    how: str,
    prepare: Callable[[Tensor], Tensor],
    net: Callable[[Tensor], Tensor],
) -> Judge:
    """A network made for colour pictures of one size, to which all others are brought."""

    def read(images: Tensor) -> Tensor:
        if images.shape[1] not in (1, 3, 4):
            raise Problem("judges.no_picture", name=name, channels=images.shape[1])
        return net(prepare(coloured(images)))

    return Judge(name, checksum(used), size, f"{how}; grey repeated, transparency on white", read, at_once=16)


def _check_shape(name: str, shape: tuple[int, int, int], images: Tensor) -> None:
    given = tuple(images.shape[1:])
    if given != shape:
        said = ("x".join(map(str, each[::-1])) for each in (shape, given))
        raise Problem("judges.other_shape", name=name, wanted=next(said), given=next(said))
