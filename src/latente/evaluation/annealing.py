"""log p(x) by annealed importance sampling, and how far off that is, by bidirectional Monte Carlo.

    AIS     Neal 2001 (arXiv physics/9803008); of decoders: Wu, Burda, Salakhutdinov & Grosse 2017 (1611.04273)
    BDMC    Grosse, Ghahramani & Adams 2015 (1511.02543)

Chains go from a density that is easy to sample to the posterior, through T steps of a path:

    f_beta(z) = f_0(z)^(1 - beta) (p(z) p(x|z))^beta,    f_0 = p(z): p(z) p(x|z)^beta;  or f_0 = q(z|x)
    log w = sum_t (beta_t - beta_t-1) r(z_t-1),          r(z) = log p(z) p(x|z) / f_0(z)

E[w] = p(x), so that the log of the mean of w over K chains is a lower bound of log p(x) in expectation: a stochastic
one, nats per image. A chain that walks the path backwards from an exact sample of p(z|x) has E[1/w] = 1 / p(x), and
gives an upper bound. Such a sample is at hand only for an image that the model itself has drawn: x ~ p(x|z), z ~ p(z).

Everything happens in u, where f_0 is N(0, I): z = u for the prior, z = mean + sd u for q(z|x). Then
f_beta(u) = N(u; 0, I) e^(beta r(u)), which is what hamiltonian.py moves in; with q(z|x) each latent is measured by
the spread that the encoder gives it.

Step sizes. Adapted while the weights are gathered, they would depend on where the chains have been, and E[w] = p(x)
would be lost, as it is in much published code. Here a pilot of a few chains of its own finds a step size for each image
and each beta; the chains that count, forward and backward, use them as they are.

N images, K chains an image, M = K N rows: row i N + j is chain i of image j. d latents.
"""

import math
from typing import Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor

from latente.evaluation.hamiltonian import Spot, transition
from latente.evaluation.likelihood import LatentModel
from latente.models.vae import VAE

ACCEPTANCE = 0.65  # of the moves, as Neal 2011 (section 4.4) derives it
PILOT_CHAINS = 2  # of each image
ADAPTATION = 0.2  # of the log step size, by so much times the acceptance to spare
QUARTER = math.pi / 2  # the longest trajectory: a quarter turn through N(0, I), the widest f is; longer ones turn back
CURVE = 4.0  # the schedule is a sigmoid from -4 to 4: small steps at both ends, where f changes fastest

Initial = Literal["prior", "posterior"]


class SizedModel(LatentModel, Protocol):
    """A latent-variable model that says how many latents it has. `posterior` is asked only where chains start there."""

    @property
    def latent(self) -> int: ...


class Annealed(NamedTuple):
    """Annealed importance sampling, image by image."""

    bound: Tensor  # [N] log of the mean weight, nats: a lower bound of log p(x) in expectation
    effective: Tensor  # [N] effective sample size of the chains (sum w)^2 / sum w^2, from 1 to K
    acceptance: Tensor  # [N] mean probability that a move is accepted


class Bidirectional(NamedTuple):
    """Both bounds of log p(x), of images that the model drew."""

    images: Tensor  # [N, C, H, W] in [-1, 1]
    lower: Tensor  # [N] nats, AIS forward
    upper: Tensor  # [N] nats, AIS backward from the z that each image was drawn with
    acceptance: Tensor  # [N] mean over both

    @property
    def gap(self) -> Tensor:
        return self.upper - self.lower  # [N] nats; below 0 by chance alone


def schedule(steps: int) -> Tensor:
    """beta_0 = 0 to beta_T = 1, [T + 1] in float64: a sigmoid, as in the code of Wu et al. 2017."""
    grid = torch.sigmoid(torch.linspace(-CURVE, CURVE, steps + 1, dtype=torch.float64))
    return (grid - grid[0]) / (grid[-1] - grid[0])


