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
    UPDATES,
    Mistake,
    Written,
    slope,
)

from mlp_xp import assert_gradients, check_gradients
from mlp_xp.gradients._differences import (
    difference,
    neighbours,
    points_around,
    rounding_error,
)

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
    def loss(x, y):
        return np.sum((x @ W + b - y) ** 2) / len(y)

    def backward(x, y):
        e = 4 * (x @ W + b - y) / len(y)
        dW, db = x.T @ e, e.sum(axis=0)
        return dW, db

    x, y = rng.normal(size=(2, 3)), rng.normal(size=(2, 4))
    W, b = rng.normal(size=(3, 4)), np.zeros(4)
    """,
    "check_gradients(loss, backward, x, y, W=W, b=b)",
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

    def loss(x, y):
        return -np.sum(y * np.log(forward(x)[1])) / len(x)

    def backward(x, y):
        h, p = forward(x)
        e2 = (p - y) / len(x)
        dW2 = h.T @ e2
        e1 = e2 @ W2.T * (1 - h**2)
        dW1 = x.T @ e1
        return dW1, dW2

    x, y = rng.normal(size=(5, 3)), np.eye(2)[[0, 1, 1, 0, 1]]
    """
    program = Written(text, "check_gradients(loss, backward, x, y, W1=W1, W2=W2)")
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


@pytest.mark.parametrize("order", ["W1 b1 W2 b2", "W1 W2 b1 b2", "b1 b2 W1 W2"])
def test_weights_and_biases_are_told_by_their_numbers(order):
    names = [f"{name}={name}" for name in order.split()]
    gradients = "dict(zip(['W1', 'b1', 'W2', 'b2'], backward(x, y, W1, b1, W2, b2)))"
    call = f"check_gradients(loss, lambda x, y: {gradients}, x, y, {', '.join(names)})"
    report = FUNCTIONS._replace(call=call).check(Mistake("(1 - a1**2)", "(1 - z1**2)"))
    (finding,) = report.findings
    assert {*finding.names} == {"W1", "b1"}
    assert finding.mistakes == (slope("tanh", AT_Z),)


@pytest.mark.parametrize(
    ("program", "old", "new", "said"),
    [
        (
            PROGRAMS["two_layer_net"],
            "dy[np.arange(len(t)), t] -= 1",
            "dy[:, t] -= 1",
            {"each label counts for all samples: use p[np.arange(len(p)), y] -= 1"},
        ),
        (
            UPDATES,
            "W1, b1 = W1 - lr",
            "W2, b2 = W2 - lr * gW2, b2 - lr * gb2\n    W1, b1 = W1 - lr",
            {"the update is made twice"},
        ),
    ],
)
def test_a_mistake_has_its_right_name(program, old, new, said):
    findings = program.check(Mistake(old, new)).findings
    assert {word for each in findings for word in each.mistakes} == said


def test_a_squared_error_updated_twice_has_two_explanations():
    """A factor 2 of the square gives the same numbers."""
    text = LINEAR.text.replace("e = 4", "e = 2")
    text = text.replace(
        "return dW, db", "\n        for _ in range(2): W[...] -= dW; b[...] -= db"
    )
    call = LINEAR.call.replace("W=W", "learning_rate=1, W=W").replace("x, y", "x, y")
    program = LINEAR._replace(text=text.replace("(2, 3)", "(5, 3)"), call=call)
    program = program._replace(text=program.text.replace("(2, 4)", "(5, 4)"))
    (finding,) = program.check().findings
    assert {*finding.mistakes} == {
        "a factor 2 too much, of the derivative of a square",
        "the update is made twice",
    }


@pytest.mark.parametrize("other", [False, True])
def test_a_small_learning_rate_rounds_the_gradient(other):
    """(before - after) / 1e-8 has eight digits, also for an unknown activation."""
    mistakes = [Mistake("learning_rate = 0.01", "learning_rate = 1e-8")]
    if other:
        mistakes += [
            Mistake(
                "return 1 / (1 + np.exp(-x))", "return 2 / (1 + np.exp(-x))", "", ""
            ),
            Mistake("return x * (1 - x)", "return x * (1 - x / 2)"),
        ]
    call = TEXTBOOK.call.replace("learning_rate=0.01", "learning_rate=1e-8")
    report = TEXTBOOK._replace(call=call).check(*mistakes)
    assert report, str(report)
    assert bool(report.network) is not other


