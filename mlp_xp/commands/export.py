"""Write a run's network, or an ensemble, to an ONNX file: `mlp-xp export RUN_DIR ...
model.onnx`.
"""

from pathlib import Path
from typing import Literal

from mlp_xp.api import export_onnx
from mlp_xp.commands.evaluate import warn_of_unfinished
from mlp_xp.errors import MlpXpError, quoted


def export(
    run_dir: Path, /, *others: Path, dtype: Literal["float64", "float32"] | None = None
) -> None:
    """Write the network of a run to an ONNX file, which takes what `predict` takes.
    Needs the extra `onnx`.

    Several runs, or a sweep, become one network, whose probabilities or numbers are the
    mean of theirs. Preparation, units and names are in the file, and it takes any
    number of rows. docs/export.md shows how to use it in Python, JavaScript and C++.

    Args:
        run_dir: The folder of a training run or of a sweep.
        others: More of them, if any, and the file to write, such as model.onnx, which
            replaces an existing file.
        dtype: Of the computation. float32 halves the file. By default that of the run.
    """
    *more, output = (run_dir, *others)
    if not more:
        raise MlpXpError(
            f"there is no run before {quoted(output)}",
            remedy="give runs, and then a file to write",
        )
    export_onnx(more, output, dtype=dtype)
    warn_of_unfinished(more)

    from mlp_xp.export.onnx import describe

    print(f"{output}: {describe(output)}")
