"""The names of the files in the folder of a run."""

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

# All files but config.json, in the order in which they are removed or moved aside. The
# checkpoint comes first, because a run without one has not begun.
RUN_FILES = (CHECKPOINT, MODEL, RESULT, METRICS, FINGERPRINTS, *PICTURES)

# The lock, and the process that holds it: see `lock`.
LOCK = ".lock"
HOLDER = ".holder"
# The folder of a run that is being replaced: see `replacing`.
REPLACED = ".replaced"
