"""`check_gradients` takes each gradient for its parameter, whatever their names are.

Each program is right with a factor of 1, and wrong with a factor of 7.
"""

import textwrap

import pytest
from beginners import Written

from mlp_xp import MlpXpError

START = """
def sq(p, y):
    return np.sum((p - y) ** 2) / 2

x, y = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
V, W = rng.normal(size=(3, 4)), rng.normal(size=(4, 3))
S = [rng.normal(size=(3, 3)), rng.normal(size=(3, 3))]
"""

# A program, its call, and the gradients that are wrong with a factor of 7.
PROGRAMS = {
    "a parameter as a default": (
        """
        b = np.zeros(3)
        def f(x, V=V): return x @ V @ W + b
        def g(x, y):
            d = f(x) - y
            dW, dV, db = (x @ V).T @ d, FACTOR * x.T @ d @ W.T, d.sum(axis=0)
            return dV, dW, db
        """,
        "check_gradients((f, g), x, y, loss=sq)",
        {"V"},
    ),
    "a list that is turned round": (
        """
        def f(x): return x @ S[0] @ S[1]
        def g(x, y):
            d, dS = f(x) - y, []
            dS.append(FACTOR * (x @ S[0]).T @ d)
            dS.append(x.T @ d @ S[1].T)
            return dS[::-1]
        """,
        "check_gradients((f, g), x, y, loss=sq)",
        {"S[1]"},
    ),
    "lists that are returned as they are": (
        """
        def f(x): return x @ S[0] @ S[1]
        def g(x, y):
            d = f(x) - y
            dS = [x.T @ d @ S[1].T, FACTOR * (x @ S[0]).T @ d]
            return dS, "done"
        """,
        "check_gradients((f, g), x, y, loss=sq)",
        {"S[1]"},
    ),
    "gradients that count from 1": (
        """
        def f(x): return x @ S[0] @ S[1]
        def g(x, y):
            d = f(x) - y
            dS2, dS1 = FACTOR * (x @ S[0]).T @ d, x.T @ d @ S[1].T
            return dS2, dS1
        """,
        "check_gradients((f, g), x, y, loss=sq)",
        {"S[1]"},
    ),
    "a capital and a small letter": (
        """
        w = V
        class Net:
            def __init__(self): self.W, self.w = V, W
            def forward(self, x): return x @ self.W @ self.w
            def backward(self, x, y):
                d = self.forward(x) - y
                self.dw, self.dW = FACTOR * (x @ self.W).T @ d, x.T @ d @ self.w.T
        """,
        "check_gradients(Net(), x, y, loss=sq)",
        {"w"},
    ),
    "keys such as dLdW in any order": (
        """
        P = {"W1": S[0], "W2": S[1]}
        def f(x): return x @ P["W1"] @ P["W2"]
        def g(x, y):
            d = f(x) - y
            first, second = x.T @ d @ P["W2"].T, FACTOR * (x @ P["W1"]).T @ d
            return {"dLdW2": second, "dLdW1": first}
        """,
        "check_gradients((f, g), x, y, loss=sq)",
        {"P.W2"},
    ),
    "a result with the name of another variable": (
        """
        def f(x):
            h = x @ V
            a = np.tanh(h)
            return a, a @ W
        def g(x, y, h, p):
            d = p - y
            return x.T @ (d @ W.T * (1 - h**2)), FACTOR * h.T @ d
        """,
        "check_gradients((f, g), x, y, loss=sq)",
        {"W"},
    ),
    "an argument of the loss with the name of another variable": (
        """
        def f(x):
            out = x @ S[0]
            return np.tanh(out)
        def g(x, y):
            p = f(x)
            return FACTOR * x.T @ ((p - y) * (1 - p**2))
        """,
        "check_gradients((f, g), x, y, loss=lambda out, y: sq(out, y))",
        {"S[0]"},
    ),
    "a stored step": (
        """
        class Net:
            def __init__(self): self.W, self.lr = S[0], 0.1
            def forward(self, x): return x @ self.W
            def train(self, x, y):
                d = self.forward(x) - y
                self.delta_W = -self.lr * FACTOR * x.T @ d
                self.W = self.W + self.delta_W
        """,
        "check_gradients(Net(), x, y, loss=sq)",
        {"W"},
    ),
    "an update that forgets the learning rate": (
        """
        class Net:
            def __init__(self): self.W, self.lr = S[0], 0.1
            def forward(self, x): return x @ self.W
            def train(self, x, y):
                self.dW = FACTOR * x.T @ (self.forward(x) - y)
                self.W = self.W - self.dW
        """,
        "check_gradients(Net(), x, y, loss=sq)",
        {"W"},
    ),
    "a list of layers, and gradients from the last one": (
        """
        L = [{"W": S[0]}, {"W": S[1]}]
        def f(x): return x @ L[0]["W"] @ L[1]["W"]
        def g(x, y):
            d = f(x) - y
            grads = {"dZ2": d, "dW2": (x @ L[0]["W"]).T @ d}
            grads["dW1"] = FACTOR * x.T @ d @ L[1]["W"].T
            return grads
        """,
        "check_gradients((f, g), x, y, loss=sq)",
        {"L[0].W"},
    ),
    "layers with names, and gradients from the last one": (
        """
        enc, dec = {"W": S[0]}, {"W": S[1]}
        def f(x): return x @ enc["W"] @ dec["W"]
        def g(x, y):
            d = f(x) - y
            dW_dec, dW_enc = (x @ enc["W"]).T @ d, FACTOR * x.T @ d @ dec["W"].T
            return dW_dec, dW_enc
        """,
        "check_gradients((f, g), x, y, loss=sq)",
        {"enc.W"},
    ),
    "two functions with a variable of the same name": (
        """
        def dense(W): return lambda x: x @ W, lambda x, d: (x.T @ d, d @ W.T)
        (f1, g1), (f2, g2) = dense(V), dense(W)
        def f(x): return f2(f1(x))
        def g(x, y):
            dW2, dh = g2(f1(x), f(x) - y)
            dW1, _ = g1(FACTOR * x, dh)
            return dW1, dW2
        """,
        "check_gradients((f, g), x, y, loss=sq)",
        {"f1.W"},
    ),
    "two functions with a default of the same name": (
        """
        def f1(x, W=V): return x @ W
        def f2(x, W=W): return x @ W
        def f(x): return f2(f1(x))
        def g(x, y):
            d = f(x) - y
            dW1, dW2 = x.T @ d @ W.T, FACTOR * f1(x).T @ d
            return dW1, dW2
        """,
        "check_gradients((f, g), x, y, loss=sq)",
        {"W"},
    ),
    "a parameter of a partial function": (
        """
        from functools import partial
        def dense(x, W1): return x @ W1
        f1 = partial(dense, W1=V)
        def f(x, W2): return f1(x) @ W2
        def g(x, y, W2):
            d = f(x, W2) - y
            dW1, dW2 = FACTOR * x.T @ d @ W2.T, f1(x).T @ d
            return dW1, dW2
        """,
        "check_gradients((f, g), x, y, {'W2': W}, loss=sq)",
        {"f1.W1"},
    ),
    "a loss after the gradients": (
        """
        def f(x, w, b): return x @ w + b
        def g(x, y, w, b):
            d = f(x, w, b) - y
            return (x.T @ d, FACTOR * d.sum()), sq(d, 0)
        """,
        "check_gradients((f, g), x, y[:, 0], (V[:, 0], 0.5))",
        {"b"},
    ),
    "a velocity beside the gradients": (
        """
        P, v = {"W1": V, "W2": W}, {"dW1": 0 * V, "dW2": 0 * W}
        def f(x): return x @ P["W1"] @ P["W2"]
        def train(x, y, lr=0.1):
            d = f(x) - y
            grads = {"dW1": FACTOR * x.T @ d @ P["W2"].T, "dW2": (x @ P["W1"]).T @ d}
            for i in "12":
                v["dW" + i] = 0.9 * v["dW" + i] + 0.1 * grads["dW" + i]
                P["W" + i] = P["W" + i] - lr * v["dW" + i]
            return P, v, grads
        """,
        "check_gradients((f, train), x, y, loss=sq)",
        {"P.W1"},
    ),
    "a network called m": (
        """
        class Model:
            def __init__(self): self.W = S[0]
        m = Model()
        def f(x): return x @ m.W
        def g(x, y): m.dW = FACTOR * x.T @ (f(x) - y)
        """,
        "check_gradients((f, g), x, y, loss=sq)",
        {"m.W"},
    ),
    "the gradient of a number before the others": (
        """
        def f(x, w, b): return x @ w + b
        def g(x, y, w, b):
            d = f(x, w, b) - y
            dj_dw, dj_db = x.T @ d, FACTOR * d.sum()
            return dj_db, dj_dw
        """,
        "check_gradients((f, g), x, y[:, 0], (V[:, 0], 0.5), loss=sq)",
        {"b"},
    ),
    "a stored gradient of the inputs": (
        """
        class Layer:
            def __init__(self): self.W = V
            def forward(self, x):
                self.x = x
                return x @ self.W
            def backward(self, dout):
                self.dW = self.x.T @ dout
                self.grad_input = FACTOR * dout @ self.W.T
        """,
        "check_gradients(Layer(), x)",
        {"x"},
    ),
    "the gradient of A_prev": (
        """
        class Layer:
            def __init__(self): self.W = V
            def forward(self, A_prev):
                self.A_prev = A_prev
                return A_prev @ self.W
            def backward(self, dA):
                self.dW = self.A_prev.T @ dA
                self.dA_prev = FACTOR * dA @ self.W.T
        """,
        "check_gradients(Layer(), x)",
        {"x"},
    ),
}


