"""How your own files are read: the settings that mean something for your own data
alone.
"""

from dataclasses import dataclass

from mlp_xp.declared import BELOW_ONE, check_settings, out_of_range, setting


@dataclass(frozen=True)
class DataOptions:
    """How `load_dataset` reads your own files, so that a run can read them again.
    Raises ConfigError.
    """

    label: str | None = setting(None, names_columns=True)
    """Column with the labels, if --data-dir has tables with a header. Separate several
    with commas, to predict several numbers, or several labels that are 0 or 1 each.
    """
    exclude: str | None = setting(None, names_columns=True)
    """Columns to ignore, such as a row id; separate several with commas."""
    test_fraction: float = setting(0.2, most=BELOW_ONE)
    """Share of the samples to test on, if --data-dir has no test set of its own; 0: do
    not test.
    """
    split_seed: int = setting(0, most=2**32 - 1)
    """Random seed, 0 to 2**32 - 1, that chooses the samples to test on."""
    cv: int | None = setting(None, least=2)
    """Cross-validate: divide all samples into this many folds, and train a network for
    each, tested on its fold and trained on the others.
    """
    fold: int | None = setting(None)
    """Train the network of one fold of --cv alone. Folds count from 0."""
    picture_size: int | None = setting(None, least=1, most=2048)
    """Resize the pictures in --data-dir to a square with this many pixels on a side. By
    default they must all have one size.
    """
    task: str | None = setting(None, choices=("classes", "labels", "regression"))
    """What to predict: one class, several labels that apply or not, or numbers
    (regression). By default regression if the labels in --data-dir have a decimal
    point, labels if each sample has several, and otherwise classes. Many different
    whole numbers may be classes or quantities, and need this option.
    """
    sample_weight: str | None = setting(None, names_columns=True)
    """Column of a table with the weight of each training sample, a number of at least
    0. It is not a feature. Gradients and training losses are multiplied by it; results
    on held-out and test samples are not weighted.
    """
    class_weight: str | None = setting(None, choices=("balanced",))
    """balanced: weigh training samples so that all classes count the same, as in
    scikit-learn. Multiplied by --sample-weight.
    """
    stratify: bool = setting(True)
    """Choose the samples to test on in proportion from each class, and at least one of
    a class that has two.
    """
    scale_targets: bool = setting(True)
    """For regression: train on numbers with mean 0 and standard deviation 1.
    Predictions and errors stay in the units of the data; only the loss is in standard
    deviations.
    """

    def __post_init__(self) -> None:
        check_settings(self)
        if self.fold is not None and self.fold >= (self.cv or 0):
            raise out_of_range("fold", self.fold, "below the number of folds, --cv")
