"""Groups: conditions against a loop, means by hand, and what is not known or too rare."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from latente.data import caras
from latente.exploration import groups
from latente.exploration.groups import group, holds
from latente.exploration.sources import Ground, ground
from latente.messages import LANGUAGES, Problem, set_language
from latente.run import Run
from styles import Styles
from test_sources import trained
from toy import image_set

FACES = caras.sample_factors("test", 0, 400)


@pytest.fixture(scope="module")
def vae(shared_cache: Path, grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained("vae", grey, shared_cache, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def told(shared_cache: Path, grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained("vae conditional", grey, shared_cache, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def gan(shared_cache: Path, grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained("dcgan", grey, shared_cache, tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize(
    ("condition", "truth"),
    [
        ("glasses=1", lambda i: FACES["glasses"][i] > 0),
        ("glasses=0", lambda i: FACES["glasses"][i] == 0),
        ("beard=1", lambda i: FACES["beard"][i] > 0),
        ("smile=1", lambda i: FACES["mouth"][i] > 1 / 3),
        ("hair-red=1", lambda i: caras.BY_NAME["hair_colour"].values[FACES["hair_colour"][i]] == "red"),
        ("hair=curly", lambda i: caras.BY_NAME["hair"].values[FACES["hair"][i]] == "curly"),
        ("glasses=round", lambda i: caras.BY_NAME["glasses"].values[FACES["glasses"][i]] == "round"),
        ("pose_x=-1", lambda i: FACES["pose_x"][i] < -1 / 3),
        ("pose_x=0", lambda i: -1 / 3 <= FACES["pose_x"][i] <= 1 / 3),
    ],
)
def test_conditions_on_faces_against_a_loop(condition, truth):
    found = holds(FACES, [], condition)
    assert found.tolist() == [bool(truth(i)) for i in range(400)]
    assert 0 < found.sum() < 400


def test_classes_by_name_and_by_number():
    facts = {"label": np.array([0, 2, 1, 2])}
    classes = ["boot", "bag", "1"]
    assert holds(facts, classes, "label=bag").tolist() == [False, False, True, False]
    assert holds(facts, classes, "label=0").tolist() == [True, False, False, False]
    assert holds(facts, classes, "label=1").tolist() == [False, True, False, True], "a name comes before a number"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("facts", "condition", "key"),
    [
        (FACES, "moustache=1", "explore.no_factor"),
        (FACES, "hair=purple", "explore.no_value"),
        (FACES, "glasses=7", "explore.no_value"),
        (FACES, "mouth=2", "explore.no_value"),
        ({"label": np.arange(3)}, "label=9", "explore.no_class"),
        ({"label": np.arange(3)}, "glasses=1", "explore.no_factor"),
        ({"third": np.arange(3)}, "third=5", "explore.no_value"),
    ],
)
def test_a_condition_that_means_nothing(facts, condition, key, language):
    set_language(language)
    with pytest.raises(Problem) as problem:
        holds(facts, ["left", "middle", "right"], condition)
    assert problem.value.key == key and condition.partition("=")[2] or condition.partition("=")[0] in str(problem.value)


@pytest.mark.parametrize(
    ("condition", "spanish", "english"),
    [
        ("glasses=1", "anteojos: sí", "glasses: yes"),
        ("beard=0", "barba: no", "beard: no"),
        ("hair=curly", "peinado: rulos", "hair: curly"),
        ("hair-red=0", "color de pelo: no colorado", "hair colour: not red"),
        ("smile=1", "boca: feliz", "mouth: happy"),
        ("mouth=0", "boca: al medio", "mouth: in the middle"),
        ("pose_x=-1", "posición horizontal: izquierda", "horizontal position: left"),
    ],
)
def test_conditions_in_words(condition, spanish, english):
    for language, expected in (("es", spanish), ("en", english)):
        set_language(language)
        assert groups.said(FACES, [], condition) == expected


def test_every_word_of_the_faces_can_be_said():
    for word in caras.WORDS:
        for value in "01":
            assert groups.said(FACES, [], f"{word}={value}")
    for factor in caras.FACTORS:
        for value in factor.values or ("-1", "0", "1"):
            assert groups.said(FACES, [], f"{factor.name}={value}")


def test_sources_in_a_list(vae):
    place = ground(vae)
    found = group(place, "3, 5,test:0", "codes")
    for i, seed in ((0, 3), (1, 5)):
        assert torch.equal(found.latents[i], place.net.prior(1, torch.Generator().manual_seed(seed))[0])
    assert found.latents.shape == (3, 4) and found.name == "mean of\nseed 3, seed 5, held-out 0"
    assert group(place, "3,5", "codes").name == "mean of\nseeds 3, 5" and group(place, "3", "codes").name == "seed 3"


def test_a_class_of_an_encoder_by_a_loop(vae):
    place = ground(vae)
    train = place.dataset.train
    found = group(place, "label=1", "codes")
    codes = []
    for i in np.flatnonzero(np.asarray(train.labels) == 1):
        with torch.no_grad():
            codes.append(place.net.encode(train.gather(np.array([i])).float() / 127.5 - 1)[0])
    torch.testing.assert_close(found.latents, torch.stack(codes), rtol=1e-4, atol=1e-5)
    assert str(len(codes)) in found.name


def test_an_encoder_that_is_told_the_class_gets_each_images_own(told):
    place = ground(told, 2)
    found = group(place, "label=1", "codes")
    train = place.dataset.train
    i = np.flatnonzero(np.asarray(train.labels) == 1)[:1]
    with torch.no_grad():
        expected = place.net.encode(train.gather(i).float() / 127.5 - 1, torch.tensor([1]))
    torch.testing.assert_close(found.latents[:1], expected, rtol=1e-4, atol=1e-5)


class Bright:
    """A reader of samples: class 1 where the mean is above that of all of them. It keeps what it was shown."""

    def __init__(self) -> None:
        self.factors: dict[str, int] = {}
        self.shown: list[torch.Tensor] = []

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        self.shown.append(x)
        return (x.mean((1, 2, 3)) > 0).long()


def reading(net: Any, shape: tuple[int, ...] = (1, 8, 8), task: str = "labels") -> Any:
    config = SimpleNamespace(objective=SimpleNamespace(task=task))
    facts = {"image_shape": list(shape)}
    run = SimpleNamespace(config=config, dataset=facts, folder="a/reader", network=lambda: net)

    def reader() -> Any:
        assert torch.is_grad_enabled(), "it may have to be trained first"
        return run

    return reader


@pytest.mark.parametrize("space", ["z", "w"])
def test_samples_of_a_generator_are_read(gan, space, monkeypatch):
    monkeypatch.setattr(groups, "SAMPLES", 300)
    place, net = Ground(gan, Styles()), Bright()
    found = group(place, "label=1", space, reading(net))
    z = place.net.prior(300, torch.Generator().manual_seed(0))
    images = place.net.decode(z).clamp(-1, 1)
    torch.testing.assert_close(torch.cat(net.shown), images)
    chosen = images.mean((1, 2, 3)) > 0
    assert 5 <= chosen.sum() < 300
    torch.testing.assert_close(found.latents, (place.net.mapping(z) if space == "w" else z)[chosen])


def test_factors_of_samples_are_read(gan, monkeypatch):
    monkeypatch.setattr(groups, "SAMPLES", 100)
    known = {"third": np.arange(100) % 3}
    net = SimpleNamespace(factors={"third": 3}, predict_factors=lambda x: known if len(x) == 100 else None)
    place = ground(gan)
    found = group(place, "third=2", "z", reading(net, task="factors"))
    z = place.net.prior(100, torch.Generator().manual_seed(0))
    assert torch.equal(found.latents, z[2::3]) and "third" in found.name


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_cannot_be_grouped(vae, gan, language, monkeypatch):
    set_language(language)
    monkeypatch.setattr(groups, "SAMPLES", 20)

    def key(place: Ground, text: str, reader: Any = None) -> str:
        with pytest.raises(Problem) as problem:
            group(place, text, place.spaces[0], reader)
        assert str(problem.value)
        return problem.value.key

    encoder, generator = ground(vae), ground(gan)
    assert key(encoder, " , ") == "explore.no_source"
    assert key(encoder, "label=0,7") == "explore.no_condition"
    assert key(generator, "label=0") == "explore.nothing_known"
    assert key(generator, "label=0", reading(Bright(), (3, 8, 8))) == "explore.wrong_reader"
    assert key(generator, "label=0", reading(Bright(), task="rotations")) == "explore.wrong_reader"
    assert key(generator, "label=2", reading(Bright())) == "explore.too_few"
    bare = ground(vae)
    object.__setattr__(bare, "dataset", SimpleNamespace(train=image_set(labels=False)))
    assert key(bare, "label=0") == "explore.nothing_known"
