"""The notebooks of the lesson, and their checks.

Empty ones name missing functions. Filled ones are right. Usual mistakes are named.
"""

import ast
import contextlib
import difflib
import io
import linecache
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import nbformat
import numpy as np
import pytest
from nbformat import NotebookNode
from notebooks import execute, read
from threadpoolctl import threadpool_limits

pytestmark = pytest.mark.repository
LESSON = Path(__file__).resolve().parent.parent / "docs" / "lesson"
REPAIRS = {
    *(f"backward_{letter}" for letter in "abcdh"),
    "step_e",
    "shuffled_f",
    "start_g",
}
EMPTY, CHECK = "# Your code", "checks."  # cells to fill, and checks
STEPS = 7
each_language = pytest.mark.parametrize("language", ["", ".zh"], ids=["en", "zh"])


@pytest.fixture(autouse=True, scope="module")
def checks() -> Iterator[None]:
    """Let notebooks import their checks, as they do in their folder."""
    with (
        mock.patch.object(sys, "path", [str(LESSON), *sys.path]),
        threadpool_limits(1),
    ):
        import checks

        with mock.patch.object(checks, "display", print):
            yield


def test_each_cell_to_fill_has_a_solution() -> None:
    cells = [
        cell
        for path in LESSON.glob("*.ipynb")
        for cell in code_cells(read(path))
        if defined(cell) in solutions()
    ]
    assert len(cells) == 2 * len(solutions()) == 2 * (STEPS + 8 + 1)
    assert sum(EMPTY in cell for cell in cells) == 2 * STEPS


# Write it yourself.


@each_language
def test_each_check_says_in_one_line_what_is_missing(language: str) -> None:
    names: dict[str, Any] = {}
    said, missing = [], []
    for cell in code_cells(lesson("write_it_yourself", language)):
        text = run(cell, names)
        if EMPTY in cell:
            missing.append(re.findall(r"def (\w+)", cell))
        elif is_check(cell):
            said.append(text)
    assert len(missing) == STEPS
    assert len(said) == STEPS + 2  # also those of the picture and of the file
    for text, functions in zip(said, missing, strict=False):
        assert text.count("\n") == 1
        assert text.startswith(functions[0])
    assert all("still empty" in text for text in said)
    # A function that uses one of these in place of its argument must not find it.
    assert not {"x", "y", "z", "p", "W", "b", "parameters", "random"} & {*names}


@pytest.mark.slow
@each_language
def test_filled_cells_are_right(language: str, tmp_path: Path) -> None:
    text = printed(execute(filled("write_it_yourself", language), tmp_path))
    assert not re.search("wrong|still empty|Error", text)
    assert text.count("<td>right</td>") == 1 + 3 + 4 + 4
    assert (
        len(re.findall(r"^.*(?: is |是).*right$", text, re.MULTILINE))
        == 4 + 1 + 1 + 3 + 1 + 8 + 8
    )
    assert (tmp_path / "current" / "my_network.py").exists()


class Wrong(NamedTuple):
    """A usual wrong answer: a replacement in a solution, and what the check says."""

    step: int
    old: str
    new: str
    says: str


