"""Array libraries by name: how each makes a `library.Backend`.

No other file of the core has code that depends on which library it is.
"""

import importlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial, wraps
from types import ModuleType
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from array_api_compat import device as device_of

from mlp_xp.backends import requirements
from mlp_xp.backends.compile_cache import MOST_BYTES, compile_cache
from mlp_xp.backends.foreign import copy_to_host, exists, find, hooks, materialised, version_of
from mlp_xp.backends.threads import LIMITS, ON_GPU, Threads, check_threads, cpus
from mlp_xp.core.functional import Array, sigmoid
from mlp_xp.core.library import Backend, BackendError, BackendFailure, BackendOutOfMemory, limited, line_of, name_of
from mlp_xp.core.loop import Carry, Rows, eager_scan, rows_of
from mlp_xp.errors import MlpXpError, nearest, not_installed, with_colon

__all__ = [
    "BACKENDS",
    "DTYPES",
    "ON_GPU",
    "Backend",
    "BackendError",
    "BackendFailure",
    "BackendOutOfMemory",
    "compile_afresh",
    "open_backend",
    "open_backend_of",
    "open_namespace",
    "processes_share_devices",
    "starting_on",
]

DTYPES = ("float64", "float32")
ALIGNMENT = 64  # bytes, of the memory that XLA uses on a CPU
LARGE_BYTES = 2**16  # of an array for which a second copy takes longer than to look for a place
# XLA's older code for elementwise operations, not cut into parts for many compiling threads.
QUICK_TO_COMPILE = {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}
_opened: "dict[tuple[str, int, str, str], Backend]" = {}


@contextmanager
def processes_share_devices() -> Iterator[None]:
    """Let this process and those that it starts share a device: by default JAX takes most of the memory of a GPU."""
    name = "XLA_PYTHON_CLIENT_PREALLOCATE"
    given = name in os.environ
    os.environ.setdefault(name, "false")
    try:
        yield
    finally:
        if not given:
            os.environ.pop(name, None)


def compile_afresh() -> None:
    """Have JAX neither read nor keep compiled functions in this process, and in those that it starts.

    Call it before JAX is imported. It sets the environment variable JAX_ENABLE_COMPILATION_CACHE.
    """
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"


def open_backend(
    name: str = "numpy", device: str | None = None, dtype: str = "float64", threads: int | None = None
) -> Backend:
    """Open an array library.

    name: a key of `BACKENDS`, or `module:namespace` for any other module that implements the array API standard, for
    example `array_api_compat:numpy`, or an entry point of the group `mlp_xp.backends`; either is a namespace or a hook
    (see docs/libraries.md). device: the library's own name of a device (`cuda:1`, `cpu`), or None for its
    default. dtype: "float64" or "float32", for parameters and arithmetic. threads: the number of the CPU's threads to
    compute on, up to 1024; by default a rule chooses it for each run (see docs/performance.md), and all else is
    computed on one. In a library that is not in `BACKENDS` it holds for the threads that threadpoolctl can limit. JAX
    takes its threads when it starts, so the number must be given at its first use; by default it takes all CPUs.

    Opening the same namespace on the same device in the same dtype again, with the same threads, returns the same
    object, so that JAX compiles once.

    Opening JAX switches on 64-bit floats in the whole process and, unless you have set them, full precision of products
    on a GPU, and a compilation cache: JAX then keeps all that it compiles in this process, also for other code, in a
    folder that `compile_cache` describes, and its warnings about entries that cannot be read or written are ignored.
    The environment variable JAX_ENABLE_COMPILATION_CACHE=false or `compile_afresh` switches the cache off;
    JAX_COMPILATION_CACHE_DIR names another folder.

    Several Python threads may train at once. A process that has used PyTorch or JAX must not be forked: their threads
    do not exist in the child, which waits for them forever. Start worker processes with
    `multiprocessing.get_context("spawn")`. An unknown flag in XLA_FLAGS makes JAX end the process, with a line that
    names the flag; no exception is raised.

    Raises BackendError, which says what to do, if the library, the device or the dtype is not available, and
    ThreadsError for a number of threads that cannot be.
    """
    _check_dtype(dtype)
    if threads is not None:
        check_threads(threads)
    if name in BACKENDS:
        with starting_on(threads):
            backend = BACKENDS[name](device)
    elif ":" in name or name in (entry_points := hooks()):
        backend = _open_namespace(name, device, dtype)
    else:
        known = [*BACKENDS, *entry_points]
        module = name.partition(".")[0]
        hint = f" (did you mean '{name}:'?)" if module and exists(module) else nearest(name, known)
        raise BackendError(f"{name!r} is not known{hint}; choose one of {', '.join(known)}", setting="backend")
    # The backend in the dictionary holds the namespace, so no other object has its id.
    key = (name, id(backend.xp), str(backend.device), dtype)
    if key not in _opened:
        _opened.setdefault(key, _with_reports(_with_dtype(backend, dtype)))
    return _opened[key] if threads is None else _opened[key].on_threads(threads, "as given")


