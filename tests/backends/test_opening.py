"""Opening a backend, the refusals a user may meet, and the way in and out."""

import os
import subprocess
import sys
import types
from pathlib import Path

import array_api_compat.numpy
import cupy_stand_in
import numpy as np
import pytest
from backends import open_for_test
from data_sets import on_device, synthetic
from helpers import NAMESPACE

from mlp_xp import from_arrays, train
from mlp_xp.backends import BACKENDS
from mlp_xp.backends.failures import BackendError, BackendFailure
from mlp_xp.backends.foreign import copy_to_host
from mlp_xp.backends.opening import open_backend, open_backend_of, open_namespace
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.functional import ACTIVATIONS
from mlp_xp.core.network import Layer
from mlp_xp.declared import ConfigError

NAMELESS = types.SimpleNamespace(**vars(array_api_compat.numpy) | {"__name__": ""})
del NAMELESS.__name__
MODULES = {
    "cupy": "cupy",
    "jax": "jax",
    "torch": "torch",
    "array-api-strict": "array_api_strict",
}


def refusal(*args, **kwargs) -> str:
    """The message of the refusal, held to what each one owes: one line, and the exit
    code of bad usage.
    """
    with pytest.raises(BackendError) as caught:
        open_backend(*args, **kwargs)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    assert caught.value.__cause__ is caught.value.__context__, "the cause is not hidden"
    return str(caught.value)


class Blocker:
    """Finds nothing for a module and what is in it, as if it were not installed."""

    def __init__(self, name: str, error: Exception | None = None) -> None:
        self.name, self.error = name, error

    def find_spec(self, name: str, path=None, target=None) -> None:
        if name.partition(".")[0] == self.name:
            raise self.error or ModuleNotFoundError(
                f"No module named {name!r}", name=name
            )


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch):
    """Make a library look as if it had never been imported, until the test ends."""

    def forget_one(name: str) -> None:
        for module in [m for m in sys.modules if m.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, module)

    return forget_one


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(
        ConfigError,
        match=r"^dtype: 'flaot32' is not known \(did you mean 'float32'\?\)",
    ):
        open_backend("numpy", dtype="flaot32")
    message = refusal("nunpy")
    assert message.startswith("backend: 'nunpy' is not known (did you mean 'numpy'?)")
    assert all(name in message for name in BACKENDS)
    assert "did you mean" not in refusal("zzz")


@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "cupy"])
def test_unknown_devices_are_refused_with_those_there_are(name):
    for device in ("nonsense", "cuda:99"):
        message = refusal(name, device=device)
        assert message.startswith(
            f"backend {name}: device {device!r} is not available; choose one of "
        )
        assert "cpu" in message.lower()


@pytest.mark.parametrize("name", MODULES)
def test_a_library_that_is_not_installed_is_told_with_the_pip_line(
    name, monkeypatch, forget
):
    forget(MODULES[name])
    monkeypatch.setattr(sys, "meta_path", [Blocker(MODULES[name]), *sys.meta_path])
    message = refusal(name)
    requirement = '"cupy-cuda12x[ctk]"' if name == "cupy" else name
    assert message.startswith(
        f"backend {name}: {MODULES[name]} is not installed; install it with: "
    )
    assert f"{sys.executable} -m pip install {requirement}" in message


def test_a_library_that_is_broken_is_not_called_missing(monkeypatch, forget):
    forget("jax")
    error = ImportError(
        "libcudart.so.12: cannot open shared object file\nand a second line"
    )
    monkeypatch.setattr(sys, "meta_path", [Blocker("jax", error), *sys.meta_path])
    message = refusal("jax")
    assert message.startswith("backend jax: jax is installed but cannot be imported: ")
    assert "libcudart.so.12: cannot open shared object file" in message
    assert "pip install" not in message


# CuPy: on a machine with a GPU the real one opens, and the fixture `backend` tests it;
# here it must say why it cannot.


@pytest.mark.parametrize("lost", ["full", "cuda.runtime.getDeviceCount"])
def test_cupy_without_a_driver_or_the_libraries_of_its_kernels_says_so(
    lost, monkeypatch
):
    """CuPy's error for a driver is a RuntimeError. The libraries are looked for only at
    first use.
    """

    def fail(*args):
        raise RuntimeError("libnvrtc.so.12: cannot open") from None

    with cupy_stand_in.installed():
        monkeypatch.setattr(f"cupy.{lost}", fail)
        message = refusal("cupy")
    assert "is installed but finds no usable GPU" in message
    assert (
        "RuntimeError: libnvrtc.so.12: cannot open; check that nvidia-smi shows a GPU"
        in message
    )


