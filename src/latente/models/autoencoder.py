"""The autoencoders of chapter 17 of the course's book (Géron, Hands-On Machine Learning, 3rd edition), in its order.

    linear      one layer up and one down, no activation: learns the PCA subspace (Baldi & Hornik 1989)
    stacked     several layers (Hinton & Salakhutdinov 2006); its variants:
      tied        the way down uses the weights of the way up, transposed
      greedy      layers trained one by one, the outermost first, then all together
      hashing     a binary code, forced by noise (Salakhutdinov & Hinton 2009)
    conv        convolutions and pooling up, transposed convolutions down
    recurrent   an LSTM reads the image row by row, another writes it
    and, for any of them, what is asked besides the squared error:
      denoising   the input is spoiled, the target is not (Vincent et al. 2008, 2010)
      sparse      few units of the code are active: L1, or KL to a target
      contractive the code moves little when the image does (Rifai et al. 2011); not for conv and recurrent

Shapes: N images of C x H x W, D = C H W; h or z [N, d] the code. Images come and go in [-1, 1]; what is called pixels
here is in [0, 1], as in the book.
"""

from collections.abc import Callable
from itertools import pairwise
from math import inf, prod
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latente.config import AutoencoderModel, AutoencoderObjective
from latente.layers import MixturePrior
from latente.messages import Problem
from latente.objectives import Terms
from latente.objectives.autoencoding import contraction, sparsity_kl, sparsity_l1, squared_error

if TYPE_CHECKING:
    from latente.data.stream import Batch

Shape = tuple[int, int, int]  # channels, height, width


