"""A run from its first image to its last: create it, go on with it, stop it, and lose nothing on the way."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from latente import checkpoint, pictures, run
from latente.config import RunConfig, override
from latente.data.datasets import Dataset, load
from latente.data.points import parse
from latente.data.stream import Batch, Stream, condition, lasting, see
from latente.diagnosis.findings import Finding
from latente.diagnosis.history import of_run
from latente.diagnosis.verdicts import judge
from latente.messages import Problem
from latente.models import Decoder, ImageEncoder
from latente.run import Run
from latente.training import precision
from latente.training.acting import CONFIDENT, KEPT, Decision, decide, healthy
from latente.training.assemble import Assembly, assemble, channels_last, image_shape
from latente.training.loop import fit
from latente.training.machine import device_again, environment, locked, pick_device, stop_signals
from latente.training.portrait import portrait
from latente.training.recorder import NonFinite, Recorder, accumulate, require_finite, summary
from latente.training.resolve import located, resolve
from latente.training.schedule import branch_seed
from latente.training.state import TrainState
from latente.training.weights import adopt, take_up

Watch = Callable[[int, dict[str, Any]], None]  # (images shown, newest numbers), a few times a second
Heard = Callable[[Finding], None]  # a fault that the diagnosis has found
_TEST = 10_000  # held-out images that a checkpoint is measured on, at most
_SAMPLES, _PAIRS = 64, 8


def _unwatched(images: int, row: dict[str, Any]) -> None:
    pass


def _unheard(finding: Finding) -> None:
    pass


def train(
    config: RunConfig,
    *,
    out: Path = Path("runs"),
    start_from: Run | None = None,
    created: Callable[[Run, Dataset], None] = lambda run, dataset: None,
    watch: Watch = _unwatched,
    heard: Heard = _unheard,
) -> Run:
    """Create a run in `out` and train it to its end; `start_from` gives the weights to begin with.

    `created` hears of the run before the first step, `heard` of every fault that is found on the way. The run's
    `stopped()` says how it ended. Raises Problem for anything that a person can put right."""
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
            shown = dataset.train.images[dataset.train.spread(_SAMPLES)]
            pictures.save(pictures.grid(shown, 8), here.folder / "reals.png")
        created(here, dataset)
        return _Life(here, config, dataset, assembly, device, watch, heard).live(config.training.images)


def resume(
    here: Run,
    *,
    images: int | None = None,
    data: str | None = None,
    created: Callable[[Run, Dataset], None] = lambda run, dataset: None,
    watch: Watch = _unwatched,
    heard: Heard = _unheard,
) -> Run:
    """Go on with a run from its newest readable checkpoint, to `images` or to where it was meant to end. `data`: where
    its images are now, if they have moved; they must be the same."""
    config = here.config
    if data is not None:
        config = replace(config, data=replace(config.data, source=located(data)))
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
        well = take_up(here, state)
        if state.images >= until and (images or here.stopped() == "finished"):
            raise Problem("train.already_there", folder=here.folder, images=state.images, until=until)
        for name in ("metrics.jsonl", "timing.jsonl"):
            run.cut(here.folder / name, state.images, state.branch)
        if config.data.source != here.config.data.source:
            here.record_event("moved", state.images, source=config.data.source)
        differs = [k for k, v in environment(device).items() if recorded.get(k) != v]
        here.record_event("resume", state.images, until=until, differs=differs)
        created(here, dataset)
        return _Life(here, config, dataset, assembly, device, watch, heard, well).live(until)


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
    heard: Heard
    well: bool = True  # nothing was wrong when the diagnosis last looked
    recorder: Recorder = field(init=False)
    settled: int = -1  # the clock at which the shown network was last brought up to date
    measured: int = -1  # the clock of the last measurement on held-out images
    shown: int = 0  # images in all branches, by this process
    decision: Decision | None = None  # what it made necessary

    def __post_init__(self) -> None:
        self.recorder = Recorder(self.run, self.watch)
        measured = [row["images"] for row in self.run.line() if any(name.startswith("test/") for name in row)]
        self.measured = max(measured, default=-1)

    def live(self, until: int) -> Run:
        """Train until `until` images, or until somebody or a finding stops it."""
        began = time.perf_counter()
        ending: dict[str, Any]
        try:
            with stop_signals() as asked:
                while self.attempt(until, asked):
                    self.go_back()
            images = self.assembly.state.images
            ending = {"reason": "finished" if images >= until else "interrupted"}
            if self.decision is not None:
                ending = {"reason": "finding", "finding": self.decision.finding}
        except NonFinite as found:
            images, ending = found.images, {"reason": "non-finite", "term": found.term}
            ending["checkpoint"] = (self.run.checkpoints() or [0])[-1]
        ending |= {"seconds": round(time.perf_counter() - began, 2), "shown": self.shown}
        ending["branch"] = self.assembly.state.branch
        self.run.record_event("stop", images, **ending)
        self.watch(images, self.recorder.row)
        return self.run

    def attempt(self, until: int, asked: Callable[[], bool]) -> bool:
        """Train without looking back, from the first picture to the last; whether training has to go back then. What
        breaks on the way is judged wherever it does."""
        state = self.assembly.state
        try:
            if not self.run.checkpoints():
                self.sample(state)
                self.keep(state)
            self.stretch(until, asked)
            if not self.going_back:
                self.finish(state, until)
        except NonFinite as found:
            self.judge(state, {"stopped": "non-finite", "term": found.term, "since": found.images})
            if not self.going_back or not self.run.checkpoints():
                raise
        return self.going_back

    @property
    def going_back(self) -> bool:
        """Whether the diagnosis wants an earlier checkpoint."""
        return self.decision is not None and self.decision.to is not None

    def stretch(self, until: int, asked: Callable[[], bool]) -> None:
        """Train until `until` images, or until somebody or a finding stops it."""
        t, state = self.config.training, self.assembly.state
        seed = branch_seed(t.seed, state.branch)
        stream = Stream(
            self.dataset.train,
            seed=seed,
            device=self.device,
            binarisation=self.assembly.binarisation,
            conditional=self.assembly.conditional,
            channels_last=channels_last(self.config, state.nets),
        )
        cadence = [
            (t.tick, self.recorder.tick),
            (t.sample_every, self.sample),
            (t.probe_every, self.probe),
            (t.checkpoint_every, self.milestone),  # last: it keeps what the others remember
        ]
        self.recorder.start(state)
        start = state.images
        try:
            fit(
                state,
                self.assembly.step,
                stream,
                until=until,
                batch_at=self.assembly.batch_at,
                seed=seed,
                ema_halflife=t.ema_halflife,
                record=self.recorder.add,
                cadence=cadence,
                should_stop=lambda: asked() or self.decision is not None,
            )
        finally:
            self.shown += state.images - start

    def judge(self, state: TrainState, broken: dict[str, Any] | None = None) -> None:
        """Let the diagnosis look at the run so far, tell of every clear fault new in this branch, and decide."""
        history = of_run(self.run)
        findings = judge(replace(history, facts={**history.facts, **(broken or {})}))
        known = {row["what"] for row in self.run.events() if row["kind"] == "finding" and row["branch"] == state.branch}
        for finding in findings:
            told = finding.severity == "fault" and finding.confidence >= CONFIDENT  # it is looked at many times
            if told and finding.what not in known:
                self.run.record_event("finding", state.images, branch=state.branch, **asdict(finding))
                self.heard(finding)
        self.well = not any(finding.severity == "fault" for finding in findings)
        self.decision = decide(self.run, findings)

    def go_back(self) -> None:
        """Begin another branch at an earlier checkpoint, under other dice and, if there is a remedy, other settings.
        Clock and curves stay whole: rows carry the branch."""
        decision = self.decision
        assert decision is not None
        images, settings = self.assembly.state.images, decision.settings
        try:
            self.assembly = assemble(override(self.config, settings), self.dataset, self.device)
        except Problem:  # the family cannot take the remedy: other dice alone
            settings = {}
            self.assembly = assemble(self.config, self.dataset, self.device)
        facts = {"to": decision.to, "branch": self.run.branch() + 1, "settings": settings}
        self.run.record_event("intervention", images, finding=decision.finding, **facts)
        self.config = self.run.config
        take_up(self.run, self.assembly.state)
        self.settled, self.well, self.decision = -1, True, None
        self.recorder.row = {}

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
            pairs = self.dataset.test.spread(_PAIRS)
            batch = self._held_out(pairs)
            codes = net.encode(*batch)
            again = net.decode(codes, batch.condition)
            self._save(torch.cat([batch.images, again]), len(pairs), "reconstructions", clock)

    def _portray(self, net: Decoder, state: TrainState) -> None:
        reals = self.dataset.train.gather(self.dataset.train.spread(2_000))
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

    def probe(self, state: TrainState) -> None:
        """Measurements, and what the diagnosis makes of them; their seconds are no training time."""
        self.recorder.check(state)
        go_on = self.recorder.pause()
        row = self.assembly.probe(state)
        if row:
            self.recorder.write(state, row)
        self.judge(state)
        if self.well and self.config.training.on_finding in ("rollback", "treat"):
            self.keep(state)  # to go back to
        go_on()

    def milestone(self, state: TrainState) -> None:
        """Measure on held-out images, then keep a checkpoint."""
        if self.going_back:
            return
        self.recorder.check(state)
        go_on = self.recorder.pause()
        row = self.validate(state)
        require_finite(row, state.images)
        self.recorder.write(state, row)
        self.keep(state)
        go_on()

    def finish(self, state: TrainState, until: int) -> None:
        """The last picture and checkpoint of a run that stops between two milestones. Its measurement is marked, so
        that a run that goes on drops it and ends with the record of one that never stopped."""
        finished = state.images >= until and self.decision is None
        if state.images == (self.measured if finished else self.run.checkpoints()[-1]):
            return
        self.sample(state)
        if finished:
            row = self.validate(state)
            require_finite(row, state.images)
            self.recorder.write(state, row | {"end": True})
        self.keep(state)

    def keep(self, state: TrainState) -> None:
        """A checkpoint, unless a number is no longer finite; older ones are thinned out."""
        self.recorder.check(state)
        self.settle(state)
        tensors, plain = state.pack()
        checkpoint.save(self.run.checkpoint(state.images), tensors, plain | {"healthy": self.well})
        self.run.record_event("checkpoint", state.images)
        worth = (self.run.best(), *healthy(self.run)[-KEPT:])
        checkpoint.prune(self.run.folder / "checkpoints", self.run.checkpoints(), *worth)

    def settle(self, state: TrainState) -> None:
        """Bring what depends on the weights up to date: a plain autoencoder's prior, an average's batch norm."""
        if self.settled != state.images and self.assembly.decoder is not None:
            self.assembly.settle(state.shown(self.assembly.decoder), self.dataset.train)
            self.settled = state.images

    def validate(self, state: TrainState) -> dict[str, float]:
        """Means over the held-out images. Noise and binarisation are the same every time."""
        indices = self.dataset.test.spread(_TEST)
        totals: dict[str, torch.Tensor] = {}
        torch.manual_seed(0)
        with torch.no_grad():
            at_once = min(4 * max(self.config.training.batch // self.config.training.accumulate, 1), 500)
            for part in np.array_split(indices, -(-len(indices) // at_once)):
                accumulate(totals, self.assembly.measured(state, self._held_out(part)))
        state.nets.train()
        self.measured = state.images
        return {f"test/{name}": value for name, value in summary(totals).items() if not name.endswith("/sd")}

    def _held_out(self, indices: np.ndarray[Any, np.dtype[np.int64]]) -> Batch:
        """Held-out images as the network sees them, the same every time."""
        protocol = lasting(self.assembly.binarisation)
        fixed = see(self.dataset.test.gather(indices), protocol, indices=indices, device=self.device)
        told = condition(self.dataset.test, indices, self.device) if self.assembly.conditional else None
        return Batch(fixed, told)


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
