"""The classifier: shapes, what its terms say, shifts, and that it learns."""

import pytest
import torch
import torch.nn.functional as F

from latente.config import ClassifierModel, SupervisedObjective
from latente.data.stream import Batch
from latente.messages import Problem
from latente.models.classifier import Classifier, shifted, terms

SMALL = ClassifierModel(width=4, hidden=(12, 6), dropout=0.5)


def build(shape: tuple[int, int, int] = (1, 8, 8), classes: int = 3, model: ClassifierModel = SMALL) -> Classifier:
    torch.manual_seed(0)
    return Classifier(model, shape, classes)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 16), (1, 28, 28), (3, 9, 13), (1, 4, 4), (2, 64, 4)])
def test_shapes(shape: tuple[int, int, int]) -> None:
    net = build(shape, 5).eval()
    x = torch.randn(3, *shape)
    assert net.image_shape == shape and net.classes == 5
    assert net(x).shape == (3, 5) and net.features(x).shape == (3, 6) and net.predict(x).shape == (3,)
    assert net.predict(x).dtype == torch.int64


def test_levels() -> None:
    net = build((1, 28, 28), 10, ClassifierModel(width=32, hidden=(128,)))
    convolutions = [m.weight.shape[:2] for m in net.maps if isinstance(m, torch.nn.Conv2d)]
    assert convolutions == [(32, 1), (32, 32), (64, 32), (64, 64), (128, 64), (128, 128)]
    assert net.maps(torch.randn(2, 1, 28, 28)).shape == (2, 128, 3, 3)


def test_logits_are_linear_in_the_features() -> None:
    net, x = build().eval(), torch.randn(5, 1, 8, 8)
    last = net.last[-1]
    torch.testing.assert_close(net(x), net.features(x) @ last.weight.T + last.bias)
    assert torch.equal(net.predict(x), net(x).max(1).indices)
    torch.testing.assert_close(net.features(x)[:1], net.features(x[:1]))  # no image sees another when it is in use


def test_without_hidden_layers_the_features_are_the_maps() -> None:
    net, x = build(model=ClassifierModel(width=4, hidden=())).eval(), torch.randn(2, 1, 8, 8)
    assert torch.equal(net.features(x), net.maps(x).flatten(1))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_terms_are_the_cross_entropy_in_closed_form(smoothing: float) -> None:
    net, x, y = build(model=ClassifierModel(width=4, dropout=0.0)), torch.randn(6, 1, 8, 8), torch.arange(6) % 3
    found = terms(SupervisedObjective(smoothing=smoothing))(net, Batch(x, y), 0)
    net.train()
    logits = net(x)
    share = (1 - smoothing) * F.one_hot(y, 3) + smoothing / 3
    torch.testing.assert_close(found.per_image["loss"], -(share * logits.log_softmax(1)).sum(1))
    assert torch.equal(found.per_image["error"], (logits.argmax(1) != y).float())
    assert found.weights == {"loss": 1.0} and found.batch == {}


def test_a_test_is_made_without_smoothing_and_shifts() -> None:
    net, x, y = build().eval(), torch.randn(6, 1, 8, 8), torch.arange(6) % 3
    found = terms(SupervisedObjective(smoothing=0.3, shift=2))(net, Batch(x, y), 0)
    torch.testing.assert_close(found.per_image["loss"], F.cross_entropy(net(x), y, reduction="none"))


def test_shifts_against_a_loop() -> None:
    x = torch.randn(40, 3, 6, 9)
    torch.manual_seed(5)
    found = shifted(x, 2)
    torch.manual_seed(5)
    move = torch.randint(-2, 3, (2, 40, 1))
    seen = set()
    for n in range(40):
        down, right = int(move[0, n]), int(move[1, n])
        seen.add((down, right))
        for i in range(6):
            for j in range(9):
                source = x[n, :, min(max(i - down, 0), 5), min(max(j - right, 0), 8)]
                assert torch.equal(found[n, :, i, j], source)
    assert {down for down, _ in seen} == {right for _, right in seen} == {-2, -1, 0, 1, 2}


def test_no_shift_is_the_image_itself() -> None:
    x = torch.randn(4, 3, 8, 8)
    assert shifted(x, 0) is x


def test_training_shifts_by_the_global_generator() -> None:
    net, x, y = build(model=ClassifierModel(width=4, dropout=0.0)), torch.randn(6, 1, 8, 8), torch.arange(6) % 3
    step = terms(SupervisedObjective(shift=2))
    torch.manual_seed(1)
    first = step(net, Batch(x, y), 0).per_image["loss"]
    again = step(net, Batch(x, y), 0).per_image["loss"]
    torch.manual_seed(1)
    assert torch.equal(step(net, Batch(x, y), 0).per_image["loss"], first) and not torch.equal(first, again)


def test_it_learns_which_corner_is_bright() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(64, 1, 8, 8) * 0.3, torch.arange(64) % 2
    x[y == 0, :, :3, :3] += 1
    x[y == 1, :, -3:, -3:] += 1
    net, step = build(classes=2, model=ClassifierModel(width=4, hidden=(8,), dropout=0.0)), terms(SupervisedObjective())
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(25):
        optimizer.zero_grad()
        step(net, Batch(x, y), 0).per_image["loss"].mean().backward()
        optimizer.step()
    assert (net.eval().predict(x) != y).float().mean() < 0.05


def test_what_it_cannot_learn_from() -> None:
    with pytest.raises(Problem, match="labels"):
        build(classes=0)
    with pytest.raises(Problem, match="2x1"):
        build((1, 1, 2))
    with pytest.raises(ValueError, match="labels"):
        terms(SupervisedObjective())(build(), Batch(torch.zeros(2, 1, 8, 8), None), 0)
