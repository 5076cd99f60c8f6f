"""Counts given z: Poisson, negative binomial, and its zero-inflated form.

Source: Lopez 2018, "Deep generative modeling for single-cell transcriptomics" (scVI): the decoder gives shares of the row's
library size (its sum), mean = softmax(out) * library, and one inverse dispersion theta a feature, learned. With mean m:

    Poisson    log p = x log m - m - log x!
    NB         log p = lgamma(x + theta) - lgamma(theta) - log x! + theta log(theta / (theta + m)) + x log(m / (theta + m))
    ZINB       log p = log(pi + (1 - pi) NB(0)) at x = 0, log(1 - pi) + log NB(x) elsewhere; pi by logits, one an entry

At x = 0 the three gamma terms of the NB cancel and x log(...) is 0, so both are worked out at the non-zeros alone: in single-cell
data about a tenth of the entries. The derivative of the gamma terms in theta is a digamma, also at the non-zeros alone.

`library=False` drops the library size: mean = exp(out), for counts whose row sums mean nothing.
Departures from scVI: the library size is observed, as in its default; dispersion is one a feature, never one an entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mumei.core.errors import DataError
from mumei.vae.likelihoods import Likelihood

if TYPE_CHECKING:
    import numpy as np

LOG_MEAN = (-30.0, 30.0)  # of `library=False`: exp of more would overflow
TINY = 1e-8  # added to means, so that the logarithm of a share that underflowed is finite


class Counts(Likelihood):
    """What the count distributions share.

    Parameters
    ----------
    n_features : int
    library : bool
        Means are shares of the row's sum.
    """

    counts = True

    def __init__(self, n_features: int, library: bool = True, outputs: int | None = None):
        super().__init__(n_features, n_features if outputs is None else outputs)
        self.library = library

    def features(self, x: Tensor) -> Tensor:
        """Return log(1 + x), as the encoder sees counts."""
        return torch.log1p(x)

    def log_mean(self, out: Tensor, library: Tensor | None) -> Tensor:
        """Return the logarithm of the means (..., n, n_features); `library` (n,) is the rows' sums."""
        if not self.library:
            return out.clamp(*LOG_MEAN)
        sums = torch.ones((), dtype=out.dtype, device=out.device) if library is None else library.to(out.dtype)
        return torch.log_softmax(out, -1) + torch.log(sums.clamp(min=TINY))[..., None]

    def mean(self, out: Tensor, library: Tensor | None = None) -> Tensor:
        """Return the means; without a library size those of a row that sums to 1."""
        return self.log_mean(self._means(out), library).exp()

    def _means(self, out: Tensor) -> Tensor:
        return out

    def check(self, x: np.ndarray) -> None:
        """Raise `DataError` for negative values or parts of a whole, showing the first."""
        import numpy as np

        bad = (x < 0) | (x != np.floor(x))
        if bad.any():
            value = float(np.asarray(x)[bad].flat[0])
            what = "a negative value" if value < 0 else "not a whole number"
            raise DataError(
                f"the {self.name!r} likelihood needs counts (0, 1, 2, ...); the data holds {value:.6g}, {what}. Give raw "
                "counts, not normalised or logarithmic values, or choose likelihood='gaussian'."
            )

    def config(self) -> dict[str, Any]:
        """Return its name and whether means are shares of the library size."""
        return {"name": self.name, "library": self.library}


class Poisson(Counts):
    """Independent Poisson counts."""

    name = "poisson"

    def log_prob(self, out: Tensor, x: Tensor) -> Tensor:
        """Return log p(x|z) (..., n)."""
        log_mean = self.log_mean(out, x.sum(-1))
        fit = torch.einsum("...i,...i->...", log_mean, x.expand_as(log_mean))
        return fit - log_mean.exp().sum(-1) - _at_nonzeros(x, lambda value, _: torch.lgamma(value + 1))

    def sample(self, out: Tensor, generator: torch.Generator, library: Tensor | None = None) -> Tensor:
        """Draw counts."""
        return torch.poisson(self.mean(out, library), generator=generator)