# JAX, which starts only when it is first asked for its devices, and reads the
# environment then.


OPEN_JAX = """
import mlp_xp
try:
    mlp_xp.open_backend(NAME)
    import jax
    print(jax.config.jax_default_matmul_precision)
except mlp_xp.errors.MlpXpError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "variables", "said"),
    [
        (
            "jax",
            {"JAX_PLATFORMS": "nonsense"},
            "RuntimeError: Unable to initialize backend 'nonsense'",
        ),
        (
            "jax",
            {"JAX_ENABLE_X64": "maybe"},
            "invalid truth value 'maybe' for environment 'JAX_ENABLE_X64'",
        ),
        # On a GPU the default for float32 may be TF32, with 10 bits.
        ("jax", {}, "highest"),
        ("jax", {"JAX_DEFAULT_MATMUL_PRECISION": "tensorfloat32"}, "tensorfloat32"),
        (
            "jax.numpy:",
            {},
            "of float64 becomes a float32 array there, and array([ 0.5, -1.5], dtype=float32) back on",
        ),
    ],
)
def test_jax_in_a_fresh_process_says_what_is_wrong_and_keeps_what_is_chosen(
    name, variables, said
):
    code = [sys.executable, "-W", "error", "-c", OPEN_JAX.replace("NAME", repr(name))]
    run = subprocess.run(
        code, capture_output=True, text=True, check=True, env=os.environ | variables
    )
    assert run.stdout.count("\n") == 1
    assert said in run.stdout


# module:namespace, of libraries with habits of their own.


STRANGERS = (
    NAMESPACE
    + """

def asarray(x, dtype=None, copy=None):
    return numpy.asarray(x, dtype=dtype, copy=copy)


def arange(stop, dtype=None):
    return numpy.arange(stop, dtype=dtype)


def ones(shape, dtype=None):
    return numpy.ones(shape, dtype=dtype)


class OnlyFloat32(Namespace):
    def __getattr__(self, name):
        return getattr(numpy, "" if name == "float64" else name)


class Boxed:  # an array that NumPy knows nothing of
    def __init__(self, x, dtype=None, copy=None):
        self.value = numpy.asarray(x, dtype=dtype, copy=copy)
        self.dtype, self.shape = self.value.dtype, self.value.shape


def fails(*args, **kwargs):
    raise RuntimeError("no array\\ntoday")


without_device = Namespace(asarray=asarray, arange=arange, ones=ones)
only_float32 = OnlyFloat32()
boxes = Namespace(asarray=Boxed)
failing = Namespace(asarray=fails)
sharing = Namespace(asarray=lambda x, dtype=None, copy=None: numpy.asarray(x, dtype=dtype))
widening = Namespace(asarray=lambda x, dtype=None, copy=None: numpy.asarray(x, dtype="float64"))
inexact = Namespace(asarray=lambda x, dtype=None, copy=None: numpy.asarray(x, dtype=dtype) * int(1 + 2 * (x[0] == 0.5)))


class WithAllNames:  # as a module that imports all of a library's names
    xp = boxes

    def __getattr__(self, name):
        return getattr(numpy, name)

    def to_numpy(self, x):
        return x.value.copy()


