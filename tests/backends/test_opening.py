"""Opening a backend, its refusals, and the way of arrays in and out."""

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import array_api_compat.numpy
import cupy_stand_in
import helpers
import numpy as np
import pytest
from backends import open_for_test
from data_sets import TINY, on_device, synthetic
from helpers import Namespace, arrays_of
from numerics import assert_close

from mlp_xp import from_arrays, load_dataset, load_run, train
from mlp_xp.backends import BACKENDS
from mlp_xp.backends.failures import BackendError
from mlp_xp.backends.foreign import _version_of, copy_to_host
from mlp_xp.backends.opening import open_backend, open_backend_of, open_namespace
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.functional import ACTIVATIONS
from mlp_xp.core.network import Layer
from mlp_xp.parity import check, trace

refusal = partial(helpers.refusal, BackendError, open_backend)


def test_opening_twice_gives_one_backend(backend):
    """So that functions compiled for it are not compiled again.

    A run records the name of its device, and is resumed on it.
    """
    assert open_backend(backend.name, backend.device_name) is backend
    assert open_backend(backend.name, backend.device_name, "float32") is not backend
    assert backend.device in (None, backend.asarray(np.ones(2)).device)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "cupy"])
def test_an_unknown_device_is_refused_with_those_there_are(name, device):
    start, _, known = refusal(name, device=device).partition("; choose one of ")
    assert start == f"backend {name}: device {device!r} is not available"
    assert "cpu" in known.lower()


@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "numpy"])
def test_a_missing_library_is_told_with_the_pip_line(name, monkeypatch):
    module = name.replace("-", "_")
    monkeypatch.setitem(sys.modules, module, None)
    requirement = '"cupy-cuda12x[ctk]"' if name == "cupy" else name
    line = f"{sys.executable} -m pip install {requirement}"
    words = f"{module} is not installed; install it with: {line}"
    assert refusal(name).startswith(f"backend {name}: {words}")


def test_a_broken_library_is_not_called_missing(tmp_path, monkeypatch, forget):
    forget("jax")
    fault = "libcudart.so.12: cannot open\nand a second line"
    (tmp_path / "jax.py").write_text(f"raise ImportError({fault!r})")
    monkeypatch.syspath_prepend(tmp_path)
    message = refusal("jax")
    words = "jax is installed but cannot be imported: ImportError: libcudart.so.12: c"
    assert message.startswith(f"backend jax: {words}")
    assert "pip install" not in message


@pytest.mark.parametrize("lost", ["full", "cuda.runtime.getDeviceCount"])
def test_cupy_without_a_driver_or_the_libraries_of_its_kernels_says_so(
    lost, monkeypatch
):
    """CuPy's error for a driver is a RuntimeError.

    The libraries are looked for only at first use. On a machine with a GPU, the fixture
    `backend` tests the real CuPy.
    """

    def fail(*args):
        raise RuntimeError("libnvrtc.so.12: cannot open") from None

    with cupy_stand_in.installed():
        monkeypatch.setattr(f"cupy.{lost}", fail)
        message = refusal("cupy")
    assert "is installed but finds no usable GPU" in message
    words = "RuntimeError: libnvrtc.so.12: cannot open; check that nvidia-smi shows a "
    assert words in message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "variables", "words"),
    [
        ("jax", {"JAX_PLATFORMS": "no"}, "Unable to initialize backend 'no'"),
        ("jax", {"JAX_ENABLE_X64": "maybe"}, "invalid truth value 'maybe' for env"),
        # On a GPU the default for float32 may be TF32, with 10 bits.
        ("jax", {}, "highest"),
        ("jax", {"JAX_DEFAULT_MATMUL_PRECISION": "tensorfloat32"}, "tensorfloat32"),
        ("jax.numpy:", {}, "of float64 becomes a float32 array there, and array([ 0.5"),
    ],
)
def test_jax_in_a_fresh_process_says_its_faults_and_keeps_the_users_choices(
    name, variables, words
):
    """JAX reads the environment when it is first asked for its devices."""
    code = [sys.executable, "-W", "error", "-c", OPEN_JAX.replace("NAME", repr(name))]
    run = subprocess.run(
        code, capture_output=True, text=True, check=True, env=os.environ | variables
    )
    assert run.stdout.count("\n") == 1
    assert words in run.stdout


OPEN_JAX = """
import mlp_xp
try:
    mlp_xp.open_backend(NAME)
    import jax
    print(jax.config.jax_default_matmul_precision)
except mlp_xp.errors.MlpXpError as error:
    print(error)
"""