@torch.no_grad()
def ais(
    model: SizedModel,
    x: Tensor,
    steps: int = 500,
    chains: int = 8,
    leaps: int = 5,
    *,
    seed: int = 0,
    condition: Tensor | None = None,
    initial: Initial = "prior",
    chunk: int = 500,
) -> Annealed:
    """Annealed importance sampling of log p(x) for images x [N, C, H, W], as the network sees them.

    steps: T, the distance from f_0 to the posterior in steps; leaps: leapfrog steps of a move. About
    T x leaps x (chains + 2) passes through the decoder and back an image, `chunk` rows at a time in memory. "posterior"
    starts at q(z|x), which is much nearer where the encoder is good, and misses what it misses until the chains have
    found it; "prior" asks nothing of the encoder. The network should be in evaluation mode. The same seed and chunk
    give the same numbers.
    """
    _check(steps, chains, leaps, initial, chunk)
    generator = torch.Generator(x.device).manual_seed(seed)
    betas = schedule(steps)
    parts = []
    for part in portions(len(x), chains, chunk):
        images, labels = x[part], None if condition is None else condition[part]
        sizes = pilot(Path(model, images, PILOT_CHAINS, labels, initial), betas, leaps, generator)[1]
        path = Path(model, images, chains, labels, initial)
        log_w, accepted = _walk(path, path.start(generator), betas, sizes, leaps, generator)
        bound = log_mean_exp(log_w)
        parts.append(Annealed(bound, (2 * bound - log_mean_exp(2 * log_w)).exp() * chains, accepted))
    return Annealed(*(torch.cat(values) for values in zip(*parts, strict=True)))


@torch.no_grad()
def bdmc(
    model: VAE,
    n: int,
    steps: int = 500,
    chains: int = 8,
    leaps: int = 5,
    *,
    seed: int = 0,
    condition: Tensor | None = None,
    initial: Initial = "prior",
    chunk: int = 500,
) -> Bidirectional:
    """Lower and upper bounds of log p(x) of n images that are drawn here, from the model itself.

    It takes no images: of a real one no exact sample of p(z|x) is known, and what the backward chains say of it bounds
    nothing. The mean gap is how far `ais` with these settings can be off on such images; on real ones, which may have
    harder posteriors, it is an indication. condition: the labels [n] of a conditional model.
    """
    _check(steps, chains, leaps, initial, chunk)
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    z, x = simulate(model, n, generator, condition)
    betas = schedule(steps)
    parts = []
    for part in portions(n, chains, chunk):
        images, labels = x[part], None if condition is None else condition[part]
        sizes = pilot(Path(model, images, PILOT_CHAINS, labels, initial), betas, leaps, generator)[1]
        path = Path(model, images, chains, labels, initial)
        log_w, forth = _walk(path, path.start(generator), betas, sizes, leaps, generator)
        # The K chains of an image start at the same z and are not independent, which an expectation does not mind.
        exact = path.at(z[part])
        log_inverse, back = _walk(path, exact, betas.flip(0), sizes.flip(0), leaps, generator)
        parts.append(Bidirectional(images, log_mean_exp(log_w), -log_mean_exp(log_inverse), (forth + back) / 2))
    return Bidirectional(*(torch.cat(values) for values in zip(*parts, strict=True)))


