"""MIG, SAP and DCI against codes whose scores are known, loops over entries, and scikit-learn."""

import sys
from itertools import product

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, mutual_info_score
from sklearn.svm import LinearSVC

from latente.data import caras
from latente.evaluation import disentanglement as module
from latente.evaluation.disentanglement import binned, dci, mig, mutual_information, sap
from latente.messages import Problem

SCORES = {
    "mig": lambda z, v: [mig(z, v).score],
    "sap": lambda z, v: [sap(z, v).score],
    "dci": lambda z, v: dci(z, v)[:2],
}


def every_combination(times: int = 15) -> dict[str, np.ndarray]:
    """Factors of 4, 3 and 2 values, each combination as often: they tell nothing of one another."""
    grid = np.array([*product(range(4), range(3), range(2))] * times)  # [24 times, 3]
    return dict(zip(("four", "three", "two"), grid.T, strict=True))


def amounts(n: int = 600, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(-1, 1, n) for name in ("left", "right", "up")}


def one_to_one(factors: dict[str, np.ndarray], idle: int = 2) -> np.ndarray:
    """A latent a factor, in another order, some upside down and far greater; `idle` constant ones between them."""
    columns = [scale * values.astype(float) for values, scale in zip(factors.values(), (1, -30, 0.1), strict=True)]
    n = len(columns[0])
    return np.stack([columns[2], *[np.full(n, 0.3)] * idle, columns[0], columns[1]], 1)


# --- A perfect code, a rotated one ------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", SCORES)
def test_a_latent_a_factor_is_perfect(score):
    """SAP of K kinds is less: the latents of other factors guess one in K right."""
    factors = every_combination()
    best, within = (1 - np.mean([1 / 4, 1 / 3, 1 / 2]), 0.05) if score == "sap" else (1, 1e-9)
    assert SCORES[score](one_to_one(factors), factors) == pytest.approx(
        [best] * (2 if score == "dci" else 1), abs=within
    )
    factors = amounts(200 if score == "dci" else 20_000)
    assert min(SCORES[score](one_to_one(factors), factors)) == pytest.approx(1, abs=0.005)


@pytest.mark.parametrize("score", SCORES)
def test_every_factor_in_every_latent_is_worth_nothing(score):
    factors = amounts(300 if score == "dci" else 5000)
    rotation = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1]]).T / 2  # [4, 3]: of each as much in each latent
    z = np.stack(list(factors.values()), 1) @ rotation.T
    assert max(SCORES[score](z, factors)) < (0.15 if score == "dci" else 0.05)


@pytest.mark.parametrize("score", SCORES)
def test_the_order_the_sign_and_the_scale_of_latents_do_not_matter(score):
    """Trees break ties by the order of columns: DCI is nearly the same, the others exactly."""
    factors = every_combination(5) | {"amount": amounts(120)["left"]}
    rng = np.random.default_rng(0)
    z = np.stack(list(factors.values()), 1) @ rng.normal(size=(4, 5)) + 0.3 * rng.normal(size=(120, 5))
    before = SCORES[score](z, factors)
    moved = z[:, rng.permutation(5)] * np.array([1, -2, 4, -0.5, 8])
    assert SCORES[score](moved, factors) == pytest.approx(before, abs=0.05 if score == "dci" else 1e-6)
    assert 0.01 < min(before) and max(before) < 0.99


# --- MIG --------------------------------------------------------------------------------------------------------------


def test_mig_entry_by_entry():
    """With more latents than factors, and tables that are not square: where a `.view` for a transpose goes wrong."""
    rng = np.random.default_rng(0)
    factors = {"kind": rng.integers(0, 3, 400), "amount": rng.normal(size=400), "flag": rng.random(400) < 0.3}
    z = rng.normal(size=(400, 5))
    z[:, 1] += factors["kind"]
    z[:, 4] += 2 * factors["amount"]
    found = mig(z, factors, bins=7)
    gaps = []
    for k, (name, values) in enumerate(factors.items()):
        v = np.digitize(values, np.histogram_bin_edges(values, 7)[1:-1]) if name == "amount" else values
        told = []
        for i in range(5):
            code = np.digitize(z[:, i], np.histogram_bin_edges(z[:, i], 7)[1:-1])
            told.append(mutual_info_score(v, code) / mutual_info_score(v, v))
            assert found.table[i, k] == pytest.approx(told[-1], rel=1e-9)
        gaps.append(sorted(told)[-1] - sorted(told)[-2])
        assert found.factors[name] == pytest.approx(gaps[-1], rel=1e-9)
    assert found.score == pytest.approx(np.mean(gaps)) and found.table.shape == (5, 3)


