"""The page in a real browser: what it computes and shows.

It needs nothing but its file.
"""

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from backends import browser
from data_sets import TINY, data_frame, mixed, synthetic, varied
from helpers import assert_one_line, call, options, output_of, small_settings, stored
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mlp_xp import (
    TrainConfig,
    export_page,
    from_arrays,
    load_dataset,
    load_run,
    open_backend,
    predict,
    train,
)
from mlp_xp.core.functional import ACTIVATIONS
from mlp_xp.core.model import Model
from mlp_xp.core.task import TASKS
from mlp_xp.data._ink import prepare_image
from mlp_xp.data.pictures import read_image
from mlp_xp.errors import MlpXpWarning
from mlp_xp.export import page as export
from mlp_xp.show.numbers import percent

pytestmark = pytest.mark.usefixtures("no_pictures")
in_browser = pytest.mark.needs("browser")
slow = pytest.mark.slow
OTHERS = [name for name in [*ACTIVATIONS, "none"] if name != "gelu"]


# Pictures.


@in_browser
def test_probabilities_are_those_of_the_model(
    chromium: Any, digits: Path, images: np.ndarray
) -> None:
    with opened(chromium, digits / "page.html") as page:
        found = probabilities(page, images)
        assert_near(found, load_run(digits).predict_proba(images))
        assert (
            "784-64-10 · 50\xa0890\xa0parameters · 9"
            in page.locator("#about").inner_text()
        )


@in_browser
@pytest.mark.parametrize(
    "activation", ["gelu", *(pytest.param(name, marks=slow) for name in OTHERS)]
)
def test_every_activation(chromium: Any, tmp_path: Path, activation: str) -> None:
    """none: without a hidden layer."""
    how = (
        {"hidden": ()}
        if activation == "none"
        else {"hidden": (7, 5), "activation": activation}
    )
    model = trained(TINY, **how)
    assert export_page(model, tmp_path / "a.html", data=TINY).stat().st_size < 100_000
    with opened(chromium, tmp_path / "a.html") as page:
        found = probabilities(page, TINY.test.inputs)
    assert_near(found, model.predict_proba(TINY.test.inputs))


@pytest.mark.slow
@in_browser
def test_drawn_digits_are_recognised_and_prepared_as_by_predict(
    chromium: Any, digits: Path
) -> None:
    right = 0
    with opened(chromium, digits / "page.html") as page:
        for digit, text in DRAWINGS:
            stroke(
                page,
                [
                    np.array(part.split(), float).reshape(-1, 2)
                    for part in text.split(", ")
                ],
            )
            check_preparation(page)
            right += page.locator("#bars .best span").first.inner_text() == digit
            page.click("#clear")
    assert right >= 18


@slow
@in_browser
def test_extreme_strokes_are_prepared_as_by_predict(
    chromium: Any, digits: Path
) -> None:
    # The corners, lines along an edge, around all edges and across, a dot beside a
    # stroke, and half of the square.
    a, b, c, d = [1, 1], [99, 1], [99, 99], [1, 99]
    rows = [[[1, y], [99, y]] for y in range(1, 50, 7)]
    edges = [a, b, c, d, a]
    beside = [[[20, 50], [60, 50]], [[90, 90]]]
    extreme = [[[[50, 50]]], [[a]], [[c]], [[b, c]], [edges], beside, rows]
    extreme.append([edges, [a, c], [b, d]])
    with opened(chromium, digits / "page.html") as page:
        for strokes in extreme:
            stroke(page, [np.array(points) for points in strokes])
            check_preparation(page)
            page.click("#clear")


