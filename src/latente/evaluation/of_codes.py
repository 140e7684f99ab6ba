"""Metrics of models that encode: how well an image comes back, how likely the model finds it, what its latents know."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latente.config import VAEObjective
from latente.evaluation import annealing, disentanglement, likelihood, posterior
from latente.evaluation.subject import Rows, Subject, of_mean
from latente.messages import punctuated, say

_DRAWS = 10  # of z an image, in the bound
_ANNEALED = 100  # held-out images, and as many that the model draws
_CHAINS, _LEAPS = 4, 5  # of annealing


def reconstruction(subject: Subject) -> Rows:
    """Squared error of held-out images through the bottleneck, pixels in [0, 1]."""
    indices = subject.held_out
    errors = [
        (subject.decoded(part) - subject.seen(part)).square().flatten(1).mean(1) / 4 for part in subject.parts(indices)
    ]
    row = _kept(subject, "mse", torch.cat(errors), subject.on(indices))
    return {"mse": {**row, "unit": "squared error a pixel, pixels in [0, 1]"}}


def bound(subject: Subject) -> Rows:
    """The evidence lower bound and its two terms."""
    indices = subject.held_out
    x, told = subject.seen(indices), subject.told(indices)
    found = likelihood.elbo(subject.net, x, _DRAWS, seed=subject.seed, condition=told)
    row = _kept(subject, "elbo", found.bound, subject.on(indices, draws=_DRAWS, **_of_what(subject)))
    terms = {"reconstruction": float(found.reconstruction.mean()), "kl": float(found.kl.mean())}
    return {"elbo": {**row, "unit": "nats an image", "terms": terms}}


def importance(subject: Subject) -> Rows:
    """The negative log-likelihood by importance sampling: an upper bound of it, the closer the larger k is. Of a
    discretised logistic, bits per dimension too."""
    indices = subject.dataset.test.spread(subject.references)
    x, told = subject.seen(indices), subject.told(indices)
    found = likelihood.importance_sampling(subject.net, x, subject.k, seed=subject.seed, condition=told)
    protocol = subject.on(indices, k=subject.k, **_of_what(subject))
    row = _kept(subject, "nll", -found.bound, protocol)
    rows: Rows = {"nll": {**row, "unit": "nats an image", "effective": float(found.effective.mean())}}
    kind = protocol["likelihood"]
    refused = likelihood.bits_refused(kind)
    if refused:
        rows["nll"]["remark"] = refused
    if kind == "logistic":
        dims = math.prod(subject.run.dataset["image_shape"])
        bits = torch.tensor([likelihood.bits_per_dim(nats, dims) for nats in found.bound.tolist()])
        rows["bits_per_dimension"] = {**_kept(subject, "bits_per_dimension", bits, protocol), "unit": "bits a value"}
    return rows


def annealed(subject: Subject) -> Rows:
    """The negative log-likelihood by annealed importance sampling with HMC, of real images; and as an indication of
    how near it is, the gap between its forward and its backward run on images that the model drew itself."""
    indices = subject.dataset.test.spread(min(subject.references, _ANNEALED))
    x, told = subject.seen(indices), subject.told(indices)
    how: dict[str, Any] = {"steps": subject.steps, "chains": _CHAINS, "leaps": _LEAPS, "initial": "posterior"}
    forward = annealing.ais(subject.net, x, **how, seed=subject.seed, condition=told)
    drawn = annealing.bdmc(subject.net, len(indices), **how, seed=subject.seed, condition=told)
    row = _kept(subject, "ais", -forward.bound, subject.on(indices, **how, **_of_what(subject)))
    facts = {"acceptance": float(forward.acceptance.mean()), "gap_on_own_images": float(drawn.gap.mean())}
    remark = say("evaluate.gap", gap=punctuated(f"{facts['gap_on_own_images']:.2f}"))
    return {"ais": {**row, **facts, "unit": "nats an image", "remark": remark}}


def latents(subject: Subject) -> Rows:
    """What the posterior says: active latents, mutual information of image and code, the aggregate posterior's gap."""
    indices = subject.held_out
    mean, logvar = posterior.posteriors(subject.net, subject.seen(indices), condition=subject.told(indices))
    cut = posterior.surgery(mean, logvar, seed=subject.seed)
    active = int((mean.var(0) > likelihood.BURDA_THRESHOLD).sum())
    each = [round(value, 4) for value in posterior.kl_per_dimension(mean, logvar).tolist()]
    protocol = subject.on(indices)
    half, said = 1.96 * cut.error, posterior.remark(cut)
    how = {"interval_is": "95 %, normal, over draws of z; these images", "unit": "nats", "protocol": protocol}
    rows: Rows = {
        "active": {"value": active, "of": mean.shape[1], "unit": "latents", "kl_of_each": each, "protocol": protocol},
        "information": {"value": cut.information, "interval": _around(cut.information, half), "most": cut.most, **how},
        "gap": {"value": cut.gap, "interval": _around(cut.gap, half), **how},
    }
    if said:
        rows["information"]["remark"] = said
    return rows


def factors(subject: Subject) -> Rows:
    """Whether latents stand for the factors that images were made from: MIG, SAP and DCI of held-out images."""
    indices, net = subject.held_out, subject.net
    with torch.no_grad():
        codes = torch.cat([net.encode(subject.seen(i), subject.told(i)) for i in subject.parts(indices)]).numpy()
    truth = {name: np.asarray(values)[indices] for name, values in (subject.dataset.test.factors or {}).items()}
    seed = subject.seed % 2**32  # scikit-learn knows no others
    gap, attribute = disentanglement.mig(codes, truth), disentanglement.sap(codes, truth, seed=seed)
    whole = disentanglement.dci(codes, truth, seed=seed)
    found = {
        "mig": gap.score,
        "sap": attribute.score,
        "disentanglement": whole.disentanglement,
        "completeness": whole.completeness,
        "informativeness": whole.informativeness,
    }
    how = {"mig": gap.how, "sap": attribute.how}
    return {
        name: {"value": value, "unit": "0 to 1", "protocol": subject.on(indices, how=how.get(name, whole.how))}
        for name, value in found.items()
    }


def _around(value: float, half: float) -> list[float]:
    return [value - half, value + half]


def _of_what(subject: Subject) -> dict[str, Any]:
    """The likelihood: a density and a probability are not to be compared."""
    objective = subject.run.config.objective
    assert isinstance(objective, VAEObjective)
    return {"likelihood": objective.likelihood}


def _kept(subject: Subject, name: str, values: Tensor, protocol: dict[str, Any]) -> dict[str, Any]:
    """A mean over held-out images, whose values are kept one by one for `compare`."""
    numbers = values.double().cpu().numpy()
    return {**of_mean(numbers), "per_image": subject.per_image(name, numbers), "protocol": protocol}
