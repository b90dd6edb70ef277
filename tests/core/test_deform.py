"""Deformed images against SciPy's interpolation, their random numbers, and training on
them.
"""

from dataclasses import replace

import numpy as np
import pytest
import reference
from data_sets import TINY, on_device, varied
from helpers import arrays_of, call
from numerics import assert_near
from scipy.ndimage import map_coordinates

from mlp_xp import TrainConfig, open_backend
from mlp_xp.core.deform import draw_deformations, make_deform, matrices, smoothing
from mlp_xp.core.job import Job
from mlp_xp.core.training import trajectory
from mlp_xp.data.arrays import from_arrays
from mlp_xp.declared import ConfigError

SHAPE = (9, 14)
CONFIG = TrainConfig(
    deform=True, batch_size=5, deform_pixels=2.0, deform_smoothness=1.5, seed=3
)


def deformed(config, images, noise, maps, backend):
    """The images, deformed on a backend."""
    deform = backend.jit(make_deform(config, images.shape[1:], backend))
    return backend.to_numpy(
        deform(*map(backend.asarray, (images, noise, maps.astype(backend.dtype_name))))
    )


def bells(place, count, deviation):
    """Gaussians around the points of the grid, of which three lie before the first
    pixel.
    """
    points = max(1, deviation) * (np.arange(count) - 3)
    g = np.exp(-((points - place) ** 2) / (2 * deviation**2))
    return g / np.sqrt((g**2).sum())


def expected(config, images, noise, maps):
    """The same by SciPy, pixel by pixel instead of matrices. Beyond an edge it repeats
    the edge too.
    """
    rows, columns = images.shape[1:]
    unit = config.deform_pixels / np.sqrt((2**16 - 1) / 12)
    results = []
    for image, fields, m in zip(images, noise - 127.5, maps, strict=True):
        place = np.indices(image.shape).astype(float)
        for y, x in np.ndindex(rows, columns):
            across, down = (
                bells(*at, config.deform_smoothness)
                for at in zip((x, y), fields.shape[1:], strict=True)
            )
            from_centre = np.array([y - (rows - 1) / 2, x - (columns - 1) / 2])
            place[:, y, x] += m @ from_centre + unit * np.einsum(
                "fxy,x,y->f", fields, across, down
            )
        results.append(
            map_coordinates(image.astype(float), place, order=1, mode="nearest")
        )
    return np.array(results)


@pytest.mark.parametrize(
    "smoothness", [1.5, pytest.param(0.7, marks=pytest.mark.every_backend)]
)
def test_deformed_images_are_those_of_scipy(backend, random, smoothness):
    """Displacements reach over the edges, and are smoothed by more than a pixel or by
    less.
    """
    config, images = (
        replace(CONFIG, deform_smoothness=smoothness),
        random.integers(0, 256, (5, *SHAPE), np.uint8),
    )
    noise, maps = (
        each[0] for each in draw_deformations(config, "float64", SHAPE, 1, 5, 7)
    )
    actual, wanted = (
        deformed(config, images, noise, maps, backend),
        expected(config, images, noise, maps),
    )
    assert actual.dtype == np.float64
    # A position is a sum of 16 numbers twice, all below 128; a pixel differs by at most
    # 255 from the next.
    assert_near(actual, wanted, 32 * 128 * 255 * np.finfo(float).eps)
    assert (np.abs(wanted - images) > 0.5).mean() > 0.5
    corners = np.ix_(range(5), (0, -1), (0, -1))
    assert (wanted[corners] == images[corners]).any(), "some come from beyond two edges"


def test_without_any_strength_the_images_are_the_same_to_the_bit(backend32, random):
    config = replace(
        CONFIG,
        **dict.fromkeys(
            ("deform_pixels", "deform_degrees", "deform_scaling", "deform_shear"), 0
        ),
    )
    images = random.integers(0, 256, (5, *SHAPE), np.uint8)
    (noise,), (maps,) = draw_deformations(config, "float32", SHAPE, 1, 5, 7)
    assert noise.std() > 0
    np.testing.assert_array_equal(
        deformed(config, images, noise, maps, backend32), images
    )