@slow
@in_browser
def test_photos_are_prepared_as_by_predict(
    chromium: Any, digits: Path, images: np.ndarray, random: Any
) -> None:
    """Noise, grey ink, light ink on dark paper, and dirt.

    For uneven light, there is predict.
    """
    pictures = []
    for image in images[:6]:
        ink = np.asarray(Image.fromarray(image).resize((70, 70)).convert("F")) / 255
        ink = np.pad(ink, ((30, 20), (5, 15)))
        pictures += [
            0.7 - 0.5 * ink + random.normal(0, 0.01, ink.shape),
            0.2 + 0.6 * ink,
            0.9 - 0.3 * ink,
        ]
        pictures[-1][5:8, 5:8] = 0.3
    pictures.append(pictures[0] - np.linspace(0, 0.4, 90))
    with opened(chromium, digits / "page.html") as page:
        bytes_of = [
            np.rint(255 * each.clip(0, 1)).astype(np.uint8) for each in pictures
        ]
        for picture in bytes_of:
            script = """text => {
              const data = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
              return [...(mlp_xp.prepare({ width: 90, height: 120, data }) ?? [])];
            }"""
            found = page.evaluate(script, encoded(picture))
            if picture is not bytes_of[-1]:
                check_alike(picture, found)
        assert found == []


@slow
@in_browser
def test_a_file_is_chosen_or_dropped(chromium: Any, digits: Path, seven: Path) -> None:
    with opened(chromium, digits / "page.html") as page:
        page.set_input_files("#file", seven)
        page.locator("#bars .best").wait_for()
        chosen = page.evaluate("mlp_xp.state().answer")
        assert_near(chosen, predict(digits, seven).outputs[0])
        page.click("#clear")
        # or else the bars of the old picture could be taken for those of the next
        page.evaluate("mlp_xp.refresh()")
        dropped = """text => {
          const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([bytes], "a.png"));
          const drop = new DragEvent("drop", { dataTransfer, bubbles: true });
          document.body.dispatchEvent(drop);
        }"""
        page.evaluate(dropped, encoded(np.fromfile(seven, np.uint8)))
        page.locator("#bars .best").wait_for()
        assert page.evaluate("mlp_xp.state().answer") == chosen
        page.set_input_files("#file", __file__)
        page.locator("#verdict", has_text="not a picture").wait_for()


@slow
@in_browser
def test_test_pictures_are_shown_with_their_answers(
    chromium: Any, digits: Path
) -> None:
    """One of each class, and the surest mistakes."""
    model, sureness = load_run(digits), []
    with opened(chromium, digits / "page.html") as page:
        buttons = page.locator("#rows button")
        assert buttons.count() == 20
        for number in range(20):
            button = buttons.nth(number)
            button.click()
            answer, label = answer_of(page), button.inner_text()
            seen = np.array(page.evaluate("[...mlp_xp.state().seen]"), np.uint8)
            assert_near([answer], model.predict_proba(seen.reshape(1, 28, 28)))
            verdict = page.locator("#verdict").inner_text()
            assert percent(max(answer)) in verdict
            assert ("is" in verdict) == (number >= 10)
            sureness.append(float(verdict.split()[1]))
            best = int(np.argmax(answer))
            if number < 10:
                assert label == str(best) == str(number)
            else:
                assert label.endswith(f"taken for {best}")
                assert not label.startswith(f"is {best}")
        assert page.locator("[aria-pressed=true]").count() == 1
        assert sureness[10:] == sorted(sureness[10:], reverse=True)


@slow
@in_browser
def test_pictures_are_undone_one_by_one(
    chromium: Any, digits: Path, seven: Path
) -> None:
    with opened(chromium, digits / "page.html") as page:
        page.set_input_files("#file", seven)
        page.locator("#bars .best").wait_for()
        first = answer_of(page)
        for button in page.locator("#rows button").all():
            button.click()
        page.click("#clear")
        assert answer_of(page) is None
        for _ in range(21):
            page.click("#undo")
        assert answer_of(page) == first


@slow
@in_browser
def test_the_keyboard_draws(chromium: Any, digits: Path) -> None:
    up, down, left = ["ArrowUp"] * 9, ["ArrowDown"] * 18, ["ArrowLeft"] * 5
    with opened(chromium, digits / "page.html") as page:
        page.focus("#square")
        for key in (*up, "Space", *down, "Space", *left):
            page.keyboard.press(key)
        page.evaluate("mlp_xp.refresh()")
        assert page.locator("#verdict").inner_text().startswith("1\n")
        page.locator("#said", has_text="1").wait_for(state="attached")
        page.keyboard.press("Delete")
        assert answer_of(page) is None


