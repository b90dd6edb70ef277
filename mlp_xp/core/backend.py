"""The interface between the core and an array library.

`mlp_xp.backends` implements it for each library. A chunk is a function that takes many
steps of training. Within a chunk, the inputs of a block of steps become features
together. A block has as many steps as fit in `Backend.block_bytes` of features, but at
least one. With deferred updates, `deferred.BLOCK_SAMPLES` limits its samples instead.
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
"""The arrays that one step changes and passes on to the next."""


class Backend(ABC):
    """An array library on one device, with one floating-point dtype.

    Backends are compared and hashed by identity, because their contents need not be
    hashable. CuPy's devices are not.

    Examples:
        >>> backend = open_backend("numpy", dtype="float32")
        >>> x = backend.asarray(np.ones(2), backend.dtype)
        >>> backend.xp.exp(x).dtype
        dtype('float32')
    """

    name: str
    version: str
    xp: Any
    """The array API namespace. Functions take it as keyword `xp`."""
    device: Any
    """A device object of the library, for the `device` argument of its creation
    functions. None for the default device.
    """
    device_name: str | None
    """The name of the device, as for `open_backend`. None for a foreign namespace,
    whose default device is used.
    """
    dtype: Any
    """The namespace's float64 or float32."""
    dtype_name: str
    """`float64` or `float32`. A foreign namespace may have other names for its dtypes.
    """
    threads: Any
    """The CPU threads of functions from `jit`, a `Threads` of
    `mlp_xp.backends.threads`.
    """
    on_gpu: bool = False
    """Whether the device is a GPU, with its own memory."""
    compiles: bool = False
    """Whether `jit` compiles functions as a whole, so that operations on small arrays
    cost little.
    """
    block_bytes: int = 3 * 2**20
    """The most bytes of features in a block of steps without deferred updates.

    In compiled code, the features stay in the own cache of a processor core until their
    last use. Without compilation a larger block is better, because each block has a
    fixed cost.
    """

    def __repr__(self) -> str:
        place = self.device_name or "default device"
        return f"Backend({self.name!r}, {self.version}, {place}, {self.dtype_name})"

    @abstractmethod
    def asarray(self, array: Any, dtype: Any = None) -> Array:
        """Copy a NumPy array to the device.

        A value too large for float32 becomes infinite, without a warning.

        Args:
            array: A host array in native byte order.
            dtype: A dtype of the namespace. By default, the dtype of the array.
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
            carry: The arrays that are passed from step to step. They are donated: a
                step may update them in place, so callers must use the returned arrays.
            xs: Arrays with the same length n >= 1 along their first axes. A row is the
                tuple of their i-th elements along this axis.

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
        """Call `carry, y = block(carry, rows)` for every `size` rows, and join the y.

        `carry` and `xs` are as for `scan`, and a block may `scan` its rows. The last
        block may have fewer rows. The y are concatenated along their first axis.
        """

    @abstractmethod
    def jit(
        self,
        function: Callable[..., Any],
        donate: tuple[int, ...] = (),
        most_steps: int | None = None,
    ) -> Callable[..., Any]:
        """Return a function with the same results, compiled if the library compiles.

        An overflow in the function gives no warning.

        Args:
            function: A function of arrays.
            donate: The positions of the arguments that the function may overwrite. A
                function without donated arguments is called rarely, so it may be
                compiled quickly rather than well.
            most_steps: For a chunk only, the number of steps of the longest chunk. The
                last argument of the returned function is then a tuple of host arrays
                with a row for each step. The function copies them to the device. To
                compile chunks of all lengths only once, it may fill the arrays up to
                the longest chunk. `scan` and `scan_blocks` then stop at the true number
                of steps, and the results are cut to this number.
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
        """Return this backend with a number of CPU threads.

        For the same number and reason, this is the same object.

        Args:
            number: The number of threads for functions from `jit`. None leaves the
                numbers of the libraries as they are.
            reason: Where the number comes from, in words.

        Raises:
            ConfigError: The number is invalid, or the library offers no choice.
        """

    @abstractmethod
    def like(self, array: Any) -> Backend:
        """Return the backend of an array's library, on its device and in this dtype.

        For lists, and anything else that NumPy reads, this is the backend of NumPy.
        """

    @abstractmethod
    def named(self, name: str) -> Backend:
        """Return the backend of the library with this name, in this dtype."""

    def activation(self, activation: str | Activation) -> Activation:
        """Return an activation, given by its name or as it is.

        A library may have a faster function of its own.
        """
        if isinstance(activation, Activation):
            return activation
        return ACTIVATIONS[activation]

    @abstractmethod
    def read(self, X: Any, signature: Signature) -> Array:
        """Return inputs in any form as inputs of a network, on the device.

        Args:
            X: An array of any library, or anything that NumPy reads.
            signature: The signature of the network.

        Returns:
            Inputs (n, *input_shape). They are uint8 for a network that was trained on
            bytes, otherwise uint8 or the floats of the backend.

        Raises:
            DatasetError: The inputs do not fit, or are not finite numbers.
        """

    @abstractmethod
    def check_inputs(
        self, inputs: Any, signature: Signature, name: str = "inputs"
    ) -> None:
        """Check that inputs have a device, shape and dtype as `read` returns them.

        Nothing is read from the device, so this may run inside a compiled function.

        Raises:
            DatasetError: They differ. `name` is the name of the inputs in the error.
        """

    @abstractmethod
    def check_labels(
        self, labels: Any, count: int, signature: Signature, name: str = "labels"
    ) -> np.ndarray:
        """Check labels on the device, and return them on the host.

        Args:
            labels: For classes, integers (count,), each below the number of outputs.
                For labels, integers 0 and 1, (count, outputs). For regression, finite
                numbers of the backend's dtype, (count, outputs).
            count: The number of samples.
            signature: The signature of the network.
            name: The name of the labels in errors.

        Raises:
            DatasetError: The labels are on another device, or do not fit the task.
        """
