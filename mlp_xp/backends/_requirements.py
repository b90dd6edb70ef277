"""Requirements on an array library, besides the dtype of the run.

A namespace without one of the functions or dtypes is refused when it is opened.
`tests/backends/test_requirements.py` records the operations of runs with all settings,
and compares them with these lists.
"""

FUNCTIONS: dict[str, tuple[str, ...]] = {
    "abs": (),
    "all": (),
    "arange": ("dtype",),
    "argmax": ("axis",),
    "asarray": ("copy", "dtype"),
    "astype": (),
    "concat": ("axis",),
    "exp": (),
    "isfinite": (),
    "log": (),
    "log1p": (),
    "max": ("axis", "keepdims"),
    "mean": ("axis",),
    "ones_like": (),
    "permute_dims": (),
    "reshape": (),
    "sqrt": (),
    "stack": (),
    "sum": ("axis", "keepdims"),
    "take": ("axis",),
    "tanh": (),
    "where": (),
    "zeros_like": (),
}
"""The functions of the namespace, with the keyword arguments they must accept."""
DTYPES = ("int64", "uint8")
ATTRIBUTES = ("T", "dtype", "shape")
"""The attributes of arrays."""
OPERATORS = ("*", "*=", "+", "+=", "-", "-=", "-x", "/", "/=", "==", ">", "@", "x[]")
"""The operators between arrays, or between an array and a Python number.

Operators in place may be left undefined.
"""
