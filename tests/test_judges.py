"""Feature networks: each gives what its network gives, knows its weights by their checksum, and reads no pickle."""

import hashlib
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from latente.data.stream import see
from latente.evaluation import dinov2, inception
from latente.evaluation.judges import checksum, chunks_of, coloured, features_of, of_run, of_weights, pixels
from latente.messages import LANGUAGES, Problem, set_language
from latente.run import Run, create
from latente.training import train
from toy import image_set, toy


@pytest.fixture(scope="module")
def run(shared_cache: Path, grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A classifier of `grey`, trained for a moment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATENTE_CACHE", str(shared_cache))
        yield train(toy("classifier", grey), out=tmp_path_factory.mktemp("runs"))


@pytest.fixture
def copy(run: Run, tmp_path: Path) -> Run:
    """The same run in another folder, with another number, to be spoiled."""
    return Run(Path(shutil.copytree(run.folder, tmp_path / f"00042{run.folder.name[5:]}")))


def raised(key: str, action: Callable[[], Any], *words: str) -> None:
    """A Problem whose sentence has these words in each language."""
    with pytest.raises(Problem) as problem:
        action()
    assert problem.value.key == key, str(problem.value)
    for language in LANGUAGES:
        set_language(language)
        for word in words:
            assert word in str(problem.value)
        assert "\n" not in str(problem.value)
    set_language(None)


# --- pixels and runs ------------------------------------------------------------------------------------------------


def test_pixels_are_the_pixels() -> None:
    judge, x = pixels((3, 4, 5)), torch.rand(7, 3, 4, 5) * 2 - 1
    assert torch.equal(judge.features(x), x.view(7, 60)) and judge.size == 60
    assert judge.protocol() == {
        "features": "pixels",
        "features_checksum": "pixels",
        "features_prepare": "as they are, [-1, 1]",
    }
    raised("judges.other_shape", lambda: judge.features(x[:, :1]), "5x4x3", "5x4x1")


def test_a_run_gives_what_its_last_layer_reads(run: Run) -> None:
    judge, net = of_run(run), run.network()
    x = see(image_set(9).gather(np.arange(9)))
    found = judge.features(x)
    assert found.shape == (9, judge.size) and found.dtype == torch.float32
    torch.testing.assert_close(net.last(found), net(x))
    for i in range(9):  # each by itself
        torch.testing.assert_close(judge.features(x[i : i + 1])[0], found[i])
    raised("judges.other_shape", lambda: judge.features(x[:, :, :7]), "8x8x1", "8x7x1")


def test_a_run_goes_by_its_weights(run: Run, copy: Run) -> None:
    judge = of_run(run)
    assert judge.checksum == checksum(run.network().state_dict()) and len(judge.checksum) == 64
    assert judge.name == run.folder.name[6:]
    assert of_run(copy).protocol() == judge.protocol()  # wherever it lies, whatever its number
    clock = run.checkpoints()[-1]
    shutil.rmtree(copy.checkpoint(clock))
    shutil.copytree(copy.checkpoint(copy.checkpoints()[-1]), copy.checkpoint(clock))  # older weights
    assert of_run(copy).checksum != judge.checksum


def test_a_run_that_was_cut_short_is_refused(copy: Run, grey: Path, tmp_path: Path) -> None:
    copy.record_event("stop", 40, reason="interrupted")
    raised("judges.unfinished", lambda: of_run(copy), str(copy.folder), "64")
    facts = {"image_shape": [1, 8, 8], "classes": ["a", "b", "c"]}
    raised("judges.unfinished", lambda: of_run(create(tmp_path / "bare", toy("classifier", grey), facts)), "0")


def test_a_damaged_last_checkpoint_is_not_passed_over(copy: Run) -> None:
    for path in copy.checkpoint(copy.checkpoints()[-1]).glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    raised("run.damaged_checkpoint", lambda: of_run(copy), str(copy.folder), str(copy.checkpoints()[-1]))


def test_another_family_is_refused(tmp_path: Path) -> None:
    other = create(tmp_path, toy("vae"), {"image_shape": [1, 8, 8], "classes": []})
    raised("judges.other_family", lambda: of_run(other), "vae", str(other.folder))


# --- many images ----------------------------------------------------------------------------------------------------


def test_images_come_in_chunks_in_the_order_asked_for() -> None:
    images = image_set(1203, (1, 3, 3))
    whole = see(images.gather(np.arange(1203)))
    chunks = list(chunks_of(images))
    assert [len(chunk) for chunk in chunks] == [500, 500, 203] and torch.equal(torch.cat(chunks), whole)
    order = np.random.default_rng(0).permutation(1203)[:700]
    assert torch.equal(torch.cat(list(chunks_of(images, order))), whole[order])


def test_features_hold_one_chunk_at_a_time() -> None:
    asked = 0

    def chunks() -> Iterator[Tensor]:
        nonlocal asked
        for i in range(4):
            asked += 1
            yield torch.full((2, 1, 2, 2), float(i))

    for i, found in enumerate(features_of(pixels((1, 2, 2)), chunks())):
        assert asked == i + 1
        assert found.dtype == np.float32 and (found == i).all() and found.shape == (2, 4)
    assert asked == 4


# --- checksums and colours ------------------------------------------------------------------------------------------


def test_a_checksum_is_that_of_names_types_shapes_and_values() -> None:
    a, b = torch.tensor([[1.0, 2.0]]), torch.tensor([3])
    by_hand = hashlib.sha256(b"a float32 (1, 2)\n" + a.numpy().tobytes() + b"b int64 (1,)\n" + b.numpy().tobytes())
    expected = by_hand.hexdigest()
    assert checksum({"b": b, "a": a}) == checksum({"a": a.T.contiguous().T, "b": b}) == expected
    for other in ({"a": a.T, "b": b}, {"a": a, "c": b}, {"a": a + 1e-7, "b": b}, {"a": a.double(), "b": b}):
        assert checksum(other) != expected


def test_grey_is_repeated_and_transparency_is_on_white() -> None:
    grey = torch.rand(2, 1, 3, 3) * 2 - 1
    assert torch.equal(coloured(grey), torch.cat([grey, grey, grey], 1))
    colours = torch.rand(2, 3, 3, 3) * 2 - 1
    assert coloured(colours) is colours
    for alpha, share in ((1.0, 1.0), (-1.0, 0.0), (0.0, 0.5)):
        found = coloured(torch.cat([colours, torch.full((2, 1, 3, 3), alpha)], 1))
        torch.testing.assert_close(found, share * colours + (1 - share))  # white is 1


# --- weights on disk ------------------------------------------------------------------------------------------------


def tiny(size: int = 64, depth: int = 1) -> dict[str, Tensor]:
    """Weights of a small DINOv2, as a file has them."""
    outline = {dinov2.MARK: torch.empty(1, 1, size), "embeddings.position_embeddings": torch.empty(1, 5, size)}
    outline |= {f"encoder.layer.{i}.norm1.bias": torch.empty(size) for i in range(depth)}
    generator = torch.Generator().manual_seed(0)
    w = {key: torch.randn(shape, generator=generator) / 10 for key, shape in dinov2.shapes(outline).items()}
    return w | {"embeddings.mask_token": torch.zeros(1, size)}


def test_dinov2_from_a_file(tmp_path: Path) -> None:
    w, path = tiny(), tmp_path / "model.safetensors"
    save_file(w, path)
    judge = of_weights(path)
    assert (judge.name, judge.size) == ("dinov2-64", 64) and "224" in judge.prepare
    x = torch.rand(18, 4, 9, 8) * 2 - 1  # two parts
    expected = torch.cat([dinov2.features(w, dinov2.prepare(coloured(each[None]))) for each in x])
    torch.testing.assert_close(judge.features(x), expected, rtol=0, atol=1e-4)
    raised("judges.no_picture", lambda: judge.features(x[:, :2]), "dinov2-64", "2")
    same = {key: value for key, value in w.items() if "mask" not in key}
    save_file(same, tmp_path / "again.safetensors", {"format": "pt"})
    assert of_weights(str(tmp_path / "again.safetensors")).protocol() == judge.protocol()
    save_file(w | {dinov2.MARK: w[dinov2.MARK] + 1e-6}, path)
    assert of_weights(path).checksum != judge.checksum


def test_half_precision_is_read_as_single(tmp_path: Path) -> None:
    half = {key: value.half() for key, value in tiny().items()}
    save_file(half, tmp_path / "half.safetensors")
    save_file({key: value.float() for key, value in half.items()}, tmp_path / "single.safetensors")
    judges = [of_weights(tmp_path / f"{name}.safetensors") for name in ("half", "single")]
    x = torch.rand(1, 1, 8, 8)
    assert judges[0].checksum == judges[1].checksum
    assert torch.equal(judges[0].features(x), judges[1].features(x))


def test_inception_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inception, "prepare", lambda x: F.interpolate(x, (75, 75)))  # quicker
    path, rng = tmp_path / "inception.safetensors", np.random.default_rng(0)
    w = {k: torch.from_numpy(rng.random(s, np.float32) / 20) for k, s in inception.shapes().items()}
    rest = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    save_file(w | rest | {"Conv2d_1a_3x3.bn.num_batches_tracked": torch.tensor(0)}, path)
    judge = of_weights(path)
    assert (judge.name, judge.size, judge.checksum) == ("inception-v3", 2048, checksum(w))
    x = torch.rand(1, 1, 8, 8) * 2 - 1
    with torch.no_grad():
        expected = inception.network(w)(inception.prepare(x.expand(-1, 3, -1, -1)))
    assert torch.equal(judge.features(x), expected) and expected.std() > 0


