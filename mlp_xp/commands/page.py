"""Write a web page with the network of a run: `mlp-xp page RUN_DIR digit.html`."""

from pathlib import Path

from mlp_xp.api import export_page
from mlp_xp.commands.options import BackendName, CacheDir
from mlp_xp.commands.unfinished import warn_of_unfinished


def page(
    run_dir: Path,
    output: Path,
    /,
    *,
    backend: BackendName = "numpy",
    data_dir: Path | None = None,
    cache_dir: CacheDir = None,
    title: str | None = None,
) -> None:
    """Write a web page with the network of a run.

    The page is one file. Any browser opens it without a server or internet. People draw
    in it, or move sliders for the columns of a table, and see the answer of the
    network. See docs/page.md.

        mlp-xp page runs/digits digit.html --title "Class 5b"

    Args:
        run_dir: The folder of a training run.
        output: The HTML file to write, such as digit.html. An existing file is
            replaced.
        data_dir: The data of the run, if they have moved.
        title: The title of the page. By default the name of the data.
    """
    export_page(
        run_dir, output, backend, data=data_dir, cache_dir=cache_dir, title=title
    )
    warn_of_unfinished([run_dir])
    print(f"{output}: {output.stat().st_size / 1e6:.2f} MB")
