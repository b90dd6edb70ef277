"""MLPClassifier and MLPRegressor: scikit-learn's own, trained by the package's steps where the arrays are."""

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from scipy.sparse import issparse
from sklearn import get_config, neural_network
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer
from sklearn.utils import check_random_state, shuffle
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from mlp_xp.backends import DTYPES
from mlp_xp.core.dataset import unchanged
from mlp_xp.core.functional import Array
from mlp_xp.core.library import Backend
from mlp_xp.core.losses import binary_cross_entropy, log_softmax, probability, softmax
from mlp_xp.core.metrics import all_finite, compiled, copy_network, make_logits
from mlp_xp.core.network import Layer, Network
from mlp_xp.core.optimizers import OPTIMIZERS
from mlp_xp.core.step import State
from mlp_xp.core.task import CLASSES, LABELS, REGRESSION, Task
from mlp_xp.estimator.epochs import ACTIVATIONS, make_config, make_epoch
from mlp_xp.estimator.places import (
    check_unmasked,
    choose_backend,
    is_foreign,
    stand_in,
    to_host,
    transfer,
)

# Another parameter of scikit-learn's, which a later version may have, is refused until it is supported.
SUPPORTED = (
    "self", "loss", "hidden_layer_sizes", "activation", "solver", "alpha", "batch_size", "learning_rate",
    "learning_rate_init", "power_t", "max_iter", "shuffle", "random_state", "tol", "verbose", "warm_start", "momentum",
    "nesterovs_momentum", "early_stopping", "validation_fraction", "beta_1", "beta_2", "epsilon", "n_iter_no_change",
    "max_fun",
)  # fmt: skip
# Frames from `_train` to the caller of `fit`, at which warnings point: `_train`, `_fit`, `fit`, scikit-learn's wrapper.
CALLER = 5


