"""The page of a run that was probed, judged, sent back and evaluated."""

import base64
import io
import random
import re
import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from latente import config as configs
from latente import messages, pictures, report
from latente.diagnosis.findings import Finding
from latente.report import curves, evaluations, findings, history, probed, quantities, sheets, worlds
from latente.run import Run, open_run
from test_report import AE, FINISHED, LETTERS, START, VAE, Page, bare, event, full, lines, read

GAN = configs.RunConfig(
    preset="dcgan",
    paper="A paper (1511.06434)",
    model=configs.DCGANModel(),
    objective=configs.AdversarialObjective(),
    cure=configs.CureConfig(),
    optim=configs.AdversarialOptim(),
)
CLASSIFIER = configs.RunConfig(
    preset="classifier",
    paper="A paper",
    model=configs.ClassifierModel(),
    objective=configs.SupervisedObjective(),
)
COLLAPSE = Finding(
    "mode-collapse-full",
    "fault",
    1200,
    {"diversity": 0.17, "coverage": 0.02},
    0.93,
    {"cure.replay": 3200},
    "samples/000001000.png",
)
HEALTHY = Finding("healthy", "note", None, {"coverage": 0.8}, 0.5, picture="samples/000002000.png")
LATER = "2026-11-22T14:00:00+00:00"


def went_back(images: int, to: int, branch: int, **settings: Any) -> dict[str, Any]:
    changed = {name.replace("__", ".").replace("_", "-"): value for name, value in settings.items()}
    return event("intervention", images, finding="mode-collapse-full", to=to, branch=branch, settings=changed)


def branched(folder: Path, *turns: dict[str, Any], pictured: bool = True) -> Run:
    """A run whose "a" is 100 times its branch, and less than 1 more the later the row."""
    run = full(folder, GAN) if pictured else bare(folder, GAN)
    lines(run.folder / "events.jsonl", [START, *turns, FINISHED])
    rows = []
    starts = [0, *(turn["to"] for turn in turns)]
    ends = [*(turn["images"] for turn in turns), 2000]
    for branch, (start, end) in enumerate(zip(starts, ends, strict=True)):
        for images in range(start + 100, end + 1, 100):
            rows.append({"images": images, "branch": branch, "a": 100 * branch + images / 1e4})
            if images % 500 == 0:
                rows.append({"images": images, "branch": branch, "test/a": 7.0 + branch, "probe/diversity": 0.5})
    lines(folder / "metrics.jsonl", rows)
    return run


def probe_row(images: int, **more: float) -> dict[str, Any]:
    row = {name: 0.1 + images / 1e5 for name in (*quantities._PROBES, *quantities._MORE)}
    row |= {f"probe/path/{i}": images / 1000 - i for i in range(8)} | {f"probe/class/{k}": 0.25 for k in range(4)}
    return {"images": images, "branch": 0, **row, "probe/latents": 32.0, **more}


def evaluation(metric: str, images: int = 2000, **more: Any) -> dict[str, Any]:
    protocol = {"samples": 500, "seed": 0, "features_checksum": "ab" * 32}
    return {
        "metric": metric,
        "images": images,
        "at": LATER,
        "value": 0.25,
        "unit": "of it",
        "protocol": protocol,
        **more,
    }


def judged(monkeypatch: pytest.MonkeyPatch, *found: Finding) -> None:
    monkeypatch.setattr(findings, "judge", lambda history: list(found))


def opened(url: str) -> Image.Image:
    assert url.startswith("data:image/webp;base64,")
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


# Diagnosis


