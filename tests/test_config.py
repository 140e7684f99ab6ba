"""The configuration: counts, values from JSON and from the command line, and what is refused."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latente.config import (
    Images,
    RunConfig,
    VAEModel,
    VAEObjective,
    count,
    expected,
    from_json,
    override,
    parse,
    settings,
    to_json,
)
from latente.messages import Problem
from latente.presets import PRESETS
from toy import NAMES, toy

PLAIN = RunConfig(preset="p", paper="q", model=VAEModel(), objective=VAEObjective())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("60000", 60_000),
        ("300k", 300_000),
        ("300K", 300_000),
        ("2M", 2_000_000),
        ("1.5m", 1_500_000),
        ("0.001k", 1),
    ],
)
def test_counts(text: str, value: int) -> None:
    assert count(text) == value and type(count(text)) is Images


@given(st.integers(0, 10**8), st.sampled_from([("k", 3), ("M", 6)]))
def test_every_whole_number_of_thousands_and_thousandths_is_a_count(value: int, unit: tuple[str, int]) -> None:
    letter, zeros = unit
    assert count(f"{Decimal(value).scaleb(-zeros):f}{letter}") == value


@pytest.mark.parametrize(
    "text",
    ["", "k", "-3", "-1k", "1.5", "1.0005k", "x", "7x", "3kk", "nan", "nank", "inf", "1e400", "1e99", "1,5k", "--2"],
)
def test_what_is_no_count(text: str) -> None:
    with pytest.raises(Problem) as problem:
        count(text)
    assert problem.value.key == "cli.not_a_count" and problem.value.fields["given"] == text


@pytest.mark.parametrize("name", [*PRESETS, *NAMES])
def test_every_configuration_goes_through_json(name: str) -> None:
    config = PRESETS[name]() if name in PRESETS else toy(name)
    again = from_json(json.loads(json.dumps(to_json(config))))
    assert again == config
    assert type(again.training.images) is Images
    assert json.dumps(to_json(again)) == json.dumps(to_json(config))


def test_a_section_that_is_missing_has_its_defaults() -> None:
    tree = to_json(PLAIN)
    del tree["optim"], tree["training"]["batch"]
    assert from_json(tree) == PLAIN


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("model", "latent", "64"),
        ("model", "latent", 6.5),
        ("model", "latent", True),
        ("model", "latent", None),
        ("model", "kind", "gru"),
        ("model", "hidden", [1.5]),
        ("model", "hidden", 500),
        ("model", "conditional", 1),
        ("optim", "lr", "fast"),
        ("optim", "lr", True),
        ("optim", "name", ["adam"]),
        ("training", "images", "300k"),
        ("training", "images", 1.0),
        ("data", "source", 3),
        ("data", "resolution", "32"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(section: str, name: str, value: Any) -> None:
    tree = to_json(PLAIN)
    tree[section][name] = value
    with pytest.raises(Problem) as problem:
        from_json(tree)
    assert problem.value.key == "cli.bad_value"
    assert problem.value.fields["name"] == f"{section}.{name}" and problem.value.fields["given"] == value


def test_what_json_has_no_word_for() -> None:
    tree = to_json(PLAIN)
    tree["optim"]["lr"] = 1  # a whole number where a float is meant
    tree["data"]["resolution"] = None
    tree["model"]["hidden"] = []
    read = from_json(tree)
    assert (read.optim.lr, type(read.optim.lr), read.data.resolution, read.model.hidden) == (1.0, float, None, ())


def test_unknown_names_are_refused_with_the_nearest() -> None:
    tree = to_json(PLAIN)
    tree["training"]["bach"] = 8
    with pytest.raises(Problem) as problem:
        from_json(tree)
    assert problem.value.key == "cli.unknown_setting" and "batch" in problem.value.fields["near"]
    tree = to_json(PLAIN)
    tree["model"]["family"] = "diffusion"
    with pytest.raises(Problem) as problem:
        from_json(tree)
    assert problem.value.key == "cli.unknown_family"


def test_every_setting_has_a_dotted_name_and_can_be_typed() -> None:
    for name in PRESETS:
        config = PRESETS[name]()
        for dotted, (hint, value) in settings(config).items():
            assert "_" not in dotted and dotted.count(".") == 1 and "family" not in dotted
            assert expected(hint)
            typed = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            assert parse(typed, hint, dotted) == value, dotted
            assert override(config, {dotted: value}) == config


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("model.hidden", "200,100", (200, 100)),
        ("model.hidden", "200 100", (200, 100)),
        ("model.hidden", "", ()),
        ("model.conditional", "True", True),
        ("model.conditional", "no", False),
        ("training.images", "1.5M", 1_500_000),
        ("optim.lr", "1e-3", 0.001),
        ("data.resolution", "none", None),
        ("data.resolution", "64", 64),
        ("data.source", "none", "none"),
        ("model.kind", "mlp", "mlp"),
    ],
)
def test_typed_values(name: str, text: str, value: Any) -> None:
    found = parse(text, settings(PLAIN)[name][0], name)
    assert found == value and type(found) in (type(value), Images)
    assert settings(override(PLAIN, {name: found}))[name][1] == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("model.hidden", "200;100"),
        ("model.hidden", "wide"),
        ("model.conditional", "perhaps"),
        ("model.conditional", ""),
        ("training.images", "-3"),
        ("optim.lr", "nan"),
        ("optim.lr", "inf"),
        ("optim.lr", "fast"),
        ("optim.lr", ""),
        ("data.resolution", "7x"),
        ("data.resolution", "1.5"),
        ("model.kind", "MLP2"),
    ],
)
def test_what_was_mistyped_is_refused(name: str, text: str) -> None:
    with pytest.raises(Problem) as problem:
        parse(text, settings(PLAIN)[name][0], name)
    assert problem.value.key in ("cli.bad_value", "cli.not_a_count")
    assert "\n" not in str(problem.value)


def test_overrides_leave_the_rest() -> None:
    changed = override(PLAIN, {"optim.lr": 0.5, "training.sample-every": Images(7)})
    assert (changed.optim.lr, changed.training.sample_every) == (0.5, 7)
    assert override(changed, {"optim.lr": PLAIN.optim.lr, "training.sample-every": Images(0)}) == PLAIN
    with pytest.raises(Problem) as problem:
        override(PLAIN, {"optim.rate": 0.5})
    assert problem.value.key == "cli.unknown_setting"
