"""Negative binomials worked out at the non-zeros of a batch, and what is left for every entry.

With mean m, inverse dispersion theta and r = m / theta, the logarithm of a negative binomial (Lopez 2018, supplement) is

    log NB(x) = - theta log(1 + r)                                                   every entry: log NB(0)
                - x log(1 + 1 / r) + lgamma(x + theta) - lgamma(theta) - log x!       the non-zeros

At x = 0 the gamma terms cancel, so nothing of the second line is left there; in single-cell data about a tenth of the entries are
non-zeros. Both lines keep r as one number: the textbook's theta log(theta / (theta + m)) is a difference of two nearly equal
logarithms and loses all digits of float32 where theta is large (a gene without overdispersion). The gamma terms are such
a difference too and are worked out in float64; they do not depend on z, so several samples share them.

The first line is a matrix product of log(1 + r) with theta; `ZeroTerm` has its gradient written out. It can be
differentiated once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


@dataclass(frozen=True)
class Nonzeros:
    """The non-zeros of a batch (n, width), row by row.

    Attributes
    ----------
    flat, rows, columns : Tensor (k,), int64
        Where: in the batch laid out as one line, and its two parts.
    values : Tensor (k,)
    sums : Tensor (n,)
        Of the rows.
    """

    flat: Tensor
    rows: Tensor
    columns: Tensor
    values: Tensor
    sums: Tensor

    @staticmethod
    def of(x: Tensor) -> Nonzeros:
        """Find them in a dense batch, or take them from a `torch.sparse_csr` one."""
        n, width = x.shape
        if x.layout == torch.sparse_csr:
            columns, values = x.col_indices().long(), x.values()
            rows = torch.repeat_interleave(torch.arange(n, device=x.device), x.crow_indices().diff())
            sums = torch.zeros(n, dtype=values.dtype, device=x.device).index_add(0, rows, values)
            return Nonzeros(rows * width + columns, rows, columns, values, sums)
        line = x.reshape(-1)
        if line.device.type == "cpu":  # half the time of torch.nonzero
            flat = torch.from_numpy(np.flatnonzero((line != 0).numpy()))
        else:
            flat = torch.nonzero(line).squeeze(1)
        ends = torch.searchsorted(flat, torch.arange(n + 1, device=x.device) * width)
        rows = torch.repeat_interleave(torch.arange(n, device=x.device), ends.diff())
        return Nonzeros(flat, rows, flat - rows * width, line.index_select(0, flat), x.sum(-1))

    def take(self, entries: Tensor) -> Tensor:
        """Return the entries (..., n, width) at the non-zeros: (..., k)."""
        return entries.flatten(-2).index_select(-1, self.flat)

    def add(self, entries: Tensor, terms: Tensor) -> None:
        """Add terms (..., k) to the entries (..., n, width) at the non-zeros, in place."""
        entries.view(*entries.shape[:-2], -1).index_add_(-1, self.flat, terms)

    def per_row(self, terms: Tensor) -> Tensor:
        """Return the sum over each row of terms (..., k): (..., n)."""
        shape = (*terms.shape[:-1], len(self.sums))
        return torch.zeros(shape, dtype=terms.dtype, device=terms.device).index_add(-1, self.rows, terms)

    def log_factorials(self) -> Tensor:
        """Return the sum over each row of log x! (n,), float64."""
        return self.per_row(torch.lgamma(self.values.double() + 1))

    def gammas(self, log_theta: Tensor) -> Tensor:
        """Return the sum over each row of lgamma(x + theta) - lgamma(theta) - log x! (n,), float64."""
        values = self.values.double()
        ratios: Any = _GammaRatio.apply(log_theta.double(), values, self.columns)
        return self.per_row(ratios - torch.lgamma(values + 1))


class ZeroTerm(torch.autograd.Function):
    """The log-probability of a row of zeros, and what the non-zeros need of the same numbers.

    Arguments: `found`; `out` (..., n, width), log-means but for one number a row; `log_library` (n,), by which means sum to
    the library size (log m = out - logsumexp(out) + log_library), or None (log m = out); `log_theta` (width,); `logits`
    (..., n, width) of pi, or None.

    Returns (terms, log_means, logits): (..., n), the sum over a row of log NB(0), or of log(pi + (1 - pi) NB(0)); log m and
    the logits at the non-zeros, each (..., k), the last None where none were given.
    """

    @staticmethod
    def forward(
        ctx: Any, found: Nonzeros, out: Tensor, log_library: Tensor | None, log_theta: Tensor, logits: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keep the arrays that `backward` reads."""
        theta, share, taken, inflated = torch.exp(log_theta), None, found.take(out), None
        if log_library is None:
            ratio = (out - log_theta).exp_()
        else:
            share = torch.softmax(out, -1)
            # logsumexp(out), without a second exponential: the largest share is exp(largest out - logsumexp).
            offset = log_library - out.amax(-1) + torch.log(share.amax(-1))
            taken = taken + offset.index_select(-1, found.rows)
            ratio = (share * torch.exp(log_library)[:, None]).div_(theta)
        logs = torch.log1p(ratio)
        if logits is None:
            terms = -(logs @ theta)
        else:
            inflated = (logs * -theta).sub_(logits)
            terms = F.softplus(inflated).add_(F.logsigmoid(logits)).sum(-1)
        ctx.found = found
        ctx.save_for_backward(share, ratio, logs, theta, inflated, logits)
        return terms, taken, None if logits is None else found.take(logits)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[None, Tensor, None, Tensor | None, Tensor | None]:
        """Return the gradients of out, log_theta and logits."""
        share, ratio, logs, theta, inflated, logits = ctx.saved_tensors
        found: Nonzeros = ctx.found
        weight, to_logits, to_theta = grads[0][..., None], None, None  # weight of d log NB(0)
        if logits is not None:
            negative_binomial = torch.sigmoid(inflated)  # its part of a zero
            to_logits = torch.sigmoid(-logits).sub_(negative_binomial).mul_(weight)
            found.add(to_logits, grads[2])
            weight = negative_binomial.mul_(weight)
        slope = 1 + ratio
        torch.div(ratio, slope, out=slope)  # m / (theta + m); d log NB(0) / d log m = -theta slope
        if ctx.needs_input_grad[3]:
            to_theta = theta * (_weighed(slope, weight) - _weighed(logs, weight))
        to_out = slope.mul_(weight).mul_(-theta)
        if share is not None:
            total = to_out.sum(-1) + found.per_row(grads[1])
            to_out.addcmul_(share, total[..., None], value=-1)
        found.add(to_out, grads[1])
        return None, to_out, None, to_theta, to_logits


def _weighed(entries: Tensor, weight: Tensor) -> Tensor:
    """Return the sum of weight * entries (..., n, width) over all but the last axis; weight may be one a row."""
    if weight.shape[-1] == 1:
        return weight.reshape(-1) @ entries.flatten(0, -2)
    return (weight * entries).flatten(0, -2).sum(0)


class _GammaRatio(torch.autograd.Function):
    """lgamma(x + theta) - lgamma(theta) at entries: log theta (width,), values (k,), their columns (k,).

    lgamma(theta) and digamma(theta) are worked out once a feature, not once an entry.
    """

    @staticmethod
    def forward(ctx: Any, log_theta: Tensor, values: Tensor, columns: Tensor) -> Tensor:
        """Return them (k,)."""
        theta = torch.exp(log_theta)
        ctx.save_for_backward(theta, values, columns)
        return torch.lgamma(values + theta.index_select(0, columns)) - torch.lgamma(theta).index_select(0, columns)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of log theta, by digammas."""
        theta, values, columns = ctx.saved_tensors
        slope = (
            torch.digamma(values + theta.index_select(0, columns)) - torch.digamma(theta).index_select(0, columns)
        ) * grads[0]
        return torch.zeros_like(theta).index_add(0, columns, slope) * theta, None, None
