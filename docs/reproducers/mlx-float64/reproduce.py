"""mlx 0.32.4: xp.exp(float64 (1, 10)) deviates by 1.81e+09 eps at [0, 2], where 3 are allowed: 0.002996515017002821 instead of 0.0029965138154871584"""
import sys, numpy as np
import mlx.core as xp
def call(xp, a):
    return xp.exp(a)
*inputs, allowed = np.load(__file__.replace("reproduce.py", "inputs.npz")).values()
result = np.asarray(call(xp, *(xp.asarray(x.copy(), dtype=getattr(xp, x.dtype.name)) for x in inputs)))
expected = np.asarray(call(np, *(x.astype("float64") if x.dtype.kind == "f" else x for x in inputs)))
close = result.shape == expected.shape and np.allclose(result, 1.0 * expected, 0, allowed, equal_nan=True)
print(result.dtype, result.shape, result.ravel()[2], "NumPy:", 'float64', expected.shape, expected.ravel()[2])
sys.exit(0 if close and result.dtype == 'float64' else "DEVIATES")
