"""The stand-in for CuPy keeps CuPy's rules, and finds faults.

The tests of the rules run on the real CuPy too, where there is a GPU. They justify the
stand-in.
"""

import functools
import operator
import re
import types
from collections.abc import Callable
from typing import Any

import cupy_signatures
import cupy_stand_in
import numpy as np
import pytest
from backends import open_for_test
from data_sets import on_device, synthetic, varied

from mlp_xp.backends.failures import BackendError, BackendFailure
from mlp_xp.backends.opening import open_backend
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.job import Job
from mlp_xp.core.losses import cross_entropy
from mlp_xp.core.task import CLASSES, Task
from mlp_xp.core.training import Event, trajectory

HOST = np.arange(6.0).reshape(2, 3)


@pytest.fixture(
    params=[
        pytest.param("cupy", marks=pytest.mark.gpu),
        pytest.param(cupy_stand_in.NAME),
    ]
)
def cupy(request: pytest.FixtureRequest) -> types.ModuleType:
    """The real CuPy where there is a GPU, and the stand-in."""
    open_for_test(request.param)
    import cupy

    return cupy


pytestmark = pytest.mark.every_backend


def test_devices_are_equal_by_their_index_alone(cupy):
    device = cupy.cuda.Device(0)
    assert (int(device), repr(device)) == (0, "<CUDA Device 0>")
    assert device == cupy.cuda.Device(0) == cupy.cuda.Device(device)
    assert device not in (cupy.cuda.Device(1), 0)


def test_devices_and_arrays_have_no_hash(cupy):
    with pytest.raises(TypeError, match="unhashable"):
        functools.lru_cache(id)(cupy.cuda.Device(0))
    assert cupy.ndarray.__hash__ is None


def test_arrays_are_made_on_the_device_in_use(cupy):
    with cupy.cuda.Device(0):
        assert cupy.zeros(1).device == cupy.cuda.Device()
    with pytest.raises(RuntimeError, match="cudaErrorInvalidDevice"):
        cupy.cuda.Device(cupy.cuda.runtime.getDeviceCount()).use()


def test_no_array_becomes_numpys_by_itself(cupy):
    x = cupy.asarray(HOST)
    said = "Implicit conversion to a NumPy array is not allowed"
    for convert in (np.asarray, np.array, lambda x: np.asarray(x[0, 0])):
        with pytest.raises(TypeError, match=said):
            convert(x)
    with pytest.raises((BufferError, RuntimeError)):
        np.from_dlpack(x)


def test_what_is_copied_to_the_host_is_a_copy(cupy):
    x = cupy.asarray(HOST)
    for out in (cupy.asnumpy(x), x.get()):
        out[:] = -1
    np.testing.assert_array_equal(x.get(), HOST)


OPERATORS = [
    operator.add,
    operator.truediv,
    operator.matmul,
    operator.eq,
    operator.lt,
    operator.isub,
]
CALLS: list[Callable[..., Any]] = [
    *((lambda xp, x, host, f=f: f(x, host)) for f in OPERATORS),
    *((lambda xp, x, host, f=f: f(host, x)) for f in OPERATORS),
    lambda xp, x, host: xp.add(x, host),
    lambda xp, x, host: xp.exp(host),
    lambda xp, x, host: xp.stack([x, host]),
    lambda xp, x, host: xp.where(x > 0, host, x),
    lambda xp, x, host: np.add(x, host),
    lambda xp, x, host: np.exp(x, out=host),
]
# where CuPy might go to the host, or copy from it
STRICTER: list[Callable[..., Any]] = [
    lambda xp, x, host: xp.sum(host),
    lambda xp, x, host: xp.where(host > 0, x, x),
    lambda xp, x, host: xp.take(x, host.astype(int), axis=0),
    lambda xp, x, host: x[host.astype(int)],
    lambda xp, x, host: operator.setitem(x, ..., host),
    lambda xp, x, host: x.dot(host),
]


def test_arrays_of_numpys_are_refused(cupy):
    stands_in = cupy.__version__.endswith("+stand-in")
    for call in [*CALLS, *STRICTER] if stands_in else CALLS:
        # the operation itself is not refused
        call(cupy, cupy.ones((2, 2)), cupy.ones((2, 2)))
        with pytest.raises(TypeError):
            call(cupy, cupy.ones((2, 2)), np.ones((2, 2)))


def test_numpys_functions_return_arrays_of_the_device(cupy):
    ones = cupy.ones(2)
    assert {type(np.exp(ones)), type(np.concatenate([ones]))} == {cupy.ndarray}


@pytest.mark.parametrize("scalar", [2, 2.0, np.float64(2)])
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_scalars_promote_as_numpys(scalar, dtype, cupy):
    ones, expected = cupy.ones(3, dtype), np.ones(3, dtype) + scalar
    for result in (ones + scalar, scalar + ones):
        assert (type(result), result.dtype) == (cupy.ndarray, expected.dtype)


def test_single_elements_are_arrays_without_dimensions(cupy):
    x = cupy.asarray(HOST)
    many = (cupy.sum(x), cupy.argmax(x), x.sum(), x[1, 2], -x[0, 1], x[0, 1] * 2)
    assert {(type(each), each.shape) for each in many} == {(cupy.ndarray, ())}


def test_a_single_element_is_a_view_whose_value_can_be_read(cupy):
    x = cupy.asarray(HOST)
    element = x[1, 2]
    element += 10
    assert x.tolist()[1] == [3, 4, 15]
    assert (float(element), int(element), bool(element)) == (15.0, 15, True)


def test_no_array_is_an_index_and_several_elements_have_no_truth(cupy):
    x = cupy.asarray(HOST)
    with pytest.raises(TypeError):
        operator.index(cupy.argmax(x))
    with pytest.raises((TypeError, ValueError)):
        bool(x)


