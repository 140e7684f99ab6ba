"""A name or a path -> two splits, from beginning to end."""

import io
import json
import os
import re
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latente import messages
from latente.config import DataConfig
from latente.data import caras, datasets, prepare, store
from latente.data.datasets import load, remarks
from latente.messages import Problem


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LATENTE_DATA", raising=False)


def pixels(seed=0, size=(8, 8), bands=3):
    array = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], bands), dtype=np.uint8)
    return array[..., 0] if bands == 1 else array


def png(array, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind)
    return file.getvalue()


def folder_of(path, count=20, name="{:03d}.png", **options):
    for number in range(count):
        file = path / name.format(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(pixels(number, **options)))
    return path


def by_content(data):
    """Every image of both splits -> (split, label), by its pixels."""
    found = {}
    for part in (data.train, data.test):
        for row, image in enumerate(part.images):
            label = None if part.labels is None else part.classes[part.labels[row]]
            found[image.tobytes()] = (part.name, label)
    return found


def test_folder_zip_and_tar_give_the_same_set(tmp_path):
    folder_of(tmp_path / "set", 40)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive, tarfile.open(tmp_path / "set.tgz", "w:gz") as tar:
        for path in sorted((tmp_path / "set").iterdir(), reverse=True):  # in another order
            archive.write(path, f"inside/{path.name}")
            tar.add(path, f"inside/{path.name}")
    sets = [by_content(load(DataConfig(source=str(tmp_path / name)))) for name in ("set", "set.zip", "set.tgz")]
    assert sets[0] == sets[1] == sets[2] and len(sets[0]) == 40
    expected = {pixels(number).transpose(2, 0, 1).tobytes() for number in range(40)}
    assert set(sets[0]) == expected
    assert Counter(split for split, _ in sets[0].values()) == {"train": 38, "test": 2}


def test_gather_gives_the_images_in_the_order_asked_for(tmp_path):
    data = load(DataConfig(source=str(folder_of(tmp_path / "set"))))
    assert isinstance(data.train.images, np.memmap) and data.train.images.dtype == np.uint8
    batch = data.train.gather(np.array([5, 0, 5], np.int64))
    assert batch.shape == (3, 3, 8, 8) and batch.is_contiguous()
    assert np.array_equal(batch.numpy(), np.stack([data.train.images[i] for i in (5, 0, 5)]))
    batch.zero_()  # a copy: the set is untouched
    assert data.train.images[5].any()
    assert len(data.train) == 19 and len(data.test) == 1


def test_second_start_reads_no_image(tmp_path, monkeypatch):
    config = DataConfig(source=str(folder_of(tmp_path / "set")))
    first = load(config)
    monkeypatch.setattr(prepare, "fill", lambda *_: pytest.fail("prepared again"))
    second = load(config)
    assert second.facts == first.facts and np.array_equal(first.train.images, second.train.images)


@pytest.mark.parametrize(
    "change", [{"resolution": 4}, {"channels": "grey"}, {"filter": "box", "resolution": 4}, {"channels": "rgba"}]
)
def test_other_settings_are_prepared_apart(tmp_path, change):
    source = str(folder_of(tmp_path / "set"))
    plain, other = load(DataConfig(source=source)), load(DataConfig(source=source, **change))
    assert plain.facts["key"] != other.facts["key"]
    assert plain.train.images.shape[1:] == (3, 8, 8)
    side = change.get("resolution", 8)
    assert other.train.images.shape[1:] == ({"grey": 1, "rgba": 4}.get(change.get("channels"), 3), side, side)


def test_changed_content_is_prepared_again(tmp_path):
    source = folder_of(tmp_path / "set")
    before = load(DataConfig(source=str(source)))
    (source / "000.png").write_bytes(png(pixels(999)))
    os.utime(source / "000.png", ns=(5, 5))
    after = load(DataConfig(source=str(source)))
    assert pixels(999).transpose(2, 0, 1).tobytes() in by_content(after)
    assert before.facts["key"] != after.facts["key"]


