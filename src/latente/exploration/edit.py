"""Directions of a latent space, and what becomes of an image that is moved along one.

    components  principal components of w, or of the codes of an autoencoder or a VAE (GANSpace: Härkönen et al. 2020)
    factorised  eigenvectors of A^T A, A the first weights that a latent meets (SeFa: Shen and Zhou 2021, equation 7)
    boundary    the normal of the plane between latents of images that show a thing and those that do not
                (InterFaceGAN: Shen et al. 2020, section 3.1)

A direction is a unit vector; strength 1 moves by one standard deviation of the latents along it.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from latente.data.stream import condition, see, seen_as
from latente.exploration.spaces import dataset_of, drawn, generator_of, home, labels_of, show, shown
from latente.messages import Problem, nearest
from latente.models import StyleDecoder
from latente.run import Run, write

SAMPLES = 10_000  # latents for components and spreads
READ = 4_000  # images that are made and read for a boundary
_FEWEST = 20  # images on each side of a boundary
_HELD_OUT = 0.2  # of them, for its accuracy


@dataclass(frozen=True)
class Direction:
    """Where to, in which space, and how far a step is."""

    name: str
    kind: str  # "components", "factorised" or "boundary"
    space: str  # "w", "z" or "codes"
    vector: Tensor  # [d], of length 1
    spread: float  # standard deviation of latents along it
    layers: tuple[int, int] | None = None  # first and last layer that it moves, of a generator of styles; None: all
    facts: dict[str, Any] = field(default_factory=dict)  # share of the variance, accuracy, ...


# ---- Finding directions ---------------------------------------------------------------------------------------------


def components(run: Run, n: int = 10, seed: int = 0) -> list[Direction]:
    """The first n principal components of w, or of the codes of training images, that of most variance first.

    Problem for a generator without either: z is drawn alike in all directions, so that none is principal."""
    net = generator_of(run)
    if home(net) == "z":
        raise Problem("edit.no_components", folder=run.folder, family=run.config.model.family)
    latents = codes(run, net) if home(net) == "codes" else drawn(net, SAMPLES, seed, labels_of(run, SAMPLES))
    vectors, shares = principal(latents)
    found = []
    for i in range(min(n, len(vectors))):
        facts = {"share": float(shares[i]), "samples": len(latents)}
        spread = _spread(latents, vectors[i])
        found.append(Direction(f"pca-{i + 1}", "components", home(net), vectors[i], spread, None, facts))
    return found


def factorised(run: Run, n: int = 10, layers: tuple[int, int] | None = None, seed: int = 0) -> list[Direction]:
    """The n directions in which the first weights stretch a latent most, the longest first. `layers`: only the styles
    of these (first and last, from 0), which alone are moved then; Problem if there are none such."""
    net = generator_of(run)
    if layers is not None:
        _check_layers(run, net, layers)
    weights = first_weights(net)
    if not weights:
        raise Problem("edit.no_first_layer", folder=run.folder)
    chosen = [a for layer, a in weights if layers is None or layers[0] <= layer <= layers[1]]
    if layers is not None and not chosen:  # they have not grown yet
        raise Problem("edit.layers", given="{}-{}".format(*layers), last=max(layer for layer, _ in weights))
    vectors, values = stretched(torch.cat(chosen))
    latents = drawn(net, SAMPLES, seed, labels_of(run, SAMPLES))
    where = "" if layers is None else "{}-{}-".format(*layers)
    found = []
    for i in range(min(n, len(vectors))):
        facts = {"eigenvalue": float(values[i]), "share": float(values[i] / values.sum())}
        spread = _spread(latents, vectors[i])
        found.append(Direction(f"factor-{where}{i + 1}", "factorised", home(net), vectors[i], spread, layers, facts))
    return found


def between(
    run: Run,
    name: str,
    read: Callable[[Tensor], NDArray[np.bool_]],
    n: int = READ,
    seed: int = 0,
    watch: Callable[[int, dict[str, Any]], None] = lambda done, row: None,
) -> Direction:
    """The direction towards images in which `read` (images [n, C, H, W] in [-1, 1] -> bool [n]) sees a thing, found on
    n samples. Problem if it sees it in nearly none or nearly all of them, or scikit-learn is not there."""
    net = generator_of(run)
    labels = labels_of(run, n)
    latents = drawn(net, n, seed, labels)
    parts = []
    for start in range(0, n, 250):
        part = slice(start, start + 250)
        parts.append(read(shown(net, home(net), latents[part], None if labels is None else labels[part])))
        watch(min(start + 250, n), {})
    has = np.concatenate(parts)
    if min(has.sum(), (~has).sum()) < _FEWEST:
        raise Problem("edit.one_sided", name=name, count=int(has.sum()), n=n, least=_FEWEST)
    line = boundary(latents.numpy(), has, seed)
    vector = torch.from_numpy(line.normal).float()
    facts = {"accuracy": line.accuracy, "commonest": line.commonest, "held_out": line.held_out, "shown": int(has.sum())}
    return Direction(name, "boundary", home(net), vector, _spread(latents, vector), None, facts | {"samples": n})


# ---- Arrays in, vectors out -----------------------------------------------------------------------------------------


def principal(latents: Tensor) -> tuple[Tensor, Tensor]:
    """[n, d] -> principal components [d, d], one a row, and their shares of the variance [d], the largest first."""
    x = latents.double() - latents.double().mean(0)
    vectors, values = stretched(x)
    return vectors, values / values.sum().clamp(min=1e-30)


def stretched(a: Tensor) -> tuple[Tensor, Tensor]:
    """A [m, d] -> unit eigenvectors of A^T A [d, d], one a row, and eigenvalues [d], the largest first. Of the two
    signs, the one whose largest entry is above 0."""
    values, vectors = torch.linalg.eigh(a.double().T @ a.double())
    vectors = vectors.flip(1).T  # ascending columns -> descending rows
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))  # [d, 1]
    return (vectors * largest.sign()).float(), values.flip(0).clamp(min=0).float()


class Boundary(NamedTuple):
    """A plane between two kinds of latents."""

    normal: NDArray[np.float64]  # [d], of length 1, towards those that show it
    accuracy: float  # on latents that it was not fitted to
    commonest: float  # the accuracy of always saying the commoner of the two
    held_out: int


def boundary(latents: NDArray[Any], shows: NDArray[np.bool_], seed: int = 0) -> Boundary:
    """Logistic regression of bool [n] on latents [n, d], a fifth held out."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise Problem("edit.needs_sklearn") from None
    order = np.random.default_rng(seed).permutation(len(latents))
    out = round(_HELD_OUT * len(latents))
    test, train = order[:out], order[out:]
    centre, scale = latents[train].mean(0), latents[train].std(0) + 1e-12
    x = (latents - centre) / scale  # one penalty for all coordinates
    fitted = LogisticRegression(max_iter=1000).fit(x[train], shows[train])
    normal = fitted.coef_[0].astype(np.float64) / scale
    right = float((fitted.predict(x[test]) == shows[test]).mean())
    commonest = float(max(shows[test].mean(), 1 - shows[test].mean()))
    return Boundary(normal / np.linalg.norm(normal), right, commonest, len(test))


