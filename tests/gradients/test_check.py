"""`check_gradients` finds planted mistakes, names the right one, and no other."""

from itertools import pairwise

import numpy as np
import pytest
from beginners import (
    ACTIVATION,
    AT_Z,
    COLUMNS,
    FUNCTIONS,
    HIDDEN,
    LAYERS,
    NO_SUM,
    NOTEBOOK,
    OUTPUTS,
    PROGRAMS,
    SUM,
    TEXTBOOK,
    UPDATED,
    Mistake,
    Written,
    program,
    slope,
)

from mlp_xp import MlpXpError, assert_gradients, check_gradients
from mlp_xp.gradients._differences import difference, rounding_error
from mlp_xp.gradients._matching import gradient_key

QUICK = 1  # mistakes of each program
PLANTED = [
    pytest.param(
        name,
        mistake,
        id=f"{name}-{i}",
        marks=[pytest.mark.slow] if i >= QUICK else [],
    )
    for name, program in PROGRAMS.items()
    for i, mistake in enumerate(program.mistakes)
]


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name != "notebook"])
def test_a_right_program_is_right(name):
    report = PROGRAMS[name].check()
    assert report, str(report)
    assert report.network
    assert not report.findings
    for row in report.rows:
        assert row.yours == pytest.approx(row.package, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("name", "mistake"), PLANTED)
def test_a_planted_mistake_is_named_and_no_other(name, mistake):
    report = PROGRAMS[name].check(mistake)
    (finding,) = report.findings
    assert not report
    assert len(finding.mistakes) == 1
    assert mistake.says in finding.mistakes[0]
    wrong = [row.name for row in report.rows if not row.is_right]
    assert {*finding.names} == {*wrong} == {*mistake.names.split(", ")}


def test_the_notebook_updates_a_layer_before_the_error_passes_through_it():
    report = NOTEBOOK.check()
    (finding,) = report.findings
    assert finding.mistakes == (UPDATED,)
    assert ", ".join(finding.names) == HIDDEN
    assert report.verdict == (
        f"wrong: {HIDDEN}; right: weights_hidden_output, bias_hidden_output"
    )


def test_three_mistakes_at_once_are_all_named():
    report = FUNCTIONS.check(
        Mistake("(p - y) / len(x)", "(p - y)"),
        Mistake("(1 - a1**2)", "(1 - z1**2)"),
        Mistake("dz1.sum(axis=0)", "dz1"),
    )
    said = [(", ".join(each.names), each.mistakes) for each in report.findings]
    assert said == [
        ("W1, b1, W2, b2", (SUM,)),
        ("W1, b1", (slope("tanh", AT_Z),)),
        ("b1", (NO_SUM,)),
    ]


@pytest.mark.parametrize(
    ("program", "old", "new"),
    [
        (FUNCTIONS, "x.T @ dz1", "x.T @ dz1; dW1[2, 1] += 0.01"),
        (COLUMNS, "X.T)\n", "X.T); dW1[2, 1] += 0.01\n"),
    ],
)
def test_an_unusual_mistake_is_located_and_not_named(program, old, new):
    """An error in one entry."""
    report = program.check(Mistake(old, new))
    (wrong,) = [row for row in report.rows if not row.is_right]
    assert (wrong.name, wrong.entry) == ("W1", "[2, 1]")
    assert wrong.yours - wrong.difference == pytest.approx(0.01, rel=1e-4)
    assert not report.findings
    assert "W1: no usual mistake gives these numbers" in report.notes()


LINEAR = Written(
    """
    def forward(x, W, b):
        return x @ W + b

    def loss(y, y_hat):
        return np.sum((y_hat - y) ** 2) / len(y)

    def backward(x, y, y_hat):
        e = 4 * (y_hat - y) / len(y)
        dW, db = x.T @ e, e.sum(axis=0)
        return dW, db

    x, y = rng.normal(size=(2, 3)), rng.normal(size=(2, 4))
    W, b = rng.normal(size=(3, 4)), np.zeros(4)
    """,
    "check_gradients((forward, backward), x, y, (W, b), loss=loss)",
)


def test_two_explanations_of_the_same_numbers_are_both_said():
    """For two samples, a sum and a factor 2 too much give the same."""
    (finding,) = LINEAR.check().findings
    assert {*finding.mistakes} == {
        SUM,
        "a factor 2 too much, of the derivative of a square",
    }


def test_a_named_mistake_stands_beside_an_unknown_one():
    """The bias is named, though the sign of the error would explain it, too."""
    report = FUNCTIONS.check(
        Mistake("a1.T @ dz2", "a1.T @ dz2 + 0.1"),
        Mistake("dz2.sum(axis=0)", "-dz2.sum(axis=0)"),
    )
    (finding,) = report.findings
    assert finding == (("b2",), ("the sign is wrong",))
    assert report.notes()[1] == "W2: no usual mistake gives these numbers"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("(p - y)", "(y - p)", {"W2": "the sign is wrong", "W1": "the sign is wrong"}),
        (" * (1 - h**2)", "", {"W1": "the derivative of tanh is missing"}),
    ],
)
def test_a_network_without_biases(old, new, said):
    text = """
    W1, W2 = rng.normal(size=(3, 4)), rng.normal(size=(4, 2))

    def forward(x):
        h = np.tanh(x @ W1)
        s = np.exp(h @ W2)
        return h, s / s.sum(axis=1, keepdims=True)

    def backward(x, y):
        h, p = forward(x)
        e2 = (p - y) / len(x)
        dW2 = h.T @ e2
        e1 = e2 @ W2.T * (1 - h**2)
        dW1 = x.T @ e1
        return dW1, dW2

    x, y = rng.normal(size=(5, 3)), np.eye(2)[[0, 1, 1, 0, 1]]
    """
    program = Written(text, "check_gradients((forward, backward), x, y)")
    assert program.check()
    report = program.check(Mistake(old, new))
    assert {each.names[0]: each.mistakes[0] for each in report.findings} == said
    assert all(len(each.names) == len(each.mistakes) == 1 for each in report.findings)


def test_a_mistake_is_not_said_of_numbers_that_it_does_not_explain():
    report = FUNCTIONS.check(
        Mistake("(p - y)", "(p - y) * p * (1 - p)"),
        Mistake("a1.T @ dz2", "a1.T @ dz2 + 0.1"),
        Mistake("x.T @ dz1", "x.T @ dz1 + 0.1"),
    )
    (finding,) = report.findings
    assert finding.names == ("b1", "b2")
    assert "the derivative of softmax twice" in finding.mistakes[0]
    assert len([note for note in report.notes() if "no usual mistake" in note]) == 2


@pytest.mark.parametrize("other", [False, True])
def test_a_small_learning_rate_rounds_the_gradient(other):
    """(before - after) / 1e-9 has seven digits, also for an unknown activation."""
    mistakes = [Mistake("learning_rate = 0.01", "learning_rate = 1e-9")]
    if other:
        mistakes += [
            Mistake(
                "return 1 / (1 + np.exp(-x))", "return 2 / (1 + np.exp(-x))", "", ""
            ),
            Mistake("return x * (1 - x)", "return x * (1 - x / 2)"),
        ]
    report = TEXTBOOK.check(*mistakes)
    assert report
    assert bool(report.network) is not other


def test_of_mistakes_that_blame_different_parameters_only_the_factor_is_said():
    """Of two samples and without a bias: a sum of the gradient, or a factor 2."""
    text = LINEAR.text.replace("W, b)", "W)").replace("W + b", "W")
    text = text.replace("dW, db\n", "dW\n")
    call = LINEAR.call.replace("(W, b)", "(W,)")
    report = LINEAR._replace(text=text, call=call).check()
    assert report.verdict == "wrong: W"
    (finding,) = report.findings
    assert finding.mistakes == ("2 times the right gradient",)


