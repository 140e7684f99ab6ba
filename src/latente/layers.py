"""Bricks that two families or more are built from."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MixturePrior(nn.Module):
    """A mixture of k Gaussians with full covariances, fitted to codes: it lets any autoencoder make new images.

    An autoencoder has no prior of its own; Ghosh et al. 2020 (section 4) fit one afterwards. k = 1 is one Gaussian.
    Until it is fitted it is a standard normal. Nothing in it is learned by gradient: all is in buffers, which are saved
    with the network.
    """

    weights: Tensor  # [k]
    means: Tensor  # [k, d]
    factors: Tensor  # [k, d, d], lower triangular L with L L^T = covariance

    def __init__(self, latent: int, k: int = 10) -> None:
        super().__init__()
        self.register_buffer("weights", torch.eye(k)[0])
        self.register_buffer("means", torch.zeros(k, latent))
        self.register_buffer("factors", torch.eye(latent).repeat(k, 1, 1))

    @torch.no_grad()
    def fit(self, codes: Tensor, iterations: int = 30, tolerance: float = 0.01) -> float:
        """Fit to codes [n, d] by expectation-maximisation, anew and without chance -> mean log-likelihood in nats.

        One component for every 10 d codes, as a covariance needs, and at most k; any n from 1 on will do.
        Stops when a round gains less than `tolerance` nats a code. In float64 on the CPU.
        """
        x = codes.detach().cpu().double()
        if len(x) == 0 or not x.isfinite().all():
            raise ValueError(f"a mixture needs at least one code and finite values, not {tuple(x.shape)}")
        k = len(self.weights)
        ridge = max(1e-6 * float(x.var(0, correction=0).mean()), 1e-12)  # keeps a flat covariance invertible
        used = min(k, max(len(x) // (10 * x.shape[1]), 1))
        nearest = torch.cdist(x, _spread_centres(x, used)).argmin(1)
        shares = nn.functional.one_hot(nearest, used).double()  # [n, used]
        reached = -math.inf
        for _ in range(iterations):
            weights, means, factors = _maximise(x, shares, ridge)
            joint = _joint(x, weights, means, factors)  # [n, used]
            evidence = joint.logsumexp(1)  # [n]
            shares = (joint - evidence[:, None]).exp()
            before, reached = reached, float(evidence.mean())
            if reached - before < tolerance:
                break
        self.weights.zero_()[:used] = weights
        self.means.zero_()[:used] = means
        self.factors.copy_(torch.eye(x.shape[1]))[:used] = factors
        return reached

    def log_prob(self, codes: Tensor) -> Tensor:
        """Log density of codes [n, d] -> [n], in nats."""
        parts = (self.weights, self.means, self.factors)
        return _joint(codes.double(), *(part.double() for part in parts)).logsumexp(1)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n codes [n, d], on this module's device. The draws are made where the generator lives."""
        where = generator.device
        which = torch.multinomial(self.weights.to(where), n, replacement=True, generator=generator)  # [n]
        z = torch.randn(n, self.means.shape[1], generator=generator, device=where)
        which, z = which.to(self.means.device), z.to(self.means.device)
        for j in range(len(self.weights)):  # a component at a time: n copies of a factor could be large
            chosen = which == j
            z[chosen] = self.means[j] + z[chosen] @ self.factors[j].T
        return z


def _spread_centres(x: Tensor, k: int, rounds: int = 10) -> Tensor:
    """k starting points among codes [n, d]: k-means++ (Arthur & Vassilvitskii 2007) with a fixed seed, then k-means."""
    generator = torch.Generator().manual_seed(0)
    centres = x[torch.randint(len(x), (1,), generator=generator)]  # [1, d]
    while len(centres) < k:
        far = torch.cdist(x, centres).amin(1).square()  # [n]
        far = far if float(far.sum()) > 0 else torch.ones_like(far)  # fewer different codes than centres
        centres = torch.cat([centres, x[torch.multinomial(far, 1, generator=generator)]])
    for _ in range(rounds):
        member = nn.functional.one_hot(torch.cdist(x, centres).argmin(1), k).to(x)  # [n, k]
        count = member.sum(0)[:, None]
        centres = torch.where(count > 0, member.T @ x / count.clamp(min=1), centres)
    return centres