def test_damaged_cache_is_prepared_again(tmp_path):
    config = DataConfig(source=str(folder_of(tmp_path / "set")))
    first = load(config)
    content = by_content(first)
    images = first.folder / "images.npy"
    images.write_bytes(images.read_bytes()[:-100])
    assert by_content(load(config)) == content


def test_facts_are_json_and_complete(tmp_path):
    data = load(DataConfig(source=str(folder_of(tmp_path / "set")), resolution=4))
    facts = json.loads(json.dumps(data.facts))
    assert facts["count"] == 20 and facts["train"] == 19 and facts["test"] == 1
    assert facts["shape"] == [3, 4, 4] and facts["channels"] == "rgb" and facts["filter"] == "lanczos"
    assert facts["split"] == {"rule": "content", "share": 0.05, "most": 5000}
    assert facts["sizes"] == {"8x8": 20} and facts["modes"] == {"RGB": 20} and facts["formats"] == {"PNG": 20}


# Splits and labels


def test_exact_duplicates_stay_on_one_side(tmp_path):
    source = tmp_path / "set"
    for number in range(60):
        folder_of(source, 1, f"{number}.png")
        (source / f"{number}.png").write_bytes(png(pixels(number % 20)))
    data = load(DataConfig(source=str(source)))
    train, test = ({image.tobytes() for image in part.images} for part in (data.train, data.test))
    assert not train & test and len(train | test) == 20 and len(data.test) >= 1
    assert data.facts["duplicates"] == {"extra": 40, "across": 0}


def test_class_folders_become_labels(tmp_path):
    for kind in ("cats", "dogs"):
        folder_of(tmp_path / "set/png/72" / kind, 12, kind + "{}.png", size=(8, 8 if kind == "cats" else 9))
    data = load(DataConfig(source=str(tmp_path / "set"), resolution=8))
    assert data.train.classes == ("cats", "dogs") and data.facts["class_counts"] == [12, 12]
    names = [json.loads(line) for line in (data.folder / "names.txt").read_text().splitlines()]
    labels = [*data.train.labels, *data.test.labels]
    assert [data.train.classes[label] for label in labels] == [name.split("/")[2] for name in names]
    images = [*data.train.images, *data.test.images]
    for name, image in zip(names, images, strict=True):  # names, labels and images stayed together
        seed, height = int("".join(c for c in name.split("/")[-1] if c.isdigit())), 8 if "cats" in name else 9
        assert np.array_equal(image, pixels(seed, (8, height))[:8].transpose(2, 0, 1))


@pytest.mark.parametrize("layout", [["a{}.png"], ["only/a{}.png"], ["x/a{}.png", "a{}.png"]])
def test_no_labels_without_two_folders_that_hold_everything(tmp_path, layout):
    for name in layout:
        folder_of(tmp_path / "set", 10, name, size=(8, 8 + len(name)))
    data = load(DataConfig(source=str(tmp_path / "set"), resolution=8))
    assert data.train.labels is None and data.train.classes == ()


def test_train_and_test_folders_are_the_split(tmp_path):
    for split, count in (("train", 9), ("test", 5), ("val", 4)):
        for kind in ("cats", "dogs"):
            folder_of(tmp_path / "set" / split / kind, count, size=(8, 8 + len(split + kind)))
    data = load(DataConfig(source=str(tmp_path / "set"), resolution=8))
    assert data.facts["split"] == {"rule": "folders"}
    assert (len(data.train), len(data.test)) == (26, 10) and data.train.classes == ("cats", "dogs")
    names = [json.loads(line) for line in (data.folder / "names.txt").read_text().splitlines()]
    assert all(name.startswith("test/") for name in names[26:]) and not any("test/" in name for name in names[:26])


def test_official_split_of_arrays_and_word_labels(tmp_path):
    train, test = (np.stack([pixels(seed, bands=1) for seed in seeds]) for seeds in (range(9), range(9, 12)))
    words = np.array(["dog", "cat", "cat"] * 4)
    np.savez(tmp_path / "x.npz", x_train=train, y_train=words[:9], x_test=test, y_test=words[9:])
    data = load(DataConfig(source=str(tmp_path / "x.npz")))
    assert data.facts["split"] == {"rule": "official"}
    assert np.array_equal(data.train.images[:, 0], train) and np.array_equal(data.test.images[:, 0], test)
    assert data.train.classes == ("cat", "dog") and data.test.labels.tolist() == [1, 0, 0]


