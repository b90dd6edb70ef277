"""What `array_api_compat.cupy.fft` takes from cupy.fft (cupy/fft/__init__.py)."""

import numpy as np
from cupy._array import creator, of_array

__all__ = "fft fftfreq fftn fftshift hfft ifft ifftn ifftshift ihfft irfft irfftn rfft rfftfreq rfftn".split()

for _name in __all__:
    globals()[_name] = (creator if _name.endswith("freq") else of_array)(getattr(np.fft, _name))