def _maximise(x: Tensor, shares: Tensor, ridge: float) -> tuple[Tensor, Tensor, Tensor]:
    """The M step: codes [n, d], shares [n, k] -> weights [k], means [k, d], Cholesky factors [k, d, d]."""
    count = shares.sum(0) + 10 * torch.finfo(x.dtype).eps  # [k]
    means = shares.T @ x / count[:, None]
    factors = torch.empty(len(count), x.shape[1], x.shape[1], dtype=x.dtype)
    for j in range(len(count)):
        away = x - means[j]
        covariance = (shares[:, j, None] * away).T @ away / count[j]
        covariance.diagonal().add_(ridge)
        factors[j] = torch.linalg.cholesky(covariance)
    return count / count.sum(), means, factors


def _joint(x: Tensor, weights: Tensor, means: Tensor, factors: Tensor) -> Tensor:
    """log(weight_j N(x | mean_j, L_j L_j^T)) of codes [n, d] -> [n, k]."""
    logs = []
    identity = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    for weight, mean, factor in zip(weights, means, factors, strict=True):
        whiten = torch.linalg.solve_triangular(factor, identity, upper=False)
        distance = ((x - mean) @ whiten.T).square().sum(1)  # [n], Mahalanobis, squared
        volume = factor.diagonal().log().sum()
        logs.append(weight.log() - volume - 0.5 * (distance + x.shape[1] * math.log(2 * math.pi)))
    return torch.stack(logs, 1)


# --- Bricks of critics ----------------------------------------------------------------------------------------------


class Maxout(nn.Module):
    """Units that are the largest of linear pieces: [n, inputs] -> [n, units] (Goodfellow et al. 2013, section 3)."""

    def __init__(self, inputs: int, units: int, pieces: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, units * pieces)
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.linear(x)
        return z.view(len(x), -1, self.pieces).max(2).values  # [n, units, pieces] -> [n, units]


class MinibatchDiscrimination(nn.Module):
    """How much each row of a batch resembles the others: [n, features] -> [n, kernels] (Salimans et al. 2016, section
    3.2).

    M_i = f(x_i) T, and o_b(x_i) = sum over j != i of exp(-||M_ib - M_jb||_1). The columns of T start with a length near
    1, as in the authors' code; their weight normalisation and the scales set from the first batch are left out. n times
    n rows are compared: memory and time grow with n^2 x kernels x dims.
    """

    def __init__(self, features: int, kernels: int, dims: int = 5) -> None:
        super().__init__()
        self.kernels = kernels
        self.tensor = nn.Linear(features, kernels * dims, bias=False)  # the paper's T
        nn.init.normal_(self.tensor.weight, 0, features**-0.5)

    def forward(self, f: Tensor) -> Tensor:
        m = self.tensor(f).view(len(f), self.kernels, -1)  # [n, B, C]
        closeness: Tensor = (-(m[:, None] - m).abs().sum(3)).exp()  # [n, n, B]
        itself = torch.eye(len(f), dtype=m.dtype, device=m.device)[:, :, None]  # exp(0), exactly
        return (closeness - itself).sum(1)


def minibatch_stddev(x: Tensor, group: int = 4) -> Tensor:
    """One more feature that says how much a group of the batch varies: [n, C, ...] -> [n, C + 1, ...] (ProGAN, section
    3).

    The standard deviation over a group's members, feature by feature and place by place, then its mean: one number a
    group. A group has as many members as the largest divisor of n that is at most `group`; member i of one stands
    n / members rows from member i + 1, as in the authors' code.
    """
    members = next(size for size in range(min(group, len(x)), 0, -1) if len(x) % size == 0)
    grouped = x.reshape(members, -1, *x.shape[1:])  # [members, groups, C, ...]
    variance = (grouped - grouped.mean(0)).square().mean(0)  # on a CPU `var` takes 14 to 35 times as long
    deviation = (variance + 1e-8).sqrt().flatten(1).mean(1)  # [groups]
    column = deviation.repeat(members).view(-1, *(1,) * (x.ndim - 1))  # [n, 1, ...]
    return torch.cat([x, column.expand(-1, 1, *x.shape[2:])], 1)


def spectrally_normalise(net: nn.Module) -> None:
    """Divide the weight of every layer of `net` by its largest singular value (Miyato et al. 2018), which one power
    iteration a forward pass follows. The tensor of minibatch discrimination and embeddings are layers too."""
    for module in list(net.modules()):
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding):
            nn.utils.parametrizations.spectral_norm(module)


