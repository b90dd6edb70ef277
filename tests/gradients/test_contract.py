"""What `check_gradients` takes, what it leaves as it was, and where it checks again."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from mlp_xp import MlpXpError, check_gradients


class Linear:
    """A regression whose arrays, gradients and updates have many forms."""

    def __init__(self, factor=1.0):
        random = np.random.default_rng(0)
        self.W, self.b = random.normal(size=(4, 3)), random.normal(size=3)
        self.factor = factor  # of the gradient of b
        self.x, self.y = random.normal(size=(6, 4)), random.normal(size=(6, 3))

    def loss(self, x, y):
        return np.mean((x @ self.W + self.b - y) ** 2)

    def gradients(self, x, y):
        error = 2 * (x @ self.W + self.b - y) / y.size
        return x.T @ error, self.factor * error.sum(axis=0)

    def store(self, x, y):
        self.dW, self.db = self.gradients(x, y)

    def train(self, x, y, rate=0.1):
        dW, db = self.gradients(x, y)
        self.W -= rate * dW
        self.b = self.b - rate * db

    def forward(self, x):
        return x @ self.W + self.b

    def backward(self, x, error):
        return error @ self.W.T, x.T @ error, self.factor * error.sum(axis=0)


def network(net, **arguments):
    return check_gradients(net.loss, net.gradients, net.x, net.y, **arguments)


def layer(net, backward, **arguments):
    return check_gradients(net.forward, backward, net.x, **arguments)


# Ways to give the arrays, and to return their gradients.
NETWORKS = {
    "names": lambda n: network(n, W=n.W, b=n.b),
    "a list": lambda n: network(n, parameters=[n.W, n.b]),
    "attributes": lambda n: network(n, parameters=(n, "W b")),
    "items": lambda n: network(n, parameters=({"W": n.W, "b": n.b, "c": 1}, "W b")),
    "a dictionary": lambda n: check_gradients(
        n.loss,
        lambda x, y: dict(zip(["dW", "db"], n.gradients(x, y), strict=True)),
        n.x,
        n.y,
        {"W": n.W, "b": n.b},
    ),
    "names in another order": lambda n: check_gradients(
        n.loss,
        lambda x, y: dict(zip(["W", "b"], n.gradients(x, y), strict=True)),
        n.x,
        n.y,
        b=n.b,
        W=n.W,
    ),
    "lists of objects": lambda n: check_gradients(
        n.loss,
        lambda x, y: [[each] for each in n.gradients(x, y)],
        n.x,
        n.y,
        [(n, "W"), {"only": (n, "b")}["only"]],
    ),
    "stored": lambda n: check_gradients(
        n.loss, n.store, n.x, n.y, (n, "W b"), stored="d{}"
    ),
    "an update": lambda n: check_gradients(
        n.loss, n.train, n.x, n.y, (n, "W b"), learning_rate=0.1
    ),
    "an update of items": lambda n: check_gradients(
        n.loss, n.train, n.x, n.y, (vars(n), "W b"), learning_rate=0.1
    ),
}
LAYERS = {
    "names": lambda n: layer(n, n.backward, W=n.W, b=n.b),
    "a pair": lambda n: layer(
        n, lambda x, e: (n.backward(x, e)[0], n.backward(x, e)[1:]), W=n.W, b=n.b
    ),
    "a dictionary": lambda n: layer(
        n,
        lambda x, e: dict(zip(["dx", "dW", "db"], n.backward(x, e), strict=True)),
        parameters={"W": n.W, "b": n.b},
    ),
    "a pair of a list": lambda n: layer(
        n,
        lambda x, e: (n.backward(x, e)[0], [*n.backward(x, e)[1:]]),
        parameters=[n.W, n.b],
    ),
}


@pytest.mark.parametrize("factor", [1.0, 1.01])
@pytest.mark.parametrize("call", NETWORKS.values(), ids=NETWORKS)
def test_gradients_of_a_network_have_many_forms(call, factor):
    report = call(Linear(factor))
    wrong = [row.name.rpartition(".")[2] for row in report.rows if row.is_wrong]
    assert wrong in ([["b"], ["[1]"]] if factor != 1 else [[]]), str(report)
    assert len(report.rows) == 2


@pytest.mark.parametrize("factor", [1.0, 1.01])
@pytest.mark.parametrize("call", LAYERS.values(), ids=LAYERS)
def test_gradients_of_a_layer_have_many_forms(call, factor):
    report = call(Linear(factor))
    assert report.rows[0].name == "x"
    assert len(report.rows) == 3
    assert [row.name for row in report.rows if row.is_wrong] == (
        [] if factor == 1 else [report.rows[2].name]
    )


def test_a_layer_needs_no_parameters_and_may_give_no_gradient_of_its_inputs():
    x = np.random.default_rng(0).normal(size=(4, 3))
    assert check_gradients(np.tanh, lambda x, e: e * (1 - np.tanh(x) ** 2), x)
    assert not check_gradients(np.tanh, lambda x, e: e * (1 - x**2), x)
    net = Linear()
    report = layer(net, lambda x, e: net.backward(x, e)[1:], W=net.W, b=net.b)
    assert report.verdict == "right: W, b"


def test_lists_and_numbers_are_inputs_too():
    w = np.array([0.3, 0.8])

    def loss(x, y):
        return sum((w[0] * a + w[1] - b) ** 2 for a, b in zip(x, y, strict=True))

    def gradients(x, y):
        errors = [2 * (w[0] * a + w[1] - b) for a, b in zip(x, y, strict=True)]
        return np.array([np.dot(errors, x), sum(errors)])

    report = check_gradients(loss, gradients, [1.0, 0.5, 2.0], [0.1, 0.2, 0.3], w=w)
    assert report
    assert len(report.repeated) == 3
    line = SimpleNamespace(m=0.5, c=0)
    report = check_gradients(
        lambda x, y: (line.m * x + line.c - y) ** 2,
        lambda x, y: [2 * (line.m * x + line.c - y) * each for each in (x, 1)],
        1.5,
        0.25,
        (line, "m c"),
    )
    assert report.verdict == "right: m, c"
    assert vars(line) == {"m": 0.5, "c": 0}
    assert type(line.c) is int


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([[1.0], [2.0, 3.0]], [0.5, 1.5]),  # of unequal lengths
        (np.array([[1.0], [2.0]]), np.array(["a", "b"])),
    ],
)
@pytest.mark.parametrize("factor", [1, 1.05])
def test_only_the_code_reads_the_samples(x, y, factor):
    w = np.array([[0.7]])

    def total(x):
        return sum(map(sum, x))

    report = check_gradients(
        lambda x, y: w[0, 0] ** 2 * total(x),
        lambda x, y: factor * 2 * w * total(x),
        x,
        y,
        w=w,
    )
    assert bool(report) == (factor == 1)


def test_an_update_without_the_sum_over_the_samples_is_named_for_a_row_too():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(5, 3)), random.normal(size=(5, 2))
    n = {"W": random.normal(size=(3, 2)), "b": np.zeros((1, 2))}

    def update(x, y):
        error = 0.1 * 2 * (x @ n["W"] + n["b"] - y) / y.size
        n["W"], n["b"] = n["W"] - x.T @ error, n["b"] - error

    report = check_gradients(
        lambda x, y: np.mean((x @ n["W"] + n["b"] - y) ** 2),
        update,
        x,
        y,
        (n, "W b"),
        learning_rate=0.1,
    )
    assert report.findings[0].names == ("b",)
    assert "the sum over the samples is missing" in str(report)


@pytest.mark.parametrize("factor", [1, 1.05])
def test_single_precision_has_its_own_tolerance(factor):
    net = Linear(factor)
    for name in ("W", "b", "x", "y"):
        setattr(net, name, getattr(net, name).astype(np.float32))
    report = network(net, W=net.W, b=net.b)
    assert report.verdict == ("right: W, b" if factor == 1 else "wrong: b; right: W")
    assert 1e-6 < max(row.tolerance for row in report.rows) < 1e-2


# What a check leaves as it was.


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_arrays_are_put_back(error):
    net = Linear()
    net.lists = [net.W, net.b]
    before = net.W, net.b, net.lists
    copies = net.W.copy(), net.b.copy()
    calls = 0

    def loss(x, y):
        return np.mean((x @ net.lists[0] + net.lists[1] - y) ** 2)

    def train(x, y):
        nonlocal calls
        calls += 1
        net.W, net.b = net.lists
        net.W *= 2
        if error and calls == 2:
            raise error("stop")
        net.W /= 2
        net.train(x, y)
        net.lists = [net.W, net.b]

    def check():
        lists = (net, "lists")
        return check_gradients(loss, train, net.x, net.y, lists, learning_rate=0.1)

    if error:
        with pytest.raises((MlpXpError, KeyboardInterrupt)):
            check()
    else:
        assert check()
    assert net.lists is before[2]
    assert all(now is then for now, then in zip(net.lists, before, strict=False))
    assert np.array_equal(net.lists[0], copies[0])
    assert np.array_equal(net.lists[1], copies[1])


def test_the_batch_is_not_changed():
    net = Linear()
    x, y = net.x.copy(), net.y.copy()

    def backward(x, error):
        x *= 2
        error *= 3
        return error @ net.W.T / 3

    assert layer(net, backward, parameters=None)
    assert np.array_equal(net.x, x)
    assert np.array_equal(net.y, y)


def test_only_the_first_run_prints(capsys):
    net = Linear()
    check_gradients(
        lambda x, y: print("loss") or net.loss(x, y),
        lambda x, y: print("gradients") or net.gradients(x, y),
        net.x,
        net.y,
        W=net.W,
        b=net.b,
    )
    assert capsys.readouterr().out == "loss\ngradients\n"


# Where gradients are checked again.


def test_gradients_are_checked_at_other_parameters_and_samples():
    assert network(Linear(), parameters=(Linear(), "W b")).repeated == []
    net = Linear()
    assert network(net, W=net.W, b=net.b).repeated == [
        "at parameters moved by 1 %",
        "with one sample replaced",
        "with one sample fewer",
    ]


@pytest.mark.parametrize(
    ("stale", "said"),
    [
        (lambda n, out, x, y: (out - y, x, y.size), "at parameters moved by 1 %"),
        (lambda n, out, x, y: (n.forward(x) - y, n.x, y.size), "one sample replaced"),
        (
            lambda n, out, x, y: (n.forward(x) - n.y[: len(y)], x, y.size),
            "one sample replaced",
        ),
        (lambda n, out, x, y: (n.forward(x) - y, x, 18), "with one sample fewer"),
    ],
    ids=["outputs", "inputs", "targets", "a number"],
)
def test_variables_of_an_earlier_run_are_found(stale, said):
    """A cell of a notebook has computed them. Here, they are right."""
    net = Linear()
    out = net.forward(net.x)

    def gradients(x, y):
        difference, inputs, size = stale(net, out, x, y)
        error = 2 * difference / size
        return inputs[: len(error)].T @ error, error.sum(axis=0)

    report = check_gradients(net.loss, gradients, net.x, net.y, W=net.W, b=net.b)
    assert not report
    (finding,) = report.findings
    assert said in finding.mistakes[0]


def test_biases_at_the_kink_of_relu_are_checked_off_it():
    random = np.random.default_rng(0)
    x, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([1.0, 0, 0, 1])
    W, b, v = random.normal(size=(2, 5)), np.zeros(5), random.normal(size=5)

    def loss(x, y):
        return np.mean((np.maximum(x @ W + b, 0) @ v - y) ** 2)

    def gradients(x, y, kink):
        z = x @ W + b
        e = 2 * (np.maximum(z, 0) @ v - y) / len(y)
        d = np.outer(e, v) * (z > kink)
        return x.T @ d, d.sum(axis=0), np.maximum(z, 0).T @ e

    for kink, verdict in ((0, True), (-0.1, False)):
        report = check_gradients(
            loss, lambda x, y, k=kink: gradients(x, y, k), x, y, W=W, b=b, v=v
        )
        assert bool(report) == verdict
        assert report.loss.endswith("at parameters moved by 1 %")


def test_other_arrays_of_an_object_are_said_not_to_be_checked():
    net = Linear()
    net.cache, net.integers = np.ones(3), np.arange(3)
    report = check_gradients(
        net.loss, lambda x, y: net.gradients(x, y)[0], net.x, net.y, (net, "W")
    )
    assert report.verdict == "right: W; not checked: b"
    net.biases = [net.b]
    report = check_gradients(
        lambda x, y: np.mean((x @ net.W + net.biases[0] - y) ** 2),
        lambda x, y: net.gradients(x, y)[0],
        net.x,
        net.y,
        (net, "W"),
    )
    assert "biases" in report.verdict


def test_an_array_that_may_not_be_moved_is_not_checked():
    net = SimpleNamespace(W=np.eye(2), mask=np.array([1.0, 0.0]))

    def outputs(x):
        assert {*net.mask} <= {0, 1}
        return x @ net.W * net.mask

    report = check_gradients(
        outputs, lambda x, e: x.T @ (e * net.mask), np.eye(2), None, (net, "W")
    )
    assert report.verdict == "right: W; not checked: mask"


# What is asked or refused, in one line.


REFUSED = {
    "a rebound variable": (
        lambda n: {"gradients": n.train, "named": {"W": n.W, "b": n.b}},
        {"learning_rate": 0.1},
        "gradients",
        "changes more than",
    ),
    "an update without a rate": (
        lambda n: {"gradients": n.train},
        {"parameters": "self"},
        "gradients",
        "changes 'W'",
    ),
    "no gradients": (lambda n: {"gradients": lambda x, y: None}, {}, "gradients", ""),
    "too few gradients": (
        lambda n: {"gradients": lambda x, y: n.gradients(x, y)[:1]},
        {},
        "gradients",
        "1 gradients for 2",
    ),
    "another key": (
        lambda n: {"gradients": lambda x, y: dict.fromkeys(["W", "c"], 0.0)},
        {},
        "gradients",
        "not 'W', 'b' or 'dW', 'db'",
    ),
    "a gradient of text": (
        lambda n: {"gradients": lambda x, y: ("W", "b")},
        {},
        "gradients",
        "'W'",
    ),
    "gradients that add up": (
        lambda n: {
            "gradients": lambda x, y: [
                np.add(g, s, out=s)
                for g, s in zip(n.gradients(x, y), n.sums, strict=True)
            ]
        },
        {},
        "gradients",
        "second call",
    ),
    "an exception": (lambda n: {"gradients": len}, {}, "gradients", "TypeError"),
    "no attribute": (
        lambda n: {},
        {"parameters": "self", "stored": "d{}"},
        "stored",
        "no 'dW'",
    ),
    "stored without an object": (lambda n: {}, {"stored": "d{}"}, "stored", "'W'"),
    "text for a loss": (lambda n: {"loss": lambda x, y: "low"}, {}, "loss", "a str"),
    "a loss of each sample": (
        lambda n: {"loss": lambda x, y: np.ones(6)},
        {},
        "loss",
        "6 numbers",
    ),
    "half precision": (
        lambda n: {"loss": lambda x, y: np.float16(1)},
        {},
        "loss",
        "float16",
    ),
    "an infinite loss": (lambda n: {"loss": lambda x, y: np.inf}, {}, "loss", "inf"),
    "a random loss": (
        lambda n: {"loss": lambda x, y: np.random.default_rng().normal()},
        {},
        "loss",
        "from run to run",
    ),
    "a rounded loss": (
        lambda n: {"loss": lambda x, y: round(n.loss(x, y), 4)},
        {},
        "loss",
        "few digits",
    ),
    "single precision inside": (
        lambda n: {
            "loss": lambda x, y: float(
                np.mean((np.float32(x) @ np.float32(n.W) + n.b - y) ** 2, dtype="f")
            )
        },
        {},
        "loss",
        "few digits",
    ),
    "a loss that refuses fewer samples": (
        lambda n: {"loss": lambda x, y: n.loss(x.reshape(6, 4), y)},
        {},
        "loss",
        "with one sample fewer; give samples=",
    ),
    "gradients that refuse fewer samples": (
        lambda n: {"gradients": lambda x, y: n.gradients(x.reshape(6, 4), y)},
        {},
        "gradients",
        "with one sample fewer; give samples=",
    ),
    "samples on different axes": (lambda n: {"x": n.x.T}, {}, "samples", "x has 4"),
    "no such axis": (lambda n: {}, {"samples": 2}, "samples", "no axis 2"),
    "no samples": (lambda n: {"x": n.x[:0], "y": n.y[:0]}, {}, "x", "empty"),
    "a data frame": (lambda n: {"x": SimpleNamespace()}, {}, "x", "SimpleNamespace"),
    "integers": (
        lambda n: {"named": {"W": np.ones((4, 3), int), "b": n.b}},
        {},
        "W",
        "int64",
    ),
    "complex numbers": (
        lambda n: {"named": {"W": n.W * 1j, "b": n.b}},
        {},
        "W",
        "complex128",
    ),
    "a number": (lambda n: {"named": {"W": n.W, "b": 0.5}}, {}, "b", "the number 0.5"),
    "a subclass": (
        lambda n: {"named": {"W": np.ma.array(n.W), "b": n.b}},
        {},
        "W",
        "a MaskedArray",
    ),
    "a read-only array": (
        lambda n: {"named": {"W": np.broadcast_to(n.b, (4, 3)), "b": n.b}},
        {},
        "W",
        "read-only",
    ),
    "shared memory": (
        lambda n: {"named": {"W": n.W, "b": n.W[0]}},
        {},
        "parameters",
        "share memory",
    ),
    "no arrays": (lambda n: {"named": {}}, {}, "parameters", "no array"),
    "both": (lambda n: {}, {"parameters": [1]}, "parameters", "beside names"),
    "no such attribute": (
        lambda n: {"named": {}},
        {"parameters": (sys, "W")},
        "parameters",
        "no 'W'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_one_line(name):
    change, settings, setting, fault = REFUSED[name]
    net = Linear()
    net.sums = [0 * net.W, 0 * net.b]
    given = {"loss": net.loss, "gradients": net.gradients, "x": net.x, "y": net.y}
    given |= {"named": {"W": net.W, "b": net.b}} | change(net)
    if settings.get("parameters") == "self":
        given["named"], settings = {}, settings | {"parameters": (net, "W b")}
    named = given.pop("named")
    with pytest.raises(MlpXpError) as caught:
        check_gradients(*given.values(), **named, **settings)
    assert caught.value.setting == setting
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_inputs_of_a_layer_need_floats_for_their_gradient():
    with pytest.raises(MlpXpError, match="array of floats") as caught:
        check_gradients(np.tanh, lambda x, e: e, np.arange(3))
    assert caught.value.setting == "x"