Hook = WithAllNames()
"""
)


@pytest.fixture
def strangers(tmp_path, monkeypatch, forget):
    """A module `habits` in the current folder, which is not on Python's path."""
    (tmp_path / "habits.py").write_text(STRANGERS, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield "habits"
    forget("habits")


def test_a_module_of_the_current_folder_is_found(strangers):
    assert "or name any other module as habits:" in refusal("habits")
    assert refusal("pytorch").endswith("sparse, tensorflow"), (
        "it is torch that is meant, not a module pytorch"
    )
    assert open_backend("habits:without_device").name == "habits:without_device"


@pytest.mark.parametrize(
    "name", ["array_api_strict:", "habits:without_device", "device_hook:"]
)
def test_a_namespace_trains_as_numpy(name, strangers, monkeypatch, forget):
    """Also without the device keyword, and with the documented hook for a device:
    strict refuses to mix devices.
    """
    config, numpy, backend = (
        TrainConfig(epochs=1, hidden=(4,), report_every=100),
        open_backend(),
        open_backend(name),
    )
    expected = [
        report.loss for report in train(config, on_device(synthetic(100), numpy), numpy)
    ]
    assert [
        report.loss
        for report in train(config, on_device(synthetic(100), backend), backend)
    ] == expected
    assert open_backend(name, backend.device_name) is backend
    forget("device_hook")


def test_less_than_a_namespace_in_float64_may_be_enough(strangers):
    assert open_backend("habits:only_float32", dtype="float32").dtype_name == "float32"
    backend = open_backend("habits:Hook")
    array = backend.asarray(np.arange(3))
    assert (type(array).__name__, backend.to_numpy(array).tolist()) == (
        "Boxed",
        [0, 1, 2],
    )


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no_such_module:xp", "No module named 'no_such_module'"),
        ("array_api_compat:nonsense", "No module named 'array_api_compat.nonsense'"),
        ("array_api_strict:...", "No module named 'array_api_strict.'"),
        ("raises_on_import:", "imported: SystemExit: 3"),
        (
            "numpy:pi",
            "does not implement the array API standard: it lacks abs, all, arange, argmax, asarray, astype,",
        ),
        ("habits:only_float32", "it lacks float64"),
        (
            "habits:failing",
            "cannot be copied to it and back: RuntimeError: no array today",
        ),
        ("habits:widening", "[255, 0] of uint8 becomes a float64 array there"),
        (
            "habits:inexact",
            "a float64 array there, and array([ 1.5, -4.5]) back on the host; set it up for",
        ),
        (
            "habits:boxes",
            "TypeError: NumPy cannot read a habits.Boxed; a hook with to_numpy may help",
        ),
        (
            "habits:sharing",
            "its asarray(x, copy=True) does not copy: an array of 2 uint8 changes with the NumPy array",
        ),
    ],
)
def test_a_namespace_that_lacks_something_or_returns_something_else_is_refused(
    name, why, strangers
):
    Path("raises_on_import.py").write_text("raise SystemExit(3)", "utf-8")
    message = refusal(name)
    assert message.startswith(f"backend {name.removesuffix(':')}: ")
    assert why in message


def test_the_namespace_of_an_array_may_have_no_name():
    class Array(np.ndarray):
        def __array_namespace__(self, api_version=None):
            return NAMELESS

    backend = open_backend_of(np.zeros(2).view(Array))
    assert (backend.xp, backend.name) == (NAMELESS, "SimpleNamespace")
    assert open_backend_of(np.zeros(3).view(Array)) is backend


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
    """As array-api-strict's arrays up to 2022.12: DLPack of an older version of the
    standard.
    """

    def __dlpack_device__(self):
        return (1, 0)

    def __dlpack__(self, **options):
        raise ValueError("max_version")

    def __array__(self, *args, **kwargs):
        return np.arange(3.0)


@pytest.mark.parametrize("kind", [OnAnotherDevice, OldStrict])
def test_arrays_come_back_by_dlpack_or_else_by_numpys_own_way(kind):
    host = copy_to_host(kind())
    assert host.tolist() == [0, 1, 2]
    host[0] = 5  # it is a copy, and may be written to


def test_a_lazy_library_computes_all_arrays_of_a_result_at_once():
    """As dask.persist does: otherwise its graph grows from the first step to the last."""
    calls, count = [], None

    def materialise(*arrays):
        calls.append(len(arrays))
        return [x + 1 for x in arrays[:count]]

    backend = open_namespace(
        types.SimpleNamespace(xp=array_api_compat.numpy, materialise=materialise),
        name="lazy",
    )
    layer, y = backend.jit(lambda x: (Layer(x, 2 * x), 3 * x))(
        backend.asarray(np.arange(2.0))
    )
    assert isinstance(layer, Layer)
    assert [array.tolist() for array in (*layer, y)] == [[1, 2], [1, 3], [1, 4]]
    assert calls == [3]
    count = -1
    with pytest.raises(
        BackendFailure, match="materialise returns 2 arrays instead of 3"
    ):
        backend.jit(lambda x: (x, x, x))(np.ones(2))


