"""sparse 0.19.3: xp.take(uint8 (1000,), int64 (1,), axis=0) raised IndexError: only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) and integer or boolean arrays are valid indices"""
import sys, numpy as np
sys.path.append(__file__.replace('docs/reproducers/sparse-float32/reproduce.py', '')); from mlp_xp.backends.hooks.sparse import xp
def call(xp, a, b):
    return xp.take(a, b, axis=0)
*inputs, allowed = np.load(__file__.replace("reproduce.py", "inputs.npz")).values()
result = np.asarray(call(xp, *(xp.asarray(x.copy(), dtype=getattr(xp, x.dtype.name)) for x in inputs)))
expected = np.asarray(call(np, *(x.astype("float64") if x.dtype.kind == "f" else x for x in inputs)))
close = result.shape == expected.shape and np.all((result == expected) | (abs(result - 1.0 * expected) <= allowed))
print(result.dtype, result.shape, result.ravel()[0], "NumPy:", 'uint8', expected.shape, expected.ravel()[0])
sys.exit(0 if close and result.dtype == 'uint8' else "DEVIATES")
