"""The functions that `array_api_compat.cupy.fft` uses from cupy.fft (cupy/fft/__init__.py)."""

import numpy as np

from cupy._array import creator, of_array

_OF_ARRAY = "fft fftn fftshift hfft ifft ifftn ifftshift ihfft irfft irfftn rfft rfftn"
_CREATORS = "fftfreq rfftfreq"
__all__: list[str] = []
__all__.extend(_OF_ARRAY.split() + _CREATORS.split())

for _name in _OF_ARRAY.split():
    globals()[_name] = of_array(getattr(np.fft, _name))
for _name in _CREATORS.split():
    globals()[_name] = creator(getattr(np.fft, _name))
