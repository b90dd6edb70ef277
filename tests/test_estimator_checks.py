"""scikit-learn's own checks of estimators, among them those with `array_api_dispatch`."""

import pytest
from backends import installed

pytest.importorskip("sklearn")

from sklearn.utils.estimator_checks import parametrize_with_checks

from mlp_xp.estimator import MLPClassifier, MLPRegressor

# Few epochs are not enough for the checks that ask for a score; scikit-learn's own tests choose as many.
ESTIMATORS = [MLPClassifier(max_iter=100), MLPRegressor(max_iter=100)]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(ESTIMATORS)
def test_sklearn_check(estimator, check) -> None:
    if getattr(check, "keywords", {}).get("array_namespace") == "cupy" and not has_gpu():
        pytest.skip("CuPy finds no GPU")
    check(estimator)


def has_gpu() -> bool:
    if not installed("cupy"):
        return False
    import cupy

    return cupy.is_available()
