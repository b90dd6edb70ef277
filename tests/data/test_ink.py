"""Own pictures in MNIST's form: what must not matter, and what they must be."""

import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from mlp_xp.data._ink import find_ink, paper, prepare_image
from mlp_xp.data.datasets import load_dataset

FONTS = Path(mpl.get_data_path()) / "fonts" / "ttf"


# What the result is.


@pytest.mark.parametrize("digit", "058")
def test_result_is_as_mnist_was_made(digit: str) -> None:
    result = prepare(draw(digit))
    assert (result.shape, result.dtype, result.max()) == ((28, 28), np.uint8, 255)
    rows, columns = np.nonzero(result)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    amounts = result.astype(float)
    centre = [
        np.sum(amounts.sum(axis=1 - axis) * np.arange(28)) / amounts.sum()
        for axis in (0, 1)
    ]
    assert np.all(np.abs(np.array(centre) - 14) <= 0.5)


def test_aspect_ratio_is_kept() -> None:
    image = Image.new("L", (300, 300), 255)
    image.paste(0, (100, 30, 150, 230))
    rows, columns = np.nonzero(prepare(image))
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (20, 5)


def test_ink_that_cannot_be_centred_stays_in_the_picture() -> None:
    # A heavy block with a long thin arm: centred by mass, the arm would stick out.
    image = Image.new("L", (300, 300), 255)
    pen = ImageDraw.Draw(image)
    pen.rectangle((50, 110, 100, 190), fill=0)
    pen.rectangle((100, 148, 249, 152), fill=0)
    result = prepare(image)
    assert np.ptp(np.nonzero(result)[1]) + 1 == 20


# What must not matter.


@pytest.mark.parametrize("digit", "17")
def test_polarity_position_and_size_hardly_matter(digit: str) -> None:
    drawn = draw(digit)
    prepared = prepare(drawn)
    assert largest_difference(prepared, prepare(draw(digit, dark=False))) <= 1
    corner = Image.new("L", (400, 300), 255)
    corner.paste(drawn, (400 - drawn.width, 300 - drawn.height))
    np.testing.assert_array_equal(prepared, prepare(corner))
    enlarged = drawn.resize(
        (7 * drawn.width, 7 * drawn.height), Image.Resampling.NEAREST
    )
    assert likeness(prepared, prepare(enlarged)) > 0.99


def test_colours_hardly_matter() -> None:
    drawn = draw("5")
    coloured = Image.new("RGB", drawn.size, (0, 60, 0))
    coloured.paste((255, 220, 0), mask=drawn.point(lambda value: 255 - value))
    assert largest_difference(prepare(coloured), prepare(drawn)) <= 6


def test_the_dot_on_an_i_is_no_dirt() -> None:
    image = draw("i")
    ink = prepare(image).any(axis=1)
    first, last = np.flatnonzero(ink)[[0, -1]]
    assert last - first + 1 == 20
    assert not ink[first:last].all()


def test_pixels_that_touch_at_a_corner_are_one_piece() -> None:
    """The block at the end of a diagonal is not enlarged to the whole picture."""
    image = np.full((100, 100), 255, np.uint8)
    image[10:30, 10:30] = 0
    image[np.arange(30, 80), np.arange(30, 80)] = 0
    assert np.count_nonzero(prepare(Image.fromarray(image))) < 200


def test_enlarged_or_photographed_digits_of_mnist_are_the_same_again(
    random: np.random.Generator,
) -> None:
    for original in load_dataset("mnist").test.inputs[:12]:
        enlarged = Image.fromarray(255 - original).resize(
            (196, 196), Image.Resampling.BICUBIC
        )
        for image in (
            enlarged,
            photo(Image.fromarray(255 - np.pad(original, 6)), random),
        ):
            assert likeness(prepare(image), original) > 0.85


# The parts.


def test_paper_is_a_quadratic_known_from_its_border_alone() -> None:
    y, x = np.meshgrid(np.linspace(-1, 1, 90), np.linspace(-1, 1, 120), indexing="ij")
    light = 0.6 + 0.1 * x - 0.2 * y + 0.05 * x * y - 0.1 * x**2 + 0.05 * y**2
    seen = light.copy()
    seen[20:70, 30:90] = 0.1
    np.testing.assert_allclose(paper(seen), light, rtol=0, atol=1e-9)
    # Ink that reaches the border in one place: least squares would be off by 0.15
    # there.
    seen[:20, 40:60] = 0.1
    np.testing.assert_allclose(paper(seen), light, rtol=0, atol=0.01)


# What is refused.


def test_blank(random: np.random.Generator) -> None:
    for shape in ((1, 1), (1, 300), (50, 50, 3)):
        assert prepare_image(np.full(shape, 255, np.uint8)) is None
    y, x = np.meshgrid(np.linspace(-1, 1, 200), np.linspace(-1, 1, 300), indexing="ij")
    assert (
        find_ink(0.6 + 0.2 * x - 0.1 * y**2 + random.normal(0, 0.02, x.shape)) is None
    )


# Pictures of digits, and photographs of them.


def prepare(picture: Image.Image) -> np.ndarray:
    prepared = prepare_image(np.asarray(picture))
    assert prepared is not None
    return prepared


def draw(
    digit: str,
    face: str = "DejaVuSans",
    height: int = 100,
    margin: float = 0.3,
    dark: bool = True,
) -> Image.Image:
    """A digit, black on white or white on black.

    Its margin is in multiples of the type size.
    """
    font = ImageFont.truetype(FONTS / f"{face}.ttf", height)
    left, top, right, bottom = font.getbbox(digit)
    edge = int(margin * height)
    image = Image.new(
        "L",
        (int(right - left) + 2 * edge, int(bottom - top) + 2 * edge),
        255 if dark else 0,
    )
    ImageDraw.Draw(image).text(
        (edge - left, edge - top), digit, fill=0 if dark else 255, font=font
    )
    return image


def photo(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """A drawing as a camera sees it.

    Grey ink, a lamp from one side, dark corners, noise, specks, JPEG.
    """
    grey = (
        np.asarray(
            image.resize(
                (500, round(500 * image.height / image.width)), Image.Resampling.BICUBIC
            )
        )
        / 255
    )
    y, x = np.meshgrid(
        np.linspace(-1, 1, grey.shape[0]),
        np.linspace(-1, 1, grey.shape[1]),
        indexing="ij",
    )
    angle = random.uniform(0, 2 * np.pi)
    seen = (0.3 + 0.7 * grey) * (
        0.75 + 0.15 * (np.cos(angle) * x + np.sin(angle) * y) - 0.1 * (x**2 + y**2)
    )
    for row, column in random.integers(0, min(grey.shape) - 4, (5, 2)):
        seen[row : row + 3, column : column + 3] *= 0.4
    seen += random.normal(0, 0.02, seen.shape)
    file = io.BytesIO()
    Image.fromarray(np.uint8(np.clip(seen, 0, 1) * 255)).save(file, "JPEG", quality=70)
    return Image.open(file)


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """The correlation of two results.

    A centre of mass half-way between pixels may be moved to either.
    """
    moved = (np.roll(b, (i, j), axis=(0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1))
    return max(float(np.corrcoef(a.ravel(), each.ravel())[0, 1]) for each in moved)


def largest_difference(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())
