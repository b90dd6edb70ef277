"""MLPClassifier and MLPRegressor: scikit-learn's own, trained by the package's steps
where the arrays are.
"""

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from numbers import Real
from pathlib import Path
from types import SimpleNamespace
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
from mlp_xp.core.model import Model, compiled, copy_network, make_logits
from mlp_xp.core.network import Layer, Network
from mlp_xp.core.optimizers import OPTIMIZERS
from mlp_xp.core.signature import Preparation, Signature, unchanged
from mlp_xp.core.step import State
from mlp_xp.core.task import CLASSES, LABELS, REGRESSION
from mlp_xp.data.columns import Column, Columns
from mlp_xp.estimator._devices import (
    choose_backend,
    is_foreign,
    stand_in,
    to_host,
    transfer,
)
from mlp_xp.estimator._epochs import ACTIVATIONS, make_config, make_epoch
from mlp_xp.export.onnx import write_onnx

ADDED = ("dtype", "device", "backend")
# For scikit-learn's names of the function at the outputs.
TASKS = {"softmax": CLASSES, "logistic": LABELS, "identity": REGRESSION}


def with_parameters_of(theirs: Callable[..., None], *more: str) -> Callable[..., None]:
    """Return an `__init__` with scikit-learn's parameters and defaults, and with `more`
    and ADDED, which are None.
    """
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = (inspect.Parameter(name, keyword, default=None) for name in (*more, *ADDED))
    signature = inspect.Signature(
        [*inspect.signature(theirs).parameters.values(), *added]
    )

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        given = signature.bind(self, *args, **kwargs)
        given.apply_defaults()
        vars(self).update(
            {name: value for name, value in given.arguments.items() if name != "self"}
        )

    __init__.__signature__ = signature  # type: ignore[attr-defined]  # which `get_params` and `help` read
    return __init__


