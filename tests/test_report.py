"""The report: complete in itself, in two languages, and good for a run in any state."""

import base64
import io
import json
import re
import shlex
import string
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from latente import config as configs
from latente import messages, pictures, report
from latente.report import curves, history, quantities, sheets, told, words
from latente.report.measurements import _MEASURED
from latente.run import Run, open_run

LETTERS = r"[A-Za-zÀ-ÖØ-öø-ž]+"
AT = "2026-11-22T13:00:00+00:00"
VAE = configs.RunConfig(
    preset="vae", paper="A paper (1312.6114)", model=configs.VAEModel(), objective=configs.VAEObjective()
)
AE = configs.RunConfig(
    preset="ae-stacked", paper="A book", model=configs.AutoencoderModel(), objective=configs.AutoencoderObjective()
)


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def event(kind: str, images: int, **facts: Any) -> dict[str, Any]:
    return {"kind": kind, "images": images, "at": AT, **facts}


START = event("start", 0, until=2000, start_from=None)
FINISHED = event("stop", 2000, reason="finished")


def bare(folder: Path, config: configs.RunConfig = VAE, shape: tuple[int, int, int] = (1, 8, 8), **facts: Any) -> Run:
    """A run folder with nothing but config.json."""
    folder.mkdir(parents=True)
    dataset = {"image_shape": list(shape), "classes": [], **facts}
    (folder / "config.json").write_text(json.dumps(configs.to_json(config) | {"dataset": dataset}), encoding="utf-8")
    return open_run(folder)


def full(
    folder: Path,
    config: configs.RunConfig = VAE,
    shape: tuple[int, int, int] = (1, 8, 8),
    events: tuple[dict[str, Any], ...] = (START, FINISHED),
    times: int = 3,
) -> Run:
    """A run folder as training leaves it, with noise for pictures."""
    run = bare(folder, config, shape, train=6000, test=300, split={"rule": "content"})
    random = np.random.default_rng(0)
    pictures.save(pictures.grid(random.integers(0, 255, (16, *shape), np.uint8), 8), folder / "reals.png")
    for clock in np.linspace(0, 2000, times).astype(int):
        for kind, n in (("samples", 16), ("reconstructions", 16)):
            images = random.integers(0, 255, (n, *shape), np.uint8)
            pictures.save(pictures.grid(images, 8), folder / kind / f"{clock:09d}.png")
        (folder / "checkpoints" / f"{clock:09d}").mkdir(parents=True)
    rows = []
    for images in range(100, 2001, 100):
        terms = {"mse": 0.1 / images, "bound": 90 + 1e4 / images, "kl": 12.5 - 10 / images, "gradient/norm": 1.0}
        terms |= {"loss": terms["bound"], "odd/<one>": float(images)}
        rows.append({"images": images, "branch": 0, **terms, **{f"{name}/sd": 0.01 for name in terms}})
        if images % 1000 == 0:
            rows.append(
                {"images": images, "branch": 0, "test/mse": 0.2 / images, "test/bound": 95.0, "test/loss": 95.0}
            )
    lines(folder / "metrics.jsonl", rows)
    lines(folder / "timing.jsonl", [{"images": 2000, "seconds": 100.0, "images_per_second": 20.0}])
    lines(folder / "events.jsonl", list(events))
    machine = {"processor": "Abacus", "threads": 2, "device": "cpu", "torch": "2.13.0", "command": ["train", "vae"]}
    (folder / "environment.json").write_text(json.dumps(machine), encoding="utf-8")
    return run


