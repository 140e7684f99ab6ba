"""Mixing, truncation and noise of a generator that can be followed by hand, and of the real ones."""

from pathlib import Path

import numpy as np
import pytest
import torch

from latente.config import StyleGAN2Model, StyleGANModel
from latente.exploration import styles
from latente.exploration.invert import project
from latente.exploration.projections import keep
from latente.exploration.sources import Ground, source
from latente.exploration.spaces import raised, show
from latente.messages import LANGUAGES, Problem, set_language
from latente.models import stylegan, stylegan2
from latente.pictures import to_pixels
from latente.run import Run
from styles import Styles
from test_sources import trained

REAL = {
    "stylegan": lambda side: stylegan.Generator(
        StyleGANModel(latent=4, width=4, widest=4, mapping=2, start=side), (1, side, side)
    ),
    "stylegan2": lambda side: stylegan2.Generator(
        StyleGAN2Model(latent=4, width=4, widest=4, mapping=2), (1, side, side)
    ),
}


@pytest.fixture(scope="module")
def gan(shared_cache: Path, grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained("dcgan", grey, shared_cache, tmp_path_factory.mktemp("runs"))


@pytest.fixture
def place(gan: Run) -> Ground:
    return Ground(gan, Styles())


def sources(place: Ground, *words: str):
    return [source(place, word) for word in words]


def test_mixed_styles_against_a_loop():
    a, b = torch.zeros(5, 3), torch.ones(5, 3)
    mixed = styles.mixed(a, b, [1, 4])
    for layer in range(5):
        assert (mixed[layer] == (1 if layer in (1, 4) else 0)).all()
    assert torch.equal(styles.mixed(a, b, []), a) and torch.equal(styles.mixed(a, b, range(5)), b)


def test_the_figure_holds_what_a_loop_makes(place):
    net = place.net
    rows, columns = sources(place, "1", "2"), sources(place, "5", "6", "7")
    sheet, facts = styles.mix(place, rows, columns, [("0-1", [0, 1]), ("2", [2])])
    z = {word: net.prior(1, torch.Generator().manual_seed(int(word))) for word in "12567"}
    ws = {word: net.broadcast(net.mapping(one)) for word, one in z.items()}
    for block, layers in zip(sheet.blocks, ([0, 1], [2]), strict=True):
        assert block.cells[0][0] is None
        for i, row in enumerate("12"):
            assert np.array_equal(block.cells[i + 1][0], to_pixels(net.decode(z[row]).numpy())[0])
            for j, column in enumerate("567"):
                one = ws[row].clone()
                one[:, layers] = ws[column][:, layers]
                assert np.array_equal(block.cells[i + 1][j + 1], to_pixels(net.synthesis(one).numpy())[0])
    assert facts["layers"] == {"0-1": [0, 1], "2": [2]} and np.shape(facts["latents"]["columns"]) == (3, 3, 6)


@pytest.mark.parametrize("family", REAL)
@pytest.mark.parametrize("space", ["z", "w", "w+"])
def test_photos_keep_what_was_found_of_them_in_a_mix(gan, family, space):
    """Noise goes with the styles: no layers taken leave the row's projection, all of them make the column's."""
    torch.manual_seed(1)
    place = Ground(gan, REAL[family](8).eval().requires_grad_(False))
    net = place.net
    if family == "stylegan":
        for epilogue in net.epilogues:
            epilogue.strength.fill_(0.5)
    found = {}
    for name in ("ana", "ben"):
        photo = torch.rand(1, 1, 8, 8) * 2 - 1
        found[name] = project(net, photo, space, steps=2, seed=len(found))
        keep(gan, name, photo, {space: found[name]})
    every, half = list(range(net.layers)), [0, 1]
    sheet, _ = styles.mix(place, sources(place, "ana"), sources(place, "ben", "5"), [("0-1", half), ("all", every)])
    photos, part, whole = sheet.blocks
    assert f"found in {space}" in photos.rows
    ana, ben = (found[name].images[0].astype(int) for name in ("ana", "ben"))
    for block in (part, whole):
        assert np.abs(block.cells[1][0] - ana).max() <= 1 and np.abs(block.cells[0][1] - ben).max() <= 1
    assert np.abs(photos.cells[1][0] - ana).max() <= 1
    assert np.array_equal(whole.cells[1][1], whole.cells[0][1]) and np.array_equal(whole.cells[1][2], whole.cells[0][2])
    ws = [raised(net, found[name].latent, space, "w+") for name in ("ana", "ben")]
    both = styles.mixed(*ws, half)
    noise = [found["ben" if layer in half else "ana"].noise[layer] for layer in every]
    expected = to_pixels(show(net, "w+", both, noise=noise).clamp(-1, 1).numpy())[0]
    assert np.abs(part.cells[1][1].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("family", REAL)
def test_all_styles_of_another_are_the_other_and_none_are_oneself(gan, family):
    torch.manual_seed(1)
    place = Ground(gan, REAL[family](16).eval().requires_grad_(False))
    assert place.styled
    every = list(range(place.net.layers))
    rows, columns = sources(place, "1"), sources(place, "5")
    sheet, _ = styles.mix(place, rows, columns, [("all", every), ("0", [0])])
    assert np.array_equal(sheet.blocks[0].cells[1][1], sheet.blocks[0].cells[0][1])
    assert not np.array_equal(sheet.blocks[1].cells[1][1], sheet.blocks[0].cells[0][1])


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        (1024, {"coarse": [0, 1, 2, 3], "middle": [4, 5, 6, 7], "fine": list(range(8, 18))}),  # the paper's figure 3
        (64, {"coarse": [0, 1, 2, 3], "middle": [4, 5, 6, 7], "fine": [8, 9]}),
        (32, {"coarse": [0, 1, 2, 3], "middle": [4, 5], "fine": [6, 7]}),
        (16, {"coarse": [0, 1], "middle": [2, 3], "fine": [4, 5]}),
        (8, {"coarse": [0, 1], "middle": [2], "fine": [3]}),
    ],
)
def test_groups_of_layers(side, expected, monkeypatch):
    layers = 2 * int(np.log2(side)) - 2
    monkeypatch.setattr(styles, "sides", lambda net: [4 * 2 ** (i // 2) for i in range(layers)])
    assert styles.layer_groups(None) == expected


@pytest.mark.parametrize("family", REAL)
@pytest.mark.parametrize("side", [8, 16])
def test_the_groups_of_real_generators_share_out_all_layers(family, side):
    net = REAL[family](side)
    groups = styles.layer_groups(net)
    assert sum(groups.values(), []) == list(range(net.layers)) and all(groups.values())
    assert styles.sides(net)[-1] == side and styles.sides(net)[0] == 4
    noisy = styles.noisy_layers(net)
    assert noisy["fine"] and noisy["coarse"] and sorted(noisy["fine"] + noisy["coarse"]) == noisy["all"]


def test_layers_by_name_and_by_range(place):
    assert styles.layers_called(place.net, "coarse, 1-2,0") == [("coarse", [0]), ("1-2", [1, 2]), ("0", [0])]
    for language in LANGUAGES:
        set_language(language)
        for word in ("3", "2-1", "rough", "", "0-3", "-1"):
            with pytest.raises(Problem) as problem:
                styles.layers_called(place.net, word)
            assert problem.value.key == "explore.no_layers" and "2" in str(problem.value)


@pytest.mark.parametrize(
    ("language", "one", "two"), [("en", "layer 2, ", "layers 0-1, "), ("es", "capa 2, ", "capas 0-1, ")]
)
def test_one_layer_is_no_range(place, language, one, two):
    set_language(language)
    assert styles.layers_said(place.net, [2]).startswith(one) and styles.layers_said(place.net, [0, 1]).startswith(two)


def test_truncation_is_the_papers_formula(place):
    net = place.net
    net.w_avg += 0.3
    sheet, facts = styles.truncation(place, sources(place, "1", "2"), [-1, 0, 0.5, 1])
    for i, seed in enumerate((1, 2)):
        w = net.mapping(net.prior(1, torch.Generator().manual_seed(seed)))
        for j, psi in enumerate((-1, 0, 0.5, 1)):
            ws = (net.w_avg + psi * (w - net.w_avg))[:, None].repeat(1, 3, 1)
            assert np.array_equal(sheet.blocks[0].cells[i][j], to_pixels(net.synthesis(ws).numpy())[0])
    assert np.array_equal(sheet.blocks[0].cells[0][1], sheet.blocks[0].cells[1][1]), "the mean is one image"
    assert facts["psis"] == [-1, 0, 0.5, 1]
    keep(place.run, "me", torch.zeros(1, 1, 8, 8), {"w": project(net, torch.zeros(1, 1, 8, 8), "w", steps=2)})
    sheet, _ = styles.truncation(place, sources(place, "me"), [0, 1])
    photo, row = sheet.blocks
    assert np.abs(photo.cells[1][0].astype(int) - row.cells[0][1]).max() <= 1, "the photo, and psi 1"
    with pytest.raises(Problem) as problem:
        styles.truncation(place, sources(place, "1"), [0.5], cutoff=4)
    assert problem.value.key == "explore.no_cutoff"


def test_truncation_of_the_first_layers_alone(gan):
    place = Ground(gan, REAL["stylegan"](8).eval().requires_grad_(False))
    net = place.net
    net.w_avg.add_(1)
    part, facts = styles.truncation(place, sources(place, "1"), [0.0], cutoff=1)
    ws = net.broadcast(net.mapping(net.prior(1, torch.Generator().manual_seed(1))))
    ws[:, 0] = net.w_avg
    assert np.array_equal(part.blocks[0].cells[0][0], to_pixels(net.synthesis(ws).numpy())[0])
    assert facts["cutoff"] == 1


def test_the_map_of_noise_against_a_loop(place):
    net = place.net
    sheet, facts = styles.noise(place, sources(place, "1"), draws=60, seed=4)
    generator = torch.Generator().manual_seed(4)
    net.noise_maps(1, generator)  # those of the second block
    ws = net.broadcast(net.mapping(net.prior(1, torch.Generator().manual_seed(1))))
    images = []
    for n in (50, 10):
        maps = net.noise_maps(n, generator)
        images += [net.synthesis(ws, [m[i : i + 1] for m in maps]).clamp(-1, 1)[0].numpy() for i in range(n)]
    cells = sheet.blocks[0].cells[0]
    for i in range(4):
        assert np.abs(cells[i].astype(int) - to_pixels(images[i])).max() <= 1
    spread = np.std((np.stack(images) + 1) / 2, axis=0, ddof=1).mean(0)
    assert facts["standard_deviation"]["most"][0] == pytest.approx(spread.max(), rel=1e-4)
    assert facts["standard_deviation"]["mean"][0] == pytest.approx(spread.mean(), rel=1e-4)
    assert np.abs(cells[4][0].astype(int) - np.rint(255 * spread / spread.max())).max() <= 1 and cells[4].max() == 255


class Steps(Styles):
    """The same with a coarser first layer, whose noise is enlarged."""

    def noise_maps(self, n, generator):
        return [torch.randn(n, 1, side, side, generator=generator) for side in (4, 8, 8)]

    def synthesis(self, ws, noise=None, stage=None):
        whole = None
        if noise is not None:
            whole = [
                m if m is None or m.shape[-1] == 8 else m.repeat_interleave(2, 2).repeat_interleave(2, 3) for m in noise
            ]
        return super().synthesis(ws, whole)


def test_noise_in_some_layers(gan):
    place = Ground(gan, Steps())
    net = place.net
    assert styles.noisy_layers(net) == {"all": [0, 1, 2], "none": [], "fine": [1, 2], "coarse": [0]}
    sheet, _ = styles.noise(place, sources(place, "1", "2"), draws=2, seed=4)
    maps = net.noise_maps(1, torch.Generator().manual_seed(4))
    for i, seed in enumerate((1, 2)):
        ws = net.broadcast(net.mapping(net.prior(1, torch.Generator().manual_seed(seed))))
        for j, layers in enumerate(([0, 1, 2], [], [1, 2], [0])):
            some = [m if k in layers else None for k, m in enumerate(maps)]
            assert np.array_equal(
                sheet.blocks[1].cells[i][j], to_pixels(net.synthesis(ws, some).clamp(-1, 1).numpy())[0]
            )


def test_a_generator_without_strength_of_noise_has_a_black_map(gan):
    place = Ground(gan, Styles(share=0.0))
    sheet, facts = styles.noise(place, sources(place, "1"), draws=3)
    assert facts["standard_deviation"]["most"][0] < 1e-6 and sheet.blocks[0].cells[0][-1].max() == 0


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_generator_without_styles_says_why(gan, language):
    set_language(language)
    place = Ground(gan, gan.network())
    one = sources(place, "1")
    for verb, call in (
        ("mix", lambda: styles.mix(place, one, one, [])),
        ("truncation", lambda: styles.truncation(place, one)),
        ("noise", lambda: styles.noise(place, one)),
    ):
        with pytest.raises(Problem, match=rf"latente {verb}.*dcgan"):
            call()
