"""MLPClassifier and MLPRegressor: scikit-learn's interface, the package's network."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from numbers import Integral, Real
from types import SimpleNamespace
from typing import Any, ClassVar, Self

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, _fit_context, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import check_array, check_consistent_length, check_random_state, column_or_1d, shuffle
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from mlp_xp.backends import DTYPES
from mlp_xp.core.chunk import TrainingSet
from mlp_xp.core.features import unchanged
from mlp_xp.core.functional import Array
from mlp_xp.core.library import Backend
from mlp_xp.core.losses import binary_cross_entropy, log_softmax, probability, softmax
from mlp_xp.core.metrics import all_finite, compiled, copy_network, functions_of
from mlp_xp.core.network import Layer, Network
from mlp_xp.core.optimizers import OPTIMIZERS as CORE_OPTIMIZERS
from mlp_xp.core.step import State
from mlp_xp.core.task import CLASSES, LABELS, REGRESSION, Task
from mlp_xp.estimator.epochs import ACTIVATIONS, OPTIMIZERS, make_config, make_epoch
from mlp_xp.estimator.places import (
    check_features,
    check_unmasked,
    choose_backend,
    is_foreign,
    to_host,
    transfer,
)

# scikit-learn's bounds on the uniform initial weights are sqrt(factor / (inputs + outputs)).
FACTORS = {"logistic": 2.0}
FACTOR = 6.0
LEAST_RATE = 1e-6  # at which learning_rate="adaptive" gives up
ARRAYS = ("coefs_", "intercepts_", "_slots")
# As in scikit-learn, those of the first call of partial_fit hold in all.
OF_OPTIMIZER = (
    "solver", "learning_rate", "learning_rate_init", "power_t", "momentum", "nesterovs_momentum", "beta_1", "beta_2",
    "epsilon",
)  # fmt: skip
# Frames from `_train` to the caller of `fit`, at which warnings point: `_train`, `_fit_network`, `_fit`, `fit` and
# scikit-learn's wrapper.
CALLER = 6


Link = Callable[..., Array]


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


PROBABILITIES = {CLASSES: softmax, LABELS: label_probabilities}
LOG_PROBABILITIES = {CLASSES: log_softmax, LABELS: log_label_probabilities}


def _largest(array: np.ndarray, first: int = 0) -> str:
    """Return the number of a matrix with the largest absolute value and its place. first: the first row's number."""
    row, column = np.unravel_index(np.argmax(np.abs(array)), array.shape)
    return f"{float(array[row, column]):g} (row {row + first}, column {column})"


