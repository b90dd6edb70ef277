"""Programs as beginners write them, each checked by one call, and mistakes for them.

A program is text, so that a mistake can be planted by replacing a part of it.
"""

import sys
import textwrap
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from mlp_xp import check_gradients


class Mistake(NamedTuple):
    """A replacement in the text of a program."""

    old: str
    new: str
    says: str = ""
    """A part of what is said."""
    names: str = ""
    """The parameters that it is said of."""


class Written(NamedTuple):
    """A program of a beginner."""

    text: str
    call: str
    """The call of `check_gradients`, as a beginner types it."""
    mistakes: tuple[Mistake, ...] = ()

    def run(self, *mistakes: Mistake) -> dict[str, Any]:
        """Run the program with mistakes in it, and return its variables."""
        text = textwrap.dedent(self.text)
        for mistake in mistakes:
            assert text.count(mistake.old) == 1, mistake.old
            text = text.replace(mistake.old, mistake.new)
        module = ModuleType("beginner")
        sys.modules["beginner"] = module
        names = vars(module)
        names.update(np=np, sys=sys, check_gradients=check_gradients)
        names["rng"] = np.random.default_rng(0)
        exec(compile(text, "beginner.py", "exec"), names)
        return names

    def check(self, *mistakes: Mistake) -> Any:
        """Run the program with mistakes in it, and check it."""
        return eval(self.call, self.run(*mistakes))


SUM = "a sum over the batch that should be a mean"
TWICE = "divided by the number of samples twice"
MEAN = "a mean over the batch that should be a sum"
OUTPUTS = "a sum over the outputs that should be a mean"
SIGN = "the sign is wrong"
NO_SUM = "the sum over the samples is missing"
AXIS = "the sum is over the wrong axis"
NO_AXIS = "the sum is over all entries, without axis=0"
TRANSPOSE = "a transpose is missing"
WEIGHTS = "a transpose of the weights is missing"
UPDATED = "the layer above was updated before the error passed through it"
LAYER_INPUT = "the input of the layer is z instead of a"


def slope(name: str, fault: str = "is missing") -> str:
    return f"the derivative of {name} {fault}"


AT_Z = "is taken at z instead of a"
AT_A = "is applied twice: a is already its output"

# Functions that take and return W1, b1, W2, b2.
FUNCTIONS = Written(
    """
    def softmax(z):
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def forward(x, W1, b1, W2, b2):
        z1 = x @ W1 + b1
        a1 = np.tanh(z1)
        z2 = a1 @ W2 + b2
        return z1, a1, softmax(z2)

    def backward(x, y, W1, b1, W2, b2):
        z1, a1, p = forward(x, W1, b1, W2, b2)
        dz2 = (p - y) / len(x)
        dW2 = a1.T @ dz2
        db2 = dz2.sum(axis=0)
        dz1 = (dz2 @ W2.T) * (1 - a1**2)
        dW1 = x.T @ dz1
        db1 = dz1.sum(axis=0)
        return dW1, db1, dW2, db2

    def loss(x, y):
        z1, a1, p = forward(x, W1, b1, W2, b2)
        return -np.sum(y * np.log(p)) / len(x)

    W1, b1 = rng.normal(size=(4, 5)), rng.normal(size=5)
    W2, b2 = rng.normal(size=(5, 3)), rng.normal(size=3)
    x = rng.normal(size=(7, 4))
    y = np.eye(3)[rng.integers(0, 3, 7)]
    """,
    "check_gradients(loss, lambda x, y: backward(x, y, W1, b1, W2, b2), x, y, "
    "W1=W1, b1=b1, W2=W2, b2=b2)",
    (
        Mistake("(p - y) / len(x)", "p - y", SUM, "W1, b1, W2, b2"),
        Mistake("(p - y) / len(x)", "(p - y) / len(x)**2", TWICE, "W1, b1, W2, b2"),
        Mistake("(p - y)", "(y - p)", SIGN, "W1, b1, W2, b2"),
        Mistake(
            "(p - y) / len(x)",
            "(p - y) * p * (1 - p) / len(x)",
            "the derivative of softmax twice",
            "W1, b1, W2, b2",
        ),
        Mistake(
            "(p - y) / len(x)",
            "-(y / p) / len(x)",
            "without the derivative of softmax",
            "W1, b1, W2, b2",
        ),
        Mistake(
            "(p - y)", "(a1 @ W2 + b2 - y)", "z - t, without softmax", "W1, b1, W2, b2"
        ),
        Mistake(
            "(p - y)",
            "-y * (1 - p)",
            "the derivative of sigmoid instead of softmax",
            "W1, b1, W2, b2",
        ),
        Mistake("a1.T @ dz2", "dz2.T @ a1", TRANSPOSE, "W2"),
        Mistake("a1.T @ dz2", "z1.T @ dz2", LAYER_INPUT, "W2"),
        Mistake("a1.T @ dz2", "a1.T @ dz2 / len(x)", TWICE, "W2"),
        Mistake("x.T @ dz1", "x.T @ dz1 * len(x)", SUM, "W1"),
        Mistake("dz2.sum(axis=0)", "dz2", NO_SUM, "b2"),
        Mistake("dz1.sum(axis=0)", "dz1.sum(axis=1)", AXIS, "b1"),
        Mistake("dz1.sum(axis=0)", "dz1.sum(axis=1, keepdims=True)", AXIS, "b1"),
        Mistake("dz1.sum(axis=0)", "(dz2 @ W2.T).sum(axis=0)", slope("tanh"), "b1"),
        Mistake(" * (1 - a1**2)", "", slope("tanh"), "W1, b1"),
        Mistake("(1 - a1**2)", "(1 - z1**2)", slope("tanh", AT_Z), "W1, b1"),
        Mistake("(1 - a1**2)", "(1 - np.tanh(a1)**2)", f"tanh {AT_A}", "W1, b1"),
        Mistake(
            "(1 - a1**2)",
            "a1 * (1 - a1)",
            "the derivative of sigmoid instead of tanh",
            "W1, b1",
        ),
        Mistake("(dz2 @ W2.T)", "-(dz2 @ W2.T)", SIGN, "W1, b1"),
    ),
)

