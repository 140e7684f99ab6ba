"""Verdicts on a game of two: what the generator leaves out, and what the critic does to it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from latente.diagnosis import signs
from latente.diagnosis.findings import LIMITS, Finding, also, finding, settled
from latente.diagnosis.history import History, Series

# ---- What the generator leaves out ----------------------------------------------------------------------------------


_FEW = 6  # points of a trend
_SEEN = 0.2  # density below which coverage tells nothing of kinds
_GOOD, _VARIED = 0.35, 0.85  # density below which few are good; diversity of half of Fashion-MNIST's classes: 0.84
_CENTRED, _PER_SHIFT = 0.42, 1.4  # spread below which fakes in the data's middle are a collapse; more for those aside
_ASIDE = 0.3  # shift of fakes whose middle is not the data's, however badly they are drawn
_FAR = 2.0  # standard deviations of the reals: as far as a move between probes counts
_BACK = 3.0  # times the way made, over the distance got: what came back; 1 straight on
_CLUMPED = 1.2  # scores that coverage must be lower by where no fake is good


def _mending(column: Series | None) -> bool:
    """Whether a measure that should be large is still rising fast: not trained long enough is another verdict."""
    if column is None or len(column) < _FEW:
        return False
    change, p = signs.trend(_recent(column))
    return change > 0.1 and p < 0.05


def _recent(column: Series) -> Series:
    """The last third, and never fewer than _FEW points: with fewer no trend is proved."""
    count = max(len(column) // 3, _FEW)
    return Series(column.images[-count:], column.values[-count:])


def _growing(history: History) -> bool:
    """Whether pictures still get better while the run goes on: sharper, more varied, nearer to more of the real ones.
    What is missing then may yet come; when the run is over it is missing."""
    if history.over:
        return False
    for name in ("sharpness", "coverage", "diversity"):
        column = history.get(f"probe/{name}", _FEW)
        if column is not None:
            recent = _recent(column)
            change, p = signs.trend(recent)
            if p < 0.05 and change > 0.15 * abs(float(np.median(recent.values))):
                return True
    return False


def spread(history: History) -> Series | None:
    """Coverage over the coverage that as many good fakes would have, were they spread as the reals are.

    A real image is covered unless its k nearest reals come before any good fake: with q good fakes a real, that has
    probability (1 + q)^-k. q is the density, at most 1 (Naeem et al. 2020: both are 1 - 2^-k and 1 for reals). So bad
    pictures alone do not look like a collapse. Where hardly any fake is good, nothing is said."""
    coverage, density = history.get("probe/coverage"), history.get("probe/density")
    if coverage is None or density is None:
        return coverage
    q = np.clip(np.interp(coverage.images, density.images, density.values), 0, 1)
    expected = 1 - (1 + q) ** -5.0
    good = q >= _SEEN
    return Series(coverage.images[good], coverage.values[good] / expected[good]) if good.any() else None


def shift(history: History) -> float | None:
    """How far the middle of the fakes lies from that of the data, in their standard deviations: 0.05 for as many reals,
    0.1 to 0.3 for Fashion-MNIST and MNIST without half of their classes."""
    paths = list(history.some("probe/path/").values())
    if not paths:
        return None
    places = np.stack([signs.last(path).values for path in paths], 1)  # [T, P]
    return float(np.median(np.sqrt((places**2).mean(1))))


def mode_collapse_full(history: History) -> Finding | None:
    """One kind of picture, or next to it: fakes much closer to each other than reals are, or a thirtieth of the reals
    covered by fakes that are good. Both, where both were measured, must not speak against it."""
    diversity, coverage = history.get("probe/diversity"), history.get("probe/coverage")
    main = diversity if diversity is not None else coverage
    if main is None or not settled(history, main) or _mending(diversity):
        return None
    scores, evidence = dict[str, float](), dict[str, float | str]()
    if diversity is not None:
        evidence["diversity"] = signs.level(diversity)
        scores["diversity"] = LIMITS["diversity"].score(signs.level(diversity))
    if coverage is not None:
        evidence["coverage"] = signs.level(coverage)
        if signs.level(coverage) > 0.35:
            return None
        if _mostly_good(history):
            scores["coverage"] = LIMITS["coverage"].score(signs.level(coverage))
    if not scores or max(scores.values()) < 0:
        return None
    worst = max(scores, key=lambda name: scores[name])
    accuser = diversity if worst == "diversity" else coverage
    assert accuser is not None
    since = signs.left(accuser, bad_below=LIMITS[worst].at)
    evidence |= also(history, "duplicates", "support")
    return finding(history, "mode-collapse-full", scores[worst], since, evidence)


def _mostly_good(history: History) -> bool:
    return history.get("probe/density") is not None and _goodness(history) >= 0.3


def _goodness(history: History) -> float:
    """The density of the last stretch, at most 1; 1 where nobody looked."""
    density = history.get("probe/density")
    return 1.0 if density is None else min(signs.level(density), 1.0)


def mode_collapse_partial(history: History) -> Finding | None:
    """A part of the kinds is missing: coverage well below what as many good fakes should have, fakes closer to each
    other than reals, or classes with less than a fifth of their due. Without any of them, recall or duplicates.

    Bad fakes are clumped too, into threads between the modes, and narrow modes cover little: more is asked before
    coverage accuses, unless the fakes' middle lies aside from the data's, as it does where whole kinds are missing."""
    asked_of = {"spread": spread(history), "narrow": history.get("probe/diversity")}
    asked_of |= {name: history.get(f"probe/{name}") for name in ("recall", "duplicates")}
    measures = {name: series for name, series in asked_of.items() if series is not None and settled(history, series)}
    shares = _class_shares(history)
    scores: dict[str, float] = {}
    evidence: dict[str, float | str] = {}
    for name, series in measures.items():
        evidence[name] = signs.level(series)
        scores[name] = LIMITS[name].score(signs.level(series))
    if shares is not None:
        missing = _missing(history, shares)
        scores["missing"] = LIMITS["missing"].score(len(missing) / len(shares))
        if missing:
            evidence["missing"] = ", ".join(missing)
    if "spread" in scores and (_goodness(history) < _SEEN or _varied_sketches(history)):
        del scores["spread"], evidence["spread"]
    elif "spread" in scores:
        limit, aside = LIMITS["spread"], shift(history)
        if aside is not None:
            evidence["shift"] = aside
        asked = limit.at if aside is None else min(_CENTRED + _PER_SHIFT * aside, 0.95)
        scores["spread"] += (asked - limit.at) / (limit.at - limit.far) - _CLUMPED * (1 - _goodness(history))
    main = [scores[name] for name in ("spread", "narrow", "missing") if name in scores]
    score = max(main or [scores[name] for name in ("recall", "duplicates") if name in scores] or [-1.0])
    if score < 0 or _mending(history.get("probe/coverage")) or _growing(history):
        return None
    since = None
    for name in ("spread", "narrow", "recall"):
        if scores.get(name, -1.0) >= 0:
            since = signs.left(measures[name], bad_below=LIMITS[name].at)
            break
    evidence.pop("narrow", None)
    evidence |= also(history, "coverage", "diversity")
    return finding(history, "mode-collapse-partial", score, since, evidence)


def _varied_sketches(history: History) -> bool:
    """Fakes of which few are good, which differ as real images do and lie around the same middle: what they do not
    cover they do not draw well."""
    diversity, aside = history.get("probe/diversity"), shift(history)
    if diversity is None or (aside is not None and aside > _ASIDE):
        return False
    return _goodness(history) < _GOOD and signs.level(diversity) > _VARIED


def _class_shares(history: History) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """The share of each class among the fakes, the last stretch; None where no classifier looked."""
    columns = _class_columns(history)
    if columns is None or not settled(history, columns[0]):
        return None
    return np.array([signs.level(column) for column in columns])


def _class_columns(history: History) -> list[Series] | None:
    columns = history.some("probe/class/")
    if len(columns) < 2:
        return None
    return [columns[name] for name in sorted(columns, key=lambda name: int(name.rpartition("/")[2]))]


def _missing(history: History, shares: np.ndarray[Any, np.dtype[np.float64]]) -> list[str]:
    due = history.facts.get("class_shares") or [1 / len(shares)] * len(shares)
    names = history.facts.get("classes") or [str(k) for k in range(len(shares))]
    return [names[k] for k, share in enumerate(shares) if share < due[k] / 5]


def mode_cycling(history: History) -> Finding | None:
    """One kind at a time, and never the same for long: the critic catches up, the generator moves to another kind and
    forgets the first. At each moment diversity is low while the fakes' place travels by more than a third of the reals'
    own spread from probe to probe; or the class that holds most of the fakes changes again and again."""
    scores: list[float] = []
    evidence: dict[str, float | str] = {}
    since: float | None = None
    diversity, paths = history.get("probe/diversity", 5), list(history.some("probe/path/", 5).values())
    if diversity is not None and paths and settled(history, diversity):
        low, moved = signs.level(diversity, 0.5), _travel(paths)
        evidence |= {"diversity": low, "travel": moved}
        scores.append(min(LIMITS["low"].score(low), LIMITS["travel"].score(moved)))
        since = signs.left(diversity, bad_below=LIMITS["low"].at)
    columns = _class_columns(history)
    if columns is not None and len(columns[0]) >= 5 and settled(history, columns[0]):
        turns, held = _turns(columns)
        evidence |= {"turns": float(turns)} if turns >= 3 else {}
        scores.append(LIMITS["turns"].score(turns) if held >= 0.5 else -1.0)
    if not scores or max(scores) < 0:
        return None
    return finding(history, "mode-cycling", max(scores), since, evidence)


def _travel(paths: list[Series]) -> float:
    """Mean over the last half of the root mean square move between probes, over the projections. A move counts for
    _FAR at most, so that one jump is no travel."""
    length = min(len(path) for path in paths)
    places = np.stack([path.values[-length:] for path in paths], 1)  # [T, P]
    moves = np.sqrt((np.diff(places[length // 2 - 1 :], axis=0) ** 2).mean(1))
    return float(np.minimum(moves, _FAR).mean())


def _turns(columns: list[Series]) -> tuple[int, float]:
    """How often the leading class changes in the last half, and the share that it holds (median)."""
    shares = np.stack([signs.last(column, 0.5, least=5).values for column in columns], 1)  # [T, K]
    return int((np.diff(shares.argmax(1)) != 0).sum()), float(np.median(shares.max(1)))


# ---- The critic -----------------------------------------------------------------------------------------------------


def saturated_critic(history: History) -> Finding | None:
    """The critic is right and sure, and what it could tell the generator has no slope (Arjovsky and Bottou 2017).

    Measured in the step (share of images past 0.99 both ways), with the ranking of held-out reals and fakes beside it;
    from losses alone: the critic's near 0 for a while, the generator's large or rising. Wasserstein and least-squares
    logits do not saturate: for these the critic's loss alone is read, and only least squares' has a floor."""
    column = history.get("critic/saturated", 4)
    if column is not None:
        evidence: dict[str, float | str] = {"saturated": signs.level(column, 1 / 3)}
        score = LIMITS["saturated"].score(signs.level(column, 1 / 3))
        beats = history.get("probe/critic/beats")
        if beats is not None:
            evidence["beats"] = signs.level(beats)
            if LIMITS["beats"].score(signs.level(beats)) < 0:
                return None
        if score < 0 or not settled(history, column):
            return None
        since = signs.left(column, bad_above=LIMITS["saturated"].at)
        return finding(history, "saturated-critic", score, since, evidence)
    return _saturated_losses(history) or _stuck_critic(history)


def _saturated_losses(history: History) -> Finding | None:
    cost = history.facts.get("cost")
    d_loss, g_loss = history.get("critic/loss", 6), history.get("generator/loss", 6)
    if d_loss is None or g_loss is None or cost == "wasserstein" or not settled(history, d_loss):
        return None
    d_level, g_level = signs.level(d_loss, 1 / 3), signs.level(g_loss, 1 / 3)
    if d_level < -1e-6 or (cost is None and d_loss.values.min() < -1e-6):  # a cost without a floor at 0
        return None
    score = LIMITS["d_loss"].score(math.log10(max(d_level, 1e-12)) + (0.7 if cost == "least-squares" else 0.0))
    early = float(np.median(g_loss.values[: max(len(g_loss) // 4, 3)]))
    losing = g_level > 3 or g_level > 1.5 * early > 0 or cost in ("minimax", "least-squares", "hinge")
    if score < 0 or not losing:
        return None
    since = signs.left(d_loss, bad_below=10 ** LIMITS["d_loss"].at)
    evidence: dict[str, float | str] = {"d_loss": d_level, "g_loss": g_level}
    return finding(history, "saturated-critic", score, since, evidence, "saturated-critic/losses")


def _stuck_critic(history: History) -> Finding | None:
    """Generator's loss 0 and the critic's the same for ever: it calls everything real (HyperGAN#177). It gives as
    little to learn from as one that is always right."""
    d_loss, g_loss = history.get("critic/loss", 8), history.get("generator/loss", 8)
    if d_loss is None or g_loss is None or history.facts.get("cost") == "wasserstein":
        return None
    d, g = signs.last(d_loss, 0.5).values, signs.last(g_loss, 0.5).values
    still = np.ptp(d) < 0.01 * max(abs(float(np.median(d))), 1e-6) and np.abs(g).max() < 0.01
    if not still or abs(float(np.median(d))) < 0.05:
        return None
    evidence: dict[str, float | str] = {"d_loss": float(np.median(d)), "g_loss": float(np.median(g))}
    since = signs.left(Series(g_loss.images, np.abs(g_loss.values)), bad_below=0.01)
    return finding(history, "saturated-critic", 0.5, since, evidence, "saturated-critic/stuck", cure="stuck-critic")


def critic_memorising(history: History) -> Finding | None:
    """It ranks the images it was trained on above held-out ones of the same kind (Karras et al. 2020, figure 1).

    By order alone, so that relativistic logits, which have no zero, say the same. Logits of checkpoints are the second
    best, and no witness where batch normalisation or dropout make training another network."""
    ahead = history.get("probe/critic/ahead")
    if ahead is not None and settled(history, ahead):
        value = signs.level(ahead)
        if (score := LIMITS["ahead"].score(value)) < 0:
            return None
        since = signs.left(ahead, bad_above=LIMITS["ahead"].at)
        return finding(history, "critic-memorising", score, since, {"ahead": value})
    trained, held_out = history.get("critic/real", 4), history.get("test/critic/real", 2)
    width = history.get("critic/real/sd", 4)
    other = history.setting("model.critic-norm") == "batch" or bool(history.setting("model.dropout"))
    drifts = history.facts.get("cost") in ("relativistic", "wasserstein")  # logits without a zero
    if trained is None or held_out is None or width is None or other or drifts:
        return None
    gap = (signs.level(trained) - signs.level(held_out)) / max(signs.level(width), 1e-9)
    if (score := LIMITS["gap"].score(gap)) < 0:
        return None
    return finding(history, "critic-memorising", score, None, {"gap": gap}, "critic-memorising/logits")


def generator_memorising(history: History) -> Finding | None:
    """New images that are training images: many more of them lie as close to one as few held-out reals do (Meehan et
    al. 2020)."""
    copies = history.get("probe/copies")
    if copies is None or not settled(history, copies):
        return None
    value = signs.level(copies)
    if (score := LIMITS["copies"].score(value)) < 0:
        return None
    since = signs.left(copies, bad_above=LIMITS["copies"].at)
    return finding(history, "generator-memorising", score, since, {"copies": value})


def oscillation(history: History) -> Finding | None:
    """The players go round each other and do not arrive (Mescheder et al. 2018): the same latents give images that
    travel to and fro; where they do, moves of the weights that undo each other make it surer.

    Seen often enough, a loop is a rhythm: one only if red noise does not draw it as strongly (`signs.rhythm`), if it
    holds a third of the variance and does not die out. A loop faster than the probes leaves no rhythm in them, but
    fakes that are elsewhere at each probe and come back. In the losses of a table the first is believed less: schedules
    and epochs have rhythms too."""
    begin = history.begin + 0.1 * (history.end - history.begin)
    paths = {name: column.after(begin) for name, column in history.some("probe/path/").items()}
    way = "oscillation" if paths else "oscillation/losses"
    if not paths:
        named = ("critic/loss", "generator/loss")
        found = {name: history.get(name) for name in named}
        paths = {name: column.after(begin) for name, column in found.items() if column is not None}
        if len(paths) < 2:
            return None
    loop = signs.rhythm(paths.items())
    score, evidence = -1.0, dict[str, float | str]()
    if loop is not None and loop.share >= 0.3 and loop.lasting >= 0.5 and _wide(paths[loop.name], loop, way):
        score = LIMITS["rhythm"].score(-math.log10(loop.p))
        if score >= 0:
            evidence |= {"period": loop.period, "p": loop.p, "share": loop.share}
    moved = _to_and_fro(list(paths.values())) if way == "oscillation" else 0.0
    if LIMITS["restless"].score(moved) >= 0:
        evidence["travel"] = moved
        score = max(score, LIMITS["restless"].score(moved))
    for player in ("critic", "generator"):
        turn = history.get(f"probe/turn/{player}", 4)
        if turn is not None and score >= 0:  # weights that tremble, of fakes that stay, do no harm
            value = signs.level(turn, 1 / 3)
            if LIMITS["turn"].score(value) >= 0:
                evidence[f"turn_{player}"] = value
                score = max(score, LIMITS["turn"].score(value))
    if score < 0:
        return None
    return finding(history, "oscillation", score, None, evidence, way)


def _to_and_fro(paths: list[Series]) -> float:
    """How far fakes travel from probe to probe (`_travel`); 0 of fakes that mostly get somewhere by it, or of which too
    little is known."""
    length = min(len(path) for path in paths)
    if length < 8:
        return 0.0
    places = np.stack([path.values[-length:] for path in paths], 1)[length // 2 :]  # [T, P]
    moves = np.sqrt((np.diff(places, axis=0) ** 2).mean(1))
    apart = math.sqrt(float(((places[-1] - places[0]) ** 2).mean()))
    return _travel(paths) if moves.sum() > _BACK * apart else 0.0


def _wide(path: Series, loop: signs.Rhythm, way: str) -> bool:
    """A loop of fakes is worth a word from a tenth of the reals' spread on."""
    return way != "oscillation" or float(np.std(path.values)) * math.sqrt(loop.share) >= 0.1
