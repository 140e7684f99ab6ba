"""What a way through latent space begins with: seeds, images of the run's set, photos; and how each gets its latent.

A source is typed as a word: `7` is the image of seed 7, `test:7` the held-out image 7 of the set that the run was
trained on, a name that `latente project` has kept is that photo as it was found, anything else the path of a picture.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latente.data.datasets import Dataset
from latente.data.stream import see, seen_as
from latente.exploration.invert import STEPS, Eyes, project
from latente.exploration.projections import kept, kept_photo, read_kept, read_photo
from latente.exploration.spaces import dataset_of, fixed_noise, generator_of, labels_of, raised, shown, spaces
from latente.messages import Problem, say
from latente.models import ImageEncoder, StyleDecoder
from latente.pictures import to_pixels
from latente.run import Run

_HELD_OUT = "test:"
Watch = Callable[[int, dict[str, Any]], None]


class Source(NamedTuple):
    """One beginning."""

    word: str  # as it was typed
    name: str  # for a label, in the language in force
    seed: int | None
    photo: Tensor | None  # [1, C, H, W] in [-1, 1]
    kept: bool = False  # a photo whose projection lies in the run's folder

    @property
    def real(self) -> bool:
        """Whether it is an image of the world, which the generator did not make."""
        return self.photo is not None


class Found(NamedTuple):
    """A photo in a space of the generator."""

    space: str  # that it was looked for in
    latent: Tensor  # [d], of w+ [L d]
    noise: list[Tensor]  # a map a layer [1, 1, h, w]; [] where there is none


@dataclass(frozen=True)
class Ground:
    """A run and its generator, ready to be moved about in.

    A conditional generator is told one class all the while: `label`. `psi` draws every w towards their mean.
    """

    run: Run
    net: Any = field(repr=False)
    label: int | None = None
    psi: float = 1.0
    steps: int = STEPS  # of a projection
    watch: Watch = field(default=lambda step, row: None, repr=False)
    eyes: Callable[[], Eyes | None] = field(default=lambda: None, repr=False)  # who compares photos; None: the pixels
    found: dict[tuple[str, str], Found] = field(default_factory=dict, repr=False)  # projected: (word, space)

    @property
    def spaces(self) -> tuple[str, ...]:
        """The spaces that there are; the first is the prior's."""
        return spaces(self.net)

    @property
    def styled(self) -> bool:
        """Whether the generator is controlled by styles."""
        return isinstance(self.net, StyleDecoder)

    @property
    def encodes(self) -> bool:
        """Whether an image gets its code at once, from an encoder."""
        return isinstance(self.net, ImageEncoder)

    def shell(self, space: str) -> bool:
        """Whether the latents of a space lie near a sphere around 0, as those of N(0, I) do."""
        mixture = getattr(self.net, "mixture", None) is not None
        return space in ("z", "codes") and not mixture and getattr(self.run.config.model, "prior", "normal") == "normal"

    def check(self, space: str) -> None:
        """Problem if there is no such space."""
        if space not in self.spaces:
            raise Problem("explore.no_space", given=space, family=self.family, known=", ".join(self.spaces))

    @property
    def family(self) -> str:
        return self.run.config.model.family

    def labels(self, n: int) -> Tensor | None:
        """[n], of a conditional generator."""
        return labels_of(self.run, n, self.label)

    @cached_property
    def dataset(self) -> Dataset:
        """The images of the run. Problem if they are gone, or are not those that it was trained on."""
        return dataset_of(self.run)

    @torch.no_grad()
    def of_seed(self, seed: int, space: str) -> Tensor:
        """The latent of a seed: [d]; of w+, all its layers one after another [L d]."""
        z = self.net.prior(1, torch.Generator().manual_seed(seed))
        return raised(self.net, z, self.spaces[0], space, self.labels(1)).flatten()

    def of_photo(self, photo: Tensor, word: str, space: str) -> Found:
        """An image [1, C, H, W] in [-1, 1] by the encoder or by projection, which is done once for each space."""
        if self.encodes:
            seen = see(torch.from_numpy(to_pixels(photo.numpy())), seen_as(self.run.config), indices=np.arange(1))
            with torch.no_grad():
                return Found(space, self.net.encode(seen, self.labels(1))[0], [])
        if (word, space) not in self.found:
            how: dict[str, Any] = {"eyes": self.eyes(), "steps": self.steps, "watch": self.watch}
            one = project(self.net, photo, space, labels=self.labels(1), **how)
            self.found[word, space] = Found(space, one.latent.detach().flatten(), one.noise)
        return self.found[word, space]

    @torch.no_grad()
    def of_kept(self, name: str, space: str) -> Found:
        """A photo that was kept, in a space, or else in the richest of the poorer ones that it was found in."""
        poorer = self.spaces[: self.spaces.index(space)][::-1]
        where, latent, noise, labels = read_kept(self.run, name, space, poorer)
        if labels is not None and int(labels) != self.label:
            raise Problem("explore.other_class", name=name, found=int(labels), label=self.label)
        return Found(where, raised(self.net, latent, where, space, self.labels(1)).flatten(), noise)

    def photo_of(self, source: Source, space: str) -> Found:
        """Where in a space a photo lies."""
        assert source.photo is not None
        return self.of_kept(source.word, space) if source.kept else self.of_photo(source.photo, source.word, space)

    def of(self, source: Source, space: str) -> Tensor:
        """The latent of a source: [d], of w+ [L d]."""
        if source.photo is not None:
            return self.photo_of(source, space).latent
        assert source.seed is not None
        return self.of_seed(source.seed, space)

    def noise_of(self, sources: Sequence[Source], space: str) -> list[Tensor] | None:
        """The maps of noise that sources are shown with, [n, 1, h, w] a layer: those that were found for a photo, and
        for all others those of the network. None: no source has maps of its own."""
        own = [self.photo_of(one, space).noise if one.real else [] for one in sources]
        if not any(own):
            return None
        return [torch.cat(maps) for maps in zip(*(maps or fixed_noise(self.net) for maps in own), strict=True)]

    def all_of(self, sources: Sequence[Source], space: str) -> Tensor:
        """[n, d], or of w+ [n, L d]."""
        return torch.stack([self.of(source, space) for source in sources])

    def truncated(self, styles: Tensor, psi: float) -> Tensor:
        """Styles [..., d] drawn towards their mean, and beyond it if psi is negative."""
        drawn: Tensor = self.net.w_avg + psi * (styles - self.net.w_avg)
        return drawn

    def images(self, latents: Tensor, space: str, noise: Sequence[Tensor] | None = None) -> NDArray[np.uint8]:
        """Latents [n, d] (w+: [n, L d]) -> images uint8 [n, C, H, W]. noise: maps [n, 1, h, w]; None: the network's."""
        if space == "w+":
            latents = latents.view(len(latents), self.net.layers, -1)
        if self.psi != 1 and space == "z":
            latents, space = self.net.mapping(latents, self.labels(len(latents))), "w"
        if self.psi != 1:
            latents = self.truncated(latents, self.psi)
        return to_pixels(shown(self.net, space, latents, self.labels(len(latents)), noise).numpy())

    def facts(self, command: str, **more: Any) -> dict[str, Any]:
        """What every picture hangs on, for JSON."""
        run, clocks = self.run, self.run.checkpoints()
        return {
            "command": command,
            "run": str(run.folder),
            "family": self.family,
            "checkpoint": clocks[-1] if clocks else None,
            "weights": "shown",
            "label": self.label,
            "psi": self.psi if self.styled else None,
            **more,
        }