def test_inputs_in_global_variables_and_outputs_in_any_order_are_recognised():
    text = """
    def forward():
        z = x @ W + b
        a = 1 / (1 + np.exp(-z))
        return a, z

    def loss(y_hat):
        return np.mean((y_hat - y) ** 2) / 2

    def backward():
        a, z = forward()
        e = (a - y) / y.size * a * (1 - a)
        dW, db = x.T @ e, e.sum(axis=0)
        return dW, db

    x, y = rng.normal(size=(5, 3)), rng.random((5, 2))
    W, b = rng.normal(size=(3, 2)), np.zeros(2)
    """
    call = "check_gradients((forward, backward), x, y, loss=loss)"
    report = Written(text, call).check()
    assert report.verdict == "right: W, b"
    assert report.network


@pytest.mark.parametrize(
    "name",
    [
        *("dW1", "W1_grad", "grads.W1", "gradients.W1", "delta_W1", "nabla_w1"),
        *("dL_dW1", "d_weights_1", "grad_W1", "weights_1_gradient"),
    ],
)
def test_a_gradient_is_known_by_its_name(name):
    assert gradient_key(name, {"w", "1"}) == ("w", "1")
    assert not gradient_key("W1", {"w", "1"})


SQUARE = Written(
    """
    params = {"W1": rng.normal(size=(4, 4)), "b1": rng.normal(size=4)}
    params |= {"W2": rng.normal(size=(4, 4)), "b2": rng.normal(size=4)}

    def forward(x, params):
        a = np.tanh(x @ params["W1"] + params["b1"])
        e = np.exp(a @ params["W2"] + params["b2"])
        return a, e / e.sum(axis=1, keepdims=True)

    def backward(x, y, params):
        a, p = forward(x, params)
        e2 = (p - y) / len(x)
        e1 = e2 @ params["W2"].T * (1 - a**2)
        g = {}
        g["dW2"] = a.T @ e2
        g["db2"] = e2.sum(axis=0)
        g["dW1"] = x.T @ e1
        g["db1"] = e1.sum(axis=0)
        return g

    x, y = rng.normal(size=(5, 4)), np.eye(4)[[0, 1, 2, 3, 0]]
    """,
    "check_gradients((forward, backward), x, y, params)",
)
"""Layers of equal shapes, with the last layer first in the dictionary."""


@pytest.mark.parametrize(
    ("name", "prefix"), [("g", "d"), ("result", ""), ("dparams", ""), ("grads", "d")]
)
def test_the_keys_of_a_returned_dictionary_decide(name, prefix):
    text = SQUARE.text.replace('g["d', f'{name}["{prefix}')
    text = text.replace("g = {}", f"{name} = {{}}").replace(
        "return g", f"return {name}"
    )
    report = SQUARE._replace(text=text).check()
    assert report, str(report)
    exchanged = text.replace('2"] = ', '0"] = ').replace('1"] = ', '2"] = ')
    exchanged = exchanged.replace('0"] = ', '1"] = ')
    report = SQUARE._replace(text=exchanged).check()
    assert report.verdict == "wrong: W1, b1, W2, b2"


@pytest.mark.parametrize(
    "returned",
    [
        'loss, {"dW2": dW2, "db2": db2, "dW1": dW1, "db1": db1}',
        '{"dW2": dW2, "db2": db2, "dW1": dW1, "db1": float(db1[0])}',
    ],
)
def test_keys_decide_beside_a_loss_and_a_number(returned):
    names = 'dW1, db1, dW2, db2 = g["dW1"], g["db1"], g["dW2"], g["db2"]'
    lines = f"{names}\n        loss = -np.sum(y * np.log(p)) / len(x)\n"
    text = SQUARE.text.replace("return g", f"{lines}        return {returned}")
    report = SQUARE._replace(text=text).check()
    wrong = [row.name for row in report.rows if not row.is_right]
    assert wrong == (["b1"] if "float" in returned else [])


UNNAMED = program(
    """
    def forward(x, W1, b1, W2, b2): return deep(x, W1, b1, W2, b2)
    def backward(x, y, W1, b1, W2, b2):
        return [deep_gradients(x, y, W1, b1, W2, b2)[i] for i in ORDER]
    P = [rng.normal(size=size) for size in ((4, HIDDEN), HIDDEN, (HIDDEN, 3), 3)]
    """,
    "check_gradients((forward, backward), x, Y, P)",
)


@pytest.mark.parametrize("hidden", ["4", "5"])
@pytest.mark.parametrize(
    ("order", "is_right"),
    [("0, 1, 2, 3", True), ("0, 2, 1, 3", True), ("2, 3, 0, 1", False)],
)
def test_gradients_without_names_are_in_the_order_of_the_parameters(
    hidden, order, is_right
):
    text = UNNAMED.text.replace("HIDDEN", hidden).replace("ORDER", f"({order})")
    program = UNNAMED._replace(text=text)
    if is_right:
        assert program.check()
    else:
        with pytest.raises(MlpXpError, match="order"):
            program.check()


@pytest.mark.parametrize(
    ("old", "new", "names", "says"),
    [
        ("(1 - a1**2)", "(1 - a1)", ("W1", "b1"), "the square is missing in 1 - a**2"),
        (
            "(p - y) / len(x)",
            "(p - y) / y.size",
            ("W1", "b1", "W2", "b2"),
            "divided by the number of outputs",
        ),
    ],
)
def test_other_usual_mistakes_are_named(old, new, names, says):
    (finding,) = FUNCTIONS.check(Mistake(old, new)).findings
    assert finding.names == names
    (said,) = finding.mistakes
    assert said.startswith(says)


def test_a_gradient_rounded_to_float32_has_more_digits():
    cast = Mistake("dW1 = x.T @ dz1", "dW1 = (x.T @ dz1).astype(np.float32)")
    report = FUNCTIONS.check(cast)
    first, *others = report.rows
    assert report.verdict == "wrong: W1; right: b1, W2, b2"
    _, _, _, yours, numerical, _ = first.cells()
    assert yours != numerical
    assert float(yours) == pytest.approx(float(numerical), rel=1e-6)
    assert all(len(cell) < 12 for row in others for cell in row.cells())


PENALTY = Written(
    """
    def network(x, y, W1, b1, W2, b2):
        a = np.tanh(x @ W1 + b1)
        e = np.exp(a @ W2 + b2)
        p = e / e.sum(axis=1, keepdims=True)
        loss = -np.sum(y * np.log(p)) / len(x)
        loss += penalty / 2 * (np.sum(W1**2) + np.sum(W2**2))
        e2 = (p - y) / len(x)
        e1 = e2 @ W2.T * (1 - a**2)
        dW1, db1 = x.T @ e1 + penalty * W1, e1.sum(axis=0)
        dW2, db2 = a.T @ e2 + penalty * W2, e2.sum(axis=0)
        return loss, (dW1, db1, dW2, db2)

    penalty = 1e-7
    W1, b1 = rng.normal(size=(4, 6)) / 2, np.zeros(6)
    W2, b2 = rng.normal(size=(6, 3)) / 2, np.zeros(3)
    x = rng.normal(size=(8, 4))
    y = np.eye(3)[rng.integers(0, 3, 8)]
    """,
    "check_gradients(network, x, y, (W1, b1, W2, b2))",
)


