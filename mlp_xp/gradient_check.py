"""Whether the derivative of an activation fits its function."""

import numpy as np

from mlp_xp.backend import Backend, BackendError, open_backend
from mlp_xp.errors import MlpXpError
from mlp_xp.functional import Activation, find_activation

# Not at 0, where many activations have no derivative.
POINTS = np.linspace(-6.03, 5.97, 301)


class GradientError(MlpXpError):
    """An activation and a derivative that do not fit together."""

    exit_code = 1


def check_gradient(activation: str | Activation, *, backend: Backend | None = None) -> None:
    """Raise GradientError unless the derivative of an activation is what central differences give.

    It compares f'(x) with (f(x + h) - f(x - h)) / 2h at 301 points from -6.03 to 5.97. The differences are wrong by
    h^2 / 6 times the third derivative, and by eps f / h, both of order eps^(2/3) for h = eps^(1/3); 1000 times that,
    4e-8, is allowed.

    activation: a pair of functions, as `TrainConfig` takes them. backend: in float64; by default NumPy. Raises
    BackendError for one in float32.
    """
    pair, backend = find_activation(activation), backend or open_backend()
    if backend.dtype_name != "float64":
        raise BackendError(f"{backend.dtype_name} is too coarse for differences; open it with float64", setting="dtype")
    h = float(np.finfo(np.float64).eps) ** (1 / 3)
    xs = [backend.asarray(POINTS[None, :] + step, backend.dtype) for step in (0, h, -h)]
    outputs = [pair.function(x, xp=backend.xp) for x in xs]
    derivative = pair.derivative(xs[0] if pair.of == "input" else outputs[0], xp=backend.xp)
    for what, array in (("function", outputs[0]), ("derivative", derivative)):
        if tuple(array.shape) != (1, len(POINTS)) or array.dtype != backend.dtype:
            raise GradientError(
                f"the {what} returns {array.dtype} {tuple(array.shape)} for {backend.dtype} (1, {len(POINTS)}); "
                "it must keep dtype and shape"
            )
    _, above, below, actual = (backend.to_numpy(array)[0] for array in (*outputs, derivative))
    expected = (above - below) / (2 * h)
    excess = np.abs(actual - expected) - 1000 * h**2 * (1 + np.abs(expected))
    worst = int(np.argmax(np.where(np.isnan(excess), np.inf, excess)))
    if not excess[worst] <= 0:
        raise GradientError(
            f"the derivative does not fit the function: at x = {POINTS[worst]:.2f} it is {actual[worst]:.6g}, where "
            f"differences of the function give {expected[worst]:.6g}; it takes the function's {pair.of}, see Activation"
        )
