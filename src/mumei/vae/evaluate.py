"""How likely are held-out rows: log p(x), and bounds on it, with standard errors, in nats per row.

| name         | what                                        | bias                         | source                            |
|--------------|---------------------------------------------|------------------------------|-----------------------------------|
| "elbo"       | the variational bound                       | below by KL(q(z given x), p) | Kingma and Welling 2013, eqs 6, 7 |
| "iwae"       | importance sampling from q(z given x)       | below in expectation         | Burda and others 2016, eq 8       |
| "ais"        | annealed importance sampling from the prior | below in expectation         | Neal 2001; Wu and others 2017     |
| "appendix_d" | the paper's own, from posterior samples     | may have no finite variance  | Kingma and Welling 2013, app D    |

Log weights are summed in float64; all values of z of a row go through the decoder in one product, cut into pieces of bounded
memory. Where the network has the paper's form the decoder's closed form is used (`mumei.vae.targets`), and the settings say so
under "gradient". Results depend on the generator's state and, through the order of draws, on the number of rows given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mumei.core.config import at_least, one_of
from mumei.core.errors import unknown
from mumei.vae.annealing import ais
from mumei.vae.estimate import Block, Estimate, Problem, Progress, finish, log_mean
from mumei.vae.harmonic import appendix_d
from mumei.vae.likelihoods import LOG_2PI, standard_log_prob
from mumei.vae.objective import gaussian_kl

__all__ = ["METHODS", "Estimate", "ais", "appendix_d", "elbo", "iwae", "log_likelihood"]

FEW = 10  # effective samples below which a standard error is not to be relied on


def elbo(
    net: Any,
    x: Tensor,
    generator: torch.Generator,
    *,
    samples: int = 100,
    estimator: str = "B",
    covariates: Tensor | None = None,
    progress: Progress | None = None,
) -> Estimate:
    """Estimate the variational bound of each row.

    Parameters
    ----------
    net : object with `likelihood`, `latent`, `encode` and `decode`
    x : Tensor (n, n_features)
        Rows as the likelihood sees them.
    generator : torch.Generator
    samples : int
        L, at least 2: the standard error needs two.
    estimator : {"B", "A"}
        With the KL in closed form, or all of it sampled.
    covariates : Tensor (n, covariates), optional
    progress : callable, optional
        Called with the number of rows done.

    Returns
    -------
    Estimate

    Raises
    ------
    UsageError
        A setting or a shape is not allowed, or the network has no encoder.
    NonFiniteError
        A row's value is not finite.
    """
    at_least("samples", samples, 2, whole=True)
    one_of("estimator", estimator, ("A", "B"))
    problem = Problem(net, x, covariates)
    problem.needs_encoder("elbo")
    values, errors, kind = [], [], ""
    for block in problem.blocks(problem.rows_at_a_time(samples), progress):
        terms, moments = _terms(problem, block, samples, generator, "weights" if estimator == "A" else "fit")
        kl = 0.0 if estimator == "A" else gaussian_kl(*(m.to(torch.float64) for m in moments)).sum(-1)
        values.append(terms.mean(0) - kl)
        errors.append(terms.std(0) / samples**0.5)
        kind = block.target.kind
    return finish(values, errors, "elbo", {"samples": samples, "estimator": estimator, "gradient": kind})


def iwae(
    net: Any,
    x: Tensor,
    generator: torch.Generator,
    *,
    samples: int = 1000,
    covariates: Tensor | None = None,
    progress: Progress | None = None,
) -> Estimate:
    """Estimate log p(x) by importance sampling from q(z|x): the K-sample bound, which rises to log p(x) with K.

    Parameters
    ----------
    net, x, generator, covariates, progress
        As for `elbo`.
    samples : int
        K, at least 2.

    Returns
    -------
    Estimate
        Its settings hold "effective_samples", the median over rows of (sum w)^2 / sum w^2: where it is a few, the encoder
        misses the posterior and the standard errors are too small.

    Raises
    ------
    UsageError, NonFiniteError
        As for `elbo`.

    Examples
    --------
    >>> from mumei.vae.likelihoods import Bernoulli
    >>> from mumei.vae.network import VAENet
    >>> net = VAENet(Bernoulli(5), latent=2, hidden=(8,))
    >>> estimate = iwae(net, torch.ones(3, 5), torch.Generator().manual_seed(0), samples=50)
    >>> estimate.values.shape, estimate.method
    ((3,), 'iwae')
    """
    at_least("samples", samples, 2, whole=True)
    problem = Problem(net, x, covariates)
    problem.needs_encoder("iwae")
    values, errors, effective, kind = [], [], [], ""
    for block in problem.blocks(problem.rows_at_a_time(samples), progress):
        weights, _ = _terms(problem, block, samples, generator, "weights")
        value, error = log_mean(weights)
        values.append(value)
        errors.append(error)
        effective.append(effective_samples(weights))
        kind = block.target.kind
    median = float(torch.cat(effective).median())
    settings = {"samples": samples, "gradient": kind, "effective_samples": median}
    return finish(values, errors, "iwae", settings, _notes(torch.cat(effective)))


def _notes(effective: Tensor) -> list[str]:
    poor = int((effective < FEW).sum())
    if not poor:
        return []
    return [
        f"{poor} of {len(effective)} rows rest on fewer than {FEW} of their samples: the encoder misses the posterior there, the "
        "values are low and their standard errors too small; take more samples, or 'ais'"
    ]


def effective_samples(log_weights: Tensor) -> Tensor:
    """Return (sum w)^2 / sum w^2 over the first axis."""
    return torch.exp(2 * torch.logsumexp(log_weights, 0) - torch.logsumexp(2 * log_weights, 0))


def _terms(
    problem: Problem, block: Block, samples: int, generator: torch.Generator, what: str
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return log p(x, z) - log q(z|x) ("weights") or log p(x|z) ("fit") for z ~ q: (samples, r), float64; and q's moments."""
    mean, log_variance = problem.net.encode(block.x, *block.extra)
    deviation, piece, found = torch.exp(0.5 * log_variance), problem.copies_at_a_time(), []
    log_volume = 0.5 * (log_variance + LOG_2PI).sum(-1)
    for start in range(0, samples, piece):
        shape = (min(piece, samples - start), *mean.shape)
        noise = torch.randn(shape, generator=generator, dtype=mean.dtype, device=mean.device)
        z = mean + deviation * noise
        # log q from the noise itself: exact where the deviation is tiny, unlike (z - mean)^2 / variance.
        log_q = -0.5 * noise.square().sum(-1) - log_volume
        found.append(block.target.value(z) - (log_q if what == "weights" else standard_log_prob(z)))
    return torch.cat(found).to(torch.float64), (mean, log_variance)