def test_a_forgotten_small_penalty_is_wrong():
    """The loss is nearly the loss of this package's network, which has no penalty."""
    assert PENALTY.check().verdict == "right: W1, b1, W2, b2"
    report = PENALTY.check(
        Mistake(" + penalty * W1", ""), Mistake(" + penalty * W2", "")
    )
    assert report.verdict == "wrong: W1, W2; right: b1, b2"
    (finding,) = report.findings
    assert finding.names == ("W1", "W2")
    assert finding.mistakes[0].startswith("a small term of your loss is missing")
    assert report.network.endswith("cross-entropy, but for a small term of your loss")


@pytest.mark.parametrize("guarded", ["p + 1e-8", "np.clip(p, 1e-7, 1 - 1e-7)"])
def test_a_guarded_logarithm_counts_as_a_logarithm(guarded):
    """The derivative of log(p + 1e-8) is usually taken as 1 / p."""
    report = PENALTY.check(
        Mistake("penalty = 1e-7", "penalty = 0"),
        Mistake("size=(6, 3)) / 2", "size=(6, 3)) * 20"),
        Mistake("rng.integers(0, 3, 8)", "np.argmax(np.tanh(x @ W1) @ W2, axis=1)"),
        Mistake("np.log(p)", f"np.log({guarded})"),
    )
    assert report, str(report)
    assert report.network == "4-6-3, tanh, softmax and cross-entropy"
    largest = max(
        abs(row.yours - row.difference) / row.tolerance for row in report.rows
    )
    assert largest > 1, "central differences decide already"


def test_a_gradient_of_zeros_is_said_to_be_zero():
    """The sum of all errors of softmax is also 0, and is not blamed."""
    report = FUNCTIONS.check(
        Mistake("dz2.sum(axis=0)", "np.zeros_like(b2)"),
        Mistake("(1 - a1**2)", "(1 - a1**2) * 0"),
    )
    (finding,) = report.findings
    assert finding.names == ("W1", "b1", "b2")
    assert finding.mistakes == ("it is 0: never computed, or overwritten",)


def test_a_wrong_shape_is_explained_or_stands_alone():
    report = FUNCTIONS.check(
        Mistake("dz1.sum(axis=0)", "dz1.sum(axis=0, keepdims=True)"),
        Mistake("dz2.sum(axis=0)", "dz2.sum(axis=0)[:2]"),
    )
    assert [row.entry for row in report.rows if not row.is_right] == [
        "shape (1, 5), not (5,)",
        "shape (2,), not (3,)",
    ]
    (finding,) = report.findings
    assert finding.names == ("b1",)
    assert finding.mistakes[0].endswith("use sum(axis=0) without keepdims=True")
    assert "no usual mistake" not in str(report)


def test_positive_outputs_of_a_linear_layer_are_not_called_relu():
    report = LINEAR.check(
        Mistake("np.zeros(4)", "9 + np.zeros(4)"), Mistake("e = 4", "e = 2")
    )
    assert report
    assert report.network == "3-4, identity and squared error"


@pytest.mark.parametrize("name", ["p", "pars"])
def test_a_dictionary_is_given_to_the_only_argument_left(name):
    text = SQUARE.text.replace("x, params)", f"x, {name})")
    text = text.replace("y, params)", f"y, {name})").replace("params[", f"{name}[")
    text = text.replace("a, p =", "a, s =").replace("(p - y)", "(s - y)")
    report = SQUARE._replace(text=text).check()
    assert report, str(report)


@pytest.mark.parametrize("name", ["params", "parameters", "W"])
def test_the_only_weights_may_be_an_argument_of_any_name(name):
    text = """
    def forward(x, NAME):
        e = np.exp(x @ NAME)
        return e / e.sum(axis=1, keepdims=True)

    def backward(x, y, NAME):
        gradient_of_loss = x.T @ (forward(x, NAME) - y) / len(x)
        return gradient_of_loss

    x, W = rng.normal(size=(5, 3)), rng.normal(size=(3, 2))
    y = np.eye(2)[[0, 1, 0, 1, 1]]
    """
    call = "check_gradients((forward, backward), x, y, (W,))"
    assert Written(text.replace("NAME", name), call).check().verdict == f"right: {name}"


def test_weights_may_have_the_name_of_a_learning_rate():
    text = """
    def forward(x, alpha, bias, lr, c): return deep(x, alpha, bias, lr, c)
    def backward(x, y, alpha, bias, lr, c):
        return deep_gradients(x, y, alpha, bias, lr, c)
    """
    assert program(text, "check_gradients((forward, backward), x, Y, P)").check()


def sigmoids(targets="(rng.random((6, 3)) < 0.5) * 1"):
    """Return a network with sigmoid outputs and the binary cross-entropy."""
    text = """
    def forward(x, W1, b1, W2, b2):
        a1 = np.tanh(x @ W1 + b1)
        return a1, 1 / (1 + np.exp(-(a1 @ W2 + b2)))

    def backward(x, y, W1, b1, W2, b2):
        a1, p = forward(x, W1, b1, W2, b2)
        e2 = (p - y) / len(x)
        e1 = e2 @ W2.T * (1 - a1**2)
        return x.T @ e1, e1.sum(axis=0), a1.T @ e2, e2.sum(axis=0)

    x, y = rng.normal(size=(6, 4)), TARGETS
    W1, b1 = rng.normal(size=(4, 5)), np.zeros(5)
    W2, b2 = rng.normal(size=(5, len(y.T))), np.zeros(len(y.T))
    """
    call = "check_gradients((forward, backward), x, y, (W1, b1, W2, b2))"
    return Written(text.replace("TARGETS", targets), call)


SQUARED = Mistake("(p - y) / len(x)", "2 * (p - y) * p * (1 - p) / y.size")
SAMPLES_AS_COLUMNS = Written(
    """
    def forward(X, W, b):
        return 1 / (1 + np.exp(-(W @ X + b)))

    def backward(X, Y, A):
        dZ = (A - Y) / X.shape[1]
        dW, db = dZ @ X.T, dZ.sum(axis=1, keepdims=True)
        return dW, db

    W, b = rng.normal(size=(2, 3)), np.zeros((2, 1))
    X, Y = rng.normal(size=(3, 5)), np.array([[0, 1, 1, 0, 1], [0, 1, 0, 1, 1]])
    """,
    "check_gradients((forward, backward), X, Y, (W, b))",
)
ONE_SAMPLE = Written(
    """
    def forward(x, W):
        return 1 / (1 + np.exp(-(W @ x)))

    def backward(x, y, p):
        return np.outer(p - y, x)

    W, x, y = rng.normal(size=(3, 2)), np.array([0.3, 0.4]), np.array([1, 0, 1])
    """,
    "check_gradients((forward, backward), x, y, (W,))",
)


def advice(program, *changes):
    """Return the losses that an error advises, as texts."""
    with pytest.raises(MlpXpError, match=r"probabilities") as caught:
        program.check(*changes)
    return str(caught.value).partition("as in loss=lambda y, y_hat: ")[2].split(", or ")


def with_loss(program, loss):
    return program._replace(call=f"{program.call[:-1]}, loss=lambda y, y_hat: {loss})")


@pytest.mark.parametrize(
    "program",
    [
        sigmoids(),
        sigmoids("np.eye(3)[[0, 1, 2, 0, 1, 2]]"),
        sigmoids("np.array([[0, 1, 1, 0, 1, 0]]).T"),
        SAMPLES_AS_COLUMNS,
        ONE_SAMPLE,
    ],
    ids=["several ones", "one-hot", "one column", "samples as columns", "one sample"],
)
def test_an_advised_loss_makes_a_right_program_right(program):
    cross_entropy, square = advice(program)
    assert with_loss(program, cross_entropy).check()
    if SQUARED.old in program.text:
        assert with_loss(program, square).check(SQUARED)