# ---- What a direction is found in -----------------------------------------------------------------------------------


@torch.no_grad()
def codes(run: Run, net: Any) -> Tensor:
    """Codes [n, d] of training images, `SAMPLES` at most. Problem if they are not those of the run."""
    images = dataset_of(run).train
    told = getattr(run.config.model, "conditional", False)
    parts = []
    for indices in np.array_split(images.spread(SAMPLES), -(-min(len(images), SAMPLES) // 500)):
        x = see(images.gather(indices), seen_as(run.config), indices=indices)
        parts.append(net.encode(x, condition(images, indices) if told else None))
    return torch.cat(parts)


@torch.no_grad()
def first_weights(net: Any) -> list[tuple[int, Tensor]]:
    """The weights that a latent meets first, [outputs, d] each, and the layer that each belongs to: of a generator of
    styles those that make scales and shifts of w, of any other those of the first layer.

    They are recognised by what goes through them, since every family calls them something else."""
    styles = isinstance(net, StyleDecoder)
    d, layers = net.latent, net.layers if styles else 1
    fed = torch.randn(1, layers, d, generator=torch.Generator().manual_seed(0))
    found: list[tuple[int, nn.Module, int]] = []

    def look(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        given = inputs[0] if inputs and isinstance(inputs[0], Tensor) else None
        if given is None or given.dim() != 2 or given.shape[1] < d or not list(module.parameters(recurse=False)):
            return
        alike = torch.cosine_similarity(given[:1, :d], fed[0], dim=1)  # [layers]; a norm changes only the length
        if alike.max() > 0.9999:
            found.append((int(alike.argmax()), module, given.shape[1]))

    hooks = [module.register_forward_hook(look) for module in net.modules()]
    try:
        if styles:
            net.synthesis(fed)
        else:
            net.decode(fed[:, 0], torch.zeros(1, dtype=torch.long) if getattr(net, "classes", 0) else None)
    finally:
        for hook in hooks:
            hook.remove()
    return [(layer, _matrix(module, d, width)) for layer, module, width in found]


def _matrix(module: nn.Module, d: int, width: int) -> Tensor:
    """What a linear module multiplies the first d of its inputs by, [outputs, d]."""
    basis = torch.eye(d, width)
    weights: Tensor = module(basis) - module(torch.zeros(1, width))
    return weights.T


def _check_layers(run: Run, net: Any, layers: tuple[int, int]) -> None:
    if not isinstance(net, StyleDecoder):
        raise Problem("edit.no_layers", folder=run.folder, family=run.config.model.family)
    if not 0 <= layers[0] <= layers[1] < net.layers:
        raise Problem("edit.layers", given="{}-{}".format(*layers), last=net.layers - 1)


def _spread(latents: Tensor, vector: Tensor) -> float:
    return float((latents @ vector).std())


# ---- Moving along them ----------------------------------------------------------------------------------------------


def moved(
    net: Any,
    space: str,
    latent: Tensor,
    direction: Direction,
    strengths: Sequence[float],
    labels: Tensor | None = None,
    noise: Sequence[Tensor] | None = None,
) -> Tensor:
    """One latent [1, d] (w+: [1, L, d]) along a direction, an image for each strength [len(strengths), C, H, W]."""
    steps = torch.tensor(list(strengths), dtype=latent.dtype)[:, None] * direction.spread  # [n, 1]
    n = len(steps)
    told = None if labels is None else labels.expand(n)
    with torch.no_grad():
        if direction.space != "w":
            return show(net, space, latent + steps * direction.vector, told).clamp(-1, 1)
        if space == "z":
            latent = net.mapping(latent, labels)
        ws = (latent if space == "w+" else net.broadcast(latent)).repeat(n, 1, 1)  # [n, L, d]
        first, last = direction.layers or (0, net.layers - 1)
        ws[:, first : last + 1] += (steps * direction.vector)[:, None]
        maps = None if not noise else [m.expand(n, -1, -1, -1) for m in noise]
        return show(net, "w+", ws, told, maps).clamp(-1, 1)


# ---- What is kept in the run's folder -------------------------------------------------------------------------------


def keep(run: Run, found: Direction) -> None:
    """Write a direction by its name into the run's folder: the vector as .safetensors, the rest as JSON."""
    folder = run.folder / "directions"
    facts = {"kind": found.kind, "space": found.space, "spread": found.spread, "layers": found.layers, **found.facts}
    try:
        folder.mkdir(exist_ok=True)
        save_file({"vector": found.vector.contiguous()}, folder / f"{found.name}.safetensors")
        write(folder / f"{found.name}.json", facts)
    except OSError as error:
        raise Problem("run.cannot_write", folder=folder, reason=error.strerror or error) from None


def kept(run: Run) -> list[str]:
    """The names of a run's directions."""
    return sorted(path.stem for path in (run.folder / "directions").glob("*.safetensors"))


def read_kept(run: Run, name: str) -> Direction:
    """A direction by its name. Problem if there is none, or it cannot be read."""
    if name not in kept(run):
        if not kept(run):
            raise Problem("edit.none_yet", folder=run.folder)
        raise Problem("edit.no_such", given=name, folder=run.folder, near=nearest(name, kept(run)))
    path = run.folder / "directions" / f"{name}.safetensors"
    try:
        vector = load_file(path)["vector"]
        facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        kind, space, spread, layers = (facts.pop(key) for key in ("kind", "space", "spread", "layers"))
    except (OSError, ValueError, KeyError, SafetensorError):
        raise Problem("edit.damaged", path=path) from None
    return Direction(name, kind, space, vector, spread, tuple(layers) if layers else None, facts)


def checked_name(name: str) -> str:
    """A name that a file can have, or a Problem."""
    if not re.fullmatch(r"[\w-]{1,60}", name):
        raise Problem("edit.bad_name", given=name)
    return name
