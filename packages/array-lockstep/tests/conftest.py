"""Fixtures and hooks. Tests that need a missing library are left out."""

import os
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec

import pytest

# before SciPy is imported: scikit-learn asks for it
os.environ.setdefault("SCIPY_ARRAY_API", "1")
# a test leaves nothing in the user's cache folder
os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "false")
with suppress(ModuleNotFoundError):
    import hypothesis

    # The same examples each time: a failure by chance would stop unrelated work.
    hypothesis.settings.register_profile("same", derandomize=True, database=None)
    hypothesis.settings.load_profile("same")

LIBRARIES = {"torch": "torch", "jax": "jax", "array-api-strict": "array_api_strict"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that need a missing package."""
    for item in items:
        for name in needed(item):
            if find_spec(name) is None:
                item.add_marker(pytest.mark.skip(reason=f"{name} is not installed"))


def needed(item: pytest.Item) -> set[str]:
    """Return the packages that a test needs: by its mark, and by its parameters."""
    names = {name for mark in item.iter_markers("needs") for name in mark.args}
    callspec = getattr(item, "callspec", None)
    texts = (
        [x for x in callspec.params.values() if isinstance(x, str)] if callspec else []
    )
    return names | {LIBRARIES[text] for text in texts if text in LIBRARIES}


@pytest.fixture(autouse=True)
def whole_standard() -> Iterator[None]:
    """array-api-strict with all of the standard, which other tests may restrict."""
    if find_spec("array_api_strict") is None:
        yield
        return
    import array_api_strict as strict

    flags = strict.get_array_api_strict_flags()
    strict.reset_array_api_strict_flags()
    yield
    strict.set_array_api_strict_flags(**flags)
