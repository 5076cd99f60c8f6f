"""p(x|z): what a decoder's output means. Bernoulli and Gaussian here, the rest in `categorical.py` and `counts.py`.

Source: Kingma and Welling 2013, "Auto-Encoding Variational Bayes", appendix C. Everything is in nats per row, summed over
features. Departures from the paper:

- Bernoulli works on logits: log p = x l - softplus(l), which neither over- nor underflows. Values between 0 and 1 are fed as
  they are, as in the first author's own program; they make the number a bound on nothing, so `Bernoulli.check` asks that they
  are wanted (`grey=True`).
- The Gaussian's variance may be a head of the network (the paper's), shared by all rows, or fixed; log-variances are kept within
  `LOG_VARIANCE`. The mean may be bounded to (0, 1) by a sigmoid (the paper's Frey Face network).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mumei.core.errors import DataError, UsageError, unknown

if TYPE_CHECKING:
    import numpy as np

LOG_2PI = math.log(2 * math.pi)
LOG_VARIANCE = (
    -14.0,
    14.0,
)  # a pixel that never changes would else drive its variance to 0 and its density to infinity
VARIANCES = ("learned", "shared")


class Likelihood(nn.Module):
    """A distribution over rows of `n_features` numbers, given a decoder's output of `outputs` numbers.

    Parameters of its own (a shared variance, a dispersion) are learned with the networks.

    Attributes
    ----------
    name : str
    n_features, outputs, encoder_features : int
        Columns of the data, of the decoder's output, and of what the encoder sees.
    counts : bool
        Rows are counts: they have a library size (their sum), which `mean` and `sample` take.
    """

    name = ""
    counts = False

    def __init__(self, n_features: int, outputs: int):
        super().__init__()
        self.n_features, self.outputs = n_features, outputs
        self.encoder_features = n_features

    def log_prob(self, out: Tensor, x: Tensor) -> Tensor:
        """Return log p(x|z) per row.

        Parameters
        ----------
        out : Tensor (..., n, outputs)
            Several samples of z may stand in front of the rows.
        x : Tensor (n, n_features)

        Returns
        -------
        Tensor (..., n), nats
        """
        raise NotImplementedError

    def mean(self, out: Tensor, library: Tensor | None = None) -> Tensor:
        """Return E[x|z] (..., n, n_features); `library` (n,) is for counts."""
        raise NotImplementedError

    def sample(self, out: Tensor, generator: torch.Generator, library: Tensor | None = None) -> Tensor:
        """Draw x given z: (..., n, n_features)."""
        raise NotImplementedError

    def features(self, x: Tensor) -> Tensor:
        """Return what the encoder sees of rows x: (n, n_features), float32."""
        return x

    def check(self, x: np.ndarray) -> None:
        """Raise `DataError` where finite values x (n, n_features) cannot come from this distribution."""

    def config(self) -> dict[str, Any]:
        """Return the JSON values that `make_likelihood` takes to make it again; weights are not part of it."""
        return {"name": self.name}


class Bernoulli(Likelihood):
    """Independent bits, from logits.

    Parameters
    ----------
    n_features : int
    grey : bool
        Accept values between 0 and 1.
    """

    name = "bernoulli"

    def __init__(self, n_features: int, grey: bool = False):
        super().__init__(n_features, n_features)
        self.grey = grey

    def log_prob(self, out: Tensor, x: Tensor) -> Tensor:
        """Return log p(x|z) (..., n) = sum of x l - softplus(l)."""
        return torch.einsum("...i,...i->...", out, x.expand_as(out)) - F.softplus(out).sum(-1)

    def mean(self, out: Tensor, library: Tensor | None = None) -> Tensor:
        """Return the probabilities of a 1."""
        return torch.sigmoid(out)

    def sample(self, out: Tensor, generator: torch.Generator, library: Tensor | None = None) -> Tensor:
        """Draw bits."""
        return torch.bernoulli(torch.sigmoid(out), generator=generator)

    def check(self, x: np.ndarray) -> None:
        """Raise `DataError` for values outside [0, 1], or between 0 and 1 unless `grey`."""
        low, high = float(x.min()), float(x.max())
        if low < 0 or high > 1:
            raise DataError(
                f"a Bernoulli likelihood needs values from 0 to 1; the data goes from {low:.6g} to {high:.6g}. Scale it, give "
                "images as uint8, or choose another likelihood ('gaussian', 'poisson', 'nb')."
            )
        if not self.grey and bool(((x != 0) & (x != 1)).any()):
            value = float(x[(x != 0) & (x != 1)].flat[0])
            raise DataError(
                f"a Bernoulli likelihood needs 0 and 1 alone; the data holds {value:.6g}. Give likelihood={{'name': 'bernoulli', "
                "'grey': True}} to feed grey values as the paper's program does, or binarise the data."
            )

    def config(self) -> dict[str, Any]:
        """Return its name and whether grey values are allowed."""
        return {"name": self.name, "grey": self.grey}


class Gaussian(Likelihood):
    """Independent normal features.

    Parameters
    ----------
    n_features : int
    variance : {"learned", "shared"} or float
        A head of the network; one a feature for all rows; or this number.
    bounded : bool
        Keep the mean in (0, 1) by a sigmoid.
    """

    name = "gaussian"

    def __init__(self, n_features: int, variance: str | float = "learned", bounded: bool = False):
        fixed = isinstance(variance, int | float) and not isinstance(variance, bool)
        if not fixed and variance not in VARIANCES:
            raise unknown("variance", str(variance), (*VARIANCES, "a positive number"))
        if fixed and not 0 < float(variance) < math.inf:
            raise UsageError(f"variance={variance!r} is not allowed; give a positive number, 'learned' or 'shared'.")
        super().__init__(n_features, 2 * n_features if variance == "learned" else n_features)
        self.variance, self.bounded = variance, bounded
        if variance == "shared":
            self.log_variance = nn.Parameter(torch.zeros(n_features))

    def moments(self, out: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance, each (..., n, n_features) or broadcasting to it."""
        if self.variance == "learned":
            mean, log_variance = out.chunk(2, -1)
        elif self.variance == "shared":
            mean, log_variance = out, self.log_variance
        else:
            mean, log_variance = out, out.new_tensor(math.log(float(self.variance)))
        return torch.sigmoid(mean) if self.bounded else mean, log_variance.clamp(*LOG_VARIANCE)

    def log_prob(self, out: Tensor, x: Tensor) -> Tensor:
        """Return the log density (..., n)."""
        mean, log_variance = self.moments(out)
        each = (x - mean).square() * torch.exp(-log_variance) + log_variance + LOG_2PI
        return -0.5 * each.sum(-1)

    def mean(self, out: Tensor, library: Tensor | None = None) -> Tensor:
        """Return the means."""
        return self.moments(out)[0]

    def sample(self, out: Tensor, generator: torch.Generator, library: Tensor | None = None) -> Tensor:
        """Draw normal values."""
        mean, log_variance = self.moments(out)
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        return mean + torch.exp(0.5 * log_variance) * noise

    def check(self, x: np.ndarray) -> None:
        """Raise `DataError` for values outside [0, 1] where the mean is bounded."""
        if self.bounded and (x.min() < 0 or x.max() > 1):
            raise DataError(
                f"a Gaussian with its mean bounded to (0, 1) needs values from 0 to 1; the data goes from {x.min():.6g} to "
                f"{x.max():.6g}. Scale it, or leave bounded=False."
            )

    def config(self) -> dict[str, Any]:
        """Return its name, variance and bound."""
        return {"name": self.name, "variance": self.variance, "bounded": self.bounded}


def gaussian_log_prob(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return log N(z; mean, exp(log_variance)) summed over the last axis."""
    each = (z - mean).square() * torch.exp(-log_variance) + log_variance + LOG_2PI
    return -0.5 * each.sum(-1)


def standard_log_prob(z: Tensor) -> Tensor:
    """Return log N(z; 0, I) summed over the last axis."""
    return -0.5 * (z.square() + LOG_2PI).sum(-1)
