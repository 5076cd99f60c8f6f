"""Fully connected networks: `MLP`, and `Autoencoder`, its mirror image joined at a code.

Initial weights are drawn from a generator of the given seed, layer by layer, so equal arguments give equal bits and the
global random state is not touched. The layers are `FastLinear`, whose `state_dict` is that of `nn.Linear`.

The default sizes of `Autoencoder`, 784-500-500-2000-10, are those of parametric t-SNE and deep embedded clustering.
Departure from those papers: layers are trained together from He initialisation, not stacked one by one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from mumei.core import seeds
from mumei.core.artifact import Saveable, State
from mumei.core.config import at_least
from mumei.core.errors import UsageError, unknown
from mumei.core.linear import FastLinear

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "identity": nn.Identity,
    "leaky_relu": nn.LeakyReLU,
    "leaky_relu_0.2": functools.partial(nn.LeakyReLU, 0.2),  # of critics
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}
NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
INITS = ("glorot", "he", "normal", "torch", "uniform")


def activation(name: str) -> nn.Module:
    """Return an activation by name; an unknown one raises `UsageError` with the closest match."""
    if name not in ACTIVATIONS:
        raise unknown("activation", str(name), ACTIVATIONS)
    return ACTIVATIONS[name]()


def initialise(layer: nn.Linear, init: str, generator: torch.Generator, std: float = 0.01) -> None:
    """Draw a layer's weights; set its bias to zero, or draw it as well.

    Parameters
    ----------
    layer : nn.Linear
        Its weight is (outputs, inputs).
    init : {"glorot", "he", "normal", "torch", "uniform"}
        Uniform with variance 2 / (inputs + outputs), normal with variance 2 / inputs, normal with deviation `std`, and, for the
        last two, uniform with variance 1 / (3 inputs): within 1 / sqrt(inputs), as `torch.nn.Linear` has weights and biases.
        "torch" draws the bias so too; for the others it is zero.
    generator : torch.Generator
        What the weights are drawn from.
    std : float
        For "normal".
    """
    if init not in INITS:
        raise unknown("init", str(init), INITS)
    within = layer.in_features**-0.5
    with torch.no_grad():
        if init == "glorot":
            nn.init.xavier_uniform_(layer.weight, generator=generator)
        elif init == "he":
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
        elif init in ("torch", "uniform"):
            nn.init.uniform_(layer.weight, -within, within, generator=generator)
        else:
            nn.init.normal_(layer.weight, 0.0, std, generator=generator)
        if layer.bias is not None:
            if init == "torch":
                nn.init.uniform_(layer.bias, -within, within, generator=generator)
            else:
                nn.init.zeros_(layer.bias)


class MLP(nn.Module, Saveable):
    """Linear layers, each but the last followed by normalisation, activation and dropout.

    Parameters
    ----------
    sizes : sequence of int
        Widths from input to output, at least two.
    activation : str
        After each hidden layer; see `ACTIVATIONS`.
    dropout : float
        In [0, 1), after each hidden activation.
    norm : {None, "batch", "layer"}
        Before each hidden activation.
    final_activation : str, optional
        After the last layer.
    init : {"he", "glorot", "normal", "torch", "uniform"}
        See `initialise`.
    init_std : float
        Standard deviation for "normal".
    seed : int
        What the initial weights are drawn from.

    Raises
    ------
    UsageError
        A value is out of its range or a name is unknown.

    Examples
    --------
    >>> MLP((4, 8, 3))(torch.zeros(5, 4)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str = "relu",
        dropout: float = 0.0,
        norm: str | None = None,
        final_activation: str | None = None,
        init: str = "he",
        init_std: float = 0.01,
        seed: int = 0,
    ):
        super().__init__()
        self.sizes = _checked_sizes(sizes)
        _check(dropout, norm, init_std)
        self.parameters_given = {
            "activation": activation,
            "dropout": dropout,
            "norm": norm,
            "final_activation": final_activation,
            "init": init,
            "init_std": init_std,
            "seed": seed,
        }
        layers: list[nn.Module] = []
        last = len(self.sizes) - 2
        for i, (inputs, outputs) in enumerate(zip(self.sizes, self.sizes[1:], strict=False)):
            # skip_init: the constructor's own initialisation would draw from the global generator.
            linear = cast("FastLinear", skip_init(FastLinear, inputs, outputs))
            initialise(linear, init, seeds.torch_generator(seed, "mlp", i), init_std)
            layers.append(linear)
            if i < last:
                layers += _hidden(outputs, activation, dropout, norm)
        if final_activation is not None:
            layers.append(_activation(final_activation))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., sizes[0]) to (..., sizes[-1]); with batch normalisation x is (n, sizes[0])."""
        return self.layers(x)

    def state(self) -> State:
        """Return what the network is made of."""
        return State({"sizes": list(self.sizes), **self.parameters_given}, dict(self.state_dict()))

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Build the network that `state` describes."""
        return _rebuilt(cls, state)


