"""The operators of arrays: their names in `operator`, symbols, and functions."""

_BINARY = """
    add       +   add
    sub       -   subtract
    mul       *   multiply
    truediv   /   divide
    matmul    @   matmul
    pow       **  pow
    floordiv  //  floor_divide
    mod       %   remainder
    and_      &   bitwise_and
    or_       |   bitwise_or
    xor       ^   bitwise_xor
    lshift    <<  bitwise_left_shift
    rshift    >>  bitwise_right_shift
"""
_COMPARISONS = """
    lt        <   less
    le        <=  less_equal
    gt        >   greater
    ge        >=  greater_equal
    eq        ==  equal
    ne        !=  not_equal
"""
_UNARY = """
    neg       -   negative
    pos       +   positive
    invert    ~   bitwise_invert
"""


def _rows(table: str) -> list[list[str]]:
    return [row.split() for row in table.splitlines() if row]


BINARY = {name: symbol for name, symbol, _ in _rows(_BINARY)}
UNARY = {name: symbol for name, symbol, _ in _rows(_UNARY)}
INPLACE = {f"i{name.rstrip('_')}": name for name in BINARY}
"""The operators in place, such as `iadd`, each with its plain operator."""
SYMBOLS = {
    **{name: symbol for name, symbol, _ in _rows(_BINARY + _COMPARISONS)},
    **{name: f"{BINARY[plain]}=" for name, plain in INPLACE.items()},
}
"""The operators with two operands."""
FUNCTIONS = {
    name: function for name, _, function in _rows(_BINARY + _COMPARISONS + _UNARY)
}
"""The functions of the standard that are equivalent to operators."""


def kind_of(name: str) -> str:
    """Return the function that an operation stands for, without its extension."""
    plain = INPLACE.get(name, name).removeprefix("xp.").removeprefix("linalg.")
    return FUNCTIONS.get(plain, plain)
