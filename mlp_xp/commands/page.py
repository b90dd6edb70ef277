"""Write a web page with a run's network, in which people draw or move sliders: `mlp-xp page RUN_DIR digit.html`."""

from pathlib import Path

from mlp_xp.api import export_page
from mlp_xp.commands.evaluate import warn_of_unfinished
from mlp_xp.commands.options import BackendName, CacheDir
from mlp_xp.errors import MlpXpError


def page(
    run_dir: Path,
    /,
    *others: Path,
    backend: BackendName = "numpy",
    data_dir: Path | None = None,
    cache_dir: CacheDir = None,
) -> None:
    """Write a web page with the network of a run: one file, which any browser opens without a server or internet.

    People draw in it, or move sliders for the columns of a table, and see what the network says; see docs/page.md.

    Args:
        run_dir: The folder of a training run.
        others: The HTML file to write, such as digit.html, which replaces an existing file.
        data_dir: The data of the run, if they have moved.
    """
    *runs, output = (run_dir, *others)
    if len(runs) != 1 or output.suffix.lower() != ".html":
        raise MlpXpError("give one run, whose network the page shows, and the HTML file to write, such as digit.html")
    export_page(run_dir, output, backend, data=data_dir, cache_dir=cache_dir)
    warn_of_unfinished(runs)
    print(f"{output}: {output.stat().st_size / 1e6:.2f} MB")
