"""Convolutional networks for small images: `ConvEncoder` halves the picture at each layer, `ConvDecoder` doubles it back,
`ConvNet` has batch normalisation and takes maxima between its layers, as classifiers do.

Encoder layers are 3x3 convolutions of stride 2. Decoder layers are their transposes, whose output padding is chosen for each
side so that sizes are the encoder's in reverse; the last one is a sub-pixel convolution (Shi and others 2016): a plain 3x3
convolution makes the four pixels of each position, so that all pixels have seen as much, at a quarter of the cost of one
at full size. Any height and width come back exact, odd ones too.

Initial weights are He's, drawn layer by layer from generators of the given seed, so equal arguments give equal bits and the
global random state is not touched. A transposed convolution's fan-in counts the quarter of its kernel that meets a pixel.
Weights lie with channels last in memory, where CPU convolutions are about a third faster.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from mumei.core import seeds
from mumei.core.errors import UsageError
from mumei.nn.mlp import activation as make_activation

KERNEL = 3


def halved(side: int, times: int) -> int:
    """Return what is left of a side after so many convolutions of stride 2: each rounds its half up."""
    for _ in range(times):
        side = -(-side // 2)
    return side


def checked_shape(shape: Sequence[int], channels: Sequence[int]) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """Return (channels, height, width) of an image and the layers' channels as tuples.

    Raises
    ------
    UsageError
        Not three whole numbers, no layer, or more layers than the smaller side can be halved.
    """
    given, widths = tuple(shape), tuple(channels)
    if len(given) != 3 or not all(_whole(s) for s in given):
        raise UsageError(
            f"shape={given!r} is not allowed; give (channels, height, width), each a whole number above 0."
        )
    if not widths or not all(_whole(c) for c in widths):
        raise UsageError(f"channels={widths!r} is not allowed; give one number above 0 for each convolution.")
    smaller = min(given[1:])
    if 2 ** len(widths) > smaller:
        raise UsageError(
            f"{len(widths)} convolutions of stride 2 need sides of at least {2 ** len(widths)} pixels; the images are "
            f"{given[1]} by {given[2]}. Give at most {int(math.log2(smaller))} channels."
        )
    return cast("tuple[int, int, int]", given), widths


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _drawn(layer: nn.Conv2d | nn.ConvTranspose2d, fan_in: float, gain: float, generator: torch.Generator) -> Any:
    """Return the layer with weights from N(0, gain / fan_in) and no bias yet."""
    with torch.no_grad():
        nn.init.normal_(layer.weight, 0.0, math.sqrt(gain / fan_in), generator=generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return layer


class ConvEncoder(nn.Module):
    """Strided 3x3 convolutions, each followed by the activation, then all maps as one row.

    Parameters
    ----------
    shape : (channels, height, width)
        Of the images.
    channels : sequence of int
        Maps after each convolution; each halves height and width, rounding up.
    activation : str
        See `mumei.nn.mlp.ACTIVATIONS`.
    seed : int

    Attributes
    ----------
    features : int
        Width of what comes out.

    Examples
    --------
    >>> net = ConvEncoder((1, 9, 13), (4, 8))
    >>> net(torch.zeros(5, 1, 9, 13)).shape, net.features
    (torch.Size([5, 96]), 96)
    """

    def __init__(
        self, shape: Sequence[int], channels: Sequence[int] = (32, 64), *, activation: str = "relu", seed: int = 0
    ):
        super().__init__()
        self.shape, self.channels = checked_shape(shape, channels)
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(zip((self.shape[0], *self.channels[:-1]), self.channels, strict=True)):
            # skip_init: the constructor's own initialisation would draw from the global generator.
            layer = skip_init(nn.Conv2d, inputs, outputs, KERNEL, stride=2, padding=1)
            rng = seeds.torch_generator(seed, "conv", i)
            layers += [_drawn(cast("nn.Conv2d", layer), inputs * KERNEL**2, 2.0, rng), make_activation(activation)]
        self.layers = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        depth = len(self.channels)
        self.features = self.channels[-1] * halved(self.shape[1], depth) * halved(self.shape[2], depth)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, channels, height, width) to (n, features)."""
        return self.layers(x.contiguous(memory_format=torch.channels_last)).flatten(1)


