# sparse 0.19.3: xp.take(uint8 (1000,), int64 (1,), axis=0) raised IndexError: only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) and integer or boolean arrays are valid indices
import sys, numpy as np
sys.path.append(__file__.replace('docs/reproducers/sparse-float32/reproduce.py', ''))
import mlp_xp.backends.hooks.sparse; from mlp_xp.backends.hooks.sparse import xp as xp
def call(xp, x0, x1):
    return xp.take(x0, x1, axis=0)
*inputs, allowed = np.load(__file__.replace("reproduce.py", "inputs.npz")).values()
result = (mlp_xp.backends.hooks.sparse.to_numpy)(call(xp, *(xp.asarray(x.copy(order="K"), dtype=getattr(xp, x.dtype.name)) for x in inputs)))
expected = np.asarray(call(np, *(x.astype("float64") if x.dtype.kind == "f" else x for x in inputs)))
same = result.shape == expected.shape
close = same and (np.array_equal(result, expected) or result.dtype.kind in "fc" and np.allclose(result, expected, 0, allowed, equal_nan=True))
got, wanted = (x.ravel()[0:][:1] for x in (result, expected))
print(result.dtype, result.shape, *got, "NumPy:", 'uint8', expected.shape, *wanted)
sys.exit(0 if close and result.dtype == 'uint8' else "DEVIATES")
