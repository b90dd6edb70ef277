"""array_api_strict: 2.6.1: xp.sum(float32 (1, 10), axis=-1, keepdims=True) is float64 instead of float32"""
import sys, numpy as np
sys.path.append(__file__.replace('docs/reproducers/array-api-strict-2022-12-float32/reproduce.py', '')); import array_api_strict as xp
def call(xp, a):
    return xp.sum(a, axis=-1, keepdims=True)
*inputs, allowed = np.load(__file__.replace("reproduce.py", "inputs.npz")).values()
result = np.asarray(call(xp, *(xp.asarray(x.copy(), dtype=getattr(xp, x.dtype.name)) for x in inputs)))
expected = np.asarray(call(np, *(x.astype("float64") if x.dtype.kind == "f" else x for x in inputs)))
close = result.shape == expected.shape and np.allclose(result, 1.0 * expected, 0, allowed, equal_nan=True)
print(result.dtype, result.shape, result.ravel()[0], "NumPy:", 'float32', expected.shape, expected.ravel()[0])
sys.exit(0 if close and result.dtype == 'float32' else "DEVIATES")
