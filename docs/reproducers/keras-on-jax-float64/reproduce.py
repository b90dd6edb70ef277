"""keras 3.15.1: xp.tanh(float64 (1, 64)) is float32 instead of float64"""
import sys, numpy as np
sys.path.append(__file__.replace('docs/reproducers/keras-on-jax-float64/reproduce.py', '')); from mlp_xp.backends.hooks.keras import xp
def call(xp, a):
    return xp.tanh(a)
*inputs, allowed = np.load(__file__.replace("reproduce.py", "inputs.npz")).values()
result = np.asarray(call(xp, *(xp.asarray(x.copy(), dtype=getattr(xp, x.dtype.name)) for x in inputs)))
expected = np.asarray(call(np, *(x.astype("float64") if x.dtype.kind == "f" else x for x in inputs)))
close = result.shape == expected.shape and np.all((result == expected) | (abs(result - 1.0 * expected) <= allowed))
print(result.dtype, result.shape, result.ravel()[0], "NumPy:", 'float64', expected.shape, expected.ravel()[0])
sys.exit(0 if close and result.dtype == 'float64' else "DEVIATES")
