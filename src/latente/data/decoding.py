"""The bytes of one image file -> uint8 pixels, or the reason why not.

Whatever a file holds (16 bits, a palette, CMYK, transparency, a rotation in its EXIF, several frames) becomes 8-bit
grey, RGB or RGBA; what was done to it is returned as codes, each with its sentence under ``data.did_CODE``. A file that
cannot be used raises `Fault` with a code whose sentence is ``data.bad_CODE``.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

# Only ordinary pictures: Pillow also knows formats that start other programs (EPS) or have no signature (TGA).
_FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "ICO", "AVIF", "JPEG2000")
_EXTENSIONS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".mpo": "JPEG", ".png": "PNG", ".apng": "PNG",
    ".gif": "GIF", ".bmp": "BMP", ".dib": "BMP", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF", ".ppm": "PPM",
    ".pgm": "PPM", ".pbm": "PPM", ".pnm": "PPM", ".ico": "ICO", ".avif": "AVIF", ".jp2": "JPEG2000", ".j2k": "JPEG2000",
}  # fmt: skip
_SAME_FORMAT = {"MPO": "JPEG", "DIB": "BMP"}
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ")
SNIFF = 16  # bytes that tell whether a file is an image
LARGEST_FILE = 1 << 29  # bytes in one image file: more is not a picture, and would fill the memory
_ORIENTATION = 0x0112  # EXIF tag
_GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N", "I")
_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")

Channels = Literal["auto", "grey", "rgb", "rgba"]


class Settings(NamedTuple):
    """How images are brought to one size and one kind of pixel."""

    resolution: int | None  # pixels a side; None: as they are
    channels: Channels
    filter: str  # Pillow's name, lower case


class Picture(NamedTuple):
    """A decoded image and what had to be done to it."""

    pixels: NDArray[np.uint8] | None  # [C, H, W]; None when only the size was asked for
    size: tuple[int, int]  # width, height in the file, upright
    mode: str  # Pillow's name
    format: str
    changes: tuple[str, ...]


class Fault(Exception):
    """A file that cannot be used; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def named_as_image(name: str) -> bool:
    """Whether a file's name says that it is an image."""
    return PurePosixPath(name).suffix.lower() in _EXTENSIONS


def looks_like_image(start: bytes) -> bool:
    """Whether the first `SNIFF` bytes are those of a common image format."""
    return start.startswith(_SIGNATURES) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")


@contextmanager
def strict_pillow() -> Iterator[None]:
    """A decompression bomb is an error, other remarks of Pillow's (odd EXIF) are not worth a line.

    Entered once around a whole pass: the filters of `warnings` belong to the process, not to a thread.
    """
    Image.init()  # loads the plugins, which is not safe to do in several threads at once
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def decode(data: bytes, name: str, settings: Settings, *, size_only: bool = False) -> Picture:
    """Decode one file.

    Args:
        data: the whole file.
        name: its name, only to see whether the extension tells the truth.
        settings: size and channels wished for. `channels="auto"` gives [1, H, W] for an image without colour, whatever
            its mode, and [3, H, W] otherwise.
        size_only: do not decode the pixels.

    Raises:
        Fault: with the code `empty`, `not_an_image`, `damaged`, `bomb` or `depth`.
    """
    if not data:
        raise Fault("empty")
    try:
        with Image.open(io.BytesIO(data), formats=[f for f in _FORMATS if f in Image.OPEN]) as image:
            return _picture(image, name, settings, size_only)
    except Fault:
        raise
    except UnidentifiedImageError:
        raise Fault("damaged" if looks_like_image(data[:SNIFF]) else "not_an_image") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Fault("bomb") from None
    except Exception:  # a damaged file can make Pillow's decoders raise almost anything
        raise Fault("damaged") from None


def _picture(image: Image.Image, name: str, settings: Settings, size_only: bool) -> Picture:
    changes = []
    kind = _SAME_FORMAT.get(image.format or "", image.format or "")
    if _EXTENSIONS.get(PurePosixPath(name).suffix.lower()) != kind:
        changes.append("wrong_extension")
    if size_only and kind != "TIFF":  # a TIFF's size is only sure once it has been turned
        orientation = image.getexif().get(_ORIENTATION, 1) if "exif" in image.info else 1
        return Picture(None, image.size[::-1] if orientation in (5, 6, 7, 8) else image.size, image.mode, kind, ())
    sixteen = _sixteen_bits(image)
    turned = image.getexif().get(_ORIENTATION, 1) != 1  # this may already decode a PNG
    if kind != "JPEG" and getattr(image, "is_animated", False):
        changes.append("animated")
        image.seek(0)
    mode = image.mode
    image.load()  # this turns a TIFF
    if turned:
        changes.append("rotated")
        ImageOps.exif_transpose(image, in_place=True)
    size = image.size
    plain = _eight_bits(image, mode, sixteen, settings.channels, changes)
    plain = _fitted(plain, settings, changes)
    return Picture(_pixels(plain, mode, settings.channels, changes), size, mode, kind, tuple(changes))