# --- Bricks of the networks that grow --------------------------------------------------------------------------------


class EqualLinear(nn.Module):
    """A fully connected layer with equalised learning rate: [..., inputs] -> [..., outputs] (ProGAN, section 4.1).

    Weights are kept as N(0, 1) and multiplied by gain / sqrt(inputs) whenever they are used, so that Adam moves all
    layers at the same relative speed. `lr_mul` slows a layer down: weights are kept larger and biases smaller by it
    (StyleGAN, appendix C).
    """

    def __init__(
        self, inputs: int, outputs: int, gain: float = 1.0, lr_mul: float = 1.0, bias: bool = True, start: float = 0.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_mul)
        self.bias = nn.Parameter(torch.full((outputs,), start / lr_mul)) if bias else None
        self.scale = gain * lr_mul / math.sqrt(inputs)
        self.lr_mul = lr_mul

    def forward(self, x: Tensor) -> Tensor:
        bias = self.bias if self.bias is None or self.lr_mul == 1 else self.bias * self.lr_mul
        return F.linear(x, self.weight * self.scale, bias)


class EqualConv2d(nn.Module):
    """A convolution with equalised learning rate that keeps the size: [N, inputs, H, W] -> [N, outputs, H, W] (ProGAN,
    section 4.1)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, gain: float = 1.0, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale = gain / math.sqrt(inputs * kernel**2)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.weight.shape[2] // 2)


def pixel_norm(x: Tensor) -> Tensor:
    """Features divided by their root mean square over channels, place by place: [N, C, ...] -> the same (ProGAN,
    section 4.2)."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


def double(x: Tensor) -> Tensor:
    """Every pixel four times: [N, C, H, W] -> [N, C, 2H, 2W]."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def halve(x: Tensor) -> Tensor:
    """The mean of every four pixels: [N, C, H, W] -> [N, C, H/2, W/2]."""
    return F.avg_pool2d(x, 2)


def blur(x: Tensor) -> Tensor:
    """[1, 2, 1] / 4 along rows and columns, 0 beyond the edge: [N, C, H, W] -> the same (StyleGAN, appendix C: the
    binomial filter that makes resampling bilinear).

    The mean of two neighbours, twice; on a CPU, up to 128 pixels, two products with banded matrices, although most of
    their entries are 0: a step of stylegan2 takes 0.94 of the time then, one of stylegan with `blur` 0.97.
    """
    n, c, height, width = x.shape
    if x.device.type != "cpu" or max(height, width) > 128:
        return F.avg_pool2d(F.avg_pool2d(x, 2, stride=1, padding=1), 2, stride=1)
    maps = x.permute(0, 2, 3, 1).reshape(n, height, width * c)  # as they lie in memory in training: channels last
    maps = (binomial(height, x) @ maps).view(n * height, width, c)
    maps = binomial(width, x) @ maps
    return maps.view(n, height, width, c).permute(0, 3, 1, 2)


def binomial(size: int, like: Tensor) -> Tensor:
    """[1, 2, 1] / 4 on and beside the diagonal: [size, size]."""
    beside = like.new_full((size - 1,), 0.25)
    return torch.diag(beside, -1) + torch.diag(beside, 1) + torch.diag(like.new_full((size,), 0.5))


def double_and_convolve(x: Tensor, weight: Tensor) -> Tensor:
    """A 3x3 convolution of `double(x)`: [N, c, H, W] and [C, c, 3, 3] -> [N, C, 2H, 2W].

    In one: of the nine pixels that it reads only four are different, so it is a transposed convolution with 4x4 sums of
    the weight and less than half of the products.
    """
    return F.conv_transpose2d(x, spread(weight).flip(2, 3).transpose(0, 1), stride=2, padding=1)


def convolve_and_halve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`halve` of a 3x3 convolution: [N, c, H, W] and [C, c, 3, 3] -> [N, C, H/2, W/2], in one as above."""
    return F.conv2d(x, spread(weight) / 4, bias, stride=2, padding=1)


def spread(weight: Tensor) -> Tensor:
    """A kernel [..., 3, 3] summed over the four places that it can have in [..., 4, 4]."""
    w = F.pad(weight, (1, 1, 1, 1))
    return w[..., 1:, 1:] + w[..., 1:, :-1] + w[..., :-1, 1:] + w[..., :-1, :-1]
