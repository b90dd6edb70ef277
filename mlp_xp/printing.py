"""The texts that `print` and a notebook show of an object.

The methods `__str__` and `_repr_html_` of a class return `as_text` and `as_html`. The
module `show.objects` registers the texts of each class, so that no class of the core
depends on the presentation.
"""

from collections.abc import Callable
from typing import Any

_TEXTS: dict[type, tuple[Callable[[Any], str], Callable[[Any], str]]] = {}


def register(
    kind: type, plain: Callable[[Any], str], html: Callable[[Any], str]
) -> None:
    """Set the texts of the objects of a class.

    Args:
        kind: The class.
        plain: A function that returns the text for `print`.
        html: A function that returns the HTML for a notebook.
    """
    _TEXTS[kind] = plain, html


def as_text(value: Any) -> str:
    """Return the text for `print`. Without a registered text it is the `repr`."""
    plain, _ = _TEXTS.get(type(value), (repr, repr))
    return plain(value)


def as_html(value: Any) -> str | None:
    """Return the HTML for a notebook. None lets the notebook show the `repr`."""
    if type(value) not in _TEXTS:
        return None
    _, html = _TEXTS[type(value)]
    return html(value)
