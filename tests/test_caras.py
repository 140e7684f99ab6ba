import hashlib
import subprocess
import sys

import numpy as np
import pytest

from latente.data import caras, caras_drawing
from latente.messages import Problem, catalogue

# sha256 of the factors of the faces 0 to 999, split by split, seed 0: they must never change, or every figure measured
# on caras is void.
FACTORS_SHA256 = {
    "train": "4d1f6fa38fb55235307ee315e54e37e88eec0f17d7290bbb69a217c2ef590bf4",
    "test": "55511d22af1382bb165f7a8541d3df6ac9ff283d785a5dac309c20d4b4db42f3",
}
# Training faces 0 to 7 at 32 pixels: grey means of 4 x 4 blocks, a byte each.
THUMBNAILS = bytes.fromhex(
    "ceb6bfce91a29892b4b0bebec8aeaec8d0d8d8d0d8d9d8d8d8cbc5d8d6e5e2d7"
    "9b8e8993aa838189aeb5afa89ea5a69ececcbfced18a86cdd27670c8d5c1cbd3"
    "c5c4c0c5c79290bdbe615db5b09292b3617c6e61756565787a6a6b796f7f816c"
    "cea3abcea2443eba865e59a0855a519d5d535160674a486f7c827a7e6a867a6b"
)


def checksum(factors):
    digest = hashlib.sha256()
    for factor in caras.FACTORS:
        digest.update(factors[factor.name].astype("<i8" if factor.values else "<f4").tobytes())
    return digest.hexdigest()


def faces(count, **chosen):
    """The same plain face `count` times, but for what is chosen."""
    plain = {"skin": 1, "hair": 6, "hair_colour": 3, "eyes": 0, "eye_colour": 1, "mouth": 0.4} | chosen
    return {
        factor.name: np.broadcast_to(
            np.asarray(plain.get(factor.name, 0), np.int64 if factor.values else np.float32), (count,)
        )
        for factor in caras.FACTORS
    }


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_factors_never_change(split):
    assert checksum(caras.sample_factors(split, 0, 1000)) == FACTORS_SHA256[split]


def test_a_face_does_not_depend_on_what_is_asked_for_with_it(monkeypatch):
    images, factors = caras.generate("train", 0, 24, 32, seed=3, keep_out=(("glasses",),))
    monkeypatch.setattr(caras_drawing, "PIXELS_AT_ONCE", 5 * 32 * 32)
    for start, stop in ((0, 1), (1, 14), (14, 24)):
        some, known = caras.generate("train", start, stop, 32, seed=3, keep_out=(("glasses",),))
        assert np.array_equal(some, images[start:stop])
        assert all(np.array_equal(known[name], factors[name][start:stop]) for name in factors)