class ConvDecoder(nn.Module):
    """Transposed 3x3 convolutions of stride 2, each followed by the activation, and a sub-pixel convolution to the image.

    Parameters
    ----------
    shape : (channels, height, width)
        Of the output.
    channels : sequence of int
        As given to the encoder: from the image inwards.
    activation : str
        See `mumei.nn.mlp.ACTIVATIONS`.
    seed : int

    Attributes
    ----------
    features : int
        Width of what goes in: as what comes out of an encoder of the same height, width and channels.

    Examples
    --------
    >>> net = ConvDecoder((2, 9, 13), (4, 8))
    >>> net(torch.zeros(5, net.features)).shape
    torch.Size([5, 2, 9, 13])
    """

    def __init__(
        self, shape: Sequence[int], channels: Sequence[int] = (32, 64), *, activation: str = "relu", seed: int = 0
    ):
        super().__init__()
        self.shape, self.channels = checked_shape(shape, channels)
        depth, widths = len(self.channels), self.channels[::-1]
        sides = [(halved(self.shape[1], depth - i), halved(self.shape[2], depth - i)) for i in range(depth)]
        layers: list[nn.Module] = []
        for i, (inputs, outputs, (h, w)) in enumerate(zip(widths[:-1], widths[1:], sides[1:], strict=True)):
            more = (1 - h % 2, 1 - w % 2)
            layer = skip_init(nn.ConvTranspose2d, inputs, outputs, KERNEL, stride=2, padding=1, output_padding=more)
            rng = seeds.torch_generator(seed, "transposed", i)
            fan_in = inputs * KERNEL**2 / 4
            layers += [_drawn(cast("nn.ConvTranspose2d", layer), fan_in, 2.0, rng), make_activation(activation)]
        last = skip_init(nn.Conv2d, widths[-1], 4 * self.shape[0], KERNEL, padding=1)
        rng = seeds.torch_generator(seed, "last")
        layers += [_drawn(cast("nn.Conv2d", last), widths[-1] * KERNEL**2, 1.0, rng), nn.PixelShuffle(2)]
        self.layers = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.maps = (widths[0], *sides[0])
        self.features = math.prod(self.maps)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (n, features) to (n, channels, height, width)."""
        maps = hidden.unflatten(-1, self.maps).contiguous(memory_format=torch.channels_last)
        return self.layers(maps)[..., : self.shape[1], : self.shape[2]]


POOL, SMALLEST = "pool", 4  # pixels of the smaller side, below which nothing is pooled


class ConvNet(nn.Module):
    """Convolutions that keep height and width, each with batch normalisation and activation, and pools between; then one row.

    Parameters
    ----------
    shape : (channels, height, width)
        Of the images.
    layers : sequence of int and "pool"
        Maps after each convolution; "pool" takes the largest of each 2x2 pixels, between normalisation and activation,
        and is passed over where the smaller side has come below 4 pixels, so that one list serves images of many sizes.
    kernel : int
        Odd.
    activation : str
        See `mumei.nn.mlp.ACTIVATIONS`.
    seed : int

    Attributes
    ----------
    features : int
        Width of what comes out.

    Examples
    --------
    >>> net = ConvNet((1, 9, 13), (4, "pool", 8))
    >>> net(torch.zeros(5, 1, 9, 13)).shape, net.features
    (torch.Size([5, 192]), 192)
    """

    def __init__(
        self,
        shape: Sequence[int],
        layers: Sequence[int | str],
        *,
        kernel: int = KERNEL,
        activation: str = "relu",
        seed: int = 0,
    ):
        super().__init__()
        given = tuple(shape)
        if len(given) != 3 or not all(_whole(s) for s in given):
            raise UsageError(
                f"shape={given!r} is not allowed; give (channels, height, width), each a whole number above 0."
            )
        wrong = isinstance(layers, str) or not all(c == POOL or _whole(c) for c in layers)
        if wrong or all(c == POOL for c in layers):
            raise UsageError(f"layers={layers!r} is not allowed; give numbers of maps above 0, and {POOL!r} between.")
        if not _whole(kernel) or kernel % 2 == 0:
            raise UsageError(f"kernel={kernel!r} is not allowed; give an odd number of pixels.")
        maps, h, w = given
        made: list[nn.Module] = []
        for i, layer in enumerate(layers):
            if layer == POOL:
                if min(h, w) >= SMALLEST:
                    # Before the activation, if there is one to pass: the same for one that rises, at a quarter of its cost.
                    made, h, w = [*made[:-1], nn.MaxPool2d(2), *made[-1:]], h // 2, w // 2
                continue
            # Without a bias, which the normalisation would take away; skip_init as above.
            conv = skip_init(nn.Conv2d, maps, layer, kernel, padding=kernel // 2, bias=False)
            rng = seeds.torch_generator(seed, "conv", i)
            drawn = _drawn(cast("nn.Conv2d", conv), maps * kernel**2, 2.0, rng)
            made += [drawn, nn.BatchNorm2d(cast("int", layer)), make_activation(activation)]
            maps = cast("int", layer)
        self.layers = nn.Sequential(*made).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.features = maps * h * w

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, channels, height, width) to (n, features)."""
        return self.layers(x.contiguous(memory_format=torch.channels_last)).flatten(1)
