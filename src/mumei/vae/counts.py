"""Counts given z: Poisson, negative binomial, and its zero-inflated form.

Source: Lopez 2018, "Deep generative modeling for single-cell transcriptomics" (scVI): the decoder gives shares of the row's
library size (its sum), mean = softmax(out) * library, and one inverse dispersion theta a feature, learned. With mean m:

    Poisson    log p = x log m - m - log x!
    NB         log p = lgamma(x + theta) - lgamma(theta) - log x! + theta log(theta / (theta + m)) + x log(m / (theta + m))
    ZINB       log p = log(pi + (1 - pi) NB(0)) at x = 0, log(1 - pi) + log NB(x) elsewhere; pi by logits, one an entry

What x = 0 does not need is worked out at the non-zeros alone: see `nonzeros.py`. Batches may be dense, or `torch.sparse_csr`,
which spares the search for the non-zeros.

`library=False` drops the library size: mean = exp(out), for counts whose row sums mean nothing.
Departures from scVI: the library size is observed, as in its default; dispersion is one a feature, never one an entry; log theta
starts at 0, not at random, and is kept within `LOG_DISPERSION`; nothing is added inside logarithms. scVI's 1e-8 there caps what a
count costs where its mean is far below that; values can differ by tens of nats a row for cells unlike those trained on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mumei.core.errors import DataError, UsageError
from mumei.vae.likelihoods import Likelihood
from mumei.vae.nonzeros import Nonzeros, ZeroTerm

if TYPE_CHECKING:
    import numpy as np

LOG_MEAN = (-30.0, 30.0)  # of `library=False`: exp of more would overflow
LOG_DISPERSION = (-20.0, 20.0)  # beyond, a negative binomial is a Poisson or all zeros to every digit
TINY = 1e-8  # the library size of a row of zeros, whose logarithm must be finite


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
        """Return log(1 + x), dense, as the encoder sees counts."""
        return torch.log1p(x.to_dense() if x.layout == torch.sparse_csr else x)

    def log_mean(self, out: Tensor, library: Tensor | None) -> Tensor:
        """Return the logarithm of the means (..., n, n_features); `library` (n,) is the rows' sums."""
        if not self.library:
            return out.clamp(*LOG_MEAN)
        shares = torch.log_softmax(out, -1)
        return shares if library is None else shares + self._log_library(library, out)[..., None]

    def mean(self, out: Tensor, library: Tensor | None = None) -> Tensor:
        """Return the means (..., n, n_features); without a library size those of rows that sum to 1, that is, shares."""
        return self.log_mean(self._means(out), library).exp()

    def _means(self, out: Tensor) -> Tensor:
        return out

    def _log_library(self, sums: Tensor, out: Tensor) -> Tensor:
        return torch.log(sums.to(out.dtype).clamp(min=TINY))

    def _rates(self, out: Tensor, library: Tensor | None) -> Tensor:
        """Return the means to draw from; shares are none, so a library size must be given."""
        if self.library and library is None:
            raise UsageError(
                f"samples of the {self.name!r} likelihood need the library size (sum) of each row: give library=, or make the "
                "likelihood with library=False."
            )
        return Counts.mean(self, out, library)

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
        """Return log p(x|z) (..., n); x may be `torch.sparse_csr`."""
        found = Nonzeros.of(x)
        if self.library:
            log_library = self._log_library(found.sums, out)
            log_mean = found.take(out) + (log_library - torch.logsumexp(out, -1)).index_select(-1, found.rows)
            total = torch.exp(log_library)  # the means of a row sum to its library size
        else:
            clamped = out.clamp(*LOG_MEAN)
            log_mean, total = found.take(clamped), clamped.exp().sum(-1)
        return found.per_row(found.values.to(out.dtype) * log_mean) - total - found.log_factorials().to(out.dtype)

    def sample(self, out: Tensor, generator: torch.Generator, library: Tensor | None = None) -> Tensor:
        """Draw counts (..., n, n_features)."""
        return torch.poisson(self._rates(out, library), generator=generator)


class NegativeBinomial(Counts):
    """Independent negative binomial counts with one inverse dispersion a feature: variance m + m^2 / theta."""

    name = "nb"

    def __init__(self, n_features: int, library: bool = True, outputs: int | None = None):
        super().__init__(n_features, library, outputs)
        self.log_dispersion = nn.Parameter(torch.zeros(n_features))

    def log_prob(self, out: Tensor, x: Tensor) -> Tensor:
        """Return log p(x|z) (..., n); x may be `torch.sparse_csr`."""
        return self._log_prob(out, None, x)

    def _log_prob(self, means: Tensor, logits: Tensor | None, x: Tensor) -> Tensor:
        found, log_theta = Nonzeros.of(x), self._log_theta().to(means.dtype)
        log_library = self._log_library(found.sums, means) if self.library else None
        means = means if self.library else means.clamp(*LOG_MEAN)
        by_entry: Any = ZeroTerm.apply(found, means, log_library, log_theta, logits)
        zeros, log_means, taken = by_entry
        thetas = log_theta.index_select(0, found.columns)
        log_ratio = log_means - thetas
        terms = -found.values.to(means.dtype) * F.softplus(-log_ratio)
        if taken is not None:  # log(1 - pi) NB(0) in place of log(pi + (1 - pi) NB(0))
            terms = terms - F.softplus(taken + thetas.exp() * F.softplus(log_ratio))
        return zeros + found.per_row(terms) + found.gammas(self._log_theta()).to(means.dtype)

    def _log_theta(self) -> Tensor:
        return self.log_dispersion.clamp(*LOG_DISPERSION)

    def sample(self, out: Tensor, generator: torch.Generator, library: Tensor | None = None) -> Tensor:
        """Draw counts (..., n, n_features): Poisson with a gamma-distributed rate."""
        return self._draw(self._rates(out, library), generator)

    def _draw(self, mean: Tensor, generator: torch.Generator) -> Tensor:
        theta = torch.exp(self._log_theta()).to(mean.dtype).expand_as(mean).contiguous()
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
        """Return log p(x|z) (..., n); x may be `torch.sparse_csr`."""
        means, logits = out.chunk(2, -1)
        return self._log_prob(means.contiguous(), logits.contiguous(), x)

    def mean(self, out: Tensor, library: Tensor | None = None) -> Tensor:
        """Return (1 - pi) m; without a library size m are shares."""
        return super().mean(out, library) * torch.sigmoid(-out[..., self.n_features :])

    def sample(self, out: Tensor, generator: torch.Generator, library: Tensor | None = None) -> Tensor:
        """Draw counts (..., n, n_features), some of them put to 0."""
        drawn = self._draw(self._rates(self._means(out), library), generator)
        kept = torch.bernoulli(torch.sigmoid(-out[..., self.n_features :]), generator=generator)
        return drawn * kept
