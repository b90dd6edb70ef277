"""The range of each option for your own data."""

from mlp_xp.core.dataset import Origin
from mlp_xp.core.task import TASKS
from mlp_xp.errors import DatasetError

LARGEST_SIDE = 2048


def check_origin(origin: Origin) -> None:
    """Raise DatasetError for a value out of range, with the name of its setting."""
    size, task = origin.picture_size, origin.task
    for name, valid, wanted in (
        ("test_fraction", 0 <= origin.test_fraction < 1, "at least 0 and below 1"),
        ("split_seed", 0 <= origin.split_seed < 2**32, "a whole number from 0 to 2**32 - 1"),
        (
            "picture_size",
            size is None or (isinstance(size, int) and 1 <= size <= LARGEST_SIDE),
            f"a whole number from 1 to {LARGEST_SIDE}",
        ),
        ("task", task is None or task in TASKS, f"one of {', '.join(TASKS)}"),
    ):
        if not valid:
            raise DatasetError(f"{getattr(origin, name)!r:.80} is not valid; it must be {wanted}", setting=name)