class NegativeBinomial(Counts):
    """Independent negative binomial counts with one inverse dispersion a feature: variance m + m^2 / theta."""

    name = "nb"

    def __init__(self, n_features: int, library: bool = True, outputs: int | None = None):
        super().__init__(n_features, library, outputs)
        self.log_dispersion = nn.Parameter(torch.zeros(n_features))

    def log_prob(self, out: Tensor, x: Tensor) -> Tensor:
        """Return log p(x|z) (..., n)."""
        log_theta = self.log_dispersion
        log_mean = self.log_mean(self._means(out), x.sum(-1))
        log_both = torch.logaddexp(log_theta, log_mean)  # log(theta + m)
        zero = (torch.exp(log_theta) * (log_theta - log_both)).sum(-1)
        ratio = torch.einsum("...i,...i->...", log_mean - log_both, x.expand_as(log_mean))
        return zero + ratio + _gamma_terms(x, log_theta)

    def sample(self, out: Tensor, generator: torch.Generator, library: Tensor | None = None) -> Tensor:
        """Draw counts: Poisson with a gamma-distributed rate."""
        return self._draw(self.mean(out, library), generator)

    def _draw(self, mean: Tensor, generator: torch.Generator) -> Tensor:
        theta = torch.exp(self.log_dispersion).expand_as(mean).contiguous()
        # torch.distributions draw from the global generator alone.
        gamma: Any = torch._standard_gamma  # type: ignore[attr-defined]
        rate = gamma(theta, generator=generator) * mean / theta
        return torch.poisson(rate, generator=generator)


class ZeroInflatedNegativeBinomial(NegativeBinomial):
    """A negative binomial, or 0 with a probability of its own: a second half of the output holds that probability's logits."""

    name = "zinb"

    def __init__(self, n_features: int, library: bool = True):
        super().__init__(n_features, library, 2 * n_features)

    def _means(self, out: Tensor) -> Tensor:
        return out[..., : self.n_features]

    def log_prob(self, out: Tensor, x: Tensor) -> Tensor:
        """Return log p(x|z) (..., n)."""
        logits, log_theta = out[..., self.n_features :], self.log_dispersion
        log_mean = self.log_mean(self._means(out), x.sum(-1))
        log_both = torch.logaddexp(log_theta, log_mean)
        zero = torch.exp(log_theta) * (log_theta - log_both)  # log NB(0)
        # log(pi + (1 - pi) NB(0)) = softplus(zero - logits) - softplus(-logits); log(1 - pi) = -logits - softplus(-logits).
        at_zero, elsewhere = F.softplus(zero - logits), zero - logits + x * (log_mean - log_both)
        each = torch.where(x == 0, at_zero, elsewhere) - F.softplus(-logits)
        return each.sum(-1) + _gamma_terms(x, log_theta)

    def mean(self, out: Tensor, library: Tensor | None = None) -> Tensor:
        """Return (1 - pi) m."""
        return super().mean(out, library) * torch.sigmoid(-out[..., self.n_features :])

    def sample(self, out: Tensor, generator: torch.Generator, library: Tensor | None = None) -> Tensor:
        """Draw counts, some of them put to 0."""
        drawn = self._draw(Counts.mean(self, out, library), generator)
        kept = torch.bernoulli(torch.sigmoid(-out[..., self.n_features :]), generator=generator)
        return drawn * kept


def _at_nonzeros(x: Tensor, term: Any) -> Tensor:
    """Return the sum over each row of `term(values, columns)` at the non-zeros of x (n, features): (n,)."""
    rows, columns = torch.nonzero(x, as_tuple=True)
    found = term(x[rows, columns], columns)
    return torch.zeros(len(x), dtype=found.dtype, device=x.device).index_add(0, rows, found)


def _gamma_terms(x: Tensor, log_theta: Tensor) -> Tensor:
    """Return the sum over each row of lgamma(x + theta) - lgamma(theta) - log x! (n,)."""

    def term(values: Tensor, columns: Tensor) -> Tensor:
        return _GammaRatio.apply(log_theta, values, columns) - torch.lgamma(values + 1)

    return _at_nonzeros(x, term)


class _GammaRatio(torch.autograd.Function):
    """lgamma(x + theta) - lgamma(theta) at entries: values (k,), their columns (k,), log theta (features,).

    lgamma(theta) and digamma(theta) are worked out once a feature, not once an entry.
    """

    @staticmethod
    def forward(ctx: Any, log_theta: Tensor, values: Tensor, columns: Tensor) -> Tensor:
        theta = torch.exp(log_theta)
        ctx.save_for_backward(theta, values, columns)
        return torch.lgamma(values + theta[columns]) - torch.lgamma(theta)[columns]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        theta, values, columns = ctx.saved_tensors
        slope = (torch.digamma(values + theta[columns]) - torch.digamma(theta)[columns]) * grads[0]
        return torch.zeros_like(theta).index_add(0, columns, slope) * theta, None, None
