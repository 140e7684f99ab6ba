"""`latente evaluate`: every metric that applies to a run, each with the protocol that its value hangs on."""

from collections.abc import Callable, Mapping

from latente import models
from latente.config import VAEModel, VAEObjective
from latente.data import names, points
from latente.evaluation import of_codes, of_latents, of_modes, of_samples
from latente.evaluation.judges import Judge
from latente.evaluation.subject import Rows, Subject
from latente.messages import Problem
from latente.run import Run, append, now

Metric = Callable[[Subject], Rows]
LEAST = 40  # held-out images, for statistics of them to say anything
_LEFT_OUT = {  # what keeps a metric from being measured, and no other
    *("disentanglement.needs_sklearn", "disentanglement.constant"),
    *("invention.none_in_the_world", "invention.blind"),
}


def evaluate(
    run: Run,
    metrics: tuple[str, ...] = (),
    *,
    seed: int = 0,
    classifier: Run | None = None,
    judge: Judge | None = None,
    references: int = 1000,
    k: int = 100,
    steps: int = 100,
    measuring: Callable[[str], None] = lambda name: None,
    leaving_out: Callable[[str, Problem], None] = lambda name, problem: None,
) -> Rows:
    """Measure a run at its newest checkpoint, and write a row a value to its evaluations.jsonl.

    metrics: names out of `applicable`; all of them but the `slow` if none are given. classifier: a run of the
    `classifier` family that reads the images, for metrics that need one (`reader`). judge: the feature network that
    distances are taken through; raw pixels if none is given. references: held-out images for likelihoods, at least 2;
    k: samples of each in importance sampling; steps: of annealing. `measuring` hears of each metric before it is begun,
    `leaving_out` why one was not measured that nobody asked for by name. Problem if a metric does not apply, the data
    are gone, or what was asked for cannot be measured; what was measured before is kept."""
    check(run, metrics)
    known = applicable(run)
    if references < 2:
        raise Problem("evaluate.too_few_references", given=references)
    subject = Subject(run, seed, classifier, judge, references, k, steps)
    found: Rows = {}
    try:
        for name in metrics or [name for name in known if name not in slow(run)]:
            measuring(name)
            try:
                rows = known[name](subject)
            except Problem as problem:
                if metrics or problem.key not in _LEFT_OUT:
                    raise
                leaving_out(name, problem)
                continue
            for metric, row in rows.items():
                append(
                    run.folder / "evaluations.jsonl",
                    {"metric": metric, "images": subject.clock, "at": now(), **row},
                )
            found |= rows
    except OSError as error:
        reason = error.strerror or error
        file = f"{error.filename}: {reason}" if error.filename else reason  # one that was to be read, or written
        raise Problem("evaluate.file", folder=run.folder, reason=file) from None
    return found


def check(run: Run, metrics: tuple[str, ...]) -> None:
    """Problem if one of the metrics does not apply to the run."""
    known = applicable(run)
    for name in metrics:
        if name not in known:
            raise Problem("evaluate.not_applicable", given=name, folder=run.folder, known=", ".join(known) or "-")


def applicable(run: Run) -> Mapping[str, Metric]:
    """The metrics that make sense of a run, by name."""
    config = run.config
    if models.decoder_of(config) is None or not run.checkpoints():
        return {}
    source = config.data.source
    if points.is_points(source):
        return _of_points(run)
    found: dict[str, Metric] = {}
    if names.known(source) == "stacked-mnist":
        if run.dataset["image_shape"][0] == 3:
            found["modes"] = of_modes.stacked_modes
    elif len(run.dataset["classes"]) > 1:
        found["classes"] = of_modes.class_shares
    if run.dataset.get("test", 0) < LEAST:
        return found
    found |= {
        "distances": of_samples.set_distances,
        "neighbours": of_samples.set_neighbours,
        "diversity": of_samples.set_diversity,
        "copies": of_samples.memory,
        "path_length": of_latents.path_lengths,
    }
    if config.model.family == "gan":
        found["parzen"] = of_samples.windows
    if config.cure is None:
        found["reconstruction"] = of_codes.reconstruction
    if isinstance(config.objective, VAEObjective):
        found |= {"bound": of_codes.bound, "nll": of_codes.importance, "latents": of_codes.latents}
        found["ais"] = of_codes.annealed
    if config.cure is None and of_faces(source):
        found["factors"] = of_codes.factors
    if of_samples.kept_out(source):
        found["invention"] = of_samples.inventions
    if of_faces(source) and not getattr(config.model, "conditional", False):
        found["separability"] = of_latents.separabilities
    return found


def _of_points(run: Run) -> dict[str, Metric]:
    found: dict[str, Metric] = {}
    config, world = run.config, points.parse(run.config.data.source)
    if world.centres is not None:
        found["modes"] = of_modes.point_modes
    cure = config.cure
    alone = cure and (cure.packing, cure.minibatch_discrimination, cure.minibatch_stddev) == (1, 0, False)
    if world.dimensions == 1 and getattr(config.model, "latent", 0) == 1 and alone:
        found["equilibrium"] = of_modes.balance  # of a critic that judges each point by itself
    return found


def of_faces(source: str) -> bool:
    """Whether the images are `caras`, with or without combinations kept out."""
    return names.known(source.partition(":")[0]) == "caras"


def slow(run: Run) -> tuple[str, ...]:
    """The metrics that are measured only when asked for by name: annealing through convolutions, derivatives of images,
    and ten thousand samples that are read."""
    model = run.config.model
    annealed = isinstance(model, VAEModel) and model.kind == "conv"
    return tuple(
        name for name in applicable(run) if name in ("path_length", "separability") or (name == "ais" and annealed)
    )


def reader(run: Run, metrics: tuple[str, ...] = ()) -> str | None:
    """The set whose classifier the metrics need: they are read by a run of the `classifier` family trained on it."""
    needed: dict[Metric, str] = {
        of_modes.stacked_modes: "mnist",
        of_modes.class_shares: run.config.data.source,
        of_samples.inventions: "caras",
        of_latents.separabilities: "caras",
    }
    asked = metrics or [name for name in applicable(run) if name not in slow(run)]
    wanted = [known for name, known in applicable(run).items() if name in asked]
    return next((needed[metric] for metric in wanted if metric in needed), None)


def looks(run: Run, metrics: tuple[str, ...] = ()) -> str | None:
    """The set whose classifier lends its features to the metrics that look at images through a network; None where
    none of them does. Faces with combinations kept out are seen by a network that knows them all."""
    if not any(
        name in applicable(run) and (not metrics or name in metrics)
        for name in ("distances", "neighbours", "path_length")
    ):
        return None
    return whole_set(run)


def whole_set(run: Run) -> str:
    """The set of a run; of faces with combinations kept out, the one that has them all."""
    source = run.config.data.source
    return "caras" if of_samples.kept_out(source) else source
