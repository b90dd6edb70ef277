"""The stand-in for CuPy keeps CuPy's rules, finds the faults that it is for, and never passes for a GPU.

The rules run on the real CuPy too, where there is a GPU: the stand-in is worth what these say there.
"""

import functools
import operator
import re
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import fields, make_dataclass
from pathlib import Path
from typing import Any

import array_api_compat
import cupy_stand_in
import numpy as np
import pytest
from backends import open_or_skip
from data_sets import on_device, synthetic

import mlp_xp.chunks
from mlp_xp.backend import BACKENDS, Backend, BackendError, BackendFailure, installed, open_backend
from mlp_xp.chunks import make_chunk
from mlp_xp.config import TrainConfig
from mlp_xp.losses import cross_entropy
from mlp_xp.training import Event, trajectory

HOST = np.arange(6.0).reshape(2, 3)
stand_in_only = pytest.mark.parametrize("cupy", [cupy_stand_in.NAME], indirect=True)


@pytest.fixture(
    params=[pytest.param("cupy", marks=pytest.mark.gpu, id="cupy"), pytest.param(cupy_stand_in.NAME)],
)
def cupy(request: pytest.FixtureRequest) -> types.ModuleType:
    """The real CuPy where there is a GPU, and the stand-in."""
    open_or_skip(request.param)
    import cupy

    return cupy


@pytest.fixture
def x(cupy: types.ModuleType) -> Any:
    """HOST on the device."""
    return cupy.asarray(HOST)


# Devices.


def check_devices(cupy: types.ModuleType) -> None:
    device = cupy.cuda.Device(0)
    assert cupy.cuda.Device is cupy.cuda.device.Device
    assert (int(device), repr(device)) == (0, "<CUDA Device 0>")
    assert device == cupy.cuda.Device(0)
    assert device != cupy.cuda.Device(1)
    assert device < cupy.cuda.Device(1)
    assert device != 0
    assert cupy.cuda.Device(device) == device
    with pytest.raises(TypeError, match="unhashable"):
        hash(device)
    with pytest.raises(TypeError, match="unhashable"):
        functools.lru_cache(id)(device)


def test_devices_compare_by_index_and_have_no_hash(cupy):
    check_devices(cupy)
    with pytest.raises(TypeError, match="unhashable"):
        hash(cupy.zeros(1))


def test_the_current_device_is_where_arrays_are_made(cupy):
    with cupy.cuda.Device(0) as device:
        assert device == cupy.cuda.Device() == cupy.zeros(1).device
    assert cupy.cuda.is_available()
    count = cupy.cuda.runtime.getDeviceCount()
    with pytest.raises(RuntimeError, match="cudaErrorInvalidDevice"):
        cupy.cuda.Device(count).use()
    with pytest.raises(RuntimeError, match="cudaErrorInvalidDevice"), cupy.cuda.Device(count):
        pass
    assert cupy.cuda.Device() == cupy.cuda.Device(0)


# Between host and device.


@pytest.mark.parametrize("convert", [np.asarray, np.array, np.ascontiguousarray, lambda x: np.asarray(x[0, 0])])
def test_no_array_becomes_numpys_by_itself(convert, x):
    with pytest.raises(TypeError, match="Implicit conversion to a NumPy array is not allowed"):
        convert(x)


def test_dlpack_does_not_lead_to_the_host(x):
    with pytest.raises((BufferError, RuntimeError)):
        np.from_dlpack(x)


def test_the_ways_out_copy(cupy, x):
    for out in (cupy.asnumpy(x), x.get()):
        assert type(out) is np.ndarray
        np.testing.assert_array_equal(out, HOST)
        out[:] = -1
    np.testing.assert_array_equal(x.get(), HOST)
    assert cupy.asnumpy(x.T).flags.c_contiguous
    assert (x.tolist(), x[1, 2].item()) == (HOST.tolist(), 5.0)


def test_the_way_in_copies(cupy):
    host = HOST.copy()
    arrays = [cupy.asarray(host), cupy.array(host)]
    host[:] = -1
    for array in arrays:
        np.testing.assert_array_equal(array.get(), HOST)
    assert cupy.asarray(arrays[0]) is arrays[0]
    assert cupy.array(arrays[0]) is not arrays[0]
    assert cupy.asarray([arrays[0][1, 2], arrays[0][0, 1]]).tolist() == [5.0, 1.0]


