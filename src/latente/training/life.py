"""A run from its first image to its last: create it, go on with it, stop it, and lose nothing on the way."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from latente import checkpoint, pictures, run
from latente.config import RunConfig
from latente.data.datasets import Dataset, ImageSet, load
from latente.data.points import parse
from latente.data.stream import Batch, Stream, lasting, see
from latente.messages import Problem
from latente.models import Decoder, ImageEncoder
from latente.run import Run
from latente.training import precision
from latente.training.assemble import Assembly, assemble, channels_last, image_shape
from latente.training.loop import fit
from latente.training.machine import device_again, environment, locked, pick_device, stop_signals
from latente.training.portrait import portrait
from latente.training.recorder import NonFinite, Recorder, accumulate, require_finite, summary
from latente.training.resolve import resolve
from latente.training.state import TrainState, averaged_copy

Watch = Callable[[int, dict[str, Any]], None]  # (images shown, newest numbers), a few times a second
_TEST = 10_000  # held-out images that a checkpoint is measured on, at most
_SAMPLES, _PAIRS = 64, 8


def _unwatched(images: int, row: dict[str, Any]) -> None:
    pass


def train(
    config: RunConfig,
    *,
    out: Path = Path("runs"),
    start_from: Run | None = None,
    created: Callable[[Run, Dataset], None] = lambda run, dataset: None,
    watch: Watch = _unwatched,
) -> Run:
    """Create a run in `out` and train it to its end; `start_from` gives the weights to begin with.

    `created` hears of the run before the first step. The run's `stopped()` says how it ended. Raises Problem for
    anything that a person can put right."""
    device = pick_device(config.training.device)
    dataset = load(config.data)
    config = resolve(config, dataset, device)
    assembly = assemble(config, dataset, device)
    if start_from is not None:
        adopt(assembly.state, start_from)
    origin = str(start_from.folder.resolve()) if start_from is not None else None
    here = run.create(out, config, facts(dataset), origin)
    with explained(here), locked(here.folder):
        run.write(here.folder / "environment.json", environment(device) | {"command": sys.argv[1:]})
        here.record_event("start", 0, until=config.training.images, start_from=origin)
        for left_out in dataset.facts.get("left_out", []):
            here.record_event("left-out", 0, **left_out)
        if dataset.facts.get("converted"):
            here.record_event("converted", 0, **dataset.facts["converted"])
        if dataset.facts.get("kind") != "points":
            shown = dataset.train.images[_spread(dataset.train, _SAMPLES)]
            pictures.save(pictures.grid(shown, 8), here.folder / "reals.png")
        created(here, dataset)
        return _Life(here, config, dataset, assembly, device, watch).live(config.training.images)


def resume(
    here: Run,
    *,
    images: int | None = None,
    created: Callable[[Run, Dataset], None] = lambda run, dataset: None,
    watch: Watch = _unwatched,
) -> Run:
    """Go on with a run from its newest readable checkpoint, to `images` or to where it was meant to end."""
    config = here.config
    recorded = _environment_of(here)
    device = device_again(config.training.device, recorded)
    if recorded.get("processor") == precision.processor():  # elsewhere it is no longer exact anyway
        torch.set_num_threads(recorded.get("threads", torch.get_num_threads()))
    dataset = load(config.data)
    if facts(dataset)["content"] != here.dataset["content"]:
        raise Problem("train.data_changed", source=config.data.source, folder=here.folder)
    assembly = assemble(config, dataset, device)
    state = assembly.state
    starts = [row for row in here.events() if row["kind"] in ("start", "resume")]
    until = images or (starts[-1]["until"] if starts else config.training.images)
    with explained(here), locked(here.folder):
        _take_up(here, state)
        if state.images >= until and (images or here.stopped() == "finished"):
            raise Problem("train.already_there", folder=here.folder, images=state.images, until=until)
        for name in ("metrics.jsonl", "timing.jsonl"):
            run.cut(here.folder / name, state.images)
        differs = [k for k, v in environment(device).items() if recorded.get(k) != v]
        here.record_event("resume", state.images, until=until, differs=differs)
        created(here, dataset)
        return _Life(here, config, dataset, assembly, device, watch).live(until)


@contextmanager
def explained(here: Run) -> Iterator[None]:
    """A full disk, a folder that cannot be written or too little memory becomes one sentence that says what is safe."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise Problem("train.no_memory", folder=here.folder) from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error):  # what torch says of a CPU
            raise Problem("train.no_memory", folder=here.folder) from error
        raise
    except BrokenPipeError:  # somebody stopped listening: the caller's business
        raise
    except OSError as error:
        reason, clocks = error.strerror or str(error), here.checkpoints() or [0]
        raise Problem("train.cannot_write", folder=here.folder, reason=reason, images=clocks[-1]) from error