# A class that stores its gradients, with a loss of its own.
CLASS = Written(
    """
    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    def sigmoid_derivative(a):
        return a * (1 - a)

    class Network:
        def __init__(self, n_in, n_hidden, n_out):
            self.W1 = rng.normal(size=(n_in, n_hidden))
            self.W2 = rng.normal(size=(n_hidden, n_hidden))
            self.W3 = rng.normal(size=(n_hidden, n_out))
            self.b1 = np.zeros((1, n_hidden))
            self.b2 = np.zeros((1, n_hidden))
            self.b3 = np.zeros((1, n_out))
            self.velocity = np.zeros((n_in, n_hidden))

        def forward(self, X):
            self.X = X
            self.z1 = X @ self.W1 + self.b1
            self.a1 = sigmoid(self.z1)
            self.z2 = self.a1 @ self.W2 + self.b2
            self.a2 = sigmoid(self.z2)
            self.z3 = self.a2 @ self.W3 + self.b3
            self.a3 = sigmoid(self.z3)
            return self.a3

        def loss(self, y_hat, y):
            return np.mean((y_hat - y) ** 2)

        def backward(self, y):
            delta3 = 2 * (self.a3 - y) / y.size * sigmoid_derivative(self.a3)
            self.dW3 = self.a2.T @ delta3
            self.db3 = np.sum(delta3, axis=0, keepdims=True)
            delta2 = delta3 @ self.W3.T * sigmoid_derivative(self.a2)
            self.dW2 = self.a1.T @ delta2
            self.db2 = np.sum(delta2, axis=0, keepdims=True)
            delta1 = delta2 @ self.W2.T * sigmoid_derivative(self.a1)
            self.dW1 = self.X.T @ delta1
            self.db1 = np.sum(delta1, axis=0, keepdims=True)

    X = rng.normal(size=(8, 2))
    y = rng.integers(0, 2, size=(8, 3))
    net = Network(2, 4, 3)
    """,
    "check_gradients(lambda x, y: net.loss(net.forward(x), y), "
    "lambda x, y: net.backward(y), X, y, (net, 'W1 b1 W2 b2 W3 b3'), stored='d{}')",
    (
        Mistake("2 * (self", "(self", "the factor 2", "W1, b1, W2, b2, W3, b3"),
        Mistake("(self.a3 - y)", "(y - self.a3)", SIGN, "W1, b1, W2, b2, W3, b3"),
        Mistake("/ y.size", "/ y.shape[1]", SUM, "W1, b1, W2, b2, W3, b3"),
        Mistake("/ y.size", "/ len(y)", OUTPUTS, "W1, b1, W2, b2, W3, b3"),
        Mistake(
            "2 * (self.a3 - y) / y.size",
            "(self.a3 - y)",
            "p - t, as if",
            "W1, b1, W2, b2, W3, b3",
        ),
        Mistake(
            " * sigmoid_derivative(self.a3)",
            "",
            slope("sigmoid"),
            "W1, b1, W2, b2, W3, b3",
        ),
        Mistake(
            "sigmoid_derivative(self.a3)",
            "sigmoid_derivative(self.z3)",
            slope("sigmoid", AT_Z),
            "W1, b1, W2, b2, W3, b3",
        ),
        Mistake(
            "sigmoid_derivative(self.a1)",
            "sigmoid_derivative(sigmoid(self.a1))",
            f"sigmoid {AT_A}",
            "W1, b1",
        ),
        Mistake("delta2 @ self.W2.T", "delta2 @ self.W2", WEIGHTS, "W1, b1"),
        Mistake("delta3 @ self.W3.T", "-delta3 @ self.W3.T", SIGN, "W1, b1, W2, b2"),
        Mistake("self.a1.T @ delta2", "(self.a1.T @ delta2).T", TRANSPOSE, "W2"),
        Mistake("self.a1.T @ delta2", "self.z1.T @ delta2", LAYER_INPUT, "W2"),
        Mistake(
            "np.sum(delta1, axis=0, keepdims=True)", "np.sum(delta1)", NO_AXIS, "b1"
        ),
        Mistake(
            "np.sum(delta1, axis=0, keepdims=True)",
            "np.mean(delta1, axis=0, keepdims=True)",
            TWICE,
            "b1",
        ),
    ),
)

