"""Latents from the prior, and their images."""

import numpy as np
import torch
from numpy.typing import NDArray

from latente.messages import Problem
from latente.models import StyleDecoder, decoder_of
from latente.pictures import to_pixels
from latente.run import Run

_AT_ONCE = 256  # images decoded together


def sample(
    run: Run,
    n: int,
    seed: int = 0,
    label: int | None = None,
    checkpoint: int | None = None,
    truncation: float | None = None,
    cutoff: int | None = None,
) -> NDArray[np.uint8]:
    """`n` new images, uint8 [n, C, H, W], from the newest checkpoint or the one at `checkpoint` images shown.

    The same seed gives the same images. A conditional model makes images of class `label`, or of every class in turn.
    `truncation` draws the styles of the first `cutoff` layers (None: of all) to their mean, by 1 not, by 0 wholly.
    """
    config, classes = run.config, run.dataset["classes"]
    if decoder_of(config) is None or run.dataset.get("kind") == "points":
        raise Problem("run.no_images", folder=run.folder)
    conditional = getattr(config.model, "conditional", False)
    if label is not None and not conditional:
        raise Problem("run.not_conditional", folder=run.folder)
    if label is not None and not 0 <= label < len(classes):
        raise Problem("run.no_such_label", label=label, last=len(classes) - 1)
    if checkpoint is not None and checkpoint not in run.checkpoints():
        known = ", ".join(str(clock) for clock in run.checkpoints())
        raise Problem("run.no_such_checkpoint", folder=run.folder, given=checkpoint, known=known)
    net = run.network(checkpoint)
    if (truncation is not None or cutoff is not None) and not isinstance(net, StyleDecoder):
        raise Problem("explore.no_styles", what="--truncation", folder=run.folder, family=config.model.family)
    if cutoff is not None and (truncation is None or not 1 <= cutoff <= net.layers):
        raise Problem("run.cutoff", given=cutoff, layers=net.layers)
    styles = {} if truncation is None else {"psi": truncation, "cutoff": cutoff}
    z = net.prior(n, torch.Generator().manual_seed(seed))  # [n, d]
    labels = torch.full((n,), label) if label is not None else torch.arange(n) % len(classes) if conditional else None
    images = []
    with torch.no_grad():
        for start in range(0, n, _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            images.append(to_pixels(net.decode(z[part], None if labels is None else labels[part], **styles).numpy()))
    return np.concatenate(images)
