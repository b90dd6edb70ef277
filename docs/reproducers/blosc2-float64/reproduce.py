"""blosc2 4.14.1: xp.reshape(int64 (1, 1), (-1,)) raised ValueError: reshape only works when src.shape is 1-dimensional"""
import sys, numpy as np
sys.path.append(__file__.replace('docs/reproducers/blosc2-float64/reproduce.py', '')); from mlp_xp.backends.hooks.blosc2 import xp
def call(xp, a):
    return xp.reshape(a, (-1,))
*inputs, allowed = np.load(__file__.replace("reproduce.py", "inputs.npz")).values()
result = np.asarray(call(xp, *(xp.asarray(x.copy(), dtype=getattr(xp, x.dtype.name)) for x in inputs)))
expected = np.asarray(call(np, *(x.astype("float64") if x.dtype.kind == "f" else x for x in inputs)))
close = result.shape == expected.shape and np.all((result == expected) | (abs(result - 1.0 * expected) <= allowed))
print(result.dtype, result.shape, result.ravel()[0], "NumPy:", 'int64', expected.shape, expected.ravel()[0])
sys.exit(0 if close and result.dtype == 'int64' else "DEVIATES")
