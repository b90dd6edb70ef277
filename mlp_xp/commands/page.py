"""Write a web page with a run's network, in which people draw or move sliders: `mlp-xp page RUN_DIR digit.html`."""

from pathlib import Path

from mlp_xp.api import write_page
from mlp_xp.commands.evaluate import warn_of_unfinished
from mlp_xp.commands.options import BackendName, CacheDir


def page(
    run_dir: Path,
    output: Path,
    /,
    *,
    backend: BackendName = "numpy",
    data_dir: Path | None = None,
    cache_dir: CacheDir = None,
) -> None:
    """Write a web page with the network of a run: one file, which any browser opens without a server or internet.

    For pictures in shades of grey, people draw in it by mouse, finger or pen, and see what the network sees and says,
    and what its first layer responds to. For a table it has a field for each column. docs/page.md describes it.

    Args:
        run_dir: The folder of a training run.
        output: The HTML file to write, such as digit.html; an existing one is replaced.
        data_dir: The data of the run, if they have moved.
    """
    size = write_page(run_dir, output, backend, data=data_dir, cache_dir=cache_dir)
    warn_of_unfinished([run_dir])
    print(f"{output}: {size / 1e6:.2f} MB")
