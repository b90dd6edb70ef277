"""MLPClassifier and MLPRegressor: scikit-learn's estimators with the core's steps."""

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from scipy.sparse import issparse
from scipy.special import log_expit, log_softmax
from sklearn import get_config, neural_network
from sklearn.base import BaseEstimator
from sklearn.metrics import accuracy_score, r2_score
from sklearn.neural_network._stochastic_optimizers import BaseOptimizer
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    validate_data,
)

from mlp_xp.backends import DTYPES
from mlp_xp.core.backend import Backend
from mlp_xp.core.functional import Array
from mlp_xp.core.model import Model, make_logits
from mlp_xp.core.network import Layer, Network
from mlp_xp.core.signature import Preparation, Signature, unchanged
from mlp_xp.core.step import State
from mlp_xp.core.task import CLASSES, LABELS, REGRESSION
from mlp_xp.data.columns import Column, Columns
from mlp_xp.estimator._devices import (
    choose_backend,
    is_foreign,
    place_of,
    stand_in,
    to_host,
    transfer,
)
from mlp_xp.estimator._epochs import ACTIVATIONS, Best, Training
from mlp_xp.export.onnx import write_onnx

ADDED = ("dtype", "device", "backend")
TASKS = {"softmax": CLASSES, "logistic": LABELS, "identity": REGRESSION}
"""The tasks for scikit-learn's names of the function at the outputs."""


def with_parameters_of(theirs: Callable[..., None], *more: str) -> Callable[..., None]:
    """Return an `__init__` with scikit-learn's parameters, `more` and ADDED.

    scikit-learn's parameters keep their defaults. The others are None by default.
    """
    parameters = list(inspect.signature(theirs).parameters.values())
    for name in (*more, *ADDED):
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, keyword, default=None))
    signature = inspect.Signature(parameters)

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        given = signature.bind(self, *args, **kwargs)
        given.apply_defaults()
        values = dict(given.arguments)
        del values["self"]
        vars(self).update(values)

    # `get_params` and `help` read the signature.
    __init__.__signature__ = signature  # type: ignore[attr-defined]
    return __init__