def _check_dtype(dtype: str) -> None:
    if dtype not in DTYPES:
        near = nearest(dtype, DTYPES) if isinstance(dtype, str) else ""
        raise BackendError(f"{dtype!r} is not known{near}; choose one of {', '.join(DTYPES)}", setting="dtype")


def open_backend_of(array: Array, dtype: str = "float64") -> Backend:
    """Open the library that an array belongs to, on the array's device. dtype: as in `open_backend`.

    A namespace that is not in `BACKENDS` is opened as by `open_namespace`. Opening the same library again returns the
    same object. Raises BackendError as these two do, and TypeError for what is no array of the standard.
    """
    # The array's own first: array_api_compat takes a subclass of NumPy's array for NumPy's.
    own = getattr(array, "__array_namespace__", None)
    namespace = array_namespace(array) if own is None else own()
    module = str(getattr(namespace, "__name__", "")).removeprefix("array_api_compat.").partition(".")[0]
    names = {_MODULES[name]: name for name in BACKENDS}
    if module in names:
        return open_backend(names[module], name_of(device_of(array)), dtype)
    key = (module, id(namespace), "", dtype)
    if key not in _opened:
        _opened.setdefault(key, open_namespace(namespace, dtype, module or None))
    return _opened[key]


def open_namespace(namespace: Any, dtype: str = "float64", name: str | None = None) -> Backend:
    """Open an array namespace, or a hook for one (see docs/libraries.md), that is not known by a name.

    dtype: as in `open_backend`. name: what messages call it; by default its own. Raises BackendError for a namespace
    that lacks something, or that does not return a NumPy array as it was given.
    """
    _check_dtype(dtype)
    # Not the `__name__` of any other object: one that passes on what it lacks would have another's.
    own = namespace.__name__ if isinstance(namespace, ModuleType | type) else type(namespace).__name__
    backend = _open_found(name or own, namespace, dtype)
    return _with_reports(_with_dtype(backend, dtype))


def _with_dtype(backend: Backend, name: str) -> Backend:
    return replace(backend, dtype=getattr(backend.xp, name), dtype_name=name)


def _with_reports(backend: Backend) -> Backend:
    LIMITS.look(*backend.thread_libraries)

    def jit(function: Callable[..., Any], donate: tuple[int, ...] = ()) -> Callable[..., Any]:
        return backend.reported(backend.jit(function, donate))

    return replace(
        backend,
        from_numpy=backend.reported(backend.from_numpy, "a transfer to the device"),
        to_numpy=backend.reported(backend.to_numpy, "a transfer to the host"),
        jit=jit,
    )


def _import(name: str, requirement: str) -> ModuleType:
    module = _MODULES[name]
    try:
        return importlib.import_module(module)
    except (ImportError, ValueError) as error:  # ValueError: JAX, for one of its variables, which it names
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            raise BackendError(f"backend {name}: {module} {not_installed(requirement)}") from error
        raise BackendError(f"backend {name}: {module} is installed but cannot be imported: {line_of(error)}") from error