OPERATORS = [
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.matmul, operator.floordiv, operator.mod),
    *(operator.pow, operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge),
]


@pytest.mark.parametrize("operate", OPERATORS, ids=lambda f: f.__name__)
def test_an_operator_with_an_array_of_numpys_is_refused_on_either_side(operate, cupy):
    host, device = np.ones((2, 2)), cupy.ones((2, 2))
    with pytest.raises(TypeError):
        operate(device, host)
    with pytest.raises(TypeError):
        operate(host, device)
    assert operate(device, device).shape == (2, 2), "the operator itself is not what is refused"


@pytest.mark.parametrize("operate", [operator.iadd, operator.isub, operator.imul, operator.itruediv])
def test_an_operator_in_place_with_an_array_of_numpys_is_refused(operate, x):
    with pytest.raises(TypeError):
        operate(x, HOST)
    with pytest.raises(TypeError):
        operate(HOST.copy(), x)
    np.testing.assert_array_equal(x.get(), HOST)


@pytest.mark.parametrize(
    "call",
    [
        lambda xp, x, host: xp.add(x, host),
        lambda xp, x, host: xp.maximum(host, x),
        lambda xp, x, host: xp.exp(host),
        lambda xp, x, host: xp.stack([x, host]),
        lambda xp, x, host: xp.matmul(host, x),
        lambda xp, x, host: xp.where(x > 0, host, x),
        lambda xp, x, host: np.add(x, host),
        lambda xp, x, host: np.exp(x, out=host),
    ],
)
def test_a_function_of_an_array_of_numpys_is_refused(call, cupy):
    call(cupy, cupy.ones((2, 2)), cupy.ones((2, 2)))
    with pytest.raises(TypeError):
        call(cupy, cupy.ones((2, 2)), np.ones((2, 2)))


@stand_in_only
@pytest.mark.parametrize(
    "call",
    [
        lambda xp, x, host: xp.sum(host),
        lambda xp, x, host: xp.reshape(host, (4,)),
        lambda xp, x, host: xp.where(host > 0, x, x),
        lambda xp, x, host: xp.take(host, x.astype(int), axis=0),
        lambda xp, x, host: xp.take(x, host.astype(int), axis=0),
        lambda xp, x, host: x[host.astype(int)],
        lambda xp, x, host: xp.concatenate([x, host]),
        lambda xp, x, host: xp.zeros_like(host),
        lambda xp, x, host: xp.full((2, 2), host),
        lambda xp, x, host: xp.broadcast_arrays(x, host),
        lambda xp, x, host: x.__setitem__(0, host),
        lambda xp, x, host: x.dot(host),
    ],
)
def test_the_stand_in_refuses_where_cupy_might_go_to_the_host_or_copy_from_it(call, cupy):
    with pytest.raises(TypeError):
        call(cupy, cupy.ones((2, 2)), np.ones((2, 2)))


@stand_in_only
def test_no_gpu_has_objects_or_text(cupy):
    for thing in (["a"], [None], np.array([object()])):
        with pytest.raises(ValueError, match="Unsupported dtype"):
            cupy.asarray(thing)


def test_functions_of_numpys_compute_on_the_device(cupy, x):
    for result in (np.exp(x), np.sum(x), np.concatenate([x, x]), np.add(x, 1.0), np.isfinite(x)):
        assert type(result) is cupy.ndarray


# Numbers and arrays without dimensions.


@pytest.mark.parametrize("scalar", [2, 2.0, True, np.float32(2), np.float64(2), np.int64(2), np.bool_(True)])
def test_scalars_are_accepted_and_promote_as_numpys(scalar, cupy):
    for dtype in ("float32", "float64", "int64"):
        host, device = np.ones(3, dtype), cupy.ones(3, dtype)
        for operate in (operator.add, operator.mul, operator.truediv, operator.lt):
            for expected, result in ((operate(host, scalar), operate(device, scalar)),
                                     (operate(scalar, host), operate(scalar, device))):  # fmt: skip
                assert type(result) is cupy.ndarray
                assert result.dtype == expected.dtype
                np.testing.assert_array_equal(result.get(), expected)


def test_reductions_give_arrays_without_dimensions(cupy, x):
    for result in (cupy.sum(x), cupy.mean(x), cupy.max(x), cupy.argmax(x), cupy.any(x), x.sum(), cupy.std(x)):
        assert type(result) is cupy.ndarray
        assert result.shape == ()
    assert type(cupy.add(x[0, 0], x[0, 1])) is cupy.ndarray
    assert type(-x[0, 1]) is type(x[0, 1] * 2) is cupy.ndarray


