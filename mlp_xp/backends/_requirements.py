"""What this package asks of an array library, besides the dtype of the run (float64 or
float32).

`tests/backends/test_requirements.py` records what runs of all settings use, and
compares it with these lists. A namespace that lacks one of the functions or dtypes is
refused when it is opened.
"""

# Functions of the namespace, with the keyword arguments that they must take.
_CALLS = """
abs() all() arange(dtype) argmax(axis) asarray(copy,dtype) astype() concat(axis) exp() isfinite() log() log1p()
max(axis,keepdims) mean(axis) ones_like() permute_dims() reshape() sqrt() stack() sum(axis,keepdims)
take(axis) tanh() where() zeros_like()
"""
_pairs = (call.rstrip(")").split("(") for call in _CALLS.split())
FUNCTIONS = {name: tuple(words.split(",")) if words else () for name, words in _pairs}
DTYPES = ("int64", "uint8")
ATTRIBUTES = ("T", "dtype", "shape")
# Between arrays, or an array and a Python number. Those in place may be left undefined.
OPERATORS = ("*", "*=", "+", "+=", "-", "-=", "-x", "/", "/=", "==", ">", "@", "x[]")
