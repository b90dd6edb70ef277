"""The settings for reading your own data. Published data sets have none of them."""

from dataclasses import dataclass

from mlp_xp.declared import BELOW_ONE, check_settings, out_of_range, setting


@dataclass(frozen=True)
class DataOptions:
    """How `load_dataset` reads your own files, so that a run can read them again.

    `Settings` take these options together. `load_dataset` takes each as an argument.

    Raises:
        ConfigError: A value has the wrong type or is out of range.

    Examples:
        >>> options = DataOptions(label="price", test_fraction=0.1)
        >>> Settings(data_dir="prices.csv", data_options=options).dataset is None
        True
    """

    label: str | None = setting(None, names_columns=True, group="Data")
    """Column with the labels, if --data-dir has tables with a header. Separate several
    columns with commas, to predict several numbers or several labels, each 0 or 1.
    """
    exclude: str | None = setting(None, names_columns=True, group="Data")
    """Columns to ignore, such as a row id. Separate several columns with commas."""
    text: str | None = setting(None, names_columns=True, group="Data")
    """Columns of a table to read as text. Their values are categories, even if they are
    numbers or dates. Separate several columns with commas.
    """
    decimal: str = setting(".", choices=(".", ","), group="Data")
    """Decimal mark of the numbers in a table."""
    thousands: str | None = setting(None, group="Data")
    """Mark between the thousands of the numbers in a table, such as , in 1,234.5."""
    date_format: str | None = setting(None, group="Data")
    """Form of the dates in a table if it is not 2024-12-31, such as %d.%m.%Y, in the
    notation of polars.
    """
    drop_unlabelled: bool | None = setting(None, group="Data")
    """Leave out the rows of a table without a label."""
    test_fraction: float = setting(0.2, most=BELOW_ONE, group="Data")
    """Share of the samples to test on, if --data-dir has no test set. 0 for no test."""
    split_seed: int = setting(0, most=2**32 - 1, group="Data")
    """Random seed to choose the samples to test on, 0 to 2**32 - 1."""
    cv: int | None = setting(None, least=2, group="Data")
    """Cross-validate: divide all samples into this many folds. For each fold, train a
    network on the other folds, and test it on this fold.
    """
    fold: int | None = setting(None, group="Data")
    """Train only the network of one fold of --cv. Folds count from 0."""
    picture_size: int | None = setting(None, least=1, most=2048, group="Data")
    """Resize the pictures in --data-dir to squares with this many pixels on a side. By
    default all pictures must have the same size.
    """
    task: str | None = setting(
        None, choices=("classes", "labels", "regression"), group="Data"
    )
    """Predict one class of each sample, several labels that apply or not, or numbers
    (regression). By default text means classes, numbers with decimals mean regression,
    and several columns of 0 and 1 mean labels. Two different whole numbers mean
    classes, whole numbers of which one is in a single row mean regression, and for
    others this option is needed.
    """
    sample_weight: str | None = setting(None, names_columns=True, group="Data")
    """Column of a table with the weight of each training sample, a number of at least
    0. The column is not a feature. Gradients and training losses are multiplied by the
    weights. Results on held-out and test samples are not weighted.
    """
    class_weight: str | None = setting(None, choices=("balanced",), group="Data")
    """balanced: weight training samples to make all classes count the same, as in
    scikit-learn. The weights are multiplied by --sample-weight.
    """
    stratify: bool = setting(True, group="Data")
    """Choose the samples to test on in proportion from each class, and at least one of
    each class with two samples or more.
    """
    scale_targets: bool = setting(True, group="Data")
    """For regression: train on numbers with mean 0 and standard deviation 1.
    Predictions and errors stay in the units of the data. Only the loss is in standard
    deviations.
    """

    def __post_init__(self) -> None:
        check_settings(self)
        if self.fold is not None and self.fold >= (self.cv or 0):
            raise out_of_range("fold", self.fold, "below the number of folds, --cv")
        mark = self.thousands
        if mark and (len(mark) > 1 or mark.isalnum() or mark in f"+-{self.decimal}"):
            wanted = "one character such as , that is not the decimal mark"
            raise out_of_range("thousands", mark, wanted)
