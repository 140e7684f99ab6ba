"""Which one setting helps: for each verdict a list of settings in order of preference, and the first that the run can
take is proposed. What it costs to be wrong is a run, so that each stands alone and goes with the run's other settings.

A setting that strays far from its preset's own value comes first: it is the likeliest cause. Then those that can change
in the middle of a run, and last those that change a network (they need a new run). Where a benchmark of ours measured
them, its order is kept (benchmarks/results/modes.json: of single changes to the non-saturating game on 25 points,
relativistic pairing 18 modes, replay and instance noise 17, label smoothing 15, from 12; packing alone 3, so that it is
proposed nowhere).
"""

from collections.abc import Iterator
from math import prod
from typing import Any

from latente.config import Images
from latente.diagnosis.history import History
from latente.presets import PRESETS, suited

Remedy = dict[str, Any]  # at most one dotted setting -> its value

NEW_RUN = ("cure.spectral-norm", "model.width")  # settings that change a network
_STRAYED = 3.0  # times the preset's own value, either way
_LABELLED = ("minimax", "non-saturating", "least-squares")  # costs that label smoothing knows
_MOST = 2**30  # bytes of a store of past fakes
_EQUALISED = ("progan", "stylegan", "stylegan2")  # families whose layers are scaled in their own way
_RATE = 1e-12  # no learning rate at all


def remedy(what: str, history: History) -> Remedy:
    """One setting for one verdict; {} where none of ours helps, or the settings are not known."""
    if not history.facts.get("settings"):
        return {}
    for name, value in _CANDIDATES[what](history):
        if name in history.facts["settings"] and history.setting(name) != value:
            return {name: value}
    return {}


Candidates = Iterator[tuple[str, Any]]


def _strayed(history: History, *names: str) -> Candidates:
    """Settings far from the preset's own value, back to it."""
    preset = history.facts.get("preset")
    source = history.setting("data.source", "")
    if preset not in PRESETS or (history.facts.get("kind") == "points" and not source.startswith("points:")):
        return
    config = suited(PRESETS[preset](), source)
    for name in names:
        own = getattr(config.optim, name.partition(".")[2].replace("-", "_"), None)
        given = history.setting(name)
        if own is None or given is None:
            continue
        reference = config.optim.lr if name == "optim.critic-lr" and not own else own
        if given > _RATE and reference > 0 and not 1 / _STRAYED < given / reference < _STRAYED:
            yield name, reference


def _divergence(history: History) -> Candidates:
    yield from _strayed(history, "optim.lr", "optim.critic-lr")
    lr = history.setting("optim.lr", 0.0)
    if lr > _RATE:
        yield "optim.lr", _short(lr / 3)


def _collapse(history: History) -> Candidates:
    yield from _strayed(history, "optim.lr", "optim.critic-lr", "optim.critic-steps")
    yield from _momentum(history)
    cost, gamma = history.facts.get("cost"), history.setting("objective.gamma", 0.0)
    if cost in _LABELLED and not history.setting("cure.label-smoothing"):
        yield "objective.cost", "relativistic"
    yield from _replay(history)
    if gamma > 0 and history.setting("objective.penalty") in ("r1", "r2", "r1+r2", "dragan"):
        yield "objective.gamma", _short(4 * gamma)
    if history.facts.get("family") not in _EQUALISED:
        yield "cure.spectral-norm", True


def _cycling(history: History) -> Candidates:
    yield from _replay(history)  # what was forgotten is what the critic is no longer shown
    yield from _collapse(history)


def _saturated(history: History) -> Candidates:
    yield from _strayed(history, "optim.critic-lr", "optim.lr")
    cost = history.facts.get("cost")
    if cost == "minimax":
        yield "objective.cost", "non-saturating"
    if cost != "wasserstein" and history.setting("optim.critic-steps", 1) > 1:
        yield "optim.critic-steps", 1
    if not history.setting("cure.instance-noise"):
        yield "cure.instance-noise", 0.1
    yield from _slower_critic(history)


def _slower_critic(history: History) -> Candidates:
    rate = history.setting("optim.critic-lr") or history.setting("optim.lr", 0.0)
    if rate > _RATE:
        yield "optim.critic-lr", _short(rate / 4)


def _stuck(history: History) -> Candidates:
    yield from _strayed(history, "optim.critic-lr", "optim.lr")
    rate = history.setting("optim.critic-lr") or history.setting("optim.lr", 0.0)
    if rate > _RATE:
        yield "optim.critic-lr", _short(4 * rate)