class _MLP(BaseEstimator):
    """What replaces the computation in scikit-learn's classes, which do the rest.

    scikit-learn's own loop runs the training. It is given the numbers of the samples
    instead of their features, and takes all of them as one batch, on which `_backprop`
    trains for an epoch, in batches of `batch_size`.
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
        """Restore all attributes if training fails: the model is that of the last fit,
        or not fitted.
        """
        changed = list | BaseOptimizer
        before = {
            name: copy(value) if isinstance(value, changed) else value
            for name, value in vars(self).items()
        }
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _fit(
        self, X: Any, y: Any, sample_weight: Any = None, incremental: bool = False
    ) -> Self:
        with self._all_or_nothing():
            sizes = np.atleast_1d(self.hidden_layer_sizes).tolist()
            if min(sizes, default=1) <= 0:
                raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
            first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
            X, y = self._validate_input(X, to_host(y), incremental, first)
            y = y.reshape(len(y), -1)
            self.n_outputs_ = y.shape[1]
            weights = self._weights(y, to_host(sample_weight))
            backend = choose_backend(X, self.backend, self.device, self.dtype)
            self._random_state = check_random_state(self.random_state)
            shape = {
                "hidden_layer_sizes": sizes,
                "activation": self.activation,
                "outputs": y.shape[1],
            }
            # whose scores a warm start compares
            shape["early_stopping"] = self.early_stopping
            if first:
                self._initialize(y, [X.shape[1], *sizes, y.shape[1]], np.float64)
                self._shape = shape
            elif shape != self._shape:
                raise ValueError(
                    f"the network in training has {self._shape}, not {shape}; set the parameters back, or train a new "
                    "network with fit and warm_start=False"
                )
            if not (incremental and hasattr(self, "_optimizer")):
                self._slots: list[Array] = []
            there = transfer(X, backend, backend.dtype)
            (network, slots), loss = self._train(
                there, y, weights, backend, incremental
            )
            # Adam's infinite slots let no weight change. With early stopping they are
            # later than the network.
            layers = [
                *network,
                *(slot for each in slots for slot in each if not self.early_stopping),
            ]
            # On the host, because there nothing has to be compiled.
            arrays = [backend.to_numpy(array) for layer in layers for array in layer]
            if not (
                np.isfinite(loss) and all(np.isfinite(each).all() for each in arrays)
            ):
                raise ValueError(
                    "training diverged: the loss, the weights or the optimizer's state are not finite; scale the "
                    "features and targets, or lower learning_rate_init"
                )
            home = choose_backend(X)
            self.coefs_ = [transfer(layer.weights, home) for layer in network]
            self.intercepts_ = [transfer(layer.bias, home) for layer in network]
            self._slots = [array for each in slots for slot in each for array in slot]
        return self

    @np.errstate(over="ignore", invalid="ignore")  # scikit-learn adds up all numbers
    def _validate_input(
        self, X: Any, y: Any, incremental: bool, reset: bool
    ) -> tuple[Array, np.ndarray]:
        """Return X where it lives, (n, features), and targets on the host: numbers, or
        classes as 0 and 1.
        """
        if issparse(X):
            raise TypeError("sparse X is not supported; give X.toarray()")
        checked, y = super()._validate_input(stand_in(X), y, incremental, reset)
        return X if is_foreign(X) else checked, y

    def _weights(self, y: np.ndarray, given: Any) -> Any:
        """Return the weights of the samples, float64 (n,), or None for equal ones."""
        if given is None:
            return None
        return _check_sample_weight(
            given, np.empty((len(y), 1)), dtype=np.float64, ensure_non_negative=True
        )

    def _network(self, backend: Backend) -> Network:
        """Return the network on the backend; not a copy if it is there."""
        pairs = zip(self.coefs_, self.intercepts_, strict=True)
        return tuple(
            Layer(*(transfer(array, backend, backend.dtype) for array in pair))
            for pair in pairs
        )

    def _train(
        self,
        X: Array,
        y: np.ndarray,
        weights: np.ndarray | None,
        backend: Backend,
        incremental: bool,
    ) -> tuple[State, float]:
        """Return what training leaves, with the loss of the epoch that its network is
        from.
        """
        task = TASKS[self.out_activation_]
        labels = np.argmax(y, axis=1) if task.exclusive else y
        network, rows = (
            compiled(copy_network, backend)(self._network(backend)),
            np.arange(len(y)),
        )
        run = self._run = SimpleNamespace(
            backend=backend, weights=weights, epoch=None, state=State(network, ())
        )
        run.X, run.labels = (
            X,
            backend.asarray(labels, backend.dtype if task.floats else None),
        )
        # of an earlier fit
        is_result = self.early_stopping and np.isfinite(self.best_validation_score_)
        run.best = (
            compiled(copy_network, backend)(network),
            0.0 if is_result else np.nan,
        )
        held_out = (
            math.ceil(self.validation_fraction * len(y)) if self.early_stopping else 0
        )
        given, self.batch_size = self.batch_size, max(1, len(y) - held_out)
        run.size = min(200 if given == "auto" else int(given), self.batch_size)
        # scikit-learn's loop keeps no arrays.
        self.coefs_ = self._best_coefs = self.intercepts_ = self._best_intercepts = (
            list[Array]()
        )
        self._fit_stochastic(rows, y, weights, [None], [], [], [], [], incremental)
        if not self.n_iter_:
            raise KeyboardInterrupt  # in the first epoch
        self.batch_size = given
        del self._run, self._best_coefs, self._best_intercepts
        best, loss = run.best
        return (
            (run.state._replace(network=best), loss)
            if self.early_stopping
            else (run.state, self.loss_)
        )

    def _backprop(
        self, rows: np.ndarray, *_: Any
    ) -> tuple[float, list[Any], list[Any]]:
        """Train for an epoch on the samples with these numbers. Returns its loss, and
        no gradients.
        """
        run = self._run
        if run.epoch is None:  # the optimiser is new
            config = make_config(
                self.activation, self._optimizer, decays=self.alpha > 0
            )
            facts = (
                run.X,
                run.labels,
                run.weights,
                run.size,
                float(self.alpha),
                self._optimizer,
            )
            run.epoch = make_epoch(
                config, run.backend, TASKS[self.out_activation_], *facts
            )
            slots, network = OPTIMIZERS[config.optimizer].slot_count, run.state.network
            # Weights and bias of each slot of each layer; on the host, where nothing
            # has to be compiled.
            zeros = [
                np.zeros(array.shape)
                for layer in network
                for array in (*layer,) * slots
            ]
            arrays = iter(
                [
                    transfer(array, run.backend, run.backend.dtype)
                    for array in self._slots or zeros
                ]
            )
            pairs = (
                tuple(Layer(next(arrays), next(arrays)) for _ in range(slots))
                for _ in network
            )
            run.state = State(
                network,
                tuple(compiled(copy_network, run.backend)(each) for each in pairs),
            )
        run.state, loss = run.epoch(run.state, rows)
        return loss, [], []

    def _update_no_improvement_count(
        self, early_stopping: bool, *held_out: Any
    ) -> None:
        before = self.best_validation_score_
        super()._update_no_improvement_count(early_stopping, *held_out)
        if early_stopping and self.best_validation_score_ > before:
            self._run.best = (
                compiled(copy_network, self._run.backend)(self._run.state.network),
                self.loss_,
            )

    def _forward_pass_fast(self, X: Any, check_input: bool = True) -> np.ndarray:
        """Return the outputs, (n, outputs) on the host. X: features; in training the
        numbers of samples.
        """
        if hasattr(self, "_run"):
            backend = self._run.backend
            X = backend.xp.take(self._run.X, backend.asarray(X), axis=0)
            logits = self._logits_of(X, self._run.state.network, backend)
        else:
            logits = self._logits(X)
        return TASKS[self.out_activation_].link(logits, xp=np)

    def _logits_of(self, X: Array, network: Network, backend: Backend) -> np.ndarray:
        logits = make_logits(ACTIVATIONS[self._shape["activation"]], backend, unchanged)
        return backend.to_numpy(logits(network, X, ()))

    @np.errstate(over="ignore", invalid="ignore")  # as in `_validate_input`
    def _logits(self, X: Any) -> np.ndarray:
        """Return the outputs before the last function, (n, outputs) on the host. They
        are computed where X lives.
        """
        checked = validate_data(
            self, stand_in(X), dtype=(np.float64, np.float32), reset=False
        )
        X = X if is_foreign(X) else checked
        backend = choose_backend(X, self.backend, self.device, self.dtype)
        logits = self._logits_of(
            transfer(X, backend, backend.dtype), self._network(backend), backend
        )
        if not np.isfinite(logits).all():
            row = int(np.argmin(np.isfinite(logits).all(axis=1)))
            raise ValueError(
                f"X: the outputs for row {row} are not finite in {backend.dtype_name}; scale X as in training, or "
                "correct this row"
            )
        return logits

    def _answer(
        self, X: Any, method: str, compute: Callable[[Any], np.ndarray]
    ) -> Array:
        """Return what `compute` makes of X, in the library and on the device of X;
        names of classes on the host.

        Raises ValueError for X of another library than in training, where
        scikit-learn's array_api_dispatch asks for it; else the network is copied to
        where X lives, as is one that NumPy arrays hold.
        """
        check_is_fitted(self)
        if get_config()["array_api_dispatch"] and is_foreign(self.coefs_[0]):
            arrays = self.coefs_[0], X if is_foreign(X) else np.empty(0)
            fitted, given = (
                f"{each.name} on {each.device_name}"
                for each in map(choose_backend, arrays)
            )
            if fitted != given:
                raise ValueError(
                    f"Inputs passed to {type(self).__name__}.{method}() must use the same namespace and the same "
                    f"device as those passed to fit(): {fitted}"
                )
        found = compute(X)
        return (
            transfer(found, choose_backend(X))
            if is_foreign(X) and found.dtype.kind in "biuf"
            else found
        )

    def predict(self, X: Any) -> Array:
        """Return numbers, (n,), or (n, outputs) for several; or classes (n,), or 0 and
        1 for labels (n, labels).

        Names of classes are a NumPy array.
        """
        return self._answer(X, "predict", super().predict)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy, the share of samples that have their class, or all their
        labels, right; or R².
        """
        predicted, truth, weights = map(to_host, (self.predict(X), y, sample_weight))
        return float(self._metric(truth, predicted, sample_weight=weights))

    def to_onnx(self, path: str | Path, *, dtype: str | None = None) -> None:
        """Write the network to an ONNX file, for features (n, features), as
        `mlp_xp.export_onnx` does.

        Of two classes, the file gives both probabilities. dtype: by default that of the
            network.
        """
        check_is_fitted(self)
        backend = choose_backend(self.coefs_[0], "numpy", dtype=self.dtype)
        task, network = TASKS[self.out_activation_], self._network(backend)
        names = [*map(str, getattr(self, "classes_", range(self.n_outputs_)))]
        # of two classes: with another output, 0, softmax is the logistic function
        if len(names) > self.n_outputs_:
            weights, bias = network[-1]
            pair = (
                np.stack([np.zeros_like(array), array], axis=-1)
                for array in (weights[:, 0], bias[0])
            )
            task, network = CLASSES, (*network[:-1], Layer(*pair))
        activation, columns = (
            ACTIVATIONS[self._shape["activation"]],
            getattr(self, "feature_names_in_", ()),
        )
        known = Columns(tuple(map(Column, columns))) if len(columns) else None
        signature = Signature(
            input_shape=(self.n_features_in_,),
            outputs=tuple(names),
            task=task,
            preparation=Preparation(unchanged),
            columns=known,
        )
        name = type(self).__name__
        model = Model(network, activation, signature, backend, source=name)
        write_onnx([model], Path(path), dtype)

    def __getstate__(self) -> dict[str, Any]:
        """Keep arrays as NumPy arrays, so that a model loads where its library or its
        GPU is missing.
        """
        state = dict(super().__getstate__())
        lists = ("coefs_", "intercepts_", "_slots")
        return {
            **state,
            **{name: [*map(to_host, state[name])] for name in lists if name in state},
        }

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support, tags.input_tags.sparse = True, False
        return tags


