"""Own pictures brought to MNIST's form: what must not matter, what the result must be, and what is refused."""

import io
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from mlp_xp.api import train
from mlp_xp.backend import open_backend
from mlp_xp.data.datasets import load_dataset
from mlp_xp.data.pictures import PictureError, find_ink, label, otsu, paper, prepare_picture, read_pictures
from mlp_xp.errors import MlpXpError
from mlp_xp.metrics import predict
from mlp_xp.runs.settings import RECIPES

FONTS = Path(mpl.get_data_path()) / "fonts" / "ttf"
# Every face for text that matplotlib brings with the digits 0 to 9; not its symbol faces, which have other signs there.
FACES = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
    *(f"cm{style}10" for style in ("r", "b", "ss", "ti", "tt")),
)
DIGITS = "0123456789"


def draw(
    digit: str, face: str = "DejaVuSans", height: int = 100, margin: float = 0.3, dark: bool = True
) -> Image.Image:
    """A digit, black on white or white on black, with a margin in multiples of the type size."""
    font = ImageFont.truetype(FONTS / f"{face}.ttf", height)
    left, top, right, bottom = font.getbbox(digit)
    edge = int(margin * height)
    image = Image.new("L", (int(right - left) + 2 * edge, int(bottom - top) + 2 * edge), 255 if dark else 0)
    ImageDraw.Draw(image).text((edge - left, edge - top), digit, fill=0 if dark else 255, font=font)
    return image


def inked(image: Image.Image, mode: str, ink, background=None) -> Image.Image:
    """A black on white drawing again, in other colours: `ink` through the drawing as a mask."""
    mask = image.point(lambda value: 255 - value)
    result = Image.new(mode, image.size, background)
    result.paste(Image.new(mode, image.size, ink), mask=mask)
    return result