WRONG = [
    Wrong(1, "np.sum(e, axis=1, keepdims=True)", "np.sum(e)", "the whole array"),
    Wrong(1, "np.sum(e, axis=1", "np.sum(e, axis=0", "sums of the columns"),
    Wrong(
        1,
        "np.sum(e, axis=1, keepdims=True)",
        "np.sum(e, axis=1)",
        "softmax, line 3: return e / np.sum(e, axis=1)\n",
    ),
    Wrong(1, "z - np.max(z, axis=1, keepdims=True)", "z", "exp overflows"),
    Wrong(
        1, "np.max(z, axis=1, keepdims=True)", "np.max(z)", "exp overflows, or gives 0"
    ),
    Wrong(
        1, "np.max(z, axis=1, keepdims=True)", "z.mean()", "exp overflows, or gives 0"
    ),
    Wrong(1, " / np.sum(e, axis=1, keepdims=True)", "", "without the sum"),
    Wrong(1, "np.sum(e, axis=1, keepdims=True)", "np.sum(e[0])", "the sum of one row"),
    Wrong(1, "np.sum(e, axis=1", "np.max(e, axis=1", "without the sum"),
    Wrong(1, "np.log(p)) / p.shape[0]", "np.log(p))", "a sum over the samples"),
    Wrong(
        1,
        "-np.sum(y * np.log(p)) / p.shape[0]",
        "-np.mean(y * np.log(p))",
        "a mean over all",
    ),
    Wrong(1, "-np.sum(y", "np.sum(y", "the sign is wrong"),
    Wrong(1, "y * np.log", "np.log", "y is missing"),
    Wrong(
        1,
        "-np.sum(y * np.log(p)) / p.shape[0]",
        "-np.sum(y * np.log(p), axis=1)",
        "returned array (4,), not a number",
    ),
    Wrong(1, "np.log(p)", "np.log2(p)", "base 2"),
    Wrong(
        1,
        "-np.sum(y * np.log(p)) / p.shape[0]",
        "-np.mean(np.log(p.max(axis=1)))",
        "the largest p of each row is taken",
    ),
    Wrong(2, "(p - y)", "(p - (p == p.max(axis=1, keepdims=True)))", "wrong: z"),
    Wrong(2, "return (p - y) / p.shape[0]", "p - y", "output_error: still empty"),
    Wrong(
        2, "(p - y) / p.shape[0]", "p - y", "a sum over the batch that should be a mean"
    ),
    Wrong(1, "np.log(p)) / p.shape[0]", "np.log(p)) / 4", "by a fixed number"),
    Wrong(
        1,
        "return -np.sum(y * np.log(p)) / p.shape[0]",
        "for each, right in zip(p, y):\n        return -right @ np.log(each) / 4",
        "return inside the loop, after the first sample",
    ),
    Wrong(2, "(p - y) / p.shape[0]", "(p - y) / 4", "a fixed number of samples?"),
    Wrong(2, "(p - y) / p.shape[0]", "(p - y) / 5", "wrong: z"),
    Wrong(2, "(p - y) / p.shape[0]", "(p - y) / 2", "wrong: z"),
    Wrong(
        1, "e = np.exp(z", "z -= 1\n    e = np.exp(z", "the caller's array was changed"
    ),
    Wrong(1, "return e / np.sum(e, axis=1, keepdims=True)", "return [*e]", "not array"),
    Wrong(2, "return (p - y) / p.shape[0]", "print(p - y)", "print in place of return"),
    Wrong(2, "(p - y)", "(y - p)", "the sign is wrong"),
    Wrong(2, "(p - y)", "(p - y) * p * (1 - p)", "the derivative of softmax twice"),
    Wrong(2, "(p - y)", "-y / p", "without the derivative of softmax"),
    Wrong(2, "/ 2e-5", "/ 1e-5", "divided by h; both ends are 2 h apart"),
    Wrong(2, "/ 2e-5", "/ 4e-5", "divided by 4 h"),
    Wrong(2, "f(w + step) - f(w - step)", "f(w - step) - f(w + step)", "the sign is"),
    Wrong(2, "(f(w + step) - f(w - step)) / 2e-5", "(f(w + step) - f(w)) / 1e-5", "up"),
    Wrong(2, "step[i] = 1e-5", "step[:] = 1e-5", "several numbers of w are moved"),
    Wrong(2, "np.ndindex(w.shape)", "range(len(w))", "several numbers of w are moved"),
    Wrong(2, "step[i] = 1e-5", "pass", "f does not see the moved number"),
    Wrong(
        2,
        """step[i] = 1e-5
        gradient[i] = (f(w + step) - f(w - step)) / 2e-5""",
        """step[i] = 0.1
        gradient[i] = (f(w + step) - f(w - step)) / 0.2""",
        "h is too large or too small",
    ),
    Wrong(
        2,
        """step[i] = 1e-5
        gradient[i] = (f(w + step) - f(w - step)) / 2e-5""",
        """step[i] = 1e-13
        gradient[i] = (f(w + step) - f(w - step)) / 2e-13""",
        "h is too large or too small",
    ),
    Wrong(
        2,
        """gradient[i] = (f(w + step) - f(w - step)) / 2e-5""",
        """before = f(w)
        w += step
        gradient[i] = (f(w) - before) / 1e-5""",
        "the caller's array was changed",
    ),
    Wrong(2, "return gradient", "return gradient[i]", "returned a number, not array"),
    Wrong(2, "    return gradient", "        return gradient", "is 0: wrong"),
    Wrong(2, "return gradient", "return gradient.ravel()", "its shape is (6,), not "),
    Wrong(3, " + b", "", "the bias is missing"),
    Wrong(3, " + b", " + b[0]", "one number of the bias"),
    Wrong(3, "x.T @ error", "error.T @ x", "a transpose is missing"),
    Wrong(3, "x.T @ error", "x @ error", "The shapes do not fit: think of "),
    Wrong(3, "np.sum(error, axis=0)", "error", "the sum over the samples is missing"),
    Wrong(3, "np.sum(error, axis=0)", "np.sum(error, axis=1)", "wrong"),
    Wrong(3, "np.sum(error, axis=0)", "np.mean(error, axis=0)", "should be a sum"),
    Wrong(3, "error @ W.T", "error @ W", "ValueError: matmul"),
    Wrong(3, "error @ W.T", "-error @ W.T", "the sign is wrong"),
    Wrong(3, "return dx, dW, db", "return db, dW, dx", "returned (array (3,), "),
    Wrong(3, "return dx, dW, db", "return dict(dW=dW, db=db)", "returned dict, not "),
    Wrong(3, "return dx, dW, db", "return dW, db", "(array (4, 3), array (3,)), not "),
    Wrong(4, "np.exp(-z)", "np.exp(z)", "exp(z) where exp(-z) belongs"),
    Wrong(4, "1 / (1 + np.exp(-z))", "np.tanh(z)", "this is tanh"),
    Wrong(
        4,
        "a * (1 - a)\n",
        "sigmoid(z) * (1 - sigmoid(z))\n",
        "NameError: name 'z' is not defined\nsigmoid_slope, line 6: return sigmoid(z) ",
    ),
    Wrong(4, "a * (1 - a)\n", "(a * (1 - a))[None]\n", "returned array (1,), not a "),
    Wrong(
        4,
        "p = forward(x, W1, b1, W2, b2)",
        "p = forward(x, *parameters)",
        "NameError: name 'parameters' is not defined\nbackward, line 16: a, p = ",
    ),
    Wrong(
        4,
        "    a = sigmoid(layer",
        "    W1, b1, W2, b2 = parameters\n    a = sigmoid(layer",
        "NameError: name 'parameters' is not defined\nforward, line 10: W1, b1, ",
    ),
    Wrong(
        4, "a * (1 - a)\n", "sigmoid(a) * (1 - sigmoid(a))\n", "a is already a sigmoid"
    ),
    Wrong(4, "a * (1 - a)\n", "a * (a - 1)\n", "the sign is wrong"),
    Wrong(4, "layer(a, W2, b2)", "a @ W2", "the bias b2 is missing"),
    Wrong(4, "sigmoid(layer(x, W1, b1))", "sigmoid(x @ W1)", "the bias b1 is missing"),
    Wrong(
        4,
        "sigmoid(layer(x, W1, b1))",
        "layer(x, W1, b1)",
        "the sigmoid between the layers is missing",
    ),
    Wrong(4, "softmax(layer(a, W2, b2))", "layer(a, W2, b2)", "the softmax is missing"),
    Wrong(4, "softmax(layer(a", "sigmoid(layer(a", "a sigmoid in place of the softmax"),
    Wrong(4, "return a, p", "return p, a", "(array (7, 3), array (7, 5)), not "),
    Wrong(4, "return a, p", "return p", "returned array (7, 3), not (array (7, 5), "),
    Wrong(
        4,
        "return dW1, db1, dW2, db2",
        "return dW2, db2, dW1, db1",
        "returned (array (5, 3), array (3,), array (4, 5), array (5,)), not ",
    ),
    Wrong(4, "da * sigmoid_slope(a)", "da", "the derivative of sigmoid is missing"),
    Wrong(
        4,
        "sigmoid_slope(a))",
        "sigmoid_slope(layer(x, W1, b1)))",
        "is taken at z instead of a",
    ),
    Wrong(
        4,
        "layer_backward(a, W2",
        "layer_backward(layer(x, W1, b1), W2",
        "is z instead of a",
    ),
    Wrong(5, "np.maximum(z1, 0)", "np.abs(z1)", "wrong: W1, b1, W2"),
    Wrong(
        5,
        "(layer(a, W2, b2) - y) ** 2) / x.shape[0]",
        "(layer(a, W2, b2) - y) ** 2) / y.size",
        "wrong",
    ),
    Wrong(5, "2 * (layer", "(layer", "wrong: W1, b1, W2, b2"),
    Wrong(5, " * (z1 > 0)", "", "wrong: W1, b1"),
    Wrong(5, "(z1 > 0)", "a", "wrong: W1, b1"),
    Wrong(5, "- y) / x.shape[0]", "- y) / 7", "wrong: "),
    Wrong(
        5, "    return check_gradients", "    check_gradients", "report: still empty"
    ),
    Wrong(
        5,
        "check_gradients(loss, gradients, x, y, W1",
        "check_gradients(squared_loss, gradients, x, y, W1",
        "report, line 30: return check_gradients(squared_loss, gradients, x, y, ",
    ),
    Wrong(
        5,
        "return squared_gradients(x, y, W1, b1, W2, b2)",
        "return squared_gradients(x, y[:, :1] @ W1, W1, b1, W2, b2)",
        "gradients, line 28: return squared_gradients(x, y[:, :1] @ W1, ",
    ),
    Wrong(
        5,
        "return check_gradients(loss, gradients, x, y, W1=W1, b1=b1, W2=W2, b2=b2)",
        "return str(loss(x, y))",
        "report: wrong: returned str, not GradientCheck",
    ),
    Wrong(
        5,
        """b2)

    return check_gradients(loss, gradients, x, y, W1=W1, b1=b1, W2=W2, b2=b2)""",
        """b2)[:2]

    return check_gradients(loss, gradients, x, y, W1=W1, b1=b1)""",
        "report: wrong: it is about W1, b1, not about four arrays",
    ),
    Wrong(
        5,
        "squared_gradients(x, y, W1, b1, W2, b2)\n\n    return",
        "squared_gradients(x, y, W1, b1, W2, b2)[:2]\n\n    return",
        "wrong",
    ),
    Wrong(6, "parameter - ", "parameter + ", "uphill"),
    Wrong(6, "learning_rate * gradient", "gradient", "multiply by the learning rate"),
    Wrong(
        6,
        "return cross_entropy(p, y), tuple",
        "p = forward(x, *changed)[1]\n    return cross_entropy(p, y), tuple",
        "the loss after the step",
    ),
    Wrong(6, "loss, parameters = step", "loss, _ = step", "carry the new parameters"),
    Wrong(
        6,
        "parameter - learning_rate * gradient",
        "parameter - learning_rate * gradient * (parameter.ndim == 2)",
        "the biases do not change",
    ),
    Wrong(
        6,
        "changed.append(parameter - learning_rate * gradient)",
        "parameter -= learning_rate * gradient\n        changed.append(parameter)",
        "the caller's array was changed, as by -=",
    ),
    Wrong(
        6,
        "    _, p = forward(x, *parameters)\n",
        "    x, y = x[:1], y[:1]\n    _, p = forward(x, *parameters)\n",
        "the step takes the first sample only",
    ),
    Wrong(
        6,
        "learning_rate * gradient",
        "learning_rate * gradient * len(x)",
        "do not multiply it by the number of samples",
    ),
    Wrong(6, "y[i : i + 1]", "y[len(losses)][None]", "y is not"),
    Wrong(6, "for i in order", "for i in range(len(order))", "not taken in the order"),
    Wrong(
        6,
        "x[i : i + 1], y[i : i + 1]",
        "x[i], y[i]",
        "train, line 13: loss, parameters",
    ),
    Wrong(6, "losses.append(loss)", "pass", "returned ([], (array (784, 64), "),
    Wrong(
        6, "    return losses, ", "        return losses, ", "return inside the loop"
    ),
    Wrong(6, "return losses, parameters", "return parameters, losses", "train: wrong"),
    Wrong(
        6,
        "return losses, parameters",
        "return losses, start()",
        "these are the first parameters",
    ),
    Wrong(
        6,
        """    for i in order:
        loss, parameters = step(parameters, x[i : i + 1], y[i : i + 1], learning_rate)
""",
        """    for _ in range(1):
        loss, parameters = step(parameters, x[order], y[order], learning_rate)
""",
        "one step on all samples",
    ),
    Wrong(
        6, "losses = []\n", "losses, parameters = [], start()\n", "are start(), what"
    ),
    Wrong(
        6, "x[i : i + 1], y[i", "images[i : i + 1], labels[i", "are images and labels"
    ),
    Wrong(6, "- learning_rate *", "- 0.01 *", "the learning rate is 0.01, whatever"),
    Wrong(6, "- learning_rate *", "- 0.1 *", "the learning rate is 0.1, whatever"),
    Wrong(
        7,
        "range(0, count, batch_size)",
        "range(0, count - batch_size + 1, batch_size)",
        "smaller batch is missing",
    ),
    Wrong(7, "random.permutation(count)", "np.arange(count)", "new at each call"),
    Wrong(
        7,
        "random.permutation(count)",
        "random.integers(0, count, count)",
        "some samples are drawn again",
    ),
    Wrong(7, "range(epochs)", "range(1)", "only one epoch: return inside the outer "),
    Wrong(7, "range(epochs)", "range(2)", "two epochs, whatever the argument"),
    Wrong(
        7,
        "[order[i : i + batch_size] for i in range(0, count, batch_size)]",
        "[*order.reshape(-1, batch_size)]",
        "wrong: ValueError: cannot reshape array of size 10 ",
    ),
    Wrong(
        7,
        "            losses.append(loss)",
        "        losses.append(loss)",
        "one loss for each step, not each epoch",
    ),
    Wrong(
        7,
        "[order[i : i + batch_size] for i in range(0, count, batch_size)]",
        "np.array_split(order, count // batch_size)",
        "batches of 32 samples is 23: wrong, 31 is right: all batches are of about one",
    ),
    Wrong(
        7,
        "[order[i : i + batch_size] for i in range(0, count, batch_size)]",
        "np.array_split(order, -(-count // batch_size))",
        "batches of 32 samples is 8: wrong, 31 is right: all batches are of about one",
    ),
    Wrong(
        7,
        "random.permutation(count)",
        "np.random.permutation(count)",
        "the argument `random` is not used",
    ),
    Wrong(
        7,
        "[order[i : i + batch_size] for i in range(0, count, batch_size)]",
        "(order[i : i + batch_size] for i in range(0, count, batch_size))",
        "returned generator, not [array (4,), ...]",
    ),
    Wrong(7, "    return losses, ", "            return losses, ", "inside the loop"),
    Wrong(
        7, "return losses, parameters", "return parameters, losses", "not ([a number"
    ),
    Wrong(7, "loss, parameters = step", "loss, _ = step", "carry the new parameters"),
    Wrong(7, "y[batch]", "y[np.sort(batch)]", "x and y are not in the same order"),
    Wrong(7, "y[batch]", "y[: len(batch)]", "y is not taken by `batch`"),
    Wrong(
        7,
        """    for _ in range(epochs):
        for batch in batches(len(x), batch_size, random):""",
        """    same = batches(len(x), batch_size, random)
    for _ in range(epochs):
        for batch in same:""",
        "each epoch has the same batches",
    ),
    Wrong(
        7,
        "range(epochs):\n",
        "range(epochs):\n        parameters = start()\n",
        "begins with the first parameters",
    ),
    Wrong(
        7,
        "return losses, parameters",
        "return losses, start()",
        "these are the first parameters",
    ),
    Wrong(7, "y[batch], learning_rate", "y[batch], 0.01", "the learning rate is 0.01"),
    Wrong(7, "y[batch], learning_rate", "y[batch], 0.1", "the learning rate is 0.1,"),
    Wrong(
        7, "losses = []\n", "losses, parameters = [], start()\n", "are start(), what"
    ),
    Wrong(7, "x[batch], y[batch]", "images[batch], labels[batch]", "images and labels"),
    Wrong(7, "len(x), batch_size", "len(x), 32", "the batch size is 32, whatever"),
]


