"""A Matplotlib figure that a notebook displays.

Import this module only where a figure is drawn, because Matplotlib takes long to import.
"""

import io
import warnings

from matplotlib import style
from matplotlib.figure import Figure


class Picture(Figure):
    """A figure without pyplot and its state, for a PNG file or a notebook."""

    def png(self) -> bytes:
        """Return the content of a PNG file, drawn with Agg in Matplotlib's own style, whatever the caller has set."""
        file = io.BytesIO()
        with warnings.catch_warnings(), style.context("default"):
            # A run's name may contain letters that no installed font has.
            warnings.filterwarnings("ignore", "Glyph", UserWarning)
            # Long names may leave no room for the axes.
            warnings.filterwarnings("ignore", "constrained_layout not applied", UserWarning)
            self.savefig(file, format="png", backend="agg")
        return file.getvalue()

    _repr_png_ = png  # for a notebook, which displays a plain `Figure` only if pyplot is imported