class MLPClassifier(_MLP, neural_network.MLPClassifier):
    """A multi-layer perceptron for classes or several labels, for arrays of any
    library.

    Parameters, defaults, attributes and numbers are those of
    `sklearn.neural_network.MLPClassifier`; given the same random_state, so are the
    weights, up to rounding. It trains where X lives: NumPy arrays on NumPy, CuPy arrays
    on their GPU, PyTorch tensors on their device, JAX arrays compiled; y and weights
    may live elsewhere. Predictions are of X's kind. Not supported: solver="lbfgs",
    sparse X, momentum=1.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(100, 4))
        >>> y = X[:, 0] > 0
        >>> MLPClassifier((5,), tol=0.1, random_state=0).fit(X, y).predict(X[:3]).shape
        (3,)

    These differ:

    - Losses are exact, and so is `predict_log_proba`. scikit-learn takes logarithms of
      rounded probabilities, and for losses clips them at eps: no output of a sample has
      a loss above 36, or 16 in float32, so that a fit that ends because the loss stays
      the same may end earlier.
    - With warm_start and early_stopping, another fit ends with the best network so far.
      That of scikit-learn (1.9) ends with the last one if no score is better, because
      it trains the arrays in which it keeps the best one.
    - A loss that is not finite is an error. scikit-learn returns the network as long as
      its weights are finite.
    - After an error the estimator is what it was before. With warm_start and in
      partial_fit, another network than that in training is a ValueError, as is another
      early_stopping.

    Further parameters:

    class_weight: weights of the classes, {class: weight} or "balanced"; None for equal
    ones. dtype: "float64" or "float32", for parameters and arithmetic; None for float32
    if X is, else float64. backend, device: the array library and device to compute
    with, as `mlp_xp.open_backend` takes them, instead of X's own.

    Besides scikit-learn's errors, `fit` raises ValueError for training that diverges
    and for masked values, and `BackendError` for a backend, device or dtype that is not
    available.
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
        """Train for one epoch, from where the last call of `fit` or `partial_fit`
        ended.

        classes: all classes there will be, (classes,); needed in the first call. The
        optimiser's parameters, from `solver` to `epsilon`, are those of the first call;
        another network raises ValueError. Otherwise as `fit`.
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' is not supported for partial_fit; weigh each class"
            )
        with self._all_or_nothing():
            return super().partial_fit(X, to_host(y), sample_weight, to_host(classes))

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the classes in `classes_`, or of each of several
        labels, (n, classes).
        """
        return self._answer(X, "predict_proba", super().predict_proba)

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of `predict_proba`, which are finite even where a
        probability underflows to 0.
        """
        return self._answer(X, "predict_log_proba", self._log_probabilities)

    def _log_probabilities(self, X: Any) -> np.ndarray:
        logits = self._logits(X)
        if self.out_activation_ == "softmax":
            return log_softmax(logits, axis=1)
        return log_expit(
            np.hstack([-logits, logits]) if self.n_outputs_ == 1 else logits
        )

    def _weights(self, y: np.ndarray, given: Any) -> Any:
        weights = super()._weights(y, given)
        if self.class_weight is None:
            return weights
        labels = self._label_binarizer.inverse_transform(
            y[:, 0] if self.n_outputs_ == 1 else y
        )
        known = labels[:0]
        # a batch of partial_fit may lack some classes
        if self.class_weight != "balanced":
            known = (
                self.classes_
                if labels.ndim == 1
                else np.repeat([[0], [1]], y.shape[1], axis=1)
            )
        of_samples = compute_sample_weight(
            self.class_weight, np.concatenate([known, labels])
        )[len(known) :]
        of_samples = super()._weights(y, of_samples)
        return of_samples if weights is None else of_samples * weights


class MLPRegressor(_MLP, neural_network.MLPRegressor):
    """A multi-layer perceptron for regression, for arrays of any library.

    As `MLPClassifier`, with the parameters of `sklearn.neural_network.MLPRegressor`,
    but `loss` is only "squared_error".

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