def test_a_cross_entropy_is_advised_only_for_targets_of_0_and_1():
    program = sigmoids("rng.random((6, 3))")
    (square,) = advice(program, SQUARED)
    assert with_loss(program, square).check(SQUARED)


@pytest.mark.parametrize(
    ("program", "loss"),
    [
        (sigmoids(), "-np.mean(y * np.log(y_hat) + (1 - y) * np.log(1 - y_hat))"),
        (FUNCTIONS, "-np.mean(y * np.log(y_hat))"),
    ],
    ids=["sigmoid", "softmax"],
)
def test_a_sum_over_the_outputs_is_named_for_a_mean_cross_entropy(program, loss):
    (finding,) = with_loss(program, loss).check().findings
    assert finding.mistakes == (OUTPUTS,)


def test_arguments_may_have_chinese_names():
    text = FUNCTIONS.text.replace("forward(x, W", "forward(样本, W")
    text = text.replace("z1 = x @", "z1 = 样本 @")
    text = text.replace("def backward(x, y,", "def backward(样本, 标签,")
    text = text.replace("= forward(x,", "= forward(样本,")
    text = text.replace("(p - y) / len(x)", "(p - 标签) / len(样本)")
    text = text.replace("x.T @ dz1", "样本.T @ dz1")
    assert FUNCTIONS._replace(text=text).check()


@pytest.mark.parametrize(("factor", "finding"), [("1", None), ("-1", "the sign is")])
def test_gradients_may_have_chinese_names_in_any_order(factor, finding):
    """Biases are known by their name, and may be columns."""
    report = program(
        f"""
        权重1, 权重2 = rng.normal(size=(2, 3, 3))
        偏置1, 偏置2 = rng.normal(size=(2, 3, 1))
        def 前向(x):
            隐藏 = np.tanh(权重1 @ x + 偏置1)
            return 隐藏, softmax((权重2 @ 隐藏 + 偏置2).T).T
        def 反向(x, 标签):
            隐藏, 概率 = 前向(x)
            误差 = (概率 - 标签) / x.shape[1]
            前面 = 权重2.T @ 误差 * (1 - 隐藏**2)
            return dict(
                权重2梯度=误差 @ 隐藏.T, 偏置2梯度=误差.sum(axis=1, keepdims=True),
                权重1梯度={factor} * 前面 @ x.T, 偏置1梯度=前面.sum(1, keepdims=True)
            )
        """,
        "check_gradients((前向, 反向), T.T, Y.T)",
    ).check()
    assert bool(report) == (finding is None), str(report)
    if finding:
        assert finding in report.findings[0].mistakes[0]
        assert report.findings[0].names == ("权重1",)


def test_a_number_for_a_bias_has_a_wrong_shape():
    report = SQUARE.check(Mistake("e1.sum(axis=0)", "np.sum(e1)"))
    (wrong,) = [row for row in report.rows if not row.is_right]
    assert (wrong.name, wrong.entry) == ("b1", "shape (), not (4,)")
    (finding,) = report.findings
    assert finding == (("b1",), ("the sum is over all entries, without axis=0",))


# No false alarms.

FUNCTION = {
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z, a: a * (1 - a)),
    "tanh": (np.tanh, lambda z, a: 1 - a * a),
    "relu": (lambda z: np.maximum(z, 0), lambda z, a: (z > 0).astype(z.dtype)),
    "leaky": (
        lambda z: np.where(z > 0, z, 0.1 * z),
        lambda z, a: np.where(z > 0, 1, 0.1).astype(z.dtype),
    ),
    "identity": (lambda z: z, lambda z, a: np.ones_like(z)),
}


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


class Net:
    """A right network of any shape, with the samples as rows or columns."""

    def __init__(self, sizes, activations, head, dtype, columns, random):
        self.activations, self.head = activations, head
        self.dtype, self.columns = dtype, columns
        self.W = [self.rows(random.normal(size=pair)) for pair in pairwise(sizes)]
        self.b = [self.rows(random.normal(size=(1, n))) for n in sizes[1:]]

    def rows(self, array):
        """Return the samples as rows, or rows as the network has them."""
        return array.T.copy() if self.columns else array

    def forward(self, x):
        a = self.rows(x).astype(self.dtype)
        self.inputs, self.z = [], []
        for i, (w, b) in enumerate(zip(self.W, self.b, strict=True)):
            self.inputs.append(a)
            w, b = self.rows(w).astype(self.dtype), self.rows(b).astype(self.dtype)
            a = a @ w + b
            self.z.append(a)
            if i < len(self.activations):
                a = FUNCTION[self.activations[i]][0](a)
        self.out = softmax(a) if self.head == "softmax" else FUNCTION[self.head][0](a)
        return self.rows(self.out)

    def loss(self, y_hat, y):
        p = self.rows(y_hat)
        t = self.rows(y).astype(p.dtype)
        if self.head == "softmax":
            return -np.sum(t * np.log(p)) / len(p)
        if self.head == "sigmoid":
            return -np.sum(t * np.log(p) + (1 - t) * np.log(1 - p)) / len(p)
        return np.sum((p - t) ** 2) / 2

    def backward(self, y):
        e = self.out - self.rows(y).astype(self.dtype)
        if self.head != "identity":
            e = e / len(e)
        self.dW, self.db = [], []
        for i in reversed(range(len(self.W))):
            self.dW.insert(0, self.rows(self.inputs[i].T @ e))
            self.db.insert(0, self.rows(e.sum(axis=0, keepdims=True)))
            if i:
                w = self.rows(self.W[i]).astype(self.dtype)
                slopes = FUNCTION[self.activations[i - 1]][1]
                e = (e @ w.T) * slopes(self.z[i - 1], self.inputs[i])


def random_case(seed, dtype, columns):
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 7, size=random.integers(2, 5))
    head = random.choice(["softmax", "sigmoid", "identity"])
    if head == "softmax":
        sizes[-1] += 1
    names = random.choice([*FUNCTION], size=len(sizes) - 2)
    has_zeros = random.integers(2)
    net = Net(sizes, names, head, dtype, columns, random)
    if has_zeros:
        net.b = [0 * each for each in net.b]
    samples = random.integers(1, 9)
    x = random.normal(size=(samples, sizes[0])) * 10.0 ** random.integers(-1, 2)
    x *= random.integers(0, 2, size=x.shape)  # zeros: kinks of relu
    y = np.eye(sizes[-1])[random.integers(0, sizes[-1], samples)]
    return net, net.rows(x), net.rows(y)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("columns", [False, True], ids=["rows", "columns"])
@pytest.mark.parametrize(
    "seeds",
    [range(4), pytest.param(range(4, 150), marks=pytest.mark.slow)],
    ids=["few", "many"],
)
def test_no_right_network_is_called_wrong(dtype, columns, seeds):
    alarms = []
    for seed in seeds:
        net, x, y = random_case(seed, dtype, columns)
        with np.errstate(all="ignore"):
            p = net.forward(x)
            if not np.isfinite(net.loss(p, y)):
                continue
        # log(1 - p) has lost its digits, which only this package's layers tell
        lost = net.head == "sigmoid" and np.max(p) > 1 - 1e-11
        if lost and "leaky" in net.activations:
            continue
        report = check_gradients(net, x, y)
        if not report:
            alarms.append(f"seed {seed}: {report}")
    assert not alarms, "\n".join(alarms)