class Page(HTMLParser):
    """Reads a page as a browser with one language does, and complains about what is not closed."""

    VOID = ("meta", "img", "input", "br", "hr")
    CLOSED = ("path", "circle", "rect")

    def __init__(self, html: str, lang: str) -> None:
        super().__init__()
        self.lang, self.open, self.hidden = lang, [], 0
        self.words: list[str] = []
        self.codes: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in <{tag}>"
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID and tag not in self.CLOSED:
            self.open.append(tag)
            other = tag in ("span", "text") and dict(attrs).get("lang", self.lang) != self.lang
            self.hidden += 1 if self.hidden or other or tag in ("style", "script", "button") else 0

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.hidden -= 1 if self.hidden else 0

    def handle_data(self, data: str) -> None:
        if not self.hidden and data.strip():
            (self.codes if "code" in self.open or "cite" in self.open else self.words).append(data.strip())

    @property
    def text(self) -> str:
        return "\n".join(self.words)


def read(run: Run, lang: str = "en") -> Page:
    return Page(report.write(run).read_text(encoding="utf-8"), lang)


# Numbers and texts


@pytest.mark.parametrize(
    ("value", "es", "en"),
    [
        (60000, "60\u202f000", "60,000"),
        (6016, "6016", "6,016"),
        (0.01042, "0,01042", "0.01042"),
        (-912.34, "−912,3", "−912.3"),
        (1.56e-5, "1,56 × 10⁻⁵", "1.56 × 10⁻⁵"),
        (1234567.8, "1\u202f234\u202f568", "1,234,568"),
        (0, "0", "0"),
        (0.0, "0", "0"),
        (999.96, "1000", "1,000"),
    ],
)
def test_numbers_are_written_as_each_language_does(value: float, es: str, en: str) -> None:
    assert words.number(value) == {"es": es, "en": en}


def test_short_counts_are_those_of_the_command_line() -> None:
    assert [words.short(n)["en"] for n in (0, 900, 6016, 300_000, 1_500_000)] == ["0", "900", "6.02k", "300k", "1.5M"]
    assert words.short(1_500_000)["es"] == "1,5M"


def test_both_catalogues_have_the_same_keys_and_fields() -> None:
    def fields(text: str) -> set[str | None]:
        return {name for _, name, _, _ in string.Formatter().parse(text)} - {None}

    es, en = messages.catalogue("es", "report"), messages.catalogue("en", "report")
    assert list(es) == list(en)
    assert {key: fields(text) for key, text in es.items()} == {key: fields(text) for key, text in en.items()}