# The notebook's own functions, for the batches of one that it trains on, in the order
# of textbooks. `layerwise` below is the notebook's own order.
NOTEBOOK = Written(
    """
    def sigmoid(x): # 输入层, 隐藏层的激活函数
        return 1 / (1 + np.exp(-x))

    def softmax(x): # 输出层的激活函数
        exp_x = np.exp(x - np.max(x, axis=1, keepdims=True))  # 减去最大值, 提高数值稳定性
        return exp_x / np.sum(exp_x, axis=1, keepdims=True)

    def cross_entropy_loss(y, y_hat): # 交叉熵损失函数
        return -np.sum(y * np.log(y_hat)) / y.shape[0]  # 平均损失

    def sigmoid_derivative(x): # sigmoid的导数
        return x * (1 - x)

    def softmax_and_cross_entropy_derivative(y, y_hat): # softmax和交叉熵的导数
        return y_hat - y

    def matrix_derivative(x, delta):
        return np.dot(x.T, delta)

    input_size = 8 * 8
    hidden_size = 6
    output_size = 10

    learning_rate = 0.01

    np.random.seed(0)
    weights_input_hidden = np.random.randn(input_size, hidden_size)
    weights_hidden_output = np.random.randn(hidden_size, output_size)
    bias_input_hidden = np.zeros(hidden_size)
    bias_hidden_output = np.zeros(output_size)


    # 前向传播
    def forward(x):
        global weights_input_hidden, weights_hidden_output, bias_input_hidden, bias_hidden_output # global: 用于在函数内部修改全局变量

        # 输入层到隐藏层
        hidden_layer_input = np.dot(x, weights_input_hidden) + bias_input_hidden # 线性方程
        hidden_layer_output = sigmoid(hidden_layer_input) # 激活函数

        # 隐藏层到输出层
        output_layer_input = np.dot(hidden_layer_output, weights_hidden_output) + bias_hidden_output # 线性方程
        output_layer_output = softmax(output_layer_input) # 激活函数

        # return output_output
        return hidden_layer_input, hidden_layer_output, output_layer_input, output_layer_output # 返回每一层的输入和输出, 以便反向传播


    def train(x, y):
        global weights_input_hidden, weights_hidden_output, bias_input_hidden, bias_hidden_output, learning_rate

        # 前向传播
        hidden_layer_input, hidden_layer_output, output_layer_input, output_layer_output = forward(x)

        # 反向传播
        loss = cross_entropy_loss(y, output_layer_output)

        # hidden to output layer
        ## 权重
        delta_hidden_output = softmax_and_cross_entropy_derivative(y, output_layer_output) # 误差: 交叉熵和softmax的导数
        weights_hidden_output_gradient = matrix_derivative(hidden_layer_output, delta_hidden_output) # 矩阵的导数 * 误差
        weights_hidden_output -= learning_rate * weights_hidden_output_gradient # 更新
        ## 偏置 (省略不讲)
        bias_hidden_output_gradient = softmax_and_cross_entropy_derivative(y, output_layer_output)
        bias_hidden_output -= learning_rate * bias_hidden_output_gradient.squeeze() # 更新

        # input to hidden layer (需要从最末尾开始计算)
        ## 权重
        delta_input_hidden = np.dot(delta_hidden_output, weights_hidden_output.T) * sigmoid_derivative(hidden_layer_output) # 误差: 上一层的误差 * 权重的转置 * sigmoid的导数
        weights_input_hidden_gradient = matrix_derivative(x, delta_input_hidden) # 矩阵的导数 * 误差(这里的误差是上一层的误差)
        weights_input_hidden -= learning_rate * weights_input_hidden_gradient # 更新
        ## 偏置 (省略不讲)
        bias_input_hidden_gradient = delta_input_hidden.sum(axis=0) # 求和
        bias_input_hidden -= learning_rate * bias_input_hidden_gradient # 更新

        return loss # 监视训练过程

    train_images = np.random.rand(20, input_size)
    train_labels = np.eye(output_size)[np.random.randint(0, 10, 20)]
    """,
    "check_gradients(lambda x, y: cross_entropy_loss(y, forward(x)[-1]), train, "
    "train_images[:1], train_labels[:1], learning_rate=0.01, "
    "weights_input_hidden=weights_input_hidden, bias_input_hidden=bias_input_hidden, "
    "weights_hidden_output=weights_hidden_output, "
    "bias_hidden_output=bias_hidden_output)",
)
UPDATE = (
    "        weights_hidden_output -= learning_rate * weights_hidden_output_gradient"
    " # 更新\n"
)
HIDDEN = "weights_input_hidden, bias_input_hidden"