class _MLP(BaseEstimator):
    """The computation of the estimators. scikit-learn's classes do the rest.

    scikit-learn's own loop runs the training. The loop is given the numbers of the
    samples in place of their features, and takes all samples as one batch. For this
    batch it calls `_backprop`, which trains for an epoch in batches of `batch_size`.
    """

    _constraints: ClassVar[dict[str, list[Any]]] = {
        "solver": [StrOptions({"sgd", "adam"})],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "dtype": [StrOptions({*DTYPES}), None],
        "device": [str, None],
        "backend": [str, None],
    }

    batch_size: Any
    best_validation_score_: Any

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Restore all attributes if training fails: the last fit stays valid."""
        before = {}
        for name, value in vars(self).items():
            changes_in_place = isinstance(value, list | BaseOptimizer)
            before[name] = copy(value) if changes_in_place else value
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _fit(
        self, X: Any, y: Any, sample_weight: Any = None, incremental: bool = False
    ) -> Self:
        """Train the network. scikit-learn's `fit` and `partial_fit` call this."""
        with self._all_or_nothing():
            sizes = np.atleast_1d(self.hidden_layer_sizes).tolist()
            if min(sizes, default=1) <= 0:
                raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
            continues = self.warm_start or incremental
            is_first = not (continues and hasattr(self, "coefs_"))
            X, y = self._validate_input(X, to_host(y), incremental, is_first)
            y = y.reshape(len(y), -1)
            self.n_outputs_ = y.shape[1]
            weights = self._weights(y, to_host(sample_weight))
            backend = choose_backend(X, self.backend, self.device, self.dtype)
            self._random_state = check_random_state(self.random_state)
            if is_first:
                self._initialize(y, [X.shape[1], *sizes, self.n_outputs_], np.float64)
            self._check_shape(sizes, is_first)
            if not incremental or not hasattr(self, "_optimizer"):
                self._slots: list[Array] = []
            features = transfer(X, backend, backend.dtype)
            state, is_finite = self._train(features, y, weights, backend, incremental)
            self._check_finite(state, is_finite, backend)
            home = choose_backend(X)
            self.coefs_ = [transfer(layer.weights, home) for layer in state.network]
            self.intercepts_ = [transfer(layer.bias, home) for layer in state.network]
            self._slots = [
                array for slots in state.slots for slot in slots for array in slot
            ]
        return self

    # scikit-learn adds up all numbers, to see whether they are finite.
    @np.errstate(over="ignore", invalid="ignore")
    def _validate_input(
        self, X: Any, y: Any, incremental: bool, reset: bool
    ) -> tuple[Array, np.ndarray]:
        """Return X on its device, (n, features), and the targets on the host.

        The targets are numbers, or 0 and 1 for classes.
        """
        checked, y = super()._validate_input(stand_in(X), y, incremental, reset)
        return X if is_foreign(X) else checked, y

    def _weights(self, y: np.ndarray, given: Any) -> Any:
        """Return the samples' weights, float64 (n,), or None for equal weights."""
        if given is None:
            return None
        return _check_sample_weight(
            given, np.empty((len(y), 1)), dtype=np.float64, ensure_non_negative=True
        )

    def _check_shape(self, sizes: list[int], is_first: bool) -> None:
        """Check that the parameters are those of the network in training, if any."""
        shape = {
            "hidden_layer_sizes": sizes,
            "activation": self.activation,
            "outputs": self.n_outputs_,
            # A warm start compares its scores with those of the earlier fit.
            "early_stopping": self.early_stopping,
        }
        if is_first:
            self._shape = shape
        elif shape != self._shape:
            raise ValueError(
                f"the network in training has {self._shape}, not {shape}; set the "
                "parameters back, or train a new network with fit and warm_start=False"
            )

    def _check_finite(
        self, state: State, loss_is_finite: bool, backend: Backend
    ) -> None:
        layers = list(state.network)
        # With infinite slots, Adam changes no weight, so the weights do not show them.
        # With early stopping, the slots are from a later epoch than the network.
        if not self.early_stopping:
            for slots in state.slots:
                layers += slots
        # On the host, where nothing has to be compiled.
        arrays = [backend.to_numpy(array) for layer in layers for array in layer]
        if not (loss_is_finite and all(np.isfinite(x).all() for x in arrays)):
            raise ValueError(
                "training diverged: the loss, the weights or the optimizer's state are "
                "not finite; scale the features and targets, or lower "
                "learning_rate_init"
            )

    def _network(self, backend: Backend) -> Network:
        """Return the network on the backend, not copied if it is there already."""
        layers = []
        for pair in zip(self.coefs_, self.intercepts_, strict=True):
            arrays = (transfer(array, backend, backend.dtype) for array in pair)
            layers.append(Layer(*arrays))
        return tuple(layers)

    def _train(
        self,
        X: Array,
        y: np.ndarray,
        weights: np.ndarray | None,
        backend: Backend,
        incremental: bool,
    ) -> tuple[State, bool]:
        """Train on the backend, in scikit-learn's loop.

        Return the network with the optimiser's slots. The second result is whether the
        loss was finite in the epoch of this network.
        """
        task = TASKS[self.out_activation_]
        labels = np.argmax(y, axis=1) if task.exclusive else y
        held_out = 0
        if self.early_stopping:
            held_out = math.ceil(self.validation_fraction * len(y))
        count = max(1, len(y) - held_out)
        given = self.batch_size
        batch_size = 200 if given == "auto" else int(given)
        training = self._training = Training(
            self._network(backend),
            X,
            backend.asarray(labels, backend.dtype if task.floats else None),
            weights,
            task=task,
            batch_size=min(batch_size, count),
            backend=backend,
        )
        if self.early_stopping and np.isfinite(self.best_validation_score_):
            # The network of an earlier fit is the result unless an epoch is better.
            training.best = Best(training.state.network, is_finite=True)
        # The loop takes all samples as one batch, and updates no arrays.
        self.batch_size = count
        no_arrays: list[Array] = []
        self.coefs_ = self.intercepts_ = no_arrays
        self._best_coefs = self._best_intercepts = no_arrays
        samples = np.arange(len(y))
        self._fit_stochastic(samples, y, weights, [None], [], [], [], [], incremental)
        if not self.n_iter_ or (self.early_stopping and training.best is None):
            # scikit-learn turns Ctrl-C into a warning, but there is no result yet.
            raise KeyboardInterrupt
        self.batch_size = given
        del self._training, self._best_coefs, self._best_intercepts
        if training.best is None:
            return training.state, math.isfinite(self.loss_)
        network, is_finite = training.best
        return training.state._replace(network=network), is_finite

    def _backprop(
        self, samples: np.ndarray, *_: Any
    ) -> tuple[float, list[Any], list[Any]]:
        """Train for an epoch on these samples. Return its loss, and no gradients."""
        training = self._training
        if training.optimizer is None:
            alpha = float(self.alpha)
            training.begin(self.activation, self._optimizer, alpha, self._slots)
        return training.epoch(samples), [], []

    def _update_no_improvement_count(
        self, early_stopping: bool, *held_out: Any
    ) -> None:
        before = self.best_validation_score_
        super()._update_no_improvement_count(early_stopping, *held_out)
        best, score = self._training.best, self.best_validation_score_
        if early_stopping and (best is None or score > before):
            self._training.keep_best(self.loss_, self.validation_scores_[-1])

    def _forward_pass_fast(self, X: Any, check_input: bool = True) -> np.ndarray:
        """Return the outputs, (n, outputs) on the host.

        In training, scikit-learn calls this with the numbers of samples as X.
        """
        if hasattr(self, "_training"):
            training = self._training
            backend = training.backend
            X = backend.xp.take(training.X, backend.asarray(X), axis=0)
            logits = self._logits_of(X, training.state.network, backend)
        else:
            logits = self._logits(X)
        return TASKS[self.out_activation_].link(logits, xp=np)

    def _logits_of(self, X: Array, network: Network, backend: Backend) -> np.ndarray:
        logits = make_logits(ACTIVATIONS[self._shape["activation"]], backend, unchanged)
        return backend.to_numpy(logits(network, X, ()))

    @np.errstate(over="ignore", invalid="ignore")  # see `_validate_input`
    def _logits(self, X: Any) -> np.ndarray:
        """Return the logits of features, (n, outputs) on the host."""
        checked = validate_data(
            self, stand_in(X), dtype=(np.float64, np.float32), reset=False
        )
        X = X if is_foreign(X) else checked
        backend = choose_backend(X, self.backend, self.device, self.dtype)
        features = transfer(X, backend, backend.dtype)
        logits = self._logits_of(features, self._network(backend), backend)
        finite = np.isfinite(logits)
        if not finite.all():
            row = int(np.argmin(finite.all(axis=1)))
            raise ValueError(
                f"X: the outputs for row {row} are not finite in {backend.dtype_name}; "
                "scale X as in training, or correct this row"
            )
        return logits

    def _answer(
        self, X: Any, method: str, compute: Callable[[Any], np.ndarray]
    ) -> Array:
        """Return an answer of the network in the library and on the device of X.

        Names of classes stay on the host. The network is copied to where X is, unless
        scikit-learn's `array_api_dispatch` forbids it.

        Raises:
            ValueError: With `array_api_dispatch`, X is elsewhere than in training.
        """
        check_is_fitted(self)
        weights = self.coefs_[0]
        if get_config()["array_api_dispatch"] and is_foreign(weights):
            fitted = place_of(weights)
            if place_of(X if is_foreign(X) else np.empty(0)) != fitted:
                raise ValueError(
                    f"Inputs passed to {type(self).__name__}.{method}() must use the "
                    "same namespace and the same device as those passed to fit(): "
                    f"{fitted}"
                )
        answer = compute(X)
        if is_foreign(X) and answer.dtype.kind in "biuf":
            return transfer(answer, choose_backend(X))
        return answer

    def predict(self, X: Any) -> Array:
        """Predict from features.

        Args:
            X: Features (n, features).

        Returns:
            For regression, numbers (n,), or (n, outputs) for several outputs. For
            classification, classes (n,), or 0 and 1 for several labels, (n, labels).
            The result is in the library and on the device of X, but names of classes
            are a NumPy array.

        Raises:
            ValueError: X does not fit, or the outputs are not finite.
        """
        return self._answer(X, "predict", super().predict)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy, or R² for regression.

        For several labels, a sample counts as right if all its labels are.

        Args:
            X: Features (n, features).
            y: The true values.
            sample_weight: Weights of the samples, (n,).
        """
        predicted = to_host(self.predict(X))
        weights = to_host(sample_weight)
        return float(self._metric(to_host(y), predicted, sample_weight=weights))

    def to_onnx(self, path: str | Path, *, dtype: str | None = None) -> None:
        """Write the network to an ONNX file.

        The file takes features (n, features), and is otherwise as `mlp_xp.export_onnx`
        writes it. For two classes, it has both probabilities.

        Args:
            path: The file.
            dtype: "float64" or "float32". The default is the dtype of the network.

        Raises:
            ValueError: The training data had only one class.
        """
        check_is_fitted(self)
        backend = choose_backend(self.coefs_[0], "numpy", dtype=self.dtype)
        network = self._network(backend)
        task = TASKS[self.out_activation_]
        outputs = [
            str(name) for name in getattr(self, "classes_", range(self.n_outputs_))
        ]
        if task is LABELS and self.n_outputs_ == 1:  # two classes with one output
            if len(outputs) == 1:
                raise ValueError(
                    "the training data had only one class, and a file has two or more"
                )
            # With another output, 0, softmax is the logistic function.
            *hidden, last = network
            pair = (np.concatenate([np.zeros_like(x), x], axis=-1) for x in last)
            network = (*hidden, Layer(*pair))
            task = CLASSES
        columns = None
        if hasattr(self, "feature_names_in_"):
            columns = Columns(tuple(map(Column, self.feature_names_in_)))
        signature = Signature(
            input_shape=(self.n_features_in_,),
            outputs=tuple(outputs),
            task=task,
            preparation=Preparation(unchanged),
            columns=columns,
        )
        activation = ACTIVATIONS[self._shape["activation"]]
        name = type(self).__name__
        model = Model(network, activation, signature, backend, source=name)
        write_onnx([model], Path(path), dtype)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with NumPy arrays.

        A model then loads where its library or its GPU is missing.
        """
        state = dict(super().__getstate__())
        for name in ("coefs_", "intercepts_", "_slots"):
            if name in state:
                state[name] = [to_host(array) for array in state[name]]
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.sparse = False
        return tags