class Autoencoder(nn.Module, Saveable):
    """An encoder and its mirror image as decoder; the code and the reconstruction are linear unless told otherwise.

    Parameters
    ----------
    sizes : sequence of int
        Widths from input to code.
    final_activation : str, optional
        After the decoder's last layer ("sigmoid" for data in [0, 1]).
    activation, dropout, norm, init, init_std, seed
        As in `MLP`; dropout and norm apply to encoder and decoder.

    Raises
    ------
    UsageError
        A value is out of its range or a name is unknown.

    Examples
    --------
    >>> net = Autoencoder((6, 4, 2))
    >>> net.encode(torch.zeros(5, 6)).shape, net(torch.zeros(5, 6)).shape
    (torch.Size([5, 2]), torch.Size([5, 6]))
    """

    def __init__(
        self,
        sizes: Sequence[int] = (784, 500, 500, 2000, 10),
        *,
        activation: str = "relu",
        dropout: float = 0.0,
        norm: str | None = None,
        final_activation: str | None = None,
        init: str = "he",
        init_std: float = 0.01,
        seed: int = 0,
    ):
        super().__init__()
        self.sizes = _checked_sizes(sizes)
        same: dict[str, Any] = {
            "activation": activation,
            "dropout": dropout,
            "norm": norm,
            "init": init,
            "init_std": init_std,
        }
        self.parameters_given = {**same, "final_activation": final_activation, "seed": seed}
        self.encoder = MLP(self.sizes, seed=seeds.child(seed, "encoder"), **same)
        self.decoder = MLP(
            self.sizes[::-1], seed=seeds.child(seed, "decoder"), final_activation=final_activation, **same
        )

    def encode(self, x: Tensor) -> Tensor:
        """Map (..., sizes[0]) to the code (..., sizes[-1])."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """Map a code (..., sizes[-1]) to (..., sizes[0])."""
        return self.decoder(z)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct (..., sizes[0])."""
        return self.decode(self.encode(x))

    def state(self) -> State:
        """Return what the network is made of."""
        return State({"sizes": list(self.sizes), **self.parameters_given}, dict(self.state_dict()))

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Build the network that `state` describes."""
        return _rebuilt(cls, state)


_activation = activation  # the constructors' argument of that name hides the function


def _hidden(width: int, name: str, dropout: float, norm: str | None) -> list[nn.Module]:
    layers: list[nn.Module] = [] if norm is None else [NORMS[norm](width)]
    layers.append(activation(name))
    return [*layers, nn.Dropout(dropout)] if dropout else layers


def _rebuilt(cls: Any, state: State) -> Any:
    parameters = dict(state.parameters)
    net = cls(parameters.pop("sizes"), **parameters)
    net.load_state_dict(state.tensors)
    return net.eval()


def _checked_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    sizes = tuple(sizes)
    whole = all(isinstance(s, int) and not isinstance(s, bool) and s >= 1 for s in sizes)
    if len(sizes) < 2 or not whole:
        raise UsageError(f"sizes={sizes!r} is not allowed; give at least two widths, each an integer of at least 1.")
    return sizes


def _check(dropout: float, norm: str | None, std: float) -> None:
    at_least("dropout", dropout, 0.0)
    at_least("init_std", std, 0.0, strictly=True)
    if dropout >= 1.0:
        raise UsageError(f"dropout={dropout!r} is not allowed; give a number of at least 0 and below 1.")
    if norm is not None and norm not in NORMS:
        raise unknown("norm", str(norm), NORMS)
