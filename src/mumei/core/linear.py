"""The fully connected product through oneDNN where that is the fast path, and through `F.linear` everywhere else.

torch's `F.linear` calls MKL for float32 on a CPU; on AMD processors with AVX-512 MKL stays at AVX2 and oneDNN runs the same
products up to twice as fast. On AMD processors that have AVX2 alone MKL is the faster one (a tenth, measured on Zen 3).
The one way to reach oneDNN at full float32 precision is torch's private operator `mkldnn::_linear_pointwise`, so it is
guarded: `capability()` says, once per process, whether the operator exists, whether it agrees with `F.linear`, and
whether it is used here, with the reason in words.

The choice depends on the processor's vendor and vector width, never on a stopwatch, so that two runs on one machine give the
same bits.
`MUMEI_FAST_LINEAR=0` turns the fast path off, `MUMEI_FAST_LINEAR=1` turns it on for any vendor. `measure()` reports
speeds and decides nothing.

`F.linear` does the work for other dtypes and devices, for products too small to gain, under autocast, under
`torch.compile` and `torch.func`. Second derivatives are supported: a backward pass that builds a graph uses plain torch
products.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mumei.core.cpu import cpu_vendor
from mumei.core.errors import UsageError

SWITCH = "MUMEI_FAST_LINEAR"
VENDORS = ("AuthenticAMD",)  # where oneDNN was measured to win; Intel's own MKL may be the better one on Intel
WIDTH = "AVX512"  # what torch calls the vectors without which oneDNN does not win
SMALL = 1 << 22  # multiply-adds; below about this the calls around the operator cost more than oneDNN gains
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Capability:
    """Whether the oneDNN product is there, right and in use, and why.

    Parameters
    ----------
    exists : bool
        This torch has the operator.
    agrees : bool
        Forward and backward products agree with `F.linear` on a probe.
    vendor : str
        The processor's vendor string, or its architecture where there is none.
    enabled : bool
        `fast_linear` uses the operator.
    reason : str
        One sentence.
    """

    exists: bool
    agrees: bool
    vendor: str
    enabled: bool
    reason: str


@dataclass(frozen=True)
class Speed:
    """Median speed in GFLOP/s of the (rows, inputs) by (outputs, inputs) product: `F.linear`, and oneDNN (None where
    absent).
    """

    plain: float
    fast: float | None


def _operator(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


@functools.cache
def capability() -> Capability:
    """Return what this machine and this torch can do, found out once per process.

    Raises
    ------
    UsageError
        `MUMEI_FAST_LINEAR` is set to something other than 0 or 1.
    """
    wanted = os.environ.get(SWITCH, "")
    if wanted not in ("", "0", "1"):
        raise UsageError(f"{SWITCH}={wanted!r} is not allowed; set it to 0 (off) or 1 (on), or unset it.")
    vendor = cpu_vendor()
    exists = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.backends.mkldnn.is_available()
    agrees = exists and _agrees()
    enabled, reason = _choose(wanted, vendor, torch.backends.cpu.get_cpu_capability(), exists, agrees)
    return Capability(exists, agrees, vendor, enabled, reason)


def _choose(wanted: str, vendor: str, width: str, exists: bool, agrees: bool) -> tuple[bool, str]:
    if not exists:
        return False, "this torch has no oneDNN linear operator, so F.linear is used"
    if not agrees:
        return False, "oneDNN's linear operator disagrees with F.linear here, so F.linear is used"
    if wanted:
        return wanted == "1", f"set by {SWITCH}={wanted}"
    if vendor in VENDORS and width.startswith(WIDTH):
        return True, f"oneDNN is the faster float32 product on {vendor} processors with {width}"
    return False, f"F.linear is kept on {vendor} processors with {width}; set {SWITCH}=1 to use oneDNN"


def _agrees() -> bool:
    """Compare the three products of one training step with plain ones, on shapes that are no multiple of a vector."""
    draw = torch.Generator().manual_seed(0)
    x, w = torch.randn(33, 47, generator=draw), torch.randn(29, 47, generator=draw)
    b, g = torch.randn(29, generator=draw), torch.randn(33, 29, generator=draw)
    try:
        # Whoever asks first may be in a region of mixed precision, which would round one side alone.
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            pairs = [
                (_operator(x, w, b), F.linear(x, w, b)),
                (_operator(g, w.t()), g @ w),
                (_operator(g.t(), x.t()), g.t() @ x),
            ]
    except (RuntimeError, TypeError, NotImplementedError):
        return False
    return all(a.shape == e.shape and torch.allclose(a, e, TOLERANCE, TOLERANCE) for a, e in pairs)


class _Product(torch.autograd.Function):
    """y = x W^T + b for 2-D x (n, i), W (o, i), b (o) or None."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _operator(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        g = dense(grads[0])
        x, weight = ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad
        # Gradients are enabled here only while a second derivative is wanted: the operator has none, plain products
        # have.
        plain = torch.is_grad_enabled()
        dx = (g @ weight if plain else _operator(g, weight.t())) if need_x else None
        dw = (g.t() @ x if plain else _operator(g.t(), x.t())) if need_weight else None
        return dx, dw, g.sum(0) if need_bias else None


