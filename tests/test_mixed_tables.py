"""Networks of tables as people have them, in use on data frames; tests/data/test_columns.py tests their features."""

import numpy as np
import polars as pl
import pytest
from data_sets import FRAMES, MIXED, mixed, write_csv

from mlp_xp import TrainConfig, evaluate, from_arrays, load_dataset, load_run, open_backend, predict, train
from mlp_xp.errors import DatasetError, MlpXpWarning

CONFIG = TrainConfig(epochs=1, batch_size=16, hidden=(5,), optimizer="adam", update_order="simultaneous", init="he")


@pytest.fixture(scope="module", params=MIXED)
def run(request, tmp_path_factory):
    """A table, its file, and the network of a run that was trained on it."""
    folder, table = tmp_path_factory.mktemp(request.param), mixed(request.param)
    path = write_csv(folder / "table.csv", table.columns)
    dataset = load_dataset(path, label=table.label, exclude=",".join(table.ids) or None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlp_xp.api.draw_run", lambda *_: None)
        assert [*train(CONFIG, dataset, open_backend(), run_dir=folder / "run")]
    return table, path, load_run(folder / "run")


@pytest.mark.parametrize("kind", FRAMES)
def test_evaluate_takes_data_frames(run, kind: str) -> None:
    """Columns may be in another order and among others; the rows that the network was trained on are known again."""
    table, path, model = run
    frame, y = table.frame(kind, reversed(table.columns)), table.frame(kind, [table.label])
    with pytest.warns(MlpXpWarning, match="120 of 150 rows are left out: the network was trained on them"):
        results = [evaluate(model, data).result for data in ((frame, y), frame, path)]
    assert results == results[-1:] * 3
    assert results[0].loss == pytest.approx(evaluate(model).result.loss, rel=1e-12)  # the rows in another order
    np.testing.assert_array_equal(model.predict(frame), predict(model, path).values)
    *_, last = train(CONFIG, from_arrays(table.frame(kind), y, 0.2, task=model.task.name), open_backend())
    np.testing.assert_array_equal(predict(last.model, path).outputs, predict(model, frame).outputs)


def test_tables_that_do_not_fit_are_refused(run) -> None:
    table, _, model = run
    frame, (first, second, *_) = table.frame("polars", table.columns), model.columns.names
    renamed = frame.rename({first: first.lower() + "s", second: "another"})
    for use in (model.predict, lambda X: predict(model, X), lambda X: evaluate(model, X)):
        with pytest.raises(DatasetError, match=f"X: has no column '{first}'.*, '{second}'"):
            use(renamed)
    with pytest.raises(DatasetError, match=f"data: has no column '{table.label}'"):
        evaluate(model, frame.drop(table.label))
    with pytest.raises(DatasetError, match="data: has no labels that are known"):
        evaluate(model._replace(source="another"), frame)


def test_columns_of_numbers_to_evaluate_are_found_by_their_names() -> None:
    columns = mixed("ames").columns
    frame = pl.DataFrame({name: columns[name] for name in ("Area", "Built", "Price")})
    *_, last = train(CONFIG, from_arrays(frame[["Area"]], frame[["Built", "Price"]], task="regression"), open_backend())
    results = [evaluate(last.model, (frame, frame[names])).result for names in (["Built", "Price"], ["Price", "Built"])]
    assert results[0] == results[1]
