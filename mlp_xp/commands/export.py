"""Write a network to an ONNX file: `mlp-xp export RUN_DIR ... model.onnx`."""

from pathlib import Path
from typing import Literal

from mlp_xp.api import export_onnx
from mlp_xp.commands.unfinished import warn_of_unfinished
from mlp_xp.errors import MlpXpError, quoted


def export(
    run_dir: Path, /, *others: Path, dtype: Literal["float64", "float32"] | None = None
) -> None:
    """Write the network of a run to an ONNX file.

    The network in the file takes the inputs of `predict`, for any number of rows. The
    file contains the preparation of the inputs, units and names. Several runs, or a
    sweep, become one network. Its probabilities or numbers are means over the runs.
    docs/export.md shows how to use the file in Python, JavaScript and C++. The command
    needs the extra `onnx`.

        mlp-xp export runs/digits digits.onnx
        mlp-xp export runs/a runs/b both.onnx --dtype float32

    Args:
        run_dir: The folder of a training run or of a sweep.
        others: More folders, if any, and then the file to write, such as model.onnx. An
            existing file is replaced.
        dtype: The dtype of the computation, by default the dtype of the run. float32
            halves the size of the file.
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
