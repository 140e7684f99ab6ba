"""Verdicts, on histories whose truth is known: each is given where it should be and not where it should not."""

import math
from typing import Any

import numpy as np
import pytest

from latente.bounds import check
from latente.config import override, parse, settings
from latente.diagnosis.findings import CALIBRATION, LIMITS, confidence
from latente.diagnosis.games import spread
from latente.diagnosis.history import History, Series
from latente.diagnosis.remedies import _CANDIDATES, remedy
from latente.diagnosis.verdicts import ORDER, Finding, judge
from latente.diagnosis.words import typed, words
from latente.messages import LANGUAGES
from latente.presets import PRESETS, scaled, suited

ROWS, STEP = 30, 1000


def facts(preset: str = "dcgan", source: str = "nowhere", **changes: Any) -> dict[str, Any]:
    """The facts of a run of a preset that came to its end."""
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    config = override(suited(PRESETS[preset](), source), {"data.source": source, **dotted})
    return {
        "preset": preset,
        "family": config.model.family,
        "cost": getattr(config.objective, "cost", None),
        "settings": {name: value for name, (_, value) in settings(config).items()},
        "until": ROWS * STEP,
        "stopped": "finished",
        "image_shape": (2, 1, 1) if source.startswith("points:") else (1, 32, 32),
        "kind": "points" if source.startswith("points:") else "images",
        "pictures": [0, 10 * STEP, 20 * STEP, 30 * STEP],
    }


def history(known: dict[str, Any] | None = None, unit: str = "images", **columns: Any) -> History:
    """Columns by name ("probe__coverage"; a number stands for a series with a little noise) -> a history."""
    rng = np.random.default_rng(0)
    found = {}
    for name, values in columns.items():
        if np.ndim(values) == 0:
            values = values + 0.01 * abs(values) * rng.standard_normal(ROWS)
        values = np.asarray(values, np.float64)
        found[name.replace("__", "/")] = Series(STEP * np.arange(1.0, len(values) + 1), values)
    return History(found, facts() if known is None else known, unit)


def healthy_game(known: dict[str, Any] | None = None, **changes: Any) -> History:
    """A game that goes well, but for what is changed."""
    paths = {f"probe__path__{k}": 0.05 * np.random.default_rng(k).standard_normal(ROWS) for k in range(8)}
    columns = {
        "critic__loss": 1.2,
        "generator__loss": 0.9,
        "critic__saturated": 0.02,
        "probe__diversity": 0.97,
        "probe__duplicates": 0.02,
        "probe__coverage": 0.9,
        "probe__density": 0.95,
        "probe__precision": 0.85,
        "probe__recall": 0.8,
        "probe__copies": 0.05,
        "probe__critic__ahead": 0.52,
        "probe__critic__beats": 0.7,
        "probe__turn__critic": 0.1,
        "probe__turn__generator": 0.2,
        "probe__checkerboard": 1.1,
    }
    return history(known, **{**columns, **paths, **changes})


def coded(known: dict[str, Any] | None = None, **changes: Any) -> History:
    """A VAE that goes well, but for what is changed."""
    falling = 0.008 + 0.05 * np.exp(-np.arange(ROWS) / 3)
    columns = {"kl": 40.0, "mse": falling, "test__mse": falling, "probe__kl": 40.0, "probe__active": 20.0}
    return history(facts("vae") if known is None else known, **{**columns, "probe__latents": 32.0, **changes})


def after(then: float, before: float, at: int = 15) -> np.ndarray:
    """`before`, and from row `at` on `then`."""
    return np.where(np.arange(ROWS) < at, before, then)


def named(given: History) -> dict[str, Finding]:
    return {finding.what: finding for finding in judge(given)}


def faults(given: History) -> list[str]:
    return [finding.what for finding in judge(given) if finding.severity == "fault"]


