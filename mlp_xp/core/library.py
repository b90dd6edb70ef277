"""What the core asks of an array library: an interface, which `mlp_xp.backends`
implements for each library.

A chunk is many steps of training, which run as one function. A block is the part of a
chunk whose inputs become features together: as many steps as fit in `block_bytes` of
features, at least one, or fewer for deferred updates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlp_xp.core.functional import ACTIVATIONS, Activation, Array
from mlp_xp.core.task import Task

Carry = Any  # what a step changes and passes on to the next one


@dataclass(frozen=True, eq=False)
class Backend:
    """One array library on one device, with one floating-point dtype.

    `mlp_xp.backends` fills in the fields, and implements `read` and the checks in a
    subclass. Backends are compared and hashed by identity, because their contents need
    not be hashable: CuPy's devices are not.
    """

    name: str
    version: str
    xp: Any
    """The array API namespace, which functions take as keyword `xp`."""
    device: Any
    """A device object of the library, for the `device` argument of its creation
    functions. None: the default.
    """
    dtype: Any
    """The namespace's float64 or float32."""
    from_numpy: Callable[[np.ndarray, Any], Array]
    """`from_numpy(array, dtype)` copies a contiguous host array to the device; None
    keeps its dtype. See `asarray`.
    """
    to_numpy: Callable[[Array], np.ndarray]
    """Copies a device array to the host."""
    scan: Callable[..., tuple[Carry, Array]]
    """`scan(step, carry, xs) -> carry, ys` calls `carry, y = step(carry, row)` for each
    row along the first axis of the arrays `xs`, which all have one length n >= 1, and
    stacks the y. This is the contract of `jax.lax.scan`. The carry is donated: a step
    may update its arrays in place, so the caller must use the returned ones.
    """
    scan_blocks: Callable[..., tuple[Carry, Array]]
    """`scan_blocks(block, carry, xs, size) -> carry, ys` calls `carry, y = block(carry,
    rows)` for each `size` rows of the arrays `xs`, the last of which may be fewer, and
    concatenates the y. A block may `scan` its rows.
    """
    jit: Callable[..., Callable[..., Any]]
    """`jit(function, donate=(), most_steps=None)` returns a function that computes the
    same, compiled where the library compiles. The function may overwrite its arguments
    at the positions in `donate`. If nothing is donated, the function is called rarely,
    so it may be compiled quickly rather than well. An overflow in it gives no warning.

    most_steps: for a chunk alone, the length of the longest one. The last argument of
    the returned function is then a tuple of host arrays with a row for each step, which
    it copies to the device. It may fill them up to the longest length, so that chunks
    of all lengths are compiled once; `scan` and `scan_blocks` then stop at the true
    number of steps, and the results are cut to it.
    """
    dtype_name: str = "float64"
    """float64 or float32: the name that was asked for, not what `finfo` of a foreign
    namespace says.
    """
    compiles: bool = False
    """Whether `jit` compiles a function as a whole, so that operations on small arrays
    cost little.
    """
    block_bytes: int = 3 * 2**20
    """The most bytes of features in a block of steps. In compiled code, they stay in a
    processor core's own cache until their last use. Without compilation a larger block
    is better, because each block has a fixed cost.
    """
    functions: tuple[tuple[Callable[..., Array], Callable[..., Array]], ...] = ()
    """Functions of activations, each with the library's own that computes the same
    faster.
    """
    on_gpu: bool = False
    """Whether it computes on a GPU, which has its own memory."""
    threads: Any = None
    """The threads on which functions from `jit` compute, `Threads` of
    `mlp_xp.backends.threads`.
    """
    like: Callable[[Any], "Backend"] = NotImplemented
    """`like(array)` returns the backend of an array's library on its device, in this
    backend's dtype. For lists, and anything else that NumPy reads, this is NumPy's.
    """
    device_name: str | None = None
    """The device's name as `open_backend` takes it; None for a foreign namespace, whose
    default device is used.
    """
    details: Any = None
    """For `mlp_xp.backends` alone."""

    def __repr__(self) -> str:
        return f"Backend({self.name!r}, {self.version}, {self.device_name or 'default device'}, {self.dtype_name})"

    # a value beyond float32 becomes inf without a warning, as on other libraries
    @np.errstate(over="ignore")
    def asarray(self, array: Any, dtype: Any = None) -> Array:
        """Copy a host array (NumPy, native byte order) to the device. dtype: None keeps
        the array's own.
        """
        return self.from_numpy(np.asarray(array, order="C"), dtype)

    def read(
        self, X: Any, shape: tuple[int, ...], is_bytes: bool, columns: Sequence[str]
    ) -> Array:
        """Return what a caller gives as inputs, in any form, as inputs of a network:
        (n, *shape) on the device.

        is_bytes: whether the network was trained on bytes: the inputs are then uint8,
        else uint8 or the backend's floats. columns: the names of the features, if they
        have any. Raises DatasetError for what does not fit, and for numbers that are
        not finite.
        """
        raise NotImplementedError

    def check_inputs(
        self, inputs: Any, shape: tuple[int, ...], is_bytes: bool, name: str = "inputs"
    ) -> None:
        """Raise DatasetError, with this name, unless inputs are as `read` returns them:
        place, shape and dtype.

        Nothing is read from the device, so this may run inside a compiled function.
        """
        raise NotImplementedError

    def check_labels(
        self, labels: Any, samples: int, task: Task, outputs: int, name: str = "labels"
    ) -> np.ndarray:
        """Return labels on the host. Raises DatasetError, with this name, unless they
        are on the device and the task's.

        classes: integers (samples,), 0 to outputs - 1. labels: 0 or 1, integers
        (samples, outputs). regression: finite numbers of the backend's dtype, (samples,
        outputs).
        """
        raise NotImplementedError

    def activation(self, activation: str | Activation) -> Activation:
        """Return an activation, given by its name or as it is, with the library's own
        function where it has one.
        """
        found = (
            activation
            if isinstance(activation, Activation)
            else ACTIVATIONS[activation]
        )
        return found._replace(
            function=dict(self.functions).get(found.function, found.function)
        )