class _MLP(BaseEstimator, ABC):
    """What both estimators share."""

    coefs_: list[Array]
    """Of each layer, (inputs, outputs), in the library of X."""
    intercepts_: list[Array]
    """Of each layer, (outputs,), in the library of X."""
    loss_: float
    best_loss_: Any
    """None with early stopping; the next two are None without."""
    validation_scores_: Any
    best_validation_score_: Any

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({*ACTIVATIONS})],
        "solver": [StrOptions({*OPTIMIZERS, "lbfgs"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dtype": [StrOptions({*DTYPES}), None],
        "device": [str, None],
        "backend": [str, None],
    }

    def _store(self, parameters: dict[str, Any]) -> None:
        """Store the parameters of `__init__`, from its `locals()`, as attributes of the same names."""
        for name in self._get_param_names():
            setattr(self, name, parameters[name])

    @abstractmethod
    def _check_y(self, y: np.ndarray, incremental: bool) -> np.ndarray:
        """Return the targets, (n, outputs) on the host, and learn the classes."""

    def _sample_weights(self, y: np.ndarray, weights: np.ndarray | None, incremental: bool) -> np.ndarray | None:
        """Return the weights of the samples, (n,), or None."""
        return weights

    @abstractmethod
    def _score(self, X: Array, y: np.ndarray, weights: np.ndarray | None, network: Network, backend: Backend) -> float:
        """Return the score on held-out samples, whose targets are y (n, outputs)."""

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

    def _fit(self, X: Any, y: Any, sample_weight: Any, incremental: bool) -> Self:
        with self._all_or_nothing():
            self._fit_network(X, y, sample_weight, incremental)
        return self

    def _fit_network(self, X: Any, y: Any, sample_weight: Any, incremental: bool) -> None:
        sizes = self._check_settings(incremental)
        check_unmasked(X=X, y=y, sample_weight=sample_weight)
        first = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        X, y, sample_weight = self._check_input(X, to_host(y), to_host(sample_weight), first)
        given, y = y, self._check_y(y, incremental)
        sample_weight = self._sample_weights(given if given.ndim == 1 else y, sample_weight, incremental)
        backend = choose_backend(X, self.backend, self.device, self.dtype)
        self.n_outputs_ = y.shape[1]
        self._random_state = check_random_state(self.random_state)
        if first:
            self._initialize([X.shape[1], *sizes, y.shape[1]])
        else:
            self._check_same_network(sizes)
        if not incremental or not hasattr(self, "_optimizer"):
            self._optimizer = SimpleNamespace(**{name: getattr(self, name) for name in OF_OPTIMIZER})
            self._rate, self._steps = float(self.learning_rate_init), 0
            self._slots = []
        network = self._network(backend, copy=True)
        state = State(network, self._slots_on(network, backend))
        (network, slots), loss = self._train(
            state, transfer(X, backend, backend.dtype, copy=False), y, sample_weight, backend, incremental
        )

        def are_finite(layers: Any) -> bool:
            # On the host, because there nothing has to be compiled.
            return all(np.isfinite(backend.to_numpy(array)).all() for layer in layers for array in layer)

        for name, is_finite in (
            ("weights are", are_finite(network)),
            ("loss is", np.isfinite(loss)),
            # Adam's infinite slots let no weight change. With early stopping they are later than the network.
            ("state of the optimizer is", self.early_stopping or all(map(are_finite, slots))),
        ):
            if not is_finite:
                raise ValueError(
                    f"training diverged: the {name} not finite; scale the features and targets, or lower "
                    f"learning_rate_init; the largest number in X is {_largest(to_host(X))}"
                )
        self.coefs_ = [self._like(layer.weights, backend, X) for layer in network]
        self.intercepts_ = [self._like(layer.bias, backend, X) for layer in network]
        self._slots = [array for each in slots for slot in each for array in slot]

    def _check_same_network(self, sizes: list[int]) -> None:
        """Raise ValueError unless the network in training is the one that the parameters and the targets ask for."""
        *hidden, outputs = (int(weights.shape[1]) for weights in self.coefs_)
        for name, before, now in (
            ("hidden_layer_sizes", hidden, [int(size) for size in sizes]),
            ("activation", self._activation, self.activation),
            ("the number of outputs in y", outputs, self.n_outputs_),
        ):
            if before != now:
                raise ValueError(
                    f"{name} is {now}, but the network in training has {before}; set it back, or train a new network "
                    "with fit and warm_start=False"
                )

    def _check_settings(self, incremental: bool) -> list[int]:
        """Return the hidden units. Raises ValueError for settings that are not supported or do not fit together."""
        if self.solver == "lbfgs":
            raise ValueError("solver='lbfgs' is not supported; choose 'adam' or 'sgd', or scikit-learn's own class")
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if any(size <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return sizes

    @np.errstate(over="ignore", invalid="ignore")  # scikit-learn adds up all numbers
    def _check_input(self, X: Any, y: Any, sample_weight: Any, reset: bool) -> tuple[Array, Any, np.ndarray | None]:
        """Return X where it lives, (n, features), y as it is or as NumPy, and the weights, float64 (n,) or None."""
        numeric = not is_classifier(self)
        if is_foreign(X):
            check_features(X)
            validate_data(self, X=X, reset=reset, skip_check_array=True)
            y = check_array(y, ensure_2d=False, dtype="numeric" if numeric else None, input_name="y", estimator=self)
            check_consistent_length(np.empty(X.shape[0]), y)
        else:
            dtypes = (np.float64, np.float32)
            X, y = validate_data(self, X, y, multi_output=True, y_numeric=numeric, dtype=dtypes, reset=reset)
        if numeric and (not isinstance(y, np.ndarray) or y.dtype.kind not in "biuf"):
            found = f"its dtype is {y.dtype}" if isinstance(y, np.ndarray) else f"it is a {type(y).__name__}"
            raise TypeError(f"y: {found}; a regression needs numbers, in a dense array")
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, np.empty((X.shape[0], 1)), dtype=np.float64)
            if (negative := sample_weight < 0).any():
                row = int(np.argmax(negative))
                raise ValueError(f"sample_weight: row {row} is {sample_weight[row]:g}; weights must be at least 0")
        return X, y, sample_weight

    def _initialize(self, sizes: list[int]) -> None:
        self.n_iter_ = self.t_ = 0
        self.n_layers_ = len(sizes)
        self._activation = self.activation
        self.coefs_, self.intercepts_ = [], []
        for inputs, outputs in pairwise(sizes):
            weights, bias = self._init_coef(inputs, outputs)
            self.coefs_.append(weights)
            self.intercepts_.append(bias)
        self.loss_curve_: list[float] = []
        self._initialize_best()

    def _initialize_best(self) -> None:
        self._no_improvement_count = 0
        self.best_loss_ = None if self.early_stopping else np.inf
        self.validation_scores_ = [] if self.early_stopping else None
        self.best_validation_score_ = -np.inf if self.early_stopping else None

    def _init_coef(self, inputs: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
        """Return initial weights and biases, drawn as scikit-learn does (Glorot and Bengio, 2010)."""
        bound = np.sqrt(FACTORS.get(self.activation, FACTOR) / (inputs + outputs))
        weights = self._random_state.uniform(-bound, bound, (inputs, outputs))
        return weights, self._random_state.uniform(-bound, bound, outputs)

    def _network(self, backend: Backend, *, copy: bool) -> Network:
        """Return the network on the backend. copy: see `transfer`; training changes its arrays."""
        pairs = zip(self.coefs_, self.intercepts_, strict=True)
        return tuple(Layer(*(transfer(array, backend, backend.dtype, copy=copy) for array in pair)) for pair in pairs)

    def _slots_on(self, network: Network, backend: Backend) -> tuple[Any, ...]:
        """Return the state of the optimiser: the one that the last call of partial_fit or fit left, or zeros."""
        optimizer = CORE_OPTIMIZERS[OPTIMIZERS[self._optimizer.solver]]
        kept = self._slots
        if not kept:  # on the host too, where nothing has to be compiled
            shapes = [Layer(*(np.zeros(array.shape) for array in layer)) for layer in network]
            kept = [array for each in shapes for slot in optimizer.empty_slots(each, xp=np) for array in slot]
        arrays = iter([transfer(array, backend, backend.dtype) for array in kept])
        return tuple(tuple(Layer(next(arrays), next(arrays)) for _ in range(optimizer.slots)) for _ in network)

    def _train(
        self, state: State, X: Array, y: np.ndarray, weights: np.ndarray | None, backend: Backend, incremental: bool
    ) -> tuple[State, float]:
        """Return what training leaves, with the loss of the epoch that its network is from."""
        if (self.best_loss_ is None) != self.early_stopping:
            self._initialize_best()
        rows, held_out = np.arange(len(y)), None
        if self.early_stopping:
            stratify = y[:, 0] if is_classifier(self) and self.n_outputs_ == 1 else None
            rows, chosen = train_test_split(
                rows, random_state=self._random_state, test_size=self.validation_fraction, stratify=stratify
            )
            if len(chosen) < 2:
                raise ValueError(
                    "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
                )
            held_out = (
                backend.xp.take(X, backend.asarray(chosen), axis=0),
                y[chosen],
                weights if weights is None else weights[chosen],
            )
        size = self._batch(len(rows))
        labels = np.argmax(y, axis=1) if self._task.exclusive else y
        samples = TrainingSet(X, backend.asarray(labels, backend.dtype if self._task.floats else None))
        config = make_config(self, self._optimizer)
        epoch = make_epoch(config, backend, self._task, samples, weights, size, float(self.alpha))
        best, loss = state.network, 0.0
        if held_out is not None:
            best = copy_network(state.network, backend)
            if not np.isfinite(self.best_validation_score_):  # the network before training is no result
                loss = np.nan
        order = np.arange(len(rows))
        self.n_iter_ = 0
        try:
            while self.n_iter_ < self.max_iter:
                if self.shuffle:
                    order = shuffle(order, random_state=self._random_state)
                state, self.loss_ = epoch(state, rows[order], self._rate, self._steps)
                self._steps += -(-len(rows) // size)
                self.n_iter_ += 1
                self.t_ += len(rows)
                self.loss_curve_.append(self.loss_)
                if self.verbose:
                    print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
                if held_out is None:
                    self._count_loss()
                elif self._count_score(self._score(*held_out, state.network, backend)):
                    best, loss = copy_network(state.network, backend), self.loss_
                optimizer = self._optimizer
                if optimizer.solver == "sgd" and optimizer.learning_rate == "invscaling":
                    self._rate = float(optimizer.learning_rate_init) / (self.t_ + 1) ** optimizer.power_t
                if self._no_improvement_count > self.n_iter_no_change and self._gives_up():
                    break
                if incremental:
                    break
                if self.n_iter_ == self.max_iter:
                    warnings.warn(
                        f"training ended at max_iter={self.max_iter} before it converged; raise max_iter or tol",
                        ConvergenceWarning,
                        stacklevel=CALLER,
                    )
        except KeyboardInterrupt:
            if not self.n_iter_:
                raise
            warnings.warn("Training interrupted by user.", stacklevel=CALLER)
        return (state, self.loss_) if held_out is None else (state._replace(network=best), loss)

    def _batch(self, samples: int) -> int:
        if self.batch_size == "auto":
            return min(200, samples)
        if self.batch_size > samples:
            message = f"batch_size={self.batch_size} is clipped to the {samples} training samples"
            warnings.warn(message, stacklevel=CALLER + 1)
        return min(int(self.batch_size), samples)

    def _count_loss(self) -> None:
        """Count the epochs in a row in which the loss did not fall by tol."""
        worse = self.loss_ > self.best_loss_ - self.tol
        self._no_improvement_count = self._no_improvement_count + 1 if worse else 0
        self.best_loss_ = min(self.best_loss_, self.loss_)

    def _count_score(self, score: float) -> bool:
        """Count the epochs in a row in which the score did not rise by tol. Returns whether it is the best so far."""
        self.validation_scores_.append(score)
        if self.verbose:
            print(f"Validation score: {score:f}")
        worse = score < self.best_validation_score_ + self.tol
        self._no_improvement_count = self._no_improvement_count + 1 if worse else 0
        if is_best := score > self.best_validation_score_:
            self.best_validation_score_ = score
        return is_best

    def _gives_up(self) -> bool:
        """Return whether to stop now that there is no improvement; learning_rate="adaptive" first lowers the rate."""
        optimizer = self._optimizer
        if optimizer.solver == "sgd" and optimizer.learning_rate == "adaptive" and self._rate > LEAST_RATE:
            self._rate /= 5
            self._no_improvement_count = 0
            return False
        if self.verbose:
            print(f"No improvement by tol={self.tol:f} in {self.n_iter_no_change} epochs in a row. Stopping.")
        return True

    def _predictions(self, X: Array, network: Network, backend: Backend, link: Link | None = None) -> Array:
        """Return probabilities, or for regression numbers, (n, outputs) on the backend's device.

        link: another function of the outputs of the last layer.
        """
        run = functions_of(ACTIVATIONS[self._activation], backend, unchanged, self._task)
        logits = run.logits(network, X, ())
        return compiled(link or self._task.link, backend)(logits)

    def _outputs(self, X: Any, method: str, link: Link | None = None) -> tuple[Array, Array, Backend]:
        """Return predictions (n, outputs) with the backend on which they are, after X as checked."""
        check_is_fitted(self)
        self._check_library(X, method)
        check_unmasked(X=X)
        if is_foreign(X):
            check_features(X)
            validate_data(self, X=X, reset=False, skip_check_array=True)
        else:
            with np.errstate(over="ignore", invalid="ignore"):  # as in `_check_input`
                X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        backend = choose_backend(X, self.backend, self.device, self.dtype)
        network = self._network(backend, copy=False)
        outputs = self._predictions(transfer(X, backend, backend.dtype, copy=False), network, backend, link)
        if not all_finite([outputs], backend):
            row = int(np.argmin(np.isfinite(backend.to_numpy(outputs)).all(axis=1)))
            raise ValueError(
                f"X: {_largest(to_host(X)[row : row + 1], row)} is too large for the network in {backend.dtype_name}: "
                "its outputs are not finite; scale X as in training, or correct it"
            )
        return X, outputs, backend

    def _check_library(self, X: Any, method: str) -> None:
        """Raise ValueError for X of another library than in training, where scikit-learn's array_api_dispatch is on.

        It asks for this; else the network is copied to where X lives, as is one that NumPy arrays hold.
        """
        if not get_config()["array_api_dispatch"] or not is_foreign(self.coefs_[0]):
            return
        fitted, given = choose_backend(self.coefs_[0], None, None, None), None
        if is_foreign(X):
            given = choose_backend(X, None, None, None)
        if given is None or (given.name, given.device_name) != (fitted.name, fitted.device_name):
            raise ValueError(
                f"Inputs passed to {type(self).__name__}.{method}() must use the same namespace and the same device as "
                f"those passed to fit(): {fitted.name} on {fitted.device_name}"
            )

    @staticmethod
    def _like(array: Array, backend: Backend, X: Array) -> Array:
        """Return an array of the backend on the device of X and in its library."""
        return transfer(array, choose_backend(X, None, None, None), copy=False)

    def __getstate__(self) -> dict[str, Any]:
        """Keep arrays as NumPy arrays, so that a model loads where its library or its GPU is missing."""
        state = dict(super().__getstate__())
        return {**state, **{name: [*map(to_host, state[name])] for name in ARRAYS if name in state}}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        return tags


class MLPClassifier(ClassifierMixin, _MLP):
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

    Further parameters:

    class_weight: weights of the classes, {class: weight} or "balanced"; None for equal ones. dtype: "float64" or
    "float32", for parameters and arithmetic; None for float32 if X is, else float64. backend, device: the array library
    and device to compute with, as `mlp_xp.open_backend` takes them, instead of X's own.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **_MLP._parameter_constraints,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        class_weight: Any = None,
        dtype: str | None = None,
        device: str | None = None,
        backend: str | None = None,
    ) -> None:
        self._store(locals())

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on X, floats or integers (n, features), and y: classes (n,), or 0 and 1 for several labels (n, labels).

        sample_weight: (n,), at least 0; None for equal weights. As in scikit-learn, alpha is divided by their sum over
        a batch, so they should be 1 on average. Raises ValueError for arrays that do not fit, for numbers that are too
        large and for training that diverges, and `BackendError` for a backend, device or dtype that is not available.
        After an error the estimator is what it was before. Gives a ConvergenceWarning at max_iter.
        """
        return self._fit(X, y, sample_weight, incremental=False)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train for one epoch, from where the last call of `fit` or `partial_fit` ended.

        classes: all classes there will be, (classes,); needed in the first call. The optimiser's parameters, from
        `solver` to `epsilon`, are those of the first call; another network raises ValueError. Otherwise as `fit`.
        """
        classes = to_host(classes)
        with self._all_or_nothing():
            if _check_partial_fit_first_call(self, classes):
                y = to_host(y)
                several = type_of_target(y).startswith("multilabel")
                self._label_binarizer = LabelBinarizer().fit(y if several else classes)
            return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Array:
        """Return the classes (n,), or 0 and 1 for several labels (n, labels). Names of classes are a NumPy array."""
        X, outputs, backend = self._outputs(X, "predict")
        labels = self._labels(outputs, backend)
        return (
            labels
            if labels.dtype.kind not in "biuf" or not is_foreign(X)
            else transfer(labels, choose_backend(X, None, None, None))
        )

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the classes in `classes_`, or of each of several labels, (n, classes)."""
        check_is_fitted(self)
        X, outputs, backend = self._outputs(X, "predict_proba", PROBABILITIES[self._task])
        return self._like(outputs, backend, X)

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of `predict_proba`, which are finite even where a probability underflows to 0."""
        check_is_fitted(self)
        X, outputs, backend = self._outputs(X, "predict_log_proba", LOG_PROBABILITIES[self._task])
        return self._like(outputs, backend, X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy: the share of samples that have their class, or all their labels, right."""
        check_unmasked(y=y, sample_weight=sample_weight)
        return float(accuracy_score(to_host(y), to_host(self.predict(X)), sample_weight=to_host(sample_weight)))

    def _labels(self, outputs: Array, backend: Backend) -> np.ndarray:
        host = backend.to_numpy(outputs)
        return self._label_binarizer.inverse_transform(host[:, 0] if self.n_outputs_ == 1 else host)

    def _score(self, X: Array, y: np.ndarray, weights: np.ndarray | None, network: Network, backend: Backend) -> float:
        predicted = self._labels(self._predictions(X, network, backend), backend)
        return float(accuracy_score(self._label_binarizer.inverse_transform(y), predicted, sample_weight=weights))

    def _sample_weights(self, y: np.ndarray, weights: np.ndarray | None, incremental: bool) -> np.ndarray | None:
        if self.class_weight is None:
            return weights
        if incremental and self.class_weight == "balanced":
            raise ValueError("class_weight='balanced' is not supported for partial_fit; give the weight of each class")
        if self.class_weight == "balanced":
            of_classes = compute_sample_weight("balanced", y)
        else:  # of all classes, some of which a batch of partial_fit may lack
            known = self.classes_ if y.ndim == 1 else np.repeat([[0], [1]], y.shape[1], axis=1)
            of_classes = compute_sample_weight(self.class_weight, np.concatenate([known, y]))[len(known) :]
        if not (np.isfinite(of_classes).all() and (of_classes >= 0).all()):
            raise ValueError(f"class_weight: {self.class_weight!r:.80}; weights must be finite and at least 0")
        return of_classes if weights is None else of_classes * weights

    def _check_y(self, y: np.ndarray, incremental: bool) -> np.ndarray:
        # As in scikit-learn, which classes are known decides: partial_fit may lack some, warm_start must have all.
        if not hasattr(self, "classes_") or (not self.warm_start and not incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            given = unique_labels(y)
            classes = {*given}
            if self.warm_start and classes != {*self.classes_}:
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                    f"Previously got {self.classes_}, `y` has {given}"
                )
            if not classes <= {*self.classes_}:
                raise ValueError(f"`y` has classes not in `self.classes_`: it has {given}, not {self.classes_}")
        several = self._label_binarizer.y_type_ == "multiclass"
        self.out_activation_ = "softmax" if several else "logistic"
        return self._label_binarizer.transform(y).astype(np.uint8)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, _MLP):
    """A multi-layer perceptron for regression, for arrays of any library.

    As `MLPClassifier`, with the parameters of `sklearn.neural_network.MLPRegressor`. loss: only "squared_error".
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **_MLP._parameter_constraints,
        "loss": [StrOptions({"squared_error"})],
    }

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dtype: str | None = None,
        device: str | None = None,
        backend: str | None = None,
    ) -> None:
        self._store(locals())

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on X, floats or integers (n, features), and numbers y, (n,) or (n, outputs).

        sample_weight and errors: see `MLPClassifier.fit`.
        """
        return self._fit(X, y, sample_weight, incremental=False)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch, from where the last call of `fit` or `partial_fit` ended. As `fit`."""
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Array:
        """Return the predicted numbers, (n,), or (n, outputs) for several outputs."""
        X, outputs, backend = self._outputs(X, "predict")
        if self.n_outputs_ == 1:
            outputs = outputs[:, 0]
        return self._like(outputs, backend, X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the coefficient of determination R², mean over the outputs."""
        check_unmasked(y=y, sample_weight=sample_weight)
        return float(r2_score(to_host(y), to_host(self.predict(X)), sample_weight=to_host(sample_weight)))

    def _score(self, X: Array, y: np.ndarray, weights: np.ndarray | None, network: Network, backend: Backend) -> float:
        predicted = backend.to_numpy(self._predictions(X, network, backend))
        return float(r2_score(y, predicted, sample_weight=weights)) if np.isfinite(predicted).all() else np.nan

    def _check_y(self, y: np.ndarray, incremental: bool) -> np.ndarray:
        self.out_activation_ = "identity"
        return y[:, None] if y.ndim == 1 else y
