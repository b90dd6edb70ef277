"""Hooks for array libraries that need more than their namespace, a module for each:
`--backends dask` uses `dask.py`.

docs/libraries.md says what a hook is. Each is short: read one before you write yours.
"""

from pathlib import Path
from typing import Any

GROUP = "mlp_xp.backends"


def known_hooks() -> dict[str, Any]:
    """Return the hooks of this package, and the entry points of GROUP that installed
    packages have, by name.
    """
    from importlib.metadata import EntryPoint, entry_points

    names = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
    own = [EntryPoint(name, f"{__name__}.{name}", GROUP) for name in names]
    return {each.name: each for each in (*own, *entry_points(group=GROUP))}


def adapted(library: Any, **others: Any) -> Any:
    """Return a namespace that has all that a library has, and these names of the
    standard besides or instead.
    """

    class Namespace:
        def __getattr__(self, name: str) -> Any:
            return getattr(library, name)

    namespace = Namespace()
    vars(namespace).update(others, __name__=library.__name__)
    return namespace