@in_browser
@pytest.mark.parametrize(
    ("width", "scheme", "language"),
    [
        (360, "dark", "zh-CN"),
        pytest.param(1920, "light", "en-US", marks=slow),
    ],
)
def test_names_of_any_kind_on_any_screen(
    chromium: Any, tmp_path: Path, width: int, scheme: str, language: str
) -> None:
    dataset = varied(synthetic(400, 200, 28), outputs=(*NAMES, "数字"))
    export_page(trained(dataset, hidden=(16,)), tmp_path / "a.html", data=dataset)
    screen = {"color_scheme": scheme, "locale": language, "has_touch": True}
    with opened(chromium, tmp_path / "a.html", width, **screen) as page:
        page.tap("#square")
        page.evaluate("mlp_xp.refresh()")
        check_preparation(page)
        page.locator("#rows button").first.click()
        page.evaluate("mlp_xp.refresh()")
        context = "document.getElementById('seen').getContext('2d')"
        corner = f"{context}.getImageData(0, 0, 1, 1).data[0] + mlp_xp.state().seen[0]"
        # no ink is white, which the dark mode inverts
        assert page.evaluate(corner) == 255
        shown = page.locator("#bars li span:first-child").all_inner_texts()
        assert shown == [*dataset.signature.outputs]
        words = page.locator("h2").all_inner_texts()
        assert ("画一画" in words, "Draw" in words) == (
            language == "zh-CN",
            language != "zh-CN",
        )
        assert page.evaluate("document.documentElement.lang") == language[:2]


@slow
@in_browser
def test_pictures_as_they_are(chromium: Any, tmp_path: Path) -> None:
    """Of a folder of pictures: dark on light, wider than high, and resized."""
    dataset = synthetic(60, 20, 12)
    images = [
        255 - each[:, :8] // 3 for each in (dataset.train.inputs, dataset.test.inputs)
    ]
    wide = varied(
        dataset, train_inputs=images[0], test_inputs=images[1], form="resized pictures"
    )
    model = trained(wide, hidden=(8,))
    export_page(model, tmp_path / "a.html", data=wide)
    picture = Image.fromarray(images[1][0]).resize((40, 900))
    gamma = PngInfo()  # which predict does not apply
    gamma.add(b"gAMA", (100_000).to_bytes(4, "big"))
    picture.save(tmp_path / "a.png", pnginfo=gamma)
    with opened(chromium, tmp_path / "a.html", 360) as page:
        page.set_input_files("#file", tmp_path / "a.png")
        page.locator("#bars .best").wait_for()
        expected = read_image(tmp_path / "a.png", (8, 12)).astype(int)
        assert (
            np.abs(
                np.reshape(page.evaluate("[...mlp_xp.state().seen]"), (8, 12))
                - expected
            ).max()
            <= 1
        )
        stroke(page, [np.array([[10, 10], [60, 30]])])
        assert page.evaluate(
            "[mlp_xp.state().seen[11], mlp_xp.state().seen[13] < 100]"
        ) == [255, True]


def test_a_page_has_what_training_added_to_large_weights(tmp_path: Path) -> None:
    run, path = tmp_path / "run", tmp_path / "a.html"
    config = TrainConfig(epochs=1, hidden=(4,), seed=3)
    *_, report = train(config, TINY, run_dir=run)
    export_page(run, path, data=TINY)
    initial = np.random.RandomState(3).standard_normal((36, 4))
    expected = np.asarray(report.model.network[0].weights) - initial
    bits = base64.b64decode(stored(path)["changes"])
    found = np.frombuffer(bits, "<f2").reshape(36, 4)
    assert 0 < np.abs(expected).max() < 1
    np.testing.assert_allclose(found, expected, rtol=2**-11, atol=2**-25)


def test_a_page_has_no_changes_where_the_first_weights_are_unknown_or_no_room(
    tmp_path: Path, monkeypatch: Any
) -> None:
    run, later, path = tmp_path / "run", tmp_path / "later", tmp_path / "a.html"
    config = TrainConfig(epochs=1, hidden=(4,))
    *_, report = train(config, TINY, run_dir=run)
    assert [*train(config, TINY, run_dir=later, start_from=run)]
    for model in (report.model, later):
        export_page(model, path, data=TINY)
        assert "changes" not in stored(path)
    size = export_page(run, path, data=TINY).stat().st_size
    assert "changes" in stored(path)
    monkeypatch.setattr(export, "LARGEST", size - 1)
    export_page(run, path, data=TINY)
    assert "changes" not in stored(path)