# The names of the notebook, which tell no gradient from another.
LONG_NAMES = Written(
    """
    class Network:
        def __init__(self):
            self.weights_input_hidden = rng.normal(size=(4, 5))
            self.bias_input_hidden = np.zeros(5)
            self.weights_hidden_output = rng.normal(size=(5, 3))
            self.bias_hidden_output = np.zeros(3)

        def forward(self, x):
            z1 = x @ self.weights_input_hidden + self.bias_input_hidden
            self.a1 = 1 / (1 + np.exp(-z1))
            z2 = self.a1 @ self.weights_hidden_output + self.bias_hidden_output
            e = np.exp(z2)
            self.p = e / e.sum(axis=1, keepdims=True)
            return self.p

        def backward(self, x, y):
            self.forward(x)
            e2 = (self.p - y) / len(x)
            dW2, db2 = self.a1.T @ e2, e2.sum(axis=0)
            e1 = e2 @ self.weights_hidden_output.T * self.a1 * (1 - self.a1)
            dW1, db1 = x.T @ e1, e1.sum(axis=0)
            return dW1, db1, dW2, db2

        def loss(self, x, y):
            return -np.sum(y * np.log(self.forward(x))) / len(x)

    x, y = rng.normal(size=(5, 4)), np.eye(3)[[0, 1, 2, 1, 0]]
    net = Network()
    names = "weights_input_hidden bias_input_hidden "
    names += "weights_hidden_output bias_hidden_output"
    """,
    "check_gradients(net.loss, net.backward, x, y, (net, names))",
    (
        Mistake("e1.sum(axis=0)", "np.sum(e1)", NO_AXIS, "bias_input_hidden"),
    ),
)

# The notebook's functions in the order of textbooks.
TEXTBOOK = Written(
    NOTEBOOK.text.replace(UPDATE, "").replace(
        "        return loss #", f"{UPDATE}        return loss #"
    ),
    NOTEBOOK.call,
    (
        Mistake(
            " * sigmoid_derivative(hidden_layer_output)", "", slope("sigmoid"), HIDDEN
        ),
        Mistake(
            "sigmoid_derivative(hidden_layer_output)",
            "sigmoid_derivative(hidden_layer_input)",
            slope("sigmoid", AT_Z),
            HIDDEN,
        ),
        Mistake(
            "matrix_derivative(hidden_layer_output, delta_hidden_output)",
            "matrix_derivative(hidden_layer_input, delta_hidden_output)",
            LAYER_INPUT,
            "weights_hidden_output",
        ),
    ),
)