def turns(classes: int, every: int) -> dict[str, np.ndarray]:
    """Shares of classes that take turns."""
    holds = (np.arange(ROWS) // every) % classes
    return {f"probe__class__{k}": np.where(holds == k, 0.9, 0.1 / (classes - 1)) for k in range(classes)}


T = np.arange(ROWS)
FAULTS: list[tuple[str, History]] = [
    ("divergence", healthy_game(critic__loss=after(math.nan, 1.2))),
    ("divergence", healthy_game(generator__loss=after(3e4, 0.9, 25))),
    ("divergence", history({**facts(), "stopped": "non-finite", "term": "critic/loss", "since": 64}, critic__loss=1.0)),
    ("mode-collapse-full", healthy_game(probe__diversity=after(0.05, 0.9), probe__coverage=after(0.02, 0.8))),
    ("mode-collapse-full", healthy_game(probe__diversity=0.7, probe__coverage=0.03, probe__density=1.2)),
    ("mode-collapse-partial", healthy_game(probe__coverage=after(0.4, 0.9))),
    ("mode-collapse-partial", healthy_game(**{f"probe__class__{k}": 0.001 if k < 3 else 0.14 for k in range(10)})),
    ("mode-collapse-partial", history(probe__recall=0.2, probe__duplicates=0.4)),
    (
        "mode-cycling",
        healthy_game(
            probe__diversity=0.2,
            probe__coverage=0.1,
            **{f"probe__path__{k}": np.random.default_rng(k).standard_normal(ROWS) for k in range(8)},
        ),
    ),
    ("mode-cycling", healthy_game(probe__diversity=0.5, **turns(4, 2))),
    ("saturated-critic", healthy_game(critic__saturated=after(0.97, 0.1), probe__critic__beats=after(1.0, 0.8))),
    ("saturated-critic", history({**facts(), "stopped": "interrupted"}, critic__loss=0.005, generator__loss=0.5 * T)),
    ("saturated-critic", history({"foreign": True}, "step", critic__loss=0.002, generator__loss=9.0)),
    ("saturated-critic", history({"foreign": True}, critic__loss=np.full(ROWS, 0.5), generator__loss=np.zeros(ROWS))),
    ("oscillation", healthy_game(probe__path__3=0.5 * np.sin(T / 0.9))),
    ("oscillation", healthy_game(**{f"probe__path__{k}": 1.5 * np.cos(2.3 * T + k) for k in range(8)})),  # aliased
    (
        "oscillation",
        history(
            {"foreign": True},
            critic__loss=1 + 0.3 * np.sin(T) + 0.05 * np.random.default_rng(2).standard_normal(ROWS),
            generator__loss=1 - 0.3 * np.sin(T) + 0.05 * np.random.default_rng(3).standard_normal(ROWS),
        ),
    ),
    ("critic-memorising", healthy_game(probe__critic__ahead=0.55 + 0.4 * T / ROWS)),
    (
        "critic-memorising",
        history(
            facts("r3gan", objective__cost="hinge"),
            critic__real=5.0,
            critic__real__sd=1.0,
            test__critic__real=2.0,
            critic__loss=1.0,
        ),
    ),
    ("generator-memorising", healthy_game(probe__copies=after(0.9, 0.1))),
    ("posterior-collapse", coded(kl=0.01, probe__kl=0.01, probe__active=0.0)),
    ("posterior-collapse", history({"foreign": True}, "epoch", kl=1e-7, reconstruction=0.05)),
    ("over-regularised", coded(facts("vae", objective__beta=8.0))),
    ("under-regularised", coded(facts("vae", objective__beta=0.01))),
    ("checkerboard", healthy_game(probe__checkerboard=9.0)),
]


def fixed_sigma(value: float) -> dict[str, Any]:
    known = facts("vae")
    return {**known, "settings": {**known["settings"], "objective.sigma": "fixed", "objective.sigma-value": value}}


FAULTS.append(("blurred", coded(fixed_sigma(0.7))))
FAULTS.append(("under-regularised", coded(fixed_sigma(0.01))))


@pytest.mark.parametrize(("what", "given"), FAULTS, ids=[f"{what}-{i}" for i, (what, _) in enumerate(FAULTS)])
def test_a_fault_is_named_first(what: str, given: History) -> None:
    found = judge(given)
    assert found[0].what == what
    assert found[0].severity == "fault" or (what == "mode-collapse-partial" and found[0].confidence < 0.5)
    assert not {"healthy"} & {finding.what for finding in found}
    assert (0.4 if found[0].severity == "fault" else 0.1) < found[0].confidence <= 1
    assert found[0].score >= 0 and found[0].evidence


HEALTHY: dict[str, History] = {
    "game": healthy_game(),
    "game on points": healthy_game(facts("r3gan", "points:grid25")),
    "wasserstein": healthy_game(facts("wgan-gp"), critic__loss=-3.0, generator__loss=-20.0),
    "code": coded(),
    "code with few latents in use": coded(probe__active=6.0),
    "sigma near the error": coded(fixed_sigma(0.1)),
    "beta of 1.5": coded(facts("vae", **{"objective__beta": 1.5})),
    "bad pictures, spread as the reals": healthy_game(probe__coverage=0.7, probe__density=0.4),
    "rising coverage": healthy_game(
        {**facts(), "until": 10 * ROWS * STEP, "stopped": None},
        probe__coverage=np.linspace(0.05, 0.6, ROWS),
        probe__density=0.9,
    ),
    "a generator that has just begun": history(
        {**facts(), "until": 100 * ROWS * STEP, "stopped": None}, probe__diversity=0.02, probe__coverage=0.01
    ),
    "a critic that knows a little": healthy_game(probe__critic__ahead=0.62),
    "a loop that dies out": healthy_game(probe__path__0=np.exp(-T / 4) * np.sin(T)),
    "a tiny loop": healthy_game(probe__path__0=0.03 * np.sin(T)),
    "two losses": history({"foreign": True}, critic__loss=1.3, generator__loss=0.8),
    "Wasserstein's losses in a table": history({"foreign": True}, critic__loss=-0.1, generator__loss=5.0),
    "KL that comes in slowly": coded(
        facts("vae", objective__warmup=10 * ROWS * STEP), kl=0.01, probe__kl=0.01, probe__active=0.0
    ),
    "nothing": History({}, {}),
    "one row": history(critic__loss=[1.0], probe__coverage=[0.9], probe__density=[1.0], probe__diversity=[1.0]),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_health_is_a_verdict(name: str) -> None:
    found = named(HEALTHY[name])
    assert "healthy" in found and not [f.what for f in found.values() if f.severity == "fault"]


def test_the_confidence_of_health_is_what_was_looked_at() -> None:
    seen, losses = named(HEALTHY["game"])["healthy"], named(HEALTHY["two losses"])["healthy"]
    nothing = named(HEALTHY["nothing"])["healthy"]
    assert seen.confidence > 0.9 > 0.6 > losses.confidence > nothing.confidence
    poor = named(healthy_game(probe__density=0.05, probe__coverage=0.2))["healthy"]
    assert poor.confidence < 0.6, "fakes like no real image are no health"


def test_only_the_walk_of_red_noise_is_no_oscillation() -> None:
    """At most 1 of 20 runs whose probes wander by a tenth of the data's spread at a time: AR(1) with the memory of a
    slow walk, and the walk itself."""
    called = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        phi = (0.0, 0.5, 0.9, 1.0)[seed % 4]
        walks = {}
        for k in range(2):
            x = np.zeros(ROWS)
            for i in range(1, ROWS):
                x[i] = phi * x[i - 1] + 0.1 * rng.standard_normal()
            walks[f"probe__path__{k}"] = x
        called += "oscillation" in named(history(**walks))
    assert called <= 10


def test_fakes_that_come_back_oscillate_and_fakes_that_get_somewhere_do_not() -> None:
    """Too fast for a rhythm in the probes: elsewhere each time, by the data's spread. The same moves in one direction
    are a way, and small ones are nothing. Weights that tremble count only where the fakes do."""
    rng = np.random.default_rng(0)
    sides = rng.choice([-1.0, 1.0], ROWS)
    there = {f"probe__path__{k}": sides + 0.02 * rng.standard_normal(ROWS) for k in range(8)}
    found = named(healthy_game(**there))["oscillation"]
    assert found.evidence["travel"] > 0 and "period" not in found.evidence
    assert "oscillation" not in named(healthy_game(**{name: 0.1 * x for name, x in there.items()}))
    assert "oscillation" not in named(healthy_game(**{name: 0.6 * T for name in there}))
    turning = {"probe__turn__critic": -0.9, "probe__turn__generator": -0.9}
    assert "oscillation" not in named(healthy_game(**turning))
    surer = named(healthy_game(**turning, **{name: 0.7 * x for name, x in there.items()}))["oscillation"]
    alone = named(healthy_game(**{name: 0.7 * x for name, x in there.items()}))["oscillation"]
    assert surer.score > alone.score and surer.evidence["turn_critic"] == pytest.approx(-0.9, abs=0.02)


def test_less_coverage_is_asked_of_fakes_in_the_middle_of_the_data() -> None:
    """Sloppy fakes of all kinds lie around the data's own middle; where kinds are missing the middle moves."""
    sloppy = {"probe__coverage": 0.6, "probe__density": 0.9}
    assert "mode-collapse-partial" not in named(healthy_game(**sloppy, **middle(0.05)))
    found = named(healthy_game(**sloppy, **middle(0.4)))["mode-collapse-partial"]
    assert found.evidence["shift"] == pytest.approx(0.4, abs=0.01)


def middle(aside: float) -> dict[str, float]:
    """Fakes whose mean lies so far from the data's, along each direction."""
    return {f"probe__path__{k}": aside for k in range(8)}


def test_a_wreck_is_no_posterior_collapse() -> None:
    """No latent in use and thousands of nats: thrown there by the first steps, not left unused."""
    found = named(coded(kl=13_000.0, probe__kl=13_000.0, probe__active=0.0))
    assert "posterior-collapse" not in found and found["divergence"].evidence["kl"] > 12_000


def test_a_full_collapse_is_said_beside_divergence_and_what_follows_from_it_is_not() -> None:
    """A loss that ran away and a generator of one image are two faults. One that travels makes no one image, and of one
    that broke before there was anything to see nothing more is known."""
    away = {"generator__loss": after(3e4, 0.9, 25), "critic__saturated": 0.97, "probe__critic__beats": 1.0}
    one = {"probe__diversity": after(0.02, 0.9), "probe__coverage": after(0.01, 0.8)}
    assert faults(healthy_game(**away, **one)) == ["divergence", "mode-collapse-full"]
    assert faults(healthy_game(**away)) == ["divergence"]
    broken = {**facts(), "stopped": "non-finite", "term": "critic/loss", "since": ROWS * STEP, "until": 40 * STEP}
    assert faults(healthy_game(broken, **one)) == ["divergence", "mode-collapse-full"]
    early = {name: [0.02, 0.02] for name in one}
    assert faults(history({**broken, "since": 2 * STEP, "until": 8 * STEP}, **early)) == ["divergence"]
    travel = {f"probe__path__{k}": np.random.default_rng(k).standard_normal(ROWS) for k in range(8)}
    assert faults(healthy_game(**away, **one, **travel)) == ["divergence"]


def test_since_is_where_the_measure_left_its_healthy_range() -> None:
    for what, given in FAULTS:
        if what in ("mode-collapse-full", "generator-memorising"):
            found = judge(given)[0]
            assert found.since in (16 * STEP, STEP)  # row 15 is the 16th; or it was never in
    first = judge(FAULTS[3][1])[0]
    assert first.since == 16 * STEP and first.picture == "samples/000020000.png"
    assert first.evidence["diversity"] == pytest.approx(0.05)
    broke = judge(FAULTS[0][1])[0]
    assert broke.since == 16 * STEP and broke.evidence["term"] == "critic/loss"


def test_what_follows_from_a_fault_is_not_said_again() -> None:
    full = named(FAULTS[3][1])
    assert "mode-collapse-partial" not in full and "undertrained" not in full
    cycling = named(next(given for what, given in FAULTS if what == "mode-cycling"))
    assert not {"mode-collapse-full", "mode-collapse-partial"} & set(cycling)
    both = named(coded(facts("vae", objective__beta=50.0), kl=0.01, probe__kl=0.01, probe__active=0.0))
    assert set(both) == {"posterior-collapse"} and both["posterior-collapse"].remedy == {"objective.beta": 1.0}


def test_a_copy_half_of_the_classes_and_held_out_images() -> None:
    """One look at a set of images that stand for samples (issue 4, point 7), as the probes measure them."""
    known = {**facts(), "classes": list("abcdefghij")}
    copy = healthy_game(known, **{name: [value] for name, value in _look(1.0, 0.97).items()})
    assert judge(copy)[0].what == "generator-memorising"
    shares = {f"probe__class__{k}": [0.2 if k % 2 else 0.0] for k in range(10)}
    half = history(known, **{name: [value] for name, value in _look(0.05, 0.5).items()}, **shares)
    assert judge(half)[0].what == "mode-collapse-partial" and judge(half)[0].evidence["missing"] == "a, c, e, g, i"
    unread = history(known, **{name: [value] for name, value in _look(0.05, 0.5).items()})
    assert judge(unread)[0].what == "mode-collapse-partial", "without a classifier too"
    held_out = history(known, **{name: [value] for name, value in _look(0.05, 0.97).items()})
    assert judge(held_out)[0].what == "healthy"


def _look(copies: float, coverage: float) -> dict[str, float]:
    rest = {"probe__diversity": 0.95, "probe__density": 1.0, "probe__recall": 0.8, "probe__duplicates": 0.02}
    return {"probe__copies": copies, "probe__coverage": coverage, **rest}


def test_spread_is_1_for_fakes_that_lie_as_reals_do_however_many_are_good() -> None:
    """Monte Carlo with reals and fakes uniform on a line, a share q of the fakes good: coverage by its definition."""
    rng, k, n = np.random.default_rng(0), 5, 1500
    for q in (0.25, 0.5, 1.0):
        reals = rng.random(n)
        fakes = np.sort(rng.random(round(q * n)))
        apart = np.abs(np.sort(reals)[:, None] - np.sort(reals)[None])
        radius = np.sort(apart, 1)[:, k]  # [n]
        at = np.searchsorted(fakes, np.sort(reals))
        near = np.minimum(
            np.abs(fakes[np.clip(at, 0, len(fakes) - 1)] - np.sort(reals)),
            np.abs(fakes[np.clip(at - 1, 0, len(fakes) - 1)] - np.sort(reals)),
        )
        coverage = float((near < radius).mean())
        found = spread(history(probe__coverage=[coverage], probe__density=[q]))
        assert found is not None and found.values[0] == pytest.approx(1, abs=0.03)


def test_longer_and_shorter() -> None:
    falling = {"test__mse": 1 / (1 + T), "mse": 1 / (1 + T)}
    slow = named(history(facts("ae-conv"), test__mse=1 - 0.02 * T))
    assert slow["undertrained"].severity == "note" and slow["undertrained"].remedy == {"training.images": 60_000}
    assert "undertrained" not in named(history(facts("ae-conv"), **falling))
    going_on = {**facts("ae-conv"), "until": 10 * ROWS * STEP, "stopped": None}
    assert "undertrained" not in named(history(going_on, test__mse=1 - 0.02 * T)), "it is not over"
    over = named(history(facts("ae-conv"), test__mse=(T - 12.0) ** 2 / 144 + 0.1))
    assert over["past-best"].since == 13_000 and over["past-best"].remedy == {"training.images": 13_000}
    assert over["past-best"].picture == "samples/000030000.png" or over["past-best"].picture
    noisy = 0.1 + np.exp(-T / 2) + 0.02 * np.random.default_rng(0).standard_normal(ROWS)
    assert not {"past-best", "undertrained"} & set(named(history(facts("ae-conv"), test__mse=noisy)))
    fid = named(history({"foreign": True}, "epoch", fid=100 * np.exp(-T / 3) + 4 * np.maximum(T - 15, 0)))
    assert "past-best" in fid


def test_there_is_always_something_to_say_and_the_gravest_comes_first() -> None:
    for given in [given for _, given in FAULTS] + list(HEALTHY.values()):
        found = judge(given)
        places = [ORDER.index(finding.what) for finding in found]
        assert found and places == sorted(places)
        assert len({finding.what for finding in found}) == len(found)


def test_confidence_rises_with_the_score_and_is_a_probability() -> None:
    for way in CALIBRATION:
        values = [confidence(way, score) for score in (0.0, 0.5, 1.0, 2.0, 9.0)]
        assert values == sorted(values) and 0 < values[0] and values[-1] < 1, way
        assert values[-1] == values[-2], "the score counts up to 2"
    assert {way.partition("/")[0] for way in CALIBRATION} == set(ORDER)
    for name, limit in LIMITS.items():
        assert limit.score(limit.at) == 0 and limit.score(limit.far) == pytest.approx(1) and limit.why, name


def test_words_exist_for_every_verdict_in_both_languages() -> None:
    for what in ORDER:
        told = [words(Finding(what, "fault", 1000, {}, 0.7), "images", lang) for lang in LANGUAGES]
        for one, other in zip(*told, strict=True):
            assert (one and one != other) or not one
    for _, given in FAULTS:
        for finding in judge(given):
            for lang in LANGUAGES:
                said = words(finding, given.unit, lang)
                assert len(said.evidence) == len(finding.evidence) and all(said.evidence)


GAMES = [name for name, preset in PRESETS.items() if preset().cure is not None]
CODES = [name for name, preset in PRESETS.items() if preset().model.family in ("vae", "autoencoder")]
VARIANTS: list[dict[str, Any]] = [
    {},
    {"optim__lr": 0.05},
    {"optim__beta1": 0.9},
    {"cure__replay": 3200, "cure__instance_noise": 0.1},
]


@pytest.mark.parametrize("source", ["nowhere", "points:grid25"])
@pytest.mark.parametrize("name", GAMES)
def test_a_remedy_is_one_setting_that_the_run_can_take(name: str, source: str) -> None:
    for variant in VARIANTS:
        known = facts(name, source, **{key.replace("_noise", "-noise"): value for key, value in variant.items()})
        if "model.hold-images" in known["settings"] and known["settings"].get("cure.replay"):
            continue  # no run of theirs can have it
        for what in _CANDIDATES:
            _takes(name, source, known, what)


@pytest.mark.parametrize("name", CODES)
def test_a_remedy_of_a_code_too(name: str) -> None:
    for what in _CANDIDATES:
        _takes(name, "nowhere", facts(name), what)
    if name == "vae":
        for what in ("posterior-collapse", "blurred", "over-regularised", "under-regularised"):
            _takes(name, "nowhere", fixed_sigma(0.7), what)


def _takes(name: str, source: str, known: dict[str, Any], what: str) -> None:
    long = 100 if "model.hold-images" in known["settings"] else 1  # networks that grow need time to
    found = remedy(what, History({}, {**known, "until": long * known["until"], "best": long * 7000}))
    assert len(found) <= 1
    base = override(suited(PRESETS[name](), source), known["settings"])
    for dotted, value in found.items():
        hint, now = settings(base)[dotted]
        assert value != now
        flag = typed(dotted, value).split()
        assert parse(flag[1], hint, dotted) == pytest.approx(value) if isinstance(value, float) else True
        asked = scaled(base, value, set())[0] if dotted == "training.images" else override(base, found)
        check(asked, known["image_shape"])
        assert words(Finding(what, "fault", None, {}, 0.5, found)).does if what != "stuck-critic" else True


def test_every_fault_of_a_game_has_a_remedy() -> None:
    game = ("mode-collapse-full", "mode-collapse-partial", "mode-cycling", "saturated-critic", "oscillation")
    for name in GAMES:
        for what in (*game, "divergence", "critic-memorising", "checkerboard"):
            assert remedy(what, History({}, facts(name))), (name, what)
    assert remedy("divergence", History({}, {"foreign": True})) == {}


def test_networks_that_grow_are_told_of_noise_in_place_of_past_fakes() -> None:
    """Past fakes have another size. Such networks at full size from the start keep them."""
    for name in ("progan", "stylegan"):
        cycling = remedy("mode-cycling", History({}, facts(name)))
        whole = remedy("mode-cycling", History({}, facts(name, model__start=32)))
        assert cycling == {"cure.instance-noise": 0.1} and list(whole) == ["cure.replay"]
        noisy = facts(name, **{"cure__instance-noise": 0.1, "objective__cost": "wasserstein", "objective__gamma": 10.0})
        assert "cure.spectral-norm" not in remedy("mode-collapse-full", History({}, noisy))


def test_a_setting_that_strayed_goes_back() -> None:
    known = facts("dcgan", optim__lr=0.01)
    assert remedy("mode-collapse-full", History({}, known)) == {"optim.lr": 2e-4}
    known = facts("gan", "points:grid25", optim__lr=0.1)
    assert remedy("divergence", History({}, known)) == {"optim.lr": 1e-3}, "points have rates of their own"
