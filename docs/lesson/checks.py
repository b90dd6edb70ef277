"""The checks of the lesson. Each says what is missing or wrong, and else `right`.

A check takes the functions of a step. It stops at the first thing that is wrong. A
number that a usual mistake gives is recognised, and the mistake is named.

A message is a pair, English and Chinese. `set_language` chooses. 每条消息有英文和中文。
"""

import functools
import inspect
import time
import traceback
from copy import deepcopy
from pathlib import Path

import numpy as np
from IPython.display import display
from threadpoolctl import threadpool_limits

from mlp_xp import MlpXpError, check_gradients

# Products as small as the lesson's are quicker on one thread: several would only wait
# for each other.
threadpool_limits(1)

LANGUAGES = ("en", "zh")
chosen = {"language": "en"}


# What the checks are made of.


def set_language(language):
    """Choose the language of the messages: "en" or "zh"."""
    chosen["language"] = LANGUAGES[LANGUAGES.index(language)]


def words(text, /, **values):
    """Return a text in the chosen language, with values in its braces."""
    if isinstance(text, tuple):
        text = text[LANGUAGES.index(chosen["language"])]
    return text.format(**values) if values else text


class AnswerError(Exception):
    """Ends a check, with the words to print, if any."""


def stop(english, chinese, /, **values):
    """End the check with a message."""
    raise AnswerError(words((english, chinese), **values))


def check(step):
    """Let a check print a message in place of a traceback."""

    @functools.wraps(step)
    def run(*arguments):
        functions = [each for each in arguments if inspect.isfunction(each)]
        try:
            step(*arguments)
        except AnswerError as stopped:
            if str(stopped):
                print(stopped)
        except MlpXpError as error:
            print(words(("wrong: {error}", "wrong（错）：{error}"), error=error))
            locate(error, functions)
        except Exception as error:
            text = "wrong: {kind}: {error}", "wrong（错）：{kind}: {error}"
            print(words(text, kind=type(error).__name__, error=error))
            locate(error, functions)

    return run


def locate(error, functions):
    """Print the first line of the student's functions that led to an error."""
    if any(word in str(error) for word in ("shape", "dimension")):
        print(
            words(
                (
                    "The shapes do not fit: "
                    "think of keepdims=True, .T, and x[i : i + 1].",
                    "形状对不上：想一想 keepdims=True、.T 和 x[i : i + 1]。",
                )
            )
        )
    files = {each.__code__.co_filename for each in functions}
    frames = traceback.extract_tb(error.__traceback__)
    if error.__cause__:  # the student's own error, inside `check_gradients`
        frames = traceback.extract_tb(error.__cause__.__traceback__) + frames
    for frame in [each for each in frames if each.filename in files][:1]:
        text = "{name}, line {line}: {code}", "{name}，第 {line} 行：{code}"
        print(words(text, name=frame.name, line=frame.lineno, code=frame.line))


def kind_of(value):
    """Return whether a value is an array, a number, or of another type."""
    if isinstance(value, (int, float, np.generic, np.ndarray)):
        return "array" if np.ndim(value) else "number"
    return type(value).__name__


def form(value):
    """Describe a value: an array by its shape, a tuple by its parts."""
    if isinstance(value, tuple):
        return f"({', '.join(map(form, value))})"
    if isinstance(value, list):
        return f"[{form(value[0])}, ...]" if value else "[]"
    if kind_of(value) == "array":
        return words(("array {shape}", "数组 {shape}"), shape=value.shape)
    if kind_of(value) == "number":
        return words(("a number", "一个数"))
    return kind_of(value)


def fits(value, example):
    """Return whether a value has the parts of an example, in their order."""
    if isinstance(example, tuple):
        if not isinstance(value, (tuple, list)) or len(value) != len(example):
            return False
        own, right = [*map(form, value)], [*map(form, example)]
        in_order = own == right or sorted(own) != sorted(right)
        return in_order and all(map(fits, value, example))
    if isinstance(example, list):
        is_list = isinstance(value, (list, np.ndarray)) and len(value) > 0
        return is_list and all(fits(each, example[0]) for each in value)
    return kind_of(value) == kind_of(example)


