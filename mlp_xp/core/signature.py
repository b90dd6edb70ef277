"""The inputs and outputs of a network, and their meaning."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.core.task import CLASSES, TASKS, Task, Units
from mlp_xp.errors import first_difference

# The names of a signature's arrays in the file of a model.
FITTED = ("shift", "scale")
UNITS = ("target_shift", "target_scale")
STANDARDISED = "standardised"  # The word for numbers to predict with units, in records.


def flatten_and_scale(images: Array, /, *, dtype: Any, xp: Any) -> Array:
    """Turn images of bytes into features in [0, 1], shape (n, features).

    The images have the shape (n, rows, columns[, channels]).
    """
    x = xp.astype(xp.reshape(images, (-1, math.prod(images.shape[1:]))), dtype)
    # A second array of this size would make a training step on NumPy 2 to 4 % longer.
    x *= 1 / 255
    return x


def standardize(
    inputs: Array, shift: Array, scale: Array, /, *, dtype: Any, xp: Any
) -> Array:
    """Turn inputs x (n, ...) into features (x - shift) / scale, shape (n, features).

    `shift` and `scale` have the shape (features,).
    """
    x = xp.astype(xp.reshape(inputs, (-1, math.prod(inputs.shape[1:]))), dtype)
    return (x - shift) / scale


def unchanged(inputs: Array, /, *, dtype: Any, xp: Any) -> Array:
    """Turn inputs into features with the same values."""
    return xp.astype(inputs, dtype)


PREPARATIONS: dict[str, Callable[..., Array]] = {
    "bytes": flatten_and_scale,
    "standardize": standardize,
    "unchanged": unchanged,
}


class Preparation(NamedTuple):
    """How inputs become features: `function(inputs, *fitted, dtype=..., xp=...)`.

    A row of the result has as many numbers as an input. The function need not flatten
    the rows, because its caller does.
    """

    function: Callable[..., Array]
    """It must be hashable, because a training step is compiled for each function."""
    fitted: tuple[np.ndarray, ...] = ()
    """Host arrays (features,) in the network's dtype, fitted to the training set. They
    are not compiled in, so other values need no compilation.
    """

    @property
    def name(self) -> str | None:
        """The key of the function in PREPARATIONS.

        None for a function of the user, which no file can store.
        """
        for name, function in PREPARATIONS.items():
            if function is self.function:
                return name
        return None

    @property
    def takes_bytes(self) -> bool:
        """Whether inputs are images of bytes, to become features in [0, 1]."""
        return self.function is flatten_and_scale

    @property
    def takes_small_numbers(self) -> bool:
        """Whether the means and deviations of the training features are at most 1.

        Pictures of bytes are then far outside the range of the training data.
        """
        return bool(max(map(np.max, self.fitted), default=math.inf) <= 1)


BYTES = Preparation(flatten_and_scale)


@dataclass(frozen=True, eq=False)
class Signature:
    """The inputs and outputs of a network, and their meaning.

    A data set has a signature, and every network trained on the data set keeps it. All
    arrays of a signature are on the host.

    Examples:
        >>> digits = load_dataset("mnist").signature
        >>> digits
        Signature(images of 28 x 28, 10 classes)
        >>> digits.outputs
        ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
        >>> letters = Signature((28, 28), tuple("abcdefghij"))
        >>> digits.difference(letters, together=True)
        'classes 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, not a, b, c, d, e, f, g, h, i, j'
    """

    input_shape: tuple[int, ...]
    """The shape of one input, such as (28, 28) or (13,)."""
    outputs: tuple[str, ...]
    """The name of each output of the network: a class, a label, or a number."""
    task: Task = CLASSES
    """CLASSES (each sample has one), LABELS (each sample may have several), or
    REGRESSION.
    """
    preparation: Preparation = BYTES
    """How inputs become features."""
    columns: Any = None
    """How the columns of a table become features, a `Columns` of `mlp_xp.data.columns`.
    None for inputs without names.
    """
    units: Units | None = None
    """The units of the numbers to predict. None unless the network is trained on
    standardised numbers.
    """
    form: str = "arrays"
    """The source of the inputs: "arrays", "columns" of a table, "pictures", or "resized
    pictures". `predict` reads inputs from the same kind of source.
    """

    def __repr__(self) -> str:
        return f"Signature({self.in_words()})"

    @property
    def noun(self) -> str:
        """The word for several inputs: images or samples."""
        return _noun(self.input_shape)

    def in_words(self) -> str:
        """Describe the inputs and outputs, as in `images of 28 x 28, 10 classes`."""
        many = f"{len(self.outputs)} {self.task.outputs_name}"
        return f"{described(self.input_shape)}, {many}"

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the features; () if they have none."""
        return self.columns.feature_names if self.columns else ()

    def difference(self, other: Signature, *, together: bool = False) -> str:
        """Describe the first difference that keeps two signatures from use together.

        The result is empty if data, or a network, with the other signature fit this
        signature. Arrays have no names for their outputs, only numbers from 0. These
        numbers fit any names, but no other numbers: classes 1, 2, 3 are not classes 0,
        1, 2.

        Args:
            other: The other signature.
            together: Whether the signatures are those of networks whose answers are
                averaged. Each network then makes its own features of a table, so the
                columns may differ. The names of the outputs must be the same.
        """
        both_have_columns = bool(self.columns and other.columns)
        facts = [("task", self.task.name, other.task.name)]
        if not (together and both_have_columns):
            shapes = described(self.input_shape), described(other.input_shape)
            facts.append(("inputs", *shapes))
        difference = first_difference(facts)
        if difference:
            return difference
        if both_have_columns and not together:
            difference = self.columns.difference(other.columns)
            if difference:
                return difference
        if not together and self._numbers_fit_names(other):
            return ""
        return first_difference([(self.task.outputs_name, self.outputs, other.outputs)])

    def features_difference(self, other: Signature) -> str:
        """Describe the first difference of the features, in any order.

        The result is empty if there is none.
        """
        names = sorted(self.feature_names or other.feature_names)
        other_names = sorted(other.feature_names or self.feature_names)
        return first_difference(
            [
                ("inputs", math.prod(self.input_shape), math.prod(other.input_shape)),
                ("columns", names, other_names),
            ]
        )

    def has_outputs_of(self, other: Signature) -> bool:
        """Return whether the task and the names of the outputs are the same."""
        return self.task is other.task and self.outputs == other.outputs

    def _numbers_fit_names(self, other: Signature) -> bool:
        """Return whether one signature numbers its outputs and the other names them.

        One of the two must be the signature of arrays, whose outputs have no names.
        """
        if "arrays" not in (self.form, other.form):
            return False
        if len(self.outputs) != len(other.outputs):
            return False
        numbers = tuple(map(str, range(len(self.outputs))))
        names = [*self.outputs, *other.outputs]
        has_names = any(not name.isdecimal() for name in names)
        return has_names and numbers in (self.outputs, other.outputs)

    # Files.

    def record(self) -> dict[str, Any]:
        """Return the signature as JSON values, without its arrays."""
        return {
            "form": self.form,
            "input_shape": list(self.input_shape),
            "preparation": self.preparation.name,
            "columns": self.columns.record() if self.columns else None,
            "task": self.task.name,
            "outputs": list(self.outputs),
            "targets": STANDARDISED if self.units else "unchanged",
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of the signature by the names FITTED and UNITS."""
        arrays: dict[str, np.ndarray] = {}
        if self.preparation.fitted:
            arrays |= dict(zip(FITTED, self.preparation.fitted, strict=True))
        if self.units:
            arrays |= dict(zip(UNITS, self.units, strict=True))
        return arrays

    @classmethod
    def from_record(
        cls, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray], columns: Any
    ) -> Self:
        """Return the signature of a record.

        Args:
            record: The result of `record`.
            arrays: The result of `arrays`. Further arrays are ignored.
            columns: The columns of the record, or None.
        """
        function = PREPARATIONS[record["preparation"]]
        fitted = tuple(arrays[name] for name in FITTED if name in arrays)
        units = None
        if record["targets"] == STANDARDISED:
            units = Units(*(arrays[name] for name in UNITS))
        return cls(
            input_shape=tuple(record["input_shape"]),
            outputs=tuple(record["outputs"]),
            task=TASKS[record["task"]],
            preparation=Preparation(function, fitted),
            columns=columns,
            units=units,
            form=record["form"],
        )


def described(shape: Sequence[int]) -> str:
    """Describe inputs of a shape: `images of 28 x 28` or `samples of 4 features`."""
    if len(shape) > 1:
        return f"{_noun(shape)} of {' x '.join(map(str, shape))}"
    return f"{_noun(shape)} of {shape[0]} features"


def _noun(shape: Sequence[int]) -> str:
    return "images" if len(shape) > 1 else "samples"
