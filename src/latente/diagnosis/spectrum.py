"""What the spectrum of images tells: the grid that upsampling leaves, and blur.

Legend
    f         a frequency, cycles a pixel, 0 to 1/2 along each axis
    lattice   frequencies where both axes have 0, 1/4 or 1/2: what layers of stride 2 repeat every 2 or 4 pixels lands
              there (Odena et al. 2016, "Deconvolution and checkerboard artifacts"; Durall et al. 2020, 2003.01826)
    energy    squared modulus of the Fourier transform, mean over images, sum over channels and frequencies
"""

from typing import NamedTuple

import torch
from torch import Tensor

LEAST = 16  # pixels a side: with fewer the lattice leaves no frequencies to compare with
FINE = 0.25  # frequencies above it are detail
_BETWEEN = 0.125  # from here on frequencies off the lattice say what those on it would have without an artifact


class Bands(NamedTuple):
    """Which frequencies [H, W] count for what."""

    lattice: Tensor
    between: Tensor
    fine: Tensor  # off the lattice too, or a checkerboard would count as sharp


def energies(x: Tensor) -> Tensor:
    """Images [n, C, H, W] -> energy of each frequency [H, W], mean over images and sum over channels.

    Each image loses its mean and is faded out towards its edges (Hann), or the jump from one edge to the other would
    look like detail. The window is periodic: a pattern of period 2 or 4 stays within one step of its frequency.
    """
    height, width = x.shape[2:]
    x = x.float().cpu()
    window = torch.outer(torch.hann_window(height), torch.hann_window(width))
    energy: Tensor = torch.fft.fft2((x - x.mean((2, 3), keepdim=True)) * window).abs().square()  # [n, C, H, W]
    return energy.double().mean(0).sum(0)


def bands(height: int, width: int) -> Bands:
    """The lattice and what lies between, for images of this size."""

    def near(size: int) -> Tensor:
        steps = torch.arange(size) * 4 / size  # 0, 1, 2, 3 are the lattice
        return (steps - steps.round()).abs() * size / 4 < 1.6  # one step of the transform, where 4 divides the size

    down, across = near(height)[:, None], near(width)[None]
    f = torch.maximum(torch.fft.fftfreq(height).abs()[:, None], torch.fft.fftfreq(width).abs()[None])
    slow = f * max(height, width) < 1.6  # around 0
    lattice = down & across
    return Bands(lattice & ~slow, ~lattice & (f >= _BETWEEN), ~lattice & (f >= FINE))


def checkerboard(fakes: Tensor, reals: Tensor) -> float:
    """Energy of fakes on the lattice over that between, both images [n, C, H, W], over the same of reals: 1 is none.

    Plain energy would call all that is sharp or noisy a checkerboard; against its neighbours only what stands out
    counts.
    """
    band = bands(*fakes.shape[2:])
    ratios = []
    for x in (fakes, reals):
        energy = energies(x)
        ratios.append(energy[band.lattice].sum() / energy[band.between].sum())
    return float(ratios[0] / ratios[1])


def sharpness(fakes: Tensor, reals: Tensor) -> float:
    """Energy of detail in fakes over that in reals, both [n, C, H, W]: below 1 is blurred, above 1 is noisy."""
    fine = bands(*fakes.shape[2:]).fine
    return float(energies(fakes)[fine].sum() / energies(reals)[fine].sum())
