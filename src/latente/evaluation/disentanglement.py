"""Does each latent stand for one factor? MIG, SAP and DCI, on sets whose factors are known (`caras`).

Legend
    z       codes [n, d], the posterior means of n images; z_i is latent i
    v       factors, name -> [n]; v_k is factor k of F. Integers (and booleans) are kinds, floats are amounts
    I, H    mutual information and entropy, in nats, of values sorted into bins

All three are 1 for a code with one latent a factor and nothing else (SAP of kinds: see there), whatever the order and
the sign of the latents, and none is moved by the scale of a latent. They are scores of these images and this code: from
one training seed to the next they differ by more than most methods do (Locatello et al. 2019, 1811.12359).
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from latente.messages import Problem

BINS = 20  # of a latent, and of a factor that is an amount (Locatello et al. 2019)
Factors = Mapping[str, NDArray[Any]]
Predictor = Literal["forest", "boosting"]
_FIT = 2 / 3  # of the images teach a predictor, the others judge it: their 10,000 and 5,000


class Gap(NamedTuple):
    """What MIG and SAP find: how far the latent that tells most of a factor is ahead of the next one."""

    score: float  # mean over the factors
    factors: dict[str, float]  # name -> its gap
    table: NDArray[np.float64]  # [d, F] what each latent tells of each factor
    how: str  # the estimator, for the protocol


class DCI(NamedTuple):
    """Disentanglement, completeness and informativeness."""

    disentanglement: float
    completeness: float
    informativeness: float  # mean over the factors of what is predicted
    latents: NDArray[np.float64]  # [d] disentanglement of each latent
    factors: dict[str, float]  # name -> its completeness
    predicted: dict[str, float]  # name -> accuracy (kinds) or R^2 (amounts), held-out images
    table: NDArray[np.float64]  # [d, F] importance of each latent for each factor; each factor's sum to 1
    how: str  # the predictor, for the protocol


# --- MIG --------------------------------------------------------------------------------------------------------------


def mig(codes: NDArray[Any], factors: Factors, *, bins: int = BINS) -> Gap:
    """Mutual information gap (Chen et al. 2018, 1802.04942).

        MIG = 1/F sum_k 1/H(v_k) (I(z_j*; v_k) - max_{i != j*} I(z_i; v_k)),   j* = argmax_j I(z_j; v_k)

    codes [n, d] -> from 0 to 1; `table` is I(z_i; v_k) / H(v_k). Chen et al. sample z from q(z|x); here, as in
    Locatello et al. 2019, z is the posterior mean, sorted into `bins` of equal width between its least and its greatest
    value, and so is a factor that is an amount. The plug-in estimate of I is too great, for a latent that tells
    nothing by about (bins - 1)(values - 1) / 2n: few images make the gap of a good code too small. With one latent, the
    second is taken to tell nothing.
    """
    kinds, amounts = _checked(codes, factors)
    latents = [binned(z, bins) for z in codes.T]
    columns = []
    for name in factors:
        v = kinds[name] if name in kinds else binned(amounts[name], bins)
        told = np.array([mutual_information(z, v) for z in latents])
        columns.append(told / mutual_information(v, v))  # H(v) = I(v; v)
    return _gap(factors, np.stack(columns, 1), f"{bins} bins of equal width, posterior means")


def binned(values: NDArray[Any], bins: int) -> NDArray[np.int64]:
    """Which of `bins` intervals of equal width, between the least and the greatest, each value [n] lies in."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        return np.zeros(len(values), np.int64)
    share = (values.astype(np.float64) - low) / (high - low)  # [n] in [0, 1]
    return np.minimum((share * bins).astype(np.int64), bins - 1)


def mutual_information(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """I(a; b) = sum p(a, b) log p(a, b) / (p(a) p(b)) of two sequences of kinds 0, 1, ... [n], in nats."""
    rows, columns = int(a.max()) + 1, int(b.max()) + 1
    joint = np.bincount(a * columns + b, minlength=rows * columns).reshape(rows, columns) / len(a)
    apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / apart[seen])).sum())


# --- SAP --------------------------------------------------------------------------------------------------------------


