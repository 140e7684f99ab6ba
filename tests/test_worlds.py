"""The report of a world of points: portraits, film and stages instead of sheets of images."""

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latente import config as configs
from latente import messages, pictures, portraits, report
from latente.report import sheets, worlds
from latente.run import Run
from test_report import FINISHED, START, Page, bare, lines, read

GAN = configs.RunConfig(
    preset="gan",
    paper="A paper (1406.2661)",
    model=configs.GANModel(latent=1, hidden=(8,), critic_hidden=(8,)),
    objective=configs.AdversarialObjective(),
    cure=configs.CureConfig(),
    optim=configs.AdversarialOptim(),
    data=configs.DataConfig(source="points:line"),
)


def world(folder: Path, dimensions: int = 2, times: int = 9, noise: bool = False) -> Run:
    """A run on points as training leaves it; its portraits are of one grey each, lighter every time."""
    source = configs.DataConfig(source="points:line" if dimensions == 1 else "points:grid25")
    run = bare(folder, replace(GAN, data=source), (dimensions, 1, 1), kind="points", train=200_000, test=10_000)
    random = np.random.default_rng(0)
    size = (portraits.LINE_HEIGHT if dimensions == 1 else portraits.SIDE, portraits.SIDE, 3)
    for i, clock in enumerate(np.linspace(0, 8000, times).astype(int)):
        pixels = random.integers(0, 256, size, np.uint8) if noise else np.full(size, 10 + 240 * i // times, np.uint8)
        pictures.save(Image.fromarray(pixels), folder / "samples" / f"{clock:09d}.png")
        (folder / "checkpoints" / f"{clock:09d}").mkdir(parents=True)
    lines(folder / "metrics.jsonl", [{"images": 8000, "branch": 0, "critic/loss": 1.38}])
    lines(folder / "events.jsonl", [START, FINISHED])
    return run


def opened(url: str) -> Image.Image:
    assert url.startswith("data:image/webp;base64,")
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def greys(shown: list[sheets.Shown]) -> list[int]:
    return [opened(one.url).convert("RGB").getpixel((9, 9))[0] for one in shown]


@pytest.mark.parametrize("dimensions", [1, 2])
def test_portraits_are_shown_whole(tmp_path: Path, dimensions: int) -> None:
    album = worlds.album(world(tmp_path / "r", dimensions))
    assert [shown.images for shown in album.samples] == list(range(0, 8001, 1000))
    assert greys(album.samples) == [10 + 240 * i // 9 for i in range(9)]
    height = portraits.LINE_HEIGHT if dimensions == 1 else portraits.SIDE
    assert {opened(shown.url).size for shown in album.samples} == {(portraits.SIDE, height)}
    assert not album.reals and not album.reconstructions and not album.unreadable


def test_four_stages_of_a_line_lie_early() -> None:
    def chosen(n: int) -> list[int]:
        return [int(path.stem) for path in worlds.stages([Path(f"{i}.png") for i in range(n)])]

    assert chosen(9) == [0, 1, 3, 8]
    assert chosen(5) == [0, 1, 2, 4] and chosen(6) == [0, 1, 2, 5]
    assert [chosen(n) for n in range(5)][1:] == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]
    assert chosen(97) == [0, 12, 36, 96]
    for n in range(4, 60):
        assert len(set(chosen(n))) == 4 and chosen(n) == sorted(chosen(n)) and chosen(n)[-1] == n - 1


def test_only_a_line_has_stages(tmp_path: Path) -> None:
    assert worlds.album(world(tmp_path / "plane", 2)).moments == []
    assert [s.images for s in worlds.album(world(tmp_path / "line", 1)).moments] == [0, 1000, 3000, 8000]


def test_the_film_has_every_portrait_and_a_bar(tmp_path: Path) -> None:
    film = worlds.film(world(tmp_path / "r"))
    assert film is not None and (film.count, film.images) == (9, 8000)
    moving = opened(film.url)
    assert moving.n_frames == 9 and moving.info["loop"] == 0
    assert moving.size == film.picture.size == (480, 485)
    for i in range(9):
        moving.seek(i)
        frame = np.asarray(moving.convert("RGB")).astype(int)
        assert abs(frame[100, 100] - (10 + 240 * i // 9)).max() <= 4
        blue = (frame[483, :, 2] - frame[483, :, 0]) > 60
        assert blue.sum() == pytest.approx(480 * i / 8, abs=4)
    durations = []
    for i in range(9):
        moving.seek(i)
        moving.load()
        durations.append(moving.info["duration"])
    assert durations == [700] * 8 + [2500]


def test_a_long_training_is_a_film_of_bearable_length(tmp_path: Path) -> None:
    run = world(tmp_path / "r", times=2)
    frame = (run.folder / "samples" / "000000000.png").read_bytes()
    for clock in range(200):
        (run.folder / "samples" / f"{clock * 100:09d}.png").write_bytes(frame)
    worlds_film = worlds.film(run)
    assert worlds_film is not None and worlds_film.count == worlds._FRAMES and worlds_film.images == 19_900


def test_a_film_gives_way_to_its_budget(tmp_path: Path) -> None:
    run = world(tmp_path / "r", times=3, noise=True)
    film = worlds.film(run, 150_000)
    assert film is not None and len(film.url) <= 150_000
    assert opened(film.url).n_frames == 3
    with pytest.raises(ValueError, match="3 frames do not fit"):
        worlds.film(run, 100)


def test_one_portrait_is_no_film(tmp_path: Path) -> None:
    run = world(tmp_path / "r", 1, times=1)
    assert worlds.film(run) is None
    page = read(run)
    assert not any(tag == "details" and a.get("class") == "film" for tag, a in page.tags)
    assert "Four stages of the game" not in page.words
    assert [a.get("type") for tag, a in page.tags if tag == "input"] == []


def test_half_a_portrait_is_left_out_and_named(tmp_path: Path) -> None:
    run = world(tmp_path / "r", 1)
    path = run.folder / "samples" / "000003000.png"
    path.write_bytes(path.read_bytes()[:300])
    album, film = worlds.album(run), worlds.film(run)
    assert album.unreadable == [path.name] and len(album.samples) == 8
    assert film is not None and film.count == 8
    assert path.name in read(run).text


# The page


@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize("lang", ["es", "en"])
def test_the_page_says_what_is_seen(
    tmp_path: Path, dimensions: int, lang: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTE_LANG", lang)
    kind = "line" if dimensions == 1 else "plane"
    html = report.write(world(tmp_path / "r", dimensions)).read_text(encoding="utf-8")
    page = Page(html, lang)
    said = ["world", f"world_{kind}_about", f"world_{kind}_players", "world_slider", "world_film", "world_film_play"]
    said += ["world_stages", "world_stages_about", "world_stages_end"] if dimensions == 1 else []
    for key in said:
        assert messages.say(f"report.{key}") in page.words, key
    assert messages.say("report.world_film_about", n=9) in page.words
    for other in ("samples", "over_time", "reconstructions", "reals"):
        assert messages.say(f"report.{other}") not in page.words
    captions = [word for word in page.words if re.fullmatch(r"(After|Después de) [\d.,\s]+ (points|puntos)", word)]
    assert len(captions) == (4 if dimensions == 1 else 0)
    images = [a for tag, a in page.tags if tag == "img"]
    assert len(images) == 9 + 1 + (4 if dimensions == 1 else 0)
    assert all(a["alt"] and a["data-es"] != a["data-en"] for a in images)
    assert [("hidden" in a) for a in images[:9]] == [True] * 8 + [False]
    assert [a["max"] for tag, a in page.tags if tag == "input"] == ["8"]
    plain = re.sub(r"base64,[\w+/=]+|url\(#q-[\w-]+\)", "", html)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<link|<iframe|fetch\(", plain)


def test_the_film_does_not_move_by_itself(tmp_path: Path) -> None:
    """A closed <details> shows nothing: whoever asked for less motion opens it or does not."""
    page = read(world(tmp_path / "r"))
    (film,) = [a for tag, a in page.tags if tag == "details" and a.get("class") == "film"]
    assert "open" not in film
    html = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    inside = re.search(r'<details class="film">(.*?)</details>', html, re.S)
    assert inside is not None
    urls = re.findall(r'src="(data:[^"]+)"', html)
    moving = [url for url in urls if getattr(opened(url), "n_frames", 1) > 1]
    assert len(moving) == 1 and moving[0] in inside[1]


def test_a_world_without_portraits_says_so(tmp_path: Path) -> None:
    run = bare(tmp_path / "00002-gan-line", GAN, (1, 1, 1), kind="points", train=200_000, test=10_000)
    page = read(run)
    assert "There are no portraits of the game yet" in page.text
    assert not any(tag == "img" for tag, _ in page.tags)


def test_portraits_of_noise_stay_under_five_megabytes(tmp_path: Path) -> None:
    run = world(tmp_path / "r", 2, times=3, noise=True)
    album, film = worlds.album(run), worlds.film(run)
    assert film is not None
    assert sum(len(shown.url) for shown in (*album.samples, *album.moments, film)) <= sheets.BUDGET


def test_a_run_on_images_is_not_a_world(tmp_path: Path) -> None:
    assert not worlds.of_points(bare(tmp_path / "r"))
    tree = json.loads((tmp_path / "r" / "config.json").read_text(encoding="utf-8"))
    assert "kind" not in tree["dataset"]
