"""New images from a trained run: truncation of styles, and who has none."""

from pathlib import Path

import numpy as np
import pytest
import torch

from latente import cli
from latente.exploration.latents import sample
from latente.messages import Problem
from latente.pictures import to_pixels
from latente.run import Run
from latente.training import train
from toy import drawn, toy


@pytest.fixture(scope="module")
def styled(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained("stylegan2", tmp_path_factory.mktemp("styled"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained("gan", tmp_path_factory.mktemp("plain"))


def trained(name: str, folder: Path) -> Run:
    source = folder / "set.npz"
    np.savez(source, images=drawn(60, (1, 8, 8))[0])
    return train(toy(name, source, images=16), out=folder / "runs")


def test_truncation_draws_styles_to_their_mean(styled: Run) -> None:
    assert np.array_equal(sample(styled, 4), sample(styled, 4, truncation=1.0))
    mean = sample(styled, 4, truncation=0.0).astype(int)
    assert np.ptp(mean, 0).max() <= 1  # one image, up to rounding
    net = styled.network()
    z = net.prior(4, torch.Generator().manual_seed(0))
    expected = to_pixels(net.decode(z, psi=0.5, cutoff=2).numpy())
    assert np.array_equal(sample(styled, 4, truncation=0.5, cutoff=2), expected)


@pytest.mark.parametrize("words", [["--truncation", "0.7"], ["--cutoff", "2"]])
def test_a_generator_without_styles_says_so(plain: Run, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sample", str(plain.folder), *words]) == 2
    assert "gan" in capsys.readouterr().err
    with pytest.raises(Problem, match="stylegan2"):
        sample(plain, 2, truncation=0.7)


@pytest.mark.parametrize("words", [["--cutoff", "2"], ["--truncation", "0.7", "--cutoff", "5"]])
def test_a_cutoff_needs_a_truncation_and_layers(
    styled: Run, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["sample", str(styled.folder), *words]) == 2
    assert "1" in capsys.readouterr().err and styled.network().layers == 4


@pytest.mark.parametrize("given", ["much", "nan", "inf"])
def test_a_truncation_that_is_no_number(styled: Run, given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sample", str(styled.folder), "--truncation", given]) == 2
    assert given in capsys.readouterr().err


def test_truncated_samples_from_the_command_line(styled: Run, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    assert cli.main(["sample", str(styled.folder), "--truncation", "0.7", "--cutoff", "2", "--out", str(out)]) == 0
    assert out.exists()