def _eager(
    name: str,
    library: ModuleType,
    xp: Any,
    device: Any,
    to_numpy: Callable[[Array], np.ndarray],
    rows: Rows = rows_of,
    **others: Any,
) -> Backend:
    """Make a backend that does not compile.

    rows: see `eager_scan`. others: fields of Backend that have a default.
    """
    place = {} if device is None else {"device": device}  # not every library has the keyword

    def jit(function: Callable[..., Any], donate: tuple[int, ...] = ()) -> Callable[..., Any]:
        return limited(function)

    def from_numpy(array: np.ndarray, dtype: Any) -> Array:
        return xp.asarray(array, dtype=dtype, copy=True, **place)

    version = str(getattr(library, "__version__", "unknown"))
    scan = partial(eager_scan, xp=xp, rows=rows)
    others.setdefault("thread_count", LIMITS.count)
    return Backend(name, version, xp, device, None, from_numpy, to_numpy, scan, jit, **others)


def _no_device(name: str, device: str, known: Sequence[str]) -> BackendError:
    return BackendError(f"backend {name}: device {device!r} is not available; choose one of {', '.join(known)}")


def _open_numpy(device: str | None) -> Backend:
    import array_api_compat.numpy as xp

    if device not in (None, "cpu"):
        raise _no_device("numpy", device, ["cpu"])
    imports = ("import numpy as xp", "import array_api_compat.numpy as xp")
    return _eager("numpy", np, xp, "cpu", np.array, imports=imports)


def _open_cupy(device: str | None) -> Backend:
    cupy = _import("cupy", '"cupy-cuda12x[ctk]" (CUDA 12 driver) or "cupy-cuda13x[ctk]" (CUDA 13 driver)')
    import array_api_compat.cupy as xp

    def unusable(error: Exception) -> BackendError:
        return BackendError(
            f"backend cupy: CuPy {cupy.__version__} is installed but finds no usable GPU; tried to count the devices, "
            f"to add and to multiply two small matrices on one, and got {line_of(error)}; check that nvidia-smi shows "
            "a GPU and that its driver is new enough for this CuPy"
        )

    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except RuntimeError as error:  # CuPy derives its CUDA errors from it
        raise unusable(error) from error
    known = [f"cuda:{i}" for i in range(count)]
    wanted = "cuda:0" if device is None else f"cuda:{device}" if device.isdecimal() else device
    if count and wanted not in known:
        raise _no_device("cupy", wanted, known)
    try:
        place = cupy.cuda.Device(int(wanted.partition(":")[2]))
        place.use()
        # A missing CUDA library shows only at first use, and kernels and cuBLAS come from different ones.
        probe = cupy.full((2, 2), 0.5)
        cupy.matmul(probe + 0.5, probe).sum().get()
    except Exception as error:  # driver, compiler and library loader each have exceptions of their own
        raise unusable(error) from error

    # CuPy derives all errors of CUDA and its libraries from RuntimeError.
    errors = (RuntimeError, MemoryError)
    facts: dict[str, Any] = {"threads": ON_GPU, "errors": errors}
    use = f"; xp.cuda.Device({place.id}).use()" if place.id else ""
    return _eager(
        "cupy", cupy, xp, place, cupy.asnumpy, **facts,
        imports=(f"import cupy as xp{use}", f"import array_api_compat.cupy as xp{use}"), copy_source="xp.asnumpy",
    )  # fmt: skip


def _open_torch(device: str | None) -> Backend:
    torch = _import("torch", "torch")
    import array_api_compat.torch as xp

    try:
        place = torch.device("cpu" if device is None else device)
        torch.ones(2, device=place).sum().item()
    except (RuntimeError, AssertionError) as error:  # AssertionError: a build without CUDA
        known = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise BackendError(f"{_no_device('torch', str(device), known)} ({line_of(error)})") from error

    def to_numpy(x: Array) -> np.ndarray:
        return np.array(x.detach().cpu().numpy())

    def own_sigmoid(z: Array, /, *, xp: Any) -> tuple[Array, Array]:
        y = torch.sigmoid(z)
        return y, y

    # PyTorch has no type of its own for most errors.
    use = "" if place.type == "cpu" else f"; xp.set_default_device({str(place)!r})"
    facts: dict[str, Any] = {
        "errors": (RuntimeError, MemoryError),
        "imports": (
            f"import torch as xp{use}", f"import torch, array_api_compat.torch as xp{use.replace('xp', 'torch')}",
        ),
        "functions": ((sigmoid, own_sigmoid),),  # a fifth of the time
        "copy_source": "(lambda x: np.asarray(x.cpu() if hasattr(x, 'cpu') else x))" if use else "np.asarray",
    }  # fmt: skip
    if place.type == "cpu":
        facts |= {"thread_count": torch.get_num_threads, "thread_libraries": (torch,)}
    else:
        facts["threads"] = ON_GPU
    return _eager("torch", torch, xp, place, to_numpy, rows=torch.unbind, **facts)


