"""Folders of pictures: each picture as it is, grey or colour by one rule, and every fault told by file."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from PIL import Image

from mlp_xp.checks import DatasetWarning
from mlp_xp.data import picture_folders
from mlp_xp.data.picture_folders import read_image, read_picture_folder
from mlp_xp.data.pictures import PictureError

FUZZ = settings(
    max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
COLOUR = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8)


def save(path: Path, values: np.ndarray | Image.Image, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (values if isinstance(values, Image.Image) else Image.fromarray(values)).save(path, **options)


def fill(folder: Path, *names: str, values: np.ndarray = GREY) -> Path:
    """Save pictures; the first pixel is the number of the name."""
    for number, name in enumerate(names):
        numbered = values.copy()
        numbered[0, 0] = number
        save(folder / name, numbered)
    return folder


def numbers(images: np.ndarray) -> list[int]:
    return images.reshape(len(images), -1)[:, 0].tolist()


def test_classes_and_pictures_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    fill(tmp_path, "dog/b.png", "cat/2.png", "cat/10.png", "dog/a.png", "Ant/x.png")
    parts = read_picture_folder(tmp_path)
    assert parts.test is None
    assert parts.class_names == ("Ant", "cat", "dog")
    assert numbers(parts.train.images) == [4, 2, 1, 3, 0]
    assert parts.train.labels.tolist() == [0, 1, 1, 2, 2]
    assert [path.relative_to(tmp_path).as_posix() for path in parts.train.paths] == [
        *("Ant/x.png", "cat/10.png", "cat/2.png", "dog/a.png", "dog/b.png")
    ]
    assert (parts.train.images.dtype, parts.train.labels.dtype) == (np.uint8, np.int64)


def test_numbers_are_in_the_order_of_their_values(tmp_path: Path) -> None:
    fill(tmp_path, *(f"{number}/a.png" for number in (10, 9, 0, 2)))
    parts = read_picture_folder(tmp_path)
    assert parts.class_names == ("0", "2", "9", "10")
    assert numbers(parts.train.images) == [2, 3, 1, 0]


def test_parts(tmp_path: Path) -> None:
    fill(tmp_path, "train/b/1.png", "train/a/1.png", "test/b/1.png", "test/b/2.png", "train/c/1.png", "test/a/7.png")
    (tmp_path / "test" / "c").mkdir()  # a class without pictures in the test set
    parts = read_picture_folder(tmp_path)
    assert parts.class_names == ("a", "b", "c")
    assert parts.test is not None
    assert (numbers(parts.train.images), parts.train.labels.tolist()) == ([1, 0, 4], [0, 1, 2])
    assert (numbers(parts.test.images), parts.test.labels.tolist()) == ([5, 2, 3], [0, 1, 1])


def test_train_and_car_are_classes(tmp_path: Path) -> None:
    assert read_picture_folder(fill(tmp_path, "car/1.png", "train/1.png")).class_names == ("car", "train")


@FUZZ
@given(
    data=st.data(),
    suffix=st.sampled_from(["png", "bmp", "tif", "webp", "PNG"]),
    shape=arrays_of.array_shapes(min_dims=2, max_dims=2, max_side=6),
    colour=st.booleans(),
)
def test_whatever_pillow_writes(tmp_path: Path, data: Any, suffix: str, shape: tuple[int, int], colour: bool) -> None:
    for place in ("a", "b"):
        for old in (tmp_path / place).glob("*"):
            old.unlink()
    arrays = arrays_of.arrays(np.uint8, (*shape, 3) if colour else shape)
    written = [data.draw(arrays) for _ in range(3)]
    for path, values in zip(("a/1", "a/2", "b/1"), written, strict=True):
        save(tmp_path / f"{path}.{suffix}", values, **({"lossless": True} if suffix == "webp" else {}))
    images = read_picture_folder(tmp_path).train.images
    if colour and all((values == values[..., :1]).all() for values in written):
        written = [values[..., 0] for values in written]
    np.testing.assert_array_equal(images, written)


def test_one_picture_in_colour_makes_all_of_them_coloured(tmp_path: Path) -> None:
    save(tmp_path / "train/a/1.png", GREY)
    save(tmp_path / "train/b/1.png", np.repeat(GREY[..., None], 3, axis=2))
    save(tmp_path / "test/b/1.png", GREY)
    grey = read_picture_folder(tmp_path)
    assert grey.test is not None
    np.testing.assert_array_equal([*grey.train.images, *grey.test.images], [GREY] * 3)
    save(tmp_path / "test/b/2.png", COLOUR)
    coloured = read_picture_folder(tmp_path)
    assert coloured.test is not None
    expected = [*[np.repeat(GREY[..., None], 3, axis=2)] * 3, COLOUR]
    np.testing.assert_array_equal([*coloured.train.images, *coloured.test.images], expected)


# Modes of pictures.


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(GREY > 100), np.where(GREY > 100, 255, 0)),
        (Image.fromarray(GREY).convert("P"), GREY),
        (Image.fromarray(GREY).convert("LA"), GREY),
        (Image.fromarray(COLOUR).convert("RGBA"), COLOUR),
        (Image.fromarray(GREY.astype(np.uint16) * 256 + 255), GREY),
        (Image.fromarray(np.dstack([GREY, np.full_like(GREY, 0)]), "LA"), np.full_like(GREY, 255)),
        (Image.fromarray(np.dstack([COLOUR, np.full_like(GREY, 0)]), "RGBA"), np.full_like(GREY, 255)),
    ],
    ids=["bits", "palette", "opaque grey", "opaque colour", "16 bits", "transparent grey", "transparent colour"],
)
@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_modes(tmp_path: Path, image: Image.Image, expected: np.ndarray) -> None:
    save(tmp_path / "a.png", image)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)


def test_half_transparent_colours_are_mixed_with_white(tmp_path: Path) -> None:
    save(tmp_path / "a.png", Image.new("RGBA", (2, 1), (200, 100, 0, 51)))
    np.testing.assert_allclose(read_image(tmp_path / "a.png")[0, 0], np.array([244, 224, 204]), atol=1)


def test_the_orientation_of_a_camera_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    save(tmp_path / "a.png", GREY, exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.rot90(GREY, -1))


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.fromarray(GREY), Image.fromarray(GREY[::-1].copy())]
    save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_image(tmp_path / "a.gif"), GREY)


@pytest.mark.parametrize("values", [np.full((3, 4), 1.5, np.float32), np.full((3, 4), 1 << 20, np.int32)])
def test_values_without_a_known_white(tmp_path: Path, values: np.ndarray) -> None:
    save(tmp_path / "a.tif", values)
    with pytest.raises(PictureError, match="has values of 32 bits, whose white is not known; save it with 8 or 16"):
        read_image(tmp_path / "a.tif")


def test_resizing(tmp_path: Path) -> None:
    save(tmp_path / "a/1.png", np.full((30, 20), 7, np.uint8))
    save(tmp_path / "b/1.png", np.full((5, 50), 9, np.uint8))
    images = read_picture_folder(tmp_path, size=(4, 6)).train.images
    np.testing.assert_array_equal(images, [np.full((4, 6), 7), np.full((4, 6), 9)])


# What is ignored, and what is named.


def test_litter_is_ignored(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "b/1.png")
    for name in ("a/.DS_Store", ".DS_Store", "a/Thumbs.db", "b/desktop.ini", "b/._1.png", "a/.hidden/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"?")
    (tmp_path / "__MACOSX").mkdir()
    assert numbers(read_picture_folder(tmp_path).train.images) == [0, 1]


def test_other_files_are_named_in_one_warning(tmp_path: Path) -> None:
    fill(tmp_path, "train/a/1.png", "train/b/1.png", "test/a/1.png", "train/loose.png", "val/a/1.png", "top.png")
    for number in range(3):
        (tmp_path / "train" / "a" / f"note{number}.txt").write_text("?")
    text = "not used, because they are in no class or no pictures: 'top.png', 'val', 'train/loose.png', 'train/a/note0"
    with pytest.warns(DatasetWarning, match=f"^{re.escape(repr(str(tmp_path)))}: {text}.* and 1 more$") as caught:
        read_picture_folder(tmp_path)
    assert len(caught) == 1


def test_links_are_followed(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", "a.png", "b/1.png")
    fill(tmp_path / "data", "a/1.png")
    (tmp_path / "data" / "a" / "2.png").symlink_to("../../elsewhere/a.png")
    (tmp_path / "data" / "b").symlink_to("../elsewhere/b")
    assert read_picture_folder(tmp_path / "data").train.labels.tolist() == [0, 0, 1]


# What is refused.


def message(folder: Path, **options: Any) -> str:
    with pytest.raises(PictureError) as caught:
        read_picture_folder(folder, **options)
    text = str(caught.value)
    assert text.isprintable()
    assert "; " in text
    assert text.count(str(folder)) >= 1
    assert caught.value.exit_code == 2
    return text.replace(f"{folder}/", "").replace(str(folder), ".")


def test_faulty_pictures(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "b/1.png", "b/2.png")
    path = tmp_path / "b" / "2.png"
    sound = path.read_bytes()
    for content, fault in (
        (b"", "'b/2.png': is not a picture that Pillow can read"),
        (b"no picture", "'b/2.png': is not a picture that Pillow can read"),
        (sound[:50], "'b/2.png': is "),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "'b/2.png': is not a picture that Pillow can read"),
    ):
        path.write_bytes(content)
        assert message(tmp_path).startswith(fault)
    path.unlink()
    os.mkfifo(path)
    assert message(tmp_path).startswith("'b/2.png': is not a regular file but a FIFO")
    path.unlink()
    path.symlink_to("2.png")
    assert message(tmp_path).startswith("'b/2.png': cannot be read: Too many levels of symbolic links")
    path.unlink()
    path.symlink_to("nowhere")
    assert message(tmp_path).startswith("'b/2.png': no such file")


def test_pictures_of_several_sizes(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "b/1.png")
    save(tmp_path / "b/2.png", GREY.T.copy())
    assert message(tmp_path).startswith(
        "'b/2.png': has 3 x 4 pixels, 'a/1.png' has 4 x 3; resize the pictures to one size, as --picture-size does"
    )


def test_folders_of_another_form(tmp_path: Path) -> None:
    assert message(tmp_path).startswith(
        "'.': has none of the folders of pictures, one for each of two or more classes; add"
    )
    assert "No such file" in message(tmp_path / "nowhere")
    fill(tmp_path, "a/1.png")
    assert message(tmp_path).startswith("'.': has only 'a' of the folders of pictures, one for each of")
    assert "Not a directory" in message(tmp_path / "a" / "1.png")
    (tmp_path / "b").mkdir()
    assert message(tmp_path).startswith("'b': has no pictures; add some, or remove this folder")
    fill(tmp_path, "b/1.png", "b/inside/1.png")
    assert message(tmp_path).startswith("'b/inside': is a folder in the folder of a class; move its pictures up")


def test_parts_of_another_form(tmp_path: Path) -> None:
    fill(tmp_path, "train/cat/1.png", "train/dog/1.png")
    assert message(tmp_path).startswith("'.': has a folder 'train', but no 'test'; add it, or give 'train' alone")
    (tmp_path / "test" / "cat").mkdir(parents=True)
    assert message(tmp_path).startswith("'test': has no pictures; add a folder of them for each class")
    fill(tmp_path, "test/dogs/1.png")
    assert message(tmp_path).startswith(
        "'test/dogs': is no class of the training pictures (did you mean 'dog'?); rename"
    )


def test_a_class_whose_name_is_not_utf8(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png")
    os.mkdir(os.fsencode(tmp_path) + b"/caf\xe9")  # noqa: PTH102
    with pytest.raises(PictureError, match="the name of a class is not UTF-8; rename this folder"):
        read_picture_folder(tmp_path)


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "a/1.png", "b/1.png", "b/2.png")
    monkeypatch.setattr(picture_folders, "LARGEST_SET", 35)
    assert message(tmp_path).startswith("'b/2.png': up to this one, the pictures have more than 35 values; ")
    monkeypatch.setattr(picture_folders, "LARGEST_IMAGE", 11)
    assert message(tmp_path).startswith(
        "'a/1.png': has 4 x 3 pixels, which are too many for a network; make it smaller"
    )
    assert read_picture_folder(tmp_path, size=(3, 3)).train.images.shape == (3, 3, 3)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png")
    save(tmp_path / "b/1.png", Image.new("1", (8000, 8000)))
    assert message(tmp_path, size=(3, 3)).startswith("'b/1.png': has 8000 x 8000 pixels, more than 50 million pixels")