@in_browser
def test_units_are_shown_by_what_training_made_of_the_picture(
    chromium: Any, digits: Path
) -> None:
    """The recipe small begins with the weights of He."""
    initial = np.random.RandomState(0).standard_normal((784, 64)) * (2 / 784) ** 0.5
    change = np.asarray(load_run(digits).network[0].weights) - initial
    with opened(chromium, digits / "page.html") as page:
        page.locator("#rows button").first.click()
        page.evaluate("mlp_xp.refresh()")
        image = np.array(page.evaluate("[...mlp_xp.state().seen]")) / 255
        words = page.locator("#pairs small").all_inner_texts()
        pixels = page.evaluate(
            """[...document.querySelectorAll("#pairs canvas")].slice(0, 2).map(
            (canvas) => [...canvas.getContext("2d").getImageData(0, 0, 28, 28).data])"""
        )
    units = [int(word.removeprefix("unit ")) for word in words[::2]]
    sums = image @ change
    rounding = 0.005 + 2**-11 * (image @ np.abs(change))
    for unit, text in zip(units, words[1::2], strict=True):
        assert float(text) == pytest.approx(sums[unit], abs=rounding[unit])
    assert sums[units].min() >= np.sort(sums)[-12] - rounding.max()
    weights, products = np.reshape(pixels, (2, 784, 4))
    heavy = np.quantile(np.abs(change), 0.998)
    own = change[:, units[0]]
    for shown, values in ((weights, own), (products, own * image)):
        np.testing.assert_allclose(
            shown[:, 3], np.minimum(255, 255 * np.abs(values) / (0.6 * heavy)), atol=3
        )
        # Transparent colours are rounded.
        red, _, blue, alpha = shown[np.abs(values) > heavy / 4].T
        assert alpha.min() > 60
        is_orange = values[np.abs(values) > heavy / 4] > 0
        assert ((red > blue + 150) == is_orange).all()
        assert ((blue > red) == ~is_orange).all()


# Tables.


def filled(page: Any, number: int, value: Any) -> None:
    """Give a field a value: a text, a number, a date as text, or None for a gap."""
    field = page.locator("#fields .field").nth(number)
    if field.locator("select").count():
        field.locator("select").select_option(
            label="no value" if value is None else value
        )
    elif value is None:
        field.locator("[type=checkbox]").check()
    else:
        text = str(int(value) if isinstance(value, bool) else value)
        field.locator("[type=number], [type=date]").fill(text)


def shown_value(column: Any, value: Any) -> Any:
    """Return the value as a menu of a category has it."""
    if column.kind != "category" or value is None or value in column.levels:
        return value
    return str(value).lower() if isinstance(value, bool) else "(another one)"


@in_browser
@pytest.mark.filterwarnings("ignore:none of the values of these columns is known")
@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("penguins", "classes"),
        pytest.param("ames", "regression", marks=slow),
        pytest.param("titanic", "labels", marks=slow),
    ],
)
def test_tables(chromium: Any, tmp_path: Path, name: str, task: str) -> None:
    table = mixed(name)
    columns, labels = table.columns, np.array(table.columns[table.label])
    labels = (
        np.stack([labels, np.array(columns["Alone"]).astype(int)], axis=1)
        if task == "labels"
        else labels
    )
    features = [each for each in columns if each not in (table.label, *table.ids)]
    dataset = from_arrays(table.frame("pandas object"), labels, test=0.2, task=task)
    model = trained(dataset, hidden=(8,), learning_rate=0.1)
    assert export_page(model, tmp_path / "a.html", data=dataset).stat().st_size < 60_000
    with opened(chromium, tmp_path / "a.html", 360, locale="en-GB") as page:
        about = page.locator("#about").inner_text()
        assert ("in all labels" in about) == (task == "labels")
        for row in range(5):
            page.click("[type=reset]")
            given = {each: columns[each][row] for each in features}
            for number, column in enumerate(model.signature.columns.columns):
                filled(page, number, shown_value(column, given[column.name]))
            frame = data_frame(
                "pandas object", {each: [value] for each, value in given.items()}
            )
            expected = (
                model.predict(frame)
                if task == "regression"
                else model.predict_proba(frame)[0]
            )
            np.testing.assert_allclose(answer_of(page), expected, rtol=1e-5, atol=1e-5)
        verdict = page.locator("#verdict").inner_text()
    said = verdict.split("\n")[0]
    if task == "regression":
        # whole, for a range of 172 600
        said = said.replace("\xa0", "")
        assert float(said) == pytest.approx(expected[0], abs=0.51)
    else:
        assert said in (
            model.class_names
            if task == "classes"
            else ["none of them", "0", "1", "0, 1"]
        )