def test_a_test_image_that_is_also_in_training_is_counted(tmp_path):
    train = np.stack([pixels(seed, bands=1) for seed in range(9)])
    np.savez(tmp_path / "x.npz", x_train=train, x_test=train[[4, 4]])
    assert load(DataConfig(source=str(tmp_path / "x.npz"))).facts["duplicates"] == {"extra": 2, "across": 2}


# Colour, size


def test_grey_and_colour_together_become_colour(tmp_path):
    source = tmp_path / "set"
    for number in range(10):  # grey ones come first: what was written has to be widened
        folder_of(source, 1, f"{number}.png", bands=1 if number < 6 else 3)
        (source / f"{number}.png").write_bytes(png(pixels(number, bands=1 if number < 6 else 3)))
    data = load(DataConfig(source=str(source)))
    assert data.facts["shape"] == [3, 8, 8] and data.facts["converted"] == {"grey_to_colour": 6}
    expected = {np.stack([pixels(n, bands=1)] * 3).tobytes() for n in range(6)}
    assert expected < set(by_content(data))
    assert len([line for line in remarks(data.facts) if "6" in line]) == 1


def test_order_of_grey_and_colour_does_not_change_the_split(tmp_path):
    for order in ("ab", "ba"):
        for number in range(40):
            folder_of(tmp_path / order, 1, f"{order[number % 2]}{number}.png")
            (tmp_path / order / f"{order[number % 2]}{number}.png").write_bytes(
                png(pixels(number, bands=1 + 2 * (number % 2)))
            )
    one, two = (by_content(load(DataConfig(source=str(tmp_path / order)))) for order in ("ab", "ba"))
    assert one == two


def test_colour_files_without_colour_are_a_grey_set(tmp_path):
    for number in range(5):
        folder_of(tmp_path / "set", 1, f"{number}.png")
        (tmp_path / f"set/{number}.png").write_bytes(png(np.stack([pixels(number, bands=1)] * 3, 2)))
    data = load(DataConfig(source=str(tmp_path / "set")))
    assert data.facts["channels"] == "grey" and data.facts["converted"] == {"colourless": 5}


def test_different_sizes_need_a_resolution(tmp_path):
    folder_of(tmp_path / "set", 7, "a{}.png", size=(30, 20))
    folder_of(tmp_path / "set", 3, "b{}.png", size=(40, 40))
    with pytest.raises(Problem) as caught:
        load(DataConfig(source=str(tmp_path / "set")))
    sentence = str(caught.value)
    assert "30x20 (7), 40x40 (3)" in sentence and "--resolution 16" in sentence
    assert load(DataConfig(source=str(tmp_path / "set"), resolution=16)).facts["shape"] == [3, 16, 16]


def test_uniform_size_need_not_be_square(tmp_path):
    assert load(DataConfig(source=str(folder_of(tmp_path / "set", size=(5, 9))))).facts["shape"] == [3, 9, 5]


# Bad files


def with_bad(path, good, bad):
    folder_of(path, good)
    for number in range(bad):
        (path / f"bad{number}.png").write_bytes(b"")
    return str(path)


@pytest.mark.parametrize(
    ("good", "bad", "on_bad", "problem"),
    [
        (18, 2, "auto", None),
        (17, 3, "auto", "data.too_many_bad"),
        (5, 30, "skip", None),
        (30, 1, "stop", "data.bad_stop"),
        (30, 0, "stop", None),
    ],
)
def test_on_bad(tmp_path, good, bad, on_bad, problem):
    config = DataConfig(source=with_bad(tmp_path / "set", good, bad), on_bad=on_bad)
    if problem:
        with pytest.raises(Problem) as caught:
            load(config)
        assert caught.value.key == problem and "bad0.png" in str(caught.value)
    else:
        facts = load(config).facts
        assert facts["count"] == good and facts["left_out_count"] == bad
        assert facts["left_out"] == [{"file": f"bad{n}.png", "reason": "empty"} for n in sorted(range(bad), key=str)]