def _sixteen_bits(image: Image.Image) -> bool:
    """Pillow reads 16-bit colour as 8-bit RGB; only the decoder's arguments, gone after load(), show it."""
    arguments = [tile[3] for tile in getattr(image, "tile", [])]
    return any(";16" in str(argument) for argument in arguments)


def _eight_bits(image: Image.Image, mode: str, sixteen: bool, channels: Channels, changes: list[str]) -> Image.Image:
    """Any mode -> L, RGB, or RGBA (the last only if `channels` asks for it)."""
    if sixteen or mode.startswith("I"):
        changes.append("16_bit")
    if mode.startswith("I"):
        if mode == "I" and image.format != "PNG":  # 32-bit TIFF: its range is anybody's guess
            raise Fault("depth")
        high = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
        image = Image.fromarray(high)  # L
    elif mode == "F":
        raise Fault("depth")
    elif mode in ("P", "PA"):
        changes.append("palette")
    elif mode == "1":
        changes.append("bilevel")
    elif mode in ("LA", "La"):
        changes.append("grey_alpha")
    elif mode not in ("L", "RGB", "RGBA", "RGBa"):
        changes.append("cmyk" if mode == "CMYK" else "other_mode")
    if channels == "rgba":
        return image.convert("RGBA")
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        image = _on_white(image.convert("RGBA"), changes)
    if channels == "grey":
        if mode not in _GREY_MODES:
            changes.append("colour_to_grey")
        return image.convert("L")
    return image.convert("L" if image.mode in ("1", "L") and channels == "auto" else "RGB")


def _on_white(image: Image.Image, changes: list[str]) -> Image.Image:
    lowest, _ = image.getchannel("A").getextrema()
    if lowest == 255:
        return image.convert("RGB")
    changes.append("transparency")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _fitted(image: Image.Image, settings: Settings, changes: list[str]) -> Image.Image:
    """The centre square, resized with an antialiased filter."""
    if settings.resolution is None:
        return image
    width, height = image.size
    side = min(width, height)
    if width != height:
        changes.append("cropped")
        left, top = (width - side) // 2, (height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if side == settings.resolution:
        return image
    if side < settings.resolution:
        changes.append("enlarged")
    return image.resize((settings.resolution, settings.resolution), Image.Resampling[settings.filter.upper()])


def _pixels(image: Image.Image, mode: str, channels: Channels, changes: list[str]) -> NDArray[np.uint8]:
    """[C, H, W]; with `channels="auto"` C is 1 if there is no colour in the pixels."""
    array: NDArray[np.uint8] = np.asarray(image)
    if array.ndim == 2:
        return array[None]
    if channels == "auto" and not is_coloured(array):
        return array[None, :, :, 0]
    if channels == "rgba":
        array = array.copy()
        array[array[..., 3] == 0, :3] = 255  # what an editor left under full transparency is not part of the picture
    if mode in _GREY_MODES and channels != "rgba":
        changes.append("grey_to_colour")
    return np.ascontiguousarray(array.transpose(2, 0, 1))


def is_coloured(pixels: NDArray[np.uint8]) -> bool:
    """Whether any pixel of [..., 3] is not grey."""
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    return bool((red != green).any() or (green != blue).any())


def fit_block(block: NDArray[np.uint8], settings: Settings) -> NDArray[np.uint8]:
    """Images that came as an array, [n, H, W, C] with C of 1, 3 or 4 -> [n, C', H', W'], by the same rules as files."""
    count, height, width, bands = block.shape
    resize = settings.resolution is not None and (height, width) != (settings.resolution,) * 2
    if resize or bands == 4 or (settings.channels == "grey" and bands == 3) or settings.channels == "rgba":
        rows = [_fit_row(row, settings) for row in block]
        block = np.stack(rows) if rows else block
    elif settings.channels == "rgb" and bands == 1:
        block = np.repeat(block, 3, axis=3)
    if settings.channels == "auto" and block.shape[3] == 3 and not is_coloured(block):
        block = block[..., :1]
    return np.ascontiguousarray(block.transpose(0, 3, 1, 2))  # [n, C', H', W']


def _fit_row(row: NDArray[np.uint8], settings: Settings) -> NDArray[np.uint8]:
    image = Image.fromarray(row[..., 0] if row.shape[2] == 1 else row)
    plain = _fitted(_eight_bits(image, image.mode, False, settings.channels, []), settings, [])
    fixed = settings._replace(channels="rgb") if settings.channels == "auto" else settings  # C must not vary in a block
    return _pixels(plain, image.mode, fixed.channels, []).transpose(1, 2, 0)  # [H', W', C']
