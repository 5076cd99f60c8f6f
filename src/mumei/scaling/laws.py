"""Laws of loss by model size and training data: what each says, and how it spends a budget.

- `Chinchilla`: L(N, D) = E + A/N^alpha + B/D^beta (Hoffmann and others 2022, approach 3), with its closed form.
- `Kaplan`: the laws of Kaplan and others 2020, for comparison.
- `DataConstrained`: Muennighoff and others 2023, where the unique data is limited and tokens are seen again.
- `Served`: Sardana and Frankle 2023, where the model will be used so much that its size costs more than its training.
- `OverTrained`: Gadre and others 2024, by compute and tokens per parameter; the same surface with equal exponents.

Laws of the optimum alone are in `frontier.py`, mixtures of experts and low precision in `variants.py`.

N is parameters, D training tokens, C training FLOPs; losses are in nats per token of the data that the constants were measured
on. Constants are carried unrounded: with the published two digits Hoffmann's surface puts the optimum at Gopher's compute at 32
billion parameters instead of 40.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from mumei.core.errors import UsageError, unknown


@dataclass(frozen=True)
class Allocation:
    """How a budget is spent.

    Parameters
    ----------
    flops : float
        Training compute.
    params, tokens : float
        Model size N and training tokens D, repeated ones counted each time.
    loss : float or None
        Predicted loss; None where the law has none.
    unique_tokens : float or None
        What there is of unique data, where that is limited.
    """

    flops: float
    params: float
    tokens: float
    loss: float | None = None
    unique_tokens: float | None = None

    @property
    def tokens_per_param(self) -> float:
        """D / N."""
        return self.tokens / self.params

    @property
    def epochs(self) -> float:
        """Passes over the unique data; 1 where it is not limited."""
        return max(1.0, self.tokens / self.unique_tokens) if self.unique_tokens else 1.0


class Law(Protocol):
    """What every law has."""

    @property
    def source(self) -> str:
        """Where its constants are from."""
        ...

    def optimal(self, flops: float) -> Allocation:
        """Return how a training budget is best spent."""
        ...


def positive(**values: Any) -> None:
    """Raise `UsageError` unless all values, arrays or numbers, are finite and above zero."""
    for name, value in values.items():
        array = np.asarray(value, dtype=float)
        if not (np.isfinite(array).all() and (array > 0).all()):
            shown = (
                value if np.ndim(value) == 0 else array.ravel()[~(array.ravel() > 0) | ~np.isfinite(array.ravel())][0]
            )
            raise UsageError(f"{name} is {shown}; give a finite number above zero.")


@dataclass(frozen=True)
class Chinchilla:
    """The surface L(N, D) = E + A/N^alpha + B/D^beta.

    Parameters
    ----------
    E, A, B, alpha, beta : float
        Irreducible loss, and the two terms that fall with size and with data.
    per_token : float
        Training FLOPs of one parameter and token: 6.
    source : str
        Where the constants are from.

    Raises
    ------
    UsageError
        A constant is negative, or an exponent is not above zero: the law then has no optimum.

    Examples
    --------
    >>> best = BESIROGLU.optimal(5.76e23)
    >>> round(best.params / 1e9), round(best.tokens / 1e12, 2), round(best.tokens_per_param, 1)
    (72, 1.33, 18.3)
    """

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    per_token: float = 6.0
    source: str = "given"

    def __post_init__(self) -> None:
        positive(A=self.A, B=self.B, alpha=self.alpha, beta=self.beta, per_token=self.per_token)
        if not (math.isfinite(self.E) and self.E >= 0):
            raise UsageError(f"E is {self.E}; the irreducible loss is a finite number, zero or above.")

    @property
    def a(self) -> float:
        """Exponent of the optimal size: N ~ C^a."""
        return self.beta / (self.alpha + self.beta)

    @property
    def b(self) -> float:
        """Exponent of the optimal data: D ~ C^b."""
        return self.alpha / (self.alpha + self.beta)

    @property
    def G(self) -> float:
        """The factor of the closed form: N = G (C/6)^a."""
        return (self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta))

    @property
    def gain(self) -> float:
        """Exponent of the loss above E along the optimum: it falls as C^-gain."""
        return self.alpha * self.beta / (self.alpha + self.beta)

    def loss(self, params: Any, tokens: Any) -> Any:
        """Return the loss; numbers or arrays."""
        positive(params=params, tokens=tokens)
        n, d = np.asarray(params, float), np.asarray(tokens, float)
        found = self.E + self.A * n**-self.alpha + self.B * d**-self.beta
        return float(found) if found.ndim == 0 else found

    def optimal(self, flops: float) -> Allocation:
        """Return the size and data of the lowest loss at a training budget, by the closed form."""
        positive(flops=flops)
        products = flops / self.per_token
        params = self.G * products**self.a
        tokens = products / params
        return Allocation(flops, params, tokens, self.loss(params, tokens))

    def flops_for_params(self, params: float) -> float:
        """Return the budget at which a size is optimal."""
        positive(params=params)
        return self.per_token * (params / self.G) ** (1 / self.a)

    def flops_for_loss(self, loss: float) -> float:
        """Return the least budget that reaches a loss; `UsageError` where none does."""
        if not loss > self.E:
            raise UsageError(f"a loss of {loss:g} cannot be reached: the law's irreducible loss is {self.E:g}.")
        at_one = self.optimal(self.per_token).loss
        assert at_one is not None
        return self.per_token * ((at_one - self.E) / (loss - self.E)) ** (1 / self.gain)

    def waste(self, factor: float) -> float:
        """Return the share of compute that is wasted by a size `factor` times the optimal one; the same at every budget.

        It is C / C' - 1, where C' would have been enough with the right size. At the optimum the two terms stand as
        beta : alpha, so the loss above E grows by r = (beta f^-alpha + alpha f^beta) / (alpha + beta), and C / C' = r^(1/gain).

        Examples
        --------
        >>> round(BESIROGLU.waste(2.0), 3)
        0.186
        """
        positive(factor=factor)
        ratio = (self.beta * factor**-self.alpha + self.alpha * factor**self.beta) / (self.alpha + self.beta)
        power = math.log(ratio) / self.gain
        return math.expm1(power) if power < 700 else math.inf

    def band(self, flops: float, waste: float = 0.05) -> tuple[float, float]:
        """Return the sizes between which no more than this share of the compute is wasted."""
        from scipy.optimize import brentq

        positive(waste=waste)
        best = self.optimal(flops).params
        low, high = -0.5, 0.5
        while self.waste(math.exp(low)) < waste:
            low *= 2
        while self.waste(math.exp(high)) < waste:
            high *= 2

        def over(u: float) -> float:
            return self.waste(math.exp(u)) - waste

        left, right = brentq(over, low, 0.0, xtol=1e-12), brentq(over, 0.0, high, xtol=1e-12)
        return best * math.exp(left), best * math.exp(right)  # pyright: ignore[reportArgumentType]

    def tokens_for_loss(self, params: float, loss: float) -> float:
        """Return the tokens with which a size reaches a loss; infinite where no number does."""
        positive(params=params)
        room = loss - self.E - self.A * params**-self.alpha
        return (self.B / room) ** (1 / self.beta) if room > 0 else math.inf


@dataclass(frozen=True)
class Kaplan:
    """The laws of Kaplan and others 2020: N counts no embeddings, compute is 6ND, learning rates were not matched to runs.

    Later work (Hoffmann 2022, Porian 2024, Pearce and Song 2024) explains why its exponent of .73 is too high: see `flops.py`
    and `isoflop.py`. Here for comparison.
    """

    size: tuple[float, float] = (8.8e13, 0.076)
    data: tuple[float, float] = (5.4e13, 0.095)
    joint: tuple[float, float, float, float] = (6.4e13, 0.076, 1.8e13, 0.103)
    frontier: tuple[float, float] = (1.3e9, 0.73)  # parameters at one PF-day, exponent
    source: str = "Kaplan and others 2020, sections 1.2, 4.1 and 6.1, quoted from memory"
    a: float = field(default=0.73, init=False)

    def loss(self, params: Any, tokens: Any) -> Any:
        """Return the joint law [(Nc/N)^(aN/aD) + Dc/D]^aD."""
        positive(params=params, tokens=tokens)
        size, by_size, data, by_data = self.joint
        return ((size / np.asarray(params, float)) ** (by_size / by_data) + data / np.asarray(tokens, float)) ** by_data

    def loss_of_size(self, params: Any) -> Any:
        """Return (8.8e13 / N)^.076: unlimited data."""
        positive(params=params)
        return (self.size[0] / np.asarray(params, float)) ** self.size[1]

    def loss_of_data(self, tokens: Any) -> Any:
        """Return (5.4e13 / D)^.095: a model as large as one likes."""
        positive(tokens=tokens)
        return (self.data[0] / np.asarray(tokens, float)) ** self.data[1]

    def critical_batch(self, loss: Any) -> Any:
        """Return the critical batch size in tokens at a loss: 2e8 L^(-1/.21)."""
        positive(loss=loss)
        return 2e8 * np.asarray(loss, float) ** (-1 / 0.21)

    def optimal(self, flops: float) -> Allocation:
        """Return N ~ C^.73, with D = C / 6N."""
        positive(flops=flops)
        params = self.frontier[0] * (flops / 8.64e19) ** self.frontier[1]
        tokens = flops / (6 * params)
        return Allocation(flops, params, tokens, float(self.loss(params, tokens)))


@dataclass(frozen=True)
class DataConstrained:
    """Chinchilla's surface on effective size and data, which grow ever less as unique data is repeated.

    D' = U + U R* (1 - exp(-R/R*)) with R = D/U - 1 repetitions; N' alike around U_N, the size that is optimal for U tokens.

    Parameters
    ----------
    surface : Chinchilla
        For fresh data.
    repeats, excess : float
        R*_D and R*_N: after so many repetitions what they bring has fallen to 1/e.

    Examples
    --------
    >>> round(MUENNIGHOFF.effective_tokens(4 * 25e9, 25e9) / 25e9, 2)
    3.73
    """

    surface: Chinchilla
    repeats: float = 15.387756
    excess: float = 5.309743
    source: str = "given"

    def __post_init__(self) -> None:
        positive(repeats=self.repeats, excess=self.excess)

    @property
    def a(self) -> float:
        """Exponent of the optimal size with unlimited data."""
        return self.surface.a

    def effective_tokens(self, tokens: Any, unique: Any) -> Any:
        """Return D': the fresh tokens that are worth as much."""
        positive(tokens=tokens, unique_tokens=unique)
        return _saturating(tokens, unique, self.repeats)

    def effective_params(self, params: Any, unique: Any) -> Any:
        """Return N': a model larger than the unique data deserves counts less."""
        positive(params=params, unique_tokens=unique)
        s = self.surface
        return _saturating(params, (np.asarray(unique, float) * s.G) ** (s.beta / s.alpha) * s.G, self.excess)

    def loss(self, params: Any, tokens: Any, unique: Any) -> Any:
        """Return the loss after `tokens` tokens of which `unique` are different."""
        positive(params=params, tokens=tokens, unique_tokens=unique)
        return self.surface.loss(self.effective_params(params, unique), self.effective_tokens(tokens, unique))

    def optimal(self, flops: float, unique: float | None = None) -> Allocation:
        """Return the best size and tokens (epochs are their quotient); unlimited data for `unique=None`."""
        positive(flops=flops)
        best = self.surface.optimal(flops)
        if unique is None or unique >= best.tokens:
            return best
        positive(unique_tokens=unique)
        from scipy.optimize import minimize_scalar

        products = flops / self.surface.per_token

        def loss(log_params: float) -> float:
            params = math.exp(log_params)
            return self.loss(params, products / params, unique)

        middle = math.log(best.params)
        grid = np.linspace(middle - 14, min(middle + 3, math.log(products)), 200)
        place = int(np.argmin([loss(u) for u in grid]))
        around = grid[max(place - 1, 0)], grid[min(place + 1, len(grid) - 1)]
        found = minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": 1e-10})
        params = math.exp(float(found.x))
        return Allocation(flops, params, products / params, float(found.fun), unique)