def test_an_image_turns_clockwise_grows_and_leans():
    """A bright pixel right of the centre and one below it move as the numbers say, for
    the largest changes.
    """
    shape, backend = (21, 21), open_backend()
    config = replace(
        CONFIG, deform_pixels=0, deform_degrees=90, deform_scaling=0.5, deform_shear=1
    )
    places = {"right": (10, 14), "below": (14, 10)}
    images = np.zeros((2, *shape), np.uint8)
    for image, place in zip(images, places.values(), strict=True):
        image[place] = 200
    noise = draw_deformations(config, "float64", shape, 1, 2, 0)[0][0]
    for numbers, right, below in (
        ((1, 0, 0, 0), (14, 10), (10, 6)),
        ((0, 1, 0, 0), (10, 14), (16, 10)),
        ((0, 0, 1, 0), (10, 16), (14, 10)),
        ((0, 0, 0, 1), (10, 14), (14, 14)),
        ((1, 0, 1, 0), (16, 10), (10, 6)),  # grows across, then turns
        ((1, 0, 0, 1), (14, 10), (10 + 4, 6)),  # leans, then turns
        ((0, 1, 0, 1), (10, 14), (16, 14)),  # leans, then grows down
    ):
        maps = matrices(config, np.array([numbers] * 2)) - np.eye(2)
        moved = deformed(config, images, noise, maps, backend)
        found = [
            tuple(map(int, np.unravel_index(np.argmax(image), shape)))
            for image in moved
        ]
        assert (found, moved.max(axis=(1, 2)).round(9).tolist()) == (
            [right, below],
            [200, 200],
        ), numbers


def test_what_is_drawn_is_a_function_of_seed_and_step():
    """However a run is cut into chunks, and for a smaller last batch too."""
    whole = draw_deformations(CONFIG, "float32", SHAPE, 10, 5, 100)
    assert [(x.shape, x.dtype) for x in whole] == [
        ((10, 5, 2, 16, 13), np.uint8),
        ((10, 5, 2, 2), np.float32),
    ]
    for first, steps, size in ((0, 3, 5), (3, 6, 5), (9, 1, 5), (4, 1, 2)):
        part = draw_deformations(CONFIG, "float32", SHAPE, steps, size, 100 + first)
        for x, all_x in zip(part, whole, strict=True):
            np.testing.assert_array_equal(x, all_x[first : first + steps, :size])
    other = draw_deformations(replace(CONFIG, seed=4), "float32", SHAPE, 10, 5, 100)
    for x, other_x in zip(whole, other, strict=True):
        assert (
            len(
                {each.tobytes() for each in x.reshape(50, -1)}
                | {each.tobytes() for each in other_x[0]}
            )
            == 55
        )
    # The first 16 bytes of an image make its matrix. Dropout has the key of the seed
    # alone.
    random = (
        np.random.Philox(key=CONFIG.seed + 2**64)
        .random_raw(6)
        .astype("<u8")
        .view(np.uint8)
    )
    np.testing.assert_array_equal(
        draw_deformations(CONFIG, "float32", SHAPE, 1, 1, 0)[0].ravel()[:32],
        random[16:],
    )
    assert draw_deformations(TrainConfig(), "float32", SHAPE, 10, 1, 0) == ()


