"""Public programs in lockstep: `python benchmarks/public_programs.py`.

Each program runs on each library in both dtypes, without the trace and with it. The
result must have the same bits, and an error must be of the same type. The table of
README.md comes from here. It needs array-api-extra, SciPy and scikit-learn. Programs of
GLASS are left out where it is missing.
"""

import argparse
import importlib
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from typing import Any

os.environ.setdefault("SCIPY_ARRAY_API", "1")

import array_api_extra as xpx
import numpy as np
import scipy.cluster.vq
import scipy.differentiate
import scipy.fft
import scipy.integrate
import scipy.optimize.elementwise
import scipy.signal
import scipy.special
import scipy.stats
import sklearn
import sklearn.decomposition
import sklearn.discriminant_analysis
import sklearn.linear_model
import sklearn.metrics
import sklearn.metrics.pairwise
import sklearn.mixture
import sklearn.naive_bayes
import sklearn.preprocessing
from array_api_compat import array_namespace
from scipy.spatial.transform import Rotation

from array_lockstep import Run, lockstep, settings
from array_lockstep.libraries import open_library

try:
    import glass
    import glass.algorithm
    import glass.grf
except ImportError:
    glass = None

LIBRARIES = ("torch", "jax", "array-api-strict")
DTYPES = ("float64", "float32")
Program = Callable[..., Any]


def _fitted(estimator: Any, *results: str) -> Program:
    """Return a program that fits an estimator, and returns some of its results."""

    def fit(X: Any, *y: Any) -> tuple[Any, ...]:
        model = sklearn.clone(estimator).fit(X, *y)
        found = []
        for name in results:
            result = getattr(model, name)
            found.append(result(X) if callable(result) else result)
        return tuple(found)

    return fit


def _at(x: Any) -> Any:
    return xpx.at(x, (slice(0, 2), 0)).set(0.5)


def _where(x: Any) -> Any:
    return xpx.apply_where(x > 0, x, lambda y: y**0.5, fill_value=0.0)


def _cube(x: Any) -> Any:
    return x**3 - 0.5


def _root(x: Any) -> Any:
    xp = array_namespace(x)
    ends = xp.zeros_like(x), xp.ones_like(x)
    return scipy.optimize.elementwise.find_root(_cube, ends).x


def _sine(x: Any) -> Any:
    return array_namespace(x).sin(x)


def _derivative(x: Any) -> Any:
    return scipy.differentiate.derivative(_sine, x).df


def _rotated(angles: Any, vectors: Any) -> Any:
    return Rotation.from_rotvec(angles).apply(vectors)


def _window(x: Any) -> Any:
    xp = array_namespace(x)
    return x * scipy.signal.windows.hann(x.shape[-1], xp=xp)


def _rest(x: Any, y: Any) -> Any:
    return x % y


def _sum(x: Any) -> Any:
    return array_namespace(x).sum(x)


def _asin(x: Any) -> Any:
    return array_namespace(x).asin(x)


