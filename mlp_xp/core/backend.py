"""The interface between the core and an array library.

`mlp_xp.backends` implements it for each library. A chunk is many steps of training,
which run as one function. A block is the part of a chunk whose inputs become features
together: as many steps as fit in `Backend.block_bytes` of features, at least one, or
fewer for deferred updates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from mlp_xp.core.functional import ACTIVATIONS, Activation, Array
from mlp_xp.core.signature import Signature

Carry = Any
"""The arrays that a step changes and passes on to the next step."""


class Backend(ABC):
    """An array library on one device, with one floating-point dtype.

    Backends are compared and hashed by identity, because their contents need not be
    hashable: CuPy's devices are not.

    Examples:
        >>> backend = open_backend("numpy", dtype="float32")
        >>> x = backend.asarray(np.ones(2), backend.dtype)
        >>> backend.xp.exp(x).dtype
        dtype('float32')
    """

    name: str
    version: str
    xp: Any
    """The array API namespace, which functions take as keyword `xp`."""
    device: Any
    """A device object of the library, for the `device` argument of its creation
    functions. None: the default.
    """
    device_name: str | None
    """The device's name as `open_backend` takes it. None for a foreign namespace, whose
    default device is used.
    """
    dtype: Any
    """The namespace's float64 or float32."""
    dtype_name: str
    """`float64` or `float32`: the name that was asked for. A foreign namespace may name
    its dtypes otherwise.
    """
    threads: Any
    """The CPU threads on which functions from `jit` compute: `Threads` of
    `mlp_xp.backends.threads`.
    """
    on_gpu: bool = False
    """Whether it computes on a GPU, which has its own memory."""
    compiles: bool = False
    """Whether `jit` compiles a function as a whole, so that operations on small arrays
    cost little.
    """
    block_bytes: int = 3 * 2**20
    """The most bytes of features in a block of steps.

    In compiled code, they stay in a processor core's own cache until their last use.
    Without compilation a larger block is better, because each block has a fixed cost.
    """

    def __repr__(self) -> str:
        place = self.device_name or "default device"
        return f"Backend({self.name!r}, {self.version}, {place}, {self.dtype_name})"

    @abstractmethod
    def asarray(self, array: Any, dtype: Any = None) -> Array:
        """Copy a NumPy array to the device.

        A value that is too large for float32 becomes infinite, without a warning.

        Args:
            array: A host array in native byte order.
            dtype: A dtype of the namespace; by default the array's own.
        """

    @abstractmethod
    def to_numpy(self, array: Array) -> np.ndarray:
        """Copy an array of the device to the host."""

    @abstractmethod
    def scan(
        self,
        step: Callable[..., tuple[Carry, Array]],
        carry: Carry,
        xs: tuple[Array, ...],
    ) -> tuple[Carry, Array]:
        """Call `carry, y = step(carry, row)` for each row of `xs`, and stack the y.

        This is the contract of `jax.lax.scan`.

        Args:
            step: The function to call.
            carry: Passed from step to step. It is donated: a step may update its arrays
                in place, so callers must use the returned arrays.
            xs: Arrays whose first axes all have the same length n >= 1. A row is the
                tuple of their i-th elements along that axis.

        Returns:
            The last carry, and the y, whose first axis has length n.
        """

    @abstractmethod
    def scan_blocks(
        self,
        block: Callable[..., tuple[Carry, Array]],
        carry: Carry,
        xs: tuple[Array, ...],
        size: int,
    ) -> tuple[Carry, Array]:
        """Call `carry, y = block(carry, rows)` for each `size` rows of `xs`, and
        concatenate the y.

        The last block may have fewer rows. A block may `scan` its rows.
        """

    @abstractmethod
    def jit(
        self,
        function: Callable[..., Any],
        donate: tuple[int, ...] = (),
        most_steps: int | None = None,
    ) -> Callable[..., Any]:
        """Return a function that computes the same, compiled if the library compiles.

        An overflow in it gives no warning.

        Args:
            function: A function of arrays.
            donate: The positions of the arguments that the function may overwrite. If
                nothing is donated, the function is called rarely, so it may be compiled
                quickly rather than well.
            most_steps: For a chunk only, the length of the longest chunk. The last
                argument of the returned function is then a tuple of host arrays with a
                row for each step, which it copies to the device. It may fill them up to
                the longest length, so that chunks of all lengths are compiled once.
                `scan` and `scan_blocks` then stop at the true number of steps, and the
                results are cut to it.
        """

    @abstractmethod
    def reporting(self, doing: str) -> AbstractContextManager[None]:
        """Turn failures of the library in this context into errors of one line.

        Args:
            doing: The work in this context, such as "a transfer to the host".

        Raises:
            BackendFailure: The library failed.
        """

    @abstractmethod
    def on_threads(self, number: int | None, reason: str) -> Backend:
        """Return this backend with a number of CPU threads: the same object for the
        same number and reason.

        Args:
            number: The threads on which functions from `jit` compute. None: the numbers
                of the libraries stay as they are.
            reason: Where the number comes from, for people.

        Raises:
            ConfigError: The number is invalid, or the library does not let one choose.
        """

    @abstractmethod
    def like(self, array: Any) -> Backend:
        """Return the backend of an array's library on its device, in this dtype.

        For lists, and anything else that NumPy reads, this is NumPy's.
        """

    def activation(self, activation: str | Activation) -> Activation:
        """Return an activation, given by its name or as it is.

        A library may have a faster function of its own for it.
        """
        if isinstance(activation, Activation):
            return activation
        return ACTIVATIONS[activation]

    @abstractmethod
    def read(self, X: Any, signature: Signature) -> Array:
        """Return inputs in any form as inputs of a network: (n, *input_shape) on the
        device.

        The result is uint8 for a network that was trained on bytes, otherwise uint8 or
        the backend's floats.

        Args:
            X: An array of any library, or anything that NumPy reads.
            signature: The signature of the network.

        Raises:
            DatasetError: The inputs do not fit, or are not finite numbers.
        """

    @abstractmethod
    def check_inputs(
        self, inputs: Any, signature: Signature, name: str = "inputs"
    ) -> None:
        """Check the place, shape and dtype of inputs, which must be as `read` returns
        them.

        Nothing is read from the device, so this may run inside a compiled function.

        Raises:
            DatasetError: They differ. The error calls them `name`.
        """

    @abstractmethod
    def check_labels(
        self, labels: Any, count: int, signature: Signature, name: str = "labels"
    ) -> np.ndarray:
        """Return labels on the host, after a check that they are on the device and fit
        the task.

        Args:
            labels: For classes, integers (count,), each below the number of outputs.
                For labels, integers 0 and 1, (count, outputs). For regression, finite
                numbers of the backend's dtype, (count, outputs).
            count: Their number.
            signature: The signature of the network.
            name: The name of the labels in errors.

        Raises:
            DatasetError: They do not fit.
        """
