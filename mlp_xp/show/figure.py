"""A Matplotlib figure that a notebook shows by itself. Imported where one is drawn: Matplotlib takes long to import."""

import io
import warnings

from matplotlib.figure import Figure


class Picture(Figure):
    """A figure apart from pyplot and all of its state, as PNG in a file or in a notebook."""

    def png(self) -> bytes:
        """The content of a PNG file."""
        file = io.BytesIO()
        with warnings.catch_warnings():
            # A run's name may have letters that no font here has.
            warnings.filterwarnings("ignore", "Glyph", UserWarning)
            self.savefig(file, format="png")
        return file.getvalue()

    def _repr_png_(self) -> bytes:
        """For a notebook, which shows the last value of a cell. It shows other figures only when pyplot is there."""
        return self.png()
