"""Deformed images as by SciPy, their random numbers, and training on them."""

from dataclasses import replace

import numpy as np
import pytest
import reference
from data_sets import TINY, on_device, varied
from helpers import arrays_of
from numerics import assert_all_equal, assert_near
from scipy.ndimage import map_coordinates

from mlp_xp import TrainConfig
from mlp_xp.core.deform import draw_deformations, make_deform, matrices
from mlp_xp.core.job import Job
from mlp_xp.core.training import trajectory

SHAPE = (9, 14)
CONFIG = TrainConfig(
    deform=True, batch_size=5, deform_pixels=2.0, deform_smoothness=1.5, seed=3
)


@pytest.mark.parametrize(
    "smoothness", [1.5, pytest.param(0.7, marks=pytest.mark.every_backend)]
)
def test_deformed_images_are_those_of_scipy(smoothness, backend, random):
    """Displacements are smoothed by more or less than a pixel, and reach over edges."""
    config = replace(CONFIG, deform_smoothness=smoothness)
    images = random.integers(0, 256, (5, *SHAPE), np.uint8)
    (noise,), (maps,) = draw_deformations(config, "float64", SHAPE, 1, 5, 7)
    actual = deformed(config, images, noise, maps, backend)
    expected = deformed_by_scipy(config, images, noise, maps)
    assert actual.dtype == np.float64
    # A position is a sum of 16 numbers twice, all below 128. A pixel differs by at most
    # 255 from the next.
    assert_near(actual, expected, 32 * 128 * 255 * np.finfo(float).eps)
    assert (np.abs(expected - images) > 0.5).mean() > 0.5
    corners = np.ix_(range(5), (0, -1), (0, -1))
    assert (expected[corners] == images[corners]).any(), "none is beyond two edges"


def test_without_any_strength_images_are_the_same_to_the_bit(backend32, random):
    config = replace(
        CONFIG, deform_pixels=0, deform_degrees=0, deform_scaling=0, deform_shear=0
    )
    images = random.integers(0, 256, (5, *SHAPE), np.uint8)
    (noise,), (maps,) = draw_deformations(config, "float32", SHAPE, 1, 5, 7)
    assert noise.std() > 0
    actual = deformed(config, images, noise, maps, backend32)
    np.testing.assert_array_equal(actual, images)


@pytest.mark.parametrize(
    ("shares", "right", "below"),
    [
        ((1, 0, 0, 0), (4, 0), (0, -4)),
        ((0, 1, 0, 0), (0, 4), (6, 0)),
        ((0, 0, 1, 0), (0, 6), (4, 0)),
        ((0, 0, 0, 1), (0, 4), (4, 4)),
        ((1, 0, 1, 0), (6, 0), (0, -4)),  # grows across, then turns
        ((1, 0, 0, 1), (4, 0), (4, -4)),  # leans, then turns
        ((0, 1, 0, 1), (0, 4), (6, 4)),  # leans, then grows down
    ],
)
def test_an_image_turns_clockwise_grows_and_leans(shares, right, below):
    """The matrix leads from where two pixels are now to where they were.

    They are four pixels right of the centre, and four below it.
    """
    config = replace(CONFIG, deform_degrees=90, deform_scaling=0.5, deform_shear=1)
    now = np.transpose([right, below])
    before = matrices(config, np.array(shares)) @ now
    np.testing.assert_allclose(before, [[0, 4], [4, 0]], atol=1e-14)


# Random numbers.


def test_the_numbers_of_a_step_depend_on_seed_and_step_alone():
    """However a run is cut into chunks, and for a smaller last batch too."""
    whole = draw_deformations(CONFIG, "float32", SHAPE, 10, 5, 100)
    for first, steps, size in ((0, 3, 5), (3, 6, 5), (9, 1, 5), (4, 1, 2)):
        part = draw_deformations(CONFIG, "float32", SHAPE, steps, size, 100 + first)
        assert_all_equal(part, [x[first : first + steps, :size] for x in whole])
    noise, maps = whole
    assert (noise.shape, noise.dtype) == ((10, 5, 2, 16, 13), np.uint8)
    assert (maps.shape, maps.dtype) == ((10, 5, 2, 2), np.float32)
    for x in whole:
        assert len(np.unique(x.reshape(50, -1), axis=0)) == 50