def marked(value: Any, step: int) -> Any:
    """Return a parameter. Steps 6 and 7 are slow: they train on MNIST."""
    return pytest.param(value, marks=[pytest.mark.slow] if step > 5 else [])


def check_of(step: int, *wrong: Wrong, language: str = "") -> str:
    """Return what the check of a step says. The steps are filled, some of them wrongly.

    It runs in this process, without the checks of other steps.
    """
    names: dict[str, Any] = {}
    filled_steps = 0
    for cell in code_cells(lesson("write_it_yourself", language)):
        if EMPTY in cell:
            filled_steps += 1
            cell = solutions()[defined(cell)]
            for each in wrong:
                if each.step == filled_steps:
                    assert cell.count(each.old) == 1
                    cell = cell.replace(each.old, each.new)
        elif is_check(cell):
            if filled_steps == step:
                return run(cell, names)
            continue
        run(cell, names)
    raise AssertionError(step)


@each_language
@pytest.mark.parametrize("step", [marked(step, step) for step in range(1, STEPS + 1)])
def test_a_filled_step_is_right(step: int, language: str) -> None:
    text = check_of(step, language=language)
    assert "right" in text
    assert "wrong" not in text


@pytest.mark.parametrize("wrong", [marked(each, each.step) for each in WRONG])
def test_a_usual_wrong_answer_is_named(wrong: Wrong) -> None:
    text = check_of(wrong.step, wrong)
    assert wrong.says in text
    assert "it is no usual mistake" not in text


