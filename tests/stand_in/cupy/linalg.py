"""What `array_api_compat.cupy.linalg` takes from cupy.linalg (cupy/linalg/__init__.py)."""

import numpy as np
from cupy._array import elementwise, of_array
from numpy.linalg import LinAlgError

__all__ = """
LinAlgError cholesky cross det eigh eigvalsh inv lstsq matmul matrix_power matrix_rank matrix_transpose norm pinv qr
slogdet solve svd
""".split()

matmul = elementwise(np.matmul)
for _name in __all__:
    if _name not in ("LinAlgError", "matmul"):
        globals()[_name] = of_array(getattr(np.linalg, _name))