def is_unchanged(value, other):
    """Return whether the arrays of two values are equal, up to rounding."""
    if isinstance(value, tuple):
        return all(map(is_unchanged, value, other))
    if not isinstance(value, np.ndarray):
        return True
    is_like = value.shape == other.shape
    return is_like and np.allclose(value, other, rtol=0, atol=1e-12)


def require(example, function, *arguments):
    """Stop at a function that is empty, or returns something else than the example."""
    name, given = function.__name__, deepcopy(arguments)
    result = function(*given)
    if result is None:
        stop(
            "{name}: still empty, or print in place of return; end it with a return",
            "{name}：still empty（还是空的），或者把 return 写成了 print；"
            "最后要用 return 返回结果",
            name=name,
        )
    if not fits(result, example):
        stop(
            "{name}: wrong: returned {own}, not {right}",
            "{name}：wrong（错）：返回了 {own}，应当是 {right}",
            name=name,
            own=form(result),
            right=form(example),
        )
    if not all(map(is_unchanged, arguments, given)):
        stop(
            "{name}: wrong: the caller's array was changed, as by -=; "
            "z - ... makes a new one",
            "{name}：wrong（错）：改动了调用者的数组，-= 就会这样；"
            "z - ... 会生成新的数组",
            name=name,
        )
    return result


def verdict(name, number, right, usual=None):
    """Print a number, and stop if it is wrong.

    usual: the numbers that usual mistakes give, and what they mean.
    """
    name = words(name)
    if np.ndim(number):
        stop(
            "{name}: wrong: returned {own}, not a number",
            "{name}：wrong（错）：返回了 {own}，应当是一个数",
            name=name,
            own=form(number),
        )
    if is_close(number, right):
        text = "{name} is {number:.5g}: right", "{name} 是 {number:.5g}：right"
        print(words(text, name=name, number=number))
        return
    meaning = "; it is no usual mistake", "；不属于已知的常见错误"
    if usual is None:
        meaning = ""
    for known, text in (usual or {}).items():
        if is_close(number, known):
            meaning = f": {text[0]}", f"：{text[1]}"
            break
    stop(
        "{name} is {number:.5g}: wrong, {right:.5g} is right{meaning}",
        "{name} 是 {number:.5g}：wrong（错），正确的是 {right:.5g}{meaning}",
        name=name,
        number=number,
        right=right,
        meaning=words(meaning),
    )


def is_close(number, other):
    """Return whether two numbers are equal to four digits."""
    return np.isclose(number, other, rtol=1e-4, atol=1e-6, equal_nan=True)


def compare_shapes(name, own, right):
    """Stop if an array has another shape than the right one."""
    if np.shape(own) != np.shape(right):
        stop(
            "{name}: wrong: its shape is {own}, not {right}",
            "{name}：wrong（错）：形状是 {own}，应当是 {right}",
            name=name,
            own=np.shape(own),
            right=np.shape(right),
        )


def compare(name, own, right, most, meaning):
    """Print the largest error of an array. Stop if it is more than `most`."""
    compare_shapes(name, own, right)
    distance = np.max(np.abs(own - right))
    if not distance <= most:
        stop(
            "{name}: wrong: the largest error is {distance:.1g}{meaning}",
            "{name}：wrong（错）：最大误差是 {distance:.1g}{meaning}",
            name=name,
            distance=distance,
            meaning=words(meaning),
        )
    text = (
        "{name}: right, to {distance:.1g}",
        "{name}：right，误差不超过 {distance:.1g}",
    )
    print(words(text, name=name, distance=distance))


def show(report):
    """Show a report of `check_gradients`. Stop if a gradient is wrong."""
    display(report)
    if not report:
        raise AnswerError


# Write it yourself.