# One layer alone.
LAYER = Written(
    """
    class Linear:
        def __init__(self, n_in, n_out):
            self.W = rng.normal(size=(n_in, n_out))
            self.b = np.zeros(n_out)

        def forward(self, x):
            self.x = x
            return x @ self.W + self.b

        def backward(self, dout):
            self.dW = self.x.T @ dout
            self.db = dout.sum(axis=0)
            return dout @ self.W.T

    x = rng.normal(size=(5, 4))
    layer = Linear(4, 4)
    """,
    "check_gradients(layer.forward, lambda x, error: layer.backward(error), x, None, "
    "(layer, 'W b'), stored='d{}')",
    (
        Mistake("self.x.T @ dout", "dout.T @ self.x", TRANSPOSE, "W"),
        Mistake("self.x.T @ dout", "self.x.T @ dout / len(dout)", MEAN, "W"),
        Mistake("dout.sum(axis=0)", "dout.sum(axis=1)", AXIS, "b"),
        Mistake("dout @ self.W.T", "dout @ self.W", WEIGHTS, "x"),
        Mistake("dout @ self.W.T", "-dout @ self.W.T", SIGN, "x"),
    ),
)
AFFINE_TANH = Written(
    """
    def affine_tanh_forward(x, w, b):
        z = np.dot(x, w) + b
        out = np.tanh(z)
        cache = (x, w, b, z, out)
        return out, cache

    def affine_tanh_backward(dout, cache):
        x, w, b, z, out = cache
        dz = dout * (1 - out**2)
        dx = np.dot(dz, w.T)
        dw = np.dot(x.T, dz)
        db = np.sum(dz, axis=0)
        return dx, dw, db

    w, b = rng.normal(size=(3, 4)), rng.normal(size=4)
    x = rng.normal(size=(5, 3))
    """,
    "check_gradients(lambda x: affine_tanh_forward(x, w, b)[0], lambda x, error: "
    "affine_tanh_backward(error, affine_tanh_forward(x, w, b)[1]), x, w=w, b=b)",
    (
        Mistake("(1 - out**2)", "(1 - z**2)", slope("tanh", AT_Z), "w, b, x"),
        Mistake(" * (1 - out**2)", "", slope("tanh"), "w, b, x"),
        Mistake("(1 - out**2)", "(1 - np.tanh(out)**2)", f"tanh {AT_A}", "w, b, x"),
        Mistake("np.sum(dz, axis=0)", "dz", NO_SUM, "b"),
    ),
)
ACTIVATION = Written(
    """
    class Sigmoid:
        def forward(self, z):
            self.z, self.a = z, 1 / (1 + np.exp(-z))
            return self.a

        def backward(self, grad):
            return grad * self.a * (1 - self.a)

    x = rng.normal(size=(5, 3))
    layer = Sigmoid()
    """,
    "check_gradients(layer.forward, lambda x, error: layer.backward(error), x)",
    (
        Mistake(
            "self.a * (1 - self.a)",
            "self.z * (1 - self.z)",
            slope("sigmoid", AT_Z),
            "x",
        ),
        Mistake(" * self.a * (1 - self.a)", "", slope("sigmoid"), "x"),
    ),
)

# Samples as columns, parameters in a dictionary, a cache.
COLUMNS = Written(
    """
    def sigmoid(Z):
        return 1 / (1 + np.exp(-Z))

    def forward_propagation(X, parameters):
        W1, b1 = parameters["W1"], parameters["b1"]
        W2, b2 = parameters["W2"], parameters["b2"]
        Z1 = np.dot(W1, X) + b1
        A1 = np.maximum(Z1, 0)
        Z2 = np.dot(W2, A1) + b2
        A2 = sigmoid(Z2)
        cache = {"Z1": Z1, "A1": A1, "Z2": Z2, "A2": A2}
        return A2, cache

    def compute_cost(A2, Y):
        m = Y.shape[1]
        return -np.sum(Y * np.log(A2) + (1 - Y) * np.log(1 - A2)) / m

    def backward_propagation(parameters, cache, X, Y):
        m = X.shape[1]
        W2 = parameters["W2"]
        A1, A2, Z1 = cache["A1"], cache["A2"], cache["Z1"]
        dZ2 = A2 - Y
        dW2 = 1 / m * np.dot(dZ2, A1.T)
        db2 = 1 / m * np.sum(dZ2, axis=1, keepdims=True)
        dZ1 = np.dot(W2.T, dZ2) * (Z1 > 0)
        dW1 = 1 / m * np.dot(dZ1, X.T)
        db1 = 1 / m * np.sum(dZ1, axis=1, keepdims=True)
        return {"dW1": dW1, "db1": db1, "dW2": dW2, "db2": db2}

    parameters = {
        "W1": rng.normal(size=(4, 2)), "b1": np.zeros((4, 1)),
        "W2": rng.normal(size=(1, 4)), "b2": np.zeros((1, 1)),
    }
    X = rng.normal(size=(2, 9))
    Y = rng.integers(0, 2, size=(1, 9))
    """,
    "check_gradients("
    "lambda X, Y: compute_cost(forward_propagation(X, parameters)[0], Y), "
    "lambda X, Y: backward_propagation(parameters, "
    "forward_propagation(X, parameters)[1], X, Y), X, Y, parameters, samples=-1)",
    (
        Mistake("A2 - Y", "Y - A2", SIGN, "W1, b1, W2, b2"),
        Mistake(
            "1 / m * np.sum(dZ1, axis=1, keepdims=True)",
            "np.sum(dZ1, axis=1, keepdims=True)",
            SUM,
            "b1",
        ),
        Mistake("np.sum(dZ1, axis=1, keepdims=True)", "dZ1", NO_SUM, "b1"),
        Mistake(" * (Z1 > 0)", "", slope("relu"), "W1, b1"),
        Mistake("np.dot(dZ1, X.T)", "np.dot(X, dZ1.T)", TRANSPOSE, "W1"),
        Mistake(
            "dZ2 = A2 - Y",
            "dZ2 = (A2 - Y) * A2 * (1 - A2)",
            "the derivative of sigmoid twice",
            "W1, b1, W2, b2",
        ),
        Mistake(
            "(Z1 > 0)",
            "A1 * (1 - A1)",
            "the derivative of sigmoid instead of relu",
            "W1, b1",
        ),
    ),
)