@dataclass
class _Life:
    """One process' part of a run's life."""

    run: Run
    config: RunConfig
    dataset: Dataset
    assembly: Assembly
    device: torch.device
    watch: Watch
    recorder: Recorder = field(init=False)
    settled: int = -1  # the clock at which the shown network was last brought up to date

    def __post_init__(self) -> None:
        self.recorder = Recorder(self.run, self.watch)

    def live(self, until: int) -> Run:
        """Train until `until` images or until somebody stops it."""
        t, state = self.config.training, self.assembly.state
        stream = Stream(
            self.dataset.train,
            seed=t.seed,
            device=self.device,
            binarisation=self.assembly.binarisation,
            conditional=self.assembly.conditional,
            channels_last=channels_last(self.config, state.nets),
        )
        cadence = [(t.tick, self.recorder.tick), (t.sample_every, self.sample), (t.checkpoint_every, self.milestone)]
        began = time.perf_counter()
        try:
            with stop_signals() as should_stop:
                if not self.run.checkpoints():
                    self.sample(state)
                    self.keep(state)
                self.recorder.start(state)
                fit(
                    state,
                    self.assembly.step,
                    stream,
                    until=until,
                    batch=t.batch,
                    seed=t.seed,
                    ema_halflife=t.ema_halflife,
                    record=self.recorder.add,
                    cadence=cadence,
                    should_stop=should_stop,
                )
                reason = "finished" if state.images >= until else "interrupted"
                if self.run.checkpoints()[-1] != state.images:
                    self.finish(state, reason)
                seconds = round(time.perf_counter() - began, 2)
                self.run.record_event("stop", state.images, reason=reason, seconds=seconds)
        except NonFinite as found:
            last = self.run.checkpoints()[-1]
            seconds = round(time.perf_counter() - began, 2)
            self.run.record_event(
                "stop", found.images, reason="non-finite", seconds=seconds, term=found.term, checkpoint=last
            )
        self.watch(state.images, self.recorder.row)
        return self.run

    def sample(self, state: TrainState) -> None:
        """Pictures from the same latents every time; of a network that encodes, reconstructions under their originals;
        of a world of points, its portrait."""
        self.recorder.check(state)
        if self.assembly.decoder is None:
            return
        go_on = self.recorder.pause()
        self.settle(state)
        net = cast(Decoder, state.shown(self.assembly.decoder).eval())
        if self.dataset.facts.get("kind") == "points":
            self._portray(net, state)
        else:
            self._draw(net, state.images)
        state.nets.train()
        go_on()

    @torch.no_grad()
    def _draw(self, net: Decoder, clock: int) -> None:
        classes = len(self.dataset.train.classes)
        z = net.prior(_SAMPLES, torch.Generator().manual_seed(self.config.training.seed)).to(self.device)
        labels = torch.arange(_SAMPLES, device=self.device) % classes if self.assembly.conditional else None
        self._save(net.decode(z, labels), 8, "samples", clock)
        if isinstance(net, ImageEncoder):
            pairs = _spread(self.dataset.test, _PAIRS)
            batch = self._held_out(pairs)
            codes = net.encode(*batch)
            again = net.decode(codes, batch.condition)
            self._save(torch.cat([batch.images, again]), len(pairs), "reconstructions", clock)

    def _portray(self, net: Decoder, state: TrainState) -> None:
        reals = self.dataset.train.gather(_spread(self.dataset.train, 2_000))
        cost = getattr(self.config.objective, "cost", "")
        critic = state.nets["critic"].eval()
        packing = self.config.cure.packing if self.config.cure is not None else 1
        company = reals[: packing - 1].reshape(1, -1, 1, 1).to(self.device)  # real points, the same beside every place

        def seen(x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = critic(torch.cat([x, company.expand(len(x), -1, 1, 1)], 1))
            return logits

        picture = portrait(net, seen, reals, parse(self.config.data.source), cost, self.device)
        pictures.save(picture, self.run.folder / "samples" / f"{state.images:09d}.png")

    def _save(self, images: torch.Tensor, columns: int, kind: str, clock: int) -> None:
        pixels = pictures.to_pixels(images.float().cpu().numpy())
        pictures.save(pictures.grid(pixels, columns), self.run.folder / kind / f"{clock:09d}.png")

    def milestone(self, state: TrainState) -> None:
        """Measure on held-out images, then keep a checkpoint."""
        self.recorder.check(state)
        go_on = self.recorder.pause()
        row = self.validate(state)
        require_finite(row, state.images)
        self.recorder.write(state, row)
        self.keep(state)
        go_on()

    def finish(self, state: TrainState, reason: str) -> None:
        """The last picture and checkpoint of a run that stops between two milestones. Its measurement is marked, so
        that a run that goes on drops it and ends with the record of one that never stopped."""
        self.sample(state)
        if reason == "finished":
            row = self.validate(state)
            require_finite(row, state.images)
            self.recorder.write(state, row | {"end": True})
        self.keep(state)

    def keep(self, state: TrainState) -> None:
        """A checkpoint, unless a number is no longer finite; older ones are thinned out."""
        self.recorder.check(state)
        self.settle(state)
        checkpoint.save(self.run.checkpoint(state.images), *state.pack())
        checkpoint.prune(self.run.folder / "checkpoints", self.run.checkpoints(), self.run.best())
        self.run.record_event("checkpoint", state.images)

    def settle(self, state: TrainState) -> None:
        """Bring what depends on the weights up to date: a plain autoencoder's prior, an average's batch norm."""
        if self.settled != state.images and self.assembly.decoder is not None:
            self.assembly.settle(state.shown(self.assembly.decoder), self.dataset.train)
            self.settled = state.images

    def validate(self, state: TrainState) -> dict[str, float]:
        """Means over the held-out images. Noise and binarisation are the same every time."""
        indices = _spread(self.dataset.test, _TEST)
        totals: dict[str, torch.Tensor] = {}
        torch.manual_seed(0)
        with torch.no_grad():
            at_once = min(4 * max(self.config.training.batch // self.config.training.accumulate, 1), 500)
            for part in np.array_split(indices, -(-len(indices) // at_once)):
                accumulate(totals, self.assembly.measured(state, self._held_out(part)))
        state.nets.train()
        return {f"test/{name}": value for name, value in summary(totals).items() if not name.endswith("/sd")}

    def _held_out(self, indices: np.ndarray[Any, np.dtype[np.int64]]) -> Batch:
        """Held-out images as the network sees them, the same every time."""
        protocol = lasting(self.assembly.binarisation)
        fixed = see(self.dataset.test.gather(indices), protocol, indices=indices, device=self.device)
        labels = self.dataset.test.labels
        wanted = self.assembly.conditional and labels is not None
        return Batch(
            fixed, torch.from_numpy(labels[indices]).to(self.device) if wanted and labels is not None else None
        )


def adopt(state: TrainState, source: Run) -> None:
    """Begin with the weights of another run."""
    if ("critic" in state.nets) != (source.config.cure is not None):  # a game's networks have other names
        mine = state.nets.state_dict()
        raise Problem("train.from_mismatch", folder=source.folder, first=next(iter(mine)), n=len(mine))
    for name, net in state.nets.items():
        weights = source.network(player=name).state_dict()
        mine = net.state_dict()
        differ = [key for key in mine if key not in weights or weights[key].shape != mine[key].shape]
        differ += [key for key in weights if key not in mine]
        if differ:
            raise Problem("train.from_mismatch", folder=source.folder, first=differ[0], n=len(differ))
        net.load_state_dict(weights)
        if state.averaged is not None and name in state.averaged:
            state.averaged = averaged_copy(net, name)


def _take_up(here: Run, state: TrainState) -> None:
    """Load the newest readable checkpoint. Those that are cut short are named in events.jsonl and set aside. A run
    that was killed before its first checkpoint begins again."""
    clocks = here.checkpoints()
    for clock in reversed(clocks):
        try:
            state.unpack(*checkpoint.load(here.checkpoint(clock)))
            return
        except checkpoint.Damaged as damaged:
            here.record_event("damaged", clock, what=str(damaged))
            here.checkpoint(clock).rename(here.folder / "checkpoints" / f"damaged-{clock:09d}-{os.getpid()}")
    if clocks:
        raise Problem("run.no_checkpoint", folder=here.folder)
    if here.tree["start_from"]:
        adopt(state, run.open_run(here.tree["start_from"]))


def _environment_of(here: Run) -> dict[str, Any]:
    path = here.folder / "environment.json"
    recorded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return recorded


def facts(dataset: Dataset) -> dict[str, Any]:
    """What config.json keeps of the data."""
    kept = {key: value for key, value in dataset.facts.items() if key != "left_out"}
    held_out = {"measured": min(len(dataset.test), _TEST), "dynamic_binarisation_becomes": "fixed", "seed": 0}
    shape, classes = list(image_shape(dataset)), list(dataset.train.classes)
    return {"image_shape": shape, "classes": classes, "held_out": held_out, **kept}


def _spread(images: ImageSet, n: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """At most `n` indices, evenly spaced: folders are often sorted by class."""
    return np.linspace(0, len(images) - 1, min(len(images), n)).astype(np.int64)