def test_operators_in_place_change_the_array(cupy):
    x = same = cupy.ones(2, dtype="float32")
    x += cupy.ones(2, dtype="float64")
    x /= 4
    assert x is same
    assert (x.dtype, x.tolist()) == ("float32", [0.5, 0.5])


def test_no_floats_go_into_bytes(cupy):
    with pytest.raises(TypeError):
        operator.itruediv(cupy.ones(2, dtype="uint8"), 255)


def test_indices_wrap_around(cupy):
    x, indices = cupy.asarray(HOST), cupy.asarray(np.array([2, -1, 5]))
    rows = HOST[[0, 1, 1]].tolist()
    assert cupy.take(x, indices, axis=0).tolist() == x[indices].tolist() == rows
    assert x[0, indices].tolist() == x[..., 0, indices].tolist() == [2, 2, 2]


ONLY_NUMPY: list[Callable[[Any], Any]] = [
    np.spacing,
    lambda x: np.insert(x, 0, 1),
    lambda x: np.exp(x, subok=False),
    lambda x: np.sum(x, initial=1),
    lambda x: x.sum(initial=1),
    lambda x: np.clip(x, min=0, max=1),
    lambda x: x.argsort(stable=True),
]


@pytest.mark.parametrize("call", ONLY_NUMPY)
def test_what_only_numpy_has_is_refused(call, cupy):
    call(HOST)
    with pytest.raises(TypeError):
        call(cupy.asarray(HOST))


def test_names_that_only_numpy_has_are_missing(cupy):
    assert not {"spacing", "insert", "vecdot"} & {*dir(cupy)}


@pytest.mark.needs("cupy")
def test_the_stand_in_has_only_what_cupy_has():
    with cupy_stand_in.installed():
        import cupy
        from cupy._signatures import SIGNATURES, read_signature

        names = {*cupy.__all__}
        names |= {f"ndarray.{name}" for name in dir(cupy.ndarray) if name[0] != "_"}
    assert not names - SIGNATURES.keys()
    # The real CuPy can be imported without a GPU.
    real = {
        line.partition("(")[0]: read_signature(line)
        for line in cupy_signatures.read_lines()
    }
    assert not SIGNATURES.keys() - real.keys()
    for name, signature in SIGNATURES.items():
        assert not signature.parameters.keys() - real[name].parameters.keys(), name


def test_a_result_goes_into_out(cupy):
    x, out = cupy.asarray(HOST), cupy.zeros((2, 3))
    assert cupy.add(x, x, out) is cupy.add(x, x, out=out) is out
    assert out.tolist() == (2 * HOST).tolist()


def test_no_overflow_warns(cupy):
    infinite = (
        1 / cupy.zeros(1),
        cupy.exp(cupy.full(1, 1e9)),
        cupy.asarray([1e300]).astype("float32"),
    )
    assert [each.tolist() for each in infinite] == [[np.inf]] * 3


# Its purpose: each of these faults passes on NumPy.


FAULTS: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "an array of NumPy's in an operation": (
        lambda x, xp: x + np.zeros(x.shape),
        "Unsupported type <class 'numpy.nd",
    ),
    "np.asarray": (lambda x, xp: np.asarray(x), "Implicit conversion"),
    "a comparison as a bool": (
        lambda x, xp: "zero" if xp.sum(x) == 0 else "other",
        "DeviceSynchronized",
    ),
    "float": (lambda x, xp: float(xp.sum(x)), "DeviceSynchronized"),
    "a boolean index": (lambda x, xp: x[x > 0], "a boolean index: the host reads"),
    "print": (lambda x, xp: f"{x}", "DeviceSynchronized"),
    "a device as a key": (
        lambda x, xp: {getattr(x, "device", None): x},
        "unhashable type: 'Device'",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_inside_a_chunk_is_found(fault):
    plant, message = FAULTS[fault]
    done = []

    def faulty(logits: Any, targets: Any, /, *, xp: Any) -> Any:
        done.append(plant(logits, xp))
        return cross_entropy(logits, targets, xp=xp)

    wrong = CLASSES._replace(loss=faulty)
    with pytest.raises((TypeError, BackendFailure), match=re.escape(message)):
        train(open_for_test(cupy_stand_in.NAME), wrong)
    assert not done
    train(open_backend("numpy"), wrong)
    assert done, "NumPy does not mind"


def test_between_chunks_the_host_may_look():
    backend = open_for_test(cupy_stand_in.NAME)
    array = backend.asarray(np.ones(2))
    with pytest.raises(BackendFailure, match="DeviceSynchronized"):
        backend.jit(lambda x: bool(x[0] == 1))(array)
    assert bool(array[0] == 1), "the end of a chunk, by an error too, ends the ban"
    assert [event.closing for event in train(backend)][-1]


# It is opened like CuPy, and its version names the stand-in.


def test_it_is_opened_by_the_real_opener():
    backend = open_for_test(cupy_stand_in.NAME)
    assert (backend.name, backend.device_name) == ("cupy", "cuda:0")
    assert backend.version.endswith("+stand-in")
    with cupy_stand_in.installed():
        assert open_backend("cupy", "0") is open_backend("cupy", "cuda:0") is backend
        for device in ("cuda:1", "gpu"):
            said = rf"device '{device}'.*choose one of cuda:0"
            with pytest.raises(BackendError, match=said):
                open_backend("cupy", device)


def train(backend: Backend, task: Task = CLASSES) -> list[Event]:
    config = TrainConfig(epochs=1, hidden=(4,), report_every=50)
    dataset = varied(on_device(synthetic(60), backend), task=task)
    return [*trajectory(Job(config, dataset, backend))]
