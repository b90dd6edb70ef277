"""Open an array library: by its name, as a namespace, or as a hook.

A hook is an object with a namespace as its `xp`. It may have more: `to_numpy(array)`
for arrays that NumPy cannot read, `device` for the place of a program's arguments,
`name` and `version` for reports, and `imports`, the source that imports the namespace
as `xp` in a reproducer.
"""

import importlib
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from array_lockstep.errors import LockstepError, one_line

Array = Any


class Library(NamedTuple):
    """An array library under test."""

    name: str
    version: str
    xp: Any
    """The namespace."""
    to_numpy: Callable[[Array], np.ndarray]
    """Copies an array to the host."""
    device: Any = None
    """The device of a program's arguments. None for the default device."""
    imports: str = ""
    """Source that imports the namespace as `xp`. Empty if it follows from the name."""
    hook: Any = None
    """The hook, if the library was given as one."""

    def __str__(self) -> str:
        return f"{self.name} {self.version}".rstrip()


def open_library(library: Any, device: str | None = None) -> Library:
    """Open an array library.

    Args:
        library: One of `KNOWN`, a name as `module:attributes`, a namespace, or a hook.
        device: The library's own name of a device, for one of `KNOWN`.

    Raises:
        LockstepError: The library or the device is not available.
    """
    name = library if isinstance(library, str) else _name_of(library)
    known = _known_name(library, name)
    if known:
        return _opened(known, device)
    if device is not None:
        raise LockstepError(
            f"{name}: a device can be chosen only for {', '.join(KNOWN)}"
        )
    if isinstance(library, str):
        library = _found(name)
    xp = getattr(library, "xp", library)
    if not hasattr(xp, "asarray"):
        raise LockstepError(f"{name}: it has no asarray")
    hook = None if xp is library else library
    version = getattr(hook, "version", None) or version_of(xp, name)
    return Library(
        name,
        " ".join(str(version).split()),
        xp,
        getattr(hook, "to_numpy", None) or copy_to_host,
        getattr(hook, "device", None),
        getattr(hook, "imports", ""),
        hook,
    )


def find(name: str) -> Any:
    """Import the object named by `module:attributes`.

    Modules of the current folder are found too, after all others.
    """
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    module, _, attributes = name.partition(":")
    found: Any = importlib.import_module(module)
    for attribute in attributes.split(".") if attributes else ():
        if not hasattr(found, attribute):
            submodule = f"{found.__name__}.{attribute}"
            try:
                importlib.import_module(submodule)
            except ModuleNotFoundError as error:
                if error.name != submodule:  # the submodule lacks a module
                    raise
                message = f"module {found.__name__} has no {attribute!r}"
                raise ImportError(message) from error
        found = getattr(found, attribute)
    return found


def version_of(xp: Any, name: str = "") -> str:
    """Return the version of the package that holds a namespace."""
    module = str(getattr(xp, "__name__", "") or name.partition(":")[0])
    package = module.removeprefix("array_api_compat.").partition(".")[0]
    try:
        return metadata.version(package)
    except (metadata.PackageNotFoundError, ValueError):
        holder = xp if hasattr(xp, "__version__") else sys.modules.get(package)
        return str(getattr(holder, "__version__", ""))


def copy_to_host(x: Array) -> np.ndarray:
    """Copy an array of an unknown library to the host.

    Raises:
        TypeError: NumPy cannot read the array.
    """
    refusals = []
    for device in (None, "cpu"):  # "cpu" asks for a copy
        try:
            return np.array(np.from_dlpack(x, device=device))
        # The standard allows some of these errors. Libraries of older versions of the
        # standard raise the others.
        except (
            AttributeError,
            TypeError,
            ValueError,
            BufferError,
            RuntimeError,
        ) as error:
            refusals.append(one_line(error))
    array = np.array(x)
    if array.dtype == object:  # NumPy wraps objects it does not know
        fault = f"NumPy cannot read a {type(x).__module__}.{type(x).__name__}"
        if hasattr(x, "__dlpack__"):
            fault += f": {refusals[0]}"
        raise TypeError(fault)
    return array


def _name_of(library: Any) -> str:
    own = getattr(library, "name", None) or getattr(library, "__name__", "")
    return str(own or type(library).__name__)