def test_elements_are_views_without_dimensions(cupy, x):
    element, row = x[1, 2], x[1]
    assert type(element) is cupy.ndarray
    assert (element.shape, row.shape, x[..., 0].shape, x[None, 0, 1:].shape) == ((), (3,), (2,), (1, 2))
    element += 10
    row *= 2
    assert x.tolist() == [[0, 1, 2], [6, 8, 30]]
    assert element.item() == 30
    with pytest.raises(IndexError):
        x[2]
    with pytest.raises(TypeError, match="0-d"):
        iter(element)


def test_one_element_becomes_a_number(cupy, x):
    element = x[1, 2]
    assert (float(element), int(element), bool(element), complex(element)) == (5.0, 5, True, 5 + 0j)
    assert type(float(cupy.sum(x))) is float
    with pytest.raises(TypeError):
        operator.index(cupy.argmax(x))
    with pytest.raises(TypeError):
        range(cupy.argmax(x))
    with pytest.raises((TypeError, ValueError)):
        bool(x)


# In place.


def test_operators_in_place_change_the_array(cupy, x):
    same = x
    x += 1
    x *= x
    x -= 1.0
    x /= 2
    assert x is same
    np.testing.assert_array_equal(x.get(), ((HOST + 1) ** 2 - 1) / 2)
    single = cupy.ones(2, dtype="float32")
    single += cupy.ones(2, dtype="float64")
    assert single.dtype == "float32"
    assert single.tolist() == [2, 2]


@pytest.mark.parametrize(
    "operate", [lambda b: operator.itruediv(b, 255), lambda b: operator.iadd(b, 0.5), lambda b: operator.imul(b, -1.0)]
)
def test_floats_do_not_go_into_bytes_in_place(operate, cupy):
    with pytest.raises(TypeError):
        operate(cupy.ones(2, dtype="uint8"))


# Where a GPU does without a word what NumPy warns of or refuses.


def test_index_arrays_wrap_around(cupy, x):
    indices = cupy.asarray(np.array([2, -1, 5]))
    assert cupy.take(x, indices, axis=0).tolist() == x[indices].tolist() == [HOST[i].tolist() for i in (0, 1, 1)]
    assert x[0, indices].tolist() == x[..., 0, indices].tolist() == [2, 2, 2]


def test_no_floating_point_warnings(cupy):
    zeros = cupy.zeros(2)
    assert (1 / zeros).tolist() == [np.inf, np.inf]
    assert cupy.exp(zeros + 1e9).tolist() == [np.inf, np.inf]
    assert np.isnan((zeros / zeros).get()).all()
    assert cupy.asarray([1e300]).astype("float32").tolist() == [np.inf]


# The stand-in computes as NumPy does, through the real array_api_compat.cupy.


@pytest.mark.parametrize(
    "compute",
    [
        lambda xp, x: xp.matmul(x, xp.matrix_transpose(x)),
        lambda xp, x: x @ x.T,
        lambda xp, x: xp.astype(x > 1, xp.int64),
        lambda xp, x: xp.clip(x, 1.0, 2.0),
        lambda xp, x: xp.concat([x, -x], axis=1),
        lambda xp, x: xp.cumulative_sum(x, axis=1),
        lambda xp, x: xp.sort(x, axis=1, descending=True),
        lambda xp, x: xp.std(x, axis=0, correction=1.0),
        lambda xp, x: xp.permute_dims(x, (1, 0)),
        lambda xp, x: xp.sign(x - 1),
        lambda xp, x: xp.unique_values(x),
        lambda xp, x: xp.linalg.svdvals(x),
        lambda xp, x: xp.linalg.vector_norm(x, axis=1),
        lambda xp, x: xp.fft.rfft(x),
        lambda xp, x: xp.asarray(x, copy=True),
        lambda xp, x: xp.linspace(0, 1, 5),
        lambda xp, x: xp.round(x / 4),
        lambda xp, x: xp.tensordot(x, x),
        lambda xp, x: xp.take_along_axis(x, xp.argsort(x, axis=1), axis=1),
        lambda xp, x: divmod(x, 2)[1],
        lambda xp, x: abs(-x),
        lambda xp, x: x[x > 1],
    ],
)
def test_results_are_numpys(compute):
    stand_in, numpy = open_or_skip(cupy_stand_in.NAME), open_backend("numpy")
    with cupy_stand_in.installed():
        result = compute(stand_in.xp, stand_in.asarray(HOST))
    expected = compute(numpy.xp, HOST)
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(stand_in.to_numpy(result), expected)