def test_a_loss_without_digits_is_left_to_the_package():
    """At p = 1 - 7e-13, log(1 - p) moves in steps, and the differences are 0."""
    text = """
    def forward(x, W, b):
        return 1 / (1 + np.exp(-(x @ W + b)))

    def loss(y, y_hat):
        return -np.sum(y * np.log(y_hat) + (1 - y) * np.log(1 - y_hat))

    def backward(x, y, y_hat):
        dW, db = x.T @ (y_hat - y), np.sum(y_hat - y, axis=0)
        return dW, db

    W, b = np.array([[28.0]]), np.zeros(1)
    x, y = np.ones((1, 1)), np.zeros((1, 1))
    """
    call = "check_gradients((forward, backward), x, y, (W, b), loss=loss)"
    report = Written(text, call).check()
    assert report, str(report)
    _, bias = report.rows
    assert bias.yours == pytest.approx(1)
    assert abs(bias.yours - bias.difference) > bias.tolerance


def test_a_single_sample_may_be_a_vector():
    vector = Mistake("size=(5, 3)", "size=3")
    assert ACTIVATION.check(vector)
    report = ACTIVATION.check(vector, Mistake("return grad", "return -grad"))
    assert [each.mistakes for each in report.findings] == [("the sign is wrong",)]


def test_a_network_that_the_package_lacks_is_still_judged():
    leaky = (
        Mistake("np.tanh(z1)", "np.where(z1 > 0, z1, 0.1 * z1)"),
        Mistake("(1 - a1**2)", "np.where(z1 > 0, 1, 0.1)"),
    )
    report = FUNCTIONS.check(*leaky)
    assert report
    assert not report.network
    report = FUNCTIONS.check(*leaky, Mistake("x.T @ dz1", "-x.T @ dz1"))
    assert report.verdict == "wrong: W1; right: b1, W2, b2"
    assert report.notes()[-1] == "mlp_xp: has no such network, and so names no mistake"
    assert "no usual mistake" not in str(report)


def test_a_bias_of_zeros_may_not_stand_anywhere():
    """With zeros, a bias after the activation gives the loss of a usual network."""
    report = FUNCTIONS.check(
        Mistake("rng.normal(size=5)\n", "np.zeros(5)\n"),
        Mistake("z1 = x @ W1 + b1", "z1 = x @ W1"),
        Mistake("np.tanh(z1)", "np.tanh(z1) + b1"),
    )
    assert report.verdict == "wrong: b1; right: W1, W2, b2"


def test_inputs_with_a_largest_value_of_one_may_not_be_used_anyhow():
    """With such inputs, x / x.max() is x, but its derivative has another term."""
    report = program(
        """
        x = x / x.max()
        class Own(Linear):
            def forward(self, x):
                self.x = x
                return x / x.max() @ self.W + self.b
            def backward(self, e):
                self.dW, self.db, dx = self.errors(e)
                return dx
        """,
        "check_gradients(Own(), x)",
    ).check()
    assert report.verdict == "wrong: x; right: W, b"
    assert "x: no usual mistake gives these numbers" in report.notes()


@pytest.mark.parametrize(
    "backward",
    [
        "def stale(x, y): d = (p - y) / len(y); return x.T @ d, d.sum(axis=0)",
        "def stale(inputs, targets): return g(x, Y, W, b)",
        "def stale(inputs, targets): return g(inputs, Y, W, b)",
    ],
    ids=["outputs", "inputs", "targets"],
)
def test_variables_of_an_earlier_run_are_found(backward):
    """A cell of a notebook has computed them. At these parameters, they are right."""
    report = program(
        f"p = f(x, W, b)\ndef forward(x): return f(x, W, b)\n{backward}",
        "check_gradients((forward, stale), x, Y)",
    ).check()
    assert report.verdict == "wrong: W, b"
    (finding,) = report.findings
    assert "variables of an earlier run" in finding.mistakes[0]


def test_a_right_gradient_is_not_blamed_beside_a_wrong_one():
    report = program(
        "def back(x, y, W, b): return g(x, y, W, b)[0], 36 * g(x, y, W, b)[1]",
        "check_gradients((f, back), x, Y, (W, b))",
    ).check()
    assert [*map(tuple, report.findings)] == [
        (("b",), ("36 times the right gradient",))
    ]


def test_a_factor_that_is_1_is_no_mistake():
    """Of one output, a sum over the outputs is a mean."""
    report = program(
        """
        def linear(x, W, b): return x @ W + b
        def back(x, y, W, b):
            d = 2 * (linear(x, W, b) - y) / y.size
            return x.T @ d, 2 * d.sum(axis=0)
        """,
        "check_gradients((linear, back), x, T[:, :1], (W[:, :1], b[:1]), loss=square)",
    ).check()
    assert report.verdict == "wrong: b; right: W"
    (finding,) = report.findings
    assert len(finding.mistakes) == 1
    assert "sum over the outputs" not in finding.mistakes[0]


# Right gradients that depend on more than the arguments and the parameters.
CONSTANTS = {
    "a graph": (
        """
        A = rng.normal(size=(6, 6))
        A = A + A.T
        def forward(x): return softmax(A @ x @ W)
        def back(x, y): return x.T @ A @ (forward(x) - y) / len(y)
        """,
        "check_gradients((forward, back), x, Y)",
    ),
    "targets from the inputs": (
        """
        U, V = rng.normal(size=(4, 2)), rng.normal(size=(2, 4))
        def forward(x): return x @ U @ V
        def back(x):
            d = 2 * (forward(x) - x) / x.size
            return x.T @ d @ V.T, (x @ U).T @ d
        """,
        "check_gradients((forward, back), x, x, loss=square)",
    ),
    "a batch in global variables": (
        """
        def forward(x): return f(x, W, b)
        def back(): return g(x, Y, W, b)
        """,
        "check_gradients((forward, back), x, Y)",
    ),
    "one-hot inputs": (
        """
        def forward(x): return softmax(x @ W)
        def back(x, y):
            dW = np.zeros_like(W)
            np.add.at(dW, x.argmax(axis=1), (forward(x) - y) / len(y))
            return dW
        """,
        "check_gradients((forward, back), np.eye(4)[[0, 1, 2, 3, 1, 2]], Y)",
    ),
}


@pytest.mark.parametrize(("text", "call"), CONSTANTS.values(), ids=CONSTANTS)
def test_a_gradient_may_use_constants_of_the_program(text, call):
    report = program(text, call).check()
    assert all(row.is_right for row in report.rows), str(report)
    assert not report.findings


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_numbers_of_any_size_are_compared(scale, factor):
    """A step of 1e-5 is large for numbers of 1e-6."""
    report = program(
        f"""
        class Own(Linear):
            def __init__(self):
                self.W, self.b = W * {scale}, b
            def forward(self, x):
                self.x, self.a = x, np.tanh(x @ self.W + self.b)
                return self.a
            def backward(self, e):
                self.dW, self.db, dx = self.errors(e * (1 - self.a**2))
                self.dW *= {factor}
                return dx * {factor}
        """,
        f"check_gradients(Own(), x / {scale})",
    ).check()
    wrong = [row.name for row in report.rows if not row.is_right]
    assert wrong == ([] if factor == 1 else ["W", "x"]), str(report)


@pytest.mark.parametrize("default", ["2.0", "None", "False"])
def test_an_argument_with_a_default_keeps_it(default):
    """T and t are targets elsewhere, and here a temperature and a time."""
    report = program(
        f"""
        def forward(x, T=2.0): return softmax(x @ W / T)
        def back(x, y, t={default}, T=2.0): return x.T @ (forward(x) - y) / T / len(y)
        """,
        "check_gradients((forward, back), x, Y)",
    ).check()
    assert report, str(report)


