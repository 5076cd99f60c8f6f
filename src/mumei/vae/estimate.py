"""What every estimate of log p(x) is: a number of nats a row with its standard error, and how it was come by.

`Estimate` is the result, `Problem` the checked question (network, rows, covariates), cut into blocks of rows small enough for
the memory. `log_mean` is the mean of exp(values), its logarithm and its standard error by the delta method.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mumei.core.errors import DataError, NonFiniteError, UsageError
from mumei.vae.targets import AutogradTarget, MLPTarget, fast_target

BUDGET = 1 << 20  # decoder outputs at a time; 4 MB, which the caches of most machines hold
Progress = Callable[[int], Any]


@dataclass(frozen=True)
class Estimate:
    """Estimates of log p(x), or of a bound on it.

    Parameters
    ----------
    values : ndarray (n,), float64
        Nats per row, in the units of the rows given; higher is better.
    standard_errors : ndarray (n,), float64
        Monte Carlo error of each value: how far another seed would take it.
    method : str
    settings : dict
        JSON values: what it was computed with, what it found on the way, and warnings under "notes".

    Examples
    --------
    >>> estimate = Estimate(np.array([-1.0, -3.0]), np.array([0.3, 0.4]), "elbo", {})
    >>> estimate.mean, estimate.standard_error, estimate.sampling_error
    (-2.0, 0.25, 1.0)
    """

    values: np.ndarray
    standard_errors: np.ndarray
    method: str
    settings: dict[str, Any]

    @property
    def mean(self) -> float:
        """The mean over rows."""
        return float(self.values.mean())

    @property
    def standard_error(self) -> float:
        """The mean's Monte Carlo error, for these very rows."""
        return float(np.sqrt(np.square(self.standard_errors).sum()) / len(self.values))

    @property
    def sampling_error(self) -> float:
        """The mean's error as that of a population the rows were drawn from; NaN for one row."""
        n = len(self.values)
        return float(self.values.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan

    def summary(self) -> dict[str, Any]:
        """Return JSON values: method, rows, mean, both errors, settings."""
        sampling = self.sampling_error
        return {
            "method": self.method,
            "rows": len(self.values),
            "mean": self.mean,
            "standard_error": self.standard_error,
            "sampling_error": None if math.isnan(sampling) else sampling,
            "settings": self.settings,
        }


@dataclass(frozen=True)
class Block:
    """Some rows of a problem: x (r, n_features), their covariates, and log p(x, z) as a function of z."""

    x: Tensor
    extra: tuple[Tensor, ...]
    target: AutogradTarget | MLPTarget

    def __len__(self) -> int:
        return len(self.x)


class Problem:
    """A network and rows to score, checked.

    Parameters
    ----------
    net : object with `likelihood`, `latent` and `decode`
        And `encode`, for what needs it.
    x : Tensor (n, n_features)
        Rows as the likelihood sees them.
    covariates : Tensor (n, covariates), optional

    Raises
    ------
    UsageError
        A shape is wrong.
    DataError
        A value is not finite.
    """

    def __init__(self, net: Any, x: Tensor, covariates: Tensor | None = None):
        width = net.likelihood.n_features
        if x.dim() != 2 or not len(x) or x.shape[1] != width:
            raise UsageError(f"x has shape {tuple(x.shape)}; give at least one row of {width} features: (n, {width}).")
        if not bool(torch.isfinite(x).all()):
            row = int((~torch.isfinite(x)).any(1).nonzero()[0])
            raise DataError(f"row {row} of x holds a value that is not finite; leave the row out or fill the value in.")
        if covariates is not None and len(covariates) != len(x):
            raise UsageError(f"covariates has {len(covariates)} rows and x has {len(x)}; give one row for each.")
        self.net, self.x, self.covariates = net, x, covariates

    def needs_encoder(self, method: str) -> None:
        """Raise `UsageError` where the network has no `encode`."""
        if not callable(getattr(self.net, "encode", None)):
            raise UsageError(f"{method} needs the network's encoder, and this one has none; use 'ais' from the prior.")

    def rows_at_a_time(self, copies: int) -> int:
        """Return how many rows fit the budget when each is decoded for `copies` values of z at once."""
        return max(1, BUDGET // (copies * self.net.likelihood.outputs))

    def copies_at_a_time(self) -> int:
        """Return how many values of z fit the budget for one row."""
        return max(1, BUDGET // self.net.likelihood.outputs)

    def blocks(self, rows: int, progress: Progress | None = None) -> Iterator[Block]:
        """Yield blocks of so many rows; the network is in evaluation mode meanwhile, and nothing is differentiated."""
        with _evaluating(self.net), torch.no_grad():
            every = () if self.covariates is None else (self.covariates,)
            target = fast_target(self.net, self.x, *every)
            for start in range(0, len(self.x), rows):
                cut = slice(start, start + rows)
                block = Block(self.x[cut], tuple(e[cut] for e in every), target.rows(cut))
                yield block
                if progress is not None:
                    progress(len(block))


@contextlib.contextmanager
def _evaluating(net: Any) -> Iterator[None]:
    was = [(module, module.training) for module in net.modules()] if isinstance(net, nn.Module) else []
    try:
        if was:
            net.eval()
        yield
    finally:
        for module, training in was:
            module.training = training


def log_mean(values: Tensor, groups: int | None = None) -> tuple[Tensor, Tensor]:
    """Return log mean exp(values) over the first axis and its standard error.

    Parameters
    ----------
    values : Tensor (samples, n), float64
    groups : int, optional
        Samples of a group (successive ones) may depend on each other: the error is that of the groups' means.

    Returns
    -------
    Two tensors (n,): with w = exp(values), the delta method's sd(w) / (mean(w) sqrt(samples)).
    """
    count = len(values)
    shifted = torch.exp(values - values.amax(0))
    mean = shifted.mean(0)
    if groups is not None:
        usable = count // groups * groups
        shifted = shifted[:usable].reshape(groups, -1, *values.shape[1:]).mean(1)
    error = shifted.std(0) / (mean * math.sqrt(len(shifted)))
    return values.amax(0) + mean.log(), error


def finish(
    values: Sequence[Tensor], errors: Sequence[Tensor], method: str, settings: dict[str, Any], notes: Sequence[str] = ()
) -> Estimate:
    """Join the blocks' values and errors into an `Estimate`.

    Raises
    ------
    NonFiniteError
        A row's value is not finite.
    """
    joined, error = torch.cat(list(values)).cpu().numpy(), torch.cat(list(errors)).cpu().numpy()
    bad = np.flatnonzero(~np.isfinite(joined))
    if len(bad):
        raise NonFiniteError(
            f"{method} came to {joined[bad[0]]} for row {bad[0]} and is not finite for {len(bad)} of {len(joined)} rows; check "
            "the network's weights, and that the rows are scaled as those it was trained on."
        )
    return Estimate(joined, error, method, {**settings, "notes": list(notes)})
