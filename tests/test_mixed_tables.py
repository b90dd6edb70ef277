"""Tables as people have them: the same network from a file and from data frames of each library."""

import numpy as np
import polars as pl
import pytest
from data_sets import FRAMES, MIXED, mixed, write_csv

from mlp_xp import TrainConfig, evaluate, from_arrays, load_dataset, load_run, open_backend, predict, train
from mlp_xp.errors import DatasetError, MlpXpWarning

CONFIG = TrainConfig(epochs=3, batch_size=16, hidden=(5,), optimizer="adam", update_order="simultaneous", init="he")


def trained(dataset, **options):
    *_, last = train(CONFIG, dataset, open_backend(), **options)
    return last.model


@pytest.fixture(scope="module", params=MIXED)
def run(request, tmp_path_factory):
    """A table, its file, and the run that was trained on it."""
    folder, table = tmp_path_factory.mktemp(request.param), mixed(request.param)
    path = write_csv(folder / "table.csv", table.columns)
    options = {"label": table.label, "exclude": ",".join(table.ids) or None}
    trained(load_dataset(path, **options), run_dir=folder / "run")
    return table, path, load_run(folder / "run"), options


@pytest.mark.parametrize("kind", ["parquet", *FRAMES])
def test_the_same_network_from_each_form(run, kind: str) -> None:
    """And the same predictions and figures: the columns may be in another order and among others."""
    table, path, model, options = run
    if kind == "parquet":
        other = write_csv(path.with_suffix(".parquet"), table.columns)
        dataset = load_dataset(other, **options)
    else:
        other = table.frame(kind, reversed(table.columns))
        y = table.frame(kind, [table.label])
        dataset = from_arrays(table.frame(kind), y, 0.2, task=model.task.name)  # pandas may make prices whole
        assert dataset.class_names == model.class_names
        with pytest.warns(MlpXpWarning, match="120 of 150 rows are left out: the network was trained on them"):
            results = [evaluate(model, data).result for data in ((other, y), other, path)]
        assert results == results[-1:] * 3
        assert results[0].loss == pytest.approx(evaluate(model).result.loss, rel=1e-12)  # the rows in another order
    for one, two in zip(trained(dataset).network, model.network, strict=True):
        np.testing.assert_array_equal(one.weights, two.weights)
    expected = predict(model, path).outputs
    for found in (predict(model, other), predict(trained(dataset), path)):
        np.testing.assert_array_equal(found.outputs, expected)


def test_tables_that_do_not_fit_are_refused(run) -> None:
    table, _, model, _ = run
    frame = table.frame("pandas", table.columns)
    first, second = model.columns.names[:2]
    renamed = frame.rename(columns={first: first.lower() + "s", second: "another"})
    for library in (lambda frame: frame, pl.from_pandas):
        for use in (model.predict, lambda X: predict(model, X), lambda X: evaluate(model, X)):
            with pytest.raises(DatasetError, match=f"X: has no column '{first}'.*, '{second}'"):
                use(library(renamed))
        with pytest.raises(DatasetError, match=f"data: has no column '{table.label}'"):
            evaluate(model, library(frame.drop(columns=table.label)))
    unnamed = model._replace(source="another")
    with pytest.raises(DatasetError, match=r"^data: has no labels that are known; give \(X, y\)$"):
        evaluate(unnamed, frame)
    with pytest.raises(DatasetError, match=r"^data: is neither a path, a Dataset nor a data frame; give \(X, y\)$"):
        evaluate(model, 7)
    assert evaluate(unnamed, (frame, frame[table.label])).result.loss >= 0


def test_values_that_training_did_not_have(run) -> None:
    """Categories count as rare ones, and gaps as those of the training data."""
    table, _, model, _ = run
    frame = table.frame("pandas")
    texts = frame.select_dtypes(["object", "string"]).columns
    with pytest.warns(MlpXpWarning, match=f"without a value that was frequent in training: '{texts[0]}'"):
        outputs = predict(model, frame.assign(**dict.fromkeys(texts, "unheard of"))).outputs
    assert np.isfinite(outputs).all()
    gaps = pl.DataFrame(dict.fromkeys(frame, [None] * len(frame)))
    found = predict(model, frame.astype(object).assign(**dict.fromkeys(frame, None))).outputs
    np.testing.assert_array_equal(found, predict(model, gaps).outputs)
    np.testing.assert_array_equal(found, np.broadcast_to(found[0], found.shape))
