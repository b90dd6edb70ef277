"""Figures of Matplotlib: their style, names and files, and the errors of drawing."""

import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlp_xp.errors import MlpXpError, MlpXpWarning, escaped, not_installed, warn
from mlp_xp.files import write_whole
from mlp_xp.show.numbers import quantity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The colours of Okabe and Ito, distinct for every kind of colour vision. Their yellow
# is left out, because it is too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
# The colour of a role in every picture in which colours do not tell runs apart.
COLOUR_OF = {
    "test": "#0072B2",
    "training": "#D55E00",
    "held out": "#009E73",
    "notebook": "#E69F00",
    "bound": "#777777",  # a tolerance, a limit, or the line of a perfect network
}
# Fonts of Windows, macOS and Linux with Chinese letters, because Matplotlib's own font
# has none. The file of Noto has fonts of several languages, and Matplotlib takes the
# first of them.
_CHINESE = (
    "Microsoft YaHei",
    "SimHei",
    "PingFang SC",
    "PingFang HK",
    "Hiragino Sans GB",
    "Heiti TC",
    "Arial Unicode MS",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
)
_DPI = 130
# Characters in a legend, on an axis, and above an image.
LONGEST_NAME, LONGEST_CLASS, LONGEST_ABOVE = 100, 24, 10
LEGEND: dict[str, Any] = {"framealpha": 0.8, "edgecolor": "none", "fontsize": 9}
BELOW_AXES: Any = "outside lower center"  # where the legend of a whole figure is


class PlotError(MlpXpError):
    """A picture that cannot be drawn. The exit code is 2 if a library is missing."""

    exit_code = 1


def _chinese_fonts() -> list[str]:
    """Return the installed fonts of _CHINESE. Matplotlib warns of missing fonts."""
    from matplotlib.font_manager import fontManager

    installed = fontManager.get_font_names()
    return [name for name in _CHINESE if name in installed]


@contextmanager
def drawing() -> Iterator[None]:
    """Use the style of Matplotlib, not the caller's, in a `with` block or a function.

    With settings of the caller, such as `text.usetex`, a picture could look wrong, or
    need a missing program. Raises PlotError for an error caused by the machine.
    """
    try:
        from matplotlib import style

        # Matplotlib computes limits and ticks beyond the data. They overflow for the
        # largest losses.
        fonts = {"font.family": ["sans-serif", *_chinese_fonts()]}
        with (
            style.context(["default", fonts]),
            np.errstate(over="ignore", invalid="ignore"),
        ):
            yield
    except ModuleNotFoundError as error:
        missing = PlotError(
            f"pictures need Matplotlib, which {not_installed('matplotlib')}"
        )
        missing.exit_code = 2
        raise missing from error
    # The font library raises RuntimeError.
    except (OSError, MemoryError, ImportError, RuntimeError) as error:
        reason = " ".join(f"{error}".split()) or "out of memory"
        raise PlotError(
            f"pictures cannot be drawn: {reason}; fix that, or install Matplotlib again"
        ) from error


@drawing()
def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of a size in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    # A notebook displays a figure by itself only if pyplot is imported.
    figure._repr_png_ = partial(png, figure)  # type: ignore[attr-defined]
    return figure


@drawing()
def png(figure: "Figure") -> bytes:
    """Return a figure as the content of a PNG file.

    Gives an MlpXpWarning if names have letters that no installed font has.
    """
    file = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", "Glyph", UserWarning)
        # A long name may leave no room for the axes.
        warnings.filterwarnings("ignore", "constrained_layout not applied", UserWarning)
        figure.savefig(file, format="png", backend="agg")
    if any("Glyph" in str(each.message) for each in caught):
        fault = "pictures show boxes for letters that no installed font has"
        remedy = (
            "install a font such as Noto Sans CJK, and remove Matplotlib's list of "
            "fonts, fontlist-*.json in matplotlib.get_cachedir()"
        )
        warn(MlpXpWarning(fault, remedy=remedy))
    return file.getvalue()


def save(figure: "Figure", path: Path) -> None:
    """Write a figure to a PNG file, completely or not at all.

    Raises:
        PlotError: The picture cannot be drawn.
        FileError: The file cannot be written.
    """
    write_whole(path, png(figure))


def text(name: str, longest: int = LONGEST_NAME) -> str:
    """Return a name as Matplotlib draws it: shortened, and without mathematics.

    Control characters, which would be boxes, are escaped. So are bytes that are not
    UTF-8 in the name of a folder, which Matplotlib refuses.
    """
    name = escaped(name)
    if len(name) > longest:
        name = f"{name[: longest // 2]}...{name[-longest // 2 :]}"
    return name.replace("$", r"\$")


def tidy(axes: Any) -> None:
    """Draw a grid below the data, and no frame on two sides."""
    axes.set_axisbelow(True)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def panels(count: int, columns: int, size: float) -> tuple["Figure", list[Any]]:
    """Return a figure with axes of `size` inches, at most `columns` of them a row."""
    columns = min(count, columns)
    rows = math.ceil(count / columns)
    figure = new_figure(max(5.5, size * columns), size * rows)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid[count:]:
        axes.set_axis_off()
    return figure, grid[:count]


def in_thousands(value: float, _: float) -> str:
    """Format a tick as in 250 000."""
    return quantity(value, 10)