def ground(run: Run, label: int | None = None, **how: Any) -> Ground:
    """A run that makes images -> what to move about in. Problem if it makes none, or has no such class."""
    net = generator_of(run)
    if getattr(run.config.model, "conditional", False) and label is None:
        label = 0
    labels_of(run, 1, label)
    found = Ground(run, net, label, **how)
    if found.psi != 1 and not found.styled:
        raise Problem("explore.no_styles", what="--truncation", folder=run.folder, family=found.family)
    return found


def source(place: Ground, word: str) -> Source:
    """A word -> where to begin. Problem if it names neither a seed, nor a held-out image, nor a readable picture."""
    if word.isdecimal() and int(word) < 2**63:
        return Source(word, say("explore.seed", seed=word), int(word), None)
    if word.startswith(_HELD_OUT):
        number, images = word.removeprefix(_HELD_OUT), place.dataset.test
        if not number.isdecimal() or int(number) >= len(images):
            raise Problem("explore.no_held_out", given=word, last=len(images) - 1)
        photo = see(images.gather(np.array([int(number)])))
        return Source(word, say("explore.held_out", number=number), None, photo)
    if word in kept(place.run):
        return Source(word, word, None, kept_photo(place.run, word), kept=True)
    path = Path(word).expanduser()
    if not path.suffix and not path.exists():
        raise Problem("explore.no_source", given=word)
    return Source(word, path.name, None, read_photo(place.run, path))


def named(sources: Sequence[Source]) -> str:
    """Sources in a sentence: "seeds 3, 5", or the name of each."""
    if len(sources) > 1 and all(one.seed is not None for one in sources):
        return say("explore.seeds", seeds=", ".join(one.word for one in sources))
    return ", ".join(one.name for one in sources)


def listed(latents: Tensor) -> list[Any]:
    """Latents as plain numbers, six digits each."""
    values = latents.detach().double().numpy()
    rounded = np.array([float(f"{x:.6g}") for x in values.ravel()]).reshape(values.shape)
    plain: list[Any] = rounded.tolist()
    return plain