# What it is for: each of these passes on another backend.


@pytest.mark.parametrize("name", ["numpy", "jax", "array-api-strict"])
def test_only_cupys_devices_cannot_be_hashed(name):
    """A cache over a backend whose fields made up its hash kept every CuPy run from taking a step."""
    old_backend = make_dataclass("old_backend", [field.name for field in fields(Backend)], frozen=True)

    @functools.lru_cache
    def make_chunk_of_old(backend: Any) -> Any:
        return backend

    backend = open_or_skip(name)
    assert make_chunk_of_old(old_backend(**{**vars(backend), "scan": None})).device is backend.device
    stand_in = open_or_skip(cupy_stand_in.NAME)
    with pytest.raises(TypeError, match="unhashable type: 'Device'"):
        make_chunk_of_old(old_backend(**{**vars(stand_in), "scan": None}))


FAULTS: dict[str, tuple[Callable[[Any, Any], Any], str, str]] = {
    "an array of NumPy's in an operation": (
        lambda logits, xp: logits + np.zeros(logits.shape),
        "TypeError",
        "Unsupported type <class 'numpy.ndarray'>",
    ),
    "np.asarray": (lambda logits, xp: np.asarray(logits), "TypeError", "Implicit conversion"),
    "a comparison as a bool": (
        lambda logits, xp: "zero" if xp.sum(logits) == 0 else "other",
        "DeviceSynchronized",
        "the host reads a value on the device while that is forbidden",
    ),
    "float": (lambda logits, xp: float(xp.sum(logits)), "DeviceSynchronized", "the host reads a value"),
    "get": (lambda logits, xp: getattr(logits, "get", lambda: 0)(), "DeviceSynchronized", "the host reads a value"),
    "a boolean index": (lambda logits, xp: logits[logits > 0], "DeviceSynchronized", "a boolean index: the host"),
    "print": (lambda logits, xp: f"{logits}", "DeviceSynchronized", "the host reads a value"),
}


def train(backend: Backend) -> list[Event]:
    config = TrainConfig(epochs=1, hidden=(4,), report_every=50)
    return list(trajectory(config, on_device(synthetic(60), backend), backend))


@pytest.fixture
def forgetful() -> Iterator[None]:
    """Chunks are made anew, before and after a fault is planted in them."""
    make_chunk.cache_clear()
    yield
    make_chunk.cache_clear()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_inside_a_chunk_is_found(fault, forgetful, monkeypatch):
    plant, error, message = FAULTS[fault]
    done = []

    def faulty(logits: Any, targets: Any, /, *, xp: Any) -> Any:
        done.append(plant(logits, xp))
        return cross_entropy(logits, targets, xp=xp)

    monkeypatch.setitem(mlp_xp.chunks.LOSSES, "classes", mlp_xp.chunks.LOSSES["classes"]._replace(loss=faulty))
    with pytest.raises((TypeError, BackendFailure), match=re.escape(message)) as caught:
        train(open_or_skip(cupy_stand_in.NAME))
    assert type(caught.value.__cause__ or caught.value).__name__ == error
    assert not done
    train(open_backend("numpy"))
    assert done, "NumPy does not mind"


def test_between_chunks_the_host_may_look():
    backend = open_or_skip(cupy_stand_in.NAME)
    array = backend.asarray(np.ones(2))
    look = backend.jit(lambda x: bool(x[0] == 1))
    with pytest.raises(BackendFailure, match="DeviceSynchronized"):
        look(array)
    assert bool(array[0] == 1), "the end of a chunk, by an error too, ends the ban"
    assert backend.to_numpy(backend.jit(lambda x: x + 1)(array)).tolist() == [2, 2]
    assert [event.closing for event in train(backend)][-1]


# It is opened as CuPy is, and leaves no trace.


def test_it_is_opened_by_the_real_opener_through_the_real_wrapper():
    backend = open_or_skip(cupy_stand_in.NAME)
    assert backend.name == "cupy"
    assert backend.device_name == "cuda:0"
    assert Path(backend.xp.__file__).parent == Path(array_api_compat.__file__).parent / "cupy"
    with cupy_stand_in.installed():
        assert open_backend("cupy") is backend
        assert open_backend("cupy", "0") is open_backend("cupy", "cuda:0") is backend
        for device in ("cuda:1", "gpu"):
            with pytest.raises(BackendError, match=f"device 'cuda:1'|device '{device}'.*choose one of cuda:0"):
                open_backend("cupy", device)