def test_the_numbers_are_those_of_philox_with_a_key_of_their_own():
    """Dropout has the key of the seed alone. The first 16 bytes are for the matrix."""
    noise, _ = draw_deformations(CONFIG, "float32", SHAPE, 1, 1, 0)
    words = np.random.Philox(key=CONFIG.seed + 2**64).random_raw(6)
    expected = words.astype("<u8").view(np.uint8)[16:]
    np.testing.assert_array_equal(noise.ravel()[:32], expected)


def test_images_turn_by_up_to_the_largest_angle_to_either_side():
    config = replace(CONFIG, batch_size=4000)
    _, (maps,) = draw_deformations(config, "float64", SHAPE, 1, 4000, 0)
    down, _ = np.moveaxis(maps + np.eye(2), 0, -1)
    angles = np.degrees(np.arctan2(-down[1], down[0]))
    for largest in (angles.max(), -angles.min()):
        assert 0.99 * config.deform_degrees < largest <= 1.2 * config.deform_degrees


# Training.


@pytest.mark.parametrize(
    "changes", [{"batch_size": 7, "optimizer": "adam", "epsilon": 1e-3}, {}]
)
def test_a_run_is_that_of_plain_numpy_on_images_deformed_one_by_one(
    backend, changes, monkeypatch
):
    """In every step of every chunk, deferred or not.

    Warm-up and smaller last batches are included.
    """
    config = TrainConfig(
        deform=True, epochs=2, hidden=(4,), init="glorot", report_every=30, **changes
    )
    inputs, labels = TINY.train.inputs[:64], TINY.train.labels[:64]
    dataset = on_device(varied(TINY, train_inputs=inputs, train_labels=labels), backend)
    events = [*trajectory(Job(config, dataset, backend))]
    network = events[-1].position.state.network

    layers, batches = reference.start(config, (36, 4, 10), 64)
    images = []
    for step, batch in enumerate(batches):
        (noise,), (maps,) = draw_deformations(
            config, "float64", (6, 6), 1, len(batch), step
        )
        images.append(deformed_by_scipy(config, inputs[batch], noise, maps))
    # Each image of the run becomes a sample of its own.
    samples = np.concatenate(batches)
    ends = np.cumsum([len(batch) for batch in batches])
    rows = np.split(np.arange(len(samples)), ends[:-1])
    monkeypatch.setattr(reference, "start", lambda *_: (layers, rows))
    x = np.concatenate(images).reshape(len(samples), -1) / 255
    expected = reference.plain_run(config, x, np.eye(10)[labels[samples]])

    losses = np.concatenate([event.losses for event in events])
    assert_near(losses, expected.losses, 1e-10)
    parameters = reference.flat([arrays_of(network, backend.to_numpy)])
    assert_near(parameters, expected.parameters, 1e-10)


def deformed(config, images, noise, maps, backend):
    """Deform images on a backend. Return them on the host."""
    deform = backend.jit(make_deform(config, images.shape[1:], backend))
    arrays = images, noise, maps.astype(backend.dtype_name)
    return backend.to_numpy(deform(*map(backend.asarray, arrays)))


def deformed_by_scipy(config, images, noise, maps):
    """Deform images pixel by pixel, instead of by matrices.

    Beyond an edge, SciPy repeats the edge too.
    """
    rows, columns = images.shape[1:]
    unit = config.deform_pixels / np.sqrt((2**16 - 1) / 12)
    results = []
    for image, fields, m in zip(images, noise - 127.5, maps, strict=True):
        _, points_across, points_down = fields.shape
        place = np.indices(image.shape).astype(float)
        for y, x in np.ndindex(rows, columns):
            across = bells(x, points_across, config.deform_smoothness)
            down = bells(y, points_down, config.deform_smoothness)
            field = np.einsum("fxy,x,y->f", fields, across, down)
            from_centre = y - (rows - 1) / 2, x - (columns - 1) / 2
            place[:, y, x] += m @ from_centre + unit * field
        image = image.astype(float)
        results.append(map_coordinates(image, place, order=1, mode="nearest"))
    return np.array(results)


def bells(place, count, deviation):
    """Return the values of Gaussians around the points of the grid, at a place.

    Three points lie before the first pixel.
    """
    points = max(1, deviation) * (np.arange(count) - 3)
    g = np.exp(-((points - place) ** 2) / (2 * deviation**2))
    return g / np.sqrt((g**2).sum())