def checked(text, call, factor):
    """Check a program with a factor."""
    program = START + textwrap.dedent(text).replace("FACTOR", str(factor))
    return Written(program, call).check()


@pytest.mark.parametrize(("text", "call", "names"), PROGRAMS.values(), ids=PROGRAMS)
def test_each_gradient_is_compared_with_its_parameter(text, call, names):
    report = checked(text, call, 1)
    assert report, str(report)
    report = checked(text, call, 7)
    assert {row.name for row in report.rows if not row.is_right} == names, str(report)


@pytest.mark.parametrize(
    "text",
    [
        """
        class Net:
            def __init__(self): self.m, self.c, self.cost = V[:, 0], 0.5, 0
            def forward(self, x): return x @ self.m + self.c
            def train(self, x, y, lr=0.1):
                d = self.forward(x) - y
                self.m = self.m - lr * x.T @ d
                self.c, self.cost = self.c - 7 * lr * d.sum(), np.sum(d**2)
        net = Net()
        """,
        """
        class Net:
            m, c, lr = V[:, 0], np.array(3), 0.1
            def forward(self, x): return x @ self.m + self.c
            def train(self, x, y):
                d = self.forward(x) - y
                self.m = self.m - self.lr * x.T @ d
                self.c = self.c - 7 * self.lr * d.sum()
        net = Net()
        """,
        """
        m, c = V[:, 0], 0.5
        def f(x): return x @ m + c
        def train(x, y, lr=0.1):
            global m, c
            d = f(x) - y
            m, c = m - lr * x.T @ d, c - 7 * lr * d.sum()
        net = f, train
        """,
        """
        class Net:
            __slots__ = "m", "c"
            def __init__(self): self.m, self.c = V[:, 0], 0.5
            def forward(self, x): return x @ self.m + self.c
            def train(self, x, y, lr=0.1):
                d = self.forward(x) - y
                self.m, self.c = self.m - lr * x.T @ d, self.c - 7 * lr * d.sum()
        net = Net()
        """,
    ],
    ids=["attribute", "class attribute of integers", "global variable", "slot"],
)
def test_a_number_that_is_trained_is_not_checked(text):
    report = checked(text, "check_gradients(net, x, y[:, 0], loss=sq)", 1)
    assert report.verdict == "not checked: c; right: m"
    assert not report


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_factor_is_said_of_more_than_two_numbers(outputs):
    """A single number always is a multiple, and so are two with the sum 0."""
    report = checked(
        """
        b = np.zeros(3)[:OUTPUTS]
        V = V[:, :OUTPUTS]
        def f(x):
            z = np.hstack([x @ V + b, np.zeros((5, 2 - OUTPUTS))])
            p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
            return p
        def train(x, y, lr=0.1):
            global V, b
            for _ in range(3):
                d = (f(x) - y)[:, :OUTPUTS] / len(x)
                V, b = V - lr * x.T @ d, b - lr * d.sum(axis=0)
        """.replace("OUTPUTS", str(outputs)),
        "check_gradients((f, train), x, np.eye(2)[[0, 1, 1, 0, 1]])",
        1,
    )
    assert not report
    assert "times the right gradient" not in str(report)


