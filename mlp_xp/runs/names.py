"""The names of the files in a run folder, and the default names of folders."""

import re
from pathlib import Path

CONFIG = "config.json"
METRICS = "metrics.jsonl"
RESULT = "result.json"
MODEL = "model.safetensors"
CHECKPOINT = "checkpoint.safetensors"
FINGERPRINTS = "rows.safetensors"
PAGE = "page.html"
PICTURES = (
    "curves.png",
    "deformed.png",
    "confusion.png",
    "probabilities.png",
    "mistakes.png",
    "weights.png",
    "predictions.png",
    "labels.png",
    PAGE,
)

# All files except config.json, in the order in which they are removed or moved aside.
# The checkpoint comes first, because a run without one counts as not begun.
RUN_FILES = (CHECKPOINT, MODEL, RESULT, METRICS, FINGERPRINTS, *PICTURES)

# The lock, and the process that holds it: see `locked_folder`.
LOCK = ".lock"
HOLDER = ".holder"
# The old run, while a new run replaces it: see `_replacing`.
REPLACED = ".replaced"

_LONGEST_LABEL = 30  # characters


def default_folder(*parts: str) -> Path:
    """Return the default folder of a run or of a sweep, `runs/<part>-<part>-...`.

    Empty parts are left out.
    """
    return Path("runs") / "-".join(filter(None, parts))


def in_folder_name(label: str | None) -> str:
    """Return columns of labels as a part of the name of a folder; "" for no label.

    Letters of all languages are kept. Other characters become _, because Windows
    allows few of them, and shells need quotes around them.
    """
    kept = []
    for letter in label or "":
        is_plain = letter.isalnum() or letter in "._-"
        is_kept = is_plain if letter.isascii() else letter.isprintable()
        kept.append(letter if is_kept else "_")
    return re.sub("_+", "_", "".join(kept))[:_LONGEST_LABEL].strip("._-")
