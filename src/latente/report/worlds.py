"""The pictures of a world of points: its portraits over training, their film, and four stages of a line's."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from latente.report.sheets import BUDGET, Album, Shown, encode, on_record, spread, whole
from latente.run import Run

FILM_BUDGET = 1_500_000  # characters of base64
_SHEETS = 12  # portraits that the slider turns, at most
_FRAMES = 96  # of the film, at most
_LENGTH, _LONGEST, _LAST = 9_000, 700, 2_500  # milliseconds: the film, a frame at most, the last frame
_QUALITIES = ((80, 1), (60, 1), (40, 1), (50, 2), (25, 2), (10, 4))  # WebP, and sides divided by
_BAR, _DONE, _LEFT = 5, (31, 95, 191), (223, 227, 234)  # how far training is, under each frame: pixels, colours


def of_points(run: Run) -> bool:
    """Whether the run's data are points: its samples are then portraits, not sheets of images."""
    return run.dataset.get("kind") == "points"


def on_a_line(run: Run) -> bool:
    """Whether the points have one dimension."""
    return bool(run.dataset["image_shape"][0] == 1)


def album(run: Run, budget: int = BUDGET - FILM_BUDGET) -> Album:
    """Portraits for the slider as `samples`; a line's four stages as `moments`."""
    unreadable: list[str] = []
    good = [path for path in on_record(run, "samples") if whole(path, unreadable)]
    samples = [_shown(path) for path in spread(good, _SHEETS)]
    moments = [_shown(path) for path in stages(good)] if on_a_line(run) else []
    everything = [*samples, *moments]
    for shown, url in zip(everything, encode([shown.picture for shown in everything], budget), strict=True):
        shown.url = url
    return Album(samples, moments, [], [], [], unreadable)


def stages(portraits: Sequence[Path]) -> list[Path]:
    """First, last and two between, which lie early, where most happens; all of them if there are no more than four."""
    last = len(portraits) - 1
    if last < 4:
        return list(portraits)
    return [portraits[i] for i in (0, max(1, last // 8), max(2, 3 * last // 8), last)]


def film(run: Run, budget: int = FILM_BUDGET) -> Shown | None:
    """All portraits as one moving WebP within `budget` characters, without end; None with fewer than two.

    A bar under the picture says how far training is. Its `count` is the frames, its `images` those of the last one.
    """
    good = spread([path for path in on_record(run, "samples") if whole(path, [])], _FRAMES)
    if len(good) < 2:
        return None
    last = int(good[-1].stem)
    frames = [_with_bar(_shown(path).picture, int(path.stem) / max(last, 1)) for path in good]
    for quality, reduction in _QUALITIES:
        url = _moving([frame.reduce(reduction) for frame in frames], quality)
        if len(url) <= budget:
            return Shown(last, len(frames), frames[-1], url)
    raise ValueError(f"{len(frames)} frames do not fit in {budget} characters")


def _shown(path: Path) -> Shown:
    with Image.open(path) as image:
        return Shown(int(path.stem), 1, image.convert("RGB"))


def _with_bar(picture: Image.Image, share: float) -> Image.Image:
    width, height = picture.size
    taller = Image.new("RGB", (width, height + _BAR), _LEFT)
    taller.paste(picture)
    ImageDraw.Draw(taller).rectangle([0, height, max(round(share * width), 1) - 1, height + _BAR - 1], _DONE)
    return taller


def _moving(frames: list[Image.Image], quality: int) -> str:
    each = min(_LENGTH // len(frames), _LONGEST)
    times = [each] * (len(frames) - 1) + [_LAST]
    file = io.BytesIO()
    frames[0].save(
        file, "WEBP", save_all=True, append_images=frames[1:], duration=times, loop=0, quality=quality, method=2
    )
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
