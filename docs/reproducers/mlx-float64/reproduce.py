# mlx 0.32.4: xp.exp(float64 (1, 10)) deviates by 1.81e+09 eps at [0, 2], where 3 are allowed: 0.002996515017002821 instead of 0.002996513815487153
import sys, numpy as np
sys.path.append(__file__.replace('docs/reproducers/mlx-float64/reproduce.py', ''))
from mlp_xp.backends.hooks.mlx import xp as xp
def call(xp, x0):
    return xp.exp(x0)
*inputs, allowed = np.load(__file__.replace("reproduce.py", "inputs.npz")).values()
result = (lambda x: np.from_dlpack(x) if not hasattr(x, "__array__") else np.asarray(x.get() if hasattr(x, "get") else x.cpu() if hasattr(x, "cpu") else x))(call(xp, *(xp.asarray(x.copy(order="K"), dtype=getattr(xp, x.dtype.name)) for x in inputs)))
expected = np.asarray(call(np, *(x.astype("float64") if x.dtype.kind == "f" else x for x in inputs)))
same = result.shape == expected.shape
close = same and (np.array_equal(result, expected) or result.dtype.kind in "fc" and np.allclose(result, expected, 0, allowed, equal_nan=True))
got, wanted = (x.ravel()[2:][:1] for x in (result, expected))
print(result.dtype, result.shape, *got, "NumPy:", 'float64', expected.shape, *wanted)
sys.exit(0 if close and result.dtype == 'float64' else "DEVIATES")
