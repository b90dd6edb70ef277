"""Let NumPy and SciPy run under Wine.

wine.py copies this file as sitecustomize.py, for the start of Python.

Wine's C library lacks functions of complex numbers, and Wine ends a process if it asks
for its parent. A real Windows needs none of this.
"""

import cmath
import ctypes
import importlib.machinery
import os
import struct

# Machine code for x86-64 under the calling convention of Windows. A complex64 comes in
# rcx, and a pointer to a complex128.
PARTS = {
    "crealf": "660f6ec1c3",  # movd xmm0, ecx; ret
    "cimagf": "48c1e920660f6ec1c3",  # shr rcx, 32; movd xmm0, ecx; ret
    "creal": "f20f1001c3",  # movsd xmm0, [rcx]; ret
    "cimag": "f20f104108c3",  # movsd xmm0, [rcx + 8]; ret
}
FUNCTIONS = ("exp", "log", "sqrt", "sin", "cos", "tan", "asin", "acos", "atan")
FUNCTIONS += tuple(f"{name}h" for name in FUNCTIONS[3:])
LIBRARIES = ("_multiarray_umath", "_ufuncs", "_special_ufuncs")
PAGE, COMMIT, EXECUTE, WRITE = 4096, 0x3000, 0x40, 4

_kept = []  # functions called by C code must not be collected
_addresses: dict[bytes, int] = {}


def safely(function, *values):
    try:
        return function(*values)
    except (ValueError, OverflowError, ZeroDivisionError):
        return complex("nan+nanj")


def add(name, function):
    """Keep a C function for later, and its address under its name."""
    _kept.append(function)
    _addresses[name.encode()] = ctypes.cast(function, ctypes.c_void_p).value


def add_complex(name, function, arguments):
    """Add a function of complex numbers in both precisions."""
    pointer = ctypes.POINTER(ctypes.c_double)

    def of_doubles(result, *places):
        z = safely(function, *(complex(place[0], place[1]) for place in places))
        result[0], result[1] = z.real, z.imag
        return ctypes.cast(result, ctypes.c_void_p).value

    def of_floats(*words):
        z = safely(
            function,
            *(complex(*struct.unpack("ff", struct.pack("Q", word))) for word in words),
        )
        try:
            packed = struct.pack("ff", z.real, z.imag)
        except OverflowError:
            packed = struct.pack("ff", float("inf"), float("nan"))
        return struct.unpack("Q", packed)[0]

    add(
        f"c{name}",
        ctypes.CFUNCTYPE(ctypes.c_void_p, *[pointer] * (1 + arguments))(of_doubles),
    )
    add(
        f"c{name}f",
        ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_uint64] * arguments)(of_floats),
    )


def add_real(name, function):
    """Add a function of a complex number with a real result, in both precisions."""

    def of_double(place):
        return function(complex(place[0], place[1]))

    def of_float(word):
        return function(complex(*struct.unpack("ff", struct.pack("Q", word))))

    add(
        f"c{name}",
        ctypes.CFUNCTYPE(ctypes.c_double, ctypes.POINTER(ctypes.c_double))(of_double),
    )
    add(f"c{name}f", ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_uint64)(of_float))


def make_functions(kernel):
    page = kernel.VirtualAlloc(None, PAGE, COMMIT, EXECUTE)
    for i, (name, code) in enumerate(PARTS.items()):
        ctypes.memmove(page + 64 * i, bytes.fromhex(code), len(code) // 2)
        _addresses[name.encode()] = page + 64 * i
    for name in FUNCTIONS:
        add_complex(name, getattr(cmath, name), 1)
    add_complex("pow", pow, 2)
    add_real("abs", abs)
    add_real("arg", cmath.phase)


def complete(path):
    """Let a loaded library call our functions in the place of imports missing in Wine.

    For the layout of a loaded library see Microsoft's "PE Format".
    """
    kernel = ctypes.WinDLL("kernel32")
    kernel.GetModuleHandleW.restype = kernel.VirtualAlloc.restype = ctypes.c_void_p
    kernel.GetModuleHandleW.argtypes = [ctypes.c_wchar_p]
    kernel.VirtualAlloc.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_uint32,
        ctypes.c_uint32,
    ]
    base = kernel.GetModuleHandleW(path)
    if not base:
        return
    if not _addresses:
        make_functions(kernel)

    def number(at):
        return ctypes.c_uint32.from_address(base + at).value

    headers = number(0x3C)
    # of imports, an entry of 20 bytes for each library
    table = number(headers + 24 + 120)
    while table and number(table + 12):
        names, slots = number(table), number(table + 16)
        while entry := ctypes.c_uint64.from_address(base + names).value:
            is_named = not entry >> 63
            ours = (
                _addresses.get(ctypes.string_at(base + entry + 2)) if is_named else None
            )
            if ours:
                old, slot = ctypes.c_uint32(), ctypes.c_void_p(base + slots)
                kernel.VirtualProtect(
                    slot, ctypes.c_size_t(8), WRITE, ctypes.byref(old)
                )
                ctypes.c_uint64.from_address(base + slots).value = ours
                kernel.VirtualProtect(slot, ctypes.c_size_t(8), old, ctypes.byref(old))
            names, slots = names + 8, slots + 8
        table += 20


create = importlib.machinery.ExtensionFileLoader.create_module


def create_module(self, spec):
    module = create(self, spec)
    if any(name in self.path for name in LIBRARIES):
        complete(self.path)
    return module


def getppid():
    import psutil

    return psutil.Process().ppid()


importlib.machinery.ExtensionFileLoader.create_module = create_module
os.getppid = getppid  # Wine ends a process that calls Windows' own