def _saturating(amount: Any, base: Any, scale: float) -> Any:
    """Return amount up to base, and beyond it base (1 + scale (1 - exp(-(amount/base - 1)/scale)))."""
    base = np.minimum(np.asarray(amount, float), np.asarray(base, float))
    found = base + base * scale * -np.expm1(-(amount / base - 1) / scale)
    return float(found) if found.ndim == 0 else found


@dataclass(frozen=True)
class Served:
    """The cheapest model of a wanted quality over its whole life: 6 N D of training and 2 N of each token that it serves.

    Parameters
    ----------
    surface : Chinchilla
    tokens_served : float
        Tokens that the model will read and write in its life; zero for none.
    """

    surface: Chinchilla
    tokens_served: float = 0.0
    source: str = "Sardana and Frankle 2023"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.tokens_served) and self.tokens_served >= 0):
            raise UsageError(f"tokens to serve are {self.tokens_served}; give a finite number, zero or above.")

    def loss(self, params: Any, tokens: Any) -> Any:
        """Return the surface's loss: serving does not change it."""
        return self.surface.loss(params, tokens)

    def total(self, params: float, tokens: float) -> float:
        """Return training and serving FLOPs."""
        return self.surface.per_token * params * tokens + 2 * params * self.tokens_served

    def for_loss(self, loss: float) -> Allocation:
        """Return the cheapest allocation that reaches a loss; its flops are those of training alone."""
        from scipy.optimize import minimize_scalar

        s = self.surface
        best = s.optimal(s.flops_for_loss(loss))
        if self.tokens_served == 0:
            return best
        floor = math.log((s.A / (loss - s.E)) ** (1 / s.alpha))  # below it no amount of data is enough

        def cost(u: float) -> float:
            params = math.exp(u)
            tokens = s.tokens_for_loss(params, loss)
            return math.log(self.total(params, tokens)) if math.isfinite(tokens) else 1e6

        bounds = floor + 1e-9, math.log(best.params) + 1e-9  # serving only ever makes the model smaller
        found = minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 1e-10})
        params = math.exp(float(found.x))
        tokens = s.tokens_for_loss(params, loss)
        return Allocation(s.per_token * params * tokens, params, tokens, loss)

    def optimal(self, flops: float) -> Allocation:
        """Return the cheapest allocation of the quality that `flops` of training would buy without serving."""
        loss = self.surface.optimal(flops).loss
        assert loss is not None
        return self.for_loss(loss)

    def saving(self, flops: float) -> float:
        """Return the share of the whole cost that is saved against the model that is cheapest to train."""
        plain, chosen = self.surface.optimal(flops), self.optimal(flops)
        return 1 - self.total(chosen.params, chosen.tokens) / self.total(plain.params, plain.tokens)