def photo(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """A drawing as a camera sees it: grey ink, a lamp from one side, dark corners, noise, specks, JPEG."""
    grey = np.asarray(image.resize((500, round(500 * image.height / image.width)), Image.Resampling.BICUBIC)) / 255
    y, x = np.meshgrid(np.linspace(-1, 1, grey.shape[0]), np.linspace(-1, 1, grey.shape[1]), indexing="ij")
    angle = random.uniform(0, 2 * np.pi)
    seen = (0.3 + 0.7 * grey) * (0.75 + 0.15 * (np.cos(angle) * x + np.sin(angle) * y) - 0.1 * (x**2 + y**2))
    for row, column in random.integers(0, min(grey.shape) - 4, (5, 2)):
        seen[row : row + 3, column : column + 3] *= 0.4
    seen += random.normal(0, 0.02, seen.shape)
    file = io.BytesIO()
    Image.fromarray(np.uint8(np.clip(seen, 0, 1) * 255)).save(file, "JPEG", quality=70)
    return Image.open(file)


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """The correlation of two results; a centre of mass half-way between pixels may be moved to either."""
    moved = (np.roll(b, (i, j), axis=(0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1))
    return max(float(np.corrcoef(a.ravel(), each.ravel())[0, 1]) for each in moved)


def largest_difference(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


# What the result is.


@pytest.mark.parametrize("digit", DIGITS)
def test_result_is_as_mnist_was_made(digit: str) -> None:
    result = prepare_picture(draw(digit))
    assert result.shape == (28, 28)
    assert result.dtype == np.uint8
    assert result.max() == 255
    rows, columns = np.nonzero(result)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    amounts = result.astype(float)
    centre = [np.sum(amounts.sum(axis=1 - axis) * np.arange(28)) / amounts.sum() for axis in (0, 1)]
    assert np.all(np.abs(np.array(centre) - 14) <= 0.5)


def test_mnist_has_its_centre_of_mass_where_this_file_says(mnist_dir: Path) -> None:
    images = load_dataset(mnist_dir).test_images.astype(float)
    for axis in (1, 2):
        centres = images.sum(axis=3 - axis) @ np.arange(28) / images.sum(axis=(1, 2))
        assert np.all(np.abs(centres - 14) <= 0.5)


def test_aspect_ratio_is_kept() -> None:
    image = Image.new("L", (300, 300), 255)
    ImageDraw.Draw(image).rectangle((100, 30, 149, 229), fill=0)
    result = prepare_picture(image)
    rows, columns = np.nonzero(result)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (20, 5)


def test_ink_that_cannot_be_centred_stays_in_the_picture() -> None:
    # A heavy block with a long thin arm: centred by mass, the arm would stick out.
    image = Image.new("L", (300, 300), 255)
    pen = ImageDraw.Draw(image)
    pen.rectangle((50, 110, 100, 190), fill=0)
    pen.rectangle((100, 148, 249, 152), fill=0)
    result = prepare_picture(image, size=20, fitted=20)
    assert np.ptp(np.nonzero(result)[1]) + 1 == 20


def test_other_sizes() -> None:
    result = prepare_picture(draw("3", height=300), size=56, fitted=40)
    rows, columns = np.nonzero(result)
    assert result.shape == (56, 56)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 40
    with pytest.raises(PictureError, match="fitted: 29 pixels"):
        prepare_picture(draw("3"), fitted=29)


# What must not matter.


@pytest.mark.parametrize("digit", DIGITS)
def test_polarity_does_not_matter(digit: str) -> None:
    assert largest_difference(prepare_picture(draw(digit)), prepare_picture(draw(digit, dark=False))) <= 1


@pytest.mark.parametrize("digit", DIGITS)
def test_position_does_not_matter(digit: str) -> None:
    drawn = draw(digit)
    corner = Image.new("L", (400, 300), 255)
    corner.paste(drawn, (400 - drawn.width, 300 - drawn.height))
    assert np.array_equal(prepare_picture(drawn), prepare_picture(corner))


@pytest.mark.parametrize("factor", [2, 3, 11])
def test_size_hardly_matters(factor: int) -> None:
    # The same drawing with larger pixels: type of another size has another shape.
    for digit in DIGITS:
        drawn = draw(digit)
        enlarged = drawn.resize((factor * drawn.width, factor * drawn.height), Image.Resampling.NEAREST)
        assert likeness(prepare_picture(drawn), prepare_picture(enlarged)) > 0.99


@pytest.mark.parametrize(
    ("mode", "ink", "background"),
    [
        ("RGB", (0, 0, 160), (255, 250, 230)),
        ("RGB", (255, 220, 0), (0, 60, 0)),
        ("RGBA", (0, 0, 0, 255), (255, 255, 255, 255)),
        ("RGBA", (0, 0, 0, 255), (0, 0, 0, 0)),
        ("RGBA", (0, 0, 0, 255), (255, 255, 255, 0)),
        ("RGBA", (255, 255, 255, 255), (0, 0, 0, 0)),
        ("RGBA", (200, 30, 30, 255), (0, 0, 0, 0)),
        ("LA", (255, 255), (0, 0)),
        ("CMYK", (0, 0, 0, 255), (0, 0, 0, 0)),
        ("YCbCr", (20, 128, 128), (200, 128, 128)),
        ("HSV", (0, 0, 255), (0, 0, 0)),
        ("I", 60000, 300),
        ("I;16", 4095, 0),
        ("F", -3.5, 12.0),
        ("LAB", (20, 128, 128), (230, 128, 128)),
    ],
)
def test_mode_and_colours_hardly_matter(mode: str, ink, background) -> None:
    drawn = draw("5")
    if mode in ("I", "I;16", "F"):
        share = 1 - np.asarray(drawn) / 255
        values = background + (ink - background) * share
        kind = {"I": np.int32, "I;16": np.uint16, "F": np.float32}[mode]
        image = Image.fromarray(values.astype(kind))
        assert image.mode == mode
    else:
        image = inked(drawn, mode, ink, background)
    # Edges of transparent ink are blended twice by the drawing itself, once in colour and once in opacity.
    allowed = 70 if "A" in mode and mode != "LAB" else 6
    assert largest_difference(prepare_picture(image), prepare_picture(drawn)) <= allowed


def test_palette_with_a_transparent_colour(tmp_path: Path) -> None:
    drawn = draw("5").point(lambda value: 0 if value < 128 else 255)
    image = drawn.convert("P")
    path = tmp_path / "5.png"
    image.save(path, transparency=255)
    with Image.open(path) as saved:
        assert saved.mode == "P"
        assert saved.has_transparency_data
    assert largest_difference(prepare_picture(path), prepare_picture(drawn)) <= 1


def test_one_bit(tmp_path: Path) -> None:
    drawn = draw("5").convert("1", dither=Image.Dither.NONE)
    drawn.save(tmp_path / "5.png")
    assert largest_difference(prepare_picture(tmp_path / "5.png"), prepare_picture(draw("5"))) <= 70


def test_a_card_with_transparent_corners_is_not_ink() -> None:
    drawn = draw("5", margin=1.0)
    card = drawn.convert("RGBA")
    alpha = Image.new("L", card.size, 0)
    ImageDraw.Draw(alpha).rounded_rectangle((10, 10, card.width - 10, card.height - 10), radius=40, fill=255)
    card.putalpha(alpha)
    assert largest_difference(prepare_picture(card), prepare_picture(drawn)) <= 1


def test_transparent_drawing_that_fills_its_picture() -> None:
    # More ink than background, and dark at its edges: still no black digit on a card.
    drawn = draw("8", "DejaVuSans-Bold", margin=0)
    filled = inked(drawn, "RGBA", (255, 255, 255, 255), (0, 0, 0, 0))
    assert np.mean(np.asarray(drawn) < 128) > 0.5
    assert likeness(prepare_picture(filled), prepare_picture(draw("8", "DejaVuSans-Bold"))) > 0.95


def test_the_dot_on_an_i_is_no_dirt() -> None:
    image = draw("i")
    ink = prepare_picture(image).any(axis=1)
    first, last = np.flatnonzero(ink)[[0, -1]]
    assert last - first + 1 == 20
    assert not ink[first:last].all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_camera_orientation_is_undone(orientation: int, tmp_path: Path) -> None:
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the inverse, as Pillow's Transpose, of what the tag asks for
    drawn = draw("5")
    stored = drawn.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else drawn
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "5.png", exif=exif)
    assert np.array_equal(prepare_picture(tmp_path / "5.png"), prepare_picture(drawn))


@pytest.mark.parametrize("digit", DIGITS)
def test_photo_is_cleaned(digit: str, random: np.random.Generator) -> None:
    seen = prepare_picture(photo(draw(digit, "DejaVuSans-Bold", 200), random))
    alike = {d: likeness(seen, prepare_picture(draw(d, "DejaVuSans-Bold", 200))) for d in DIGITS}
    assert max(alike, key=alike.__getitem__) == digit
    assert alike[digit] > 0.95


def test_picture_that_is_cropped_to_the_ink() -> None:
    # Along the top the 7 fills the border of the picture: that must not be taken for paper with a shadow.
    assert largest_difference(prepare_picture(draw("7", margin=0)), prepare_picture(draw("7"))) <= 6


# The parts.


def test_otsu_finds_the_best_of_all_splits(random: np.random.Generator) -> None:
    values = np.concatenate([random.normal(0, 1, 500), random.normal(6, 1, 200)])

    def within(threshold: float) -> float:
        parts = values[values > threshold], values[values <= threshold]
        return sum(len(part) * np.var(part) for part in parts)

    every = [within(threshold) for threshold in np.sort(values)[:-1]]
    # Its histogram moves a value by half a bin at most.
    bin_width = np.ptp(values) / 256
    assert within(otsu(values)) <= min(every) + len(values) * bin_width * np.ptp(values) / 10


def test_pieces_are_numbered_as_a_flood_fill_finds_them(random: np.random.Generator) -> None:
    mask = random.random((20, 30)) < 0.35
    numbers = label(mask)
    assert np.array_equal(numbers > 0, mask)
    left = {tuple(place) for place in np.argwhere(mask).tolist()}
    pieces = 0
    while left:
        pieces += 1
        reached = [left.pop()]
        for row, column in reached:
            near = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            reached += near
        assert len({numbers[place] for place in reached}) == 1
    assert len(np.unique(numbers[mask])) == pieces


def test_paper_is_a_quadratic_known_from_its_border_alone() -> None:
    y, x = np.meshgrid(np.linspace(-1, 1, 90), np.linspace(-1, 1, 120), indexing="ij")
    light = 0.6 + 0.1 * x - 0.2 * y + 0.05 * x * y - 0.1 * x**2 + 0.05 * y**2
    seen = light.copy()
    seen[20:70, 30:90] = 0.1
    np.testing.assert_allclose(paper(seen), light, rtol=0, atol=1e-9)
    # Ink that reaches the border in one place: least squares would be off by 0.15 there.
    seen[:20, 40:60] = 0.1
    np.testing.assert_allclose(paper(seen), light, rtol=0, atol=0.01)


# What is refused.


@pytest.mark.parametrize("grey", [0, 128, 255])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (28, 28), (300, 1)])
def test_blank(grey: int, size: tuple[int, int]) -> None:
    with pytest.raises(PictureError, match=r"^picture: has no ink"):
        prepare_picture(Image.new("L", size, grey))