def test_every_odd_file_at_once(tmp_path):
    source = folder_of(tmp_path / "set", 60)
    Image.fromarray(pixels(70)).convert("CMYK").save(source / "cmyk.jpg")
    Image.fromarray(pixels(71)).quantize(8).save(source / "palette.png")
    (source / "jpeg.png").write_bytes(png(pixels(72), "JPEG"))
    (source / "cut.png").write_bytes(png(pixels(73, (64, 64)))[:500])
    (source / "text.png").write_bytes(b"some text, long enough to look at")
    (source / "zero.png").write_bytes(b"")
    (source / "folder.png").mkdir()
    (source / "link.png").symlink_to("nowhere.png")
    (source / ".hidden.png").write_bytes(b"")
    (source / "readme.md").write_text("hello")
    facts = load(DataConfig(source=str(source))).facts
    assert facts["count"] == 63
    assert {item["file"]: item["reason"] for item in facts["left_out"]} == {
        "cut.png": "damaged",
        "folder.png": "folder",
        "link.png": "broken_link",
        "text.png": "not_an_image",
        "zero.png": "empty",
    }
    assert facts["converted"] == {"cmyk": 1, "palette": 1, "wrong_extension": 1}
    assert facts["ignored"] == {"hidden": 1, "not_an_image": 1}
    for language in messages.LANGUAGES:
        messages.set_language(language)
        assert len(remarks(facts)) == 8


def test_names_that_are_no_text(tmp_path):
    source = folder_of(tmp_path / "set", 12)
    Path(os.fsdecode(os.fsencode(source) + b"/\xff.png")).write_bytes(png(pixels(50)))
    Path(os.fsdecode(os.fsencode(source) + b"/\xfe.png")).write_bytes(b"")
    facts = load(DataConfig(source=str(source))).facts
    assert facts["count"] == 13 and facts["left_out"] == [{"file": "?.png", "reason": "empty"}]


@pytest.mark.parametrize(
    ("files", "key"),
    [
        ({}, "data.no_images"),
        ({"notes.txt": b"words"}, "data.no_images"),
        ({"notes.txt": b"words", "images.zip": b"PK"}, "data.no_images_but"),
        ({"a.png": b"", "b.png": b"no"}, "data.all_bad"),
        ({"a.png": png(pixels())}, "data.one_image"),
        ({"a.png": png(pixels()), "b.png": png(pixels()), "c.png": png(pixels())}, "data.all_same"),
    ],
)
def test_folders_without_anything_to_learn_from(tmp_path, files, key):
    (tmp_path / "set").mkdir()
    for name, content in files.items():
        (tmp_path / "set" / name).write_bytes(content)
    with pytest.raises(Problem) as caught:
        load(DataConfig(source=str(tmp_path / "set")))
    assert caught.value.key == key
    for language in messages.LANGUAGES:
        messages.set_language(language)
        assert "\n" not in str(caught.value) and str(caught.value)
    prepared = tmp_path / "cache" / "prepared"
    assert not prepared.exists() or not list(prepared.iterdir())


@pytest.mark.parametrize(
    ("source", "key", "words"),
    [
        ("nosuch", "data.unknown_name", "caras"),
        ("fashionmnits", "data.unknown_name", "fashion-mnist"),
        ("no/such/folder", "data.missing_path", "no/such/folder"),
        ("x" * 5000, "data.unknown_name", "xxx"),
        ("caras:glasses", "caras.constraint", "glasses"),
    ],
)
def test_sources_that_do_not_exist(source, key, words):
    with pytest.raises(Problem) as caught:
        load(DataConfig(source=source))
    assert caught.value.key == key and words in str(caught.value)


@pytest.mark.parametrize("resolution", [0, -3, 10**6])
def test_impossible_resolution(resolution):
    with pytest.raises(Problem, match=r"--resolution.* 64"):
        load(DataConfig(source="caras", resolution=resolution))