# Parameters in a dictionary of the object; integer labels; loss and gradient methods.
TWO_LAYER_NET = Written(
    """
    class TwoLayerNet:
        def __init__(self, input_size, hidden_size, output_size, std=0.5):
            self.params = {}
            self.params["W1"] = std * rng.normal(size=(input_size, hidden_size))
            self.params["b1"] = np.zeros(hidden_size)
            self.params["W2"] = std * rng.normal(size=(hidden_size, output_size))
            self.params["b2"] = np.zeros(output_size)

        def predict(self, x):
            h = 1 / (1 + np.exp(-(x @ self.params["W1"] + self.params["b1"])))
            s = np.exp(h @ self.params["W2"] + self.params["b2"])
            return s / s.sum(axis=1, keepdims=True)

        def loss(self, x, t):
            y = self.predict(x)
            return -np.sum(np.log(y[np.arange(len(t)), t])) / len(t)

        def accuracy(self, x, t):
            return np.mean(self.predict(x).argmax(axis=1) == t)

        def gradient(self, x, t):
            grads = {}
            z = x @ self.params["W1"] + self.params["b1"]
            h = 1 / (1 + np.exp(-z))
            dy = self.predict(x)
            dy[np.arange(len(t)), t] -= 1
            dy /= len(t)
            grads["W2"] = np.dot(h.T, dy)
            grads["b2"] = np.sum(dy, axis=0)
            dz = np.dot(dy, self.params["W2"].T) * h * (1 - h)
            grads["W1"] = np.dot(x.T, dz)
            grads["b1"] = np.sum(dz, axis=0)
            return grads

    x = rng.normal(size=(6, 4))
    t = rng.integers(0, 3, size=6)
    net = TwoLayerNet(4, 5, 3)
    """,
    "check_gradients(net.loss, net.gradient, x, t, (net, 'params'))",
    (
        Mistake(
            "dy /= len(t)\n", "\n", SUM, "params.W1, params.b1, params.W2, params.b2"
        ),
        Mistake(
            "dy[np.arange(len(t)), t] -= 1",
            "dy -= t[:, None]",
            "the labels are not one-hot",
            "params.W1, params.b1, params.W2, params.b2",
        ),
        Mistake(" * h * (1 - h)", "", slope("sigmoid"), "params.W1, params.b1"),
        Mistake(
            "* h * (1 - h)",
            "* z * (1 - z)",
            slope("sigmoid", AT_Z),
            "params.W1, params.b1",
        ),
        Mistake("np.sum(dz, axis=0)", "np.sum(dz, axis=1)", AXIS, "params.b1"),
    ),
)

