"""Pictures: levels, order, enlargement, transparency, files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latente import pictures


def test_levels_go_there_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8)
    assert (pictures.to_pixels(levels.astype(np.float32) / 127.5 - 1) == levels).all()
    assert pictures.to_pixels(np.array([-3, -1, 0, 1, 7], np.float32)).tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_holds_its_images_row_by_row(channels: int) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, channels, 70, 66), np.uint8)  # too large to be enlarged
    sheet = np.asarray(pictures.grid(images, columns=3, gap=2))
    assert sheet.shape == (2 * 72 + 2, 3 * 68 + 2, 3)
    expected = np.full(sheet.shape, 255, np.uint8)
    for i in range(5):
        top, left = 2 + i // 3 * 72, 2 + i % 3 * 68
        expected[top : top + 70, left : left + 66] = images[i].transpose(1, 2, 0)  # one channel becomes three
    assert (sheet == expected).all()


def test_small_images_are_enlarged_by_a_whole_number() -> None:
    image = np.arange(16 * 12, dtype=np.uint8).reshape(1, 1, 16, 12)
    sheet = np.asarray(pictures.grid(image, columns=1, gap=0))
    assert sheet.shape == (64, 48, 3)
    assert (sheet[::4, ::4, 0] == image[0, 0]).all() and (sheet[3::4, 3::4, 2] == image[0, 0]).all()


def test_transparency_is_shown_on_white() -> None:
    image = np.zeros((1, 4, 1, 3), np.uint8)
    image[0, :3] = np.array([[255, 255, 255], [0, 0, 0], [0, 0, 0]])[:, None]  # red
    image[0, 3] = [0, 128, 255]
    picture = pictures.grid(image, columns=1, gap=0)
    colours = [picture.getpixel((x, 0)) for x in (0, 21, 42)]  # enlarged 21 times
    assert colours == [(255, 255, 255), (255, 127, 127), (255, 0, 0)]


def test_a_picture_is_written_and_read_back(tmp_path: Path) -> None:
    picture = pictures.grid(np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), np.uint8), columns=2)
    pictures.save(picture, tmp_path / "deep" / "x.png")
    with Image.open(tmp_path / "deep" / "x.png") as again:
        assert again.format == "PNG" and again.mode == "RGB"
        assert (np.asarray(again) == np.asarray(picture)).all()