def test_a_very_small_learning_rate_is_unclear():
    call = UPDATES.call.replace("=0.5", "=1e-15")
    report = UPDATES._replace(call=call).check(Mistake("lr=0.5", "lr=1e-15"))
    assert report.verdict == "unclear: W1, b1, W2, b2"
    assert not report


def test_of_mistakes_that_blame_different_parameters_only_the_factor_is_said():
    """Of two samples and without a bias: a sum of the gradient, or a factor 2."""
    text = LINEAR.text.replace("W + b", "W").replace("return dW, db", "return dW")
    call = LINEAR.call.replace(", b=b", "")
    report = LINEAR._replace(text=text, call=call).check()
    assert report.verdict == "wrong: W"
    (finding,) = report.findings
    assert finding.mistakes == ("2 times the right gradient",)


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


PENALTY = Written(
    """
    def network(x, y):
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
    "check_gradients(lambda x, y: network(x, y)[0], lambda x, y: network(x, y)[1], "
    "x, y, W1=W1, b1=b1, W2=W2, b2=b2)",
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
def test_a_guarded_logarithm_is_named(guarded):
    """The derivative of log(p + 1e-8) is usually taken as 1 / p."""
    report = PENALTY.check(
        Mistake("penalty = 1e-7", "penalty = 0"),
        Mistake("size=(6, 3)) / 2", "size=(6, 3)) * 20"),
        Mistake("rng.integers(0, 3, 8)", "np.argmax(np.tanh(x @ W1) @ W2, axis=1)"),
        Mistake("np.log(p)", f"np.log({guarded})"),
    )
    assert not report
    (finding,) = report.findings
    assert "the guard of the logarithm" in finding.mistakes[0]


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


def check_net(net, x, y):
    return check_gradients(
        lambda x, y: net.loss(net.forward(x), y),
        lambda x, y: net.backward(y),
        x,
        y,
        (net, "W b"),
        stored="d{}",
        samples=-1 if net.columns else 0,
    )


@pytest.mark.parametrize("columns", [False, True], ids=["rows", "columns"])
@pytest.mark.parametrize(
    "seeds",
    [range(6), pytest.param(range(6, 150), marks=pytest.mark.slow)],
    ids=["few", "many"],
)
def test_no_right_network_is_called_wrong(columns, seeds):
    """Single precision may be unclear, but never wrong."""
    alarms = []
    for seed in seeds:
        for dtype in ("float64", "float32"):
            net, x, y = random_case(seed, dtype, columns)
            with np.errstate(all="ignore"):
                p = net.forward(x)
                if not np.isfinite(net.loss(p, y)):
                    continue
            # log(1 - p) has lost its digits
            if net.head == "sigmoid" and np.max(p) > 1 - 1e-11:
                continue
            report = check_net(net, x, y)
            wrong = any(row.is_wrong for row in report.rows)
            if wrong or (dtype == "float64" and not report):
                alarms.append(f"seed {seed} {dtype}: {report}")
    assert not alarms, "\n".join(alarms)


def test_a_single_sample_may_be_a_vector():
    text = ACTIVATION.text.replace("size=(5, 3)", "size=3")
    program = ACTIVATION._replace(
        text=text, call=ACTIVATION.call.replace("x)", "x, samples=None)").replace(
            "lambda x, samples=None)", "lambda x)"
        )
    )
    assert program.check()
    report = program.check(Mistake("return grad", "return -grad"))
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


def test_a_right_gradient_is_not_blamed_beside_a_wrong_one():
    text = FUNCTIONS.text.replace("db2 = dz2.sum(axis=0)", "db2 = 36 * dz2.sum(axis=0)")
    report = FUNCTIONS._replace(text=text).check()
    assert report.findings == [(("b2",), ("36 times the right gradient",))]


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_numbers_of_any_size_are_compared(scale, factor):
    """A step of 1e-5 is large for numbers of 1e-6."""
    random = np.random.default_rng(0)
    W, x = scale * random.normal(size=(4, 3)), random.normal(size=(6, 4)) / scale

    def backward(x, error):
        e = factor * error * (1 - np.tanh(x @ W) ** 2)
        return e @ W.T, x.T @ e

    report = check_gradients(lambda x: np.tanh(x @ W), backward, x, W=W)
    wrong = [row.name for row in report.rows if not row.is_right]
    assert wrong == ([] if factor == 1 else ["x", "W"]), str(report)


@pytest.mark.parametrize("factor", [1, 1.001])
def test_vanishing_gradients_are_compared(factor):
    """The first layer has gradients of 1e-10 times the loss."""
    random = np.random.default_rng(0)
    layers = [0.1 * random.normal(size=(4, 4)) for _ in range(6)]

    def forward(x):
        a = [x]
        for w in layers:
            a.append(1 / (1 + np.exp(-a[-1] @ w)))
        return a

    def backward(x, y):
        a, found = forward(x), []
        e = a[-1] - y
        for i in reversed(range(6)):
            e = e * a[i + 1] * (1 - a[i + 1])
            found.insert(0, a[i].T @ e)
            e = e @ layers[i].T
        found[0] *= factor
        return found

    x, y = random.normal(size=(5, 4)), random.random((5, 4))
    report = check_gradients(
        lambda x, y: np.sum((forward(x)[-1] - y) ** 2) / 2, backward, x, y, layers
    )
    assert bool(report) == (factor == 1), str(report)


def test_one_wrong_entry_of_a_large_array_is_found():
    random = np.random.default_rng(0)
    W, x = random.normal(size=(64, 10)), random.normal(size=(8, 64))

    def backward(x, error):
        dW = x.T @ error
        dW[17, 3] += 1e-4
        return dW

    report = check_gradients(lambda x: x @ W, backward, x, W=W)
    (row,) = report.rows
    assert (row.verdict, row.entry) == ("wrong", "[17, 3]")


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


def test_the_gradient_of_a_bias_that_the_loss_forgets_is_zero():
    assert not FUNCTIONS.check().ignored
    forgotten = Mistake("x @ W1 + b1", "x @ W1")
    report = FUNCTIONS.check(forgotten)
    assert report.ignored == ["b1"]
    assert report.verdict == "wrong: b1; right: W1, W2, b2"
    assert "no effect on the loss: b1;" in " ".join(report.notes())
    assert FUNCTIONS.check(forgotten, Mistake("dz1.sum(axis=0)", "0 * b1"))


@pytest.mark.parametrize("x", [0.0, 0.3, -2.0, 40.0])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_difference_is_within_its_tolerance(x, dtype):
    eps = float(np.finfo(dtype).eps)

    def loss(value):
        return float(np.sin(dtype(value)) + dtype(value) * dtype(value))

    random = np.random.default_rng(0)
    losses = neighbours(
        lambda values: loss(values["w"][0]), {"w": np.array([x])}, eps, random
    )
    points = points_around(dtype(x), eps ** (1 / 3) * max(1, abs(x)))
    found = difference(loss, points, loss(x), rounding_error(losses, eps))
    assert abs(found.value - (np.cos(x) + 2 * x)) <= found.tolerance
    assert found.tolerance <= 1000 * eps ** (2 / 3) * max(1, x * x)


def test_a_kink_is_within_the_tolerance_wherever_it_is():
    step = float(np.finfo(float).eps) ** (1 / 3)
    for r in [*np.linspace(-1.2, 1.2, 241), 2 / 3, -2 / 3]:
        at = 0.5 + r * step

        def loss(x, at=at):
            return abs(x - at)

        found = difference(loss, points_around(0.5, step), loss(0.5), 1e-16)
        for slopes in (1.0, -1.0) if r == 0 else (-np.sign(r),):
            assert abs(found.value - slopes) <= found.tolerance


def test_a_loss_that_moves_in_steps_has_the_rounding_error_of_a_step():
    random = np.random.default_rng(0)
    values = {"w": np.array([0.3])}
    losses = neighbours(
        lambda values: np.round(values["w"][0], 7), values, 2e-16, random
    )
    assert rounding_error(losses, 2e-16) >= 0.9e-7


def test_an_assertion_has_the_words_of_the_report():
    W, b = np.full((2, 2), 0.3), np.full(2, 0.3)

    def forward(x):
        return x @ W + b

    def backward(x, error):
        return -error @ W.T, x.T @ error, error.sum(axis=0)

    x = np.random.default_rng(2).normal(size=(3, 2))
    report = check_gradients(forward, backward, x, W=W, b=b)
    with pytest.raises(AssertionError) as caught:
        assert_gradients(forward, backward, x, W=W, b=b)
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
