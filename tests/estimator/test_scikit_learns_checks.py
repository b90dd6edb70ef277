"""scikit-learn's own checks of estimators, also with `array_api_dispatch`."""

import pytest
from backends import has_gpu
from sklearn.utils.estimator_checks import parametrize_with_checks

from mlp_xp.estimator import MLPClassifier, MLPRegressor, TableEncoder

# Few epochs are not enough for the checks that ask for a score; scikit-learn's own
# tests choose as many.
ESTIMATORS = [MLPClassifier(max_iter=100), MLPRegressor(max_iter=100), TableEncoder()]
ALL = parametrize_with_checks(ESTIMATORS)
NAMES, CHECKS = ALL.args  # before scikit-learn 1.8 a generator, which pytest warns of


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(NAMES, [*CHECKS], **ALL.kwargs)
def test_sklearn_check(estimator, check) -> None:
    if computes_on_a_gpu(check) and not has_gpu():
        pytest.skip("there is no GPU")
    check(estimator)


def computes_on_a_gpu(check) -> bool:
    """Return whether a check computes with CuPy, or with PyTorch on a GPU."""
    given = getattr(check, "keywords", {})
    places = [(given.get("array_namespace"), given.get("device_name"))]
    places += [
        tuple(given[name])
        for name in ("X_ns_and_device", "other_ns_and_device")
        if name in given
    ]
    return any(
        namespace == "cupy" or str(device).startswith("cuda")
        for namespace, device in places
    )