def test_full_disk_is_known_before_writing(tmp_path, monkeypatch):
    source = folder_of(tmp_path / "set")
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(Problem, match="LATENTE_CACHE"):
        load(DataConfig(source=str(source)))


# The embedded set


@pytest.fixture
def few_caras(monkeypatch):
    monkeypatch.setattr(caras, "TRAIN", 12)
    monkeypatch.setattr(caras, "TEST", 5)


def test_caras(few_caras):
    data = load(DataConfig(source="caras"))
    assert data.train.images.shape == (12, 3, 32, 32) and len(data.test) == 5
    for part in (data.train, data.test):
        images, factors = caras.generate(part.name, 0, len(part), 32)
        assert np.array_equal(part.images, images)
        assert set(part.factors) == set(factors)
        assert all(np.array_equal(part.factors[name], factors[name]) for name in factors)


def test_caras_with_a_combination_kept_out(few_caras):
    plain, other = (load(DataConfig(source=name)) for name in ("caras", "caras:no-glasses-with-beard"))
    assert plain.facts["key"] != other.facts["key"]
    assert not ((other.train.factors["glasses"] > 0) & (other.train.factors["beard"] > 0)).any()


@pytest.mark.parametrize(("channels", "bands"), [("grey", 1), ("rgba", 4), ("rgb", 3)])
def test_caras_in_other_channels(few_caras, channels, bands):
    assert load(DataConfig(source="caras", channels=channels)).train.images.shape == (12, bands, 32, 32)


@pytest.mark.parametrize("resolution", [31, 257])
def test_caras_in_impossible_sizes(resolution):
    with pytest.raises(Problem, match="256"):
        load(DataConfig(source="caras", resolution=resolution))


def test_every_reason_and_conversion_has_its_sentence():
    """The codes in the source against the catalogue, both ways."""
    text = "".join(path.read_text(encoding="utf-8") for path in Path(datasets.__file__).parent.glob("*.py"))
    known = messages.catalogue("en", "data")
    faults = set(re.findall(r'Fault\("(\w+)"\)', text)) - {"ignored"}
    changes = set(re.findall(r'(?:changes\.append\(|converted\[)"(\w+)"[\])]', text))
    assert len(faults) >= 5 and len(changes) >= 9
    assert not faults - {key.removeprefix("bad_") for key in known}
    assert not changes - {key.removeprefix("did_") for key in known}
    for key in known:
        if key.startswith(("bad_", "did_")) and key != "bad_stop":
            assert f'"{key[4:]}"' in text


# Real sets

real = pytest.mark.skipif("LATENTE_DATA" not in os.environ, reason="LATENTE_DATA is not set: no real images")
REAL = os.environ.get("LATENTE_DATA", "")


@real
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "Fashion_MNIST"])
def test_real_idx_sets(name, monkeypatch, shared_cache):
    monkeypatch.setenv("LATENTE_DATA", REAL)
    monkeypatch.setenv("LATENTE_CACHE", str(shared_cache))
    data = load(DataConfig(source=name))
    assert data.train.images.shape == (60_000, 1, 28, 28) and data.test.images.shape == (10_000, 1, 28, 28)
    assert len(data.train.classes) == 10 and sum(data.facts["class_counts"]) == 70_000
    mean = data.train.images[:2000].mean() / 255
    assert abs(mean - (0.1307 if name == "mnist" else 0.2860)) < 0.01  # the sets' published means


@real
def test_real_frey(monkeypatch):
    monkeypatch.setenv("LATENTE_DATA", REAL)
    data = load(DataConfig(source="frey"))
    assert data.facts["count"] == 1965 and data.facts["shape"] == [1, 28, 20] and len(data.test) == 98


@real
@pytest.mark.slow
def test_real_emoji(monkeypatch):
    data = load(DataConfig(source=os.path.join(REAL, "emoji/emoji72_png.zip"), resolution=16))
    assert data.facts["count"] == 3583 and data.facts["shape"] == [3, 16, 16] and data.train.labels is None
    assert data.facts["converted"] == {"transparency": 3583}
    assert data.train.images[:, :, 0, 0].mean() > 250  # corners are white