def programs(dtype: str) -> Iterator[tuple[str, Program, tuple[Any, ...]]]:
    """Yield the name, the function and the arguments of each program."""
    random = np.random.default_rng(0)
    X = random.normal(size=(60, 4)).astype(dtype)
    positive = np.abs(X) + np.asarray(0.1, dtype)
    classes = np.arange(60) % 3
    binary = (X[:, 0] > 0).astype(np.int64)
    target = (X @ np.arange(4) + random.normal(size=60)).astype(dtype)
    guess = (target + random.normal(size=60)).astype(dtype)
    shares = np.linspace(0.01, 0.99, 60).astype(dtype)

    prepared = sklearn.preprocessing
    for estimator in (
        prepared.StandardScaler(),
        prepared.MinMaxScaler(),
        prepared.MaxAbsScaler(),
        prepared.Normalizer(),
        prepared.Binarizer(),
        prepared.PolynomialFeatures(2),
        sklearn.decomposition.PCA(2, svd_solver="full"),
        sklearn.decomposition.PCA(2, svd_solver="covariance_eigh"),
        sklearn.decomposition.PCA(2, svd_solver="randomized", random_state=0),
    ):
        yield f"sklearn {estimator}", _fitted(estimator, "transform"), (X,)
    linear = sklearn.linear_model
    for estimator, y in (
        (linear.Ridge(solver="svd"), target),
        (linear.RidgeCV(), target),
        (linear.RidgeClassifier(solver="svd"), classes),
        (sklearn.discriminant_analysis.LinearDiscriminantAnalysis(), classes),
        (sklearn.naive_bayes.GaussianNB(), classes),
        (linear.LogisticRegression(), binary),
    ):
        yield f"sklearn {estimator}", _fitted(estimator, "predict"), (X, y)
    mixture = sklearn.mixture.GaussianMixture(2, init_params="random", random_state=0)
    yield f"sklearn {mixture}", _fitted(mixture, "predict"), (X,)
    kernels = sklearn.metrics.pairwise
    for kernel in (
        kernels.euclidean_distances,
        kernels.cosine_similarity,
        kernels.rbf_kernel,
        kernels.polynomial_kernel,
        kernels.manhattan_distances,
        kernels.paired_cosine_distances,
    ):
        yield f"sklearn {kernel.__name__}", kernel, (X, X[::-1].copy())
    metrics = sklearn.metrics
    for score, truth, predicted in (
        (metrics.accuracy_score, classes, np.roll(classes, 1)),
        (metrics.confusion_matrix, classes, classes),
        (metrics.r2_score, target, guess),
        (metrics.mean_squared_error, target, guess),
        (metrics.mean_absolute_error, target, guess),
        (metrics.mean_pinball_loss, target, guess),
        (metrics.explained_variance_score, target, guess),
        (metrics.mean_tweedie_deviance, positive[:, 0], positive[:, 1]),
        (metrics.log_loss, binary, shares),
        (metrics.brier_score_loss, binary, shares),
        (metrics.roc_auc_score, binary, shares),
        (metrics.f1_score, binary, np.roll(binary, 3)),
    ):
        yield f"sklearn {score.__name__}", score, (truth, predicted)

    stats = scipy.stats
    for function, *args in (
        (stats.zscore, X),
        (stats.skew, X),
        (stats.kurtosis, X),
        (stats.moment, X, 3),
        (stats.gmean, positive),
        (stats.hmean, positive),
        (stats.sem, X),
        (stats.variation, positive),
        (stats.describe, X),
        (stats.circmean, X),
        (stats.pearsonr, target, guess),
        (stats.ttest_ind, X, positive),
        (stats.entropy, positive),
        (stats.quantile, target, shares[:3]),
        (stats.rankdata, target),
        (stats.bartlett, target, guess),
        (scipy.special.logsumexp, X),
        (scipy.special.softmax, X),
        (scipy.special.expit, X),
        (scipy.special.xlogy, positive, positive),
        (scipy.signal.hilbert, target),
        (scipy.signal.detrend, X),
        (scipy.signal.resample, target, 40),
        (scipy.signal.convolve, target, shares),
        (scipy.signal.fftconvolve, target, shares),
        (scipy.fft.dct, X),
        (scipy.fft.rfft, X),
        (scipy.integrate.trapezoid, X),
        (scipy.integrate.cumulative_trapezoid, X),
        (scipy.integrate.simpson, X),
        (scipy.cluster.vq.whiten, X),
        (scipy.cluster.vq.vq, X, X[:5].copy()),
    ):
        yield f"scipy {function.__name__}", function, tuple(args)
    yield "scipy find_root", _root, (positive[:, 0],)
    yield "scipy derivative", _derivative, (X[:, 0].copy(),)
    yield "scipy Rotation", _rotated, (X[:, :3].copy(), X[:, 1:].copy())
    yield "scipy windows.hann", _window, (X,)

    for function, *args in (
        (xpx.cov, X),
        (xpx.kron, X, X[:2].copy()),
        (xpx.sinc, X),
        (xpx.nunique, classes),
        (xpx.setdiff1d, classes, classes[:2].copy()),
        (xpx.create_diagonal, X),
        (xpx.pad, X, 2),
        (xpx.one_hot, classes, 3),
        (xpx.isclose, X, X),
        (_at, X),
        (_where, X),
    ):
        yield f"xpx {function.__name__.lstrip('_')}", function, tuple(args)

    if glass is None:
        print("GLASS is not installed: its programs are left out")
    else:
        yield from _of_glass(X, positive)

    large, small = np.full(64, 1e30, dtype), np.full(64, 1e-30, dtype)
    yield "standard 1e30 % 1e-30", _rest, (large, small)
    yield "standard sum of uint8", _sum, (np.ones(3, np.uint8),)
    yield "standard asin of 3e-39", _asin, (np.asarray([3e-39], dtype),)