@dataclass(frozen=True)
class OverTrained:
    """L(C, M) = E + (a M^eta + b M^-eta) C^-eta, M tokens per parameter; the downstream error eps - k exp(-gamma L).

    It is Chinchilla's surface with alpha = beta = 2 eta, a = A 6^eta, b = B 6^eta: few small runs then predict a model that is
    trained far past its optimum.
    """

    E: float
    a_term: float
    b_term: float
    eta: float
    error: tuple[float, float, float] | None = None  # eps, k, gamma
    source: str = "given"

    def __post_init__(self) -> None:
        positive(a=self.a_term, b=self.b_term, eta=self.eta)

    @classmethod
    def of(cls, surface: Chinchilla) -> OverTrained:
        """Return the form of a surface with equal exponents."""
        if not math.isclose(surface.alpha, surface.beta, rel_tol=1e-6):
            raise UsageError(
                f"alpha = {surface.alpha:g} and beta = {surface.beta:g} differ; fit with tied=True for a law of over-training."
            )
        eta, unit = surface.alpha / 2, surface.per_token ** (surface.alpha / 2)
        return cls(surface.E, surface.A * unit, surface.B * unit, eta, source=surface.source)

    @property
    def surface(self) -> Chinchilla:
        """The same law over N and D."""
        unit = 6.0**self.eta
        return Chinchilla(
            self.E, self.a_term / unit, self.b_term / unit, 2 * self.eta, 2 * self.eta, source=self.source
        )

    def loss(self, params: Any, tokens: Any) -> Any:
        """Return the loss of N parameters after D tokens."""
        positive(params=params, tokens=tokens)
        n, d = np.asarray(params, float), np.asarray(tokens, float)
        ratio, flops = d / n, 6 * n * d
        found = self.E + (self.a_term * ratio**self.eta + self.b_term * ratio**-self.eta) * flops**-self.eta
        return float(found) if found.ndim == 0 else found

    def optimal(self, flops: float) -> Allocation:
        """Return the best allocation: M = (b/a)^(1/2 eta) tokens a parameter at every budget."""
        positive(flops=flops)
        ratio = (self.b_term / self.a_term) ** (1 / (2 * self.eta))
        params = math.sqrt(flops / (6 * ratio))
        return Allocation(flops, params, ratio * params, self.loss(params, ratio * params))

    def downstream_error(self, loss: Any) -> Any:
        """Return the error of tasks at a loss; `UsageError` where its constants are not known."""
        if self.error is None:
            raise UsageError("this law has no constants for the downstream error; give error=(eps, k, gamma).")
        eps, k, gamma = self.error
        return eps - k * np.exp(-gamma * np.asarray(loss, float))


