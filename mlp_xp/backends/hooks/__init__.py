"""Hooks for array libraries that need more than their namespace.

Each hook is a module. For example, `--backends dask` uses `dask.py`. docs/libraries.md
explains hooks. Read a short hook before you write your own.
"""

from pathlib import Path
from typing import Any

GROUP = "mlp_xp.backends"


def known_hooks() -> dict[str, Any]:
    """Return the hooks of this package and of installed packages, by name.

    Other packages have hooks as entry points of GROUP.
    """
    from importlib.metadata import EntryPoint, entry_points

    names = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
    own = [EntryPoint(name, f"{__name__}.{name}", GROUP) for name in names]
    return {each.name: each for each in (*own, *entry_points(group=GROUP))}


def adapted(library: Any, **others: Any) -> Any:
    """Return the namespace of a library with some names added or replaced."""

    class Namespace:
        def __getattr__(self, name: str) -> Any:
            return getattr(library, name)

    namespace = Namespace()
    vars(namespace).update(others, __name__=library.__name__)
    return namespace
