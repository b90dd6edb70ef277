"""What `check_gradients` asks about a program, in one line with a remedy."""

import pytest
from beginners import program
from helpers import pattern

from mlp_xp import MlpXpError

RATES = """
RATE = 0.1
def train(x, y):
    global W
    W = W - RATE * x.T @ (predict(x) - y) / len(x)
"""

# A program, the call, and how the message begins.
QUESTIONS = {
    # The loss.
    "outputs that are no probabilities": (
        "def linear(x): return x @ W",
        "check_gradients((linear, none), x, Y)",
        "loss: your outputs are not probabilities of classes; give your own, as in",
    ),
    "labels from 1": (
        "def g(x, y, W, b): return x.T @ (f(x, W, b) - np.eye(3)[y - 1])",
        "check_gradients((f, g), x, Y.argmax(axis=1) + 1, (W, b))",
        "y: has labels 1 to 3, for 3 outputs; give whole numbers from 0 to 2",
    ),
    "one-hot labels of too few classes": (
        "def g(x, y, W, b): return x.T @ (f(x, W, b)[:, :2] - y)",
        "check_gradients((f, g), x, Y[:, :2], (W, b))",
        "y: its shape (6, 2) does not fit outputs of shape (6, 3); give a label",
    ),
    "a class": (
        "",
        "check_gradients(Net, x, Y)",
        "code: is a class; give an object, Net(...)",
    ),
    "an empty batch": (
        "",
        "check_gradients((f, g), x[:0], Y[:0], (W, b))",
        "x: is array([], ... give a batch of inputs",
    ),
    "a loss without a return": (
        "",
        "check_gradients((f, g), x, Y, (W, b), loss=lambda y_hat, y: None)",
        "loss: returns None; end it with a return of one number",
    ),
    "a loss that is text": (
        "",
        "check_gradients((f, g), x, Y, (W, b), loss=lambda y_hat, y: 'low')",
        "loss: is 'low'; return one number",
    ),
    "a forward function without a return": (
        "def f(x, W, b): softmax(x @ W + b)",
        "check_gradients((f, none), x, Y, (W, b))",
        "code: no outputs and no loss are known; end forward with a return",
    ),
    "labels that are text": (
        "",
        "check_gradients((f, g), x, np.array(list('abcabc')), (W, b))",
        "y: is array(['a', 'b', ... give the targets, an array of numbers",
    ),
    "inputs of different lengths": (
        "",
        "check_gradients((f, g), [[1, 2], [3]], Y, (W, b))",
        "x: is [[1, 2], [3]]; give a batch of inputs",
    ),
    "a function without known arguments": (
        "",
        "check_gradients((max, min), x, Y)",
        "code: the arguments of max are not known; give a function of Python",
    ),
    "two names of targets": (
        "def back(x, labels, one_hot): return g(x, one_hot, W, b)",
        "check_gradients((predict, back), x, Y)",
        "code: back: cannot tell which argument is y: 'labels', 'one_hot'; call the",
    ),
    "a learning rate of 0": (
        "",
        "check_gradients((f, g), x, Y, (W, b), learning_rate=0)",
        "learning_rate: is 0; give the learning rate of the update",
    ),
    "targets without the axis of the outputs": (
        "def linear(x): return x @ W[:, :1]",
        "check_gradients((linear, none), x, T[:, 0])",
        "loss: your outputs are not probabilities of classes; give your own, as in "
        "loss=lambda y, y_hat: np.mean((y_hat - y.reshape(y_hat.shape)) ** 2)",
    ),
    "softmax over the samples": (
        "def forward(x, W, b): return softmax((x @ W + b).T).T",
        "check_gradients((forward, g), x, Y, (W, b))",
        "loss: your outputs sum to 1 over the samples, not over the classes; change",
    ),
    "a sample without the axis of a batch": (
        "def forward(x): return softmax((x @ W)[None])[0]",
        "check_gradients((forward, none), x[0], Y[0])",
        "loss: your outputs have one axis; give loss=, or a batch such as",
    ),
    "a loss of each sample": (
        "",
        "check_gradients((softmax, none), Y, Y, loss=lambda y_hat, y: y_hat[0])",
        "loss: is an array of 3 numbers; return one",
    ),
    "a random loss": (
        "def noisy(x): return softmax(x @ W + np.random.normal(size=3))",
        "check_gradients((noisy, none), x, Y)",
        "code: the loss changes from run to run",
    ),
    "a loss without parameters": (
        "",
        "check_gradients((softmax, none), T, Y)",
        "parameters: the loss depends on no array",
    ),
    "a label of 0 that is not one-hot": (
        "",
        "check_gradients((f, g), x[:1], np.zeros(1, int), (W, b), "
        "loss=lambda p, y: -np.sum(y * np.log(p)))",
        "parameters: the loss depends on no array",
    ),
    "a rounded loss": (
        "def loss(y_hat, y): return round(square(y_hat, y), 4)",
        "check_gradients((f, g), x, Y, (W, b), loss=loss)",
        "loss: has few digits; return it without round",
    ),
    # Arguments.
    "an error in the code": (
        "def failing(): raise ZeroDivisionError('division by zero')",
        "check_gradients((predict, failing), x, Y)",
        "code: failing raised ZeroDivisionError",
    ),
    "code for a single sample": (
        "def train(x, y): x.reshape(4)",
        "check_gradients((predict, train), x, Y)",
        "code: train raised ValueError ... a single sample",
    ),
    "a single sample for code of a batch": (
        "",
        "check_gradients((f, g), x[0], Y[0], (W, b))",
        "code: f raised AxisError ... a batch of a single sample, as X[:1] and Y[:1]",
    ),
    "labels that should be one-hot": (
        "",
        "check_gradients((f, g), x, Y.argmax(axis=1), (W, b))",
        "code: g raised ValueError ... it runs with one-hot labels, np.eye",
    ),
    "a label too large to be made one-hot": (
        "",
        "check_gradients((f, g), x, np.array([0, 1, 2, 0, 1, 10**9]), (W, b))",
        "code: g raised ValueError",
    ),
    "data without usual names": (
        "def unnamed(first, second): return first @ W",
        "check_gradients((predict, unnamed), x, Y)",
        "code: unnamed: cannot tell which argument is x or y: 'first', 'second'; c",
    ),
    "more arguments than values": (
        "def with_more(x, strange, other): return x @ W",
        "check_gradients((with_more, none), x, Y)",
        "code: with_more: no value is known for 'other'; give",
    ),
    "a dictionary for one of two arguments": (
        "def two_left(x, q, r): return softmax(x @ q @ r)",
        "check_gradients((two_left, none), x, Y, {'W': W})",
        "parameters: two_left: cannot tell which argument is the dictionary: 'q', 'r'; "
        "call it `para",
    ),
    "forgotten targets": (
        "",
        "check_gradients((f, g), x, parameters=(W, b))",
        "code: g: no value is known for 'y'; give y",
    ),
    "targets of an unusual name": (
        """
        class Own(Net):
            def backward(self, wanted):
                self.keep(self.x, wanted)
        """,
        "check_gradients(Own(), x, Y)",
        "code: backward: cannot tell which argument is y: 'wanted'; call it y, or",
    ),
    "targets of an unusual name in the loss": (
        "def loss(y_hat, wanted): return square(y_hat, wanted)",
        "check_gradients((f, g), x, Y, (W, b), loss=loss)",
        "code: loss: cannot tell which argument is y: 'wanted'; call the",
    ),
    "an autoencoder without targets": (
        """
        class Own(Linear):
            def backward(self):
                self.dW, self.db, _ = self.errors(2 * (self.x @ self.W - self.x))
        """,
        "check_gradients(Own(), x, loss=square)",
        "code: backward: no argument takes an error; give y, or x as y for an",
    ),
    "too few parameters": (
        "",
        "check_gradients((deep, deep_gradients), x, Y, P[:3])",
        "parameters: deep does not take 3 parameters; give one for each",
    ),
    # Gradients.
    "no gradients": (
        "",
        "check_gradients((predict, none), x, Y)",
        "code: no gradient of 'W' is returned or stored; call it dW",
    ),
    "no gradient of a number": (
        "def only(x, y, W, b): return g(x, y, W, b)[0]",
        "check_gradients((f, only), x, Y, (W, np.array(0.0)))",
        "code: no gradient of 'b' is returned or stored; call it db",
    ),
    "gradients in another order": (
        "def turned(x, y, W, b): return [*g(x, y, W, b)][::-1]",
        "check_gradients((f, turned), x, Y, (W, b))",
        "code: the shapes of the gradients are not in the order of the parameters; "
        "return W, b in this order",
    ),
    "no outputs": (
        """
        class Own(Linear):
            def forward(self, inputs):
                self.inputs = inputs
            backward = Linear.errors
        """,
        "check_gradients(Own(), x)",
        "code: forward returns no array; return the outputs",
    ),
    "a momentum that runs": (
        """
        class Own(Net):
            def train(self, x, y):
                dW, db = g(x, y, self.W, self.b)
                self.vW, self.vb = 0.9 * self.vW - 0.1 * dW, 0.9 * self.vb - 0.1 * db
                self.W += self.vW
                self.b += self.vb
        net = Own()
        for _ in range(3): net.train(x, Y)
        """,
        "check_gradients(net, x, Y)",
        "code: the update changes 'vW', too, as an optimizer does; return or store",
    ),
    "a square layer with as many samples": (
        """
        class Own(Linear):
            def __init__(self): self.W, self.b = rng.normal(size=(4, 4)), 0
            def backward(self, d): return self.x.T @ d, d @ self.W.T
        """,
        "check_gradients(Own(), x[:4])",
        "code: the gradient of x may be the first array ... or the last; give another",
    ),
    # The learning rate.
    "a rate of another name": (
        RATES.replace("RATE", "speed"),
        "check_gradients((predict, train), x, Y)",
        "learning_rate: backward changes the parameters; give",
    ),
    "a rate without a value": (
        RATES.replace("(x, y)", "(x, y, lr)"),
        "check_gradients((predict, train), x, Y)",
        "learning_rate: train needs a value for 'lr'; give",
    ),
    "one of two rates": (
        RATES.replace("RATE", "learning_rate")
        + "eta = 0.01\ndef other(x): return softmax(x @ W + 0 * eta)",
        "check_gradients((other, train), x, Y)",
        "learning_rate: the learning rate may be eta or learning_rate; give it, as in",
    ),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_program_is_asked_about(name):
    text, call, said = QUESTIONS[name]
    with pytest.raises(MlpXpError, match=rf"\A{pattern(said)}.*\Z"):
        program(text, call).check()