class Autoencoder(nn.Module):
    """An encoder, a decoder, and a prior that is fitted to codes once they are trained. Labels are not used."""

    def __init__(self, model: AutoencoderModel, image_shape: Shape, classes: int = 0) -> None:
        super().__init__()
        _check(model)
        self.image_shape = image_shape
        self.latent = model.latent
        self.hashing = model.hashing
        self.coder: Dense | Convolutional | Recurrent
        match model.kind:
            case "linear" | "dense":
                self.coder = Dense(model, image_shape)
            case "conv":
                self.coder = Convolutional(model, image_shape)
            case "recurrent":
                self.coder = Recurrent(model, image_shape)
        self.mixture = MixturePrior(model.latent)

    def encode(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Images [n, C, H, W] in [-1, 1] -> codes [n, d]."""
        return self.coder.encode((x + 1) / 2)

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Codes [n, d] -> images [n, C, H, W] in [-1, 1]."""
        return (2 * self.coder.decode(z) - 1).clamp(-1, 1)

    def fit_prior(self, codes: Tensor) -> None:
        """Fit the prior to codes [n, d] of the training set, as `encode` gives them."""
        self.mixture.fit(codes)

    def prior(self, n: int, generator: torch.Generator) -> Tensor:
        """n codes [n, d] from the fitted mixture, within the code's range; from a hashing autoencoder bits, 0 or 1."""
        z = self.mixture.sample(n, generator).clamp(*self.coder.code_range)
        return z.round() if self.hashing else z


# ---- Linear, stacked, tied, greedy, hashing -------------------------------------------------------------------------


class Dense(nn.Module):
    """Dense layers. Layer i goes up, towards the code, and has a mirror that goes down."""

    def __init__(self, model: AutoencoderModel, image_shape: Shape) -> None:
        super().__init__()
        self.image_shape = image_shape
        code = "sigmoid" if model.hashing else model.activation
        linear = model.kind == "linear"
        self.activations = ["linear" if linear else "relu" for _ in model.hidden] + ["linear" if linear else code]
        self.code_range = CODE_RANGE[self.activations[-1]]
        widths = (prod(image_shape), *model.hidden, model.latent)  # 784, 100, 30
        self.up_weights = nn.ParameterList(_orthogonal(above, below) for below, above in pairwise(widths))
        self.up_biases = nn.ParameterList(torch.zeros(above) for above in widths[1:])
        self.down_weights = nn.ParameterList()  # tied: none of its own
        if not model.tied:
            self.down_weights.extend(_orthogonal(below, above) for below, above in pairwise(widths))
        self.down_biases = nn.ParameterList(torch.zeros(below) for below in widths[:-1])
        for i, activation in enumerate(self.activations):
            if activation == "relu":  # every unit starts alive; from 0 the first steps kill half of them for good
                nn.init.ones_(self.up_biases[i])
                if i + 1 < len(self.activations):
                    nn.init.ones_(self.down_biases[i + 1])
        if self.activations[-1] == "sigmoid" and not model.hashing:  # its slope at 0 is 1/4 (Glorot & Bengio 2010);
            with torch.no_grad():  # tied weights are passed twice
                self.up_weights[-1].mul_(2 if model.tied else 4)

    def up(self, i: int, h: Tensor) -> Tensor:
        """Layer i of the encoder."""
        return ACTIVATION[self.activations[i]](F.linear(h, self.up_weights[i], self.up_biases[i]))

    def down(self, i: int, h: Tensor) -> Tensor:
        """The mirror of layer i. The outermost has no activation."""
        weight = self.down_weights[i] if len(self.down_weights) else self.up_weights[i].T
        h = F.linear(h, weight, self.down_biases[i])
        return h if i == 0 else ACTIVATION[self.activations[i - 1]](h)

    def encode(self, pixels: Tensor, noise: float = 0.0) -> Tensor:
        """Pixels [N, C, H, W] -> code [N, d]. `noise`: standard deviation of what is added below the code's layer."""
        h = pixels.flatten(1)  # [N, D]
        for i in range(len(self.up_weights) - 1):
            h = self.up(i, h)
        h = h + noise * torch.randn_like(h) if noise else h
        return self.up(len(self.up_weights) - 1, h)  # [N, d]

    def decode(self, z: Tensor) -> Tensor:
        """Code [N, d] -> pixels [N, C, H, W]."""
        for i in reversed(range(len(self.up_weights))):
            z = self.down(i, z)
        return z.reshape(-1, *self.image_shape)

    def contraction(self, pixels: Tensor) -> Tensor:
        """Squared norm of the Jacobian of the code with respect to the pixels -> [N]."""
        h, slopes = pixels.flatten(1), []
        for i, activation in enumerate(self.activations):
            h = self.up(i, h)
            slopes.append(SLOPE[activation](h))
        return contraction(list(self.up_weights), slopes)


ACTIVATION: dict[str, Callable[[Tensor], Tensor]] = {"linear": lambda a: a, "relu": F.relu, "sigmoid": torch.sigmoid}
SLOPE: dict[str, Callable[[Tensor], Tensor]] = {  # derivative of each, from its output
    "linear": torch.ones_like,
    "relu": lambda h: (h > 0).to(h.dtype),
    "sigmoid": lambda h: h * (1 - h),
}
CODE_RANGE = {"linear": (-inf, inf), "relu": (0.0, inf), "sigmoid": (0.0, 1.0)}


def _orthogonal(rows: int, columns: int) -> Tensor:
    """Initial weights that keep lengths (Saxe et al. 2014). With the book's Glorot a third of a ReLU code dies."""
    return nn.init.orthogonal_(torch.empty(rows, columns))


# ---- Convolutional --------------------------------------------------------------------------------------------------


class Convolutional(nn.Module):
    """The book's stack: 3x3 convolutions with pooling up, stride-2 transposed convolutions down.

    Pooling rounds sizes up (28, 14, 7, 4) where the book rounds down and loses a row: any size can be halved so.
    """

    def __init__(self, model: AutoencoderModel, image_shape: Shape) -> None:
        super().__init__()
        channels, height, width = image_shape
        widths = (channels, *model.hidden)  # 1, 16, 32, 64
        self.activation = ACTIVATION[model.activation]
        self.code_range = CODE_RANGE[model.activation]
        self.ups = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.code = nn.Conv2d(widths[-1], model.latent, 3, padding=1)
        sizes = [(height, width)]
        for _ in model.hidden:
            sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
        first = model.hidden[0] if model.hidden else channels
        self.seed_shape = (first, *sizes[-1])  # 16, 4, 4
        self.seed = nn.Linear(model.latent, prod(self.seed_shape))
        self.downs = nn.ModuleList(  # 16 -> 32 -> 16 -> 1 channels; an even size needs a row and a column more
            nn.ConvTranspose2d(a, b, 3, stride=2, padding=1, output_padding=(1 - size[0] % 2, 1 - size[1] % 2))
            for (a, b), size in zip(pairwise((first, *reversed(widths[:-1]))), reversed(sizes[:-1]), strict=True)
        )
        for layer in (*self.ups, self.code, self.seed, *self.downs):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        if model.activation == "relu" and self.code.bias is not None:
            nn.init.ones_(self.code.bias)  # every unit of the code starts alive, as above

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels [N, C, H, W] -> code [N, d]: the mean of each map of the last layer."""
        h = pixels
        for layer in self.ups:
            h = F.relu(F.max_pool2d(layer(h), 2, ceil_mode=True))  # in this order it is the same, and cheaper
        maps = self.activation(self.code(h))  # [N, 64, 4, 4] -> [N, d, 4, 4]
        return maps.mean((2, 3))

    def decode(self, z: Tensor) -> Tensor:
        """Code [N, d] -> pixels [N, C, H, W]."""
        h: Tensor = self.seed(z).reshape(-1, *self.seed_shape)  # [N, 16, 4, 4]
        for i, layer in enumerate(self.downs):
            h = layer(F.relu(h) if i else h)
        return h


# ---- Recurrent ------------------------------------------------------------------------------------------------------


class Recurrent(nn.Module):
    """LSTMs: the rows of the image, from the top, are the steps of a sequence; all channels of a row make one vector.

    The code is the last output of the encoder; the decoder is given it at every step.
    """

    def __init__(self, model: AutoencoderModel, image_shape: Shape) -> None:
        super().__init__()
        channels, self.height, width = image_shape
        self.row_shape = (channels, width)
        widths = (channels * width, *model.hidden, model.latent)  # 28, 100, 30
        self.code_range = (-1.0, 1.0)  # an LSTM's output is a sigmoid times a tanh
        self.ups = nn.ModuleList(nn.LSTM(a, b, batch_first=True) for a, b in pairwise(widths))
        self.downs = nn.ModuleList(nn.LSTM(a, b, batch_first=True) for a, b in pairwise(reversed(widths[1:])))
        self.row = nn.Linear(widths[1], widths[0])
        for lstm in (*self.ups, *self.downs):
            _keras_lstm(lstm)
        nn.init.xavier_uniform_(self.row.weight)
        nn.init.zeros_(self.row.bias)

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels [N, C, H, W] -> code [N, d]."""
        h = pixels.transpose(1, 2).flatten(2)  # [N, H, C W]
        for lstm in self.ups:
            h, _ = lstm(h)
        return h[:, -1]

    def decode(self, z: Tensor) -> Tensor:
        """Code [N, d] -> pixels [N, C, H, W]."""
        h = z[:, None].expand(-1, self.height, -1)  # [N, H, d]
        for lstm in self.downs:
            h, _ = lstm(h)
        rows: Tensor = self.row(h).reshape(-1, self.height, *self.row_shape)  # [N, H, C, W]
        return rows.transpose(1, 2)


def _keras_lstm(lstm: nn.LSTM) -> None:
    """Keras' initial values, which the book's figures come from; the forget gate starts open (bias 1)."""
    n = lstm.hidden_size
    for name, values in lstm.named_parameters():
        if name.startswith("weight_ih"):
            nn.init.xavier_uniform_(values)  # [4 n, inputs], gates in the order input, forget, cell, output
        elif name.startswith("weight_hh"):
            nn.init.orthogonal_(values)
        else:
            nn.init.zeros_(values)
        if name.startswith("bias_ih"):
            nn.init.ones_(values[n : 2 * n])


# ---- What is minimised ----------------------------------------------------------------------------------------------


def terms(objective: AutoencoderObjective) -> Callable[[Autoencoder, "Batch", int], Terms]:
    """The losses of a step: (net, batch, images shown) -> Terms. "mse" is always among them: squared error of an image,
    mean over its pixels in [0, 1]. Spoiled inputs and hashing noise come from torch's global generator."""

    def losses(net: Autoencoder, batch: "Batch", images: int) -> Terms:
        pixels = (batch.images + 1) / 2
        if objective.greedy_images > 0:
            return _layer_by_layer(net, pixels, images, objective)
        coder = net.coder
        seen = _spoil(pixels, objective)
        h = coder.encode(seen, net.hashing) if isinstance(coder, Dense) else coder.encode(seen)
        per_image = {"mse": squared_error(coder.decode(h), pixels)}
        of_batch: dict[str, Tensor] = {}
        weights = {"mse": 1.0}
        if objective.sparsity == "l1":
            per_image["sparsity"] = sparsity_l1(h)
            weights["sparsity"] = objective.sparsity_weight
        if objective.sparsity == "kl":
            if coder.code_range != (0.0, 1.0):
                raise Problem("autoencoder.kl_needs_sigmoid")
            of_batch["sparsity"] = sparsity_kl(h, objective.sparsity_target)
            weights["sparsity"] = objective.sparsity_weight
        if objective.contractive > 0:
            if not isinstance(coder, Dense):
                raise Problem("autoencoder.dense_only", setting="objective.contractive")
            per_image["contraction"] = coder.contraction(seen)
            weights["contraction"] = objective.contractive
        return Terms(per_image, of_batch, weights)

    return losses


def _spoil(x: Tensor, objective: AutoencoderObjective) -> Tensor:
    """The input of a denoising autoencoder: x with Gaussian noise, or with some of its numbers put to 0.

    Dropout scales the others up, as the book's does, so that the mean stays.
    """
    if objective.noise == "gaussian":
        return x + objective.noise_level * torch.randn_like(x)
    if objective.noise == "dropout":
        return F.dropout(x, objective.noise_level)
    return x


def _layer_by_layer(net: Autoencoder, pixels: Tensor, images: int, objective: AutoencoderObjective) -> Terms:
    """Greedy training: layer i restores what the layers below hand it, each for the same share of `greedy_images`; then
    all layers restore the image. With noise, what a layer is handed is spoiled (Vincent et al. 2010)."""
    coder = net.coder
    if not isinstance(coder, Dense):
        raise Problem("autoencoder.dense_only", setting="objective.greedy-images")
    i = images * len(coder.activations) // objective.greedy_images
    if i >= len(coder.activations):
        mse = squared_error(coder.decode(coder.encode(_spoil(pixels, objective), net.hashing)), pixels)
        return Terms({"layer": mse, "mse": mse.detach()}, {}, {"layer": 1.0})
    x = pixels.flatten(1)  # [N, D]
    with torch.no_grad():
        below = x
        for j in range(i):
            below = coder.up(j, below)
    restored = coder.down(i, coder.up(i, _spoil(below, objective)))
    with torch.no_grad():
        image = restored
        for j in reversed(range(i)):
            image = coder.down(j, image)
    return Terms({"layer": squared_error(restored, below), "mse": squared_error(image, x)}, {}, {"layer": 1.0})


def _check(model: AutoencoderModel) -> None:
    """Refuse settings that do not go together."""
    if model.latent < 1 or any(width < 1 for width in model.hidden):
        raise Problem("autoencoder.widths", hidden=",".join(map(str, model.hidden)), latent=model.latent)
    if model.kind == "recurrent" and not model.hidden:
        raise Problem("autoencoder.recurrent_hidden")
    if model.hashing and model.kind != "dense":
        raise Problem("autoencoder.dense_only", setting="model.hashing")
    if model.tied and model.kind not in ("linear", "dense"):
        raise Problem("autoencoder.dense_only", setting="model.tied")