def with_parameters_of(theirs: Callable[..., None], *added: str) -> Callable[..., None]:
    """Return an `__init__` with the parameters and defaults of scikit-learn's, and further ones, which are None."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    known = [each for name, each in inspect.signature(theirs).parameters.items() if name in SUPPORTED]
    signature = inspect.Signature([*known, *(inspect.Parameter(name, keyword, default=None) for name in added)])

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        given = signature.bind(self, *args, **kwargs)
        given.apply_defaults()
        for name in [*signature.parameters][1:]:
            setattr(self, name, given.arguments[name])

    __init__.__signature__ = signature  # type: ignore[attr-defined]  # which `get_params` and `help` read
    return __init__


def _both(logits: Array, /, *, xp: Any) -> Array:
    """Return logits (n, 2) of two classes, which have one output, (n, 1), and others as they are."""
    return xp.concat([-logits, logits], axis=1) if logits.shape[1] == 1 else logits


def label_probabilities(logits: Array, /, *, xp: Any) -> Array:
    """Return sigmoid(z), (n, outputs), or sigmoid(-z) and sigmoid(z), (n, 2), for one output."""
    return probability(_both(logits, xp=xp), xp=xp)


def log_label_probabilities(logits: Array, /, *, xp: Any) -> Array:
    """Return the logarithms of `label_probabilities`: minus the loss of each output if its label is 1."""
    z = _both(logits, xp=xp)[..., None]
    return -binary_cross_entropy(z, xp.ones_like(z), xp=xp)


Links = Mapping[Task, Callable[..., Array]]
PREDICTIONS: Links = {task: task.link for task in (CLASSES, LABELS, REGRESSION)}
PROBABILITIES: Links = {CLASSES: softmax, LABELS: label_probabilities}
LOG_PROBABILITIES: Links = {CLASSES: log_softmax, LABELS: log_label_probabilities}


class _MLP(BaseEstimator):
    """What replaces training and prediction in scikit-learn's classes, which do the rest."""

    _constraints: ClassVar[dict[str, list[Any]]] = {
        "solver": [StrOptions({"sgd", "adam"})],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "dtype": [StrOptions({*DTYPES}), None],
        "device": [str, None],
        "backend": [str, None],
    }
    _metric: Callable[..., float]
    _optimizer: Any
    _slots: list[Array]
    loss_: float
    best_loss_: Any
    """None with early stopping; the next two are None without."""
    validation_scores_: Any
    best_validation_score_: Any

    @property
    def _task(self) -> Task:
        return {"softmax": CLASSES, "logistic": LABELS, "identity": REGRESSION}[self.out_activation_]

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Restore all attributes if training fails: the model is that of the last fit, or not fitted."""
        before = {name: list(value) if isinstance(value, list) else value for name, value in vars(self).items()}
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _fit(self, X: Any, y: Any, sample_weight: Any = None, incremental: bool = False) -> Self:
        with self._all_or_nothing():
            if incremental and self.early_stopping:
                raise ValueError("partial_fit does not support early_stopping=True")
            sizes = np.atleast_1d(self.hidden_layer_sizes).tolist()
            if min(sizes, default=1) <= 0:
                raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
            check_unmasked(X=X, y=y, sample_weight=sample_weight)
            first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
            X, y = self._validate_input(X, to_host(y), incremental, first)
            y = y.reshape(len(y), -1)
            self.n_outputs_ = y.shape[1]
            weights = self._weights(y, to_host(sample_weight), incremental)
            backend = choose_backend(X, self.backend, self.device, self.dtype)
            self._random_state = check_random_state(self.random_state)
            shape = {"hidden_layer_sizes": sizes, "activation": self.activation, "outputs": y.shape[1]}
            if first:
                self._initialize(y, [X.shape[1], *sizes, y.shape[1]], np.float64)
                del self._best_coefs, self._best_intercepts
                self._shape = shape
            elif shape != self._shape:
                raise ValueError(
                    f"the network in training has {self._shape}, not {shape}; set the parameters back, or train a new "
                    "network with fit and warm_start=False"
                )
            if incremental and hasattr(self, "_optimizer"):
                self._optimizer = copy(self._optimizer)  # so that the old one can be restored
            else:
                self._optimizer, self._slots = self._make_optimizer(), []
            there = transfer(X, backend, backend.dtype, copy=False)
            (network, slots), loss = self._train(there, y, weights, backend, incremental)
            # Adam's infinite slots let no weight change. With early stopping they are later than the network.
            layers = [*network, *(slot for each in slots for slot in each if not self.early_stopping)]
            # On the host, because there nothing has to be compiled.
            arrays = [backend.to_numpy(array) for layer in layers for array in layer]
            if not (np.isfinite(loss) and all(np.isfinite(each).all() for each in arrays)):
                raise ValueError(
                    "training diverged: the loss, the weights or the optimizer's state are not finite; scale the "
                    "features and targets, or lower learning_rate_init"
                )
            self.coefs_ = [self._like(layer.weights, X) for layer in network]
            self.intercepts_ = [self._like(layer.bias, X) for layer in network]
            self._slots = [array for each in slots for slot in each for array in slot]
        return self

    @np.errstate(over="ignore", invalid="ignore")  # scikit-learn adds up all numbers
    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Array, np.ndarray]:
        """Return X where it lives, (n, features), and targets on the host: numbers, or classes as 0 and 1."""
        if issparse(X):
            raise TypeError("sparse X is not supported; give X.toarray()")
        checked, y = super()._validate_input(stand_in(X) if is_foreign(X) else X, y, incremental, reset)
        return X if is_foreign(X) else checked, y

    def _weights(self, y: np.ndarray, given: Any, incremental: bool) -> np.ndarray | None:
        """Return the weights of the samples, float64 (n,), or None for equal ones."""
        if given is None:
            return None
        return _check_sample_weight(given, np.empty((len(y), 1)), dtype=np.float64, ensure_non_negative=True)

    def _make_optimizer(self) -> Any:
        """Return scikit-learn's optimiser, which keeps the rate and its own parameters, but no arrays."""
        rate = float(self.learning_rate_init)
        if self.solver == "adam":
            return AdamOptimizer([], rate, self.beta_1, self.beta_2, self.epsilon)
        return SGDOptimizer([], rate, self.learning_rate, self.momentum, self.nesterovs_momentum, self.power_t)

    def _network(self, backend: Backend, *, copy: bool) -> Network:
        """Return the network on the backend. copy: see `transfer`; training changes its arrays."""
        pairs = zip(self.coefs_, self.intercepts_, strict=True)
        return tuple(Layer(*(transfer(array, backend, backend.dtype, copy=copy) for array in pair)) for pair in pairs)

    def _state(self, slots: int, backend: Backend) -> State:
        """Return the network with what the last call of partial_fit or fit left to the optimiser, or zeros."""
        network = self._network(backend, copy=True)
        # Weights and bias of each slot of each layer; on the host, where nothing has to be compiled.
        zeros = [np.zeros(array.shape) for layer in network for array in (*layer,) * slots]
        arrays = iter([transfer(array, backend, backend.dtype) for array in self._slots or zeros])
        return State(network, tuple(tuple(Layer(next(arrays), next(arrays)) for _ in range(slots)) for _ in network))

    def _train(
        self, X: Array, y: np.ndarray, weights: np.ndarray | None, backend: Backend, incremental: bool
    ) -> tuple[State, float]:
        """Return what training leaves, with the loss of the epoch that its network is from."""
        if (self.best_loss_ is None) != self.early_stopping:  # which was changed since the last fit
            self._no_improvement_count = 0
            self.best_loss_ = None if self.early_stopping else np.inf
            self.validation_scores_ = [] if self.early_stopping else None
            self.best_validation_score_ = -np.inf if self.early_stopping else None
        rows, held_out = self._split(y) if self.early_stopping else (np.arange(len(y)), None)
        order = np.arange(len(rows))
        size = min(200 if self.batch_size == "auto" else int(self.batch_size), len(rows))
        if self.batch_size != "auto" and self.batch_size > size:
            message = f"batch_size={self.batch_size} is clipped to the {size} training samples"
            warnings.warn(message, stacklevel=CALLER)
        labels = np.argmax(y, axis=1) if self._task.exclusive else y
        labels = backend.asarray(labels, backend.dtype if self._task.floats else None)
        config = make_config(self.activation, self._optimizer, decays=self.alpha > 0)
        epoch = make_epoch(config, backend, self._task, X, labels, weights, size, float(self.alpha), self._optimizer)
        state = self._state(OPTIMIZERS[config.optimizer].slots, backend)
        best, loss = state.network, 0.0
        if held_out is not None:
            X_held_out = backend.xp.take(X, backend.asarray(held_out), axis=0)
            weights_held_out = None if weights is None else weights[held_out]
            best = copy_network(best, backend)
            if not np.isfinite(self.best_validation_score_):  # the network before training is no result
                loss = np.nan
        self.n_iter_ = 0
        try:
            for _ in range(1 if incremental else self.max_iter):
                if self.shuffle:
                    order = shuffle(order, random_state=self._random_state)
                state, self.loss_ = epoch(state, rows[order])
                self.n_iter_ += 1
                self.t_ += len(rows)
                self.loss_curve_.append(self.loss_)
                if self.verbose:
                    print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
                if held_out is not None:
                    outputs = backend.to_numpy(self._predictions(X_held_out, state.network, backend))
                    score = self._score(y[held_out], outputs, weights_held_out)
                    self.validation_scores_.append(score)
                    if self.verbose:
                        print(f"Validation score: {score:f}")
                    is_worse = score < self.best_validation_score_ + self.tol
                    if score > self.best_validation_score_:
                        self.best_validation_score_ = score
                        best, loss = copy_network(state.network, backend), self.loss_
                else:
                    is_worse = self.loss_ > self.best_loss_ - self.tol
                    self.best_loss_ = min(self.best_loss_, self.loss_)
                self._no_improvement_count = self._no_improvement_count + 1 if is_worse else 0
                self._optimizer.iteration_ends(self.t_)
                if self._no_improvement_count > self.n_iter_no_change:
                    message = f"No improvement by tol={self.tol:f} in {self.n_iter_no_change} epochs in a row."
                    if self._optimizer.trigger_stopping(message, self.verbose):
                        break
                    self._no_improvement_count = 0
            else:
                if not incremental:
                    warnings.warn(
                        f"training ended at max_iter={self.max_iter} before it converged; raise max_iter or tol",
                        ConvergenceWarning,
                        stacklevel=CALLER,
                    )
        except KeyboardInterrupt:
            if not self.n_iter_:
                raise
            warnings.warn("Training interrupted by user.", stacklevel=CALLER)
        return (state._replace(network=best), loss) if self.early_stopping else (state, self.loss_)

    def _split(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of the samples to train on, and of those held out, as scikit-learn draws them."""
        stratify = y[:, 0] if is_classifier(self) and self.n_outputs_ == 1 else None
        rows, held_out = train_test_split(
            np.arange(len(y)), random_state=self._random_state, test_size=self.validation_fraction, stratify=stratify
        )
        if len(held_out) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        return rows, held_out

    def _score(self, y: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None) -> float:
        """Return the score on held-out samples, whose targets are y (n, outputs)."""
        return float(self._metric(y, outputs, sample_weight=weights)) if np.isfinite(outputs).all() else np.nan

    def _predictions(self, X: Array, network: Network, backend: Backend, links: Links = PREDICTIONS) -> Array:
        """Return a function of the outputs of the last layer, (n, outputs) on the backend's device."""
        logits = make_logits(ACTIVATIONS[self._shape["activation"]], backend, unchanged)
        return compiled(links[self._task], backend)(logits(network, X, ()))

    def _outputs(self, X: Any, method: str, links: Links = PREDICTIONS) -> tuple[Array, Array]:
        """Return X as checked, and predictions (n, outputs) on the device where they were computed."""
        check_is_fitted(self)
        self._check_library(X, method)
        check_unmasked(X=X)
        place = {"dtype": (np.float64, np.float32), "reset": False}
        if is_foreign(X):
            validate_data(self, stand_in(X), ensure_all_finite=False, **place)
        else:
            with np.errstate(over="ignore", invalid="ignore"):  # as in `_validate_input`
                X = validate_data(self, X, **place)
        backend = choose_backend(X, self.backend, self.device, self.dtype)
        network = self._network(backend, copy=False)
        outputs = self._predictions(transfer(X, backend, backend.dtype, copy=False), network, backend, links)
        if not all_finite([outputs], backend):
            row = int(np.argmin(np.isfinite(backend.to_numpy(outputs)).all(axis=1)))
            raise ValueError(
                f"X: the outputs for row {row} are not finite in {backend.dtype_name}; scale X as in training, or "
                "correct this row"
            )
        return X, outputs

    def _check_library(self, X: Any, method: str) -> None:
        """Raise ValueError for X of another library than in training, where scikit-learn's array_api_dispatch is on.

        It asks for this; else the network is copied to where X lives, as is one that NumPy arrays hold.
        """
        if get_config()["array_api_dispatch"] and is_foreign(self.coefs_[0]):
            arrays = self.coefs_[0], X if is_foreign(X) else np.empty(0)
            fitted, given = (f"{each.name} on {each.device_name}" for each in map(choose_backend, arrays))
            if fitted != given:
                raise ValueError(
                    f"Inputs passed to {type(self).__name__}.{method}() must use the same namespace and the same "
                    f"device as those passed to fit(): {fitted}"
                )

    @staticmethod
    def _like(array: Array, X: Array) -> Array:
        """Return an array on the device of X and in its library."""
        return transfer(array, choose_backend(X), copy=False)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy, the share of samples that have their class, or all their labels, right; or R²."""
        check_unmasked(y=y, sample_weight=sample_weight)
        return float(self._metric(to_host(y), to_host(self.predict(X)), sample_weight=to_host(sample_weight)))

    def __getstate__(self) -> dict[str, Any]:
        """Keep arrays as NumPy arrays, so that a model loads where its library or its GPU is missing."""
        state = dict(super().__getstate__())
        lists = ("coefs_", "intercepts_", "_slots")
        return {**state, **{name: [*map(to_host, state[name])] for name in lists if name in state}}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support, tags.input_tags.sparse = True, False
        return tags


class MLPClassifier(_MLP, neural_network.MLPClassifier):
    """A multi-layer perceptron for classes or several labels, for arrays of any library.

    Parameters, defaults, attributes and numbers are those of `sklearn.neural_network.MLPClassifier`; given the same
    random_state, so are the weights, up to rounding. It trains where X lives: NumPy arrays on NumPy, CuPy arrays on
    their GPU, PyTorch tensors on their device, JAX arrays compiled; y and weights may live elsewhere. Predictions are
    of X's kind. Not supported: solver="lbfgs", sparse X, momentum=1.

    These differ:

    - Losses are exact, and so is `predict_log_proba`. scikit-learn takes logarithms of rounded probabilities, and for
      losses clips them at eps: no output of a sample has a loss above 36, or 16 in float32, so that a fit that ends
      because the loss stays the same may end earlier.
    - With warm_start and early_stopping, another fit ends with the best network so far. That of scikit-learn (1.9) ends
      with the last one if no score is better, because it trains the arrays in which it keeps the best one.
    - A loss that is not finite is an error. scikit-learn returns the network as long as its weights are finite.
    - After an error the estimator is what it was before. With warm_start and in partial_fit, another network than that
      in training is a ValueError.

    Further parameters:

    class_weight: weights of the classes, {class: weight} or "balanced"; None for equal ones. dtype: "float64" or
    "float32", for parameters and arithmetic; None for float32 if X is, else float64. backend, device: the array library
    and device to compute with, as `mlp_xp.open_backend` takes them, instead of X's own.

    Besides scikit-learn's errors, `fit` raises ValueError for training that diverges and for masked values, and
    `BackendError` for a backend, device or dtype that is not available.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **neural_network.MLPClassifier._parameter_constraints,
        **_MLP._constraints,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
    }
    _metric = staticmethod(accuracy_score)
    __init__ = with_parameters_of(neural_network.MLPClassifier.__init__, "class_weight", "dtype", "device", "backend")

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train for one epoch, from where the last call of `fit` or `partial_fit` ended.

        classes: all classes there will be, (classes,); needed in the first call. The optimiser's parameters, from
        `solver` to `epsilon`, are those of the first call; another network raises ValueError. Otherwise as `fit`.
        """
        with self._all_or_nothing():
            return super().partial_fit(X, to_host(y), sample_weight, to_host(classes))

    def predict(self, X: Any) -> Array:
        """Return the classes (n,), or 0 and 1 for several labels (n, labels). Names of classes are a NumPy array."""
        X, outputs = self._outputs(X, "predict")
        labels = self._labels(to_host(outputs))
        return self._like(labels, X) if labels.dtype.kind in "biuf" else labels

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the classes in `classes_`, or of each of several labels, (n, classes)."""
        X, outputs = self._outputs(X, "predict_proba", PROBABILITIES)
        return self._like(outputs, X)

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of `predict_proba`, which are finite even where a probability underflows to 0."""
        X, outputs = self._outputs(X, "predict_log_proba", LOG_PROBABILITIES)
        return self._like(outputs, X)

    def _labels(self, outputs: np.ndarray) -> np.ndarray:
        return self._label_binarizer.inverse_transform(outputs[:, 0] if self.n_outputs_ == 1 else outputs)

    def _score(self, y: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None) -> float:
        return float(accuracy_score(self._labels(y), self._labels(outputs), sample_weight=weights))

    def _weights(self, y: np.ndarray, given: Any, incremental: bool) -> np.ndarray | None:
        weights = super()._weights(y, given, incremental)
        if self.class_weight is None:
            return weights
        labels = self._labels(y)
        if self.class_weight != "balanced":  # of all classes, some of which a batch of partial_fit may lack
            known = self.classes_ if labels.ndim == 1 else np.repeat([[0], [1]], y.shape[1], axis=1)
            of_classes = compute_sample_weight(self.class_weight, np.concatenate([known, labels]))[len(known) :]
        elif incremental:
            raise ValueError("class_weight='balanced' is not supported for partial_fit; give the weight of each class")
        else:
            of_classes = compute_sample_weight("balanced", labels)
        of_classes = super()._weights(y, of_classes, incremental)
        return of_classes if weights is None else of_classes * weights


class MLPRegressor(_MLP, neural_network.MLPRegressor):
    """A multi-layer perceptron for regression, for arrays of any library.

    As `MLPClassifier`, with the parameters of `sklearn.neural_network.MLPRegressor`. loss: only "squared_error".
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **neural_network.MLPRegressor._parameter_constraints,
        **_MLP._constraints,
        "loss": [StrOptions({"squared_error"})],
    }
    _metric = staticmethod(r2_score)
    __init__ = with_parameters_of(neural_network.MLPRegressor.__init__, "dtype", "device", "backend")

    def predict(self, X: Any) -> Array:
        """Return the predicted numbers, (n,), or (n, outputs) for several outputs."""
        X, outputs = self._outputs(X, "predict")
        return self._like(outputs[:, 0] if self.n_outputs_ == 1 else outputs, X)
