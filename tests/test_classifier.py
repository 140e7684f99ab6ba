"""The classifier: shapes, what its terms say of each task, shifts and turns, and that it learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from latente.config import ClassifierModel, SupervisedObjective
from latente.data.stream import Batch, Stream, known
from latente.messages import Problem
from latente.models.classifier import WEIGHT, Classifier, described, heads, shifted, sizes, terms, turned
from toy import factor_set

SMALL = ClassifierModel(width=4, hidden=(12, 6), dropout=0.5)
PLAIN = ClassifierModel(width=4, hidden=(16,), dropout=0.0)
ROTATIONS = SupervisedObjective(task="rotations")
FACTORS = SupervisedObjective(task="factors", factors="third 3, down, bright 2")


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
    with pytest.raises(Problem, match="9x8"):
        Classifier(SMALL, (1, 8, 9), 0, ROTATIONS)
    with pytest.raises(ValueError, match="which factors"):
        Classifier(SMALL, (1, 8, 8), 0, SupervisedObjective(task="factors"))


# ---- Which way up ----------------------------------------------------------------------------------------------------


def test_turns_against_numpy() -> None:
    x = torch.randn(9, 3, 5, 5)
    turns = torch.tensor([0, 1, 2, 3, 3, 2, 1, 0, 1])
    for memory in (torch.contiguous_format, torch.channels_last):
        found = turned(x.contiguous(memory_format=memory), turns)
        for n in range(9):
            assert np.array_equal(found[n].numpy(), np.rot90(x[n].numpy(), int(turns[n]), (1, 2)))


def test_the_turns_of_training_are_drawn_and_those_of_a_test_go_round() -> None:
    torch.manual_seed(0)
    net, x = Classifier(PLAIN, (1, 8, 8), 0, ROTATIONS), torch.randn(64, 1, 8, 8)
    assert net.classes == 4 and net(x).shape == (64, 4)
    step = terms(ROTATIONS)
    torch.manual_seed(3)
    found = step(net, Batch(x, None), 0)
    torch.manual_seed(3)
    turns = torch.randint(4, (64,))
    assert turns.bincount().min() > 5
    torch.testing.assert_close(found.per_image["loss"], F.cross_entropy(net(turned(x, turns)), turns, reduction="none"))
    net.eval()
    before = torch.get_rng_state()
    found = step(net, Batch(x, torch.zeros(64, dtype=torch.int64)), 0)  # labels have no say
    turns = torch.arange(64) % 4
    torch.testing.assert_close(found.per_image["loss"], F.cross_entropy(net(turned(x, turns)), turns, reduction="none"))
    assert torch.equal(found.per_image["error"], (net.predict(turned(x, turns)) != turns).float())
    assert torch.equal(before, torch.get_rng_state())


def test_it_learns_which_way_up_images_are() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 1, 8, 8) * 0.3
    x[:, :, :3] += 1  # the sky
    net, step = Classifier(PLAIN, (1, 8, 8), 0, ROTATIONS), terms(ROTATIONS)
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(40):
        optimizer.zero_grad()
        step(net, Batch(x, None), 0).per_image["loss"].mean().backward()
        optimizer.step()
    assert step(net.eval(), Batch(x, None), 0).per_image["error"].mean() < 0.05


# ---- Factors ---------------------------------------------------------------------------------------------------------


def reader(model: ClassifierModel = PLAIN) -> Classifier:
    torch.manual_seed(0)
    net = Classifier(model, (3, 8, 8), 0, FACTORS)
    net.start_from(known(factor_set()))
    return net


def everything(n: int = 24) -> Batch:
    return Stream(factor_set(n), conditional=True).take(0, n)


def test_heads_are_described_in_words() -> None:
    factors = factor_set().factors
    assert factors is not None and described(factors) == FACTORS.factors
    assert heads(FACTORS.factors) == {"third": 3, "down": 0, "bright": 2}
    assert described({"constant": np.zeros(5, np.int64)}) == "constant 2"
    assert sizes(heads(FACTORS.factors)) == [3, 1, 2]


def test_a_head_a_factor() -> None:
    net, batch = reader().eval(), everything()
    assert net(batch.images).shape == (24, 6) and net.features(batch.images).shape == (24, 16)
    down = factor_set().factors["down"]  # type: ignore[index]
    assert net.mean.tolist() == pytest.approx([0, down.mean(), 0], rel=1e-6)
    assert net.scale.tolist() == pytest.approx([1, down.std(), 1], rel=1e-6)
    with pytest.raises(AssertionError, match="predict_factors"):
        net.predict(batch.images)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_terms_of_factors_in_closed_form(smoothing: float) -> None:
    net, batch = reader(), everything()
    assert batch.condition is not None
    found = terms(replace(FACTORS, smoothing=smoothing))(net, batch, 0)
    net.train()
    out, truth = net(batch.images), batch.condition
    third, bright = truth[:, 0].long(), truth[:, 2].long()
    down = (truth[:, 1] - truth[:, 1].mean()) / truth[:, 1].std(correction=0)
    expected = WEIGHT * (out[:, 3] - down).square()
    for logits, labels in ((out[:, :3], third), (out[:, 4:], bright)):
        k = logits.shape[1]
        share = (1 - smoothing) * F.one_hot(labels, k) + smoothing / k
        expected = expected - (share * logits.log_softmax(1)).sum(1)
    torch.testing.assert_close(found.per_image["loss"], expected)
    wrong = (out[:, :3].argmax(1) != third).float(), (out[:, 4:].argmax(1) != bright).float()
    assert torch.equal(found.per_image["error/third"], wrong[0])
    assert torch.equal(found.per_image["error"], (wrong[0] + wrong[1]) / 2)
    rmse = (out[:, 3] - down).square().mean().sqrt().item()
    assert found.per_image["rmse/down"].tolist() == pytest.approx([rmse] * 24, rel=1e-5)
    assert set(found.per_image) == {"loss", "error", "error/third", "error/bright", "rmse/down"}
    assert found.weights == {"loss": 1.0} and not found.per_image["rmse/down"].requires_grad


def test_factors_are_read_in_their_own_units() -> None:
    net, x = reader().eval(), everything(24).images
    read = net.predict_factors(x)
    out = net(x).detach()
    assert list(read) == ["third", "down", "bright"]
    assert read["third"].dtype == read["bright"].dtype == np.int64 and read["down"].dtype == np.float32
    assert read["third"].tolist() == out[:, :3].argmax(1).tolist()
    np.testing.assert_allclose(read["down"], (net.mean[1] + net.scale[1] * out[:, 3]).numpy(), rtol=1e-6)
    many = net.predict_factors(x.repeat(50, 1, 1, 1))  # 1200: in parts
    for name, values in read.items():
        np.testing.assert_allclose(many[name], np.tile(values, 50), rtol=1e-4, atol=1e-4)


def test_what_a_reader_needs_to_know_is_in_its_state() -> None:
    net, batch = reader(), everything()
    again = Classifier(PLAIN, (3, 8, 8), 0, FACTORS)
    again.load_state_dict(net.state_dict())
    for name, values in net.eval().predict_factors(batch.images).items():
        assert np.array_equal(again.eval().predict_factors(batch.images)[name], values)


def test_a_label_is_a_factor_too() -> None:
    objective = SupervisedObjective(task="factors", factors="label 3")
    net, x, y = Classifier(PLAIN, (1, 8, 8), 3, objective), torch.randn(6, 1, 8, 8), torch.arange(6) % 3
    found = terms(objective)(net, Batch(x, y), 0)
    torch.testing.assert_close(found.per_image["loss"], F.cross_entropy(net(x), y, reduction="none"))


def test_numbers_alone_have_no_share_of_errors() -> None:
    objective = SupervisedObjective(task="factors", factors="down")
    found = terms(objective)(
        Classifier(PLAIN, (3, 8, 8), 0, objective), Batch(torch.randn(4, 3, 8, 8), torch.rand(4, 1)), 0
    )
    assert set(found.per_image) == {"loss", "rmse/down"}


def test_it_learns_factors() -> None:
    net, batch = reader(ClassifierModel(width=8, hidden=(16,), dropout=0.0)), everything(96)
    step, optimizer = terms(FACTORS), torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        step(net, batch, 0).per_image["loss"].mean().backward()
        optimizer.step()
    found = step(net.eval(), batch, 0).per_image
    assert found["error"].mean() < 0.02 and found["rmse/down"][0] < 0.15
