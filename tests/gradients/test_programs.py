"""The verdict of `check_gradients` on short programs.

Most were once accepted though wrong, or called wrong though right.
"""

import numpy as np
import pytest
from beginners import program

CASES = {
    # Numbers that were wrong and accepted.
    "one wrong entry of a large array": (
        """
        x, Y = rng.normal(size=(8, 64)), np.eye(10)[rng.integers(0, 10, 8)]
        W, b = 0.3 * rng.normal(size=(64, 10)), np.zeros(10)
        def cost(y_hat, y, W):
            return -np.sum(y * np.log(y_hat)) / len(y) + np.sum(W**2) / 4
        def wrong(x, y, W, b):
            dW, db = g(x, y, W, b)
            dW += W / 2
            dW[-1, -1] = 0
            return dW, db
        """,
        "check_gradients((f, wrong), x, Y, (W, b), loss=cost)",
        "wrong: W; right: b",
    ),
    "a parameter with another's name in its own": (
        """
        def forgetful(x, W, b, W_out, b_out):
            return deep(x, W, b, W_out, 0)
        def gradients(x, y, W, b, W_out, b_out):
            found = deep_gradients(x, y, W, b, W_out, 0)
            return dict(zip(("W", "b", "W_out", "b_out"), found))
        """,
        "check_gradients((forgetful, gradients), x, Y, "
        "dict(zip(('W', 'b', 'W_out', 'b_out'), P)))",
        "wrong: b_out; right: W, b, W_out",
    ),
    "an error below a layer that updates itself": (
        """
        class Own(Linear):
            def backward(self, grad, learning_rate):
                dW, db, dx = self.errors(grad)
                self.W -= learning_rate * dW
                self.b -= learning_rate * db
                return -7 * dx
        """,
        "check_gradients(Own(), x, learning_rate=0.5)",
        "wrong: x; right: W, b",
    ),
    "a bias of the class": (
        """
        class Own(Net):
            b1 = np.zeros(3)
            def __init__(self):
                self.W1 = W.copy()
            def forward(self, x):
                return f(x, self.W1, self.b1)
            def backward(self, x, y):
                self.dW1, self.db1 = g(x, y, self.W1, self.b1)
                self.db1 *= 7
        """,
        "check_gradients(Own(), x, Y)",
        "wrong: b1; right: W1",
    ),
    "a class as a name space": (
        """
        class P:
            W, b, lr = W.copy(), b.copy(), 0.5
        def forward(x): return f(x, P.W, P.b)
        def train(x, y):
            dW, db = g(x, y, P.W, P.b)
            P.W -= P.lr * dW
            P.b -= P.lr * 2 * db
        """,
        "check_gradients((forward, train), x, Y)",
        "wrong: P.b; right: P.W",
    ),
    "slots": (
        """
        class Own:
            __slots__ = "W", "b", "dW", "db"
            def __init__(self):
                self.W, self.b = W.copy(), b.copy()
            def forward(self, x):
                return f(x, self.W, self.b)
            keep = Net.keep
            def backward(self, x, y):
                self.keep(x, y)
                self.db = -self.db
        """,
        "check_gradients(Own(), x, Y)",
        "wrong: b; right: W",
    ),
    **{
        f"biases at the kink of relu: {change}": (
            f"""
            x, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.eye(2)[[0, 1, 1, 0]]
            y = y[:, 1:]
            class Xor:
                def __init__(self):
                    self.W1, self.b1 = rng.normal(size=(2, 4)), np.zeros(4)
                    self.W2, self.b2 = rng.normal(size=(4, 1)), np.zeros(1)
                def forward(self, x):
                    self.z = x @ self.W1 + self.b1
                    self.a = np.maximum(0, self.z)
                    return 1 / (1 + np.exp(-(self.a @ self.W2 + self.b2)))
                def loss(self, p, y):
                    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
                def backward(self, x, y):
                    d = (self.forward(x) - y) / len(x)
                    e = d @ self.W2.T * (self.z >= 0)
                    self.dW2, self.db2 = self.a.T @ d, d.sum(axis=0)
                    self.dW1, self.db1 = x.T @ e, e.sum(axis=0){change}
            """,
            "check_gradients(Xor(), x, y)",
            said,
        )
        for change, said in {
            "": "right: W1, b1, W2, b2",
            " * 0": "wrong: b1; right: W1, W2, b2",
            " * 2": "wrong: b1; right: W1, W2, b2",
        }.items()
    },
    # The values of arguments.
    "an output of another name": (
        """
        def gradients(X, y, params):
            h, S = forward(X, params)
            (A, a), (B, c) = params
            d = 2 * (S - y) / y.size
            e = d @ B.T * (1 - h**2)
            return [(X.T @ e, e.sum(axis=0)), (h.T @ d, d.sum(axis=0))]
        def forward(X, params):
            (A, a), (B, c) = params
            h = np.tanh(X @ A + a)
            return h, h @ B + c
        def loss(S, y):
            return square(S, y)
        """,
        "check_gradients((forward, gradients), x, T, [P[:2], P[2:]], loss=loss)",
        "right: params[0][0], params[0][1], params[1][0], params[1][1]",
    ),
    "targets of a usual name": (
        """
        class Own(Net):
            def backward(self, train_labels):
                self.keep(self.x, train_labels)
        """,
        "check_gradients(Own(), x, Y)",
        "right: W, b",
    ),
    "an output before a hidden layer of its shape": (
        "def turned(x, A, a, B, c): h, p = deep(x, A, a, B, c); return p, h",
        "check_gradients((turned, deep_gradients), x, Y, P)",
        "right: A, a, B, c",
    ),
    "parameters behind a star": (
        """
        def forward(x, *params): return f(x, *params)
        def gradients(x, y, *params): return g(x, y, *params)
        """,
        "check_gradients((forward, gradients), x, Y, (W, b))",
        "right: params[0], params[1]",
    ),
    "a single parameter behind a star": (
        """
        def forward(x, *params): return f(x, *params, 0)
        def gradient(x, y, *params): return g(x, y, *params, 0)[0]
        """,
        "check_gradients((forward, gradient), x, Y, (W,))",
        "right: params",
    ),
    "an array for a single parameter": (
        """
        W = rng.normal(size=(1, 4))
        def forward(x, W): return x * W
        def gradient(x, y, W): return np.sum(2 * (x * W - y) * x, axis=0)[None] / y.size
        """,
        "check_gradients((forward, gradient), x, x**2, W, loss=square)",
        "right: W",
    ),
    "a forward pass called __call__": (
        """
        class Own:
            def __init__(self):
                self.W, self.b = W.copy(), b.copy()
            def __call__(self, x):
                return f(x, self.W, self.b)
            def backward(self, x, y):
                return g(x, y, self.W, self.b)
        """,
        "check_gradients(Own(), x, Y)",
        "right: W, b",
    ),
    "outputs that are only stored": (
        """
        class Own(Linear):
            def forward(self, inputs):
                self.inputs, self.output = inputs, inputs @ self.W + self.b
            def backward(self, dvalues):
                self.x = self.inputs
                self.dW, self.db, self.dinputs = self.errors(dvalues)
        """,
        "check_gradients(Own(), x)",
        "right: W, b, x",
    ),
    "indices of a table of vectors": (
        """
        class Own:
            def __init__(self):
                self.W = rng.normal(size=(9, 2))
            def forward(self, indices):
                self.indices = indices
                return self.W[indices]
            def backward(self, dout):
                self.dW = 0 * self.W
                np.add.at(self.dW, self.indices, dout)
        """,
        "check_gradients(Own(), np.array([1, 3, 3, 7]))",
        "right: W",
    ),
    "integers of a layer": (
        "class Own(Linear): backward = Linear.errors",
        "check_gradients(Own(), np.arange(8).reshape(2, 4))",
        "right: W, b, x",
    ),
    "labels that are floats": (
        """
        def gradients(x, y, W, b):
            dW, db = g(x, np.eye(3)[y.astype(int)], W, b)
            return dW, db
        """,
        "check_gradients((f, gradients), x, np.array([0.0, 1, 2, 0, 1, 2]), (W, b))",
        "right: W, b",
    ),
    "images that forward flattens": (
        """
        def forward(x, W, b): return f(x.reshape(len(x), -1), W, b)
        def gradients(x, y, W, b): return g(x.reshape(len(x), -1), y, W, b)
        """,
        "check_gradients((forward, gradients), x.reshape(6, 2, 2), Y, (W, b))",
        "right: W, b",
    ),
    "a layer of sequences": (
        """
        class Own(Linear):
            def backward(self, d):
                self.dW, self.db = np.einsum("bti,bto->io", self.x, d), d.sum((0, 1))
                return d @ self.W.T
        """,
        "check_gradients(Own(), rng.normal(size=(3, 5, 4)))",
        "right: W, b, x",
    ),
    # Losses.
    "guarded logarithms of sigmoids": (
        """
        def forward(x, W, b): return 1 / (1 + np.exp(-(x @ W + b)))
        def loss(y_hat, y):
            logs = y * np.log(y_hat + 1e-8) + (1 - y) * np.log(1 - y_hat + 1e-8)
            return -np.mean(logs)
        def gradients(x, y, W, b):
            d = (forward(x, W, b) - y) / y.size
            dW, db = x.T @ d, d.sum(axis=0)
            return dW, db
        """,
        "check_gradients((forward, gradients), x, Y, (5 * W, b), loss=loss)",
        "right: W, b",
    ),
    "a factor near a usual one": (
        """
        x, Y = rng.normal(size=(128, 4)), np.eye(3)[rng.integers(0, 3, 128)]
        def loss(y_hat, y):
            return -np.sum(y * np.log(y_hat)) / (len(y) - 1)
        """,
        "check_gradients((f, g), x, Y, (W, b), loss=loss)",
        "wrong: W, b",
    ),
    # Gradients, updates and constants.
    "new parameters without names": (
        """
        def step(x, y, W, b, lr=0.1):
            dW, db = g(x, y, W, b)
            return W - lr * dW, b - lr * db
        """,
        "check_gradients((f, step), x, Y, (W, b))",
        "right: W, b",
    ),
    "wrong new parameters without names": (
        """
        def step(x, y, W, b, lr=0.1):
            dW, db = g(x, y, W, b)
            return W - lr * dW, b - lr * 2 * db
        """,
        "check_gradients((f, step), x, Y, (W, b))",
        "wrong: b; right: W",
    ),
    "the step of the lesson": (
        """
        def step(parameters, x, y, learning_rate):
            p, changed = f(x, *parameters), []
            for parameter, gradient in zip(parameters, g(x, y, *parameters)):
                changed.append(parameter - learning_rate * gradient)
            return -np.sum(y * np.log(p)) / len(p), tuple(changed)
        """,
        "check_gradients(step, x, Y, (W, b), learning_rate=0.1)",
        "right: parameters[0], parameters[1]",
    ),
    "the slope of a leaky relu": (
        """
        def forward(x, P, alpha=0.01):
            z = x @ P["W"] + P["b"]
            return softmax(np.where(z > 0, z, alpha * z))
        def gradients(x, y, P, alpha=0.01):
            z = x @ P["W"] + P["b"]
            d = (forward(x, P) - y) / len(y) * np.where(z > 0, 1, alpha)
            return {"W": x.T @ d, "b": d.sum(axis=0)}
        """,
        "check_gradients((forward, gradients), x, Y, {'W': W, 'b': b})",
        "right: W, b",
    ),
    "a layer that keeps other inputs as x": (
        """
        class Own(Linear):
            def forward(self, x):
                self.x = np.hstack([x, x])
                return self.x @ np.vstack([self.W, self.W])
            def backward(self, dout):
                self.dW = (self.x.T @ dout)[:4] * 2
                return 2 * dout @ self.W.T
        """,
        "check_gradients(Own(), x)",
        "not checked: b; right: W, x",
    ),
    "momentum that returns the gradients": (
        """
        class Own(Net):
            def train(self, x, y):
                dW, db = g(x, y, self.W, self.b)
                self.vW, self.vb = 0.9 * self.vW + 0.1 * dW, 0.9 * self.vb + 0.1 * db
                self.W -= self.lr * self.vW
                self.b -= self.lr * self.vb
                return dW, db
        """,
        "check_gradients(Own(), x, Y)",
        "right: W, b",
    ),
    "gradients beside an update of some parameters": (
        """
        class Own(Net):
            def train(self, x, y):
                d = (f(x, self.W, self.b) - y) / len(y)
                self.W -= self.lr * x.T @ d
                return [x.T @ d, d.sum(axis=0)]
        """,
        "check_gradients(Own(), x, Y)",
        "right: W, b",
    ),
    "gradients of another update": (
        """
        class Own(Net):
            def train(self, x, y):
                self.keep(x, y)
                self.W -= self.lr * np.sign(self.dW)
                self.b -= self.lr * np.sign(self.db)
        """,
        "check_gradients(Own(), x, Y)",
        "right: W, b",
    ),
    "old gradients beside an update": (
        """
        class Own(Net):
            def train(self, x, y):
                dW, db = g(x, y, self.W, self.b)
                self.W -= self.lr * dW
                self.b -= self.lr * db
        net = Own()
        net.dW, net.db = 0 * W, 0 * b
        """,
        "check_gradients(net, x, Y)",
        "right: W, b",
    ),
    "a rate that changes before the update": (
        """
        class Own(Net):
            def train(self, x, y):
                self.lr *= 0.9
                dW, db = g(x, y, self.W, self.b)
                self.W -= self.lr * dW
                self.b -= self.lr * db
        """,
        "check_gradients(Own(), x, Y)",
        "right: W, b",
    ),
    "constants beside given parameters": (
        """
        def forward(x, W, b): return f(x * mask, W, b)
        def gradients(x, y, W, b): return g(x * mask, y, W, b)
        """,
        "check_gradients((forward, gradients), x, Y, (W, b))",
        "right: W, b",
    ),
    "constants beside global parameters": (
        """
        def forward(x): return f(x * mask, W, b)
        def gradients(x, y): return g(x * mask, y, W, b)
        """,
        "check_gradients((forward, gradients), x, Y)",
        "not checked: mask; right: W, b",
    ),
    "a layer that is a constant": (
        """
        class Own:
            def __init__(self): self.mask = x + 0
            def forward(self, x): return x * self.mask
            def backward(self, dout): return dout * self.mask
        """,
        "check_gradients(Own(), x)",
        "not checked: mask; right: x",
    ),
    "the gradient of a number without a name": (
        """
        def forward(x, w, b): return x @ w + b
        def gradients(x, y, w, b):
            d = 2 * (x @ w + b - y) / y.size
            return x.T @ d, d.sum()
        """,
        "check_gradients((forward, gradients), x, T[:, :1], (W[:, :1], np.zeros(1)), "
        "loss=square)",
        "right: w, b",
    ),
    "a decorated function": (
        """
        import functools
        def logged(function):
            @functools.wraps(function)
            def inner(*args, **names): return function(*args, **names)
            return inner
        @logged
        def gradients(x, y, W, b):
            dW, db = g(x, y, W, b)
            return db, dW
        """,
        "check_gradients((f, gradients), x, Y, (W, b))",
        "right: W, b",
    ),
    # Variables that cannot be copied, in methods and in forward.
    "an open file and a generator": (
        """
        import threading, sys
        lock, lines = threading.Lock(), (i for i in range(3))
        class Own(Net):
            def __init__(self):
                super().__init__()
                self.lock, self.file = lock, sys.__stdout__
            def forward(self, x):
                with lock: return f(x, self.W, self.b)
            def backward(self, x, y): self.keep(x, y)
            def log(self): next(lines), large
        class Large:
            def __deepcopy__(self, memo): raise ValueError("copied in vain")
        large = Large()
        """,
        "check_gradients(Own(), x, Y)",
        "right: W, b",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_program_is_judged(name):
    text, call, said = CASES[name]
    assert program(text, call).check().verdict == said


@pytest.mark.parametrize(
    ("text", "call", "says"),
    [
        (
            """
            def wrong(x, y, W, b):
                dW, db = g(x, y, W, b)
                return {"dW": dW, "db": np.round(db.sum(), 9)}
            """,
            "check_gradients((f, wrong), x, Y, (W, b))",
            "b: the sum is over all entries, without axis=0",
        ),
        (
            "def flat(x, W, b): return f(x, W, b[:, 0])\n"
            "def wrong(x, y, W, b): return g(x, y, W, b[:, 0])",
            "check_gradients((flat, wrong), x, Y, (W, b[:, None]))",
            "b: the axis of the samples is missing: use keepdims=True",
        ),
        (
            """
            class Own(Linear):
                def backward(self, dout):
                    dW, db, dx = self.errors(dout)
                    dx = dx / len(dout)
                    return dW, db, dx
            """,
            "check_gradients(Own(), x)",
            "x: a mean over the batch that should be a sum",
        ),
        (
            """
            def forward(x, W, b): return 1 / (1 + np.exp(-(x @ W + b)))
            def wrong(x, y, W, b):
                p = forward(x, W, b)
                d = ((1 - y) / (1 - p) - y / p) / len(y)
                return x.T @ d, d.sum(axis=0)
            def loss(p, y):
                return -np.sum(y * np.log(p) + (1 - y) * np.log(1 - p)) / len(y)
            """,
            "check_gradients((forward, wrong), x, Y, (W, b), loss=loss)",
            "W, b: -t / p + (1 - t) / (1 - p), without the derivative of sigmoid",
        ),
        (
            """
            P = [rng.normal(size=size) for size in ((4, 4), 4, (4, 4), 4)]
            Y = np.eye(4)[[0, 1, 2, 3, 1, 2]]
            def forward(x, W1, b1, W2, b2): return deep(x, W1, b1, W2, b2)
            def reverse(x, y, W1, b1, W2, b2):
                found = deep_gradients(x, y, W1, b1, W2, b2)
                return [found[i] for i in (2, 3, 0, 1)]
            """,
            "check_gradients((forward, reverse), x, Y, P)",
            "W1: it is the gradient of W2",
        ),
        (
            *CASES["gradients of another update"][:2],
            "W, b: the update is not learning_rate times",
        ),
        (
            """
            class Own(Net):
                def train(self, x, y):
                    for i in range(len(x)):
                        dW, db = g(x[i : i + 1], y[i : i + 1], self.W, self.b)
                        self.W -= self.lr * dW
                        self.b -= self.lr * db
            """,
            "check_gradients(Own(), x, Y)",
            "W, b: no usual mistake of one step; if a call takes several steps, give",
        ),
    ],
)
def test_a_finding_is_said(text, call, says):
    assert any(note.startswith(says) for note in program(text, call).check().notes())


@pytest.mark.parametrize("penalty", [1e-6, 5e-4])
def test_a_forgotten_penalty_is_named_whatever_its_size(penalty):
    text = f"""
    def loss(y_hat, y, W):
        return -np.sum(y * np.log(y_hat)) / len(y) + {penalty} / 2 * np.sum(W**2)
    """
    call = "check_gradients((f, g), x, Y, (W / 2, b), loss=loss)"
    report = program(text, call).check()
    assert report.verdict == "wrong: W; right: b"
    assert report.notes()[0].startswith("W: a small term of your loss is missing")
    _, bias = report.rows
    assert bias.package == pytest.approx(bias.yours, rel=1e-9)


def test_a_check_leaves_a_class_and_the_random_state_as_they_are():
    text = """
    class Own:
        W1, b1, lr, history = W.copy(), b.copy(), 0.1, {"loss": [1.0]}
        def forward(self, x):
            np.random.seed(0)
            return f(x, self.W1, self.b1)
        def train(self, x, y):
            dW, db = g(x, y, self.W1, self.b1)
            self.W1 -= self.lr * dW
            self.b1 -= self.lr * db
            self.history["loss"].append(2.0)
    """
    written = program(text, "check_gradients(Own(), x, Y)")
    names, state = written.run(), np.random.get_state()[1].copy()
    kind = names["Own"]
    before = {**vars(kind)}
    assert eval(written.call, names).verdict == "right: W1, b1"
    assert all(vars(kind)[name] is value for name, value in before.items())
    assert np.array_equal(kind.W1, names["W"])
    assert kind.history == {"loss": [1.0]}
    assert np.array_equal(np.random.get_state()[1], state)


def test_only_the_first_run_prints(capsys):
    text = "def forward(x, W, b): print('shape'); return f(x, W, b)"
    assert program(text, "check_gradients((forward, g), x, Y, (W, b))").check()
    assert capsys.readouterr().out == "shape\n"