@check
def step_1(softmax, cross_entropy):
    """Check the probabilities and the loss."""
    z = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.5, 0.2, 0.1], [1.0, 0.0, 2.0]])
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3], [0.1, 0.8, 0.1]])
    y = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1]])

    alone = (
        "exp without the sum of its row below the line",
        "只算了 exp，漏了除以每一行的和",
    )
    columns = (
        "divided by the sums of the columns, not of the rows",
        "除以了每一列的和，而不是每一行的和",
    )
    whole = (
        "divided by the sum of the whole array, not of each row",
        "除以了整个数组的和，而不是每一行的和",
    )
    one = (
        "divided by the sum of one row; each row has its own",
        "除以了某一行的和；每一行有自己的和",
    )
    shift = np.array([[1000], [0], [0], [0]])

    require(z, softmax, z)
    require(0.0, cross_entropy, p, y)
    verdict(
        "np.sum(softmax(z) ** 2)",
        np.sum(softmax(z) ** 2),
        2.091583,
        {
            5.326237: alone,
            543.22377: alone,
            1.098245: columns,
            1.494276: columns,
            0.122174: whole,
            0.217343: whole,
            2.357102: one,
            4.403103: one,
        },
    )
    with np.errstate(all="ignore"):
        large = softmax(z + shift)
    verdict(
        "np.sum(softmax(z + [[1000], [0], [0], [0]]) ** 2)",
        np.sum(large**2),
        2.091583,
        {
            np.nan: (
                "exp overflows, or gives 0 in a whole row; "
                "subtract the largest z of each row first",
                "exp 溢出了，或者在某一行全是 0；请先减去每一行最大的 z",
            )
        },
    )
    verdict(
        "cross_entropy(p, y)",
        cross_entropy(p, y),
        0.965808,
        {
            3.863233: (
                "a sum over the samples that should be a mean",
                "对样本求了和，应当取平均",
            ),
            0.321936: (
                "a mean over all numbers; divide by the samples only",
                "对所有数取了平均；只应除以样本数",
            ),
            -0.965808: ("the sign is wrong", "符号反了"),
            4.155238: (
                "y is missing, which picks the right class",
                "漏了用来选出正确类别的 y",
            ),
            0.445948: (
                "the largest p of each row is taken, not the one of the right class",
                "取了每一行最大的 p，而不是正确类别的 p",
            ),
            1.393367: (
                "a logarithm to base 2; np.log is the natural one",
                "用了以 2 为底的对数；自然对数是 np.log",
            ),
            0.089169: (
                "return inside the loop, after the first sample",
                "return 写在了循环里面，只算了第一个样本",
            ),
        },
    )
    verdict(
        "cross_entropy(p[:2], y[:2])",
        cross_entropy(p[:2], y[:2]),
        0.43375,
        {
            0.216875: (
                "divided by a fixed number; the samples are the rows of p, p.shape[0]",
                "除以了固定的数；样本数是 p 的行数，p.shape[0]",
            )
        },
    )


@check
def step_2(numerical_gradient, output_error, softmax, cross_entropy):
    """Check the central differences and the derivative of the loss."""
    w = np.array([[0.5, -1.0, 2.0], [1.0, 0.25, -0.5]])
    factors = np.array([[1, 2, 3], [4, 5, 6]])

    def cubes(w):
        return np.sum(factors * w**3)

    def size(w):
        return np.sum(np.abs(w))

    own = require(w, numerical_gradient, cubes, w)
    right = 3 * factors * w**2
    compare_shapes("numerical_gradient", own, right)
    several = "several numbers of w are moved at once", "一次移动了 w 中的多个数"
    one_sided = (
        "a one-sided difference: move w up, and down too",
        "这是单侧差分：w 要向上移动，也要向下移动",
    )
    if not abs(own[0, 2] - 36) < 1:
        verdict(
            ("the derivative of 3 w ** 3 at w = 2", "3 w ** 3 在 w = 2 处的导数"),
            own[0, 2],
            36,
            {
                0: ("f does not see the moved number", "f 没有用到移动之后的数"),
                -36: ("the sign is wrong", "符号反了"),
                18: ("divided by 4 h", "除以了 4 h"),
                72: ("divided by h; both ends are 2 h apart", "除以了 h；两端相距 2 h"),
                60.1875: several,
                42.75: several,
                40.5: several,
            },
        )
    verdict(
        ("the slope of abs(w) at w = 0", "abs(w) 在 w = 0 处的斜率"),
        numerical_gradient(size, np.zeros((1, 1)))[0, 0],
        0,
        {1: one_sided, -1: one_sided},
    )
    compare(
        "numerical_gradient",
        own,
        right,
        1e-6,
        ("; h is too large or too small, 1e-5 is good", "；h 太大或太小，1e-5 合适"),
    )

    z = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.5, 0.2, 0.1], [1.0, 0.0, 2.0]])
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3], [0.1, 0.8, 0.1]])
    y = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1]])
    require(z, output_error, p, y)

    # The inputs are the identity. So z plays the part of the weights.
    def loss(x, y):
        return cross_entropy(softmax(x @ z), y)

    def gradients(x, y):
        return x.T @ output_error(softmax(x @ z), y)

    show(check_gradients(loss, gradients, np.eye(4), y, z=z))