def _aligned_copy(array: np.ndarray, dtype: Any) -> np.ndarray:
    """Copy an array to where JAX on a CPU uses it as it is. It copies others again, in three times the time."""
    dtype = np.dtype(dtype or array.dtype)
    memory = np.empty(array.size * dtype.itemsize + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    copy = memory[start : start + array.size * dtype.itemsize].view(dtype).reshape(array.shape)
    np.copyto(copy, array, casting="unsafe")
    return copy


@contextmanager
def starting_on(threads: int | None) -> Iterator[None]:
    """Let JAX start on so many threads in this context, unless it may have started before. None: as it does anyway."""
    given = os.environ.get("NPROC")
    if threads is not None and "jax" not in sys.modules:
        os.environ["NPROC"] = str(threads)  # XLA reads it when it makes its pool of threads
    try:
        yield
    finally:
        if given is not None:
            os.environ["NPROC"] = given
        else:
            os.environ.pop("NPROC", None)


@lru_cache(maxsize=1)  # it cannot change
def _jax_threads() -> Threads:
    word = os.environ.get("NPROC", "")
    number = int(word) if word.isdecimal() and int(word) else cpus()
    return Threads(number, f"JAX took {number} when it started, and keeps that", adjustable=False)


def _open_jax(device: str | None) -> Backend:
    jax = _import("jax", "jax")
    # Without this JAX turns every float64 into float32; it must be set before the first array is made.
    jax.config.update("jax_enable_x64", True)
    if jax.config.jax_default_matmul_precision is None:
        # On a GPU the default may be TF32, whose products have 10 bits: less than float32 promises.
        jax.config.update("jax_default_matmul_precision", "highest")
    _set_compile_cache(jax)
    platform, _, index = (device or "").partition(":")
    try:
        known = [f"{each.platform}:{each.id}" for each in jax.devices()]
    except Exception as error:  # a RuntimeError, or an AssertionError for a platform without its plugin
        chosen = os.environ.get("JAX_PLATFORMS")
        advice = "run it in another process" if chosen is None else f"JAX_PLATFORMS is {chosen!r}; unset it"
        raise BackendError(
            f"backend jax: JAX {jax.__version__} is installed but cannot start: {line_of(error)}; {advice}"
        ) from error
    try:
        place = dict(enumerate(jax.devices(platform or None)))[int(index or 0)]
    except (RuntimeError, ValueError, KeyError, AssertionError) as error:
        raise _no_device("jax", str(device), known) from error

    def jit(function: Callable[..., Any], donate: tuple[int, ...] = ()) -> Callable[..., Any]:
        compiled = jax.jit(function, donate_argnums=donate)
        if donate or place.platform != "cpu":
            return compiled
        quickly_compiled = jax.jit(function, compiler_options=QUICK_TO_COMPILE)

        @wraps(function)
        def call(*args: Any) -> Any:
            nonlocal quickly_compiled
            try:
                return quickly_compiled(*args)
            except jax.errors.JaxRuntimeError as error:
                if "compile option" not in str(error):  # one that this version of XLA does not have
                    raise
                quickly_compiled = compiled
            except ValueError as error:
                if "compiler_options" not in str(error):  # which a call within another compiled function cannot have
                    raise
            return compiled(*args)

        return call

    def from_numpy(array: np.ndarray, dtype: Any) -> Array:
        # jax.numpy.asarray takes four times as long, which is noticeable in a short chunk.
        large = array.nbytes > LARGE_BYTES
        return jax.device_put(_aligned_copy(array, dtype) if large else np.array(array, dtype=dtype), place)

    lax, jnp = jax.lax, jax.numpy

    def scan(
        step: Callable[..., tuple[Carry, Array]], carry: Carry, xs: tuple[Array, ...], count: Array | None = None, /
    ) -> tuple[Carry, Array]:
        if count is None:
            return lax.scan(step, carry, xs)

        # Without axes of length 1, for which XLA would copy arrays to another layout.
        def squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(length for length in shape if length != 1)

        n = xs[0].shape[0]
        arrays = [jnp.reshape(x, (n, *squeezed(x.shape[1:]))) for x in xs]

        def row(i: Array) -> tuple[Array, ...]:
            rows = (lax.dynamic_index_in_dim(array, i, keepdims=False) for array in arrays)
            return tuple(jnp.reshape(each, x.shape[1:]) for each, x in zip(rows, xs, strict=True))

        def counted(i: Array, both: tuple[Carry, Array]) -> tuple[Carry, Array]:
            carry, ys = both
            carry, y = step(carry, row(i))
            return carry, lax.dynamic_update_index_in_dim(ys, jnp.reshape(y, squeezed(y.shape)), i, axis=0)

        # The number of a step is unsigned, because JAX would look for each array whether it is negative.
        first, last = jnp.uint32(0), jnp.asarray(count, jnp.uint32)
        y = jax.eval_shape(lambda carry: step(carry, row(first))[1], carry)
        ys = jnp.zeros((n, *squeezed(y.shape)), y.dtype)
        carry, ys = lax.fori_loop(first, last, counted, (carry, ys))
        return carry, jnp.reshape(ys, (n, *y.shape))

    use = ""
    if place != jax.devices()[0]:
        number = jax.devices(place.platform).index(place)
        use = f"; jax.config.update('jax_default_device', jax.devices({place.platform!r})[{number}])"
    return Backend(
        "jax", jax.__version__, jax.numpy, place, None, from_numpy, np.array, scan, jit,
        threads=_jax_threads() if place.platform == "cpu" else ON_GPU,
        # Not on a GPU, where the host may have to wait for each step to see whether it is the last one.
        compiles=True, counts_steps=place.platform == "cpu",
        errors=(jax.errors.JaxRuntimeError, MemoryError),
        imports=(f"import jax; jax.config.update('jax_enable_x64', True){use}; import jax.numpy as xp",),
    )  # fmt: skip


def _set_compile_cache(jax: ModuleType) -> None:
    """Let JAX keep what it compiles, unless the user has chosen a folder or switched its cache off."""
    # Any failure to read or write an entry is a warning, and JAX compiles. Added in front again at each call, because
    # `catch_warnings` of a caller may have removed it.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry", UserWarning)
    config = jax.config
    if config.jax_compilation_cache_dir or not config.jax_enable_compilation_cache:
        return
    # A folder for each number of threads, on which the compiled code and its last bits depend: JAX's keys leave it out.
    # Older versions may not keep entries of different processors apart.
    name = f"jax-{_jax_threads().number}"
    if jax.version.__version_info__ >= (0, 10) and (folder := compile_cache(name)):
        # By default only what takes a second to compile is kept.
        for name, default, value in (
            ("jax_persistent_cache_min_compile_time_secs", 1.0, 0.0),
            ("jax_persistent_cache_min_entry_size_bytes", 0, -1),
            ("jax_compilation_cache_max_size", -1, MOST_BYTES),
            # XLA's own caches may stop a process that cannot write them.
            ("jax_persistent_cache_enable_xla_caches", "xla_gpu_per_fusion_autotune_cache_dir", "none"),
            ("jax_compilation_cache_dir", None, str(folder)),
        ):
            if getattr(config, name) == default:
                config.update(name, value)


def _open_strict(device: str | None) -> Backend:
    xp = _import("array-api-strict", "array-api-strict")
    # Its CPU device lets NumPy functions through. Any other refuses them, as a GPU library does.
    try:
        place = xp.Device(device or "device1")
    except ValueError as error:
        raise _no_device("array-api-strict", str(device), ["CPU_DEVICE", "device1", "device2"]) from error
    host = xp.Device("CPU_DEVICE")

    def to_numpy(x: Array) -> np.ndarray:
        return np.array(xp.asarray(x, device=host))

    # In a script on its CPU device, which computes the same and which NumPy can read.
    imports = ("import array_api_strict as xp",)
    return _eager("array-api-strict", xp, xp, place, to_numpy, imports=imports)


def _open_namespace(name: str, device: str | None, dtype: str) -> Backend:
    """Open `module:namespace` or the entry point of that name: a namespace, or a hook, which has one as `xp`."""
    try:
        hook = find(name)
    except (Exception, SystemExit) as error:  # a foreign module may raise anything while it is imported
        raise BackendError(
            f"backend {with_colon(name)} no such array namespace can be imported: {line_of(error)}"
        ) from error
    if device is not None:
        raise BackendError(
            f"backend {with_colon(name)} a device can be chosen only for {', '.join(BACKENDS)}, not {device!r}; give a "
            "hook whose namespace makes arrays there (see docs/libraries.md)"
        )
    return _open_found(name, hook, dtype)


def _open_found(name: str, hook: Any, dtype: str) -> Backend:
    try:
        return _open_any(name, hook, dtype)
    except MlpXpError:
        raise
    except Exception as error:  # a foreign object may raise anything when it is asked what it has
        raise BackendError(f"backend {with_colon(name)} it cannot be opened: {line_of(error)}") from error


def _open_any(name: str, hook: Any, dtype: str) -> Backend:
    start, is_hook = f"backend {with_colon(name)}", hasattr(hook, "xp") and not hasattr(hook, "asarray")
    xp = hook.xp if is_hook else hook
    if known := _opened.get((name, id(xp), "None", dtype)):  # what follows takes up to half a second
        return known
    if missing := [each for each in (*requirements.FUNCTIONS, *requirements.DTYPES, dtype) if not hasattr(xp, each)]:
        raise BackendError(f"{start} it does not implement the array API standard: it lacks {', '.join(missing)}")

    own = getattr(hook, "to_numpy", None) if is_hook else None
    # A hook may return the array's own memory, which an operation in place would change.
    to_numpy = copy_to_host if own is None else lambda x: np.array(own(x))
    # SystemExit too: a library that ends the process must not look like success.
    threads = Threads(complete=False)
    backend = _eager(name, xp, xp, None, to_numpy, threads=threads, errors=(Exception, SystemExit))
    version = str(getattr(hook, "version", "")) if is_hook else ""
    backend = replace(backend, version=" ".join((version or version_of(name, xp)).split()))
    if is_hook and hasattr(hook, "materialise"):
        compute = partial(materialised, backend.jit, hook.materialise)
        backend = replace(backend, jit=lambda function, donate=(): limited(compute(function, donate)))
    for sample, wanted in ((np.array([0, 255], "uint8"), "uint8"), (np.array([0.5, -1.5], dtype), dtype)):
        host = _aligned_copy(sample, None)  # memory that a library may use as it is
        try:
            with warnings.catch_warnings(action="ignore"):
                array = backend.asarray(host, getattr(xp, dtype) if wanted == dtype else None)
                made, back = array.dtype, backend.to_numpy(array)
                host[...] = 1
                later = backend.to_numpy(array)
        except Exception as error:  # a foreign library may raise anything
            raise BackendError(
                f"{start} a NumPy array of {wanted} cannot be copied to it and back: {line_of(error)}; a hook "
                "with to_numpy may help (see docs/libraries.md)"
            ) from error
        if made != getattr(xp, wanted):  # as JAX, unless it is told otherwise before its first array
            remedy = "; set it up for float64 first, or use float32" if wanted == "float64" else ""
            raise BackendError(f"{start} it makes a {made} array of a {wanted} one{remedy}")
        if back.dtype != wanted or not np.array_equal(back, sample):
            raise BackendError(
                f"{start} {sample.tolist()} of {wanted}, copied to it and back, is {back!r:.80}; "
                "give it a hook with to_numpy"
            )
        if not np.array_equal(later, back):
            raise BackendError(
                f"{start} its asarray(x, copy=True) does not copy: the array of {wanted} changes with "
                "the NumPy array x; have it copy"
            )
    return backend


BACKENDS: dict[str, Callable[[str | None], Backend]] = {
    "numpy": _open_numpy,
    "cupy": _open_cupy,
    "jax": _open_jax,
    "torch": _open_torch,
    "array-api-strict": _open_strict,
}
_MODULES = {name: name.replace("-", "_") for name in BACKENDS}