def sap(codes: NDArray[Any], factors: Factors, *, seed: int = 0) -> Gap:
    """Separated attribute predictability (Kumar et al. 2018, 1711.00848, section 3).

        SAP = 1/F sum_k (S_jk - S_ik)   of the latents j and i with the two greatest scores of factor k

    codes [n, d] -> from 0 to 1; `table` is S. S_ik of an amount is the R^2 of a linear regression,
    Cov(z_i, v_k)^2 / Var z_i Var v_k. Of kinds it is the balanced accuracy, on held-out images, of thresholds on z_i
    with the least balanced error. The paper finds them by linear SVMs; on a line the best threshold between two kinds
    can simply be looked for, and the thresholds between each two kinds vote. (disentanglement_lib lets one SVM a kind
    stand against all others, which cannot find a kind that lies between two.) A latent that tells nothing of K kinds
    still scores 1/K, and a constant one 0: a perfect code reaches 1 - 1/K unless its other latents are constant.
    """
    kinds, amounts = _checked(codes, factors)
    learn, judge = _split(len(codes), seed)
    z = codes - codes.mean(0)
    deviation = z.std(0)
    alive = deviation > 1e-6 * np.abs(codes).max(0)  # [d] more than rounding
    columns = []
    for name in factors:
        if name in amounts:
            v = amounts[name] - amounts[name].mean()
            scores = np.mean(z * v[:, None], 0) ** 2 / (np.where(alive, deviation, 1) * v.std()) ** 2
        else:
            told = _guess(z[learn], kinds[name][learn], z[judge]) == kinds[name][judge][:, None]  # [m, d]
            scores = np.mean([told[kinds[name][judge] == kind].mean(0) for kind in np.unique(kinds[name][judge])], 0)
        columns.append(np.where(alive, scores, 0))
    return _gap(factors, np.stack(columns, 1), "thresholds between each two kinds; linear regression")


def _guess(z: NDArray[Any], v: NDArray[np.int64], new: NDArray[Any]) -> NDArray[np.int64]:
    """The kind of new codes [m, d], guessed from each latent by itself: [m, d].

    Between two kinds a and b the threshold is where their cumulative shares, in codes z [n, d], are furthest apart:
    there the balanced error is least. What lies on a's side is a vote for a."""
    votes = np.zeros((int(v.max()) + 1, *new.shape))
    for a, b in combinations(np.unique(v), 2):
        both = (v == a) | (v == b)
        order = np.argsort(z[both], axis=0, kind="stable")
        values = np.take_along_axis(z[both], order, 0)  # [s, d], rising
        is_a = (v[both] == a)[order]
        ahead = is_a.cumsum(0) / is_a.sum(0) - (~is_a).cumsum(0) / (~is_a).sum(0)  # share of a up to here, less of b
        ahead[:-1][values[:-1] == values[1:]] = 0  # no threshold fits between equal values
        at = np.abs(ahead).argmax(0)[None]  # [1, d]; never the last, where the shares are equal
        following = np.minimum(at + 1, len(values) - 1)
        threshold = (np.take_along_axis(values, at, 0) + np.take_along_axis(values, following, 0)) / 2
        surely = np.take_along_axis(ahead, at, 0)  # > 0: a lies below
        says_a = (new <= threshold) == (surely > 0)
        weight = 1 + 1e-3 * np.abs(surely)  # of kinds with as many votes, the surest
        votes[a] += weight * says_a
        votes[b] += weight * ~says_a
    guessed: NDArray[np.int64] = votes.argmax(0)
    return guessed


# --- DCI --------------------------------------------------------------------------------------------------------------


