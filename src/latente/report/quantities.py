"""What the names in metrics.jsonl mean: name, unit and a line of explanation for people."""

from collections.abc import Iterable

from latente.config import ClassifierModel, RunConfig, VAEModel
from latente.messages import catalogue
from latente.report.curves import Curve
from latente.report.words import Text, same, text

_ORDER = (
    "mse", "bound", "reconstruction", "kl", "kl_free_bits", "kl_capacity", "sigma", "sparsity", "contraction", "layer",
    "error", "critic/loss", "generator/loss", "critic/real", "critic/fake", "critic/penalty",
    "generator/penalty", "growth/level", "growth/alpha", "augment/strength",
    "loss", "gradient/norm", "gradient/critic", "gradient/generator",
)  # fmt: skip
_PROBES = (  # the telling ones
    "probe/diversity", "probe/coverage", "probe/critic/beats", "probe/critic/ahead", "critic/saturated", "probe/copies",
    "probe/kl", "probe/active", "probe/sharpness",
)  # fmt: skip
_MORE = (
    "probe/precision", "probe/recall", "probe/density", "probe/duplicates", "probe/support", "critic/margin",
    "probe/turn/critic", "probe/turn/generator", "probe/checkerboard", "probe/sharpness/samples",
)  # fmt: skip


def ordered(names: Iterable[str]) -> list[str]:
    """The names of quantities, the telling ones first."""
    place = {name: i for i, name in enumerate((*_ORDER, *_PROBES, *_MORE))}
    return sorted(names, key=lambda name: (place.get(name, len(place)), name))


def group(name: str) -> str:
    """Where a quantity belongs: "step", "factor" (of a network that reads factors), "probe" (the diagnosis' telling
    ones), "more" (its others), or "" (no curve: part of a picture, or a constant)."""
    if name in _PROBES:
        return "probe"
    if name in _MORE:
        return "more"
    if name.startswith(("probe/path/", "probe/class/")) or name == "probe/latents":
        return ""
    if name.startswith("probe/"):
        return "more"
    return "factor" if _factor(name) else "step"


def _factor(name: str) -> str:
    """The factor that error/NAME or rmse/NAME is about; "" of other quantities."""
    kind, _, factor = name.partition("/")
    return factor if kind in ("error", "rmse") else ""


def drawn(curves: dict[str, Curve]) -> tuple[list[str], str | None]:
    """The quantities that get a figure, and the one that the loss is equal to, if any: it is not drawn twice."""
    names = ordered(curves)
    for name in names:
        if name != "loss" and "loss" in curves and _equal(curves["loss"], curves[name]):
            names.remove("loss")
            return names, name
    return names, None


def name_of_quantity(name: str, config: RunConfig) -> Text:
    """What a quantity is called; its own name where nobody gave it a better one."""
    if factor := _factor(name):
        return text("name_factor", name=text(f"caras.{factor}") if factor in catalogue("en", "caras") else same(factor))
    if name == "bound" and getattr(config.objective, "estimator", "") == "iwae":
        return text("name_bound_iwae")
    return _known(f"name_{_key(name)}") or same(name)


def unit_of(name: str, config: RunConfig) -> Text:
    """The unit of a quantity."""
    if _factor(name):
        return text("unit_error" if name.startswith("error") else "unit_rmse")
    if name == "loss" and isinstance(config.model, ClassifierModel):
        return text("unit_loss_nats")
    if name == "loss":
        return text("unit_loss_nats" if isinstance(config.model, VAEModel) else "unit_loss_error")
    if name == "sparsity":
        return text("unit_sparsity_kl" if getattr(config.objective, "sparsity", "") == "kl" else "unit_sparsity_l1")
    return _known(f"unit_{_key(name)}") or text("unit_unknown")


def tells(name: str) -> Text | None:
    """What a quantity says about the run."""
    if _factor(name):
        return text("tells_error_of" if name.startswith("error") else "tells_rmse")
    return _known(f"tells_{_key(name)}")


def _key(name: str) -> str:
    return name.replace("/", "_")


def _known(key: str) -> Text | None:
    return text(key) if key in catalogue("en", "report") else None


def _equal(one: Curve, other: Curve) -> bool:
    """Whether two quantities are the same in every row, but for rounding."""
    if (one.images, one.test_images) != (other.images, other.test_images):
        return False
    pairs = list(zip(one.mean + one.test, other.mean + other.test, strict=True))
    largest = max(abs(value) for pair in pairs for value in pair)
    return all(abs(a - b) <= 1e-4 * largest for a, b in pairs)
