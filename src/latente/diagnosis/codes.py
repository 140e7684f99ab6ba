"""Verdicts on the code of a VAE: how much of the image it holds, and at what price."""

from __future__ import annotations

import math

from latente.diagnosis import signs
from latente.diagnosis.findings import LIMITS, Finding, also, finding, settled
from latente.diagnosis.history import History, Series


def posterior_collapse(history: History) -> Finding | None:
    """The latents say nothing of the image: hardly any is active (Burda et al. 2016), or the KL is next to 0 nats.

    From a table the KL alone speaks, and one of 1e-4 and less is, before all, a mean where a sum was meant."""
    kl = history.get("probe/kl") or history.get("test/kl") or history.get("kl")
    if kl is None or history.setting("objective.capacity") or not settled(history, kl):
        return None
    nats = signs.level(kl)
    evidence: dict[str, float | str] = {"kl": nats}
    foreign = not history.facts.get("settings")
    limit = LIMITS["nats_table" if foreign else "nats"]
    scores = [limit.score(math.log10(max(nats, 1e-12)))]
    active, latents = history.get("probe/active"), history.get("probe/latents")
    if active is not None and latents is not None:
        share = signs.level(active) / max(signs.level(latents), 1)
        evidence |= {"active": signs.level(active), "latents": signs.level(latents)}
        few = (signs.level(active) < 2 or share < 0.05) and nats < signs.level(latents)  # with many nats it is a wreck
        scores.append(LIMITS["active"].score(share) if few else -1.0)
    if max(scores) < 0 or _warming(history):
        return None
    if foreign and nats < 1e-3:
        evidence["reduction"] = nats
    since = signs.left(kl, bad_below=10**limit.at)
    way = "posterior-collapse/table" if foreign else ""
    return finding(history, "posterior-collapse", max(scores), since, evidence, way)


def _warming(history: History) -> bool:
    return history.end < float(history.setting("objective.warmup", 0) or 0)


def weight(history: History) -> float | None:
    """log(sigma sqrt(beta) / error): 0 where the KL is weighed for the error that is reached.

    a SSE + b KL is the bound with sigma^2 = b / (2a) (vae.md 3.3): a weight beta with a given sigma is a bound with
    sigma sqrt(beta). The bound's own optimum has sigma = the root mean square error (Rybkin et al. 2021), pixels in
    [0, 1]. Where sigma follows the error, or there is none, sqrt(beta) is left."""
    beta = history.setting("objective.beta")
    if not beta or history.setting("objective.capacity") or history.setting("objective.estimator") == "iwae":
        return None
    gaussian = history.setting("objective.likelihood") == "gaussian"
    if not gaussian or history.setting("objective.sigma") != "fixed":
        return 0.5 * math.log(beta)
    mse = history.get("test/mse") or history.get("mse")
    if mse is None:
        return None
    return math.log(float(history.setting("objective.sigma-value")) * math.sqrt(beta) / error(history, mse))


def error(history: History, mse: Series) -> float:
    """Root mean square error of the last stretch, pixels in [0, 1]."""
    return math.sqrt(max(signs.level(mse, 0.1, 1), 1e-12))


def _weighed(history: History, what: str, limit: str) -> Finding | None:
    value = weight(history)
    trained = history.get("kl") or history.get("test/kl")
    if value is None or trained is None or not settled(history, trained) or _warming(history):
        return None
    if (score := LIMITS[limit].score(value)) < 0:
        return None
    evidence: dict[str, float | str] = {"beta": float(history.setting("objective.beta")), "kl": signs.level(trained)}
    mse = history.get("test/mse") or history.get("mse")
    if mse is not None:
        evidence["rmse"] = error(history, mse)
        evidence["sigma"] = math.exp(value) * error(history, mse)
    evidence |= also(history, "sharpness", "coverage")
    return finding(history, what, score, None, evidence)


def over_regularised(history: History) -> Finding | None:
    """beta above 1: the code is pressed towards the prior more than the pictures can bear."""
    guilty = (history.setting("objective.beta") or 0) > 1
    return _weighed(history, "over-regularised", "sigma_over") if guilty else None


def blurred(history: History) -> Finding | None:
    """A fixed sigma far above the error that is reached: the same bound as a large beta, and pictures without detail.
    (An "MSE VAE" with a mean over pixels is one with sigma = 0.7 and more: vae.md 3.3.)"""
    guilty = history.setting("objective.sigma") == "fixed" and (history.setting("objective.beta") or 0) <= 1
    return _weighed(history, "blurred", "sigma_over") if guilty else None


def under_regularised(history: History) -> Finding | None:
    """KL that costs next to nothing: reconstructions are sharp, and codes drawn from the prior fall between those of
    the data."""
    return _weighed(history, "under-regularised", "sigma_under")