@pytest.mark.parametrize("wrong", [marked(each, each.step) for each in WRONG])
def test_a_usual_wrong_answer_is_named_in_chinese(wrong: Wrong) -> None:
    """The reports of `check_gradients` are in English."""
    text = check_of(wrong.step, wrong, language=".zh")
    assert re.search("wrong（错）|still empty（还是空的）|^wrong: ", text, re.MULTILINE)
    assert "不属于已知的常见错误" not in text


def test_a_mistake_that_the_own_report_cannot_see_is_found() -> None:
    """With one sample, a sum is a mean."""
    report = Wrong(
        5, "(7, 4)), random.normal(size=(7", "(1, 4)), random.normal(size=(1", ""
    )
    gradients = Wrong(5, "- y) / x.shape[0]\n    da", "- y)\n    da", "")
    own, _, other = check_of(5, report, gradients).partition("With other arrays:\n")
    assert "wrong" not in own
    assert "W1, b1, W2, b2: a sum over the batch that should be a mean" in other


# Break and repair.

FOUND = [
    "W1, b1: the sign is wrong",
    "W1, b1: the derivative of sigmoid is taken at z instead of a",
    "W1, b1, W2, b2: a sum over the batch that should be a mean",
    "W1, b1, W2, b2: the derivative of softmax twice, as p - t contains it",
    "W1, b1: the layer above was updated before the error passed through it",
    "W1, b1: right elsewhere, wrong at parameters moved by 1 %",
]
REPAIRED = {
    "": ["1000 of 1000 samples have their own label", "64 of 64"],
    ".zh": ["有 1000 个带着自己的标签", "不相同的有 64 种"],
}