@check
def step_3(layer, layer_backward, numerical_gradient):
    """Check a layer, by the student's own central differences first."""
    random = np.random.default_rng(0)
    x, W = random.normal(size=(5, 4)), random.normal(size=(4, 3))
    b, error = random.normal(size=3), random.normal(size=(5, 3))

    require(error, layer, x, W, b)
    verdict(
        "np.sum(layer(x, W, b) ** 2)",
        np.sum(layer(x, W, b) ** 2),
        18.36528,
        {
            25.10428: ("the bias is missing", "漏了偏置"),
            27.6614: (
                "one number of the bias; add the whole b",
                "只加了偏置中的一个数；应当加上整个 b",
            ),
        },
    )
    dx, dW, db = require((x, W, b), layer_backward, x, W, error)
    require(W, numerical_gradient, np.sum, W)
    numerical = {
        "dx": numerical_gradient(lambda x: np.sum(layer(x, W, b) * error), x),
        "dW": numerical_gradient(lambda W: np.sum(layer(x, W, b) * error), W),
        "db": numerical_gradient(lambda b: np.sum(layer(x, W, b) * error), b),
    }
    for name, own in (("dx", dx), ("dW", dW), ("db", db)):
        try:
            compare(name, own, numerical[name], 1e-6, "")
        except AnswerError as stopped:
            print(stopped)

    def gradients(x, error):
        return layer_backward(x, W, error)

    show(check_gradients(lambda x: layer(x, W, b), gradients, x, W=W, b=b))


@check
def step_4(sigmoid, sigmoid_slope, forward, backward, cross_entropy):
    """Check a network of two layers."""
    random = np.random.default_rng(0)
    x = random.normal(size=(6, 4))
    W1, b1 = random.normal(size=(4, 5)), random.normal(size=5)
    W2, b2 = random.normal(size=(5, 3)), random.normal(size=3)
    x = np.concatenate([x, random.normal(size=(1, 4))])
    y = np.eye(3)[[0, 1, 2, 0, 1, 2, 0]]

    require(x, sigmoid, x)
    require(x, sigmoid_slope, x)
    require((x @ W1, y), forward, x, W1, b1, W2, b2)
    verdict(
        "sigmoid(2)",
        sigmoid(np.array([2.0]))[0],
        0.880797,
        {
            0.119203: (
                "exp(z) where exp(-z) belongs",
                "应当是 exp(-z)，写成了 exp(z)",
            ),
            0.964028: ("this is tanh", "这是 tanh"),
        },
    )
    verdict(
        "sigmoid_slope(0.25)",
        sigmoid_slope(np.array([0.25]))[0],
        0.1875,
        {
            0.246134: (
                "a is already a sigmoid; do not take it again",
                "a 已经是 sigmoid 的输出，不要再算一次",
            ),
            0.9375: ("this is the derivative of tanh", "这是 tanh 的导数"),
            -0.1875: ("the sign is wrong", "符号反了"),
        },
    )
    verdict(
        "p[0, 0]",
        forward(x, W1, b1, W2, b2)[1][0, 0],
        0.0847596,
        {
            0.00167119: (
                "the sigmoid between the layers is missing",
                "两层之间漏了 sigmoid",
            ),
            -0.604495: ("the softmax is missing", "漏了 softmax"),
            0.353316: (
                "a sigmoid in place of the softmax",
                "该用 softmax 的地方用了 sigmoid",
            ),
            0.26756: (
                "a sigmoid before the softmax",
                "softmax 之前多了一个 sigmoid",
            ),
            0.055544: ("the bias b2 is missing", "漏了偏置 b2"),
            0.18222: ("the bias b1 is missing", "漏了偏置 b1"),
        },
    )
    require((W1, b1, W2, b2), backward, x, y, W1, b1, W2, b2)

    def loss(x, y):
        return cross_entropy(forward(x, W1, b1, W2, b2)[1], y)

    def gradients(x, y):
        return backward(x, y, W1, b1, W2, b2)

    show(check_gradients(loss, gradients, x, y, W1=W1, b1=b1, W2=W2, b2=b2))