def fast_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `x @ weight.T + bias`, as `F.linear` does, by the faster product where there is one.

    Parameters
    ----------
    x : Tensor
        (..., inputs).
    weight : Tensor
        (outputs, inputs).
    bias : Tensor, optional
        (outputs,).

    Returns
    -------
    Tensor (..., outputs)
    """
    if not _fits(x, weight, bias):
        return F.linear(x, weight, bias)
    flat = dense(x if x.dim() == 2 else x.reshape(-1, x.shape[-1]))
    y = _Product.apply(flat, weight, bias) if torch.is_grad_enabled() else _operator(flat, weight, bias)
    return y if x.dim() == 2 else y.reshape(*x.shape[:-1], weight.shape[0])


def dense(t: Tensor) -> Tensor:
    """Return a matrix (n, m) whose rows or columns follow each other in memory: itself, or a copy.

    With gaps between them (a half that `chunk` gives, say) oneDNN falls back to its slowest kernel: a weight gradient of
    256 x 10 by 256 x 2000 took 148 ms in place of 0.9 (Zen 4).
    """
    return t if t.is_contiguous() or t.t().is_contiguous() else t.contiguous()


def _fits(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether the operator takes these tensors and gains by it. A shape that is wrong is left to `F.linear`'s own
    error.
    """
    return (
        _plain_float32(x)
        and _plain_float32(weight)
        and (bias is None or (_plain_float32(bias) and bias.shape == weight.shape[:1]))
        and weight.dim() == 2
        and x.dim() >= 1
        and x.shape[-1] == weight.shape[1]
        and x.numel() * weight.shape[0] >= SMALL
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and capability().enabled
    )


def _plain_float32(t: Tensor) -> bool:
    # The exact types leave out torch.func's, fake and other wrapped tensors, which the operator does not know.
    return (
        t.dtype is torch.float32
        and t.device.type == "cpu"
        and type(t) in (Tensor, nn.Parameter)
        and t.layout is torch.strided
        and not _is_functional(t)
    )


def _is_functional(t: Tensor) -> bool:
    """Whether a tensor belongs to `torch.func` (vmap, grad, jvp), which knows no rule for the operator."""
    probe = getattr(getattr(torch._C, "_functorch", None), "is_functorch_wrapped_tensor", None)
    return probe is not None and probe(t)


class FastLinear(nn.Linear):
    """`nn.Linear` through `fast_linear`: the same arguments, parameters and `state_dict`.

    Examples
    --------
    >>> FastLinear(3, 2)(torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        return fast_linear(input, self.weight, self.bias)


def measure(rows: int = 256, inputs: int = 512, outputs: int = 512, repeats: int = 5) -> Speed:
    """Time the product both ways on this machine (about 10 ms); for a report, never for a choice.

    Parameters
    ----------
    rows, inputs, outputs : int
        The product's shape.
    repeats : int
        Timed calls of each; the median counts.
    """
    draw = torch.Generator().manual_seed(0)
    x, w = torch.randn(rows, inputs, generator=draw), torch.randn(outputs, inputs, generator=draw)
    work = 2e-9 * rows * inputs * outputs
    with torch.no_grad():
        plain = work / _median_seconds(lambda: F.linear(x, w), repeats)
        fast = work / _median_seconds(lambda: _operator(x, w), repeats) if capability().agrees else None
    return Speed(plain, fast)


def _median_seconds(call: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):  # the first call prepares the kernel
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[repeats // 2]
