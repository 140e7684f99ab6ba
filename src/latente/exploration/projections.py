"""Photos prepared as a run's images were, and what was found of them, kept in the run's folder under projections/."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from latente.data.decoding import LARGEST_FILE, Fault, Settings, decode, strict_pillow
from latente.data.stream import see
from latente.exploration.invert import Projection
from latente.messages import Problem, nearest, say
from latente.run import Run, write


def read_photo(run: Run, path: Path) -> Tensor:
    """A picture file prepared as the images of the run were: centre square, size, filter, channels [1, C, H, W]."""
    channels, height, width = run.dataset["image_shape"]
    if not path.is_file():
        raise Problem("project.no_photo", path=path)
    if path.stat().st_size > LARGEST_FILE:
        raise Problem("project.bad_photo", path=path, reason=say("data.bad_bomb"))
    wanted = {1: "grey", 3: "rgb", 4: "rgba"}[channels]
    settings = Settings(height if height == width else None, wanted, run.config.data.filter)  # type: ignore[arg-type]
    try:
        with strict_pillow():
            pixels = decode(path.read_bytes(), path.name, settings).pixels
    except Fault as fault:
        raise Problem("project.bad_photo", path=path, reason=say(f"data.bad_{fault.code}")) from None
    except OSError as error:
        raise Problem("project.bad_photo", path=path, reason=error.strerror or error) from None
    assert pixels is not None
    if pixels.shape[1:] != (height, width):  # of images that are not square
        plain = Image.fromarray(pixels[0] if channels == 1 else pixels.transpose(1, 2, 0))
        plain = plain.resize((width, height), Image.Resampling[run.config.data.filter.upper()])
        pixels = np.asarray(plain).reshape(height, width, channels).transpose(2, 0, 1)
    return see(torch.from_numpy(np.array(pixels[None], order="C")))


def name_of(path: Path) -> str:
    """A name for what is found of a photo: that of its file, in letters that every file system takes."""
    return re.sub(r"[^\w-]+", "-", path.stem.lower()).strip("-") or "photo"


def keep(run: Run, name: str, photo: Tensor, found: dict[str, Projection]) -> Path:
    """Write projections of one photo into the run's folder: latents and noise as .safetensors, numbers as JSON."""
    tensors = {"photo": photo[0].contiguous()}
    facts: dict[str, Any] = {"spaces": {}}
    for space, one in found.items():
        tensors[space] = one.latent.detach().contiguous()
        tensors |= {f"{space}/noise/{i:02d}": m.detach().contiguous() for i, m in enumerate(one.noise)}
        label = None if one.labels is None else int(one.labels[0])
        facts["spaces"][space] = numbers(one)
        facts |= {"label": label, "eyes": one.eyes}
    folder = run.folder / "projections"
    try:
        folder.mkdir(exist_ok=True)
        save_file(tensors, folder / f"{name}.safetensors")
        write(folder / f"{name}.json", facts)
    except OSError as error:
        raise Problem("run.cannot_write", folder=folder, reason=error.strerror or error) from None
    return folder / f"{name}.safetensors"


def numbers(found: Projection) -> dict[str, Any]:
    """What is said of the first image of a projection."""
    return {
        "distance": float(found.distance[0]),
        "mse": float(found.mse[0]),
        "seconds": round(found.seconds, 2),
        "steps": found.steps,
    }


def kept(run: Run) -> list[str]:
    """The names of the projections of a run."""
    return sorted(path.stem for path in (run.folder / "projections").glob("*.safetensors"))


def kept_photo(run: Run, name: str) -> Tensor:
    """The photo of a projection that was kept, as it was prepared: [1, C, H, W]. Problem if it cannot be read."""
    path = run.folder / "projections" / f"{name}.safetensors"
    try:
        return load_file(path)["photo"][None]
    except (OSError, KeyError, SafetensorError):
        raise Problem("project.damaged", path=path) from None


def read_kept(
    run: Run, name: str, space: str | None = None, instead: Sequence[str] = ()
) -> tuple[str, Tensor, list[Tensor], Tensor | None]:
    """A projection that was kept -> its space, latent, noise maps and labels. `space`: which of those it was found in,
    or the first of those that will do `instead`; without it the one that edits walk in."""
    path = run.folder / "projections" / f"{name}.safetensors"
    if name not in kept(run):
        raise Problem("project.no_such", given=name, folder=run.folder, near=nearest(name, kept(run)) or "-")
    try:
        tensors = load_file(path)
        facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        known = list(facts["spaces"])
    except (OSError, ValueError, KeyError, SafetensorError):
        raise Problem("project.damaged", path=path) from None
    wanted = ("w", "w+", "codes", "z") if space is None else (space, *instead)
    space = next((one for one in wanted if one in known), None)
    if space is None:
        raise Problem("project.not_in_space", name=name, given=wanted[0], known=", ".join(known))
    noise = [tensors[key] for key in sorted(tensors) if key.startswith(f"{space}/noise/")]
    labels = None if facts["label"] is None else torch.tensor([facts["label"]])
    return space, tensors[space], noise, labels