def test_an_entry_point_is_a_backend_by_name(tmp_path, monkeypatch, forget):
    """Its version is that of its package, which has it in its metadata only."""
    (tmp_path / "far_arrays.py").write_text("from array_api_compat.numpy import *\n")
    info = tmp_path / "far-4.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: far\nVersion: 4.2\n")
    (info / "top_level.txt").write_text("far_arrays\n")
    (info / "entry_points.txt").write_text("[mlp_xp.backends]\nfar = far_arrays\n")
    monkeypatch.syspath_prepend(tmp_path)
    backend = open_backend("far")
    assert (backend.name, backend.version, backend.xp.__name__) == (
        "far",
        "4.2",
        "far_arrays",
    )
    assert ", dask, " in refusal("zzz"), "the hooks of this package"
    assert ", far, or " in refusal("zzz")
    forget("far_arrays")


# In and out.


ARRAYS = [
    np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    np.arange(20000.0).reshape(200, 100).T,
    np.arange(10)[::-2],
    np.array([0.1, -0.0, np.inf, 1e-310]),
    np.array(3.0),
    np.zeros((0, 3)),
    np.array([True, False]),
]


@pytest.mark.parametrize(
    "array", ARRAYS, ids=lambda a: f"{a.dtype}-{'x'.join(map(str, a.shape))}"
)
def test_in_and_out_again(array, backend):
    device = backend.asarray(array)
    assert device.shape == array.shape
    host = backend.to_numpy(device)
    assert type(host) is np.ndarray
    assert host.dtype == array.dtype
    assert host.tobytes() == array.tobytes(), "to the bit: -0.0 is not 0.0"


@pytest.mark.every_backend
@pytest.mark.parametrize("size", [1000, 20000])
def test_neither_way_shares_memory(size, backend):
    memory = np.zeros(size + 8)
    # JAX on a CPU could use memory that begins at a multiple of 64 bytes
    start = -memory.ctypes.data % 64 // 8
    host = memory[start : start + size]
    device = backend.asarray(host)
    assert device.dtype == backend.dtype
    host[:] = 1
    out = backend.to_numpy(device)
    assert not out.any()
    out[:] = 2  # also: what comes out may be written to
    again = backend.to_numpy(device)
    assert not again.any()
    device += 3  # in place where the library has such a thing
    assert not again.any()
    assert (host == 1).all()


def test_opening_twice_gives_one_backend(backend):
    """So that what was compiled for it is not compiled again; another dtype or
    namespace is another backend.

    A run records the name of its device, and is resumed on it.
    """
    assert open_backend(backend.name, backend.device_name) is backend
    assert (
        backend.device is None or backend.asarray(np.ones(2)).device == backend.device
    )
    assert open_backend(backend.name, backend.device_name, "float32") is not backend


@pytest.mark.needs("torch")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_function_of_the_library_computes_the_activation(dtype):
    """PyTorch's own sigmoid, in single numbers far from 0 too, against long doubles."""
    backend = open_for_test("torch", dtype=dtype)
    own, plain = backend.activation("sigmoid"), ACTIVATIONS["sigmoid"]
    assert own.function is not plain.function
    assert own._replace(function=plain.function) == plain
    x = np.concatenate([np.linspace(-30, 30, 601), [-800, -200, 200, 800]]).astype(
        dtype
    )
    with np.errstate(over="ignore", under="ignore"):
        expected = 1 / (1 + np.exp(-x.astype(np.longdouble)))
    actual = backend.to_numpy(own.function(backend.asarray(x), xp=backend.xp)[0])
    assert actual.dtype == dtype
    # relative; the operations of `functional.sigmoid` have it absolute
    tolerance = 8 * np.finfo(dtype).eps
    np.testing.assert_allclose(actual, expected.astype(dtype), rtol=tolerance, atol=0)


@pytest.mark.needs("torch")
@pytest.mark.every_backend
def test_pytorch_keeps_no_graph_of_data_that_require_a_gradient():
    """A graph that grew with each step would fill the memory."""
    torch = pytest.importorskip("torch")
    X = torch.rand((40, 3), requires_grad=True)
    dataset = from_arrays(X, [0, 1] * 20, 0.25, backend=open_for_test("torch"))
    *_, report = train(
        TrainConfig(epochs=2, hidden=(2,), batch_size=10),
        dataset,
        open_for_test("torch"),
    )
    assert not any(
        array.requires_grad for layer in report.model.network for array in layer
    )
    assert X.requires_grad
