"""Mutation testing of the core with mutmut: `python tests/tools/mutants.py
[MUTANTS...]`, as in `mlp_xp.core.plan.*`.

`make mutants` runs all of them, which takes long, so this is not a test of pytest's.
docs/mutants.md says more.
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
    """Turn `@decorator def f` outside classes into `def f` and `f = decorator(f)`:
    mutmut skips the former.
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
    """Bring the copy up to date. A file that has not changed stays as it is: mutmut
    goes by its time.
    """
    for part in PARTS:
        source = ROOT / part
        for path in (
            [source]
            if source.is_file()
            else (p for p in source.rglob("*") if p.is_file())
        ):
            if "__pycache__" in path.parts:
                continue
            content = path.read_bytes()
            if part == "mlp_xp" and path.suffix == ".py":
                content = cst.parse_module(content).visit(Undecorate()).bytes
            target = COPY / path.relative_to(ROOT)
            if not target.exists() or target.read_bytes() != content:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)


if __name__ == "__main__":
    copy()
    env = {**os.environ, "MLP_XP_TEST_BACKENDS": "numpy", "OMP_NUM_THREADS": "1"}
    mutmut = Path(sys.executable).with_name("mutmut")
    sys.exit(
        subprocess.run(
            [mutmut, "run", *sys.argv[1:]], check=False, cwd=COPY, env=env
        ).returncode
    )