def test_another_process_draws_the_same_faces():
    program = (
        "import hashlib; from latente.data import caras;"
        "print(hashlib.sha256(caras.generate('test', 4990, 5000, 40, seed=1)[0].tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    assert other == hashlib.sha256(caras.generate("test", 4990, 5000, 40, seed=1)[0].tobytes()).hexdigest()


def test_seeds_and_splits_have_different_faces():
    mouths = [caras.sample_factors(split, 0, 500, seed)["mouth"] for split in ("train", "test") for seed in (0, 1, -1)]
    assert len(np.unique(np.concatenate(mouths))) > 2990  # 24 bits: a few of 3000 may meet


def test_marginals_are_as_declared_and_factors_independent():
    factors = caras.sample_factors("train", 0, caras.TRAIN)
    for factor in caras.FACTORS:
        values = factors[factor.name]
        if factor.values:
            assert values.dtype == np.int64
            shares = np.asarray(factor.shares) / sum(factor.shares)
            seen = np.bincount(values, minlength=len(shares)) / caras.TRAIN
            assert np.all(np.abs(seen - shares) < 4.5 * np.sqrt(shares * (1 - shares) / caras.TRAIN)), factor.name
        else:
            assert values.dtype == np.float32
            uniform = np.linspace(-1, 1, caras.TRAIN)
            assert np.abs(np.sort(values) - uniform).max() < 2 * 1.95 / np.sqrt(caras.TRAIN)  # Kolmogorov, p < 0.001
    table = np.corrcoef(np.stack([factors[factor.name] for factor in caras.FACTORS]))
    assert np.abs(table - np.eye(len(table))).max() < 4.5 / np.sqrt(caras.TRAIN)


def test_what_is_kept_out_is_absent_from_training_and_present_in_the_held_out_split():
    keep_out = caras.parse("no-glasses-with-beard, no-hair-red-with-smile+no-hair-curly")
    assert keep_out == (("glasses", "beard"), ("hair-red", "smile"), ("hair-curly",))

    def shown(factors):
        colour, style = caras.BY_NAME["hair_colour"].values, caras.BY_NAME["hair"].values
        return np.stack(
            [
                (factors["glasses"] != 0) & (factors["beard"] != 0),
                (factors["hair_colour"] == colour.index("red")) & (factors["mouth"] > 1 / 3),
                factors["hair"] == style.index("curly"),
            ]
        )

    free = caras.sample_factors("train", 0, 4000)
    train = caras.sample_factors("train", 0, 4000, keep_out=keep_out)
    test = caras.sample_factors("test", 0, 4000, keep_out=keep_out)
    assert not shown(train).any()
    assert shown(test).sum(axis=1).min() > 100
    kept = ~shown(free).any(axis=0)  # an allowed face stays the face that it was
    assert 1000 < kept.sum() < 4000
    for name in free:
        assert np.array_equal(train[name][kept], free[name][kept])
        assert np.array_equal(test[name], caras.sample_factors("test", 0, 4000)[name])


@pytest.mark.parametrize(
    ("spec", "key", "field"),
    [
        ("no-glases-with-beard", "caras.word", "glasses"),
        ("no-hair-redd", "caras.word", "hair-red"),
        ("no-glasses-with-", "caras.word", ""),
        ("glasses-with-beard", "caras.constraint", "glasses-with-beard"),
        ("no-beard,", "caras.constraint", ""),
    ],
)
def test_a_spec_that_makes_no_sense_is_explained(spec, key, field):
    with pytest.raises(Problem) as problem:
        caras.parse(spec)
    assert problem.value.key == key
    assert field in str(problem.value)


def test_no_spec_keeps_nothing_out():
    assert caras.parse("") == ()


def test_a_spec_that_leaves_no_face_is_explained():
    everything = caras.parse("+".join(f"no-skin-{name}" for name in caras.BY_NAME["skin"].values))
    with pytest.raises(Problem, match="no-skin-pale"):
        caras.sample_factors("train", 0, 10, keep_out=everything)


@pytest.mark.parametrize("factor", caras.FACTORS, ids=lambda factor: factor.name)
def test_each_factor_alone_changes_the_picture(factor):
    values = np.arange(len(factor.values)) if factor.values else np.linspace(-1, 1, 5)
    images = caras.draw(faces(len(values), **{factor.name: values}), 32).astype(int)
    for one in range(len(values)):
        for other in range(one):
            assert np.abs(images[one] - images[other]).max() > 30, (one, other)


def test_a_small_step_of_a_continuous_factor_is_a_small_change():
    for name in ("mouth", "pose_x", "pose_y", "tilt"):
        images = caras.draw(faces(101, **{name: np.linspace(-1, 1, 101)}), 32).astype(float)
        assert np.abs(np.diff(images, axis=0)).max() < 50, name


@pytest.mark.parametrize("size", [33, 47, 64, 256])
def test_a_face_is_the_same_face_at_every_size(size):
    small, factors = caras.generate("test", 0, 3, 32)
    large, same = caras.generate("test", 0, 3, size)
    assert large.shape == (3, 3, size, size) and large.dtype == np.uint8
    assert all(np.array_equal(factors[name], same[name]) for name in factors)
    edges = np.linspace(0, size, 9).astype(int)  # means of 8 x 8 blocks; 33 and 47 do not divide evenly
    coarse = np.stack([large[:, :, a:b].mean(axis=2) for a, b in zip(edges[:-1], edges[1:], strict=True)], axis=2)
    coarse = np.stack([coarse[..., a:b].mean(axis=3) for a, b in zip(edges[:-1], edges[1:], strict=True)], axis=3)
    assert np.abs(coarse - small.reshape(3, 3, 8, 4, 8, 4).mean(axis=(3, 5))).mean() < (1.5 if size % 8 == 0 else 6)


@pytest.mark.parametrize("size", [32, 61])
def test_windows_cut_nothing_off(size, monkeypatch):
    """Parts are painted in windows only, for speed: painting them everywhere gives the same pictures in every pose."""
    factors = caras.sample_factors("train", 0, 80)
    for name in ("pose_x", "pose_y", "tilt"):
        factors[name] = np.sign(factors[name])
    images = caras.draw(factors, size)
    whole = (slice(None), slice(None))
    monkeypatch.setattr(caras_drawing, "_window", lambda *_: whole)
    monkeypatch.setattr(caras_drawing, "window", lambda *_: whole)
    assert np.array_equal(caras.draw(factors, size), images)


def test_edges_are_antialiased():
    """Drawing small is like drawing large and averaging (which is right), and unlike picking single pixels."""
    factors = caras.sample_factors("train", 0, 8)
    small, large = caras.draw(factors, 32).astype(float), caras.draw(factors, 256).astype(float)
    right = large.reshape(8, 3, 32, 8, 32, 8).mean(axis=(3, 5))
    picked = large[:, :, 4::8, 4::8]
    ours = np.sqrt(np.mean((small - right) ** 2))
    assert ours < np.sqrt(np.mean((picked - right) ** 2)) / 2


def test_pictures_look_as_they_did():
    images = caras.draw(caras.sample_factors("train", 0, 8), 32)
    means = images.reshape(8, 3, 4, 8, 4, 8).mean(axis=(1, 3, 5))  # [8, 4, 4]
    golden = np.frombuffer(THUMBNAILS, dtype=np.uint8).reshape(8, 4, 4)
    assert np.abs(means - golden).max() < 3


@pytest.mark.parametrize("size", [31, 257, 0])
def test_a_size_out_of_range_is_a_problem(size):
    with pytest.raises(Problem, match=str(size)):
        caras.draw(faces(1), size)


@pytest.mark.parametrize("wrong", [{"skin": 6}, {"glasses": -1}, {"mouth": 1.5}, {"tilt": np.nan}])
def test_a_value_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        caras.draw(faces(1, **wrong), 32)


def test_a_missing_factor_is_refused():
    with pytest.raises(ValueError, match="tilt"):
        caras.draw({name: values for name, values in faces(1).items() if name != "tilt"}, 32)


def test_no_faces_are_no_pictures():
    assert caras.generate("train", 5, 5, 48)[0].shape == (0, 3, 48, 48)


@pytest.mark.parametrize("lang", ["es", "en"])
def test_every_factor_and_value_has_its_words(lang):
    texts = catalogue(lang, "caras")
    for factor in caras.FACTORS:
        assert texts[factor.name]
        assert all(texts[f"{factor.name}_{value}"] for value in factor.values or ("low", "high"))


def test_faces_need_no_torch():
    program = "import sys; from latente.data import caras; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