def test_blank_transparent() -> None:
    with pytest.raises(PictureError, match="has no ink"):
        prepare_picture(Image.new("RGBA", (50, 50), (0, 0, 0, 0)))


def test_blank_photo(random: np.random.Generator) -> None:
    y, x = np.meshgrid(np.linspace(-1, 1, 200), np.linspace(-1, 1, 300), indexing="ij")
    seen = 0.6 + 0.2 * x - 0.1 * y**2 + random.normal(0, 0.02, x.shape)
    assert find_ink(seen) is None


def one_line(error: pytest.ExceptionInfo[MlpXpError], path: Path) -> bool:
    message = str(error.value)
    return "\n" not in message and repr(str(path)) in message


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b""), "is not a picture that Pillow can read"),
        (lambda path: path.write_text("not a picture"), "is not a picture that Pillow can read"),
        (lambda path: path.mkdir(), "is a folder"),
        (os.mkfifo, "is not a regular file"),
        (lambda path: Image.new("L", (28, 28), 255).save(path), "has no ink"),
    ],
)
def test_files_that_are_refused(make, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "7.png"
    make(path)
    with pytest.raises(PictureError, match=fault) as error:
        prepare_picture(path)
    assert one_line(error, path)


def test_what_pillow_said_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "7.png"
    draw("7").save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(PictureError, match="is a damaged picture") as error:
        prepare_picture(path)
    assert isinstance(error.value.__cause__, OSError)
    assert str(error.value.__cause__) in str(error.value)


@pytest.mark.parametrize("place", ["mlp_xp.data.pictures.grey", "PIL.ImageOps.exif_transpose", "PIL.Image.open"])
@pytest.mark.parametrize("defect", [AttributeError, TypeError, NameError, AssertionError])
def test_a_defect_is_no_damage(place: str, defect: type[Exception], tmp_path: Path, monkeypatch) -> None:
    """Neither in this package nor in how it calls Pillow: it keeps its traceback."""
    path = tmp_path / "7.png"
    draw("7").save(path)

    def broken(*args, **kwargs):
        raise defect("planted")

    monkeypatch.setattr(place, broken)
    with pytest.raises(defect, match="planted"):
        prepare_picture(path)
    with pytest.raises(defect, match="planted"):
        read_pictures([path])


@pytest.mark.parametrize("defect", [ValueError, OSError, RuntimeError])
def test_after_decoding_nothing_is_the_files_fault(defect: type[Exception], tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "7.png"
    draw("7").save(path)

    def broken(*args, **kwargs):
        raise defect("planted")

    monkeypatch.setattr("mlp_xp.data.pictures.grey", broken)
    with pytest.raises(defect, match="planted"):
        prepare_picture(path)


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "7.png"
    draw("7").save(path)
    for limit in (10000, 1000):  # Pillow warns above its limit, and refuses above twice that
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(PictureError, match=r"has more than .* million pixels") as error:
            prepare_picture(path)
        assert one_line(error, path)


@pytest.mark.parametrize(("mode", "size"), [("1", (1, 89_000_000)), ("1", (65_501, 1)), ("L", (7100, 7100))])
def test_a_picture_that_would_take_too_much_memory_is_refused(mode: str, size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new(mode, size).save(path)
    with pytest.raises(
        PictureError, match=r"has \d+ x \d+ pixels, more than 50 million pixels, or 65500 on a side"
    ) as error:
        prepare_picture(path)
    assert one_line(error, path)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
@pytest.mark.parametrize("mode", ["F", "I"])
def test_a_large_picture_of_numbers_is_converted_in_less_than_a_gigabyte(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "large.tif"
    Image.new(mode, (7000, 7000), 1000).save(path, compression="tiff_lzw")
    code = (
        "import sys; from mlp_xp.data.pictures import read_pictures; read_pictures(sys.argv[1:])\n"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    peak = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True).stdout
    assert int(peak) * 1024 < 1e9


FORMS = {
    "PNG": ("1", "L", "P", "RGB", "RGBA"),
    "JPEG": ("L", "RGB", "CMYK"),
    "GIF": ("L", "P"),
    "BMP": ("1", "P", "RGB"),
    "TIFF": ("1", "L", "RGB", "I", "F"),
    "WEBP": ("RGB", "RGBA"),
    "PPM": ("1", "RGB"),
    "DDS": ("RGB", "RGBA"),
}


@settings(max_examples=300, deadline=None)
@given(data=st.data(), form=st.sampled_from(sorted(FORMS)), turned=st.booleans())
def test_damaged_files_give_a_picture_or_one_line(
    data: st.DataObject, form: str, turned: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    if turned:
        exif[0x0112] = 6
    draw("5", height=24).convert(data.draw(st.sampled_from(FORMS[form]))).save(file, form, exif=exif)
    content = bytearray(file.getvalue())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[place] = data.draw(st.integers(0, 255))
    del content[data.draw(st.just(len(content)) | st.integers(0, len(content) - 1)) :]
    path = tmp_path_factory.getbasetemp() / f"damaged.{form.lower()}"
    path.write_bytes(content)
    fault, result = "", None
    try:
        result = prepare_picture(path)
    except PictureError as error:
        fault = str(error)
    if result is None:
        assert "\n" not in fault
        assert repr(str(path)) in fault
    else:
        assert result.shape == (28, 28)
        assert result.max() == 255


# Files and folders.


def test_files_and_folders_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    (folder / "deeper").mkdir(parents=True)
    for digit in "314":
        draw(digit).save(folder / f"{digit}.png")
    draw("9").convert("RGB").save(folder / "2.JPG")
    (folder / "notes.txt").write_text("not a picture")
    draw("5").save(folder / "deeper" / "0.png")
    (folder / "deeper" / "again").symlink_to(folder)
    (folder / "deeper" / "._0.png").write_text("of a file manager")
    (folder / "empty").mkdir()
    (folder / "scan.pdf").write_text("which Pillow writes, but does not read")
    draw("8").save(tmp_path / "8.png")
    pictures = read_pictures([tmp_path / "8.png", folder])
    assert [path.name for path in pictures.paths] == ["8.png", "1.png", "2.JPG", "3.png", "4.png", "0.png"]
    assert pictures.paths[-1] == folder / "deeper" / "0.png"
    assert not pictures.faults
    assert pictures.images.shape == (6, 28, 28)
    assert np.array_equal(pictures.images[3], prepare_picture(draw("3")))


def test_a_fault_hides_no_other_picture(tmp_path: Path) -> None:
    folder, empty = tmp_path / "digits", tmp_path / "empty"
    folder.mkdir()
    empty.mkdir()
    for digit in "13":
        draw(digit).save(folder / f"{digit}.png")
    (folder / "2.png").write_bytes((folder / "3.png").read_bytes()[:100])
    long = tmp_path / ("x" * 300)
    pictures = read_pictures([tmp_path / "gone.png", folder, empty, long, folder / "3.png"])
    assert [path.name for path in pictures.paths] == ["1.png", "3.png", "3.png"]
    assert np.array_equal(pictures.images[1], prepare_picture(draw("3")))
    said = [(str(path), part) for path, part in (
        (tmp_path / "gone.png", "no such file"),
        (folder / "2.png", "is a damaged picture"),
        (empty, "contains no picture files"),
        (long, "cannot be read: File name too long"),
    )]  # fmt: skip
    assert len(pictures.faults) == len(said)
    for fault, (path, part) in zip(pictures.faults, said, strict=True):
        assert str(fault).startswith(f"{path!r}: {part}")
        assert "\n" not in str(fault)


@pytest.mark.parametrize("paths", [[], ["gone.png"]])
def test_nothing_to_read(paths: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pictures = read_pictures(paths)
    assert (pictures.paths, pictures.images.shape, len(pictures.faults)) == ((), (0, 28, 28), len(paths))


# What it is for: a network trained on MNIST knows them.


@pytest.fixture(scope="module")
def classify():
    """The standard recipe's network, after fewer epochs, as a function of images to probabilities."""
    recipe = RECIPES["standard"]
    backend = open_backend("jax", dtype=recipe.dtype)
    config = replace(recipe.train, epochs=4)
    *_, closing = train(config, load_dataset(backend=backend), backend)
    assert closing.accuracy > 0.97

    def classes(images: np.ndarray) -> np.ndarray:
        probabilities = predict(closing.network, backend.asarray(images), activation=config.activation, backend=backend)
        return backend.to_numpy(probabilities).argmax(axis=1)

    return classes


def test_digits_in_print_are_known(classify) -> None:
    drawings = list(product(FACES, DIGITS, (24, 48, 96), (True, False)))
    images = np.stack([prepare_picture(draw(d, face, height, dark=dark)) for face, d, height, dark in drawings])
    known = classify(images) == [int(digit) for _, digit, _, _ in drawings]
    wrong = Counter((face, digit) for (face, digit, _, _), right in zip(drawings, known, strict=True) if not right)
    assert np.mean(known) >= 0.85, wrong


def test_mnist_survives_being_saved_large(classify, mnist_dir: Path, tmp_path: Path) -> None:
    originals = load_dataset(mnist_dir).test_images[:300]
    for i, original in enumerate(originals):
        enlarged = Image.fromarray(255 - original).resize((196, 196), Image.Resampling.BICUBIC)
        enlarged.save(tmp_path / f"{i:03}.png")
    pictures = read_pictures([tmp_path])
    assert np.mean(classify(pictures.images) == classify(originals)) >= 0.97


def test_mnist_in_a_photo_is_known(classify, mnist_dir: Path, random: np.random.Generator) -> None:
    originals = load_dataset(mnist_dir).test_images[:100]
    photos = [photo(Image.fromarray(255 - np.pad(original, 6)), random) for original in originals]
    assert np.mean(classify(np.stack([prepare_picture(p) for p in photos])) == classify(originals)) >= 0.95