def test_displacements_have_the_strength_and_smoothness_that_were_asked_for():
    """At every pixel, also in the corners. Within five standard deviations of what
    normal numbers would give.
    """
    n = 4000
    config = replace(CONFIG, batch_size=n, deform_smoothness=2.0)
    ((noise,), (maps,)) = draw_deformations(config, "float64", (12, 12), 1, n, 0)
    g = smoothing(12, 2.0)
    field = (
        g.T
        @ np.swapaxes(noise - 127.5, 2, 3)
        @ g
        * config.deform_pixels
        / ((2**16 - 1) / 12) ** 0.5
    )
    assert (
        np.abs(field.std(axis=0) - config.deform_pixels).max()
        < 5 * config.deform_pixels / (2 * n) ** 0.5
    )
    assert np.abs(field.mean(axis=0)).max() < 5 * config.deform_pixels / n**0.5
    one, other = field[:, 0, 6, 4], field[:, 0, 6, 7]
    assert abs(
        np.corrcoef(one, other)[0, 1] - np.exp(-(3**2) / (4 * 2.0**2))
    ) < 5 / n**0.5 + 4 * np.exp(-(np.pi**2))
    assert abs(np.corrcoef(one, field[:, 1, 6, 4])[0, 1]) < 5 / n**0.5
    numbers = [np.degrees(np.arctan2(-a[0, 1], a[0, 0])) for a in maps + np.eye(2)]
    for largest in max(numbers), -min(numbers):  # to either side
        assert 0.99 * config.deform_degrees < largest <= 1.2 * config.deform_degrees


def deformed_run(config, dataset, backend):
    events = [*trajectory(Job(config, on_device(dataset, backend), backend))]
    losses = np.concatenate([event.losses for event in events])
    return losses, reference.flat(
        [arrays_of(events[-1].position.state.network, backend.to_numpy)]
    )


@pytest.mark.parametrize(
    "changes", [{"batch_size": 7, "optimizer": "adam", "epsilon": 1e-3}, {}]
)
def test_a_run_is_that_of_plain_numpy_on_images_deformed_one_by_one(
    backend, changes, monkeypatch
):
    """In every step of every chunk, warm-up and smaller last batches included, and
    deferred too.
    """
    config = TrainConfig(
        deform=True, epochs=2, hidden=(4,), init="glorot", report_every=30, **changes
    )
    dataset = varied(
        TINY, train_inputs=TINY.train.inputs[:64], train_labels=TINY.train.labels[:64]
    )
    losses, parameters = deformed_run(config, dataset, backend)
    (layers, batches), count, rows = reference.start(config, (36, 4, 10), 64), 0, []
    images, labels = [], []
    for step, batch in enumerate(batches):
        (noise,), (maps,) = draw_deformations(
            config, "float64", (6, 6), 1, len(batch), step
        )
        images.append(expected(config, TINY.train.inputs[batch], noise, maps))
        labels.append(TINY.train.labels[batch])
        rows.append(np.arange(count, count := count + len(batch)))
    monkeypatch.setattr(reference, "start", lambda *_: (layers, rows))
    x = np.concatenate(images).reshape(count, -1) / 255
    wanted = reference.plain_run(config, x, np.eye(10)[np.concatenate(labels)])
    assert_near(losses, wanted.losses, 1e-10)
    assert_near(parameters, wanted.parameters, 1e-10)


def test_what_is_not_a_grey_image_of_bytes_cannot_be_deformed(random, tmp_path):
    """A float image would be standardised pixel by pixel, and a stroke beside the
    others' become huge.
    """
    for shape, dtype, what in (
        ((4,), np.uint8, "float samples of 4 features"),
        ((4, 4, 3), np.uint8, "images of 4 x 4 x 3"),
        ((4, 4), np.float64, "float images of 4 x 4"),
    ):
        dataset = from_arrays(
            random.integers(0, 256, (6, *shape)).astype(dtype), np.arange(6) % 2
        )
        with pytest.raises(
            ConfigError,
            match=rf", uint8 \(n, rows, columns\), not {what}; leave it out$",
        ):
            Job(TrainConfig(deform=True), dataset, open_backend())
    (tmp_path / "t.csv").write_text("a,b,c\n" + "1,2,x\n3,4,y\n" * 5)
    outcome = call(
        "train",
        "--data-dir",
        tmp_path / "t.csv",
        "--label",
        "c",
        "--run-dir",
        tmp_path / "run",
        "--deform",
    )
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "--deform: needs images in shades of grey, " in outcome.err
    assert "not float samples of 2 features; leave it out" in outcome.err
    assert not (tmp_path / "run").exists()