# Lists of weights, one column at a time, as in a well-known book.
LISTS = Written(
    """
    def sigmoid(z):
        return 1.0 / (1.0 + np.exp(-z))

    class Network:
        def __init__(self, sizes):
            self.num_layers = len(sizes)
            self.sizes = sizes
            self.biases = [rng.normal(size=(y, 1)) for y in sizes[1:]]
            self.weights = [rng.normal(size=(y, x)) for x, y in zip(sizes[:-1], sizes[1:])]

        def feedforward(self, a):
            for b, w in zip(self.biases, self.weights):
                a = sigmoid(np.dot(w, a) + b)
            return a

        def cost(self, output_activations, y):
            return 0.5 * np.sum((output_activations - y) ** 2)

        def backprop(self, x, y):
            nabla_b = [np.zeros(b.shape) for b in self.biases]
            nabla_w = [np.zeros(w.shape) for w in self.weights]
            activation = x
            activations = [x]
            zs = []
            for b, w in zip(self.biases, self.weights):
                z = np.dot(w, activation) + b
                zs.append(z)
                activation = sigmoid(z)
                activations.append(activation)
            s = sigmoid(zs[-1])
            delta = (activations[-1] - y) * s * (1 - s)
            nabla_b[-1] = delta
            nabla_w[-1] = np.dot(delta, activations[-2].transpose())
            for l in range(2, self.num_layers):
                s = sigmoid(zs[-l])
                delta = np.dot(self.weights[-l+1].transpose(), delta) * s * (1 - s)
                nabla_b[-l] = delta
                nabla_w[-l] = np.dot(delta, activations[-l-1].transpose())
            return (nabla_b, nabla_w)

    x, y = rng.normal(size=(4, 1)), np.eye(3)[:, :1]
    net = Network([4, 6, 5, 3])
    """,
    "check_gradients(lambda x, y: net.cost(net.feedforward(x), y), net.backprop, x, y, "
    "(net, 'biases weights'), samples=-1)",
    (
        Mistake(
            "(activations[-1] - y)",
            "(y - activations[-1])",
            SIGN,
            "weights[0], biases[0], weights[1], biases[1], weights[2], biases[2]",
        ),
        Mistake(
            "activations[-2].transpose()",
            "zs[-2].transpose()",
            LAYER_INPUT,
            "weights[2]",
        ),
        Mistake(
            "- y) * s * (1 - s)",
            "- y)",
            slope("sigmoid"),
            "weights[0], biases[0], weights[1], biases[1], weights[2], biases[2]",
        ),
    ),
)

# Layers as objects in a list, square weights, relu.
LAYERS = Written(
    """
    class Dense:
        def __init__(self, n_in, n_out):
            self.weights = rng.normal(size=(n_in, n_out)) * np.sqrt(2 / n_in)
            self.bias = np.zeros((1, n_out))

        def forward(self, inputs):
            self.inputs = inputs
            return inputs @ self.weights + self.bias

        def backward(self, grad):
            self.grad_weights = self.inputs.T @ grad
            self.grad_bias = grad.sum(axis=0, keepdims=True)
            return grad @ self.weights.T

    class ReLU:
        def forward(self, inputs):
            self.mask = inputs > 0
            return inputs * self.mask

        def backward(self, grad):
            return grad * self.mask

    class Model:
        def __init__(self):
            self.layers = [Dense(4, 4), ReLU(), Dense(4, 4), ReLU(), Dense(4, 3)]

        def forward(self, x):
            for layer in self.layers:
                x = layer.forward(x)
            return x

        def backward(self, y_hat, y):
            grad = (y_hat - y) / len(y)
            for layer in reversed(self.layers):
                grad = layer.backward(grad)

    def mse(y_hat, y):
        return 0.5 * np.sum((y_hat - y) ** 2) / len(y)

    x, y = rng.normal(size=(6, 4)), rng.normal(size=(6, 3))
    model = Model()
    """,
    "check_gradients(lambda x, y: mse(model.forward(x), y), "
    "lambda x, y: model.backward(model.forward(x), y), x, y, "
    "[(layer, 'weights bias') for layer in model.layers[::2]], stored='grad_{}')",
    (
        Mistake(
            "(y_hat - y) / len(y)\n        for",
            "(y_hat - y)\n        for",
            SUM,
            "[0].weights, [0].bias, [1].weights, "
            "[1].bias, [2].weights, [2].bias",
        ),
        Mistake(
            "(y_hat - y) / len(y)\n        for",
            "2 * (y_hat - y) / len(y)\n        for",
            "a factor 2 too much",
            "[0].weights, [0].bias, [1].weights, "
            "[1].bias, [2].weights, [2].bias",
        ),
    ),
)