def altered(w: dict[str, Tensor], **changes: Tensor | None) -> dict[str, Tensor]:
    """Without the tensors that are None, with the others instead or besides."""
    return {key: value for key, value in (w | changes).items() if value is not None}


LAST = "layernorm.weight"


@pytest.mark.parametrize(
    ("key", "tensors", "words"),
    [
        ("judges.missing_keys", altered(tiny(), **{LAST: None}), (LAST, "DINOv2", " 1 ")),
        ("judges.missing_keys", altered(tiny(), **{"embeddings.position_embeddings": None}), ("position_embeddings",)),
        ("judges.unknown_keys", altered(tiny(), register_tokens=torch.zeros(1)), ("register_tokens", "DINOv2", " 1 ")),
        ("judges.key_shape", altered(tiny(), **{LAST: torch.zeros(2, 65)}), (LAST, "2x65", "64")),
        ("judges.unknown_network", {"conv.weight": torch.zeros(1)}, ("conv.weight",)),
        ("judges.unknown_network", {}, ("-",)),
        ("judges.unknown_network", altered(tiny(), **{dinov2.MARK: torch.zeros(())}), ()),
        ("judges.missing_keys", {inception.MARK: torch.zeros(192, 2048, 1, 1)}, ("471", "Inception-v3")),
        ("judges.torchvision", {inception.MARK: torch.zeros(1), "fc.bias": torch.zeros(1000)}, ("torchvision",)),
    ],
)
def test_other_weights_are_refused(
    key: str, tensors: dict[str, Tensor], words: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    raised(key, lambda: of_weights(path), str(path), *words)


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self.mark), "w")


def test_no_pickle_is_read(tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(Trap(mark)))
    raised("judges.pickle", lambda: of_weights(path), str(path), "torch.load", "save_file")
    renamed = path.rename(tmp_path / "weights.safetensors")
    raised("judges.not_safetensors", lambda: of_weights(renamed), str(renamed))
    assert not mark.exists()


def test_what_is_no_file_or_no_weights_is_refused(tmp_path: Path) -> None:
    raised("judges.no_file", lambda: of_weights(tmp_path / "none.safetensors"), "none.safetensors")
    raised("judges.no_file", lambda: of_weights(tmp_path), str(tmp_path))
    path = tmp_path / "model.safetensors"
    save_file(tiny(), path)
    whole = path.read_bytes()
    for part in (b"", b"not weights", whole[:-1], whole[:7], whole[:100]):
        path.write_bytes(part)
        raised("judges.not_safetensors", lambda: of_weights(path), str(path))
