"""Does style mixing do what the figure of the StyleGAN paper shows? Factor by factor, on `caras`.

    python benchmarks/mixing.py [--quick] [--run RUN] [--classifier RUN] [--mixes 200] [--seed 0] [--work FOLDER]

200 pairs of faces A and B. The styles of a group of layers (coarse, middle, fine) come from B, all others from A. A
reader of factors says of each mix which source it follows: the one whose value it finds likelier, of numbers the nearer
one (`to_b`). Counted are the pairs that clearly differ in the factor. Beside it, the shares that are read as the very
value of B or of A: of categories it can be neither.

Then the same faces with other noise: in how many does a factor stay what it was? And where each factor is decided: with
styles from B at layers k and finer and from A below, for every k, what share follows B.

The bars: pose and shape follow the coarse source and colours the fine one, each in at least 70 % of the mixes; noise
changes no factor in at least 95 %. "shape" is the hair's, "colours" are those of skin, hair, eyes and background, every
factor counting alike.

A group that has been measured is not measured again: the interim results lie in the work folder. The last line is one
JSON object; the full run also writes benchmarks/results/mixing.json.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from face_reader import AT_ONCE, COLOURS, Readings, differ, follows, nearer, networks, read, same
from face_reader import arguments as asked_for
from latente.evaluation import judges
from latente.exploration.spaces import drawn, show
from latente.exploration.styles import layer_groups

RESULT = Path(__file__).parent / "results" / "mixing.json"
POSE, SHAPE = ("pose_x", "pose_y", "tilt"), ("hair",)
BARS = {"pose_coarse": 0.7, "shape_coarse": 0.7, "colours_fine": 0.7, "noise_unchanged": 0.95}
DRAWS = 5  # of noise a face


def faces(net: Any, ws: Tensor, noise: list[Tensor] | None = None) -> Tensor:
    """Styles [N, L, d] -> faces [N, C, H, W] in [-1, 1]."""
    parts = []
    with torch.no_grad():
        for start in range(0, len(ws), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            parts.append(show(net, "w+", ws[part], noise=noise and [m[part] for m in noise]).clamp(-1, 1))
    return torch.cat(parts)


class Source(NamedTuple):
    """Faces to mix."""

    ws: Tensor  # [N, L, d]
    readings: Readings


def mixed(net: Any, reader: Any, a: Source, b: Source, layers: list[int]) -> dict[str, Any]:
    """Styles of `layers` from b and the rest from a: for each factor, what share of the mixes follows b (`to_b`), and
    what share is read as the very value of b or of a (of categories it can be neither)."""
    ws = a.ws.clone()
    ws[:, layers] = b.ws[:, layers]
    of_a, of_b, mixes = a.readings, b.readings, faces(net, ws)
    of_mix = read(reader, mixes)
    to_b = nearer(reader, mixes, of_mix, of_a, of_b)
    found: dict[str, Any] = {}
    for name in of_a:
        counted = differ(of_a[name], of_b[name])
        like = follows(of_mix[name], of_a[name], of_b[name])[counted]
        n = int(counted.sum())
        each = {"to_b": to_b[name][counted], "from_b": like == 1, "from_a": like == 0}
        found[name] = {"mixes": n, **({key: float(these.mean()) for key, these in each.items()} if n else {})}
    return {"layers": layers, "factors": found}


def crossovers(net: Any, reader: Any, a: Source, b: Source) -> dict[str, Any]:
    """From each layer on, the share that follows b in each kind of factor."""
    layers = range(a.ws.shape[1])
    found = {k: mixed(net, reader, a, b, list(layers[k:]))["factors"] for k in layers[1:]}
    return {
        str(k): {"pose": share(row, POSE), "shape": share(row, SHAPE), "colours": share(row, COLOURS)}
        for k, row in found.items()
    }


def share(factors: dict[str, Any], names: tuple[str, ...]) -> float | None:
    """Mean share that follows b, over those of the named factors in which some pairs differ."""
    shares = [factors[name]["to_b"] for name in names if "to_b" in factors[name]]
    return float(np.mean(shares)) if shares else None


def noise(net: Any, reader: Any, ws: Tensor, seed: int) -> dict[str, Any]:
    """The share of faces in which each factor stays what it was with other noise, over all draws."""
    generator = torch.Generator().manual_seed(seed)
    known = read(reader, faces(net, ws))
    kept: dict[str, list[Any]] = {name: [] for name in known}
    for _ in range(DRAWS):
        again = read(reader, faces(net, ws, net.noise_maps(len(ws), generator)))
        for name, values in again.items():
            kept[name].append(same(values, known[name]))
    factors = {name: float(np.mean(each)) for name, each in kept.items()}
    return {"draws": DRAWS, "factors": factors, "unchanged": float(np.mean(list(factors.values())))}


def summary(groups: dict[str, Any], of_noise: dict[str, Any]) -> dict[str, float | None]:
    """What the bars are about."""
    return {
        "pose_coarse": share(groups["coarse"]["factors"], POSE),
        "shape_coarse": share(groups["coarse"]["factors"], SHAPE),
        "colours_fine": share(groups["fine"]["factors"], COLOURS),
        "noise_unchanged": of_noise["unchanged"],
    }


def main() -> None:
    parser = asked_for(__doc__ or "", "runs/mixing")
    parser.add_argument("--mixes", type=int, default=200, help="pairs of faces")
    parser.add_argument("--seed", type=int, default=0, help="of the faces")
    asked = parser.parse_args()
    run, reading = networks(asked)
    mixes = 20 if asked.quick else asked.mixes
    net, reader = run.network(), reading.network()
    key = {"weights": judges.checksum(net.state_dict())[:16], "reader": judges.checksum(reader.state_dict())[:16]}
    key |= {"mixes": mixes, "seed": asked.seed}
    interim = asked.work / "mixing-{weights}-{reader}-{mixes}-{seed}.json".format(**key)
    known = json.loads(interim.read_text(encoding="utf-8")) if interim.exists() and not asked.quick else {}
    w = drawn(net, 2 * mixes, asked.seed)
    a, b = (Source(ws, read(reader, faces(net, ws))) for ws in map(net.broadcast, w.chunk(2)))
    tasks = {
        name: (lambda layers=layers: mixed(net, reader, a, b, layers)) for name, layers in layer_groups(net).items()
    }
    tasks["noise"] = lambda: noise(net, reader, a.ws, asked.seed)
    tasks["crossovers"] = lambda: crossovers(net, reader, a, b)
    for name, measure in tasks.items():
        if name not in known:
            known[name] = measure()
            if not asked.quick:
                asked.work.mkdir(parents=True, exist_ok=True)
                interim.write_text(json.dumps(known), encoding="utf-8")
    groups = {name: known[name] for name in layer_groups(net)}
    for name, group in groups.items():
        shares = {factor: row.get("to_b") for factor, row in group["factors"].items()}
        print(f"{name:8}" + "  ".join(f"{f} {'-' if s is None else f'{s:.2f}'}" for f, s in shares.items()))
    for k, row in known["crossovers"].items():
        print(f"from {k}   " + "  ".join(f"{kind} {'-' if s is None else f'{s:.2f}'}" for kind, s in row.items()))
    reached = summary(groups, known["noise"])
    result = {
        "benchmark": "mixing",
        "run": run.folder.name,
        "images": run.checkpoints()[-1],
        "resolution": run.dataset["image_shape"][-1],
        **key,
        "groups": groups,
        "noise": known["noise"],
        "crossovers": known["crossovers"],
        "reached": reached,
        "bars": BARS,
        "passed": all(reached[bar] is not None and reached[bar] >= least for bar, least in BARS.items()),  # type: ignore[operator]
        "date": datetime.now(UTC).date().isoformat(),
    }
    if not asked.quick:
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
