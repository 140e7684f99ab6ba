"""The self-check of feature networks: good ones pass, blind ones are found out, each step is what it says."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from latente.data.datasets import ImageSet
from latente.evaluation import selfcheck as module
from latente.evaluation.distances import frechet, moments
from latente.evaluation.judges import Judge, pixels
from latente.evaluation.selfcheck import Check, blurred, distance, nearest, noisy, said, selfcheck
from latente.messages import LANGUAGES, Problem, set_language
from toy import image_set

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def train() -> ImageSet:
    return image_set(300, SHAPE, seed=1)


@pytest.fixture(scope="module")
def test() -> ImageSet:
    return image_set(240, SHAPE, seed=2)


def reading(read: object, size: int) -> Judge:
    return Judge("mine", "0", size, "", read)  # type: ignore[arg-type]


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_pixels_see_blur_noise_classes_and_copies(train: ImageSet, test: ImageSet) -> None:
    found = by_name(selfcheck(pixels(SHAPE), train, test))
    assert list(found) == ["blur", "noise", "classes", "copies", "near", "retouched"]
    ordered = {name for name, check in found.items() if check.ordered}
    assert ordered >= {"blur", "noise", "classes", "near"}
    assert found["copies"].values[2] < found["copies"].values[0] and not found["copies"].ordered  # blind by nature
    assert found["near"].values[0] == pytest.approx(0, abs=1e-5)
    assert found["classes"].levels == ("3 of 3 classes", "2 of 3 classes", "1 of 3 classes")
    for check in found.values():
        assert len(check.values) == len(check.levels) and all(math.isfinite(value) for value in check.values)


def test_without_labels_kinds_of_image_are_dropped(train: ImageSet) -> None:
    found = by_name(selfcheck(pixels(SHAPE), train, image_set(400, SHAPE, labels=False, seed=2)))
    assert found["modes"].ordered and "classes" not in found


def test_what_is_not_there_to_be_seen_is_not_seen(train: ImageSet, test: ImageSet) -> None:
    """A judge that finds all images alike, and flat images, which no blur changes."""
    alike = reading(lambda x: torch.ones(len(x), 4), 4)
    assert not any(check.ordered for check in selfcheck(alike, train, test))
    levels = np.random.default_rng(0).integers(0, 256, (400, 1, 1, 1), np.uint8)
    flat = np.broadcast_to(levels, (400, *SHAPE))
    known, held = (ImageSet("flat", part, None, (), None) for part in (flat[:200], flat[200:]))
    found = by_name(selfcheck(pixels(SHAPE), known, held))
    assert found["noise"].ordered and not found["blur"].ordered


def test_chance_orders_nothing(train: ImageSet, test: ImageSet) -> None:
    """Features that have nothing to do with the image, but that the same image has the same ones."""
    hashed = reading(lambda x: torch.sin(1e5 * x.flatten(1)[:, :8].double() + 1e4 * x.sum((1, 2, 3))[:, None]), 8)
    found = by_name(selfcheck(hashed, train, test))
    assert {name for name, check in found.items() if check.ordered} <= {"near"}  # exact copies, of course


def test_it_is_the_same_every_time(train: ImageSet, test: ImageSet) -> None:
    first = selfcheck(pixels(SHAPE), train, test, images=120)
    assert selfcheck(pixels(SHAPE), train, test, images=120) == first
    assert selfcheck(pixels(SHAPE), train, test, images=120, seed=1) != first


def test_too_few_images_are_refused(train: ImageSet, test: ImageSet) -> None:
    with pytest.raises(Problem) as problem:
        selfcheck(pixels(SHAPE), train, image_set(99, SHAPE))
    assert "99" in str(problem.value) and "300" in str(problem.value)


def test_what_is_said_in_both_languages() -> None:
    checks = [Check(name, name in "blur noise", (0.0,), ("",)) for name in ("blur", "noise", "copies")]
    judge, sentences = pixels(SHAPE), {}
    for language in LANGUAGES:
        set_language(language)
        sentences[language] = said(judge, checks)
        assert len(said(judge, checks[:2])) == len(said(judge, checks[2:])) == 1
    set_language(None)
    sees, blind = sentences["en"]
    assert "blur, noise." in sees and "copies" not in sees and "copies" in blind and "blur" not in blind
    assert "desenfoque, ruido." in sentences["es"][0] and "copias" in sentences["es"][1]


def test_every_check_has_its_words() -> None:
    for language in LANGUAGES:
        set_language(language)
        names = ("blur", "noise", "classes", "modes", "copies", "near", "retouched")
        assert len({said(pixels(SHAPE), [Check(name, True, (), ())])[0] for name in names}) == len(names)
    set_language(None)


def test_order_must_hold_in_every_part() -> None:
    rising = module._rising("x", ("a", "b"), [[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]])
    assert rising.ordered and rising.values == (2.0, 3.0)
    assert not module._rising("x", ("a", "b"), [[1.0, 2.0, 3.0], [9.0, 9.0, 3.0]]).ordered


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_blur_is_that_of_scipy(sigma: float) -> None:
    x = torch.randn(2, 3, 9, 8)
    expected = gaussian_filter(x.numpy(), (0, 0, sigma, sigma), mode="nearest", truncate=4)
    np.testing.assert_allclose(blurred(x, sigma), expected, atol=1e-5)


def test_noise_has_the_deviation_asked_for() -> None:
    x = torch.zeros(100, 1, 20, 20)
    found = noisy(x, 0.1, torch.Generator().manual_seed(0))
    assert float((found / 2).std()) == pytest.approx(0.1, rel=0.02)  # pixels in [0, 1]
    assert noisy(torch.ones(1, 1, 50, 50), 0.2, torch.Generator()).max() == 1


def test_nearest_is_the_least_of_all_distances() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((620, 5), np.float32), rng.standard_normal((30, 5), np.float32)
    expected = np.sqrt(np.square(a[:, None].astype(float) - b).sum(2)).min(1)
    np.testing.assert_allclose(nearest(a, b), expected, rtol=1e-9)


@pytest.mark.parametrize(("n", "m", "size"), [(40, 30, 6), (40, 12, 20), (9, 12, 50)])
def test_distance_is_frechets_with_many_features_or_few(n: int, m: int, size: int) -> None:
    rng = np.random.default_rng(0)
    a: NDArray[np.float32] = rng.standard_normal((n, size), np.float32) * np.linspace(0.5, 2, size, dtype=np.float32)
    b = rng.standard_normal((m, size), np.float32) + 0.5
    assert distance(a, b) == pytest.approx(frechet(moments(a), moments(b)), rel=1e-9)
    assert distance(a, a) == pytest.approx(0, abs=1e-9)


def rows(images: ImageSet, n: int = 1000) -> tuple[str, list[NDArray[np.int64]]]:
    kind, _, found = module._fewer(images, n, np.random.default_rng(0))
    return kind, found


def test_dropped_classes_leave_as_many_images_of_the_commonest() -> None:
    labels = np.repeat([0, 1, 2, 3, 4], [10, 50, 40, 20, 5])
    images = ImageSet("x", image_set(125).images, labels, tuple("abcde"), None)
    kind, found = rows(images)
    assert kind == "classes" and [len(each) for each in found] == [50, 50, 50]
    assert all(len(set(each.tolist())) == 50 for each in found)  # none twice
    shown = [set(labels[each].tolist()) for each in found]
    assert shown == [{0, 1, 2, 3, 4}, {1, 2, 3}, {1}]
    assert len(rows(images, 35)[1][0]) == 35


def test_two_classes_have_two_steps_and_small_ones_none() -> None:
    images = image_set(120).images
    two = ImageSet("x", images, np.arange(120) % 2, ("a", "b"), None)
    assert [set((each % 2).tolist()) for each in rows(two)[1]] == [{0, 1}, {0}]
    many = ImageSet("x", images, np.arange(120) % 10, tuple("abcdefghij"), None)  # 12 of each
    one = ImageSet("x", images, np.zeros(120, np.int64), ("a",), None)
    assert rows(many)[0] == rows(one)[0] == "modes"


def test_dropped_modes_leave_what_is_nearest_to_one_image() -> None:
    levels = np.arange(200, dtype=np.uint8)
    images = ImageSet("x", np.broadcast_to(levels[:, None, None, None], (200, 1, 2, 2)), None, (), None)
    kind, found = rows(images)
    assert kind == "modes" and [len(each) for each in found] == [50, 50, 50]
    spread = [int(each.max() - each.min()) for each in found]
    one = int(np.random.default_rng(0).permutation(200)[0])
    assert spread[2] <= 100 and spread[2] < spread[1] < 150 < spread[0]
    assert sorted(abs(found[2] - one).tolist()) == sorted(np.sort(abs(levels.astype(int) - one))[:50].tolist())


def test_images_are_changed_as_they_are_read(train: ImageSet) -> None:
    def darker(x: Tensor) -> Tensor:
        return x - 1

    order = np.array([5, 3])
    plain = module._read(pixels(SHAPE), train, order)
    assert plain.shape == (2, 64)
    np.testing.assert_allclose(module._read(pixels(SHAPE), train, order, darker), plain - 1)