METHODS: dict[str, Callable[..., Estimate]] = {"elbo": elbo, "iwae": iwae, "ais": ais, "appendix_d": appendix_d}


def log_likelihood(
    net: Any, x: Tensor, method: str = "iwae", *, generator: torch.Generator, **options: Any
) -> Estimate:
    """Estimate log p(x) of each row by a method's name.

    Parameters
    ----------
    net : object with `likelihood`, `latent`, `encode` and `decode`
    x : Tensor (n, n_features)
    method : {"elbo", "iwae", "ais", "appendix_d"}
    generator : torch.Generator
    **options
        The method's own keywords.

    Returns
    -------
    Estimate

    Raises
    ------
    UsageError
        The method, or one of its options, is unknown: the closest match is named.

    Examples
    --------
    >>> from mumei.vae.likelihoods import Bernoulli
    >>> from mumei.vae.network import VAENet
    >>> net = VAENet(Bernoulli(5), latent=2, hidden=(8,))
    >>> log_likelihood(net, torch.ones(3, 5), "elbo", generator=torch.Generator().manual_seed(0), samples=10).method
    'elbo'
    """
    if method not in METHODS:
        raise unknown("method", str(method), METHODS)
    call = METHODS[method]
    allowed = call.__kwdefaults__ or {}
    for name in options:
        if name not in allowed:
            raise unknown(f"option of {method}", name, allowed)
    return call(net, x, generator, **options)
