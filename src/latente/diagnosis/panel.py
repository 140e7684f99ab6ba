"""The fixed side of every probe: the images and latents that a model is asked about, the same each time.

Everything is decided by the data set alone, so that two runs, and two moments of one run, can be compared. Fakes come
from the weights that learn, as they are at that moment: an average over time would hide that they go round in circles.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latente.config import AdversarialOptim, RunConfig, VAEObjective
from latente.data.datasets import Dataset, ImageSet
from latente.data.stream import Binarisation, lasting, see
from latente.diagnosis import probes, spectrum
from latente.evaluation.neighbours import neighbourhoods
from latente.objectives.reconstruction import kl_standard_normal

FAKES = 512  # of a generator; as many training images and held-out ones beside them
JUDGED = 256  # of each, that the critic ranks
CODED = 256  # images that an encoder is shown, and new ones that it makes
COMPARED = 64  # of those, that are held against the training set
TRAINING = 100_000  # training images that copies are looked for among; of larger sets, an evenly spaced part
FEWEST = 20  # images of a split, without which it says nothing
LEGIBLE = 0.7  # share of held-out images whose class neighbours must tell: digits 0.95, clothes 0.8
DIRECTIONS = 8
_AT_ONCE = 256


@dataclass(frozen=True)
class Shown:
    """Fixed images of one split."""

    images: Tensor  # [n, C, H, W], grey levels in [-1, 1]
    seen: Tensor  # the same as a network sees them: binarised for some
    labels: Tensor | None  # [n]
    features: Tensor  # [n, F]


@dataclass(frozen=True)
class Panel:
    """What a run's networks are asked. Nothing is computed before it is needed."""

    dataset: Dataset
    device: torch.device
    conditional: bool = False  # networks are told the labels
    binarisation: Binarisation = "none"  # one that lasts
    packing: int = 1  # images a decision of the critic
    at_once: int = 64  # images that the critic is shown together: as in training, where it compares them
    reader: Callable[[Tensor], Tensor] | None = None  # images -> labels [n], of a classifier; None: neighbours vote

    # ---- A game of two

    @torch.no_grad()
    def game(self, generator: Any, critic: nn.Module) -> dict[str, float]:
        """The columns of a generator and its critic, both in evaluation mode; none of fakes that are not finite."""
        fakes, labels = self.made(generator, FAKES)
        if not fakes.isfinite().all():
            return {}
        f = probes.features(fakes)
        columns = self._spread(fakes, f, whole(generator)) | self._ranks(critic, fakes, labels)
        if not self.points:
            near = probes.nearby(f, *self._all)
            columns |= self._copies(near) | self._classes(fakes, near)
        return probes.finite(columns)

    def made(self, net: Any, n: int) -> tuple[Tensor, Tensor | None]:
        """Images [n, C, H, W] from the same latents each time, and their labels, which go round."""
        z = net.prior(n, torch.Generator().manual_seed(0)).to(self.device)
        return self._decoded(net, z)

    def _decoded(self, net: Any, z: Tensor) -> tuple[Tensor, Tensor | None]:
        labels = None
        if self.conditional:
            labels = torch.arange(len(z), device=self.device) % len(self.dataset.train.classes)
        parts = [slice(start, start + _AT_ONCE) for start in range(0, len(z), _AT_ONCE)]
        images = [net.decode(z[part], None if labels is None else labels[part]) for part in parts]
        return torch.cat(images).float(), labels

    def _spread(self, fakes: Tensor, f: Tensor, whole: bool) -> dict[str, float]:
        """Fakes and their features against training images, and against held-out ones; their spectrum too if they have
        their whole size."""
        columns: dict[str, float] = {}
        reals, held_out = self.training, self.held_out
        if len(reals.images) >= FEWEST:
            apart = probes.distances(f[: len(reals.images)], f[: len(reals.images)])
            columns["probe/diversity"] = probes.diversity(apart, self._apart)
            columns["probe/duplicates"] = probes.duplicates(apart, self._closer)
            columns["probe/support"] = probes.support(apart, self._closer)
            for i, value in enumerate(probes.place(f, reals.features, DIRECTIONS)):
                columns[f"probe/path/{i}"] = value
        if len(held_out.images) >= FEWEST:
            found = neighbourhoods(held_out.features.cpu(), f[: len(held_out.images)].cpu())
            for name in ("precision", "recall", "density", "coverage"):
                columns[f"probe/{name}"] = getattr(found, name)
        if whole and min(fakes.shape[2:]) >= spectrum.LEAST:
            columns["probe/checkerboard"] = spectrum.checkerboard(fakes, reals.images)
            columns["probe/sharpness"] = spectrum.sharpness(fakes, reals.images)
        return columns

    def _copies(self, near: probes.Nearby) -> dict[str, float]:
        """Points are left out: a world draws its own, and there is nothing to learn by heart."""
        if self._copying is None:
            return {}
        return {"probe/copies": probes.below(probes.likeness(near), self._copying)}

    def _classes(self, fakes: Tensor, near: probes.Nearby) -> dict[str, float]:
        """The share of each class among fakes [n, C, H, W], read by a classifier; without one, by the training images
        that are nearest, if those read held-out images well enough."""
        classes = len(self.dataset.train.classes)
        if self.reader is not None:
            read = self.reader(fakes).cpu()
        elif self._labels is not None and self._legible:
            read = probes.vote(near, self._labels, classes).cpu()
        else:
            return {}
        return {f"probe/class/{k}": share for k, share in enumerate(probes.class_shares(read, classes))}

    def _ranks(self, critic: nn.Module, fakes: Tensor, labels: Tensor | None) -> dict[str, float]:
        """How the critic ranks images, whatever its logits mean."""
        if min(len(self.held_out.images), len(self.training.images)) < FEWEST * self.packing:
            return {}
        held_out = self._judged(critic, self.held_out.images, self.held_out.labels)  # [n / packing]
        grown = getattr(critic, "grown", None)  # fakes of networks that grow are faded already
        as_made = critic if grown is None else partial(critic, stage=(int(grown[0]), float(grown[1])))
        return {
            "probe/critic/ahead": probes.ranked_above(
                self._judged(critic, self.training.images, self.training.labels), held_out
            ),
            "probe/critic/beats": probes.ranked_above(held_out, self._judged(as_made, fakes, labels)),
        }

    def _judged(self, critic: Callable[..., Tensor], x: Tensor, labels: Tensor | None) -> Tensor:
        """Logits of the first images, in batches as large as in training; those that fill no batch are left out."""
        x = x[: max(JUDGED, self.at_once)]
        at_once = min(self.at_once, len(x)) // self.packing * self.packing
        logits = []
        for start in range(0, len(x) // at_once * at_once, at_once):
            part = slice(start, start + at_once)
            batch = x[part].reshape(at_once // self.packing, -1, *x.shape[2:])
            logits.append(critic(batch, labels[part] if self.conditional and labels is not None else None).float())
        return torch.cat(logits)

    # ---- An encoder and a decoder

    @torch.no_grad()
    def codes(self, net: Any) -> dict[str, float]:
        """The columns of an autoencoder or a VAE, in evaluation mode: sharpness is that of reconstructions."""
        shown = self.held_out
        seen = shown.seen[:CODED]
        labels = shown.labels[:CODED] if self.conditional and shown.labels is not None else None
        columns: dict[str, float] = {}
        if hasattr(net, "posterior"):
            mean, logvar = net.posterior(seen, labels)
            columns["probe/kl"] = float(kl_standard_normal(mean, logvar).sum(1).double().mean())
        else:
            mean = net.encode(seen, labels)
        columns["probe/latents"] = net.latent
        if len(mean) >= FEWEST:
            columns["probe/active"] = probes.active_units(mean)
        samples, _ = self._decoded(net, self._latents(net, mean, CODED))
        if min(samples.shape[2:]) >= spectrum.LEAST:
            again, originals = net.decode(mean, labels).float(), shown.images[: len(mean)]
            columns["probe/sharpness"] = spectrum.sharpness(again, originals)
            columns["probe/sharpness/samples"] = spectrum.sharpness(samples, originals)
        return probes.finite(columns | self._copies(probes.nearby(probes.features(samples[:COMPARED]), *self._all)))

    def _latents(self, net: Any, codes: Tensor, n: int) -> Tensor:
        """n latents [n, d]. A prior that is fitted to the codes of the training set is not fitted now: in its place
        stands a Gaussian with the mean and covariance of the codes [m, d] at hand, kept within their range."""
        generator = torch.Generator().manual_seed(0)
        if getattr(net, "mixture", None) is None:
            latents: Tensor = net.prior(n, generator).to(self.device)
            return latents
        mixed = torch.randn(n, len(codes), generator=generator).to(self.device) / len(codes) ** 0.5
        z: Tensor = codes.mean(0) + mixed @ (codes - codes.mean(0))
        return z.clamp(codes.amin(0), codes.amax(0))

    # ---- What is fixed

    @property
    def points(self) -> bool:
        """Whether the data are points in place of images."""
        return self.dataset.train.images.shape[2:] == (1, 1)

    @cached_property
    def training(self) -> Shown:
        """Training images."""
        return self._shown(self.dataset.train)

    @cached_property
    def held_out(self) -> Shown:
        """Images that no network was trained on."""
        return self._shown(self.dataset.test)

    def _shown(self, split: ImageSet) -> Shown:
        """At most FAKES images, evenly spaced, shuffled: sets are often sorted, and a critic may compare neighbours."""
        indices = split.spread(FAKES)
        indices = np.random.default_rng(0).permutation(indices)
        x = split.gather(indices)
        images = see(x, device=self.device)
        seen = see(x, self.binarisation, indices=indices, device=self.device)
        labels = None if split.labels is None else torch.from_numpy(split.labels[indices]).to(self.device)
        return Shown(images, seen, labels, probes.features(images))

    @cached_property
    def _apart(self) -> Tensor:
        """Distances among the reals [n, n]."""
        return probes.distances(self.training.features, self.training.features)

    @cached_property
    def _closer(self) -> float:
        return probes.closeness(self._apart)

    @cached_property
    def _all(self) -> tuple[Tensor, Tensor]:
        """Features of the training set [N, F] and their squared lengths [N]."""
        train = self.dataset.train
        indices = train.spread(TRAINING)
        parts = np.array_split(indices, -(-len(indices) // 2000))
        f = torch.cat([probes.features(see(train.gather(part), device=self.device)) for part in parts])
        return f, f.square().sum(1)

    @cached_property
    def _copying(self) -> float | None:
        """The likeness of a copy; None where there are too few images to tell."""
        if self.points or min(len(self.held_out.images), len(self.dataset.train)) < FEWEST:
            return None
        return probes.copying(probes.likeness(self._real))

    @cached_property
    def _real(self) -> probes.Nearby:
        """The training images around held-out ones."""
        return probes.nearby(self.held_out.features, *self._all)

    @cached_property
    def _labels(self) -> Tensor | None:
        """Labels of the training images [N] that fakes are held against; None without two classes or more."""
        train = self.dataset.train
        if train.labels is None or len(train.classes) < 2 or len(train) < FEWEST:
            return None
        return torch.from_numpy(train.labels[train.spread(TRAINING)]).to(self.device)

    @cached_property
    def _legible(self) -> bool:
        """Whether held-out images are mostly of the class that the training images around them say."""
        if self._labels is None or self.held_out.labels is None or len(self.held_out.labels) < FEWEST:
            return False
        read = probes.vote(self._real, self._labels, len(self.dataset.train.classes))
        return bool((read == self.held_out.labels).double().mean() >= LEGIBLE)


def whole(net: Any) -> bool:
    """Whether a network makes images of full size. One that still grows shows fewer pixels doubled up, whose edges are
    no fault of its layers."""
    grown = getattr(net, "grown", None)
    return grown is None or (4 << int(grown[0]) == net.image_shape[-1] and float(grown[1]) == 1)


def panel_of(
    config: RunConfig, dataset: Dataset, device: torch.device, reader: Callable[[Tensor], Tensor] | None = None
) -> Panel:
    """The panel of a run."""
    binarisation: Binarisation = "none"
    if isinstance(config.objective, VAEObjective) and config.objective.likelihood == "bernoulli":
        binarisation = lasting(config.objective.binarisation)
    steps = config.optim.critic_steps if isinstance(config.optim, AdversarialOptim) else 1
    return Panel(
        dataset,
        device,
        conditional=getattr(config.model, "conditional", False),
        binarisation=binarisation,
        packing=config.cure.packing if config.cure is not None else 1,
        at_once=max(config.training.batch // steps, 1),
        reader=reader,
    )