@check
def step_5(squared_loss, squared_gradients, report):
    """Check the network without a hint, and the student's own call of the tool."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(6, 4)), random.normal(size=(6, 2))
    W1, b1 = random.normal(size=(4, 5)), random.normal(size=5)
    W2, b2 = random.normal(size=(5, 2)), random.normal(size=2)

    require(0.0, squared_loss, x, y, W1, b1, W2, b2)
    loss = squared_loss(x, y, W1, b1, W2, b2)
    verdict("squared_loss(x, y, W1, b1, W2, b2)", loss, 27.81361)
    require((W1, b1, W2, b2), squared_gradients, x, y, W1, b1, W2, b2)

    # With the arrays of this check, which are not the student's.
    there = check_gradients(
        lambda x, y: squared_loss(x, y, W1, b1, W2, b2),
        lambda x, y: squared_gradients(x, y, W1, b1, W2, b2),
        x,
        y,
        W1=W1,
        b1=b1,
        W2=W2,
        b2=b2,
    )
    own = require(there, report)
    show(own)
    if len(own.rows) != 4:
        stop(
            "report: wrong: it is about {names}, not about four arrays",
            "report：wrong（错）：只检查了 {names}，应当检查四个数组",
            names=", ".join(row.name for row in own.rows),
        )
    if not there:
        print(words(("With other arrays:", "换成别的数组：")))
        show(there)


UNUSED_PARAMETERS = (
    "the parameters are start(), whatever the argument",
    "初始参数总是 start()，没有用参数 `parameters`",
)
UNUSED_SAMPLES = (
    "the samples are images and labels, whatever the arguments",
    "样本总是 images 和 labels，没有用参数 `x` 和 `y`",
)
NOTHING_CHANGED = (
    "nothing has changed; carry the new parameters to the next step",
    "什么都没变；要把新的参数带到下一步",
)
FIRST_PARAMETERS = "these are the first parameters", "这是最初的参数"


def fixed_rate(rate):
    """Return the message for a learning rate that is not the argument."""
    return (
        f"the learning rate is {rate}, whatever the argument",
        f"学习率总是 {rate}，没有用参数",
    )


@check
def step_6(step, train, start, accuracy, images, labels):
    """Check the training loop, on samples one at a time."""
    order = np.random.RandomState(1).permutation(10000)[:2000]
    one = images[1:2], labels[1:2], 0.01
    ten = images[:10], labels[:10], [1], 0.01

    require((0.0, start()), step, start(), *one)
    require(([0.0], start()), train, start(), *ten)
    losses, _ = train(start(), images, labels, [1] * 10, 0.01)
    faster, _ = train(start(), images, labels, [1] * 10, 0.02)
    text = "the first loss, to 15 digits: {:.15g}", "第一个损失，15 位有效数字：{:.15g}"
    print(words(text).format(losses[0]))
    verdict(
        ("the first loss", "第一个损失"),
        losses[0],
        9.162648,
        {
            7.224115: ("this is the loss after the step", "这是更新之后的损失"),
            3.938791: (
                "the samples are not taken in the order of `order`",
                "没有按 `order` 的顺序取样本",
            ),
            1.783294: (
                "x is taken in the order of `order`, y is not",
                "x 按 `order` 的顺序取，y 没有",
            ),
        },
    )
    verdict(
        ("losses of ten steps", "十步的损失个数"),
        len(losses),
        10,
        {
            1: (
                "one loss only: return inside the loop, or one step on all samples; "
                "take a step for each index",
                "只有一个损失：return 写在了循环里面，或者对所有样本只更新了一步；"
                "应当对每个下标更新一步",
            )
        },
    )
    verdict(
        ("the tenth loss", "第十个损失"),
        losses[-1],
        0.979631,
        {
            9.162648: NOTHING_CHANGED,
            28.90734: (
                "the step goes uphill; subtract the gradient",
                "更新的方向反了；应当减去梯度",
            ),
            0.0: (
                "far too fast; multiply by the learning rate",
                "太快了；要乘以学习率",
            ),
            0.018941: fixed_rate(0.1),
            1.041294: ("the biases do not change", "偏置没有更新"),
            0.978485: (
                "the output layer changes before the error passes through it",
                "误差传过输出层之前，这一层就更新了",
            ),
        },
    )
    verdict(
        ("the tenth loss with the rate 0.02", "学习率为 0.02 时的第十个损失"),
        faster[-1],
        0.212053,
        {0.979631: fixed_rate(0.01)},
    )
    first_only = "the step takes the first sample only", "更新时只用了第一个样本"
    _, changed = step(start(), images[:3], labels[:3], 0.01)
    verdict(
        (
            "the loss of three samples after a step on them",
            "对三个样本更新一步之后它们的损失",
        ),
        step(changed, images[:3], labels[:3], 0.01)[0],
        6.508407,
        {
            6.681855: first_only,
            3.073405: first_only,
            5.773936: (
                "the gradient is a mean already; "
                "do not multiply it by the number of samples",
                "梯度已经是平均值；不要再乘以样本数",
            ),
        },
    )
    half = tuple(parameter / 2 for parameter in start())
    others, _ = train(half, images[::-1], labels[::-1], order[:100], 0.01)
    verdict(
        (
            "the mean of 100 losses of other samples, with half the first weights",
            "换一批样本、权重减半时 100 个损失的平均",
        ),
        np.mean(others),
        3.419068,
        {
            6.622964: UNUSED_PARAMETERS,
            3.485304: UNUSED_SAMPLES,
            6.666278: (
                "the arguments are not used",
                "参数 `parameters`、`x` 和 `y` 都没有用",
            ),
        },
    )
    losses, trained = train(start(), images, labels, order, 0.01)
    verdict(
        ("the mean of the last 500 losses", "最后 500 个损失的平均"),
        np.mean(losses[-500:]),
        1.843288,
    )
    verdict(
        ("the loss of the returned parameters", "返回的参数的损失"),
        step(trained, images[:1000], labels[:1000], 0.01)[0],
        1.578384,
        {7.537858: FIRST_PARAMETERS},
    )
    text = "test accuracy {:.2%}", "测试准确率 {:.2%}"
    print(words(text).format(accuracy(trained)))


@check
def step_7(batches, train_epochs, step, start, images, labels):
    """Check the training by mini-batches."""
    random = np.random.default_rng(0)
    few = start(), images[:10], labels[:10], 4, 1, 0.1, random
    even = (
        "all batches are of about one size; only the last one may be smaller",
        "各个批次差不多大；只有最后一个可以小一些",
    )
    no_last = "the last, smaller batch is missing", "漏了最后那个较小的批次"

    require([np.arange(4)], batches, 10, 4, random)
    first, second = batches(1000, 32, random), batches(1000, 32, random)
    again = batches(1000, 32, np.random.default_rng(0))
    verdict(
        ("different samples in an epoch", "一轮中不同的样本数"),
        len(np.unique(np.concatenate(first))),
        1000,
        {
            992: no_last,
            622: (
                "some samples are drawn again; "
                "`random.permutation` has each of them once",
                "有的样本取了不止一次；`random.permutation` 中每个只有一次",
            ),
        },
    )
    verdict(
        ("batches of 32 samples", "样本数为 32 的批次数"),
        sum(len(batch) == 32 for batch in first),
        31,
        {23: even, 8: even},
    )
    verdict(
        ("batches that are the same in the next epoch", "与下一轮相同的批次数"),
        sum(map(np.array_equal, first, second)),
        0,
        {32: ("the order has to be new at each call", "每次调用都要有新的顺序")},
    )
    verdict(
        (
            "batches that are the same with the same random numbers",
            "随机数相同时相同的批次数",
        ),
        sum(map(np.array_equal, first, again)),
        32,
        {0: ("the argument `random` is not used", "没有用参数 `random`")},
    )
    require(([0.0], start()), train_epochs, *few)
    losses, trained = train_epochs(
        start(), images, labels, 32, 2, 0.1, np.random.default_rng(0)
    )
    verdict(
        ("steps in two epochs", "两轮的步数"),
        len(losses),
        626,
        {
            1: ("return is inside the loop", "return 写在了循环里面"),
            313: (
                "only one epoch: return inside the outer loop, or `epochs` is not used",
                "只有一轮：return 写在了外层循环里面，或者没有用参数 `epochs`",
            ),
            624: no_last,
            2: (
                "one loss for each step, not each epoch",
                "应当每一步一个损失，而不是每轮一个",
            ),
            20000: ("one step for each sample", "每个样本更新了一步"),
        },
    )
    verdict(
        ("the mean of the last 100 losses", "最后 100 个损失的平均"),
        np.mean(losses[-100:]),
        0.897089,
        {
            7.397265: NOTHING_CHANGED,
            2.933888: ("x and y are not in the same order", "x 和 y 的顺序不同"),
            2.830239: ("y is not taken by `batch`", "y 没有按 `batch` 取"),
            0.914199: (
                "each epoch has the same batches; call `batches` in each",
                "各轮的批次都相同；每一轮都要调用 `batches`",
            ),
            1.372525: (
                "each epoch begins with the first parameters",
                "每一轮都从最初的参数开始",
            ),
            3.114346: fixed_rate(0.01),
        },
    )
    verdict(
        ("the loss of the returned parameters", "返回的参数的损失"),
        step(trained, images[:1000], labels[:1000], 0.1)[0],
        0.822737,
        {7.537858: FIRST_PARAMETERS},
    )
    losses, _ = train_epochs(
        tuple(parameter / 2 for parameter in start()),
        images[8000:],
        labels[8000:],
        50,
        3,
        0.3,
        np.random.default_rng(0),
    )
    verdict(
        (
            "the mean of the last 20 losses, other samples, batches of 50, 3 epochs, "
            "rate 0.3",
            "最后 20 个损失的平均，另一批样本，每批 50 个，3 轮，学习率 0.3",
        ),
        np.mean(losses[-20:]),
        0.768199,
        {
            0.952413: ("two epochs, whatever the argument", "总是两轮，没有用参数"),
            0.646186: (
                "the batch size is 32, whatever the argument",
                "批次大小总是 32，没有用参数",
            ),
            1.270782: fixed_rate(0.1),
            1.199203: UNUSED_PARAMETERS,
            0.71471: UNUSED_SAMPLES,
        },
    )


@check
def draw(train_epochs, start, accuracy, images, labels, settings):
    """Draw losses against time, for each setting: batch size, epochs and rate."""
    random = np.random.default_rng(0)
    few = start(), images[:10], labels[:10], 4, 1, 0.1, random
    require(([0.0], start()), train_epochs, *few)
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(figsize=(7, 3.5))
    for batch_size, epochs, rate in settings:
        begin = time.perf_counter()
        losses, trained = train_epochs(
            start(), images, labels, batch_size, epochs, rate, random
        )
        seconds = time.perf_counter() - begin
        text = (
            "batches of {size}, rate {rate}: {seconds:.1f} s, "
            "test accuracy {accuracy:.2%}",
            "每批 {size} 个，学习率 {rate}：{seconds:.1f} s，测试准确率 {accuracy:.2%}",
        )
        values = {"size": batch_size, "rate": rate, "seconds": seconds}
        print(words(text, **values, accuracy=accuracy(trained)))
        smooth = np.convolve(losses, np.ones(100) / 100, mode="valid")
        times = np.linspace(0, seconds, len(smooth))
        axes.plot(times, smooth, label=f"{batch_size}, {rate}")
    axes.set(xlabel="seconds", ylabel="mean loss of 100 steps", ylim=(0, None))
    axes.legend(title="batch size, learning rate")
    plt.show()


@check
def keep(step, start, images, labels, *functions):
    """Write the functions to `my_network.py`, for *On other hardware*."""
    arguments = start(), images[:1], labels[:1], 0.01
    require((0.0, start()), step, *arguments)
    functions = (*functions, step)
    sources = ["import numpy as np\n", *map(inspect.getsource, functions)]
    text = "\n\n".join(sources)
    names = {}
    exec(text, names)  # alone, without the names of the notebook
    names["step"](*arguments)
    Path("my_network.py").write_text(text, encoding="utf-8")
    print(words(("my_network.py is written", "my_network.py 已写好")))


# Break and repair.


def draw_runs(losses, runs, accuracy):
    """Draw the losses of each run above those of the right program, in grey."""
    import matplotlib.pyplot as plt

    def smooth(losses):
        return np.convolve(losses, np.ones(20) / 20, mode="valid")

    figure, grid = plt.subplots(2, 4, figsize=(10, 5), sharex=True, sharey=True)
    for axes, (name, (own, parameters)) in zip(grid.flat, runs.items(), strict=True):
        axes.plot(smooth(losses), color="0.7", linewidth=3)
        axes.plot(smooth(own), color="#D55E00")
        if np.isnan(own[-1]):
            axes.text(300, 2.4, f"NaN from step {np.isnan(own).argmax()}", ha="center")
        axes.set_title(f"{name}: {accuracy(parameters):.1%}")
    grid[0, 0].set_ylim(0, 3)
    for axes in grid[:, 0]:
        axes.set_ylabel("loss")
    for axes in grid[1]:
        axes.set_xlabel("step")
    figure.tight_layout()
    plt.show()


def state(name, number, is_right):
    """Print a sentence with a number, and whether it is right."""
    text = words(name).format(number)
    said = "right" if is_right else words(("wrong", "wrong（错）"))
    print(words(("{text}: {said}", "{text}：{said}"), text=text, said=said))


@check
def order(shuffled):
    """Check an order of the samples. Each sample and its label are its number."""
    numbers = np.arange(1000)
    x, y = shuffled(numbers.copy(), numbers.copy(), np.random.default_rng(0))
    again, _ = shuffled(numbers.copy(), numbers.copy(), np.random.default_rng(1))
    own, left, moved = np.sum(x == y), len(np.unique(x)), np.sum(x != again)
    text = (
        "{} of 1000 samples have their own label",
        "1000 个样本中有 {} 个带着自己的标签",
    )
    state(text, own, own == 1000)
    text = "{} of 1000 samples are still there", "1000 个样本中还在的有 {} 个"
    state(text, left, left == 1000)
    text = (
        "{} of 1000 samples have another place in another order",
        "1000 个样本中，换一次随机数后换了位置的是 {} 个",
    )
    state(text, moved, moved > 900)


@check
def units(W1, accuracy, least):
    """Check the first layer after a training: no two hidden units are the same."""
    different = np.unique(W1.round(9), axis=1).shape[1]
    text = "{} of 64 hidden units are different", "64 个隐藏单元中，互不相同的有 {} 种"
    state(text, different, different == 64)
    text = "test accuracy {:.1%}", "测试准确率 {:.1%}"
    state(text, accuracy, accuracy > least)