def test_mutual_information_is_scikit_learns_and_an_entropy_of_itself():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 5, 300)
    b = (a + rng.integers(0, 2, 300)) % 7
    assert mutual_information(a, b) == pytest.approx(mutual_info_score(a, b), rel=1e-12)
    shares = np.bincount(a) / 300
    assert mutual_information(a, a) == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-12)
    assert mutual_information(np.arange(300) % 2, np.arange(300) // 150) == 0


def test_one_latent_is_ahead_of_nothing():
    factors = every_combination()
    found = mig(factors["four"][:, None].astype(float), factors)
    assert found.factors == pytest.approx({"four": 1, "three": 0, "two": 0}, abs=1e-12)


def test_bins_are_of_equal_width_and_hold_both_ends():
    values = np.array([-1.0, -0.51, -0.5, 0.0, 0.49, 1.0])
    assert binned(values, 4).tolist() == [0, 0, 1, 2, 2, 3]
    assert binned(np.full(3, 0.1), 4).tolist() == [0, 0, 0]


# --- SAP --------------------------------------------------------------------------------------------------------------


def test_sap_of_amounts_is_the_squared_correlation():
    factors = amounts()
    rng = np.random.default_rng(1)
    z = rng.normal(size=(600, 4)) + np.stack([*factors.values(), factors["left"]], 1)
    found = sap(z, factors)
    for k, values in enumerate(factors.values()):
        told = [np.corrcoef(z[:, i], values)[0, 1] ** 2 for i in range(4)]
        assert found.table[:, k] == pytest.approx(told, rel=1e-9)
        assert list(found.factors.values())[k] == pytest.approx(sorted(told)[-1] - sorted(told)[-2])


def test_sap_of_two_kinds_by_trying_every_threshold():
    rng = np.random.default_rng(0)
    v = rng.integers(0, 2, 90)
    z = np.round(rng.normal(size=(90, 3)) + v[:, None] * [2.0, -1.0, 0.0], 1)  # with ties
    learn, judge = np.split(np.random.default_rng(0).permutation(90), [60])
    found = sap(z, {"v": v})

    def balanced(part: np.ndarray, i: int, middle: float, above: int) -> float:
        right = (z[part, i] > middle) == (v[part] == above)
        return float(np.mean([right[v[part] == kind].mean() for kind in (0, 1)]))

    for i in range(3):
        tried = [(middle, above) for middle in np.unique(z[:, i]) + 0.05 for above in (0, 1)]
        best = max(balanced(learn, i, *one) for one in tried)
        equals = [balanced(judge, i, *one) for one in tried if balanced(learn, i, *one) > best - 1e-9]
        assert any(found.table[i, 0] == pytest.approx(value) for value in equals)
    assert found.table[0, 0] > 0.75 > found.table[2, 0]


def test_sap_is_at_least_as_sure_as_a_linear_svm():
    rng = np.random.default_rng(0)
    v = rng.integers(0, 2, 3000)
    z = rng.normal(size=(3000, 1)) + v[:, None]
    svm = LinearSVC(class_weight="balanced", dual=False).fit(z[:2000], v[:2000])
    other = balanced_accuracy_score(v[2000:], svm.predict(z[2000:]))
    assert sap(z, {"v": v}).table[0, 0] == pytest.approx(other, abs=0.02)
    assert other == pytest.approx(0.69, abs=0.03)  # Phi(1/2)


def test_sap_finds_a_kind_that_lies_between_others():
    """Which one SVM a kind, each against all others, cannot: no threshold cuts the middle one out."""
    v = np.arange(300) % 5
    z = np.stack([v + 0.01 * np.sin(np.arange(300)), np.cos(np.arange(300) ** 2)], 1)
    found = sap(z, {"v": v})
    assert found.table[0, 0] == 1 and 0.05 < found.table[1, 0] < 0.4  # the other one guesses: about 1/5
    alone = LinearSVC(C=0.01, class_weight="balanced", dual=False).fit(z[:, :1], v).predict(z[:, :1])
    assert balanced_accuracy_score(v, alone) < 0.8


# --- DCI --------------------------------------------------------------------------------------------------------------


def test_dci_follows_its_equations(monkeypatch):
    """With importances made by hand, where a loop over the entries of the paper's equations is easy."""
    rng = np.random.default_rng(0)
    importances = rng.dirichlet(np.full(5, 0.5), 3)  # [F, d]
    importances[:, 2] = 0  # a latent that matters to nothing

    class Predictor:
        made = 0

        def fit(self, z, v):
            self.feature_importances_ = importances[Predictor.made]
            Predictor.made += 1
            return self

        def score(self, z, v):
            return 0.25 * Predictor.made

    monkeypatch.setattr(module, "_predictor", lambda *which: Predictor())
    found = dci(rng.normal(size=(60, 5)), amounts(60))
    apart, weights = [], []
    for i in range(5):
        row = importances[:, i]
        p = [r / row.sum() if row.sum() else 1 / 3 for r in row]
        apart.append(1 + sum(x * np.log(x) / np.log(3) for x in p if x > 0))
        weights.append(row.sum() / importances.sum())
    whole = []
    for row in importances:
        q = [r / row.sum() for r in row]
        whole.append(1 + sum(x * np.log(x) / np.log(5) for x in q if x > 0))
    assert found.latents == pytest.approx(apart) and apart[2] == pytest.approx(0)
    assert found.disentanglement == pytest.approx(np.dot(weights, apart))
    assert list(found.factors.values()) == pytest.approx(whole)
    assert found.completeness == pytest.approx(np.mean(whole))
    assert found.informativeness == pytest.approx(0.5) and found.predicted["up"] == 0.75


def test_a_factor_spread_over_latents_is_incomplete_and_a_latent_of_two_factors_entangled():
    factors = amounts(450)
    left, right, up = factors.values()
    half = np.sign(left)
    spread = np.stack([left * (half > 0), left * (half < 0), right, up], 1)  # left in two latents
    found = dci(spread, factors)
    assert found.disentanglement > 0.98 and found.factors["right"] > 0.98 and found.factors["left"] < 0.7
    both = np.round(left * 3) + 0.1 * right  # left and right in one latent
    found = dci(np.stack([both, up], 1), factors)
    assert found.latents[1] > 0.8 and found.latents[0] < 0.6 and found.factors["left"] > 0.9


@pytest.mark.parametrize("predictor", ["forest", "boosting"])
def test_informativeness_is_of_images_held_out_and_the_predictor_is_told(predictor):
    rng = np.random.default_rng(0)
    factors = {"kind": rng.integers(0, 2, 150), "amount": rng.uniform(-1, 1, 150)}
    noise = rng.normal(size=(150, 3))
    found = dci(noise, factors, predictor=predictor)
    assert found.predicted["kind"] < 0.7 and found.predicted["amount"] < 0.1  # by heart it would be near 1
    noise[:, 0], noise[:, 2] = factors["kind"], factors["amount"]
    found = dci(noise, factors, predictor=predictor)
    assert found.predicted["kind"] == 1 and found.predicted["amount"] > 0.97
    assert {"forest": "forest", "boosting": "boosting"}[predictor] in found.how and "scikit-learn 1." in found.how
    assert np.array_equal(found.table, dci(noise, factors, predictor=predictor).table)


# --- What is given ----------------------------------------------------------------------------------------------------


def test_the_factors_of_caras_are_read_as_what_they_are():
    factors = caras.sample_factors("test", 0, 300)
    z = np.stack([factors["mouth"], factors["skin"], factors["tilt"]], 1)
    found = mig(z, factors)
    assert found.table.shape == (3, 13) and found.factors["mouth"] > 0.7 and found.factors["skin"] > 0.7
    assert found.factors["hair"] < 0.3


def test_a_factor_that_never_changes_is_a_problem():
    with pytest.raises(Problem) as problem:
        mig(np.random.default_rng(0).normal(size=(20, 2)), {"hair": np.zeros(20, np.int64)})
    assert problem.value.key == "disentanglement.constant" and "hair" in str(problem.value)


def test_what_is_no_code_is_refused():
    factors = {"v": np.arange(6) % 2}
    for codes in (np.zeros(6), np.full((6, 2), np.nan), np.zeros((5, 2))):
        with pytest.raises(ValueError):
            mig(codes, factors)


def test_without_scikit_learn_one_sentence_says_so(monkeypatch):
    for name in ("sklearn", "sklearn.ensemble"):
        monkeypatch.setitem(sys.modules, name, None)
    factors = every_combination(5)
    z = one_to_one(factors)
    with pytest.raises(Problem) as problem:
        dci(z, factors)
    assert problem.value.key == "disentanglement.needs_sklearn"
    assert mig(z, factors).score == pytest.approx(1) and sap(z, factors).score > 0.6