def table_with_gaps() -> tuple[Model, Any]:
    """Return a model of a table, and its data: a remark, a day and a kind.

    The median day is half a day. The kinds have no rare values.
    """
    days = np.array(["2020-01-01", "2020-01-02"] * 20, "M8[s]")
    frame = pd.DataFrame(
        {
            "remark": [f"text {i}" if i % 4 else None for i in range(41)],
            "day": [pd.NaT, *days],
            "kind": ["a", *["b", "b", "a", "b"] * 10],
        }
    )
    with pytest.warns(MlpXpWarning, match="'remark'"):
        dataset = from_arrays(frame, np.arange(41) % 3, task="classes")
    return trained(dataset, hidden=(4,), learning_rate=0.1), dataset


def test_fields_start_with_what_most_rows_have(tmp_path: Path) -> None:
    model, dataset = table_with_gaps()
    export_page(model, tmp_path / "a.html", data=dataset)
    remark, day, kind = stored(tmp_path / "a.html")["fields"]
    # the last choice, after a gap
    assert [remark["levels"], remark["start"]] == [[], 1]
    assert [kind["levels"], kind["start"]] == [["a", "b"], 1]
    assert day["is_whole"], "although the median is half a day"


@in_browser
@pytest.mark.filterwarnings("ignore:none of the values of these columns is known")
def test_any_text_and_new_categories(chromium: Any, tmp_path: Path) -> None:
    model, dataset = table_with_gaps()
    export_page(model, tmp_path / "a.html", data=dataset)
    day = pd.Timestamp("2020-01-02")
    with opened(chromium, tmp_path / "a.html", 360, locale="en-GB") as page:
        for remark, kind in (("", "b"), ("text", "a"), (None, "c"), ("text", "b")):
            filled(page, 0, "(another one)" if remark else None)
            filled(page, 1, "2020-01-02")
            filled(page, 2, "(another one)" if kind == "c" else kind)
            frame = pd.DataFrame({"remark": [remark], "day": [day], "kind": [kind]})
            expected = model.predict_proba(frame)[0]
            np.testing.assert_allclose(answer_of(page), expected, rtol=1e-5, atol=1e-5)
            label = page.locator("#fields label").last.inner_text()
            assert ("outside the training data" in label) == (kind == "c")


@in_browser
def test_sliders_and_plain_columns(chromium: Any, tmp_path: Path, random: Any) -> None:
    X = np.c_[random.uniform(-2, 3, 100), random.integers(0, 9, 100)]
    dataset = from_arrays(X, X @ [3.0, 1.0], test=0.2, task="regression")
    model = trained(dataset, hidden=(4,))
    export_page(model, tmp_path / "a.html", data=dataset)
    with opened(chromium, tmp_path / "a.html", 360) as page:
        for number, steps in enumerate((0, 1)):
            slider = page.locator("[type=range]").nth(number)
            slider.focus()
            slider.press("End")
            for _ in range(steps):
                slider.press("ArrowLeft")
        inputs = page.evaluate("mlp_xp.inputs()")
        np.testing.assert_allclose(
            inputs, [dataset.train.inputs[:, 0].max(), 7], rtol=0, atol=0.005
        )
        np.testing.assert_allclose(
            page.evaluate("mlp_xp.state().answer"), model.predict([inputs]), rtol=1e-5
        )
        page.locator("[type=number]").first.fill("")  # which predict would refuse
        assert page.evaluate("mlp_xp.state().answer") is None
        assert page.locator("#verdict").inner_text() == "no value"
        page.locator("[type=number]").first.fill("99")
        assert (
            "outside the training data"
            in page.locator("#fields label").first.inner_text()
        )
        script = """() => {
          try { return mlp_xp.predict([NaN, 1]); } catch (error) { return error.name; }
        }"""
        assert page.evaluate(script) == "RangeError"