HOFFMANN = Chinchilla(
    1.69337368,
    406.401018,
    410.722827,
    0.33917084,
    0.2849083,
    source="Hoffmann and others 2022, approach 3, unrounded (TeX source)",
)
BESIROGLU = Chinchilla(
    1.816864,
    482.0061,
    2085.436,
    0.3478131,
    0.3658542,
    source="Besiroglu and others 2024: Hoffmann's runs, least absolute deviations",
)
MUENNIGHOFF = DataConstrained(
    Chinchilla(
        math.exp(0.6254804),
        math.exp(6.255414),
        math.exp(7.3049974),
        0.3526596,
        0.3526596,
        source="Muennighoff and others 2023",
    ),
    source="Muennighoff and others 2023",
)


def constrained(surface: Chinchilla) -> DataConstrained:
    """Return a surface under limited data, with Muennighoff's R*: they were measured on C4 with English text."""
    return DataConstrained(surface, source=f"{surface.source}; repetition as in Muennighoff and others 2023")


LAWS: dict[str, Law] = {
    "hoffmann": HOFFMANN,
    "besiroglu": BESIROGLU,
    "muennighoff": MUENNIGHOFF,
    "kaplan": Kaplan(),
}


def law(name: str) -> Law:
    """Return a law by name, those of `frontier.py` included; an unknown one raises with the closest."""
    from mumei.scaling.frontier import FRONTIERS

    every = {**LAWS, **FRONTIERS}
    if name not in every:
        raise unknown("law", name, every)
    return every[name]
