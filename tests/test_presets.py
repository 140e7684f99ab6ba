"""Every preset is a complete configuration that names its source."""

import json

import pytest

from latente.bounds import check
from latente.config import from_json, settings, to_json
from latente.messages import LANGUAGES, catalogue
from latente.presets import PRESETS, demo, scaled


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_json_and_names_its_source(name):
    config = PRESETS[name]()
    assert config.preset == name
    assert any(character.isdigit() for character in config.paper), "a year or a number of the paper"
    assert from_json(json.loads(json.dumps(to_json(config)))) == config


def test_every_preset_is_described_in_both_languages():
    for language in LANGUAGES:
        assert set(catalogue(language, "presets")) == set(PRESETS)


def test_the_demo_is_the_vae_on_the_embedded_faces():
    config = demo()
    assert (config.preset, config.data.source) == ("vae", "caras")


def test_scaling_keeps_proportions():
    config = PRESETS["ae-greedy"]()
    half, names = scaled(config, config.training.images // 2, keep=set())
    assert half.training.images == config.training.images // 2
    assert "objective.greedy-images" in names
    assert half.objective.greedy_images == round(config.objective.greedy_images / 2)
    same, names = scaled(config, config.training.images, keep=set())
    assert (same, names) == (config, [])
    kept, names = scaled(config, config.training.images // 2, keep={"objective.greedy-images"})
    assert kept.objective.greedy_images == config.objective.greedy_images and names == ["optim.decay-from"]
    assert kept.optim.decay_from == config.optim.decay_from / 2


def test_a_run_of_any_length_leaves_room_for_the_last_size():
    """At 64 pixels the phases of the preset take just as much of a run as they may: rounded up they would take more."""
    for images in range(12_340, 12_350):
        check(scaled(PRESETS["progan"](), images, keep=set())[0], (3, 64, 64))


@pytest.mark.parametrize("name", PRESETS)
def test_what_scales_with_the_length_is_a_setting(name):
    config, names = scaled(PRESETS[name](), 7, keep=set())
    assert set(names) <= set(settings(config))