@pytest.mark.parametrize(
    ("lang", "said"),
    [
        ("en", ("▲ FAULT", "since image 1,200", "To do", "Expect", "Samples after 1,000 images.")),
        ("es", ("▲ FALLA", "desde la imagen", "Qué hacer", "Qué esperar", "Muestras después de 1000 imágenes.")),
    ],
)
def test_a_fault_is_told_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lang: str, said: tuple[str, ...]
) -> None:
    judged(monkeypatch, COLLAPSE)
    monkeypatch.setenv("LATENTE_LANG", lang)
    page = read(full(tmp_path / "r", GAN), lang)
    flat = " ".join(page.text.split())
    for one in said:
        assert one in flat, one
    for key in ("finding", "why", "remedy", "expect"):
        assert messages.say(f"diagnosis.{key}_mode_collapse_full", lang=lang) in page.words, key
    assert "--cure.replay 3200" in page.codes
    assert "93" in flat and ("0.17" if lang == "en" else "0,17") in flat
    kinds = [a["class"] for tag, a in page.tags if tag == "article"]
    assert kinds == ["verdict fault"]


def test_its_picture_is_small_and_shown_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(monkeypatch, COLLAPSE, replace(COLLAPSE, what="saturated-critic"))
    run = full(tmp_path / "r", GAN)
    html = report.write(run).read_text(encoding="utf-8")
    blocks = re.findall(r"<article.*?</article>", html, re.S)
    assert len(blocks) == 2
    (url,) = re.findall(r'src="(data:[^"]+)"', "".join(blocks))
    assert url in blocks[0]
    with Image.open(run.folder / "samples" / "000001000.png") as sheet:
        wanted = np.asarray(sheet.convert("RGB"))[2:66, 2:66][::8, ::8]
    np.testing.assert_array_equal(np.asarray(opened(url).convert("RGB"))[2:98:12, 2:98:12], wanted)


def test_a_picture_that_is_not_there_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(monkeypatch, replace(COLLAPSE, picture="samples/000001111.png"))
    html = report.write(full(tmp_path / "r", GAN)).read_text(encoding="utf-8")
    (block,) = re.findall(r"<article.*?</article>", html, re.S)
    assert "<img" not in block


def test_health_is_said_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(monkeypatch, HEALTHY)
    html = report.write(full(tmp_path / "r", GAN)).read_text(encoding="utf-8")
    (block,) = re.findall(r"<article.*?</article>", html, re.S)
    assert "✓" in block and messages.say("report.severity_healthy", lang="en") in block
    assert messages.say("diagnosis.finding_healthy", lang="es") in block
    assert messages.say("diagnosis.label_do", lang="en") not in block
    assert "<img" not in block


def test_what_is_not_trained_long_enough_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    judged(monkeypatch, Finding("undertrained", "note", None, {}, 0.7, {"training.images": 4000}))
    assert "latente resume 'a b' --images 4000" in read(full(tmp_path / "a b", GAN)).codes


def test_what_nobody_probed_can_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = full(tmp_path / "r", GAN)
    assert "latente diagnose r" in read(run).codes
    lines(run.folder / "metrics.jsonl", [probe_row(500), probe_row(1000)])
    assert "latente diagnose r" not in read(run).codes


def test_without_a_measurement_there_is_no_verdict(tmp_path: Path) -> None:
    page = read(bare(tmp_path / "r"))
    assert messages.say("report.diagnosis_none", lang="en") in page.words
    assert not [tag for tag, _ in page.tags if tag == "article"]


def test_a_run_that_the_diagnosis_judges_itself(tmp_path: Path) -> None:
    run = full(tmp_path / "r", GAN)
    low = {"probe/diversity": 0.05, "probe/coverage": 0.01, "probe/density": 0.9, "probe/critic/beats": 0.8}
    lines(run.folder / "metrics.jsonl", [{"images": n, "branch": 0, **low} for n in range(100, 2001, 100)])
    page = read(run)
    assert messages.say("diagnosis.finding_mode_collapse_full", lang="en") in page.words


# Branches