@pytest.mark.slow
@each_language
def test_the_numbers_find_each_planted_mistake(language: str, tmp_path: Path) -> None:
    text = printed(execute(lesson("break_and_repair", language), tmp_path))
    found = re.findall(r"^(?:<pre>)?(W1, b1.*: .*)$", text, re.MULTILINE)
    assert len(found) == len(FOUND)
    for line, words in zip(found, FOUND, strict=True):
        assert line.startswith(words)
    assert all(words not in text for words in REPAIRED[language])


@each_language
def test_a_mistake_is_not_found_by_comparing_lines(language: str) -> None:
    """Each broken program differs from the right one by more than the mistake."""
    cells = code_cells(lesson("break_and_repair", language))
    right = cells[0].splitlines()
    for cell in cells:
        if defined(cell) & REPAIRS:
            own = [line for line in cell.splitlines() if line and '"""' not in line]
            assert sum(line not in right for line in own[1:]) >= 3


@each_language
def test_a_repair_changes_a_line_or_two(language: str) -> None:
    """The rest of a broken program is right."""
    for cell in code_cells(lesson("break_and_repair", language)):
        if defined(cell) & REPAIRS - {"shuffled_f"}:
            solution = solutions(language)[defined(cell)].splitlines()
            code = [line for line in cell.splitlines() if '"""' not in line]
            changed = [line[0] for line in difflib.ndiff(code, solution)]
            assert 1 <= max(changed.count("+"), changed.count("-")) <= 4