# module:namespace, of the libraries in conftest.py.


def test_a_module_of_the_current_folder_is_found(habits):
    assert open_backend("habits:without_device").name == "habits:without_device"
    # It is torch that is meant, not a module pytorch.
    assert refusal("pytorch").endswith("sparse, tensorflow")


@pytest.mark.parametrize(
    "name", ["array_api_strict:", "habits:without_device", "device_hook:"]
)
def test_a_namespace_trains_as_numpy(name, habits, forget):
    """Also without the device keyword, and with the documented hook for a device.

    This library refuses to mix devices.
    """
    config = TrainConfig(epochs=1, hidden=(4,), report_every=100)

    def losses(backend):
        dataset = on_device(synthetic(100), backend)
        return [report.loss for report in train(config, dataset, backend)]

    backend = open_backend(name)
    assert losses(backend) == losses(open_backend())
    assert open_backend(name, backend.device_name) is backend
    forget("device_hook")


def test_a_namespace_in_float32_needs_no_float64(habits):
    assert open_backend("habits:only_float32", dtype="float32").dtype_name == "float32"


def test_a_hook_makes_arrays_that_numpy_cannot_read_usable(habits):
    backend = open_backend("habits:Hook")
    array = backend.asarray(np.arange(3))
    assert type(array).__name__ == "Boxed"
    assert backend.to_numpy(array).tolist() == [0, 1, 2]


def test_an_entry_point_is_a_backend_by_name(tmp_path, monkeypatch, forget):
    """Its version is that of its package, which has it in its metadata only."""
    (tmp_path / "far_arrays.py").write_text("from array_api_compat.numpy import *\n")
    info = tmp_path / "far-4.2.dist-info"
    info.mkdir()
    for name, text in {
        "METADATA": "Metadata-Version: 2.1\nName: far\nVersion: 4.2\n",
        "top_level.txt": "far_arrays\n",
        "entry_points.txt": "[mlp_xp.backends]\nfar = far_arrays\n",
    }.items():
        (info / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    # not the list of conftest.py
    anew = importlib.metadata.packages_distributions.__wrapped__
    monkeypatch.setattr(importlib.metadata, "packages_distributions", anew)
    backend = open_backend("far")
    found = backend.name, backend.version, backend.xp.__name__
    assert found == ("far", "4.2", "far_arrays")
    # The hooks of this package are known too.
    assert ", dask, " in refusal("zzz")
    assert ", far, or " in refusal("zzz")
    forget("far_arrays")


def test_the_namespace_of_an_array_may_have_no_name():
    namespace = SimpleNamespace(**vars(array_api_compat.numpy))
    del namespace.__name__

    class Array(np.ndarray):
        def __array_namespace__(self, api_version=None):
            return namespace

    backend = open_backend_of(np.zeros(2).view(Array))
    assert (backend.xp, backend.name) == (namespace, "types.SimpleNamespace")
    assert open_backend_of(np.zeros(3).view(Array)) is backend


# A lazy library, as dask.persist is: otherwise its graph grows from step to step.


def test_a_lazy_library_computes_all_arrays_of_a_result_at_once():
    calls = []

    def one_more(*arrays):
        calls.append(len(arrays))
        return [x + 1 for x in arrays]

    backend = open_lazy(one_more)
    x = backend.asarray(np.arange(2.0))
    layer, y = backend.jit(lambda x: (Layer(x, 2 * x), 3 * x))(x)
    assert isinstance(layer, Layer)
    assert [array.tolist() for array in (*layer, y)] == [[1, 2], [1, 3], [1, 4]]
    assert calls == [3]


def test_a_library_with_a_hook_knows_its_own_arrays():
    class Own(np.ndarray):
        """Arrays whose namespace cannot be opened without the hook."""

        def __array_namespace__(self, api_version=None):
            return SimpleNamespace()

    def asarray(x, **options):
        return np.asarray(x, **options).view(Own)

    xp = Namespace(asarray=asarray)
    backend = open_namespace(SimpleNamespace(xp=xp), name="hooked")
    assert backend.like(backend.asarray(np.ones(2))) is backend


def test_the_version_of_a_wrapped_library_is_its_own():
    xp = SimpleNamespace(__name__="array_api_compat.numpy")
    assert _version_of("any", xp) == np.__version__


def open_lazy(materialise: Callable) -> Backend:
    hook = SimpleNamespace(xp=array_api_compat.numpy, materialise=materialise)
    return open_namespace(hook, name="lazy")


# In and out.


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        np.arange(20000.0).reshape(200, 100).T,
        np.arange(10)[::-2],
        np.array([0.1, -0.0, np.inf, 1e-310]),
        np.array(3.0),
        np.zeros((0, 3)),
        np.array([True, False]),
    ],
)
def test_an_array_comes_back_to_the_bit(array, backend):
    device = backend.asarray(array)
    assert device.shape == array.shape
    host = backend.to_numpy(device)
    assert type(host) is np.ndarray
    assert host.dtype == array.dtype
    assert host.tobytes() == array.tobytes(), "-0.0 is not 0.0"


