"""Mutation testing of the core: `python tests/tools/mutants.py [MUTANTS...]`.

MUTANTS is a pattern of mutmut's, as in `mlp_xp.core.plan.*`.

`make mutants` runs all of them. This takes long, so it is not a pytest test. See
tests/mutants.md.
"""

import os
import subprocess
import sys
from pathlib import Path

import libcst as cst

ROOT = Path(__file__).resolve().parents[2]
COPY = ROOT / "build" / "mutation"
PARTS = ("mlp_xp", "tests", "scripts", "data", "pyproject.toml")


class Undecorate(cst.CSTTransformer):
    """Turn `@decorator def f` outside classes into `def f` and `f = decorator(f)`.

    mutmut skips functions with decorators.
    """

    def visit_ClassDef(self, node: cst.ClassDef) -> bool:  # noqa: N802
        return False

    def leave_FunctionDef(  # noqa: N802
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef | cst.FlattenSentinel[cst.BaseStatement]:
        decorated: cst.BaseExpression = updated_node.name
        for decorator in reversed(updated_node.decorators):
            decorated = cst.Call(decorator.decorator, [cst.Arg(decorated)])
        if decorated is updated_node.name:
            return updated_node
        assign = cst.Assign([cst.AssignTarget(updated_node.name)], decorated)
        return cst.FlattenSentinel(
            [
                updated_node.with_changes(decorators=()),
                cst.SimpleStatementLine([assign]),
            ]
        )


def copy() -> None:
    """Bring the copy up to date.

    An unchanged file is not written again, because mutmut goes by its time.
    """
    for part in PARTS:
        source = ROOT / part
        paths = [source] if source.is_file() else source.rglob("*")
        for path in paths:
            if path.is_file() and "__pycache__" not in path.parts:
                copy_file(path)


def copy_file(path: Path) -> None:
    """Copy a file of the project, of the package without decorators, if it differs."""
    content = path.read_bytes()
    if path.suffix == ".py" and path.is_relative_to(ROOT / "mlp_xp"):
        content = cst.parse_module(content).visit(Undecorate()).bytes
    target = COPY / path.relative_to(ROOT)
    if not target.exists() or target.read_bytes() != content:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def main() -> int:
    copy()
    env = {**os.environ, "MLP_XP_TEST_BACKENDS": "numpy", "OMP_NUM_THREADS": "1"}
    mutmut = Path(sys.executable).with_name("mutmut")
    command = [mutmut, "run", *sys.argv[1:]]
    return subprocess.run(command, check=False, cwd=COPY, env=env).returncode


if __name__ == "__main__":
    sys.exit(main())
