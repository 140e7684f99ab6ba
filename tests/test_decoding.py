"""Every kind of bad or odd file, made here, one by one."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from latente.data.decoding import Fault, Settings, decode, fit_block, strict_pillow

PLAIN = Settings(None, "auto", "lanczos")
GREY, RGB, RGBA = (PLAIN._replace(channels=channels) for channels in ("grey", "rgb", "rgba"))


@pytest.fixture(autouse=True)
def strict():
    with strict_pillow():
        yield


def random_pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def saved(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def colour_image(size=(12, 12), mode="RGB"):
    bands = len(Image.new(mode, (1, 1)).getbands())
    return (
        Image.fromarray(random_pixels(size[1], size[0], bands), mode if mode != "CMYK" else None)
        if bands == 3
        else (Image.merge(mode, [Image.fromarray(random_pixels(size[1], size[0], seed=band)) for band in range(bands)]))
    )


def fault_of(data, name="x.png", wanted=PLAIN):
    with pytest.raises(Fault) as caught:
        decode(data, name, wanted)
    return caught.value.code


# What is left out


def test_zero_bytes():
    assert fault_of(b"") == "empty"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated(kind, share):
    whole = saved(colour_image((64, 64)), kind)
    assert fault_of(whole[: int(len(whole) * share)], "x." + kind.lower()) == "damaged"


def test_signature_alone():
    assert fault_of(b"\x89PNG\r\n\x1a\n") == "damaged"


@pytest.mark.parametrize(
    "content", [b"hello, I am a text\n" * 9, b"\0" * 500, b"<svg xmlns='...'></svg>", b"%PDF-1.4\n"]
)
def test_not_an_image_under_an_images_name(content):
    assert fault_of(content) == "not_an_image"


def test_flipped_bytes_inside_a_png_are_found():
    data = bytearray(saved(colour_image((32, 32))))
    data[len(data) // 2] ^= 0xFF
    assert fault_of(bytes(data)) == "damaged"


def bomb(width, height):
    """A PNG of few bytes that says it is huge, with valid checksums."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_decompression_bomb(side):
    assert fault_of(bomb(side, side)) == "bomb"


def test_empty_image_of_no_pixels():
    assert fault_of(bomb(0, 10)) in ("damaged", "not_an_image")


@pytest.mark.parametrize("array", [np.zeros((8, 8), np.float32), np.zeros((8, 8), np.int32)])
def test_pixels_of_unknown_range(array):
    assert fault_of(saved(Image.fromarray(array), "TIFF"), "x.tif") == "depth"


@settings(max_examples=60, deadline=None)
@given(data=st.binary(min_size=1, max_size=400), kind=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]))
def test_garbage_is_a_picture_or_a_fault_but_no_crash(data, kind):
    whole = bytearray(saved(colour_image((9, 9)), kind))
    middle = len(whole) // 3
    whole[middle : middle + len(data)] = data
    for candidate in (data, bytes(whole)):
        try:
            picture = decode(candidate, "x.png", PLAIN)
            assert picture.pixels.dtype == np.uint8
        except Fault as fault:
            assert fault.code in ("damaged", "not_an_image", "bomb", "depth")


# What is converted


def test_plain_colour_is_unchanged():
    array = random_pixels(6, 9, 3)
    picture = decode(saved(Image.fromarray(array)), "x.png", PLAIN)
    assert np.array_equal(picture.pixels, array.transpose(2, 0, 1))
    assert (picture.size, picture.mode, picture.format, picture.changes) == ((9, 6), "RGB", "PNG", ())


def test_plain_grey_is_one_channel():
    array = random_pixels(6, 9)
    assert np.array_equal(decode(saved(Image.fromarray(array)), "x.png", PLAIN).pixels, array[None])


def test_colourless_rgb_is_one_channel_unless_colour_is_asked_for():
    array = random_pixels(6, 9)
    data = saved(Image.fromarray(np.stack([array] * 3, 2)))
    assert np.array_equal(decode(data, "x.png", PLAIN).pixels, array[None])
    assert np.array_equal(decode(data, "x.png", RGB).pixels, np.stack([array] * 3))