def _of_glass(X: Any, positive: Any) -> Iterator[tuple[str, Program, tuple[Any, ...]]]:
    dtype = X.dtype
    z = np.linspace(0, 2, 60, dtype=dtype)
    ends = np.asarray([0.0, 0.5, 1.0, 2.0], dtype)
    spectrum = (1 / np.arange(1, 31) ** 2).astype(dtype)
    correlations = np.eye(4, dtype=dtype) * 0.1 + np.asarray(0.9, dtype)
    correlations[0, 1] = correlations[1, 0] = -0.5  # no longer positive definite
    for function, *args in (
        (glass.algorithm.nnls, positive, positive[:, 1].copy()),
        (glass.algorithm.cov_clip, correlations),
        (glass.algorithm.nearcorr, correlations),
        (glass.gaussian_nz, z, 0.5, 0.1),
        (glass.smail_nz, z, 0.5, 2.0, 1.5),
        (glass.tophat_windows, ends),
        (glass.linear_windows, ends),
        (glass.cubic_windows, ends),
        (glass.discretized_cls, [spectrum, spectrum, spectrum]),
        (glass.cov_from_spectra, [spectrum, spectrum, spectrum]),
        (glass.regularized_spectra, [spectrum, spectrum / 2, spectrum]),
        (glass.compute_gaussian_spectra, [glass.grf.Lognormal()], [spectrum / 100]),
        (glass.arraytools.trapezoid_product, (z, z), (z, z**2)),
        (glass.arraytools.cumulative_trapezoid, positive[:, 0].copy(), z),
    ):
        yield f"glass {function.__name__}", function, tuple(args)


def untraced(
    function: Program, args: tuple[Any, ...], library: str
) -> tuple[Any, str, float]:
    """Run a program without the trace: the result, the error, and the seconds."""
    importlib.import_module(library.replace("-", "_"))
    before = settings.read()
    try:
        backend = open_library(library)
        moved = [_moved(x, backend.xp) for x in args]
        start = time.perf_counter()
        try:
            result = function(*moved)
        except Exception as error:
            return None, type(error).__name__, time.perf_counter() - start
        seconds = time.perf_counter() - start
        return _bits(result, backend), "", seconds
    finally:
        settings.restore(before)


def _moved(x: Any, xp: Any) -> Any:
    """Copy an array to a library, also in a list or a tuple."""
    if isinstance(x, list | tuple):
        return type(x)([_moved(each, xp) for each in x])
    if not isinstance(x, np.ndarray):
        return x
    return xp.asarray(x.copy(), dtype=getattr(xp, x.dtype.name), copy=True)


def _bits(result: Any, backend: Any) -> list[Any]:
    """Return the bytes of all arrays of a result."""
    if isinstance(result, tuple | list):
        return [bits for each in result for bits in _bits(each, backend)]
    if is_dataclass(result):
        return _bits(list(vars(result).values()), backend)
    if hasattr(result, "shape") and not isinstance(result, np.ndarray | np.generic):
        result = backend.to_numpy(result)
    return [np.asarray(result).tobytes()]


def main() -> None:
    """Run the programs that were asked for, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--libraries", nargs="+", default=LIBRARIES)
    parser.add_argument("--dtypes", nargs="+", default=DTYPES)
    parser.add_argument("--only", default="", help="a part of the program's name")
    parser.add_argument("--all", action="store_true", help="also print syncs")
    options = parser.parse_args()
    sklearn.set_config(array_api_dispatch=True)
    warnings.simplefilter("ignore")
    runs = differing = 0
    for library in options.libraries:
        for dtype in options.dtypes:
            for name, function, args in programs(dtype):
                if options.only not in name:
                    continue
                runs += 1
                expected, error, alone = untraced(function, args, library)
                run = lockstep(function, args, library=library)
                title = f"{library} {dtype} {name}"
                differing += _report(title, run, expected, error, alone, options.all)
    print(f"{runs} runs, {differing} of them other than without the trace")


def _report(
    title: str, run: Run, expected: Any, error: str, alone: float, everything: bool
) -> bool:
    """Print a run, and return whether it differs from the one without the trace."""
    found = type(run.exception).__name__ if run.exception else ""
    differs = found != error
    if not found and not error:
        backend = open_library(run.library.partition(" ")[0])
        differs = _bits(run.result, backend) != expected
    print(f"{title}: {run.seconds:.2f} s, {alone:.2f} s without the trace")
    if differs:
        print(f"  OTHER than without the trace: {found or 'bits'}, {error}")
    for kind in ("deviations", "error", "transfers", "upcasts", "outside", "escaped"):
        for record in run.findings(kind):
            print(f"  {kind}: {record}")
    if everything:
        for kind in ("syncs", "unjudged"):
            for record in run.findings(kind):
                print(f"  {kind}: {record}")
    print(f"  the result: {run.end}", flush=True)
    return differs


if __name__ == "__main__":
    main()
