"""Does the latent space say anything? What each dimension carries, and what to do where the posterior has collapsed.

Sources: Burda, Grosse and Salakhutdinov 2016, appendix C (active units: those whose posterior mean varies over rows by more than
0.01); Hoffman and Johnson 2016, "ELBO surgery":

    mean over rows of KL(q(z|x) || p(z))  =  I(x; z)  +  KL(q(z) || p(z)),        q(z) = (1/n) sum_i q(z|x_i)

I(x; z), the nats that a latent tells about which of the rows it came from, is estimated by the mean over rows of
log q(z_i|x_i) - log q(z_i), z_i ~ q(z|x_i), where q(z) is the mixture of these very rows, z_i's own among them. Therefore:

- no estimate exceeds log n, and for the n rows themselves the estimate is unbiased;
- as an estimate for the population that they were drawn from it is too low, the more so the closer it comes to log n.

KL(q(z) || p(z)) is the difference of the other two; Monte Carlo error can leave it a little below 0.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from mumei.core.config import at_least
from mumei.core.errors import DataError, NonFiniteError
from mumei.vae.estimate import Problem
from mumei.vae.likelihoods import LOG_2PI, LOG_VARIANCE
from mumei.vae.objective import gaussian_kl, reparameterise

ACTIVE = 0.01  # variance over rows of a dimension's posterior mean, from which Burda and others call it active
FEW = 0.25  # share of active dimensions below which the latent space is called too large
NO_KL = 0.1  # nats a row
NO_INFORMATION = 0.05  # nats a row
HUGE = 10.0  # nats of one dimension: enough to tell 22,000 rows apart by one number
AT_FLOOR = 0.01  # share of a decoder's variances at the least allowed that is worth a word
PAIRS = 1 << 22  # row-mixture pairs at a time, float64: 32 MB


@dataclass(frozen=True)
class CollapseReport:
    """What a latent space carries, in nats per row, averaged over the rows looked at.

    Parameters
    ----------
    rows : int
        n, how many rows were looked at.
    kl_per_dimension : tuple of float
        KL(q(z_j|x) || p(z_j)), of each latent dimension.
    mean_variance : tuple of float
        Variance over rows of each dimension's posterior mean.
    active_units : int
        Dimensions whose `mean_variance` is above 0.01.
    mutual_information, mutual_information_error : float
        I(x; z) under q and its standard error (that of a mean over rows, 0 for one row).
    aggregate_kl : float
        KL(q(z) || p(z)), `kl` less `mutual_information`: how far samples from the prior are from what the decoder was trained on.
    reconstruction, kl, bound : float
        E[log p(x|z)], the sum of `kl_per_dimension`, and their difference.
    variance_at_floor : float or None
        Share of a Gaussian decoder's variances at the least allowed; None where the decoder learns no variance.
    warnings : tuple of str
        Sentences, each with what to do.
    """

    rows: int
    kl_per_dimension: tuple[float, ...]
    mean_variance: tuple[float, ...]
    active_units: int
    mutual_information: float
    mutual_information_error: float
    aggregate_kl: float
    reconstruction: float
    kl: float
    bound: float
    variance_at_floor: float | None
    warnings: tuple[str, ...]

    @property
    def latent(self) -> int:
        """Latent dimensions."""
        return len(self.kl_per_dimension)

    @property
    def mutual_information_limit(self) -> float:
        """Log n, above which no estimate from n rows can come."""
        return math.log(self.rows)

    @property
    def saturated(self) -> bool:
        """Whether the information is so near to its limit that more rows would show more of it."""
        return self.rows > 1 and self.mutual_information > 0.9 * self.mutual_information_limit

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; `from_dict` takes them back."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CollapseReport:
        """Make a report of what `to_dict` returned.

        Raises
        ------
        DataError
            A value is missing.
        """
        missing = [f.name for f in fields(cls) if f.name not in values]
        if missing:
            raise DataError(f"a collapse report lacks {', '.join(missing)}; it was written by another version.")
        given: dict[str, Any] = {f.name: values[f.name] for f in fields(cls)}
        for key, value in given.items():
            given[key] = tuple(value) if isinstance(value, list) else value
        return cls(**given)

    def text(self) -> str:
        """Return a few lines for a person, the warnings last."""
        limit = f", at its limit of log {self.rows:,}: more rows would show more" if self.saturated else ""
        lines = [
            f"bound {self.bound:.2f} nats a row = reconstruction {self.reconstruction:.2f} - KL {self.kl:.2f}",
            f"active units: {self.active_units} of {self.latent}",
            f"mutual information: {self.mutual_information:.2f} +- {self.mutual_information_error:.2f} nats{limit}",
        ]
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])


def collapse_report(
    net: Any,
    x: Tensor,
    generator: torch.Generator,
    *,
    rows: int = 2000,
    covariates: Tensor | None = None,
) -> CollapseReport:
    """Look at what the latent space of a network carries.

    Parameters
    ----------
    net : object with `likelihood`, `latent`, `encode` and `decode`
    x : Tensor (n, n_features)
        Rows as the likelihood sees them.
    generator : torch.Generator
        Chooses the rows and draws one z for each.
    rows : int
        At most this many are looked at, drawn without replacement. The cost of the information grows with their square, its
        limit with their logarithm.
    covariates : Tensor (n, covariates), optional

    Returns
    -------
    CollapseReport

    Raises
    ------
    UsageError
        `rows` is below 1, or a shape is wrong.
    DataError, NonFiniteError
        A value of x, or of what the network makes of it, is not finite.

    Examples
    --------
    >>> from mumei.vae.likelihoods import Bernoulli
    >>> from mumei.vae.network import VAENet
    >>> net = VAENet(Bernoulli(5), latent=2, hidden=(8,))
    >>> report = collapse_report(net, torch.ones(3, 5), torch.Generator().manual_seed(0))
    >>> report.rows, report.active_units, round(report.kl - report.mutual_information - report.aggregate_kl, 12)
    (3, 0, 0.0)
    """
    at_least("rows", rows, 1, whole=True)
    if rows < len(x):
        chosen = torch.randperm(len(x), generator=generator)[:rows]
        x, covariates = x[chosen], None if covariates is None else covariates[chosen]
    problem = Problem(net, x, covariates)
    problem.needs_encoder("collapse_report")
    moments, fits, floors = [], [], []
    for block in problem.blocks(problem.rows_at_a_time(1)):
        mean, log_variance = net.encode(block.x, *block.extra)
        z = reparameterise(mean, log_variance, 1, generator)[0]
        out = net.decode(z, *block.extra)
        moments.append((mean.double(), log_variance.double()))
        fits.append(net.likelihood.log_prob(out, block.x).double())
        floors.append(_at_floor(net.likelihood, out))
    mean, log_variance = (torch.cat(parts) for parts in zip(*moments, strict=True))
    fit = float(torch.cat(fits).mean())
    each = gaussian_kl(mean, log_variance).mean(0)
    if not math.isfinite(fit) or not bool(torch.isfinite(each).all()):
        raise NonFiniteError(
            "the network gives values that are not finite for these rows; check its weights, and that the rows are scaled as "
            "those it was trained on."
        )
    floor = None if floors[0] is None else sum(f * len(v) for f, v in zip(floors, fits, strict=True)) / len(x)
    return _report(mean, each, fit, mutual_information(mean, log_variance, generator), floor)


def _report(
    mean: Tensor, each: Tensor, fit: float, information: tuple[float, float], floor: float | None
) -> CollapseReport:
    spread = mean.var(0, correction=0)
    kl = float(each.sum())
    values: dict[str, Any] = {
        "rows": len(mean),
        "kl_per_dimension": tuple(each.tolist()),
        "mean_variance": tuple(spread.tolist()),
        "active_units": int((spread > ACTIVE).sum()),
        "mutual_information": information[0],
        "mutual_information_error": information[1],
        "aggregate_kl": kl - information[0],
        "reconstruction": fit,
        "kl": kl,
        "bound": fit - kl,
        "variance_at_floor": floor,
    }
    return CollapseReport(**values, warnings=tuple(find_warnings(values)))


def mutual_information(
    mean: Tensor, log_variance: Tensor, generator: torch.Generator, samples: int = 1
) -> tuple[float, float]:
    """Estimate I(x; z) between rows and latents under diagonal Gaussian posteriors.

    Parameters
    ----------
    mean, log_variance : Tensor (n, latent)
        Of q(z|x) for each row.
    generator : torch.Generator
    samples : int
        Values of z a row.

    Returns
    -------
    Two floats
        Nats, at most log n, and the standard error of the mean over rows. Rows share the mixture, which the error leaves out:
        it matters little from some dozens of rows on.
    """
    mean, log_variance = mean.double(), log_variance.double()
    n = len(mean)
    precision = torch.exp(-log_variance)
    # log q(z|x_j) = constant_j - (z^2 . precision_j) / 2 + z . (mean_j precision_j): two products for all pairs. Means are taken
    # about their centre, since a common offset would cancel in those products.
    centred = mean - mean.mean(0)
    weighted = centred * precision
    constant = -0.5 * (log_variance + LOG_2PI + centred * weighted).sum(-1)
    total = mean.new_zeros(n)
    for z in reparameterise(centred, log_variance, samples, generator):
        for start in range(0, n, max(1, PAIRS // n)):
            cut = slice(start, start + max(1, PAIRS // n))
            every = constant + z[cut] @ weighted.T - 0.5 * z[cut].square() @ precision.T
            own = every.diagonal(start)
            total[cut] += own - torch.logsumexp(every, 1) + math.log(n)
    total /= samples
    error = float(total.std() / math.sqrt(n)) if n > 1 else 0.0
    return float(total.mean()), error


def _at_floor(likelihood: Any, out: Tensor) -> float | None:
    """Return the share of variances at the floor; None for a decoder that learns none."""
    if likelihood.name != "gaussian" or getattr(likelihood, "variance", None) not in ("learned", "shared"):
        return None
    log_variance = likelihood.moments(out)[1]
    return float((log_variance <= LOG_VARIANCE[0] + 1e-3).double().mean())


def find_warnings(values: dict[str, Any]) -> list[str]:
    """Return the warnings that a report's numbers call for, each with a remedy.

    Parameters
    ----------
    values : dict
        The fields of a `CollapseReport`, without its warnings.

    Examples
    --------
    >>> fine = {"kl_per_dimension": (2.0, 1.5), "active_units": 2, "kl": 3.5, "mutual_information": 3.0, "rows": 100}
    >>> find_warnings({**fine, "mutual_information_error": 0.1, "variance_at_floor": None})
    []
    """
    if values["rows"] < 2:
        return ["One row alone cannot show whether the latent space has collapsed: give more rows."]
    each, active, found = values["kl_per_dimension"], values["active_units"], []
    latent, kl, information = len(each), values["kl"], values["mutual_information"]
    if active == 0:
        found.append(
            f"None of the {latent} latent dimensions is active: rows are encoded alike, and the decoder does without them. Let "
            "the KL warm up over the first epochs, grant it free bits (0.25 to 1 nat a dimension), set beta below 1, or train "
            "longer."
        )
    elif active < max(2, FEW * latent) and active < latent:
        found.append(
            f"Only {active} of {latent} latent dimensions {'is' if active == 1 else 'are'} active. A smaller latent space would "
            "do the same in less time; if more should be used, let the KL warm up or grant it free bits."
        )
    if kl < NO_KL:
        found.append(
            f"The KL is {kl:.3g} nats a row, which is next to none: q(z|x) is the prior, whatever the row. Let the KL warm up, "
            "grant it free bits, or set beta below 1; a decoder with less capacity leaves more to the latents."
        )
    elif information < max(NO_INFORMATION, 2 * values["mutual_information_error"]):
        found.append(
            f"The latents tell {max(information, 0):.2f} nats about the row although the KL is {kl:.2f}: posteriors lie "
            "together, away from the prior. Train longer or at a lower learning rate, or let the KL warm up."
        )
    found += [
        f"Latent dimension {j} has a KL of {value:.1f} nats a row: its values lie far out, or are written far more finely than "
        "the prior's width. Raise beta, look for rows of another scale in the data, or lower the learning rate."
        for j, value in enumerate(each)
        if value > HUGE
    ]
    floor = values["variance_at_floor"]
    if floor is not None and floor > AT_FLOOR:
        found.append(
            f"{100 * floor:.0f} % of the decoder's variances are at their floor (e^{LOG_VARIANCE[0]:g}), so the bound measures "
            "that floor. Leave out columns that never change, set a fixed variance, or use variance='shared'."
        )
    return found