def test_the_line_is_what_led_to_the_present(tmp_path: Path) -> None:
    dice = random.Random(0)
    for i in range(10):
        turns, to = [], 0
        for branch in range(1, dice.randint(1, 4)):
            images = dice.randrange(to // 100 + 2, 20) * 100
            to = dice.randrange(0, images // 100) * 100
            turns.append(went_back(images, to, branch))
        run = branched(tmp_path / str(i), *turns, pictured=False)
        found = curves.of_run(run)
        line = curves.collect(run.line())
        assert found.keys() == line.keys()
        for name, curve in found.items():
            assert replace(curve, tails=[]) == line[name]
        assert len(found["a"].tails) == len(turns)
        recorded = {(row["images"], row["a"]) for row in run.metrics() if "a" in row}
        drawn = [found["a"], *found["a"].tails]
        assert {point for one in drawn for point in zip(one.images, one.mean, strict=True)} == recorded


def test_an_abandoned_branch_hangs_on_where_it_was_left(tmp_path: Path) -> None:
    run = branched(tmp_path / "r", went_back(1200, 600, 1))
    (tail,) = curves.of_run(run)["a"].tails
    assert tail.images == [600, 700, 800, 900, 1000, 1100, 1200]
    assert tail.test_images == [1000]
    svg = curves.draw(curves.of_run(run)["a"], 2000, curves.turns(run)).svg
    assert (svg.count('class="tail"'), svg.count('class="dot-tail"'), svg.count('class="turn-at"')) == (1, 1, 1)
    (at,) = re.findall(r'class="turn-at" d="M([\d.]+)', svg)
    width = curves.WIDTH - curves.LEFT - curves.RIGHT
    assert float(at) == pytest.approx(curves.LEFT + 0.3 * width, abs=0.1)
    (back,) = re.findall(r'class="turn-back" d="M([\d.]+)', svg)
    assert float(back) == pytest.approx(curves.LEFT + 0.6 * width, abs=0.1)


def test_a_branch_that_blew_up_does_not_flatten_the_rest(tmp_path: Path) -> None:
    run = branched(tmp_path / "r", went_back(1200, 600, 1))
    curve = replace(curves.of_run(run)["a"], tails=[curves.Curve("a", [600, 700], [0.06, 1e30], [0.0, 0.0])])
    line = re.findall(r'class="line"[^>]* d="M([^"]*)"', curves.draw(curve, 2000, curves.turns(run)).svg)[0]
    heights = [float(point.split()[1]) for point in line.split("L")]
    assert max(heights) - min(heights) > 0.3 * curves.HEIGHT


def test_newest_numbers_are_not_those_of_an_abandoned_branch(tmp_path: Path) -> None:
    run = branched(tmp_path / "r", went_back(1900, 600, 1))
    lines(run.folder / "events.jsonl", [START, went_back(1900, 600, 1)])
    rows = [row for row in run.metrics() if row["branch"] == 0 or row["images"] <= 800]
    lines(run.folder / "metrics.jsonl", rows)
    stands = history.status(run)
    assert (stands.kind, stands.images) == ("unknown", 800)
    page = read(run)
    assert "100.1" in page.words and "0.19" not in page.words
    assert "7" in page.words  # test/a of branch 0 at 500, which is on the line
    assert [sheet.images for sheet in sheets.album(run).samples] == [0]
    assert sheets.evidence(run, ["samples/000000000.png", "samples/001000.png", "samples/000001000.png"]).keys() == {
        "samples/000000000.png"
    }


def test_a_world_shows_no_portrait_of_an_abandoned_branch(tmp_path: Path) -> None:
    run = bare(tmp_path / "r", GAN, (2, 1, 1), kind="points", train=10, test=10)
    for clock in (0, 500, 1000):
        pictures.save(Image.new("RGB", (8, 8)), run.folder / "samples" / f"{clock:09d}.png")
    lines(run.folder / "events.jsonl", [START, went_back(1100, 400, 1)])
    lines(run.folder / "metrics.jsonl", [{"images": 600, "branch": 1, "a": 1.0}])
    assert [shown.images for shown in worlds.album(run).samples] == [0, 500]


@pytest.mark.parametrize("lang", ["en", "es"])
def test_findings_and_turns_are_told_in_the_history(tmp_path: Path, lang: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTE_LANG", lang)
    name = messages.say("diagnosis.finding_mode_collapse_full", lang=lang)
    told = event("finding", 1200, what="mode-collapse-full", severity="fault", confidence=0.93, branch=0, remedy={})
    stop = event("stop", 1500, reason="finding", finding="mode-collapse-full", branch=2)
    turns = (went_back(1200, 600, 1, cure__instance_noise=0.25), went_back(1400, 500, 2))
    run = full(tmp_path / "r", GAN, events=(START, told, *turns, stop))
    page = read(run, lang)
    sentences = [one.sentence[lang] for one in history.events(run)]
    assert len(sentences) == 5 and all(sentence in page.words for sentence in sentences)
    assert all(name in sentence for sentence in sentences[1:])
    assert "93" in sentences[1]
    assert page.codes.count("--cure.instance-noise 0.25") == 1
    kind = {a["class"] for tag, a in page.tags if tag == "p" and (a.get("class") or "").startswith("status")}
    assert kind == {"status finding"}
    assert messages.say("report.state_finding", lang=lang) in page.words
    folder = str(run.folder.resolve())
    assert f"latente resume {folder}" in page.codes


def test_a_run_that_never_went_back_has_no_marks(tmp_path: Path) -> None:
    html = report.write(full(tmp_path / "r", GAN)).read_text(encoding="utf-8")
    assert 'class="turn-at"' not in html and 'class="tail"' not in html


# Measurements of the diagnosis


@pytest.mark.parametrize("name", [*quantities._PROBES, *quantities._MORE])
def test_every_measurement_has_words(name: str) -> None:
    assert quantities.name_of_quantity(name, GAN)["es"] != name
    assert quantities.unit_of(name, GAN) != {
        lang: messages.say("report.unit_unknown", lang=lang) for lang in ("es", "en")
    }
    assert quantities.tells(name)


def test_what_the_panel_measures_is_known() -> None:
    """The names in the code of the probes, so that a new one gets its words."""
    source = "".join(
        (Path(messages.__file__).parents[1] / path).read_text(encoding="utf-8")
        for path in ("diagnosis/panel.py", "training/probing.py", "training/adversarial.py")
    )
    names = set(re.findall(r'"(probe/[\w/]+|critic/saturated|critic/margin)"', source))
    assert len(names) >= 12
    shown = {*quantities._PROBES, *quantities._MORE, "probe/latents"}
    assert {name for name in names if not name.startswith(("probe/weights", "probe/move"))} <= shown


def test_measurements_stand_apart_and_most_are_folded(tmp_path: Path) -> None:
    run = full(tmp_path / "r", GAN)
    lines(run.folder / "metrics.jsonl", [probe_row(n) | {"critic/loss": 1.0} for n in range(500, 2001, 500)])
    html = report.write(run).read_text(encoding="utf-8")
    (section,) = re.findall(r"<section>\n<h2>[^\n]*Measurements of the diagnosis.*?</section>", html, re.S)
    seen, folded = section.split("<details>")
    drawn = re.findall(r'aria-labelledby="words-([^"]+)"', seen)
    assert len(drawn) == len(quantities._PROBES) + 1  # and the classes
    assert len(re.findall(r'aria-labelledby="words-', folded)) == len(quantities._MORE) + 1  # and the way
    page = Page(html, "en")
    assert any("The code has 32." in word for word in page.words)
    assert not re.search(r"probe-2f-(path|class|latents)", html)
    numbers = re.findall(r"<section>\n<h2>[^\n]*Final numbers.*?</section>", html, re.S)[0]
    assert messages.say("report.name_critic_loss", lang="en") in numbers
    assert messages.say("report.name_probe_diversity", lang="en") not in numbers


def test_an_older_value_says_when_it_was_measured(tmp_path: Path) -> None:
    run = full(tmp_path / "r", GAN)
    rows = [{"images": n, "branch": 0, "probe/diversity": 0.5} for n in (500, 1000, 1500)]
    lines(run.folder / "metrics.jsonl", [rows[0] | {"probe/support": 250.0}, *rows[1:]])
    text = read(run).text
    assert "Newest value: 250, at 500 images." in text and "Newest value: 0.5." in text


def test_the_way_is_drawn_to_scale(tmp_path: Path) -> None:
    places = [(0.0, 2.0), (2.0, 0.0), (0.0, 0.0)]
    rows = [{"images": i, "branch": 0, "probe/path/0": a, "probe/path/1": b} for i, (a, b) in enumerate(places)]
    run = full(tmp_path / "r", GAN)
    svg = probed.path(run, curves.collect(rows))
    (way,) = re.findall(r'class="way" d="M([^"]*)"', svg)
    points = np.array([list(map(float, point.split())) for point in way.split("L")])
    (cross,) = re.findall(r'class="cross" d="M([\d.]+) ([\d.]+)h', svg)
    np.testing.assert_allclose(points[2], [float(cross[0]) + 6, float(cross[1])], atol=0.11)
    np.testing.assert_allclose(points[1] - points[2], [points[2, 1] - points[0, 1], 0], atol=0.11)
    (radius,) = re.findall(r'class="rule"[^>]* r="([\d.]+)"', svg)
    assert points[1, 0] - points[2, 0] == pytest.approx(2 * float(radius), abs=0.11)
    assert probed.path(run, {}) == ""


def test_bands_of_classes_fill_the_frame(tmp_path: Path) -> None:
    shares = [(0.5, 0.3, 0.2), (0.9, 0.1, 0.0)]
    rows = [
        {"images": 1000 * (i + 1), "branch": 0} | {f"probe/class/{k}": share for k, share in enumerate(row)}
        for i, row in enumerate(shares)
    ]
    run = bare(tmp_path / "r", GAN, classes=["boot", "bag", "coat"])
    html = probed.shares(run, curves.collect(rows))
    bands = [
        np.array([list(map(float, point.split())) for point in band.split("L")])
        for band in re.findall(r'class="class c\d" d="M([^"]*)Z"', html)[:3]
    ]
    bottom = curves.HEIGHT - 26
    heights = [bands[k][[3, 2], 1] - bands[k][[0, 1], 1] for k in range(3)]  # at both clocks
    np.testing.assert_allclose(np.transpose(heights) / (bottom - curves.TOP), shares, atol=1e-3)
    assert bands[0][0, 1] == curves.TOP and bands[2][3, 1] == pytest.approx(bottom)
    assert all(f"<span>{k} {name}</span>" in html for k, name in enumerate(("boot", "bag", "coat")))
    assert ">0</text>" in html and ">2</text>" not in html  # too thin for its number


def test_factors_have_their_names_and_are_folded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTE_LANG", "es")
    run = full(tmp_path / "r", CLASSIFIER)
    row = {"error": 0.3, "error/glasses": 0.2, "rmse/tilt": 0.9, "error/nosuch": 0.1}
    lines(run.folder / "metrics.jsonl", [{"images": n, "branch": 0, **row} for n in (1000, 2000)])
    html = report.write(run).read_text(encoding="utf-8")
    page = Page(html, "es")
    for name in (messages.say("caras.glasses", lang="es"), messages.say("caras.tilt", lang="es"), "nosuch"):
        assert messages.say("report.name_factor", lang="es", name=name) in page.words
    assert "desviaciones estándar del factor" in page.words
    assert html.index("error-2f-glasses") > html.index("<details>")
    assert quantities.group("error") == "step"


# Evaluation


def rows_of(html: str) -> dict[str, str]:
    """Metric -> its row of the table, in English."""
    table = re.findall(r"<section>\n<h2>[^\n]*Evaluation.*?</table>", html, re.S)[0]
    return {
        re.findall(r"<code>([^<]*)", row)[0]: Page(f"<table>{row}</table>", "en").text
        for row in re.findall(r"<tr><th scope=\"row\">.*?</tr>", table, re.S)
    }


def test_each_metric_has_its_newest_row(tmp_path: Path) -> None:
    run = full(tmp_path / "r", GAN)
    found = [
        evaluation("recall", value=0.1),
        evaluation("frechet", value=52.9, interval=[47.0, 58.5], floor=0.3, reconstruction=21.1),
        evaluation("ms_ssim", value=0.2, interval=None, real=0.13),
        evaluation("active", value=30, of=32),
        evaluation("nosuch", value=None),
        evaluation("recall", value=0.7, interval=[0.65, 0.75], floor=0.9),
    ]
    lines(run.folder / "evaluations.jsonl", found)
    told = rows_of(report.write(run).read_text(encoding="utf-8"))
    assert list(told) == ["recall", "frechet", "ms_ssim", "active", "nosuch"]
    assert (
        "0.7\n[0.65; 0.75]\n0.9\ntraining" in told["recall"] and messages.say("evaluate.unit_recall") in told["recall"]
    )
    assert "52.9\n[47; 58.5]\n0.3\ntraining\n21.1" in told["frechet"]
    assert "0.2\nno interval\n0.13\ndata" in told["ms_ssim"]
    assert "30 of 32" in told["active"]
    assert told["nosuch"].startswith("–\nno interval")
    assert "newer checkpoint" not in "".join(told.values()) and "abandoned" not in "".join(told.values())


def test_a_value_of_older_weights_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    turn = went_back(1800, 600, 1)
    run = full(tmp_path / "r", GAN, events=(START, turn, FINISHED))
    before = {"at": "2026-11-22T12:59:00+00:00"}
    rows = [evaluation("recall", 1500) | before, evaluation("precision", 500) | before, evaluation("coverage", 1000)]
    lines(run.folder / "evaluations.jsonl", [*rows, evaluation("density")])
    html = report.write(run).read_text(encoding="utf-8")
    told = rows_of(html)
    assert "From 1,500 images shown, on a branch since abandoned." in told["recall"]
    for name in ("precision", "coverage"):
        assert "there is a newer checkpoint" in told[name]
    assert "images shown" not in told["density"]
    assert "latente evaluate r" in Page(html, "en").codes


def test_protocols_are_folded_and_said_once(tmp_path: Path) -> None:
    run = full(tmp_path / "r", GAN)
    found = [evaluation("precision"), evaluation("recall", interval_is="95 %"), evaluation("mse", protocol={"seed": 3})]
    lines(run.folder / "evaluations.jsonl", [*found, evaluation("parzen", remark="whatever it said")])
    html = report.write(run).read_text(encoding="utf-8")
    (fold,) = re.findall(r"<summary>[^\n]*How each was measured.*?</details>", html, re.S)
    headings = re.findall(r'<h3 class="protocol">(.*?)</h3>', fold)
    assert [re.findall(r"<code>([^<]*)", heading) for heading in headings] == [
        ["precision", "recall", "parzen"],
        ["mse"],
    ]
    page = Page(f"<details>{fold}", "en")
    assert messages.say("compare.protocol_samples", lang="en") in page.words
    assert "recall: interval_is" in page.codes and "95 %" in page.codes and "ab" * 12 + "…" in page.codes
    assert messages.say("likelihood.parzen", lang="en") in Page(html, "en").words


def test_the_likeliest_copies_are_shown(tmp_path: Path) -> None:
    run = full(tmp_path / "r", GAN)
    pixels = np.random.default_rng(0).integers(0, 256, (34, 66, 3), np.uint8)
    pictures.save(Image.fromarray(pixels), run.folder / "evaluations" / "copies-000002000.png")
    gone = evaluation("invention", picture="evaluations/gone.png")
    lines(run.folder / "evaluations.jsonl", [evaluation("copies", picture="evaluations/copies-000002000.png"), gone])
    html = report.write(run).read_text(encoding="utf-8")
    (figure,) = re.findall(r'<div class="copies">(.*?)</div>', html, re.S)
    np.testing.assert_array_equal(np.asarray(opened(re.findall(r'src="([^"]+)', figure)[0]).convert("RGB")), pixels)
    assert 'alt="' in figure


def test_what_was_not_evaluated_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "latente evaluate r" in read(full(tmp_path / "r", AE)).codes
    for run in (bare(tmp_path / "b"), full(tmp_path / "c", CLASSIFIER)):
        assert not [code for code in read(run).codes if code.startswith("latente evaluate")]
    assert evaluations.evaluation(open_run(tmp_path / "c"), {}) == ""


# The page as a whole


def rich(folder: Path) -> Run:
    """Everything at once."""
    told = event("finding", 1200, what="mode-collapse-full", severity="fault", confidence=0.93, branch=0, remedy={})
    turns = (went_back(1200, 600, 1, cure__replay=64), went_back(1400, 800, 2))
    stop = event("stop", 2000, reason="finding", finding="mode-collapse-full", branch=2)
    run = full(folder, replace(GAN, data=configs.DataConfig(source="caras")), events=(START, told, *turns, stop))
    probed_rows = [probe_row(n) | {"branch": branch} for branch in range(3) for n in range(800, 2001, 100)]
    lines(run.folder / "metrics.jsonl", [row | {"critic/loss": 1.0, "error/mouth": 0.2} for row in probed_rows])
    pictures.save(Image.new("RGB", (66, 34)), run.folder / "evaluations" / "copies-000002000.png")
    found = [evaluation(name, 1000, floor=0.1) for name in ("recall", "nll", "parzen")]
    found += [evaluation("copies", picture="evaluations/copies-000002000.png", remark="It says so", real=0.05)]
    lines(run.folder / "evaluations.jsonl", found)
    return run


def test_no_sentence_of_it_is_written_in_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a Spanish catalogue without letters, no letter is left on the Spanish page but names."""
    real = messages.catalogue

    def silent(code: str, area: str) -> dict[str, str]:
        texts = real(code, area)
        if code == "en":
            return texts
        fields = {k: [f for _, f, _, _ in string.Formatter().parse(t) if f] for k, t in texts.items()}
        return {key: "¶" + " ".join(f"{{{name}}}" for name in fields[key]) for key in texts}

    judged(monkeypatch, COLLAPSE, HEALTHY)
    monkeypatch.setattr(messages, "catalogue", silent)
    monkeypatch.setenv("LATENTE_LANG", "es")
    page = read(rich(tmp_path / "00003-dcgan-x"), "es")
    names = "dcgan caras cpu Abacus torch latente Adam UTC k s min GAN".split()
    assert set(re.findall(LETTERS, page.text)) <= set(names)
    for tag, attributes in page.tags:
        for name in ("alt", "aria-label"):
            assert not re.search(LETTERS, attributes.get(name) or ""), (tag, attributes[name])


def test_its_markup_is_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(monkeypatch, COLLAPSE, HEALTHY)
    html = report.write(rich(tmp_path / "r")).read_text(encoding="utf-8")
    page = Page(html, "en")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a} <= set(ids)
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    plain = re.sub(r"base64,[\w+/=]+|url\(#q-[\w-]+\)", "", html)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<link|<iframe|fetch\(|\b(nan|inf)\b", plain)


def test_names_of_others_are_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = "<script>alert('1 & \"2\"')</script>"
    judged(monkeypatch, replace(COLLAPSE, what="mode-collapse-partial", evidence={"missing": evil}))
    run = full(tmp_path / "r", GAN, events=(START, event("finding", 3, what=evil, confidence=0.9), FINISHED))
    rows = [evaluation(evil, unit=evil, protocol={evil: evil}, remark=evil, picture=evil)]
    lines(run.folder / "evaluations.jsonl", rows)
    html = report.write(run).read_text(encoding="utf-8")
    assert evil not in html and html.count("<script>") == 1
    Page(html, "en")


def test_a_game_of_two_is_not_told_to_wait_for_reconstructions(tmp_path: Path) -> None:
    run = full(tmp_path / "r", GAN)
    for path in (run.folder / "reconstructions").glob("*"):
        path.unlink()
    nothing = messages.say("report.reconstructions_none", lang="en")
    assert nothing not in read(run).words
    assert nothing in read(bare(tmp_path / "v", VAE)).words


def test_evidence_fits_its_budget(tmp_path: Path) -> None:
    run = full(tmp_path / "r", GAN, (3, 64, 64))
    path = "samples/000001000.png"
    whole = sheets.evidence(run, [path], 10**9)[path]
    assert whole.count == 16 and whole.images == 1000
    assert len(sheets.evidence(run, [path], len(whole.url) // 4)[path].url) <= len(whole.url) // 4