def test_no_sentence_is_written_in_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a Spanish catalogue without letters, no letter is left on the Spanish page but names."""
    real = messages.catalogue

    def silent(code: str, area: str) -> dict[str, str]:
        texts = real(code, area)
        if code == "en":
            return texts
        fields = {k: [f for _, f, _, _ in string.Formatter().parse(t) if f] for k, t in texts.items()}
        return {key: "¶" + " ".join(f"{{{name}}}" for name in fields[key]) for key in texts}

    monkeypatch.setattr(messages, "catalogue", silent)
    monkeypatch.setenv("LATENTE_LANG", "es")
    events = (START, event("left-out", 0, file="7.png", reason="empty"), event("converted", 0, cmyk=3), FINISHED)
    run = full(tmp_path / "00003-vae-x", replace(VAE, data=configs.DataConfig(source="caras")), events=events)
    page = read(run, "es")
    names = "vae caras cpu float32 Abacus torch latente lanczos Adam UTC nats png min s k odd one".split()
    assert set(re.findall(LETTERS, page.text)) <= set(names)
    for tag, attributes in page.tags:
        for name in ("alt", "aria-label"):
            if attributes.get(name):
                assert not re.search(LETTERS, attributes[name] or ""), (tag, attributes[name])
                assert attributes["data-es"] == attributes[name] and attributes["data-en"]


# The page as a whole


def test_page_is_complete_in_itself(tmp_path: Path) -> None:
    html = report.write(full(tmp_path / "r")).read_text(encoding="utf-8")
    plain = re.sub(r"base64,[\w+/=]+|url\(#q-[\w-]+\)", "", html)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<link|<iframe|fetch\(", plain)
    for tag, attributes in Page(html, "en").tags:
        assert "href" not in attributes
        assert attributes.get("src", "data:image/webp;base64,").startswith("data:image/webp;base64,"), tag


def test_markup_is_sound(tmp_path: Path) -> None:
    page = read(full(tmp_path / "r"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    pointed = [a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a] + ["turn"]
    assert set(pointed) <= set(ids)
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    assert dict(page.tags)["html"] == {"lang": messages.language()}
    levels = [tag for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == "h1" and levels.count("h1") == 1


@pytest.mark.parametrize("lang", ["es", "en"])
def test_language_in_force_is_the_one_shown_first(tmp_path: Path, lang: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTE_LANG", lang)
    page = read(full(tmp_path / "r"), lang)
    assert dict(page.tags)["html"]["lang"] == lang
    assert ("Curvas" in page.words) is (lang == "es") and ("Curves" in page.words) is (lang == "en")
    pressed = [a["lang"] for tag, a in page.tags if tag == "button" and a["aria-pressed"] == "true"]
    assert pressed == [lang]


def test_names_are_escaped(tmp_path: Path) -> None:
    evil = "<script>alert('1 & \"2\"')</script>"
    events = (START, event("left-out", 0, file=evil, reason=evil), event(evil, 3, what=evil), FINISHED)
    run = full(tmp_path / "r", replace(VAE, paper=evil, data=configs.DataConfig(source="x/" + evil)), events=events)
    html = report.write(run).read_text(encoding="utf-8")
    assert evil not in html and html.count("<script>") == 1
    page = Page(html, "en")
    assert evil in page.text and evil in page.codes
    assert "odd/<one>" in page.words  # a quantity that nobody knows keeps its name


def test_sentences_hide_where_a_set_lies(tmp_path: Path) -> None:
    run = full(tmp_path / "r", replace(VAE, data=configs.DataConfig(source="/home/ana/fotos.zip")))
    page = read(run)
    assert "fotos.zip" in page.text and "ana" not in page.text
    assert "/home/ana/fotos.zip" in page.codes  # the table of settings says all


def test_report_imports_no_torch(tmp_path: Path) -> None:
    folder = full(tmp_path / "r").folder
    code = (
        "import sys; from latente import report, run; report.write(run.open_run(sys.argv[1]));"
        "assert not {'torch', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)


@pytest.mark.slow
def test_big_run_stays_under_five_megabytes(tmp_path: Path) -> None:
    run = full(tmp_path / "r", shape=(3, 256, 256), times=12)  # noise: nothing compresses worse
    assert report.write(run).stat().st_size < 5_000_000


# How a run stands


STOPS: list[tuple[tuple[dict[str, Any], ...], str, str]] = [
    ((START, FINISHED), "Finished.", "Training reached its end: 2,000 images shown."),
    ((START, event("stop", 700, reason="interrupted")), "Interrupted.", "at 700 of 2,000 images, with a checkpoint"),
    (
        (START, event("stop", 700, reason="non-finite", term="kl", checkpoint=500)),
        "Stopped by itself.",
        "kl was no longer a finite number, so training stopped; the last good checkpoint is the one at 500 images.",
    ),
    ((START, event("checkpoint", 1000)), "No end on record.", "from 2026-11-22 13:00 UTC, at 2,000 of 2,000 images"),
    ((START, event("stop", 700, reason="mode collapse")), "Stopped.", "“mode collapse”"),
]


@pytest.mark.parametrize(("events", "headline", "sentence"), STOPS)
def test_status_says_how_the_run_stands(
    tmp_path: Path, events: tuple[dict[str, Any], ...], headline: str, sentence: str
) -> None:
    page = read(full(tmp_path / "r", events=events))
    assert headline in page.words
    assert sentence in page.text


def test_folder_with_nothing_but_a_configuration(tmp_path: Path) -> None:
    page = read(bare(tmp_path / "00001-vae-caras"))
    for sentence in (
        "Not started.",
        "There are no samples yet",
        "There are no measurements yet",
        "Nothing is on record.",
    ):
        assert sentence in page.text
    assert "latente train vae --data caras --images 300k" in page.codes
    assert not any(tag == "img" for tag, _ in page.tags)


def test_run_interrupted_at_its_first_image(tmp_path: Path) -> None:
    run = full(tmp_path / "r", events=(START, event("stop", 0, reason="interrupted")), times=1)
    for name in ("metrics.jsonl", "timing.jsonl"):
        (run.folder / name).unlink()
    page = read(run)
    assert "This section fills up" in page.text or "single sheet so far" in page.text
    assert "There are no numbers yet." in page.words
    assert not any(attributes.get("type") == "range" for _, attributes in page.tags)


def test_events_are_told(tmp_path: Path) -> None:
    events = (
        event("left-out", 0, file="a/roto.png", reason="empty"),
        event("left-out", 0, file="b.png", reason="nosuch"),
        event("converted", 0, cmyk=3, nosuch=2),
        event("start", 0, until=1000, start_from="/runs/00001-vae-x"),
        event("stop", 300, reason="interrupted"),
        event("damaged", 300, what="nets.safetensors"),
        event("resume", 200, until=2000, differs=["threads", "torch"]),
        FINISHED,
    )
    page = read(full(tmp_path / "r", events=events))
    assert "Files left out: 2, by reason; the list is in events.jsonl." in page.words
    assert messages.say("data.bad_empty", lang="en") + " (1): a/roto.png" in page.words
    assert "nosuch (1): b.png" in page.words and "nosuch (2)" in page.words
    assert messages.say("data.did_cmyk", lang="en", count=3) in page.words
    assert "Training started from the weights of 00001-vae-x, to reach 1,000 images." in page.words
    assert "The checkpoint at 300 images was damaged and was passed over: nets.safetensors." in page.words
    assert "(threads, version of torch)" in page.text
    assert "Checkpoints kept, by images shown: 0; 1,000; 2,000." in page.words


def test_many_files_left_out_are_not_all_listed(tmp_path: Path) -> None:
    events = [event("left-out", 0, file=f"{i}.png", reason="empty") for i in range(50)]
    found = history.events(full(tmp_path / "r", events=(*events, START)))
    assert len(found) == 2
    (detail,) = found[0].details
    assert detail["en"].endswith("(50): " + ", ".join(f"{i}.png" for i in range(10)) + ", …")


def test_commands_lead_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def lines_of(name: str, *events: dict[str, Any]) -> list[str]:
        run = full(tmp_path / "runs" / name, events=events)
        return [command for _, command in history.commands(run, history.status(run))]

    assert lines_of("a b", START, FINISHED) == [
        "latente resume 'runs/a b' --images 4k",
        "latente sample 'runs/a b' --n 64 --out grid.png",
        "latente report 'runs/a b'",
    ]
    assert lines_of("b", START)[0] == "latente resume runs/b"
    stopped = event("stop", 700, reason="non-finite", term="kl", checkpoint=500)
    assert shlex.split(lines_of("c", START, stopped)[0]) == ["latente", "train", "vae", "--optim.lr", "0.000333"]


# Pictures


@pytest.mark.parametrize("shape", [(1, 28, 20), (3, 8, 8), (3, 64, 64)])
def test_sheets_are_taken_apart_exactly(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 255, (13, *shape), np.uint8)
    pictures.save(pictures.grid(images, 8), tmp_path / "sheet.png")
    cells = sheets._open(tmp_path / "sheet.png", shape[1:], [])
    assert cells is not None
    np.testing.assert_array_equal(cells, np.broadcast_to(images, (13, 3, *shape[1:])))


def test_pictures_on_the_page_are_those_of_the_run(tmp_path: Path) -> None:
    run = full(tmp_path / "r", times=2)
    album = sheets.album(run)
    assert [sheet.images for sheet in album.samples] == [0, 2000] == [column.images for column in album.moments]
    with Image.open(run.folder / "samples" / "000002000.png") as image:
        first = np.asarray(image.convert("RGB"))[2:66, 2:66][::8, ::8]  # 8 px enlarged 8 times
    for shown in (album.samples[-1], album.moments[-1]):
        with Image.open(io.BytesIO(base64.b64decode(shown.url.partition(",")[2]))) as image:
            pixels = np.asarray(image.convert("RGB"))
        scale = (album.moments[-1].picture.width - 4) // 8
        np.testing.assert_array_equal(pixels[2 : 2 + 8 * scale : scale, 2 : 2 + 8 * scale : scale], first)
    assert [shown.count for shown in (*album.originals, *album.reconstructions)] == [8, 8, 8]


def test_pictures_give_way_to_the_budget() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8))
    whole = len(sheets.encode([noise], 10**9)[0])
    sides = {}
    for share in (1.0, 0.5, 0.02):
        (url,) = sheets.encode([noise], int(whole * share))
        assert len(url) <= whole * share
        with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
            sides[share] = image.width
            assert np.array_equal(np.asarray(image), np.asarray(noise)) is (share == 1.0)
    assert sides[1.0] == sides[0.5] == 128 > sides[0.02]
    with pytest.raises(ValueError, match="do not fit"):
        sheets.encode([noise], 100)


def test_half_a_picture_is_left_out_and_named(tmp_path: Path) -> None:
    run = full(tmp_path / "r")
    path = run.folder / "samples" / "000002000.png"
    path.write_bytes(path.read_bytes()[:500])
    album = sheets.album(run)
    assert [sheet.images for sheet in album.samples] == [0, 1000]
    assert album.unreadable == ["000002000.png"]
    assert "000002000.png" in read(run).text


# Curves and numbers


def test_every_figure_names_its_units(tmp_path: Path) -> None:
    page = read(full(tmp_path / "r"))
    figures = [i for i, (tag, a) in enumerate(page.tags) if tag == "svg" and a.get("role") == "img"]
    units = [a for tag, a in page.tags if tag == "p" and a.get("class") == "unit"]
    assert len(figures) == len(units) == page.words.count("images shown") == 5  # the loss is the bound
    assert "The loss is this same curve." in page.words


@pytest.mark.parametrize("config", [VAE, AE])
@pytest.mark.parametrize("name", quantities._ORDER)
def test_every_quantity_of_a_family_is_known(config: configs.RunConfig, name: str) -> None:
    assert quantities.name_of_quantity(name, config)["en"] != name
    assert quantities.unit_of(name, config) != words.text("unit_unknown")
    assert quantities.tells(name)


def test_curve_goes_through_its_points() -> None:
    curve = curves.collect([{"images": n, "branch": 0, "a": n / 10 + 5.0, "test/a": 6.0} for n in (0, 50, 100)])["a"]
    svg = curves.draw(curve, 100).svg
    (path,) = re.findall(r'class="line"[^>]* d="M([^"]*)"', svg)
    points = np.array([list(map(float, point.split())) for point in path.split("L")])
    left, right = curves.LEFT, curves.WIDTH - curves.RIGHT
    np.testing.assert_allclose(points[:, 0], [left, (left + right) / 2, right])
    assert points[0, 1] - points[1, 1] == pytest.approx(points[1, 1] - points[2, 1], abs=0.11)  # straight, and up
    assert points[0, 1] > points[2, 1]
    assert svg.count('class="dot"') == 3


def test_early_values_do_not_hide_the_rest() -> None:
    rows = [{"images": n, "a": -100.0 + 900 * (n < 100) + n % 7} for n in range(50, 10_001, 50)]
    drawing = curves.draw(curves.collect(rows)["a"], 10_000)
    assert drawing.clipped and not drawing.logarithmic
    falling = [{"images": n, "a": 1 / n} for n in range(50, 10_001, 50)]
    assert curves.draw(curves.collect(falling)["a"], 10_000).logarithmic


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0, 1e-30, 1e30])
def test_flat_and_single_curves_are_drawn(value: float) -> None:
    for n in (1, 2):
        rows = [{"images": i, "a": value} for i in range(n)]
        svg = curves.draw(curves.collect(rows)["a"], 0).svg
        labels = re.findall(r'<text lang="en"[^>]*text-anchor="end">([^<]*)', svg)
        labels += re.findall(r'<text x[^>]*text-anchor="end">([^<]*)', svg)
        assert "nan" not in svg and len(set(labels)) == len(labels) >= 3


def test_spread_and_non_finite_numbers_are_no_curves_of_their_own() -> None:
    found = curves.collect([{"images": 1, "branch": 0, "a": 1.0, "a/sd": 0.5, "b": float("nan"), "test/a": 2.0}])
    assert list(found) == ["a"]
    assert (found["a"].mean, found["a"].sd, found["a"].test) == ([1.0], [0.5], [2.0])


@given(st.floats(-1e3, 1e3), st.floats(1e-9, 1e9))
@example(1000.0, 1e-9)
def test_marks_of_an_axis_are_inside_and_enough(start: float, length: float) -> None:
    low = start * length
    marks = curves.nice(low, low + length)
    assert 2 <= len(marks) <= 11
    assert all(low - 1e-6 * length <= mark <= low + length * (1 + 1e-6) for mark in marks)
    assert len({label["es"] for label in words.marks(marks)}) == len(marks)


def test_numbers_say_what_they_were_measured_on(tmp_path: Path) -> None:
    page = read(full(tmp_path / "r"))
    assert "Held-out: mean over 300 images that training never sees, measured at 2,000 images shown." in page.words
    assert "1 × 10⁻⁴" in page.words or "0.0001" in page.words  # test/mse
    assert "1,000 images shown (Bound" in page.text  # best(): the first of two equal bounds


def test_number_of_measured_images_is_that_of_training() -> None:
    from latente.training import life

    assert life._TEST == _MEASURED


# The configuration in words


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (VAE, "The likelihood of a pixel is Gaussian, with the sigma that fits each batch best."),
        (
            replace(VAE, objective=configs.VAEObjective(likelihood="bernoulli")),
            "Bernoulli; each time an image is shown",
        ),
        (replace(VAE, objective=configs.VAEObjective(estimator="iwae", samples=50)), "with 50 samples per image"),
        (replace(VAE, objective=configs.VAEObjective(capacity=25.0)), "towards a capacity of 25 nats"),
        (replace(VAE, objective=configs.VAEObjective(free_bits=0.5)), "has 0.5 nats that cost nothing"),
        (replace(VAE, optim=configs.OptimConfig(lr=3e-4, clip=1.0)), "Adam, with a learning rate of 0.0003."),
        (replace(AE, objective=configs.AutoencoderObjective(noise="dropout")), "A share of 0.2 of the input's pixels"),
        (replace(AE, objective=configs.AutoencoderObjective(sparsity="kl")), "mean activity of each unit and 0.1"),
        (replace(AE, model=configs.AutoencoderModel(hashing=16.0)), "The code is binary"),
        (replace(AE, model=configs.StyleGAN2Model(crossovers=100)), "to another style in 5 places"),
    ],
)
def test_configuration_is_told_in_sentences(config: configs.RunConfig, said: str) -> None:
    told_so = told.configuration(config, {"image_shape": [1, 28, 28], "classes": [], "train": 60000, "test": 10000})
    assert said in " ".join(sentence["en"] for paragraph in told_so for sentence in paragraph)


def test_all_settings_are_in_the_table(tmp_path: Path) -> None:
    page = read(full(tmp_path / "r"))
    assert set(configs.settings(VAE)) <= set(page.codes)