@pytest.mark.parametrize("fails", [False, True])
def test_the_real_cupy_is_put_back(fails, monkeypatch):
    """Whatever was there before: here a module that is told apart, and the package's own attribute."""
    real, wrapper = types.ModuleType("cupy"), types.ModuleType("array_api_compat.cupy")
    for name in ("cupy", "cupy.cuda", "cupyx", "cupy_backends"):
        monkeypatch.setitem(sys.modules, name, real)
    monkeypatch.setitem(sys.modules, "array_api_compat.cupy", wrapper)
    monkeypatch.setattr(array_api_compat, "cupy", wrapper, raising=False)
    before = ({**sys.modules}, [*sys.path], BACKENDS["cupy"])
    try:
        with cupy_stand_in.installed():
            import cupy

            assert cupy is not real
            assert array_api_compat.cupy is not wrapper
            assert sys.modules["cupy.cuda"] is cupy.cuda
            assert not {"cupyx", "cupy_backends"} & {*sys.modules}, "they import parts of cupy when they are looked at"
            with cupy_stand_in.installed():
                assert sys.modules["cupy"] is cupy
            assert sys.modules["cupy"] is cupy
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert {name: sys.modules[name] for name in before[0]} == before[0]
    assert not [name for name in {*sys.modules} - {*before[0]} if "cupy" in name]
    assert array_api_compat.cupy is wrapper
    assert ([*sys.path], BACKENDS["cupy"]) == before[1:]


def test_nothing_is_left_where_nothing_was(monkeypatch):
    for name in [name for name in sys.modules if "cupy" in name.split(".")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(array_api_compat, "cupy", raising=False)
    with cupy_stand_in.installed():
        assert array_api_compat.cupy is open_backend("cupy").xp
    assert not hasattr(array_api_compat, "cupy")
    assert not [name for name in sys.modules if "cupy" in name.split(".")]


@pytest.mark.parametrize("param", [cupy_stand_in.NAME, "numpy"])
def test_a_test_on_it_finds_it_and_no_other_does(param):
    import array_api_compat as package

    there = "stand_in" in str(getattr(sys.modules.get("cupy"), "__file__", ""))
    assert there is (param == cupy_stand_in.NAME)
    assert ("cupy" in vars(package)) is ("array_api_compat.cupy" in sys.modules)


# What the real CuPy shows without a GPU.


def names_of(cupy: types.ModuleType) -> dict[str, set[str]]:
    """All that may be used of it, by what has it."""
    parts = {"cupy": cupy, "linalg": cupy.linalg, "fft": cupy.fft}
    names = {name: {*part.__all__} if hasattr(part, "__all__") else {*dir(part)} for name, part in parts.items()}
    return names | {"ndarray": {*dir(cupy.ndarray)}, "Device": {*dir(cupy.cuda.Device)}}


def test_it_has_no_name_that_the_real_cupy_has_not():
    """Else a function or a conversion that works here is missing on a GPU."""
    if not installed("cupy"):
        pytest.skip("cupy is not installed")
    with cupy_stand_in.installed():
        ours = names_of(sys.modules["cupy"])
    theirs = names_of(pytest.importorskip("cupy"))
    pythons = {*dir(Python)} | {"_host", "_entered"}
    assert {part: names - theirs[part] - pythons for part, names in ours.items()} == {part: set() for part in ours}


class Python:
    """What every class has."""


def test_the_real_cupys_devices_are_as_the_stand_ins():
    if not installed("cupy"):
        pytest.skip("cupy is not installed")
    cupy = pytest.importorskip("cupy")
    assert "+stand-in" not in cupy.__version__
    check_devices(cupy)
    assert cupy.ndarray.__hash__ is None


# It never passes for a GPU.


def test_it_says_what_it_is():
    backend = open_or_skip(cupy_stand_in.NAME)
    assert backend.version.endswith("+stand-in")
    with cupy_stand_in.installed():
        import cupy
    assert cupy.cuda.runtime.getDeviceProperties(0)["name"] == b"stand-in: NumPy on the CPU"
    assert cupy.__doc__.startswith("A stand-in for CuPy")