@pytest.mark.slow
@each_language
def test_repaired_programs_are_right(language: str, tmp_path: Path) -> None:
    text = printed(execute(filled("break_and_repair", language), tmp_path))
    assert "wrong" not in text
    assert text.count("<td>right</td>") == 4 * 7
    assert all(words in text for words in REPAIRED[language])


WRONG_REPAIRS = {
    "all in place": "def shuffled_f(x, y, random): return x, y",
    "the other way round": "def shuffled_f(x, y, random): return x[::-1], y[::-1]",
    "drawn again": """
def shuffled_f(x, y, random):
    order = random.integers(0, len(x), len(x))
    return x[order], y[order]
""",
    "only x": """
def shuffled_f(x, y, random):
    random.shuffle(x)
    return x, y
""",
    "nothing but a random bias": """
def start_g(random):
    return np.zeros((784, 64)), random.normal(size=64), np.zeros((64, 10)), np.zeros(10)
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("repair", WRONG_REPAIRS.values(), ids=WRONG_REPAIRS)
def test_a_wrong_repair_is_not_said_to_be_right(repair: str, tmp_path: Path) -> None:
    notebook = filled("break_and_repair")
    functions = set(re.findall(r"def (\w+)", repair))
    for cell in notebook.cells:
        if cell.cell_type == "code" and defined(cell.source) == functions:
            cell.source = repair
    assert len(re.findall(r": wrong$", printed(execute(notebook, tmp_path)), re.M)) >= 1


# On other hardware.


@pytest.mark.slow
@pytest.mark.needs("torch", "jax")
def test_lockstep_shows_what_is_not_portable(tmp_path: Path) -> None:
    text = printed(execute(lesson("other_hardware"), tmp_path))
    assert re.search(r"^torch: error: xp\.dot.*example\.py:10 ", text, re.MULTILINE)
    assert re.search(r"^jax: error: .*example\.py:21 ", text, re.MULTILINE)
    assert "outside the standard: array.max(); at example.py:5 " in text
    assert len(re.findall("my_network.py", text)) == 1


@pytest.mark.slow
@pytest.mark.needs("torch", "jax")
def test_the_repaired_network_and_the_readers_own_are_portable(tmp_path: Path) -> None:
    """Its code is what the last cell of *Write it yourself* writes."""
    notebook = filled("other_hardware")
    own = ["import numpy as np"]
    for functions, code in solutions().items():
        if not functions & {*REPAIRS, "report"} and not code.startswith("import"):
            own.append(code)
    source = "\n\n".join(own)
    write = f"open('my_network.py', 'w', encoding='utf-8').write({source!r})"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(write))
    text = printed(execute(notebook, tmp_path))
    assert "Error" not in text
    assert text.count("no operation deviates") == 4
    assert not re.search("outside|copy|wait for|float64", text)


def test_a_library_that_is_not_installed_is_left_out_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "numpy")
    first, *cells = code_cells(lesson("other_hardware"))
    Path("example.py").write_text(first.partition("\n")[2], "utf-8")
    names: dict[str, Any] = {}
    said = [run(cell, names) for cell in cells]
    assert said[1].splitlines()[:2] == [
        f"{name} is not installed, so it is left out: pip install {name}"
        for name in ("torch", "jax")
    ]
    assert said[1].splitlines()[2].startswith("numpy  2.5")
    assert said[2] == ""
    assert len(said[4].splitlines()) == 1


# The cells of the notebooks.


def defined(source: str) -> frozenset[str]:
    """Return the names of the functions that a cell defines."""
    nodes = ast.parse(re.sub(r"^%%.*\n", "", source)).body
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef))


def solutions(language: str = "") -> dict[frozenset[str], str]:
    """Return the cells on the page of solutions, by the functions they define."""
    text = (LESSON / f"solutions{language}.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return {defined(block): block for block in blocks}


def lesson(name: str, language: str = "") -> NotebookNode:
    return read(LESSON / f"{name}{language}.ipynb")


def filled(name: str, language: str = "") -> NotebookNode:
    """Return a notebook with the solutions in its cells."""
    notebook, answers = lesson(name, language), solutions(language)
    for cell in notebook.cells:
        if cell.cell_type == "code" and defined(cell.source) in answers:
            magic = re.match(r"(%%.*\n)?", cell.source)
            cell.source = magic[0] + answers[defined(cell.source)]
    return notebook


def is_check(cell: str) -> bool:
    """Return whether a cell checks functions of the student."""
    return CHECK in cell and "import checks" not in cell


def code_cells(notebook: NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def printed(notebook: NotebookNode) -> str:
    """Return all texts that the cells of an executed notebook show."""
    texts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            shown = output.get("data", {}).get("text/html", "")
            texts.append(output.get("text", shown))
    return "".join(texts)


def run(cell: str, names: dict[str, Any]) -> str:
    """Run a cell in this process, and return what it prints."""
    file = f"cell {hash(cell)}"
    linecache.cache[file] = len(cell), None, cell.splitlines(keepends=True), file
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        np.errstate(all="ignore"),
        mock.patch.dict(os.environ),
    ):
        exec(compile(cell, file, "exec"), names)
    return out.getvalue()
