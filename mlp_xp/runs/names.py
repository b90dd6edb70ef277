"""The names of the files in a run folder."""

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