def test_wrong_extension_is_read_by_content():
    picture = decode(saved(colour_image(), "JPEG"), "x.png", PLAIN)
    assert picture.format == "JPEG" and picture.changes == ("wrong_extension",)


@pytest.mark.parametrize("name", ["x.jpg", "x.JPEG", "x.jpe", "x.jfif"])
def test_right_extension(name):
    assert decode(saved(colour_image(), "JPEG"), name, PLAIN).changes == ()


def test_cmyk():
    picture = decode(saved(colour_image(mode="CMYK"), "TIFF"), "x.tif", PLAIN)
    assert picture.pixels.shape == (3, 12, 12) and picture.changes == ("cmyk",)
    c, m, y, k = (random_pixels(12, 12, seed=band).astype(int) for band in range(4))
    expected = np.stack([(255 - ink) * (255 - k) / 255 for ink in (c, m, y)])
    assert np.abs(picture.pixels - expected).max() <= 1.01


def test_sixteen_bit_grey_takes_the_upper_bytes():
    array = np.random.default_rng(0).integers(0, 65536, (8, 8), dtype=np.uint16)
    picture = decode(saved(Image.fromarray(array)), "x.png", PLAIN)
    assert np.array_equal(picture.pixels[0], array >> 8) and picture.changes == ("16_bit",)


def test_sixteen_bit_big_endian_tiff():
    array = np.random.default_rng(0).integers(0, 65536, (8, 8), dtype=np.uint16)
    image = Image.frombytes("I;16B", (8, 8), array.astype(">u2").tobytes())
    assert np.array_equal(decode(saved(image, "TIFF"), "x.tif", PLAIN).pixels[0], array >> 8)


