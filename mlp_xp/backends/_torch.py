"""PyTorch, on the CPU or a GPU, without autograd."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from mlp_xp.backends.common import (
    BackendError,
    Details,
    eager,
    import_library,
    line_of,
    no_device,
)
from mlp_xp.backends.threads import LIMITS
from mlp_xp.core.functional import Array, sigmoid
from mlp_xp.core.library import Backend


def open_library(device: str | None) -> Backend:
    """Open PyTorch on a device, such as cpu or cuda:1; by default the CPU. Raises
    BackendError.
    """
    torch = import_library("torch", "torch")
    import array_api_compat.torch as xp

    try:
        place = torch.device("cpu" if device is None else device)
        torch.ones(2, device=place).sum().item()
    # AssertionError: a build without CUDA
    except (RuntimeError, AssertionError) as error:
        known = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise BackendError(
            f"{no_device('torch', device, known)} ({line_of(error)})"
        ) from error

    def to_numpy(x: Array) -> np.ndarray:
        return np.array(x.detach().cpu().numpy())

    on_gpu = place.type != "cpu"
    if not on_gpu:
        LIMITS.others[:] = [torch]
    use = f"; torch.set_default_device({str(place)!r})" if on_gpu else ""
    imports = f"import torch, array_api_compat.torch as xp{use}"
    # PyTorch has no type of its own for most errors.
    details = Details((RuntimeError, MemoryError), torch.get_num_threads, imports)

    def own_sigmoid(z: Array, /, *, xp: Any) -> tuple[Array, Array]:
        y = torch.sigmoid(z)  # in a fifth of the time
        return y, y

    backend = eager(
        "torch", torch.__version__, xp, place, to_numpy, details, torch.unbind,
        functions=((sigmoid, own_sigmoid),), on_gpu=on_gpu,
    )  # fmt: skip

    def jit(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        # Data with requires_grad would have PyTorch keep a graph that grows with each
        # step.
        return torch.no_grad()(backend.jit(function, **options))

    return replace(backend, jit=jit)
