# array_api_strict: 2.6.1: xp.sum(float32 (1, 10), axis=-1, keepdims=True) is float64 instead of float32
import sys, numpy as np
sys.path.append(__file__.replace('docs/reproducers/array-api-strict-2022-12-float32/reproduce.py', ''))
import array_api_strict as xp
def call(xp, x0):
    return xp.sum(x0, axis=-1, keepdims=True)
*inputs, allowed = np.load(__file__.replace("reproduce.py", "inputs.npz")).values()
result = (lambda x: np.from_dlpack(x) if not hasattr(x, "__array__") else np.asarray(x.get() if hasattr(x, "get") else x.cpu() if hasattr(x, "cpu") else x))(call(xp, *(xp.asarray(x.copy(order="K"), dtype=getattr(xp, x.dtype.name)) for x in inputs)))
expected = np.asarray(call(np, *(x.astype("float64") if x.dtype.kind == "f" else x for x in inputs)))
same = result.shape == expected.shape
close = same and (np.array_equal(result, expected) or result.dtype.kind in "fc" and np.allclose(result, expected, 0, allowed, equal_nan=True))
got, wanted = (x.ravel()[0:][:1] for x in (result, expected))
print(result.dtype, result.shape, *got, "NumPy:", 'float32', expected.shape, *wanted)
sys.exit(0 if close and result.dtype == 'float32' else "DEVIATES")