@torch.no_grad()
def simulate(model: VAE, n: int, generator: torch.Generator, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """z ~ N(0, I), [n, d], and x ~ p(x|z), [n, C, H, W]: pixels drawn, not their means, as the likelihood has them."""
    z = torch.randn(n, model.latent, generator=generator, device=generator.device)
    output = model.output(z, condition)  # [n, C, H, W], of a logistic [n, 2C, H, W]
    mean = model.mean_image(output)  # [n, C, H, W]
    if model.likelihood == "gaussian":  # sigma is in units of [0, 1]
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        return z, mean + 2 * model.sigma() * noise
    chance = torch.rand(mean.shape, generator=generator, device=mean.device)
    if model.likelihood == "bernoulli":
        return z, torch.where(chance < (mean + 1) / 2, 1.0, -1.0)
    scale = output.chunk(2, -3)[1].clamp(min=-7).exp()
    level = (mean + scale * chance.logit(1e-7) + 1) * 127.5  # a logistic, by its quantiles
    return z, level.round().clamp(0, 255) / 127.5 - 1


class Path:
    """The way from f_0 to the posterior of some images [n, C, H, W], for K chains of each."""

    def __init__(self, model: SizedModel, x: Tensor, chains: int, condition: Tensor | None, initial: Initial) -> None:
        self.model, self.n, self.chains = model, len(x), chains
        self.x = x.repeat(chains, *[1] * (x.ndim - 1))  # [M, C, H, W]
        self.condition = None if condition is None else condition.repeat(chains)
        shape = (len(x), model.latent)
        mean, logvar = x.new_zeros(shape), x.new_zeros(shape)
        if initial == "posterior":
            mean, logvar = model.posterior(x, condition)  # [n, d] each
        self.mean, self.logvar = mean.repeat(chains, 1), logvar.repeat(chains, 1)  # [M, d]
        self.sd = (self.logvar / 2).exp()

    def look(self, u: Tensor) -> Spot:
        """r(u) = log p(x|z) + log p(z) - log f_0(z) at z = mean + sd u, and its slope. The weights stay as they are."""
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            z = self.mean + self.sd * u  # [M, d]
            ratio = self.model.log_likelihood(self.x, self.model.output(z, self.condition))
            ratio = ratio + 0.5 * (u.square() - z.square() + self.logvar).sum(1)  # 0 where f_0 is the prior
            [slope] = torch.autograd.grad(ratio.sum(), u)
        return Spot(u.detach(), ratio.detach(), slope)

    def start(self, generator: torch.Generator) -> Spot:
        """Every chain at a sample of f_0."""
        return self.look(torch.randn(self.mean.shape, generator=generator, device=self.mean.device).to(self.mean))

    def at(self, z: Tensor) -> Spot:
        """All chains of an image at its code, z [n, d]."""
        return self.look((z.repeat(self.chains, 1) - self.mean) / self.sd)

    def codes(self, spot: Spot) -> Tensor:
        """z of each chain, [K, n, d]."""
        return (self.mean + self.sd * spot.u).view(self.chains, self.n, -1)


def pilot(path: Path, betas: Tensor, leaps: int, generator: torch.Generator) -> tuple[Spot, Tensor]:
    """Walk the path and find the step sizes, [T + 1, n]: one for each beta and image, raised while more than
    `ACCEPTANCE` of its chains' moves are accepted, up to a quarter turn a move. Also where the chains end."""
    spot = path.start(generator)
    largest = QUARTER / leaps
    sizes = [spot.ratio.new_full((path.n,), largest)]  # of beta_0, where nobody moves
    for beta in betas[1:].tolist():
        spot, accepted = transition(path.look, spot, sizes[-1].repeat(path.chains), beta, leaps, generator)
        spare = accepted.view(path.chains, path.n).mean(0) - ACCEPTANCE  # [n]
        sizes.append((sizes[-1] * (ADAPTATION * spare).exp()).clamp(max=largest))
    return spot, torch.stack(sizes)


def _walk(
    path: Path, spot: Spot, betas: Tensor, sizes: Tensor, leaps: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """From betas[0] to betas[T], up or down: log w (down: log 1/w) of each chain, [K, n], and the acceptance, [n].

    At each step first the weight, where the chain stands, then a move at the new beta; none at the last, which would
    change no weight. Up and down are then each other's reversal, move by move.
    """
    exact = torch.float32 if spot.u.device.type == "mps" else torch.float64  # Apple's GPUs lack it
    log_w = torch.zeros(path.chains * path.n, dtype=exact, device=spot.u.device)  # [M]
    accepted = torch.zeros_like(spot.ratio)
    levels = betas.tolist()
    for t in range(1, len(levels)):
        log_w += (levels[t] - levels[t - 1]) * spot.ratio.to(exact)
        if t < len(levels) - 1:
            step = sizes[t].repeat(path.chains)
            spot, probability = transition(path.look, spot, step, levels[t], leaps, generator)
            accepted += probability / (len(levels) - 2)
    return log_w.view(path.chains, path.n), accepted.view(path.chains, path.n).mean(0)


def log_mean_exp(values: Tensor) -> Tensor:
    """Over the first dimension: [K, N] -> [N]."""
    return values.logsumexp(0) - math.log(len(values))


def portions(n: int, chains: int, chunk: int) -> list[slice]:
    """Images that fit into `chunk` rows, at least one."""
    at_once = max(1, chunk // chains)
    return [slice(start, start + at_once) for start in range(0, n, at_once)]


def _check(steps: int, chains: int, leaps: int, initial: str, chunk: int) -> None:
    if min(steps, chains, leaps, chunk) < 1:
        raise ValueError(f"steps, chains, leaps and chunk are at least 1, not {steps}, {chains}, {leaps}, {chunk}")
    if initial not in get_args(Initial):
        raise ValueError(f"chains start at the prior or the posterior, not at {initial!r}")