def test_the_gradient_of_a_number_is_no_loss():
    text = """
    def f(x, w, b): return x @ w + b
    def g(x, y, w, b):
        d = f(x, w, b) - y
        dj_dw, dj_db = x.T @ d, d.sum()
        return dj_db, dj_dw
    """
    with pytest.raises(MlpXpError, match="your outputs are not probabilities"):
        checked(text, "check_gradients((f, g), x, y[:, 0], (V[:, 0], 0.5))", 1)


def test_a_number_with_a_gradient_as_a_default_is_not_checked():
    text = """
    def f(x, w=V[:, 0], b=0.5): return x @ w + b
    def g(x, y):
        d = f(x) - y
        dw, db = x.T @ d, 7 * d.sum()
        return dw, db
    """
    report = checked(text, "check_gradients((f, g), x, y[:, 0], loss=sq)", 1)
    assert report.verdict == "not checked: b; right: w"


@pytest.mark.parametrize(
    ("parameters", "unpacked", "said"),
    [("m, c", "m, c = m, c", "c; right: m"), ("q", "m, c = q", "q[1]; right: q[0]")],
)
def test_a_given_number_of_another_name_is_not_checked(parameters, unpacked, said):
    text = f"""
    def f(x, {parameters}):
        {unpacked}
        return x @ m + c
    def g(x, y, {parameters}):
        {unpacked}
        d = x @ m + c - y
        return x.T @ d, 7 * d.sum()
    """
    call = "check_gradients((f, g), x, y[:, 0], (V[:, 0], 0.5), loss=sq)"
    assert checked(text, call, 1).verdict == f"not checked: {said}"


def test_a_slope_with_a_gradient_is_not_checked():
    text = """
    class PReLU:
        def __init__(self): self.alpha = 0.25
        def forward(self, x):
            self.x = x
            return np.where(x > 0, x, self.alpha * x)
        def backward(self, dout):
            self.dalpha = 7 * np.sum(dout * self.x * (self.x < 0))
            return dout * np.where(self.x > 0, 1, self.alpha)
    """
    report = checked(text, "check_gradients(PReLU(), x)", 1)
    assert report.verdict == "not checked: alpha; right: x"


def test_a_program_may_keep_its_losses_in_a_list():
    text = """
    losses = [0.0]
    def f(x): return x @ S[0]
    def g(x, y):
        losses[0] = sq(f(x), y)
        return FACTOR * x.T @ (f(x) - y)
    """
    assert checked(text, "check_gradients((f, g), x, y, loss=sq)", 1)
    assert not checked(text, "check_gradients((f, g), x, y, loss=sq)", 7)
