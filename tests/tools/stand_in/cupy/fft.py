"""cupy.fft, which `array_api_compat.cupy.fft` imports. The package uses none of it."""

__all__: list[str] = []