# What is stored, and what is refused.


@pytest.mark.slow
def test_many_weights_are_float16_if_predictions_stay_equal(
    digits: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    size = (digits / "page.html").stat().st_size
    monkeypatch.setattr(export, "FLOAT32_UP_TO", 0)
    short = export_page(digits, tmp_path / "short.html")
    assert size - short.stat().st_size == pytest.approx(50_890 * 2 * 4 / 3, abs=1000)


@slow
@in_browser
def test_float16_in_the_browser(
    chromium: Any, digits: Path, images: np.ndarray, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(export, "FLOAT32_UP_TO", 0)
    export_page(digits, tmp_path / "a.html")
    model = load_run(digits)
    arrays = (
        array.astype(np.float16).astype(np.float32)
        for layer in model.network
        for array in layer
    )
    layers = tuple(
        layer._replace(weights=next(arrays), bias=next(arrays))
        for layer in model.network
    )
    with opened(chromium, tmp_path / "a.html") as page:
        found = probabilities(page, images)
    assert_near(found, replace(model, network=layers).predict_proba(images))


def test_refused_before_a_training(data_dir: Path, tmp_path: Path) -> None:
    np.savez(
        tmp_path / "x.npz", X=np.arange(40 * 201).reshape(40, 201) % 7, y=[0, 1] * 20
    )
    given = ("--run-dir", tmp_path / "run", "--page", *options(small_settings()))
    outcome = call("train", "--data-dir", tmp_path / "x.npz", "--recipe", "own", *given)
    assert_one_line(outcome, 2, "a page is for grey pictures")
    assert not (tmp_path / "run").exists()


def test_what_a_page_stores_is_finite(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    dataset = from_arrays(
        np.arange(40.0).reshape(20, 2) % 7, [0.0, 1.0] * 10, test=0.5, task="regression"
    )
    constant = varied(
        dataset, test_labels=dataset.test.labels[:1] + 0 * dataset.test.labels
    )
    export_page(trained(dataset, hidden=(4,)), path, data=constant)
    assert "NaN" not in path.read_text("utf-8").partition("</script>")[0]


def test_the_command_says_the_size(small_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    out = output_of("page", small_run, path)
    assert out == f"{path}: {path.stat().st_size / 1e6:.2f} MB\n"
    outcome = call("page", small_run, tmp_path / "no" / "b.html")
    assert_one_line(outcome, 1, "cannot write")
    assert [*tmp_path.iterdir()] == [path]


def test_a_page_has_a_title_and_may_load_nothing(
    small_run: Path, tmp_path: Path
) -> None:
    path = export_page(small_run, tmp_path / "a.html")
    policy = "content=\"default-src 'none'; script-src 'unsafe-inline'"
    assert policy in path.read_text("utf-8")
    assert stored(path)["title"].startswith("data")
    output_of("page", small_run, path, "--title", "5b: </script>")
    assert stored(path)["title"] == "5b: </script>"


def test_the_page_knows_every_task() -> None:
    """Without a browser, its source is all that can be checked."""
    source = Path(export.__file__).with_name("page.html").read_text("utf-8")
    for name in TASKS:
        assert re.search(rf"^  {name}[(:]", source, re.MULTILINE)


def test_the_page_of_a_run_is_the_same_with_another_library(
    tmp_path: Path, data_dir: Path
) -> None:
    pages = []
    for backend in ("numpy", "array-api-strict"):
        settings = small_settings(epochs=1, batch_size=10, data_dir=data_dir)
        run = tmp_path / backend
        output_of("train --page", backend=backend, run_dir=run, **settings)
        pages.append((run / "page.html").read_text("utf-8"))
    first, second = pages
    assert len(first) == pytest.approx(len(second), abs=20)  # the last bits may differ
    assert first.partition('"weights"')[0] == second.partition('"weights"')[0]


# A browser, pages, and what they show.

# an event of the mouse waits for the next frame
UNLIMITED = ("--disable-frame-rate-limit", "--disable-gpu-vsync")
DRAWINGS = [
    line.split(": ")
    for line in Path(__file__).with_name("drawings.txt").read_text("utf-8").splitlines()
]
NAMES = (
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "Ankle boot with a rather long name",
    *"456789",
)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return load_dataset("mnist").test.inputs[:200]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=browser(), args=["--no-sandbox", *UNLIMITED]
        )
        yield started
        started.close()


@contextmanager
def opened(
    chromium: Any, file: Path, width: int = 1280, **settings: Any
) -> Iterator[Any]:
    """Open a page. It must ask for nothing, report nothing, and not scroll sideways."""
    context = chromium.new_context(viewport={"width": width, "height": 900}, **settings)
    said, asked, page = [], [], context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    yield page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert (said, asked) == ([], [file.as_uri()])
    context.close()


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory, no_pictures: None) -> Path:
    """A run on MNIST that writes its page."""
    folder = tmp_path_factory.mktemp("page") / "digits"
    words = "train --recipe small --epochs 3 --report-every 60000 --page"
    out = output_of(words, run_dir=folder)
    assert out.endswith(f"drawn in {folder}: page.html\n")
    return folder


@pytest.fixture(scope="module")
def seven(images: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the picture of a seven on white paper."""
    path = tmp_path_factory.mktemp("picture") / "seven.png"
    picture = Image.fromarray(255 - np.pad(images[0], 20))
    picture.resize((400, 400)).convert("RGB").save(path)
    return path


def assert_near(found: Any, expected: Any) -> None:
    """Compare probabilities: a page has float32."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def encoded(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()


def trained(dataset: Any, **settings: Any) -> Model:
    *_, report = train(
        TrainConfig(epochs=1, warm_up_steps=0, init="glorot", **settings),
        dataset,
        open_backend(),
    )
    return report.model


def stroke(page: Any, strokes: list[np.ndarray]) -> None:
    """Draw by the mouse; points are in hundredths of the square."""
    box = page.locator("#square").bounding_box()
    for points in strokes:
        places = (np.array([box["x"], box["y"]]) + points * box["width"] / 100).tolist()
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place)
        page.mouse.up()
    page.evaluate("mlp_xp.refresh()")


def answer_of(page: Any) -> Any:
    """Return the outputs for what the page shows now, or None."""
    return page.evaluate("mlp_xp.refresh() ?? mlp_xp.state().answer")


def probabilities(page: Any, images: np.ndarray) -> list[list[float]]:
    """Return what window.mlp_xp.predict says about images."""
    script = """([text, size]) => {
      const all = [...atob(text)].map((letter) => letter.charCodeAt(0)), found = [];
      for (let i = 0; i < all.length; i += size)
        found.push(mlp_xp.predict(all.slice(i, i + size)));
      return found;
    }"""
    return page.evaluate(script, [encoded(images), images[0].size])


def check_preparation(page: Any) -> None:
    """Assert that the network sees a drawing as `predict` would.

    Grey levels may differ by one.
    """
    script = """() => {
      const letter = (byte) => String.fromCharCode(byte);
      const text = (bytes) => btoa(Array.from(bytes ?? [], letter).join(""));
      const { width, height, data } = mlp_xp.state().drawn;
      return [height, width, text(data), text(mlp_xp.state().seen)];
    }"""  # as text, because Playwright takes seconds for lists of numbers
    *shape, drawn, found = page.evaluate(script)
    picture, found = (
        np.frombuffer(base64.b64decode(text), np.uint8) for text in (drawn, found)
    )
    check_alike(picture.reshape(shape), found.tolist())


def check_alike(picture: np.ndarray, found: list[int]) -> None:
    expected = prepare_image(picture)
    assert (expected is None) == (found == [])
    if expected is not None:
        seen = np.reshape(found, (28, 28))
        np.testing.assert_allclose(seen, expected, rtol=0, atol=1)