def _known_name(library: Any, name: str) -> str:
    """Return the name in `KNOWN` of a library, or an empty string."""
    if isinstance(library, str):
        if name not in KNOWN and ":" not in name:
            raise LockstepError(
                f"{name!r} is not known; choose one of {', '.join(KNOWN)}, or name "
                f"any other module as {name}:"
            )
        return name if name in KNOWN else ""
    # A wrapper may have the name of its library.
    if not isinstance(library, ModuleType) or library is not sys.modules.get(name):
        return ""
    module = name.removeprefix("array_api_compat.").partition(".")[0]
    known = module.replace("_", "-")
    return known if known in KNOWN else ""


def _found(name: str) -> Any:
    try:
        return find(name)
    # A module may raise anything while it is imported.
    except (Exception, SystemExit) as error:
        raise LockstepError(
            f"{name} no such array namespace can be imported: {one_line(error)}"
        ) from error


def _opened(name: str, device: str | None) -> Library:
    module = name.replace("-", "_")
    try:
        library = importlib.import_module(module)
    # JAX raises ValueError for an invalid environment variable.
    except (ImportError, ValueError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            fault = f"{name} is not installed"
        else:
            fault = f"{name} cannot be imported: {one_line(error)}"
        raise LockstepError(fault) from error
    try:
        return KNOWN[name](library, device)
    # The libraries, their drivers and compilers raise different exceptions.
    except Exception as error:
        place = "a usable device" if device is None else f"the device {device!r}"
        raise LockstepError(f"{name} has not {place}: {one_line(error)}") from error


def _numpy(library: ModuleType, device: str | None) -> Library:
    import array_api_compat.numpy as xp

    if device not in (None, "cpu"):
        raise ValueError("NumPy has one device, cpu")
    return Library("numpy", np.__version__, xp, np.array, device, "import numpy as xp")


def _cupy(cupy: Any, device: str | None) -> Library:
    import array_api_compat.cupy as xp

    imports = "import array_api_compat.cupy as xp"
    place = None
    if device is not None:
        number = int(device.rpartition(":")[2])
        place = cupy.cuda.Device(number)
        place.use()
        imports += f"; xp.cuda.Device({number}).use()"
    cupy.full((2, 2), 0.5).sum().get()  # a missing driver is noticed only here
    return Library("cupy", cupy.__version__, xp, cupy.asnumpy, place, imports)


def _jax(jax: Any, device: str | None) -> Library:
    # Otherwise JAX turns every float64 into float32. This must come before the first
    # array.
    jax.config.update("jax_enable_x64", True)
    if jax.config.jax_default_matmul_precision is None:
        # On a GPU the default may be TF32, which multiplies float32 with 10 bits.
        jax.config.update("jax_default_matmul_precision", "highest")
    imports = "import jax; jax.config.update('jax_enable_x64', True)"
    place = None
    if device is not None:
        platform, _, number = device.partition(":")
        # A list would accept negative numbers.
        place = dict(enumerate(jax.devices(platform)))[int(number or 0)]
        chosen = f"jax.devices({platform!r})[{int(number or 0)}]"
        imports += f"; jax.config.update('jax_default_device', {chosen})"
    imports += "; import jax.numpy as xp"
    return Library("jax", jax.__version__, jax.numpy, np.array, place, imports)


def _strict(xp: Any, device: str | None) -> Library:
    host = xp.Device("CPU_DEVICE")

    def to_numpy(array: Array) -> np.ndarray:
        return np.array(xp.asarray(array, device=host))

    # The reproducer uses the library's CPU device. Results are the same there.
    imports = "import array_api_strict as xp"
    place = None if device is None else xp.Device(device)
    return Library("array-api-strict", xp.__version__, xp, to_numpy, place, imports)


def _torch(torch: Any, device: str | None) -> Library:
    import array_api_compat.torch as xp

    imports = "import torch, array_api_compat.torch as xp"
    place = None
    if device is not None:
        place = torch.device(device)
        torch.ones(2, device=place).sum().item()
        imports += f"; torch.set_default_device({device!r})"

    def to_numpy(array: Array) -> np.ndarray:
        if array.dtype == torch.bfloat16:
            array = array.float()  # NumPy has no bfloat16
        # Complex tensors may be conjugated only when they are read.
        return np.array(array.numpy(force=True))

    return Library("torch", torch.__version__, xp, to_numpy, place, imports)


KNOWN: dict[str, Callable[[ModuleType, str | None], Library]] = {
    "numpy": _numpy,
    "cupy": _cupy,
    "jax": _jax,
    "torch": _torch,
    "array-api-strict": _strict,
}
"""The libraries that have names, and the functions that open them."""