@pytest.mark.every_backend
@pytest.mark.parametrize("size", [1000, 20000])
def test_neither_way_shares_memory(size, backend):
    memory = np.zeros(size + 8)
    # JAX on a CPU could use memory that begins at a multiple of 64 bytes.
    start = -memory.ctypes.data % 64 // 8
    host = memory[start : start + size]
    device = backend.asarray(host)
    assert device.dtype == backend.dtype
    host[:] = 1
    out = backend.to_numpy(device)
    assert not out.any()
    out[:] = 2  # it may be written to
    again = backend.to_numpy(device)
    device += 3  # in place where the library has such an operation
    assert not again.any()
    assert (host == 1).all()


def test_arrays_come_back_by_dlpack_or_else_by_numpys_own_way():
    for array in (OnAnotherDevice(), OldStrict()):
        host = copy_to_host(array)
        assert host.tolist() == [0, 1, 2]
        host[0] = 5  # it is a copy, and may be written to


class OnAnotherDevice:
    """As dpnp's arrays: DLPack only where a copy to the CPU is asked for."""

    def __dlpack_device__(self):
        return (14, 0)

    def __dlpack__(self, *, dl_device=None, **options):
        if dl_device is None:
            raise BufferError("device")
        return np.arange(3.0).__dlpack__(dl_device=dl_device, **options)

    def __array__(self, *args, **kwargs):
        raise TypeError("implicit conversion")


class OldStrict:
    """Arrays as of array-api-strict 2022.12: DLPack of an older standard."""

    def __dlpack_device__(self):
        return (1, 0)

    def __dlpack__(self, **options):
        raise ValueError("max_version")

    def __array__(self, *args, **kwargs):
        return np.arange(3.0)


# PyTorch.


@pytest.mark.needs("torch")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_pytorchs_own_sigmoid_is_right_to_rounding(dtype):
    """In single numbers far from 0 too, against long doubles."""
    backend = open_for_test("torch", dtype=dtype)
    own, plain = backend.activation("sigmoid"), ACTIVATIONS["sigmoid"]
    assert own.function is not plain.function
    assert own._replace(function=plain.function) == plain
    x = np.r_[np.linspace(-30, 30, 601), -800, -200, 200, 800].astype(dtype)
    with np.errstate(over="ignore", under="ignore"):
        expected = (1 / (1 + np.exp(-x.astype(np.longdouble)))).astype(dtype)
    actual, _ = own.function(backend.asarray(x), xp=backend.xp)
    # Relative. The operations of `functional.sigmoid` have it absolute.
    assert_close(actual, expected, backend, rtol=8 * np.finfo(dtype).eps)


@pytest.mark.needs("torch")
@pytest.mark.every_backend
def test_pytorch_keeps_no_graph_of_data_that_require_a_gradient():
    """A graph that grew with each step would fill the memory."""
    torch, backend = pytest.importorskip("torch"), open_for_test("torch")
    X = torch.rand((40, 3), requires_grad=True)
    dataset = from_arrays(X, [0, 1] * 20, 0.25, backend=backend)
    config = TrainConfig(epochs=2, hidden=(2,), batch_size=10)
    *_, report = train(config, dataset, backend)
    arrays = arrays_of(report.model.network, lambda array: array)
    assert not any(array.requires_grad for array in arrays)
    assert X.requires_grad


@pytest.mark.slow
def test_the_name_of_a_library_stands_for_its_backend(data_dir, tmp_path, no_pictures):
    """In all functions that take a backend."""
    strict, config = "array-api-strict", TrainConfig(epochs=1, hidden=(4,))
    dataset = load_dataset(data_dir, strict)
    assert repr(dataset.train.inputs).startswith("Array(")
    *_, report = train(config, TINY, "numpy", run_dir=tmp_path)
    for model in (report.model.on(strict), load_run(tmp_path, strict)):
        assert model.backend is open_backend(strict)
    comparisons = [*check(config, TINY, [strict], 3)]
    assert all(comparison.agrees for comparison in comparisons)
    assert not trace(config, TINY, strict, 2).deviations