class MLPClassifier(_MLP, neural_network.MLPClassifier):
    """A multi-layer perceptron for classes or several labels, for any array library.

    Parameters, defaults and attributes are the same as in
    `sklearn.neural_network.MLPClassifier`, except that `solver="lbfgs"` and
    `momentum=1` are not supported. With the same random_state, the weights are equal up
    to rounding.

    The network is trained where X is: NumPy arrays on NumPy, CuPy arrays on their GPU,
    PyTorch tensors on their device, and JAX arrays compiled. Labels and weights may be
    elsewhere. Predictions are arrays of the library of X. X may not be sparse.

    Args:
        class_weight (dict | list | str | None): The weights of the classes, {class:
            weight}, or "balanced". For several labels, a list with a dictionary for
            each. None: equal weights.
        dtype (str | None): "float64" or "float32", for parameters and arithmetic. None:
            float32 if X is float32, else float64.
        device (str | None): The device to compute on, as for `mlp_xp.open_backend`.
            None: the device of X.
        backend (str | None): The library to compute with, as for `mlp_xp.open_backend`.
            None: the library of X.

    Raises:
        ValueError: The training diverges, or values are masked; or as in scikit-learn.
        BackendError: A backend, device or dtype is not available.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(100, 4))
        >>> y = X[:, 0] > 0
        >>> MLPClassifier((5,), tol=0.1, random_state=0).fit(X, y).predict(X[:3]).shape
        (3,)

    There are five differences from scikit-learn:

    - Losses and `predict_log_proba` are exact. scikit-learn takes logarithms of rounded
      probabilities. For losses it also clips them, so that no output of a sample has a
      loss above 36, or 16 in float32. A fit may end earlier there, because the loss
      seems to stay the same.
    - With warm_start and early_stopping, another fit ends with the best network so far.
      In scikit-learn 1.9 it ends with the last network if no score is better, because
      the best network is kept in the arrays that are trained.
    - A loss that is not finite is an error. scikit-learn returns the network if the
      weights are finite.
    - Without `dtype`, each call computes in the dtype of its own X. A network trained
      on float64 gives float32 predictions, computed in float32, for float32 X.
    - After an error, the estimator is unchanged. With warm_start and in partial_fit, it
      is a ValueError to change the network or early_stopping.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **neural_network.MLPClassifier._parameter_constraints,
        **_MLP._constraints,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
    }
    _metric = staticmethod(accuracy_score)
    __init__ = with_parameters_of(neural_network.MLPClassifier.__init__, "class_weight")

    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None
    ) -> Self:
        """Train for one epoch, from where the last fit or partial_fit ended.

        The parameters of the optimiser, from `solver` to `epsilon`, stay as in the
        first call.

        Args:
            X: Features (n, features).
            y: Classes (n,), or 0 and 1 for several labels, (n, labels).
            sample_weight: Weights of the samples, (n,).
            classes: All classes, (classes,). Needed in the first call.

        Returns:
            The estimator itself.

        Raises:
            ValueError: The parameters describe another network; or as for `fit`.
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' is not supported for partial_fit; weigh each "
                "class"
            )
        with self._all_or_nothing():
            return super().partial_fit(X, to_host(y), sample_weight, to_host(classes))

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the classes, or of each of several labels.

        Args:
            X: Features (n, features).

        Returns:
            The probabilities (n, classes), in the order of `classes_`.
        """
        return self._answer(X, "predict_proba", super().predict_proba)

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of the probabilities.

        They are finite even where a probability underflows to 0.

        Args:
            X: Features (n, features).

        Returns:
            The logarithms (n, classes), in the order of `classes_`.
        """
        return self._answer(X, "predict_log_proba", self._log_probabilities)

    def _log_probabilities(self, X: Any) -> np.ndarray:
        logits = self._logits(X)
        if self.out_activation_ == "softmax":
            return log_softmax(logits, axis=1)
        if self.n_outputs_ == 1:
            logits = np.hstack([-logits, logits])
        return log_expit(logits)

    def _weights(self, y: np.ndarray, given: Any) -> Any:
        weights = super()._weights(y, given)
        if self.class_weight is None:
            return weights
        targets = y[:, 0] if self.n_outputs_ == 1 else y
        labels = self._label_binarizer.inverse_transform(targets)
        if issparse(labels):
            labels = labels.toarray()
        added = labels[:0]
        if self.class_weight != "balanced":
            # A batch of partial_fit may lack classes that have a weight.
            added = self.classes_
            if labels.ndim == 2:
                added = np.repeat([[0], [1]], y.shape[1], axis=1)
        every = np.concatenate([added, labels])
        by_class = compute_sample_weight(self.class_weight, every)[len(added) :]
        by_class = super()._weights(y, by_class)
        return by_class if weights is None else by_class * weights


class MLPRegressor(_MLP, neural_network.MLPRegressor):
    """A multi-layer perceptron for regression, for any array library.

    Parameters, defaults and attributes are the same as in
    `sklearn.neural_network.MLPRegressor`, but `loss` must be "squared_error". All else
    is as for `MLPClassifier`.

    Args:
        dtype (str | None): As for `MLPClassifier`.
        device (str | None): As for `MLPClassifier`.
        backend (str | None): As for `MLPClassifier`.

    Raises:
        ValueError: As for `MLPClassifier`.
        BackendError: As for `MLPClassifier`.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(100, 4))
        >>> network = MLPRegressor(hidden_layer_sizes=(5,), tol=0.1)
        >>> network.fit(X, X @ [1, 2, 3, 4]).predict(X[:3]).shape
        (3,)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **neural_network.MLPRegressor._parameter_constraints,
        **_MLP._constraints,
        "loss": [StrOptions({"squared_error"})],
    }
    _metric = staticmethod(r2_score)
    __init__ = with_parameters_of(neural_network.MLPRegressor.__init__)