def dci(codes: NDArray[Any], factors: Factors, *, predictor: Predictor = "forest", seed: int = 0) -> DCI:
    """Disentanglement, completeness, informativeness (Eastwood and Williams 2018).

        R_ik   importance of latent i to a predictor of factor k from the whole code
        D_i = 1 - H_F(P_i.),   P_ik = R_ik / sum_k R_ik          does latent i matter to one factor alone?
        D   = sum_i rho_i D_i,   rho_i = sum_k R_ik / sum_ik R_ik
        C_k = 1 - H_d(Q_.k),   Q_ik = R_ik / sum_i R_ik          does one latent alone matter to factor k?

    with entropies to the base F and d. codes [n, d]. Importances are scikit-learn's, of a random forest (as in the
    paper) or of gradient boosting (as in Locatello et al. 2019); the two do not give the same numbers, so `how` belongs
    into the protocol. Informativeness is accuracy or R^2 on images held out, not the paper's error. Every tree sees all
    latents at every split, and a leaf holds at least 5 images: otherwise latents that tell nothing are given a part.
    Problem without scikit-learn.
    """
    kinds, amounts = _checked(codes, factors)
    learn, judge = _split(len(codes), seed)
    predicted, columns = {}, []
    for name in factors:
        v = kinds[name] if name in kinds else amounts[name]
        fitted = _predictor(predictor, name in kinds, seed).fit(codes[learn], v[learn])
        predicted[name] = float(fitted.score(codes[judge], v[judge]))
        columns.append(fitted.feature_importances_)
    table = np.stack(columns, 1)  # [d, F]
    weight = table.sum(1) / max(table.sum(), 1e-300)  # rho
    apart, whole = 1 - _entropy(table), 1 - _entropy(table.T)
    return DCI(
        disentanglement=float((weight * apart).sum()),
        completeness=float(whole.mean()),
        informativeness=float(np.mean(list(predicted.values()))),
        latents=apart,
        factors=dict(zip(factors, map(float, whole), strict=True)),
        predicted=predicted,
        table=table,
        how={"forest": "random forest of 20 trees", "boosting": "gradient boosting of 100 trees"}[predictor]
        + f", scikit-learn {_sklearn().__version__}",
    )


def _predictor(predictor: Predictor, kinds: bool, seed: int) -> Any:
    ensemble = _sklearn("ensemble")
    if predictor == "boosting":
        boosting = ensemble.GradientBoostingClassifier if kinds else ensemble.GradientBoostingRegressor
        return boosting(n_estimators=100, min_samples_leaf=5, random_state=seed)
    forest = ensemble.RandomForestClassifier if kinds else ensemble.RandomForestRegressor
    return forest(n_estimators=20, max_features=None, min_samples_leaf=5, random_state=seed)


def _entropy(importance: NDArray[np.float64]) -> NDArray[np.float64]:
    """[a, b] -> [a] entropy of each row to the base b, made to sum to 1; 1 for a row of zeros, 0 where b = 1."""
    a, b = importance.shape
    if b == 1:
        return np.zeros(a)
    total = importance.sum(1, keepdims=True)
    p = np.where(total > 0, importance / np.where(total > 0, total, 1), 1 / b)
    entropy: NDArray[np.float64] = -(p * np.log(np.where(p > 0, p, 1))).sum(1) / np.log(b)
    return entropy


# --- What all three need ----------------------------------------------------------------------------------------------


def _checked(codes: NDArray[Any], factors: Factors) -> tuple[dict[str, NDArray[np.int64]], dict[str, NDArray[Any]]]:
    """Factors that are kinds, as numbers 0, 1, ..., and those that are amounts. Problem if one never changes."""
    if codes.ndim != 2 or not np.isfinite(codes).all():
        raise ValueError(f"codes are finite numbers [n, d], not {codes.shape}")
    kinds: dict[str, NDArray[np.int64]] = {}
    amounts: dict[str, NDArray[Any]] = {}
    for name, values in factors.items():
        if values.shape != codes.shape[:1]:
            raise ValueError(f"{name} has one value an image, [{len(codes)}], not {values.shape}")
        known, number = np.unique(values, return_inverse=True)
        if len(known) < 2:
            raise Problem("disentanglement.constant", name=name, n=len(codes))
        if np.issubdtype(values.dtype, np.floating):
            amounts[name] = values.astype(np.float64)
        else:
            kinds[name] = number.astype(np.int64)
    return kinds, amounts


def _gap(factors: Factors, table: NDArray[np.float64], how: str) -> Gap:
    """table [d, F] -> the greatest of each column less the next one."""
    ordered = np.sort(table, 0)[::-1]
    gaps = ordered[0] - (ordered[1] if len(table) > 1 else 0)
    return Gap(float(gaps.mean()), dict(zip(factors, map(float, gaps), strict=True)), table, how)


def _split(n: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = np.random.default_rng(seed).permutation(n)
    middle = round(_FIT * n)
    return order[:middle], order[middle:]


def _sklearn(part: str = "") -> Any:
    """scikit-learn, an extra of the package."""
    import importlib

    try:
        return importlib.import_module(f"sklearn.{part}" if part else "sklearn")
    except ImportError:
        raise Problem("disentanglement.needs_sklearn") from None