def test_sixteen_bit_colour_is_noticed():
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    array = np.random.default_rng(0).integers(0, 65536, (4, 4, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    picture = decode(data, "x.png", PLAIN)
    assert "16_bit" in picture.changes
    assert np.array_equal(picture.pixels, (array >> 8).transpose(2, 0, 1))


def test_palette():
    image = Image.fromarray(random_pixels(8, 8, 3)).quantize(16)
    picture = decode(saved(image), "x.png", PLAIN)
    assert picture.changes == ("palette",)
    assert np.array_equal(picture.pixels, np.asarray(image.convert("RGB")).transpose(2, 0, 1))


def test_palette_with_transparency_is_laid_on_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    picture = decode(saved(image, transparency=0), "x.png", PLAIN)
    assert picture.changes == ("palette", "transparency")
    assert picture.pixels[:, 0].T.tolist() == [[255, 255, 255], [40, 50, 60]]


def test_transparency_is_laid_on_white_or_kept():
    image = Image.new("RGBA", (3, 1))
    image.putdata([(200, 0, 0, 255), (0, 100, 0, 0), (0, 0, 100, 51)])
    flat = decode(saved(image), "x.png", PLAIN)
    assert flat.changes == ("transparency",)
    assert flat.pixels[:, 0].T.tolist() == [[200, 0, 0], [255, 255, 255], [204, 204, 224]]
    kept = decode(saved(image), "x.png", RGBA)
    assert kept.pixels[:, 0].T.tolist() == [[200, 0, 0, 255], [255, 255, 255, 0], [0, 0, 100, 51]]


def test_opaque_image_gets_an_alpha_channel_when_asked():
    assert (decode(saved(colour_image()), "x.png", RGBA).pixels[3] == 255).all()


def test_transparent_colour_of_an_rgb_png():
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (9, 8, 7))
    picture = decode(saved(image, transparency=(1, 2, 3)), "x.png", PLAIN)
    assert picture.pixels[:, 0].T.tolist() == [[255, 255, 255], [9, 8, 7]]


def test_grey_with_alpha():
    image = Image.new("LA", (2, 1))
    image.putdata([(100, 255), (100, 0)])
    picture = decode(saved(image), "x.png", PLAIN)
    assert picture.changes == ("grey_alpha", "transparency")
    assert picture.pixels.tolist() == [[[100, 255]]]


def test_one_bit():
    picture = decode(saved(Image.fromarray(random_pixels(8, 8) > 127)), "x.png", PLAIN)
    assert picture.changes == ("bilevel",) and set(np.unique(picture.pixels)) == {0, 255}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_exif_rotation(orientation, kind):
    upright = random_pixels(4, 6, 3)
    undo = {  # what the camera did to an upright picture, by the EXIF standard's table
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(np.ascontiguousarray(undo[orientation](upright))), kind, exif=exif)
    picture = decode(data, "x." + kind.lower(), PLAIN)
    assert np.array_equal(picture.pixels, upright.transpose(2, 0, 1))
    assert picture.size == (6, 4)
    assert picture.changes == (() if orientation == 1 else ("rotated",))
    assert decode(data, "x.png", PLAIN, size_only=True).size == (6, 4)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animated_gives_the_first_frame(kind):
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(first, kind, save_all=True, append_images=[second], **options)
    picture = decode(data, "x." + kind.lower(), PLAIN)
    assert "animated" in picture.changes
    assert picture.pixels[:, 3, 3].tolist() == [255, 0, 0]


def test_grey_on_request_uses_the_usual_weights():
    array = random_pixels(8, 8, 3)
    picture = decode(saved(Image.fromarray(array)), "x.png", GREY)
    assert picture.changes == ("colour_to_grey",)
    assert np.abs(picture.pixels[0] - array @ [0.299, 0.587, 0.114]).max() <= 0.51


# Size


def test_centre_square():
    array = random_pixels(5, 9, 3)
    picture = decode(saved(Image.fromarray(array)), "x.png", PLAIN._replace(resolution=5))
    assert np.array_equal(picture.pixels, array[:, 2:7].transpose(2, 0, 1)) and picture.changes == ("cropped",)


def test_pixels_outside_the_square_have_no_influence():
    array = random_pixels(16, 40, 3)
    other = array.copy()
    other[:, :12] = other[:, 28:] = 0
    wanted = PLAIN._replace(resolution=8)
    one, two = (decode(saved(Image.fromarray(a)), "x.png", wanted).pixels for a in (array, other))
    assert np.array_equal(one, two)


def test_box_filter_averages():
    array = random_pixels(8, 8)
    picture = decode(saved(Image.fromarray(array)), "x.png", PLAIN._replace(resolution=4, filter="box"))
    expected = array.reshape(4, 2, 4, 2).mean((1, 3))
    assert np.abs(picture.pixels[0] - expected).max() <= 1  # rounded after each axis


@pytest.mark.parametrize("filter", ["lanczos", "bicubic", "bilinear", "box"])
def test_every_filter_is_antialiased(filter):
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255  # finer than the target can show: grey, not stripes of their own
    picture = decode(saved(Image.fromarray(stripes)), "x.png", PLAIN._replace(resolution=8, filter=filter))
    assert np.ptp(picture.pixels[0, :, 1:-1]) <= 12 and abs(picture.pixels.mean() - 127) < 4


def test_enlarging_is_noted():
    assert "enlarged" in decode(saved(colour_image((4, 4))), "x.png", PLAIN._replace(resolution=8)).changes


def test_colour_under_full_transparency_does_not_bleed_when_resized():
    image = Image.new("RGBA", (8, 8), (0, 255, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 4, 8))
    pixels = decode(saved(image), "x.png", RGBA._replace(resolution=4)).pixels
    assert pixels[1].max() == 255 and pixels[1][pixels[3] > 0].max() == 0


# Arrays follow the same rules


@pytest.mark.parametrize("bands", [1, 3, 4])
@pytest.mark.parametrize("channels", ["auto", "grey", "rgb", "rgba"])
@pytest.mark.parametrize("resolution", [None, 5])
def test_an_array_gives_what_the_same_images_in_files_give(bands, channels, resolution):
    block = random_pixels(3, 8, 10, bands, seed=5)
    wanted = Settings(resolution, channels, "lanczos")
    files = [
        decode(saved(Image.fromarray(row[..., 0] if bands == 1 else row)), "x.png", wanted).pixels for row in block
    ]
    assert np.array_equal(fit_block(block, wanted), np.stack(files))