def test_a_layer_may_be_called_d1():
    report = program(
        """
        class Two(Net):
            def __init__(self):
                self.d1, self.d2 = Linear(), Linear()
                self.d2.W = rng.normal(size=(3, 3))
            def forward(self, x):
                self.h = np.tanh(self.d1.forward(x))
                self.p = softmax(self.d2.forward(self.h))
                return self.p
            def backward(self, x, y):
                d = (self.p - y) / len(y)
                self.d2.dW, self.d2.db, e = self.d2.errors(d)
                e *= 1 - self.h**2
                self.d1.dW, self.d1.db, _ = self.d1.errors(e)
        """,
        "check_gradients(Two(), x, Y)",
    ).check()
    assert all(row.is_right for row in report.rows), str(report)
    assert {row.name for row in report.rows} == {"d1.W", "d1.b", "d2.W", "d2.b"}


# Right programs whose arrays are told from one another by more than their shapes.
UNDERSTOOD = {
    "outputs y beside targets t": (
        "def back(x, y, t): d = (y - t) / len(t); return x.T @ d, d.sum(axis=0)",
        "check_gradients((f, back), x, Y, (W, b))",
    ),
    "outputs y beside targets t in the loss": (
        "def cost(y, t): return -np.sum(t * np.log(y)) / len(y)",
        "check_gradients((f, g), x, Y, (W, b), loss=cost)",
    ),
    "a loss after a dictionary of gradients": (
        """
        def propagate(w, b, X, Y):
            A = 1 / (1 + np.exp(-(X @ w + b)))
            cost = -np.mean(Y * np.log(A) + (1 - Y) * np.log(1 - A))
            d = (A - Y) / Y.size
            return {"dw": X.T @ d, "db": d.sum(axis=0)}, cost
        """,
        "check_gradients(propagate, x, Y, (W, b))",
    ),
    "an argument with the name of a global array": (
        """
        V = rng.normal(size=(3, 3))
        def forward(x):
            a = np.tanh(x @ W)
            return a, softmax(a @ V)
        def back(a, p, V, x, y):
            d = (p - y) / len(y)
            return x.T @ (d @ V.T * (1 - a**2)), a.T @ d
        """,
        "check_gradients((forward, back), x, Y)",
    ),
    "an array wrapped with its gradient": (
        """
        class Tensor:
            def __init__(self, data): self.data, self.grad = data, None
        class Own:
            def __init__(self): self.W = Tensor(rng.normal(size=(4, 3)))
            def forward(self, x):
                self.x, self.p = x, softmax(x @ self.W.data)
                return self.p
            def backward(self, y): self.W.grad = self.x.T @ (self.p - y) / len(y)
        """,
        "check_gradients(Own(), x, Y)",
    ),
    "one neuron that returns a number": (
        "w = rng.normal(size=4)",
        "check_gradients((lambda x: w @ x, lambda x, y: 2 * (w @ x - y) * x), x[0], 1, "
        "loss=lambda y_hat, y: (y_hat - y) ** 2)",
    ),
    "a large loss, which has enough digits": (
        """
        def linear(x, W, b): return x @ W + b
        def back(x, y, W, b):
            d = 2 * (linear(x, W, b) - y) / y.size
            return x.T @ d, d.sum(axis=0)
        """,
        "check_gradients((linear, back), x, 1e5 * T + 2e5, (W, b), loss=square)",
    ),
    "a slope with a default, which is no learning rate": (
        """
        def leaky(z, alpha=0.3): return np.where(z > 0, z, alpha * z)
        def forward(x): return softmax(leaky(x @ W))
        def train(x, y, lr, alpha=0.3):
            global W
            d = (forward(x) - y) / len(y) * np.where(x @ W > 0, 1, alpha)
            W = W - lr * x.T @ d
        """,
        "check_gradients((forward, train), x, Y, learning_rate=0.1)",
    ),
    "outputs of one shape, of which the last layer counts": (
        """
        V = rng.normal(size=(3, 3))
        def forward(x):
            a1 = np.tanh(x @ W)
            a2 = a1 @ V
            return a2, a1
        def back(x, y):
            a2, a1 = forward(x)
            d = 2 * (a2 - y) / y.size
            return x.T @ (d @ V.T * (1 - a1**2)), a1.T @ d
        """,
        "check_gradients((forward, back), x, T, loss=square)",
    ),
    "a list that ends with the gradient of a number": (
        """
        def forward(x, W, b): return softmax(x @ W + b * np.arange(3))
        def back(x, y, W, b):
            d = (forward(x, W, b) - y) / len(y)
            return [x.T @ d, np.sum(d @ np.arange(3))]
        """,
        "check_gradients((forward, back), x, Y, (W, np.array(0.5)))",
    ),
    "one-hot columns of as many features as classes": (
        """
        def leaky(z): return np.where(z > 0, z, 0.1 * z)
        def forward(X, W, V): return softmax((V @ leaky(W @ X)).T).T
        def back(X, Y, W, V):
            d = (forward(X, W, V) - Y) / Y.shape[1]
            z = W @ X
            return (V.T @ d * np.where(z > 0, 1, 0.1)) @ X.T, d @ leaky(z).T
        """,
        "check_gradients((forward, back), x[:, :3].T, Y.T, "
        "(rng.normal(size=(4, 3)), rng.normal(size=(3, 4))))",
    ),
}


@pytest.mark.parametrize(("text", "call"), UNDERSTOOD.values(), ids=UNDERSTOOD)
def test_a_right_program_is_understood(text, call):
    report = program(text, call).check()
    assert report, str(report)


def test_an_update_beside_right_gradients_without_names_is_compared():
    report = program(
        """
        def forward(x): return f(x, W, b)
        def train(x, y, lr=0.1):
            global W, b
            first, second = g(x, y, W, b)
            W, b = W + lr * first, b - lr * second
            return first, second
        """,
        "check_gradients((forward, train), x, Y)",
    ).check()
    assert report, str(report)
    (finding,) = report.findings
    assert finding.names == ("W",)
    assert "the update is not learning_rate times" in finding.mistakes[0]


def test_an_update_takes_the_gradient_of_a_bias_in_a_row():
    report = program(
        """
        class Row(Net):
            def __init__(self): self.W, self.b = np.ones((4, 3)), np.zeros((1, 3))
            def forward(self, x):
                self.p = softmax(x @ self.W + self.b)
                return self.p
            def train(self, x, y, lr=0.1):
                d = (self.forward(x) - y) / len(y)
                self.dW, self.db = x.T @ d, d.sum(axis=0)
                self.W, self.b = self.W - lr * self.dW, self.b - lr * self.db
        """,
        "check_gradients(Row(), x, Y)",
    ).check()
    assert report, str(report)
    assert not report.findings


def test_an_update_may_leave_out_what_has_no_effect():
    report = program(
        """
        c = np.zeros(3)
        def forward(x): return softmax(x @ W + b + 0 * c)
        def train(x, y, lr=0.1):
            global W, b
            first, second = g(x, y, W, b)
            W, b = W - lr * first, b - lr * second
            return first, second
        """,
        "check_gradients((forward, train), x, Y)",
    ).check()
    assert all(row.is_right for row in report.rows), str(report)
    assert {row.name for row in report.rows} >= {"W", "b"}


def test_labels_are_said_to_begin_at_0():
    report = program(
        "def back(x, y, W, b): return g(x, np.eye(3)[y - 1], W, b)",
        "check_gradients((f, back), x, np.array([1, 2, 2, 1, 2, 1]), (W, b))",
    ).check()
    assert not report
    assert report.loss.endswith("of your outputs, with labels from 0 to 2")


