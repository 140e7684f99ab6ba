"""Frames as a film: GIF, animated WebP, MP4 where there is an ffmpeg, or a folder of PNG."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from latente import pictures
from latente.messages import Problem

FILMS = (".gif", ".webp", ".mp4")
SHEETS = (".png", ".jpg", ".jpeg")
_SMALLEST = 256  # pixels a side of a film, about: small images are enlarged by a whole number


def check(out: Path) -> None:
    """Problem if a film cannot be written under this name: found before anything is computed."""
    ending = out.suffix.lower()
    if ending and ending not in FILMS:
        raise Problem("explore.ending", given=out, endings=", ".join((*FILMS, *SHEETS)))
    if ending == ".mp4" and shutil.which("ffmpeg") is None:
        raise Problem("explore.no_ffmpeg", path=out)


def write(frames: NDArray[np.uint8], out: Path, rate: int = 20) -> None:
    """Frames uint8 [T, C, H, W] -> what the ending of `out` says, `rate` frames a second, repeated without end.

    Without an ending: a folder with a PNG for each frame in its own size. OSError where it cannot be written.
    """
    check(out)
    ending = out.suffix.lower()
    if not ending:
        for i, frame in enumerate(frames):
            pictures.save(pictures.single(frame), out / f"{i:05d}.png")
        return
    shown = [pictures.on_white(frame) for frame in _enlarged(frames)]
    out.parent.mkdir(parents=True, exist_ok=True)
    if ending == ".mp4":
        _mp4(shown, out, rate)
        return
    later = {"save_all": True, "append_images": shown[1:], "duration": round(1000 / rate), "loop": 0}
    if ending == ".webp":
        shown[0].save(out, format="WEBP", quality=90, method=2, minimize_size=False, **later)
        return
    _gif(shown, out, later)


def _enlarged(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    scale = max(1, _SMALLEST // max(frames.shape[2:]))
    return frames.repeat(scale, axis=2).repeat(scale, axis=3)


def _gif(shown: list[Image.Image], out: Path, later: dict[str, object]) -> None:
    """All frames share 256 colours, found among all of them: a palette of its own for each would flicker."""
    small = [frame.resize((64, 64)) for frame in shown]
    together = Image.new("RGB", (64, 64 * len(small)))
    for i, frame in enumerate(small):
        together.paste(frame, (0, 64 * i))
    palette = together.quantize(256, method=Image.Quantize.MEDIANCUT)
    flat = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in shown]
    later["append_images"] = flat[1:]
    flat[0].save(out, format="GIF", disposal=1, optimize=False, **later)


def _mp4(shown: list[Image.Image], out: Path, rate: int) -> None:
    """Frames through a pipe into ffmpeg; sides are made even, as the format wants them."""
    width, height = shown[0].size
    call = ["ffmpeg", "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    call += ["-r", str(rate), "-i", "-", "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p", str(out)]
    done = subprocess.run(call, input=b"".join(frame.tobytes() for frame in shown), capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or ["?"]
        raise Problem("explore.ffmpeg_failed", path=out, reason=reason[-1])
