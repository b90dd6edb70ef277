"""Execute the notebooks of docs/ and write their new outputs: `make notebooks`.

test_docs.py executes them too, and compares the outputs with the stored outputs.
Translations are not executed: they show the same outputs.
"""

import copy
import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from unittest import mock

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

DOCS = Path(__file__).resolve().parents[2] / "docs"
NOTEBOOKS = sorted({*DOCS.rglob("*.ipynb")} - {*DOCS.glob("*.zh.ipynb")})
# Beside the notebooks of the lesson, which import it.
CHECKS = DOCS / "lesson" / "checks.py"
# Stored without outputs: they name the mistakes that students are to find.
WITHOUT_OUTPUTS = [path for path in NOTEBOOKS if path.stem.startswith("break_and_")]
PATIENCE = 300  # seconds, for a cell that takes a few
# A cell whose numbers depend on the machine has this tag. Its text is compared without
# them.
VARIES = "varies"
# Share by which a number with decimals may differ: float32 on another processor.
TOLERANCE = 0.02
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Return a notebook with the outputs of a new kernel, run in a folder in `folder`.

    The kernel has the running Python, and none of the user's settings.

    Raises CellExecutionError for a failing cell without the tag `raises-exception`.
    """
    done, current = copy.deepcopy(notebook), folder / "current"
    current.mkdir()
    shutil.copy(CHECKS, current)
    places = {
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_CONFIG_DIR": "config",
        "IPYTHONDIR": "ipython",
    }
    environment = {name: str(folder / place) for name, place in places.items()}
    environment["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    with mock.patch.dict(os.environ, environment):
        client = NotebookClient(
            done,
            timeout=PATIENCE,
            kernel_name="python3",
            record_timing=False,
            # how a text is divided into messages depends on time
            coalesce_streams=True,
            extra_arguments=["--log-level=ERROR"],
            resources={"metadata": {"path": str(current)}},
        )
        client.execute()
    return clean(done)


def clean(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook without traces of the machine or the moment.

    Such traces are versions, times, and places in a traceback.
    """
    notebook = copy.deepcopy(notebook)
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if "outputs" in cell:
            # Logs of libraries, such as Matplotlib where it makes its cache. A warning
            # of Python is no log.
            cell.outputs = [
                output
                for output in cell.outputs
                if output.get("name") != "stderr" or "Warning: " in output.text
            ]
        for output in cell.get("outputs", ()):
            if "metadata" in output:
                output.metadata = NotebookNode()
            if output.output_type == "error":
                output.traceback = [f"{output.ename}: {output.evalue}"]
    return notebook


def without_outputs(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook as it is before it is executed."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def differences(stored: NotebookNode, new: NotebookNode) -> Iterator[str]:
    """Describe where new outputs differ from the stored ones.

    Of pictures, only their presence is compared.
    """
    for old_cell, new_cell in zip(stored.cells, new.cells, strict=True):
        if old_cell.cell_type != "code":
            continue
        before, after = _text(old_cell), _text(new_cell)
        varies = VARIES in old_cell.metadata.get("tags", ())
        if not same_text(before, after, numbers=not varies):
            yield (
                f"the cell\n{old_cell.source}\nhas the stored output\n{before}\n"
                f"but now gives\n{after}"
            )


def same_text(one: str, other: str, *, numbers: bool = True) -> bool:
    """Return whether two texts are equal but for white space and last digits.

    numbers: compare numbers at all.
    """
    texts = [NUMBER.sub("0", text).split() for text in (one, other)]
    if "".join(texts[0]) != "".join(texts[1]):
        return False
    if not numbers:
        return True
    return all(map(_same_number, NUMBER.findall(one), NUMBER.findall(other)))


def _same_number(one: str, other: str) -> bool:
    if {".", "e"}.isdisjoint(one + other):
        return one == other
    # One unit of the last shown digit, or a share.
    unit = max(10.0 ** Decimal(text).as_tuple().exponent for text in (one, other))
    return math.isclose(
        float(one), float(other), rel_tol=TOLERANCE, abs_tol=1.01 * unit
    )


def _text(cell: NotebookNode) -> str:
    """Return the text of a cell's outputs, with the kinds of its pictures."""
    parts = []
    for output in cell.outputs:
        if output.output_type == "stream":
            parts.append(f"[{output.name}] {output.text}")
        elif output.output_type == "error":
            parts.append(f"[error] {output.ename}: {output.evalue}")
        else:
            for kind, text in sorted(output.data.items()):
                parts.append(
                    f"[{kind}]" if kind.startswith("image") else f"[{kind}] {text}"
                )
    return "\n".join(parts)


def read(path: Path) -> NotebookNode:
    """Read a notebook, and check it against the format's schema."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def main(names: list[str]) -> None:
    """Execute and write notebooks, all by default."""
    for path in [Path(name) for name in names] or NOTEBOOKS:
        with tempfile.TemporaryDirectory() as folder:
            done = execute(read(path), Path(folder))
        if path.resolve() in WITHOUT_OUTPUTS:
            done = without_outputs(done)
        nbformat.write(done, path)
        print(path)
        for other in path.parent.glob(f"{path.stem}.zh.ipynb"):
            translation = read(other)
            for cell, executed in zip(translation.cells, done.cells, strict=True):
                cell.update({**executed, "source": cell.source})
            nbformat.write(translation, other)
            print(other)


if __name__ == "__main__":
    main(sys.argv[1:])