def test_a_mistake_is_named_without_a_network_if_its_numbers_show_it():
    report = program(
        """
        def root(x, y, W, b): return [np.zeros_like(W), g(x, y, W, b)[1]]
        def leaky(x, W, b): return softmax(np.where(x > 0, x, x / 9) @ W + b)
        """,
        "check_gradients((leaky, root), x, Y, (W, b))",
    ).check()
    *_, first, _, last = report.notes()
    assert first == "W: it is 0: never computed, or overwritten"
    assert last == "mlp_xp: has no such network"


def test_the_gradient_of_a_bias_that_forward_forgets_is_zero():
    assert not FUNCTIONS.check().ignored
    forgotten = Mistake("x @ W1 + b1", "x @ W1")
    report = FUNCTIONS.check(forgotten)
    assert report.ignored == ["b1"]
    assert report.verdict == "wrong: b1; right: W1, W2, b2"
    assert report.notes()[-1] == "mlp_xp: not compared, as parameters have no effect"
    assert "no effect on the loss: b1;" in " ".join(report.notes())
    zero = Mistake("dz1.sum(axis=0)", "0 * b1")
    assert FUNCTIONS.check(forgotten, zero)


REGRESSION = Written(
    """
    def forward(x):
        return 1 / (1 + np.exp(-(x @ w + b)))

    def loss(y_hat, y):
        return -np.mean(y * np.log(y_hat) + (1 - y) * np.log(1 - y_hat))

    def backward(x, y):
        e = (forward(x) - y) / len(x)
        dw = x.T @ e
        db = np.sum(e)
        return dw, db

    x, y = rng.normal(size=(6, 4)), rng.integers(0, 2, (6, 1))
    w, b = rng.normal(size=(4, 1)), 0.5
    """,
    "check_gradients((forward, backward), x, y, loss=loss)",
)
"""Logistic regression, with a number as its bias."""


@pytest.mark.parametrize("number", ["0.5", "0", "np.float64(0.5)"])
def test_a_number_is_checked_as_an_argument_and_else_said_not_to_be(number):
    text = REGRESSION.text.replace("0.5", number)
    report = REGRESSION._replace(text=text).check()
    assert report.verdict == "not checked: b; right: w"
    assert not report
    note = "not an array of floats: b; use np.array(..., float)"
    assert note in report.notes()
    text = text.replace("forward(x)", "forward(x, w, b)")
    text = text.replace("backward(x, y)", "backward(x, y, w, b)")
    call = REGRESSION.call.replace("x, y", "x, y, (w, b)")
    program = REGRESSION._replace(text=text, call=call)
    report = program.check()
    assert report.verdict == "right: w, b"
    assert report.network
    wrong = program.check(Mistake("np.sum(e)", "99.0"))
    assert wrong.verdict == "wrong: b; right: w"


def test_numbers_that_are_no_parameters_need_no_gradient():
    decay = Mistake("0.5\n", "np.zeros(1)\nweight_decay, B = 0.1, 6\n")
    used = Mistake("return -np", "return weight_decay * np.sum(w**2) / B - np")
    gradient = Mistake("x.T @ e", "x.T @ e + 2 * weight_decay / B * w")
    assert REGRESSION.check(decay, used, gradient).verdict == "right: w, b"


def test_integer_weights_are_not_checked():
    program = SQUARE._replace(text=SQUARE.text.replace('"W1": rng', '"W1": 9 * rng'))
    integers = Mistake('size=(4, 4)), "b1"', 'size=(4, 4)).astype(int), "b1"')
    wrong = Mistake("x.T @ e1", "7 * x.T @ e1")
    report = program.check(integers, wrong)
    assert report.verdict == "not checked: W1; right: b1, W2, b2"
    assert not report


@pytest.mark.parametrize("factor", ["1", "7"])
def test_an_array_of_any_shape_is_checked(factor):
    text = f"""
    def forward(x):
        h = np.tanh(x @ W1[0] + x @ W1[1])
        s = np.exp(h @ W2)
        return h, s / s.sum(axis=1, keepdims=True)

    def backward(x, y):
        h, p = forward(x)
        e = (p - y) / len(x)
        dW2 = h.T @ e
        dW1 = {factor} * np.stack(2 * [x.T @ (e @ W2.T * (1 - h**2))])
        return dW1, dW2

    x, y = rng.normal(size=(5, 3)), np.eye(2)[[0, 1, 1, 0, 1]]
    W1, W2 = rng.normal(size=(2, 3, 4)), rng.normal(size=(4, 2))
    """
    report = Written(text, "check_gradients((forward, backward), x, y)").check()
    wrong = [row.name for row in report.rows if not row.is_right]
    assert wrong == ([] if factor == "1" else ["W1"])
    assert {row.name for row in report.rows} == {"W1", "W2"}


@pytest.mark.parametrize("has_run", [False, True])
def test_a_parameter_of_any_name_with_a_gradient_is_checked(has_run):
    """The arrays z and dz of an earlier run are no parameters."""
    text = """
    class Net:
        def __init__(self):
            self.W, self.gamma = rng.normal(size=(3, 2)), np.ones(2)

        def forward(self, x):
            self.x, self.z = x, x @ self.W
            s = np.exp(self.z)
            self.p = s / s.sum(axis=1, keepdims=True)
            return self.p

        def backward(self, y):
            self.dz = (self.p - y) / len(y)
            self.dW = self.x.T @ self.dz
            self.dgamma = np.sum(self.dz * self.z, axis=0)

    x, y = rng.normal(size=(4, 3)), np.eye(2)[[0, 1, 0, 1]]
    net = Net()
    """
    if has_run:
        text += "p = net.forward(x + 0)\n    net.backward(y)\n"
    report = Written(text, "check_gradients(net, x, y)").check()
    assert report.verdict == "wrong: gamma; right: W"
    assert report.ignored == ["gamma"]


def test_a_gradient_that_is_not_a_number_is_wrong_wherever_it_is():
    leaky = (
        Mistake("np.tanh(z1)", "np.where(z1 > 0, z1, 0.1 * z1)"),
        Mistake("(1 - a1**2)", "np.where(z1 > 0, 1, 0.1)"),
    )
    large = Mistake("size=(7, 4)", "size=(7, 40)"), Mistake("(4, 5)", "(40, 5)")
    for index in range(0, 40, 16):
        nan = Mistake("x.T @ dz1", f"x.T @ dz1; dW1[{index}, 2] = np.nan")
        report = FUNCTIONS.check(*leaky, *large, nan)
        (wrong,) = [row for row in report.rows if not row.is_right]
        assert (wrong.name, wrong.entry) == ("W1", f"[{index}, 2]")


def test_the_velocities_of_an_optimizer_are_no_parameters():
    text = """
    class Momentum:
        def __init__(self):
            self.W, self.b = rng.normal(size=(3, 2)), np.zeros(2)
            self.velocity = {"W": np.zeros((3, 2)), "b": np.zeros(2)}

        def forward(self, x):
            e = np.exp(x @ self.W + self.b)
            return e / e.sum(axis=1, keepdims=True)

        def backward(self, x, y, lr=0.1):
            e = (self.forward(x) - y) / len(x)
            self.velocity["W"] = 0.9 * self.velocity["W"] - lr * x.T @ e
            self.velocity["b"] = 0.9 * self.velocity["b"] - lr * e.sum(axis=0)
            self.W = self.W + self.velocity["W"]
            self.b = self.b + self.velocity["b"]

    x, y = rng.normal(size=(4, 3)), np.eye(2)[[0, 1, 0, 1]]
    """
    report = Written(text, "check_gradients(Momentum(), x, y)").check()
    assert report.verdict == "right: W, b"
    assert not report.ignored


