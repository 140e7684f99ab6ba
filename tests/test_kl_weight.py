"""One objective in all its disguises: the same gradient, whatever it is called."""

import math
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from latente.config import VAEObjective
from latente.kl_weight import equivalent, explain

SHAPE = (1, 8, 8)
LIKELIHOODS = ("bernoulli", "gaussian", "logistic")


def test_equivalent_weights_have_the_same_gradient() -> None:
    shape = (1, 4, 4)
    objective = VAEObjective(likelihood="gaussian", sigma="fixed", sigma_value=0.3, beta=4.0)
    known = equivalent(objective, shape)
    sse, kl = torch.rand(2, requires_grad=True)

    def direction(loss: Tensor) -> float:
        by_error, by_kl = torch.autograd.grad(loss, (sse, kl), retain_graph=True)
        return float(by_kl / by_error)

    asked = sse / (2 * 0.3**2) + 4.0 * kl
    assert (
        known.sigma_at_beta_1 is not None and known.weight_with_sum is not None and known.weight_with_mean is not None
    )
    assert direction(sse / (2 * known.sigma_at_beta_1**2) + kl) == pytest.approx(direction(asked))
    assert direction(sse + known.weight_with_sum * kl) == pytest.approx(direction(asked))
    assert direction(sse / 16 + known.weight_with_mean * kl) == pytest.approx(direction(asked))


def test_equivalent_of_the_books_vae() -> None:
    # Géron's chapter 17: MSE + KL / 784, the pixels' mean and the KL divided by 784, is sigma^2 = 0.5.
    known = equivalent(VAEObjective(sigma="fixed", sigma_value=math.sqrt(0.5)), (1, 28, 28))
    assert known.weight_with_mean == pytest.approx(1 / 784)


@pytest.mark.parametrize("lang", ["es", "en"])
def test_every_objective_is_explained(lang: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTE_LANG", lang)
    for likelihood, sigma, estimator in product(LIKELIHOODS, ["fixed", "learned", "optimal"], ["B", "iwae"]):
        objective: Any = VAEObjective(likelihood=likelihood, sigma=sigma, estimator=estimator)  # type: ignore[arg-type]
        for known in (None, 0.1):
            sentence = explain(objective, SHAPE, known)
            assert "{" not in sentence and "sigma None" not in sentence and "KL" in sentence
