"""scikit-learn's own checks of estimators, among them those with `array_api_dispatch`."""

import pytest
from backends import installed

pytest.importorskip("sklearn")

import sklearn
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.fixes import parse_version

from mlp_xp.estimator import MLPClassifier, MLPRegressor

# Few epochs are not enough for the checks that ask for a score; scikit-learn's own tests choose as many.
ESTIMATORS = [MLPClassifier(max_iter=100), MLPRegressor(max_iter=100)]
ALL = parametrize_with_checks(ESTIMATORS)
NAMES, CHECKS = ALL.args  # before scikit-learn 1.8 a generator, which pytest warns of


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(NAMES, [*CHECKS], **ALL.kwargs)
def test_sklearn_check(estimator, check) -> None:
    if "gpu" in needs(check) and not has_gpu():
        pytest.skip("there is no GPU")
    try:
        check(estimator)
    except AssertionError as error:
        is_older = parse_version(sklearn.__version__) < parse_version("1.9")
        if is_older and "'classes_' attribute is in wrong namespace" in str(error):
            pytest.skip("before 1.9, scikit-learn wanted classes_ where X lives, and not as y has them")
        raise


def needs(check) -> set[str]:
    """Whether a check computes on a GPU: with CuPy, or with PyTorch there."""
    given = getattr(check, "keywords", {})
    places = [(given.get("array_namespace"), given.get("device_name"))]
    places += [tuple(given[name]) for name in ("X_ns_and_device", "other_ns_and_device") if name in given]
    return {"gpu" for namespace, device in places if namespace == "cupy" or str(device).startswith("cuda")}


def has_gpu() -> bool:
    if installed("cupy"):
        import cupy

        return cupy.is_available()
    if installed("torch"):
        import torch

        return torch.cuda.is_available()
    return False
