"""Films that are read back: as many frames, of the same size, in the same order, without end."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latente.exploration import films
from latente.messages import LANGUAGES, Problem, set_language


def frames(n: int = 7, channels: int = 3, side: int = 8) -> np.ndarray:
    """A bright column that moves to the right, a frame at a time."""
    found = np.full((n, channels, side, side), 20, np.uint8)
    for i in range(n):
        found[i, :, :, i] = 230
    return found


def durations(film: Image.Image) -> Iterator[int]:
    """Milliseconds of each frame, which is then the one in `film`."""
    for i in range(film.n_frames):
        film.seek(i)
        film.load()
        yield film.info["duration"]


@pytest.mark.parametrize("ending", [".gif", ".webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_film_reads_back(ending, channels, tmp_path):
    path = tmp_path / "deep" / f"film{ending}"
    films.write(frames(channels=channels), path, rate=25)
    with Image.open(path) as film:
        assert film.n_frames == 7 and film.size == (256, 256), "enlarged by 32"
        assert film.info["loop"] == 0
        for i, duration in enumerate(durations(film)):
            assert duration == 40
            columns = np.asarray(film.convert("L")).astype(float).mean(0).reshape(8, 32).mean(1)
            assert columns.argmax() == i and columns.max() > 180


def test_equal_frames_keep_their_time(tmp_path):
    """GIF and WebP may join frames that are alike: then the film must not become shorter."""
    still = np.repeat(frames(2), (3, 2), 0)
    for ending in (".gif", ".webp"):
        films.write(still, tmp_path / f"still{ending}")
        with Image.open(tmp_path / f"still{ending}") as film:
            assert sum(durations(film)) == 5 * 50


def test_a_folder_holds_every_frame_as_it_is(tmp_path):
    films.write(frames(), tmp_path / "out")
    files = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in files] == [f"{i:05d}.png" for i in range(7)]
    read = np.stack([np.asarray(Image.open(path)).transpose(2, 0, 1) for path in files])
    assert np.array_equal(read, frames())


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_ending_that_means_nothing(language, tmp_path):
    set_language(language)
    with pytest.raises(Problem, match=r"film\.avi") as problem:
        films.check(tmp_path / "film.avi")
    assert ".webp" in str(problem.value)


@pytest.mark.parametrize("language", LANGUAGES)
def test_mp4_without_ffmpeg_is_a_sentence(language, tmp_path, monkeypatch):
    set_language(language)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(Problem, match="ffmpeg"):
        films.write(frames(), tmp_path / "film.mp4")
    assert not list(tmp_path.iterdir())


def program(folder: Path, text: str) -> None:
    path = folder / "ffmpeg"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_mp4_goes_through_a_pipe(tmp_path, monkeypatch):
    """A program called ffmpeg that keeps what it was given: raw frames, size and rate."""
    program(tmp_path, 'for last; do :; done; echo "$@" > "$last.call"; cat > "$last"')
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    films.write(frames(side=9), tmp_path / "film.mp4", rate=12)
    raw = np.frombuffer((tmp_path / "film.mp4").read_bytes(), np.uint8).reshape(7, 252, 252, 3)
    assert np.array_equal(raw[:, ::28, ::28].transpose(0, 3, 1, 2), frames(side=9))
    call = (tmp_path / "film.mp4.call").read_text()
    assert "-s 252x252" in call and "-r 12" in call and "yuv420p" in call


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg on this machine")
@pytest.mark.parametrize("side", [8, 9, 257])
def test_an_mp4_reads_back(side, tmp_path):
    """By ffmpeg itself: every frame, in order, of an even size."""
    films.write(frames(channels=1, side=side), tmp_path / "film.mp4", rate=25)
    call = ["ffmpeg", "-loglevel", "error", "-i", tmp_path / "film.mp4", "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    done = subprocess.run(call, capture_output=True, check=True)
    scale = max(1, 256 // side)
    even = -(-side * scale // 2) * 2
    read = np.frombuffer(done.stdout, np.uint8).reshape(7, even, even).astype(float)
    for i, frame in enumerate(read):
        columns = frame[: side * scale, : side * scale].mean(0).reshape(side, scale).mean(1)
        assert columns.argmax() == i and columns[i] > 150 and np.delete(columns, [max(i - 1, 0), i, i + 1]).max() < 60


def test_ffmpeg_that_fails_is_a_sentence(tmp_path, monkeypatch):
    program(tmp_path, "cat > /dev/null; echo no such codec >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(Problem, match="no such codec"):
        films.write(frames(), tmp_path / "film.mp4")
