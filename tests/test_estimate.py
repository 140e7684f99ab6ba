"""Floating-point operations of a step, counted by torch, against a count by hand."""

from dataclasses import replace

import pytest

from latente.presets import PRESETS
from latente.training import estimate
from latente.training.estimate import step_flops, times


def test_operations_of_a_dense_network_are_those_of_its_products():
    config = PRESETS["ae-stacked"]()
    widths = (64, *config.model.hidden, config.model.latent)
    products = [(below, above) for below, above in zip(widths, widths[1:], strict=False)]
    products += [(above, below) for below, above in reversed(products)]
    # Forward, gradient of the weights, and gradient of the input except for the first layer; 2 operations a product.
    expected = 2 * (3 * sum(a * b for a, b in products) - widths[0] * widths[1])
    flops, convolutional = step_flops(config, (1, 8, 8))
    assert flops == pytest.approx(expected) and not convolutional


def test_convolutions_are_recognised_and_grow_with_the_image():
    config = replace(PRESETS["vae"]())
    small, convolutional = step_flops(config, (1, 16, 16))
    large, _ = step_flops(config, (1, 32, 32))
    assert convolutional and large > 3 * small


def test_every_preset_has_an_estimate():
    found = times((1, 16, 16))
    assert set(found) == set(PRESETS)
    assert all(row["seconds"] > 0 and row["gflop_per_image"] >= 0 for row in found.values())


def test_what_would_be_refused_has_no_estimate(monkeypatch):
    """The length of `progan-r1` has room for four doublings, and 128 pixels are five."""
    monkeypatch.setattr(estimate, "PRESETS", {"progan-r1": PRESETS["progan-r1"]})
    assert times((1, 128, 128)) == {} and set(times((1, 16, 16))) == {"progan-r1"}
