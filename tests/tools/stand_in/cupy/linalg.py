"""The functions that `array_api_compat.cupy.linalg` uses from cupy.linalg (cupy/linalg/__init__.py)."""

import numpy as np

from cupy._array import elementwise, of_array

_OF_ARRAY = """
cholesky cross det eigh eigvalsh inv lstsq matrix_power matrix_rank matrix_transpose norm pinv qr slogdet solve svd
"""
__all__ = ["LinAlgError", "matmul"]
__all__.extend(_OF_ARRAY.split())

LinAlgError = np.linalg.LinAlgError
matmul = elementwise(np.matmul)
for _name in _OF_ARRAY.split():
    globals()[_name] = of_array(getattr(np.linalg, _name))
