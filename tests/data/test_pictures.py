"""Picture files and folders: each picture as it is.

Grey or colour by one rule, and every fault told by file.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import native
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mlp_xp.data._ink import prepare_image
from mlp_xp.data.options import DataOptions
from mlp_xp.data.pictures import read_image, read_picture_folder, read_pictures
from mlp_xp.errors import MlpXpWarning

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
COLOUR = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8)


def test_classes_and_pictures_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    fill(tmp_path, "dog/b.png", "cat/2.png", "cat/10.png", "dog/a.png", "Ant/x.png")
    (images, labels), test, class_names = read(tmp_path)
    assert test is None
    assert class_names == ("Ant", "cat", "dog")
    assert numbers(images) == [4, 2, 1, 3, 0]
    assert labels.tolist() == ["Ant", "cat", "cat", "dog", "dog"]
    assert images.dtype == np.uint8
    numbered = fill(
        tmp_path / "numbered", *(f"{number}/a.png" for number in (10, 9, 0, 2))
    )
    (images, _), _, class_names = read(numbered)
    assert class_names == ("0", "2", "9", "10")
    assert numbers(images) == [2, 3, 1, 0]


def test_parts(tmp_path: Path) -> None:
    fill(
        tmp_path,
        "train/b/1.png",
        "train/a/1.png",
        "test/b/1.png",
        "test/b/2.png",
        "train/c/1.png",
        "test/a/7.png",
    )
    (tmp_path / "test" / "c").mkdir()  # a class without pictures in the test set
    (images, labels), test, class_names = read(tmp_path)
    assert class_names == ("a", "b", "c")
    assert test is not None
    assert (numbers(images), labels.tolist()) == ([1, 0, 4], ["a", "b", "c"])
    assert (numbers(test[0]), test[1].tolist()) == ([5, 2, 3], ["a", "b", "b"])
    assert read(fill(tmp_path / "more", "car/1.png", "train/1.png"))[2] == (
        "car",
        "train",
    )


def test_one_picture_in_colour_makes_all_of_them_coloured(tmp_path: Path) -> None:
    save(tmp_path / "train/a/1.png", GREY)
    save(tmp_path / "train/b/1.png", np.repeat(GREY[..., None], 3, axis=2))
    save(tmp_path / "test/b/1.png", GREY)
    train, test, _ = read(tmp_path)
    assert test is not None
    np.testing.assert_array_equal([*train[0], *test[0]], [GREY] * 3)
    save(tmp_path / "test/b/2.png", COLOUR)
    train, test, _ = read(tmp_path)
    assert test is not None
    np.testing.assert_array_equal(
        [*train[0], *test[0]], [*[np.repeat(GREY[..., None], 3, axis=2)] * 3, COLOUR]
    )


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(GREY > 100), np.where(GREY > 100, 255, 0)),
        (Image.fromarray(GREY).convert("P"), GREY),
        (Image.fromarray(GREY).convert("LA"), GREY),
        (Image.fromarray(COLOUR).convert("RGBA"), COLOUR),
        (
            Image.fromarray(GREY.astype(np.uint16) * 256 + GREY % 3 * np.uint16(127)),
            GREY,
        ),
        (
            Image.merge("LA", [Image.fromarray(GREY), Image.new("L", (4, 3))]),
            np.full_like(GREY, 255),
        ),
        (
            Image.new("RGBA", (4, 3), (200, 100, 0, 51)),
            np.broadcast_to([244, 224, 204], (3, 4, 3)),
        ),
    ],
    ids=[
        "bits",
        "palette",
        "opaque grey",
        "opaque colour",
        "16 bits",
        "transparent grey",
        "half transparent colour",
    ],
)
def test_modes(tmp_path: Path, image: Image.Image, expected: np.ndarray) -> None:
    save(tmp_path / "a.png", image)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)


def test_orientation_animation_and_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    save(tmp_path / "a.png", GREY, exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.rot90(GREY, -1))
    frames = [Image.fromarray(GREY), Image.fromarray(GREY[::-1].copy())]
    save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_image(tmp_path / "a.gif"), GREY)
    save(tmp_path / "c.png", np.full((30, 20), 7, np.uint8))
    np.testing.assert_array_equal(
        read_image(tmp_path / "c.png", (4, 6)), np.full((4, 6), 7)
    )


def test_other_files_are_left_out(tmp_path: Path) -> None:
    fill(
        tmp_path,
        "train/a/1.png",
        "train/b/1.png",
        "test/a/1.png",
        "train/loose.png",
        "val/a/1.png",
        "top.png",
    )
    fill(tmp_path, "train/b/inside/1.png")
    for name in (
        ".DS_Store",
        "train/a/Thumbs.db",
        "train/b/desktop.ini",
        "test/a/._1.png",
    ):
        (tmp_path / name).write_bytes(b"?")
    shutil.copy(tmp_path / "train" / "a" / "1.png", tmp_path / "train" / "a" / "2.png")
    with pytest.warns(MlpXpWarning, match="'a/Thumbs.db', 'b/desktop.ini'"):
        assert numbers(read(tmp_path)[0][0]) == [0, 0, 1]


def test_pictures_for_a_network(tmp_path: Path) -> None:
    save(tmp_path / "grey.png", GREY)
    save(tmp_path / "red.png", COLOUR)
    save(tmp_path / "turned.png", GREY.T.copy())
    grey = read_pictures([tmp_path, tmp_path / "gone.png"], (3, 4), "pictures")
    assert [path.name for path in grey.paths] == ["grey.png"]
    np.testing.assert_array_equal(grey.images, [GREY])
    known = ", and the network was trained on 4 x 3 pixels; convert it"
    expected = [
        f"red.png': has 4 x 3 pixels in colour{known}",
        f"turned.png': has 3 x 4 pixels{known}",
        "gone.png': cannot be read: No such file or directory; check the path and",
    ]
    for fault, said in zip(grey.faults, expected, strict=True):
        assert str(fault).startswith(f"'{tmp_path}{os.sep}{said}")
    resized = read_pictures([tmp_path], (3, 4, 3), "resized pictures")
    assert not resized.faults
    np.testing.assert_array_equal(
        resized.images[:2], [np.repeat(GREY[..., None], 3, axis=2), COLOUR]
    )


# Pictures as MNIST's.


def bar(width: int) -> Image.Image:
    """Black ink, by whose width a picture is known again."""
    image = Image.new("L", (60, 60), 255)
    image.paste(0, (10, 10, 10 + width, 50))
    return image


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    data=st.data(),
    form=st.sampled_from(
        [("PNG", "P"), ("PNG", "1"), ("JPEG", "L"), ("TIFF", "F"), ("DDS", "RGB")]
    ),
)
def test_damaged_files_give_a_picture_or_one_line(
    data: st.DataObject, form: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    bar(20).convert(form[1]).save(path, form[0])
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[place] = data.draw(st.integers(0, 255))
    del content[data.draw(st.just(len(content)) | st.integers(0, len(content) - 1)) :]
    path.write_bytes(content)
    found = read_pictures([path], (28, 28))
    if found.paths:
        assert found.images.max() == 255
    else:
        (fault,) = found.faults
        assert str(fault).isprintable()
        assert str(fault).startswith(f"'{path}': ")


@pytest.mark.parametrize("ink", [0, 255])
def test_a_drawing_without_paper(tmp_path: Path, ink: int) -> None:
    """Programs with a dark theme draw in white."""
    shape = bar(20).point(lambda shade: 255 - shade)
    save(
        tmp_path / "a.png", Image.merge("LA", [Image.new("L", shape.size, ink), shape])
    )
    found = read_pictures([tmp_path / "a.png"], (28, 28))
    np.testing.assert_array_equal(found.images, [prepare_image(np.asarray(bar(20)))])


def test_a_fault_hides_no_other_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of folders, the pictures in them, in order, and in folders below.

    Links in a circle end.
    """
    monkeypatch.chdir(tmp_path)
    for folder in ("digits/deeper", "empty"):
        Path(folder).mkdir(parents=True)
    for name in (
        "8.png",
        "digits/1.png",
        "digits/3.png",
        "digits/7.JPG",
        "digits/deeper/0.png",
    ):
        save(Path(name), bar(int(Path(name).stem) + 3))
    if os.name == "posix":
        Path("digits/deeper/again").symlink_to(tmp_path / "digits")
    for name in ("notes.txt", "deeper/._0.png", "scan.pdf", "4.png"):
        Path("digits", name).write_text("not a picture", encoding="utf-8")
    Path("digits/2.png").write_bytes(Path("digits/3.png").read_bytes()[:60])
    Image.new("L", (28, 28), 255).save("digits/5.png")
    # a few bytes, but beyond what Pillow decodes
    Image.new("1", (14000, 14000)).save("digits/6.png")
    paths = ["gone.png", "8.png", "digits", "empty", "x" * 300, "digits/3.png"]
    found = read_pictures([*map(Path, paths)], (28, 28))
    names = [
        "8.png",
        "digits/1.png",
        "digits/3.png",
        "digits/7.JPG",
        "digits/deeper/0.png",
        "digits/3.png",
    ]
    assert [path.as_posix() for path in found.paths] == names
    np.testing.assert_array_equal(found.images[2], prepare_image(np.asarray(bar(6))))
    expected = (
        "'gone.png': cannot be read: No such file",
        "'digits/2.png': cannot be read: image file is truncated",
        "'digits/4.png': cannot be read: cannot identify image file",
        "'digits/5.png': has no ink that stands out from the paper",
        "'digits/6.png': cannot be read: Image size (196000000 pixels) exceeds limit",
        "'empty': contains no picture files; give a folder of PNG or JPEG files",
        f"'{'x' * 300}': cannot be read: ",
    )
    for fault, start in zip(found.faults, expected, strict=True):
        assert str(fault).startswith(native(start))
        assert str(fault).isprintable()
    assert read_pictures([], (28, 28)).images.shape == (0, 28, 28)


# Files and folders of pictures.


def save(path: Path, values: np.ndarray | Image.Image, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (values if isinstance(values, Image.Image) else Image.fromarray(values)).save(
        path, **options
    )


def fill(folder: Path, *names: str) -> Path:
    """Save pictures; the first pixel is the number of the name."""
    for number, name in enumerate(names):
        numbered = GREY.copy()
        numbered[0, 0] = number
        save(folder / name, numbered)
    return folder


def read(folder: Path) -> tuple[Any, Any, Any]:
    """The images and labels of both sets, and the names of the classes.

    The test set may be None.
    """
    samples = read_picture_folder(folder, DataOptions())
    return samples.train[:2], samples.test and samples.test[:2], samples.class_names


def numbers(images: np.ndarray) -> list[int]:
    return images.reshape(len(images), -1)[:, 0].tolist()
