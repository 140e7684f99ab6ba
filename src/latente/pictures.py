"""Images side by side as one PNG."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_PAPER = 255


def to_pixels(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """[-1, 1] -> uint8, same shape."""
    pixels: NDArray[np.uint8] = np.clip(np.rint((images + 1) * 127.5), 0, 255).astype(np.uint8)
    return pixels


def grid(images: NDArray[np.uint8], columns: int, gap: int = 2) -> Image.Image:
    """uint8 [N, C, H, W] -> one picture, row by row on white; small images are enlarged by a whole number.

    One channel is grey, three are RGB, four are RGBA (shown on white).
    """
    n, channels, height, width = images.shape
    scale = max(1, 64 // max(height, width))
    images = images.repeat(scale, axis=2).repeat(scale, axis=3)
    height, width = height * scale, width * scale
    rows = -(-n // columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), _PAPER, np.uint8)
    for i, image in enumerate(images):
        top, left = gap + i // columns * (height + gap), gap + i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = _rgb(image)
    return Image.fromarray(sheet)


def _rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[C, H, W] -> [H, W, 3]."""
    pixels = image.transpose(1, 2, 0)
    if len(image) == 4:
        alpha = pixels[..., 3:].astype(np.uint16)
        return ((pixels[..., :3] * alpha + _PAPER * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3)) if len(image) == 1 else pixels


def on_white(image: NDArray[np.uint8]) -> Image.Image:
    """uint8 [C, H, W] of one, three or four channels -> RGB, transparency on white."""
    return Image.fromarray(np.ascontiguousarray(_rgb(image)))


def save(picture: Image.Image, path: Path) -> None:
    """Write a picture, in the format that the name's ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, optimize=True)


def single(image: NDArray[np.uint8]) -> Image.Image:
    """uint8 [C, H, W] as it is, transparency kept."""
    return Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