# One function with the loss and the gradients, and an update of global variables.
ONE_FUNCTION = Written(
    """
    class Classifier:
        def __init__(self):
            self.W1, self.b1 = rng.normal(size=(3, 6)), np.zeros(6)
            self.W2, self.b2 = rng.normal(size=(6, 4)), np.zeros(4)

        def objective(self, X, y):
            hidden = np.maximum(0, X.dot(self.W1) + self.b1)
            scores = hidden.dot(self.W2) + self.b2
            p = np.exp(scores - scores.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            loss = -np.log(p[range(len(X)), y]).mean()
            grads = {}
            dscores = p.copy()
            dscores[range(len(X)), y] -= 1
            dscores /= len(X)
            grads["W2"] = hidden.T.dot(dscores)
            grads["b2"] = dscores.sum(axis=0)
            dhidden = dscores.dot(self.W2.T)
            dhidden[hidden <= 0] = 0
            grads["W1"] = X.T.dot(dhidden)
            grads["b1"] = dhidden.sum(axis=0)
            return loss, grads

    X, y = rng.normal(size=(5, 3)), rng.integers(0, 4, 5)
    net = Classifier()
    """,
    "check_gradients(lambda X, y: net.objective(X, y)[0], "
    "lambda X, y: net.objective(X, y)[1], X, y, (net, 'W1 b1 W2 b2'))",
    (
        Mistake("dscores /= len(X)", "", SUM, "W1, b1, W2, b2"),
        Mistake("dhidden[hidden <= 0] = 0", "", slope("relu"), "W1, b1"),
        Mistake("hidden.T.dot(dscores)", "dscores.T.dot(hidden)", TRANSPOSE, "W2"),
        Mistake("dhidden.sum(axis=0)", "dhidden.sum()", NO_AXIS, "b1"),
    ),
)
UPDATES = Written(
    """
    def forward(x, W1, b1, W2, b2):
        h = np.tanh(x @ W1 + b1)
        s = np.exp(h @ W2 + b2)
        return h, s / s.sum(axis=1, keepdims=True)

    def loss(y, y_hat):
        return -np.mean(np.sum(y * np.log(y_hat), axis=1))

    def step(x, y, lr=0.5):
        global W1, b1, W2, b2
        h, p = forward(x, W1, b1, W2, b2)
        e2 = (p - y) / len(x)
        gW2, gb2 = h.T @ e2, e2.sum(axis=0)
        e1 = e2 @ W2.T * (1 - h**2)
        W2, b2 = W2 - lr * gW2, b2 - lr * gb2
        W1, b1 = W1 - lr * (x.T @ e1), b1 - lr * e1.sum(axis=0)

    W1, b1 = rng.normal(size=(3, 5)), np.zeros(5)
    W2, b2 = rng.normal(size=(5, 2)), np.zeros(2)
    x, y = rng.normal(size=(4, 3)), np.eye(2)[[0, 1, 1, 0]]
    """,
    "check_gradients(lambda x, y: loss(y, forward(x, W1, b1, W2, b2)[1]), step, x, y, "
    "(sys.modules[__name__], 'W1 b1 W2 b2'), learning_rate=0.5)",
    (
        Mistake(
            "e1 = e2 @ W2.T * (1 - h**2)\n    W2, b2 = W2 - lr * gW2, b2 - lr * gb2",
            "W2, b2 = W2 - lr * gW2, b2 - lr * gb2\n    e1 = e2 @ W2.T * (1 - h**2)",
            UPDATED,
            "W1, b1",
        ),
        Mistake("(p - y) / len(x)", "(p - y)", SUM, "W1, b1, W2, b2"),
        Mistake("W2 - lr", "W2 + lr", SIGN, "W2"),
    ),
)
PROGRAMS = {
    name.lower(): value
    for name, value in list(globals().items())
    if isinstance(value, Written)
}

# Short programs begin with this.
START = """
def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)

def f(x, W, b):
    return softmax(x @ W + b)

def g(x, y, W, b):
    d = (f(x, W, b) - y) / len(y)
    dW, db = x.T @ d, d.sum(axis=0)
    return dW, db

def deep(x, A, a, B, c):
    h = np.tanh(x @ A + a)
    return h, softmax(h @ B + c)

def deep_gradients(x, y, A, a, B, c):
    h, p = deep(x, A, a, B, c)
    d = (p - y) / len(y)
    e = d @ B.T * (1 - h**2)
    return x.T @ e, e.sum(axis=0), h.T @ d, d.sum(axis=0)

def square(y_hat, y):
    return np.mean((y_hat - y) ** 2)

def predict(x):
    return softmax(x @ W)

def none(x, y):
    return None

x, T = rng.normal(size=(6, 4)), rng.normal(size=(6, 3))
Y = np.eye(3)[[0, 1, 2, 0, 1, 2]]
W, b = rng.normal(size=(4, 3)), rng.normal(size=3)
P = [rng.normal(size=(4, 3)), np.zeros(3), rng.normal(size=(3, 3)), np.zeros(3)]
mask = np.array([[2.0, 0, 0.5, 1]])

class Net:
    def __init__(self):
        self.W, self.b, self.lr = W.copy(), b.copy(), 0.1
        self.vW, self.vb = 0 * W, 0 * b

    def forward(self, x):
        self.x, self.p = x, f(x, self.W, self.b)
        return self.p

    def keep(self, x, y):
        self.dW, self.db = g(x, y, self.W, self.b)

class Linear(Net):
    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def errors(self, e):
        return self.x.T @ e, e.sum(axis=0), e @ self.W.T
"""


def program(text: str, call: str) -> Written:
    """Return a short program."""
    return Written(START + textwrap.dedent(text), call)
