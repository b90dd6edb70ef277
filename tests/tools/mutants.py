"""Mutation testing of the core with mutmut: `python tests/tools/mutants.py [MUTANTS...]`, as in `mlp_xp.core.plan.*`.

A mutant is the core with one small change, such as `+` for `-`; it is killed if a test fails. `make mutants` runs all
of them, which takes long, so this is no test of pytest's. It prints a table; then, in build/mutation, `mutmut results`
names the survivors and `mutmut show NAME` gives the change. docs/mutants.md says what they are.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import libcst as cst
import pytest

ROOT = Path(__file__).resolve().parents[2]
COPY = ROOT / "build" / "mutation"
PARTS = ("mlp_xp", "tests", "scripts", "data", "pyproject.toml")
STATES = ("killed", "timeout", "survived")


class Undecorate(cst.CSTTransformer):
    """Turn `@decorator def f` outside classes into `def f` and `f = decorator(f)`: mutmut skips the former."""

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
        return cst.FlattenSentinel([updated_node.with_changes(decorators=()), cst.SimpleStatementLine([assign])])


def copy() -> None:
    """Bring the copy up to date. A file that has not changed stays as it is: mutmut goes by its time."""
    for part in PARTS:
        source = ROOT / part
        for path in [source] if source.is_file() else (p for p in source.rglob("*") if p.is_file()):
            if "__pycache__" in path.parts:
                continue
            content = path.read_bytes()
            if part == "mlp_xp" and path.suffix == ".py":
                content = cst.parse_module(content).visit(Undecorate()).bytes
            target = COPY / path.relative_to(ROOT)
            if not target.exists() or target.read_bytes() != content:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)


def table(results: str) -> str:
    """A line for each module, from the output of `mutmut results`, lines such as `module.f__mutmut_1: killed`."""
    counts: dict[str, Counter[str]] = {}
    for name, state in re.findall(r"^\s*mlp_xp\.(\S+)\.x\S+: (.+)$", results, re.MULTILINE):
        counts.setdefault(name, Counter())[state] += 1
    counts = {**dict(sorted(counts.items())), "all": sum(counts.values(), Counter())}
    lines = ["| module | mutants | killed | timeout | survived | other |", "| --- | ---: | ---: | ---: | ---: | --- |"]
    for name, count in counts.items():
        other = ", ".join(f"{state} {n}" for state, n in sorted(count.items()) if state not in STATES)
        lines.append(f"| {name} | {count.total()} | " + " | ".join(str(count[s]) for s in STATES) + f" | {other} |")
    return "\n".join(lines)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run quick tests first, because most mutants fail any test; pyproject.toml makes this module a pytest plugin."""
    stats = Path("mutmut-stats.json")
    seconds = json.loads(stats.read_text())["duration_by_test"] if stats.exists() else {}
    items.sort(key=lambda item: seconds.get(item.nodeid, 0.0))


@pytest.fixture(scope="session", autouse=True)
def no_pictures_at_all() -> Iterator[None]:
    """They are not of the core, and take longer than all else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlp_xp.api.draw_run", lambda *_: [])
        yield


def main() -> int:
    """Run mutmut on the copy; its exit code."""
    copy()
    env = {**os.environ, "MLP_XP_TEST_BACKENDS": "numpy", "OMP_NUM_THREADS": "1"}
    env["PYTHONPATH"] = str(COPY / "tests" / "tools")  # pytest imports this module before it reads pyproject.toml
    mutmut = shutil.which("mutmut", path=str(Path(sys.executable).parent)) or "mutmut"
    code = subprocess.run([mutmut, "run", *sys.argv[1:]], check=False, cwd=COPY, env=env).returncode
    print(table(subprocess.check_output([mutmut, "results", "--all", "true"], cwd=COPY, env=env, text=True)))
    return code


if __name__ == "__main__":
    sys.exit(main())
