"""How near do z, w and w+ come to faces that the generator has never seen, and is a projected face still itself?

    python benchmarks/projection.py [--quick] [--run RUN] [--classifier RUN] [--faces 50] [--steps 500]
                                    [--direction glasses] [--strength 3] [--work FOLDER]

50 held-out faces of `caras`. For each space: distance (of the reader's features, 1 is as far as two samples), squared
error, seconds a face, and the share of factors that the reader reads right from the projection, against the truth;
beside it the same of the faces themselves, which no projection can be expected to beat.

Then an edit: each projection is moved along the boundary of --direction, found on samples of the generator. How often
does what was asked for appear, and which share of the other factors survives, against the unedited projection?

The bar: at least 80 % of factors read right in the best space. Ten faces are done at a time and kept in the work
folder: an interrupted benchmark goes on. The last line is one JSON object; the full run also writes
benchmarks/results/projection.json.
"""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from face_reader import Readings, networks, read, same
from face_reader import arguments as asked_for
from latente.data.caras import WORDS
from latente.data.datasets import load
from latente.data.stream import see
from latente.evaluation import judges
from latente.exploration.edit import Direction, between, moved
from latente.exploration.invert import Eyes, project_all
from latente.run import Run

RESULT = Path(__file__).parent / "results" / "projection.json"
BAR = 0.8
AT_ONCE = 10  # faces


def right(found: Readings, truth: Readings) -> list[list[bool]]:
    """Whether each factor of each face is read as it is: [N][factors]."""
    return np.stack([same(found[name], truth[name]) for name in truth], 1).tolist()  # type: ignore[no-any-return]


def some(
    run: Run, net: Any, reading: Run, reader: Any, indices: np.ndarray[Any, Any], direction: Direction, asked: Any
) -> dict[str, Any]:
    """A few faces, in every space: what is kept of them."""
    test = load(run.config.data).test
    photos, truth = see(test.gather(indices)), {k: np.asarray(v)[indices] for k, v in (test.factors or {}).items()}
    judge = judges.of_run(reading)
    eyes = Eyes(judge.name, judge.read)
    began = time.perf_counter()
    found = project_all(net, photos, eyes=eyes, steps=asked.steps, seed=asked.seed)
    rows: dict[str, Any] = {"": {"right": right(read(reader, photos), truth)}}
    for space, one in found.items():
        images = torch.from_numpy(one.images).float() / 127.5 - 1
        seen = read(reader, images)
        edited = torch.cat(
            [
                moved(
                    net,
                    space,
                    one.latent[i : i + 1],
                    direction,
                    [asked.strength],
                    None,
                    [m[i : i + 1] for m in one.noise],
                )
                for i in range(len(images))
            ]
        )
        after = read(reader, edited)
        rest = [name for name in seen if name != direction.name.partition("-")[0]]
        rows[space] = {
            "distance": one.distance.tolist(),
            "mse": one.mse.tolist(),
            "seconds": one.seconds / len(images),
            "right": right(seen, truth),
            "shown_before": WORDS[direction.name](seen).tolist(),
            "shown_after": WORDS[direction.name](after).tolist(),
            "survive": right({n: after[n] for n in rest}, {n: seen[n] for n in rest}),
        }
    print(f"{len(indices)} faces in {time.perf_counter() - began:.0f} s", flush=True)
    return rows


def together(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The table: one row a space, means over faces."""
    table: dict[str, Any] = {}
    for space in parts[0]:
        rows = [part[space] for part in parts]
        right_ = np.concatenate([row["right"] for row in rows])
        if not space:
            table["faces themselves"] = {"factors_right": float(right_.mean())}
            continue
        before, after = (np.concatenate([row[key] for row in rows]) for key in ("shown_before", "shown_after"))
        survive = np.concatenate([row["survive"] for row in rows])
        table[space] = {
            "distance": float(np.concatenate([row["distance"] for row in rows]).mean()),
            "mse": float(np.concatenate([row["mse"] for row in rows]).mean()),
            "seconds_a_face": round(float(np.mean([row["seconds"] for row in rows])), 2),
            "factors_right": float(right_.mean()),
            "edit_appears": float(after[~before].mean()) if (~before).any() else None,
            "others_survive": float(survive.mean()),
        }
    return table


def main() -> None:
    parser = asked_for(__doc__ or "", "runs/projection")
    parser.add_argument("--faces", type=int, default=50, help="held-out faces")
    parser.add_argument("--steps", type=int, default=500, help="of the search in each space")
    parser.add_argument("--direction", choices=list(WORDS), default="glasses", help="what the edit asks for")
    parser.add_argument("--strength", type=float, default=3.0, help="of the edit, in standard deviations of w")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.quick:
        asked.faces, asked.steps = 2, 5
    run, reading = networks(asked)
    net, reader = run.network(), reading.network()
    word = WORDS[asked.direction]
    if asked.quick:  # a generator that has hardly begun shows no glasses
        vector = torch.eye(net.latent)[0]
        direction = Direction(asked.direction, "boundary", "w", vector, 1.0)
    else:
        direction = between(run, asked.direction, lambda images: word(read(reader, images)), seed=asked.seed)
    known = judges.checksum(net.state_dict())[:16]
    test = load(run.config.data).test
    parts: list[dict[str, Any]] = []
    for i, indices in enumerate(np.array_split(test.spread(asked.faces), -(-asked.faces // AT_ONCE))):
        name = (
            f"projection-{known}-{asked.steps}-{asked.seed}-{asked.direction}-{asked.strength}-{asked.faces}-{i}.json"
        )
        kept = asked.work / name
        if kept.exists() and not asked.quick:
            parts.append(json.loads(kept.read_text(encoding="utf-8")))
            continue
        parts.append(some(run, net, reading, reader, indices, direction, asked))
        if not asked.quick:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(parts[-1]), encoding="utf-8")
    table = together(parts)
    best = max(row["factors_right"] for space, row in table.items() if space != "faces themselves")
    result = {
        "benchmark": "projection",
        "run": run.folder.name,
        "images": run.checkpoints()[-1],
        "resolution": run.dataset["image_shape"][-1],
        "weights": known,
        "faces": asked.faces,
        "steps": asked.steps,
        "direction": asked.direction,
        "direction_accuracy": direction.facts.get("accuracy"),
        "strength": asked.strength,
        "spaces": table,
        "best": best,
        "bar": BAR,
        "passed": best >= BAR,
        "date": datetime.now(UTC).date().isoformat(),
    }
    if not asked.quick:
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