def _oscillation(history: History) -> Candidates:
    yield from _momentum(history)
    yield from _strayed(history, "optim.lr", "optim.critic-lr")
    gamma = history.setting("objective.gamma", 0.0)
    if gamma > 0 and history.setting("objective.penalty") in ("r1", "r2", "r1+r2"):
        yield "objective.gamma", _short(4 * gamma)
    if not history.setting("cure.instance-noise"):
        yield "cure.instance-noise", 0.1  # Mescheder et al. 2018, section 3: it makes the game converge
    yield from _replay(history)


def _momentum(history: History) -> Candidates:
    if history.setting("optim.beta1", 0.0) > 0.5:  # a momentum that carries both players past each other
        yield "optim.beta1", 0.5


def _replay(history: History) -> Candidates:
    batch, shape = history.setting("training.batch", 64), history.facts.get("image_shape", (1,))
    if 0 < 2 * history.setting("model.start", 0) <= shape[-1]:  # past fakes of networks that grow are smaller
        if not history.setting("cure.instance-noise"):
            yield "cure.instance-noise", 0.1  # which helped as much
        return
    size = min(50 * batch, _MOST // (4 * prod(shape)))
    if not history.setting("cure.replay") and size >= batch:
        yield "cure.replay", size


def _critic_memorising(history: History) -> Candidates:
    if history.facts.get("kind") == "points":
        yield "cure.instance-noise", 0.1
        return
    if history.setting("cure.augment") == "none":
        yield "cure.augment", "ada"
    yield "cure.instance-noise", 0.1
    yield from _narrower(history)


def _generator_memorising(history: History) -> Candidates:
    if history.setting("cure.augment") == "none" and history.facts.get("kind") != "points":
        yield "cure.augment", "ada"
    beta = history.setting("objective.beta")
    if beta is not None:
        yield "objective.beta", _short(max(4 * beta, 1.0))
    yield from _narrower(history)


def _narrower(history: History) -> Candidates:
    width = history.setting("model.width", 0)
    if width >= 8:
        yield "model.width", width // 2


def _posterior_collapse(history: History) -> Candidates:
    if history.setting("objective.estimator") == "iwae":  # its bound has no KL to weigh
        return
    if history.setting("objective.beta", 1.0) > 1:
        yield "objective.beta", 1.0
    if history.setting("objective.sigma") == "fixed" and history.setting("objective.likelihood") == "gaussian":
        yield "objective.sigma", "optimal"
    if not history.setting("objective.warmup") and not history.setting("objective.capacity"):
        yield "objective.warmup", Images(max(round(0.3 * history.facts.get("until", 0)), 1))
    yield "objective.free-bits", 0.25


def _over_regularised(history: History) -> Candidates:
    if history.setting("objective.beta", 1.0) > 1:
        yield "objective.beta", 1.0
    yield from _blurred(history)


def _under_regularised(history: History) -> Candidates:
    if history.setting("objective.beta", 1.0) < 1:
        yield "objective.beta", 1.0
    yield from _blurred(history)


def _blurred(history: History) -> Candidates:
    if history.setting("objective.likelihood") == "gaussian":
        yield "objective.sigma", "optimal"


def _checkerboard(history: History) -> Candidates:
    yield from _strayed(history, "optim.lr", "optim.critic-lr")
    yield from _momentum(history)
    lr = history.setting("optim.lr", 0.0)
    if lr > _RATE:
        yield "optim.lr", _short(lr / 2)


def _longer(history: History) -> Candidates:
    yield "training.images", Images(2 * int(history.facts.get("until", history.end)))


def _shorter(history: History) -> Candidates:
    best = history.facts.get("best")
    if best:
        yield "training.images", Images(int(best))


def _none(history: History) -> Candidates:
    yield from ()


def _short(value: float) -> float:
    """Two digits are enough."""
    return float(f"{value:.2g}")


_CANDIDATES = {
    "divergence": _divergence,
    "mode-collapse-full": _collapse,
    "mode-collapse-partial": _collapse,
    "mode-cycling": _cycling,
    "saturated-critic": _saturated,
    "stuck-critic": _stuck,  # a saturated critic of the other kind
    "oscillation": _oscillation,
    "critic-memorising": _critic_memorising,
    "generator-memorising": _generator_memorising,
    "posterior-collapse": _posterior_collapse,
    "over-regularised": _over_regularised,
    "under-regularised": _under_regularised,
    "blurred": _blurred,
    "checkerboard": _checkerboard,
    "undertrained": _longer,
    "past-best": _shorter,
    "healthy": _none,
}
