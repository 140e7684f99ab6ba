"""What settings can mean. The sentences themselves are in test_cli.py."""

from dataclasses import replace
from typing import Any

import pytest

from latente.bounds import check
from latente.config import RunConfig, override, settings
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
]


@pytest.mark.parametrize(("name", "changes", "key"), CASES)
def test_settings_that_do_not_go_together(name: str, changes: dict[str, Any], key: str) -> None:
    assert refused(override(PRESETS[name](), changes)) == key


def test_every_bound_is_of_a_setting() -> None:
    from latente.bounds import _BOUNDS

    known = {name for preset in PRESETS.values() for name in settings(preset())}
    assert set(_BOUNDS) <= known
