"""A linear layer that takes the faster float32 product on the CPU.

On AMD processors torch's default float32 product (MKL) runs at about half the speed of oneDNN's, which torch carries too behind
a private operator. This file is the one place that knows it. The operator is used for float32 on a CPU of AMD's, when it
exists and a small product agrees with `F.linear`; everything else goes to `F.linear`. The choice depends on the machine and
not on a timing, so two runs on one machine take the same path; `MUMEI_FAST_LINEAR=0` or `=1` overrides it.

Second derivatives go through plain products, which torch can differentiate again.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from mumei.core.errors import UsageError


@dataclass(frozen=True)
class Capability:
    """Whether the fast product is in use here, and why."""

    used: bool
    reason: str


@lru_cache(maxsize=1)
def capability() -> Capability:
    """Say whether the fast product is used on this machine (worked out once a process)."""
    wish = os.environ.get("MUMEI_FAST_LINEAR", "")
    if wish not in ("", "0", "1"):
        raise UsageError(f"MUMEI_FAST_LINEAR={wish!r} is not allowed; give 0, 1 or leave it unset.")
    if wish == "0":
        return Capability(False, "switched off by MUMEI_FAST_LINEAR=0")
    if not _agrees():
        return Capability(False, "this torch has no oneDNN linear that agrees with F.linear")
    if wish == "1":
        return Capability(True, "switched on by MUMEI_FAST_LINEAR=1")
    if "AuthenticAMD" in _processor():
        return Capability(True, "AMD processor: oneDNN's float32 product is faster than torch's default")
    return Capability(False, "not an AMD processor: torch's default float32 product is used")


def _processor() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(errors="replace")[:4000]
    except OSError:
        import platform

        return platform.processor()


def _agrees() -> bool:
    x = torch.linspace(-1, 1, 12).view(3, 4)
    weight = torch.linspace(2, -1, 20).view(5, 4)
    try:
        return torch.allclose(_product(x, weight, None), F.linear(x, weight), atol=1e-5)
    except (AttributeError, RuntimeError, NotImplementedError):
        return False


def _product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class _FastLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        x, weight = ctx.saved_tensors
        grad = grads[0]
        # Under create_graph the gradient itself must be differentiable, which the operator is not.
        twice = torch.is_grad_enabled()
        flat, rows = grad.reshape(-1, grad.shape[-1]), x.reshape(-1, x.shape[-1])
        dx = dw = db = None
        if ctx.needs_input_grad[0]:
            dx = (flat @ weight if twice else _product(flat, weight.t(), None)).view_as(x)
        if ctx.needs_input_grad[1]:
            dw = flat.t() @ rows if twice else _product(flat.t(), rows.t(), None)
        if ctx.biased and ctx.needs_input_grad[2]:
            db = flat.sum(0)
        return dx, dw, db


def fast_linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Return x W^T + b, as `torch.nn.functional.linear` does.

    Parameters
    ----------
    x : Tensor (..., in)
    weight : Tensor (out, in)
    bias : Tensor (out,), optional

    Returns
    -------
    Tensor (..., out)
    """
    plain = (
        not capability().used
        or x.device.type != "cpu"
        or x.dtype != torch.float32
        or weight.dtype != torch.float32
        or x.numel() == 0
        or x.dim() < 2
        or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_compiling()
    )
    return F.linear(x, weight, bias) if plain else _FastLinear.apply(x, weight, bias)  # type: ignore[return-value]


class FastLinear(torch.nn.Linear):
    """`torch.nn.Linear` with the faster product where there is one; the same parameters and the same state."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Map (..., in) to (..., out)."""
        return fast_linear(input, self.weight, self.bias)


def measure(size: int = 512, seconds: float = 0.1) -> dict[str, float]:
    """Return measured GFLOP/s of square products: torch's default, oneDNN's (if it agrees) and bfloat16."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, size, generator=generator) for _ in range(2))
    low = a.bfloat16(), b.bfloat16()
    products = {"float32 default": lambda: a @ b, "bfloat16": lambda: low[0] @ low[1]}
    if _agrees():
        products["float32 oneDNN"] = lambda: _product(a, b, None)
    out = {}
    for name, product in products.items():
        product()
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            product()
            count += 1
        out[name] = 2 * size**3 * count / (time.perf_counter() - start) / 1e9
    return out
