"""What settings can mean. The sentences themselves are in test_cli.py."""

from dataclasses import replace
from typing import Any

import pytest

from latente.bounds import check
from latente.config import Images, RunConfig, override, settings
from latente.messages import Problem
from latente.presets import PRESETS, suited

SHAPE = (1, 28, 28)


def refused(config: RunConfig, shape: tuple[int, int, int] = SHAPE) -> str:
    with pytest.raises(Problem) as problem:
        check(config, shape)
    return problem.value.key


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_possible(name: str) -> None:
    check(PRESETS[name](), SHAPE)


@pytest.mark.parametrize("source", ["points:grid25", "points:line"])
@pytest.mark.parametrize("name", [n for n, preset in PRESETS.items() if preset().cure])
def test_every_game_is_possible_with_points(name: str, source: str) -> None:
    config = suited(PRESETS[name](), source)
    check(config, (1, 1, 1) if source == "points:line" else (2, 1, 1))
    assert config.preset == name and config.model.family == "gan"
    assert config.objective.cost == PRESETS[name]().objective.cost  # type: ignore[union-attr]
    assert suited(PRESETS[name](), "mnist") == PRESETS[name]()


@pytest.mark.parametrize("value", [-1e-9, -1, 1.01])
def test_ends_are_allowed_and_no_more(value: float) -> None:
    config = PRESETS["dcgan"]()
    assert config.cure is not None
    assert refused(replace(config, cure=replace(config.cure, replay_share=value))) == "train.out_of_bounds"
    for end in (0.0, 1.0):
        check(replace(config, cure=replace(config.cure, replay_share=end)), SHAPE)


CASES: list[tuple[str, dict[str, Any], str]] = [
    ("dcgan", {"training.batch": 1}, "train.batch_norm"),
    ("wgan", {"training.batch": 5}, "train.batch_norm"),
    ("wgan", {"training.batch": 64}, "train.critic_steps"),
    ("wgan-gp", {"objective.clip": 0.1}, "train.clip_and_penalty"),
    ("wgan", {"objective.clip": 0.0}, "train.clip_needs_limit"),
    ("r3gan", {"objective.gamma": 0.0}, "train.penalty_needs_gamma"),
    ("r3gan", {"objective.penalty": "none"}, "train.gamma_without_penalty"),
    ("gan", {"cure.packing": 5}, "train.packing"),
    ("gan", {"training.batch": 4, "cure.packing": 4, "cure.minibatch-stddev": True}, "train.compares"),
    ("gan", {"cure.replay": 10}, "train.replay_small"),
    ("gan", {"cure.replay": 10**7}, "train.replay_large"),
    ("wgan", {"cure.label-smoothing": 0.1}, "train.smoothing"),
    ("dcgan", {"objective.path-length": 2.0}, "train.path_length"),
    ("progan", {"objective.path-length": 2.0}, "train.path_length"),
    ("progan", {"cure.spectral-norm": True}, "train.equalised"),
    ("progan", {"cure.replay": 5000}, "train.replay_growing"),
    ("progan", {"model.batches": (64, 0)}, "train.out_of_bounds"),
    ("progan", {"model.batches": (64, 32, 15), "optim.critic-steps": 2}, "train.critic_steps"),
    ("progan", {"model.batches": (64, 33), "cure.packing": 2}, "train.packing"),
    ("progan", {"model.batches": (64, 1)}, "train.compares"),
    ("progan", {"training.images": Images(299_999)}, "train.growth"),
]


@pytest.mark.parametrize(("name", "changes", "key"), CASES)
def test_settings_that_do_not_go_together(name: str, changes: dict[str, Any], key: str) -> None:
    assert refused(override(PRESETS[name](), changes)) == key


def test_growing_leaves_a_fifth_of_the_run_to_the_last_size() -> None:
    """120k images a doubling: 600k are enough for 64 pixels, and for 128 what is asked for is said to be too much."""
    config = PRESETS["progan"]()
    check(config, (4, 64, 64))
    with pytest.raises(Problem) as problem:
        check(config, (4, 128, 128))
    assert problem.value.key == "train.growth" and "96000" in str(problem.value).replace(",", "")
    check(override(config, {"model.hold-images": Images(48_000), "model.fade-images": Images(48_000)}), (4, 128, 128))
    check(override(config, {"model.start": 128}), (4, 128, 128))
    for start in (0, 32):
        check(override(config, {"model.start": start, "cure.replay": 5000}), (4, 32, 32))  # nothing grows


def test_every_bound_is_of_a_setting() -> None:
    from latente.bounds import _BOUNDS

    known = {name for preset in PRESETS.values() for name in settings(preset())}
    assert set(_BOUNDS) <= known