@pytest.mark.parametrize("x", [0.0, 0.3, -2.0, 40.0])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_difference_is_within_its_tolerance(x, dtype):
    eps = float(np.finfo(dtype).eps)

    def loss(value):
        return float(np.sin(dtype(value)) + dtype(value) * dtype(value))

    random = np.random.default_rng(0)
    error = rounding_error(
        lambda values: loss(values["w"][0]), {"w": np.array([x])}, eps, random
    )
    found = difference(loss, x, loss(x), eps, error)
    assert abs(found.value - (np.cos(x) + 2 * x)) <= found.tolerance
    assert found.tolerance <= 1000 * eps ** (2 / 3) * max(1, x * x)


def test_a_kink_is_within_the_tolerance_wherever_it_is():
    eps = float(np.finfo(float).eps)
    step = eps ** (1 / 3)
    for r in [*np.linspace(-1.2, 1.2, 241), 2 / 3, -2 / 3]:
        at = 0.5 + r * step

        def loss(x, at=at):
            return abs(x - at)

        found = difference(loss, 0.5, loss(0.5), eps, 1e-16)
        for slopes in (1.0, -1.0) if r == 0 else (-np.sign(r),):
            assert abs(found.value - slopes) <= found.tolerance


def test_at_a_kink_the_parameters_stay_if_the_loss_elsewhere_is_not_finite():
    def step(x, t, b, s):
        is_on = x + b > 0
        loss = np.sum((x + b) * is_on) + np.where(abs(s - 1) < 1e-3, s, np.inf)
        return loss, np.sum(is_on * 1.0), 1.0

    x, s = np.array([[0.0], [1.0]]), np.array(1.0)
    report = check_gradients(step, x, x, {"b": np.array(0.0), "s": s})
    assert report
    assert "moved" not in report.loss


def test_the_rounding_of_an_update_is_not_taken_for_a_kink():
    """Else the moved parameters would seem to be at a kink, too."""

    def train(x, t, W, b, learning_rate=1e-11):
        z = x @ W + b
        dz = 1.0 * (z > 0)
        W, b = W - learning_rate * x.T @ dz, b - learning_rate * dz.sum(axis=0)
        return np.sum(np.maximum(z, 0)), W, b

    x, W, b = np.array([[0.0], [1.0]]), np.ones((1, 1)), np.zeros(1)
    report = check_gradients(train, x, x, {"W": W, "b": b})
    assert "moved" in report.loss


# What is around a check.


def test_only_the_first_run_prints(capsys):
    """A layer is tried with floats first, and at a kink all is done again."""
    report = program(
        """
        class Own(Linear):
            def __init__(self):
                self.W, self.b = rng.normal(size=(4, 3)), np.zeros(3)
            def forward(self, x):
                print("forward")
                self.x, self.z = x, x @ self.W + self.b
                return np.maximum(self.z, 0)
            def backward(self, e):
                print("backward")
                self.dW, self.db, dx = self.errors(e * (self.z > 0))
                return dx
        """,
        "check_gradients(Own(), np.vstack([x, 0 * x[:1]]))",
    ).check()
    assert "off a kink" in report.loss
    assert capsys.readouterr().out == "forward\nbackward\n"


def test_a_check_changes_nothing():
    names = NOTEBOOK.run()
    before = {key: value for key, value in names.items() if key != "__builtins__"}
    copies = {key: np.copy(x) for key, x in before.items() if hasattr(x, "dtype")}
    eval(NOTEBOOK.call, names)
    with pytest.raises(MlpXpError, match="train raised"):
        eval(NOTEBOOK.call.replace(":1]", ":2]"), names)
    assert all(names[key] is value for key, value in before.items())
    assert all(np.array_equal(names[key], x) for key, x in copies.items())


def test_variables_around_a_function_are_found():
    """A network whose parameters are local variables of a test."""
    random = np.random.default_rng(0)
    weights, bias = random.normal(size=(3, 2)), np.zeros(2)

    def forward(x):
        return 1 / (1 + np.exp(-(x @ weights + bias)))

    def backward(x, y):
        delta = forward(x) - y
        d_weights = x.T @ delta
        d_bias = delta.sum(axis=0)
        return {"weights": d_weights, "bias": d_bias}

    def loss(y_hat, y):
        return -np.sum(y * np.log(y_hat) + (1 - y) * np.log(1 - y_hat))

    x, y = random.normal(size=(4, 3)), random.integers(0, 2, (4, 2))
    assert check_gradients((forward, backward), x, y, loss=loss)
    weights *= 2  # the variables of the check were copies
    assert check_gradients((forward, backward), x, y, loss=loss)


def test_an_assertion_has_the_words_of_the_report():
    arrays = tuple(np.full(shape, 0.3) for shape in ((2, 2), (2,)))

    def forward(x, W, b):
        return x @ W + b

    def backward(dout, x, W):
        return -dout @ W.T, x.T @ dout, dout.sum(axis=0)

    x = np.random.default_rng(2).normal(size=(3, 2))
    report = check_gradients((forward, backward), x, None, arrays)
    with pytest.raises(AssertionError) as caught:
        assert_gradients((forward, backward), x, None, arrays)
    assert str(caught.value) == str(report)
    assert str(report).startswith("wrong: x; right: W, b\n")
    assert "\nx: the sign is wrong\n" in str(report)
    assert repr(report) == "wrong: x; right: W, b"


def test_a_report_has_short_lines_and_a_table():
    report = LAYERS.check(LAYERS.mistakes[0])
    text = str(report)
    assert " ".join(text.split()).startswith(report.verdict)
    assert max(map(len, text.split("\n"))) <= 80
    assert "<table>" in report._repr_html_()


@pytest.mark.parametrize(
    ("number", "after"),
    [
        ("alpha = 0.01", "pass"),
        ("rate = 0.5", "pass"),
        ("slope = 0.01", "learning_rate *= 0.5"),
        ("eta = 0.01", "pass"),
    ],
)
def test_the_learning_rate_is_told_from_other_numbers(number, after):
    """A slope, a share of dropout, and a rate that changes after the update."""
    text = """
    learning_rate = 0.1
    NUMBER

    def forward(x):
        e = np.exp(x @ W + 0 * NAME)
        return e / e.sum(axis=1, keepdims=True)

    def train(x, y):
        global W, learning_rate
        W = W - learning_rate * x.T @ (forward(x) - y) / len(x)
        AFTER

    x, y = rng.normal(size=(4, 3)), np.eye(2)[[0, 1, 0, 1]]
    W = rng.normal(size=(3, 2))
    """
    name, _, _ = number.partition(" ")
    text = text.replace("NUMBER", number).replace("NAME", name)
    text = text.replace("AFTER", after)
    program = Written(text, "check_gradients((forward, train), x, y)")
    if name == "eta":
        with pytest.raises(MlpXpError, match="learning_rate: "):
            program.check()
        program = program._replace(call=f"{program.call[:-1]}, learning_rate=0.1)")
    assert program.check().verdict == "right: W"


@pytest.mark.parametrize("dtype", ["'float32'", "int"])
def test_arrays_of_other_dtypes(dtype):
    text = f"""{FUNCTIONS.text}
    x, y = (4 * x).astype({dtype}), y.astype({dtype})
    W1, W2 = W1.astype("float32"), W2.astype("float32")
    """
    assert FUNCTIONS._replace(text=text).check()


def test_a_step_that_computes_its_own_loss_needs_no_targets():
    def step(x, W):
        return (x @ W).sum(), x.T @ np.ones((3, 2))

    x, W = np.arange(6.0).reshape(3, 2), np.ones((2, 2))
    assert check_gradients(step, x, parameters=W)
    assert not check_gradients(
        lambda x, W: (step(x, W)[0], -x.T @ np.ones((3, 2))), x, parameters=W
    )
