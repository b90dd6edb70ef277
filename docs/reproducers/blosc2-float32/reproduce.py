# blosc2 4.14.1: xp.reshape(int64 (1, 1), (-1,)) raised ValueError: reshape only works when src.shape is 1-dimensional
import sys, numpy as np
sys.path.append(__file__.replace('docs/reproducers/blosc2-float32/reproduce.py', ''))
import mlp_xp.backends.hooks.blosc2; from mlp_xp.backends.hooks.blosc2 import xp as xp
def call(xp, x0):
    return xp.reshape(x0, (-1,))
*inputs, allowed = np.load(__file__.replace("reproduce.py", "inputs.npz")).values()
result = (mlp_xp.backends.hooks.blosc2.to_numpy)(call(xp, *(xp.asarray(x.copy(order="K"), dtype=getattr(xp, x.dtype.name)) for x in inputs)))
expected = np.asarray(call(np, *(x.astype("float64") if x.dtype.kind == "f" else x for x in inputs)))
close = result.shape == expected.shape and np.allclose(result, 1.0 * expected, 0, allowed, equal_nan=True)
got, wanted = (x.ravel()[0:][:1] for x in (result, expected))
print(result.dtype, result.shape, *got, "NumPy:", 'int64', expected.shape, *wanted)
sys.exit(0 if close and result.dtype == 'int64' else "DEVIATES")
