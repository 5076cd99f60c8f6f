"""Convolutional networks: sizes that come back, values by torch.nn.functional, seeds, and what is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mumei.core.errors import UsageError
from mumei.nn.conv import ConvDecoder, ConvEncoder, ConvNet, halved


def some(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@settings(deadline=None, max_examples=25)
@given(st.integers(8, 37), st.integers(8, 37), st.integers(1, 3), st.integers(1, 3))
def test_any_height_and_width_come_back(h, w, colours, depth):
    encoder = ConvEncoder((colours, h, w), (4,) * depth)
    decoder = ConvDecoder((colours, h, w), (4,) * depth)
    code = encoder(torch.zeros(2, colours, h, w))
    assert code.shape == (2, encoder.features)
    assert encoder.features == decoder.features
    assert decoder(code).shape == (2, colours, h, w)


def test_halves_round_up():
    assert [halved(28, i) for i in range(4)] == [28, 14, 7, 4]


def test_values_equal_torchs_functions_on_the_same_weights():
    """Expected: conv2d, conv_transpose2d and pixel_shuffle called by hand."""
    x = some(3, 1, 9, 13)
    encoder, decoder = ConvEncoder((1, 9, 13), (4, 6), seed=1), ConvDecoder((2, 9, 13), (4, 6), seed=1)
    hidden = x
    for i in (0, 2):
        hidden = F.conv2d(hidden, encoder.layers[i].weight, encoder.layers[i].bias, stride=2, padding=1).relu()
    torch.testing.assert_close(encoder(x), hidden.flatten(1))
    up, last = decoder.layers[0], decoder.layers[2]
    grown = F.conv_transpose2d(hidden, up.weight, up.bias, stride=2, padding=1, output_padding=(0, 0)).relu()
    assert grown.shape[2:] == (5, 7)
    expected = F.pixel_shuffle(F.conv2d(grown, last.weight, last.bias, padding=1), 2)[..., :9, :13]
    torch.testing.assert_close(decoder(encoder(x)), expected)


def test_scale_is_kept_through_he_weights():
    """With He's weights a relu network's outputs have about the inputs' second moment, whatever the depth."""
    out = ConvEncoder((3, 32, 32), (64, 64, 64))(some(64, 3, 32, 32)).detach()
    assert 0.4 < float(out.square().mean()) < 1.6  # borders of zeros take a little away
    back = ConvDecoder((3, 32, 32), (64, 64, 64))(some(64, 64 * 16)).detach()
    assert 0.4 < float(back.square().mean()) < 1.6  # the last layer has gain 1


def test_same_seed_same_bits_and_global_randomness_untouched():
    before = torch.get_rng_state()
    first, second = (ConvDecoder((1, 9, 9), (3, 5), seed=2).state_dict() for _ in range(2))
    assert all(torch.equal(first[k], second[k]) for k in first)
    other = ConvDecoder((1, 9, 9), (3, 5), seed=3).state_dict()
    assert not torch.equal(first["layers.0.weight"], other["layers.0.weight"])
    ConvEncoder((1, 9, 9), (3, 5))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("cls", [ConvEncoder, ConvDecoder])
@pytest.mark.parametrize(
    ("shape", "channels", "message"),
    [
        ((9, 9), (4,), "channels, height, width"),
        ((1, 9, 0), (4,), "above 0"),
        ((1, 9, 9.0), (4,), "whole number"),
        ((1, 9, 9), (), "each convolution"),
        ((1, 9, 9), (4, 0), "each convolution"),
        ((1, 9, 30), (4, 4, 4, 4), "at least 16 pixels.*at most 3"),
    ],
)
def test_what_is_refused(cls, shape, channels, message):
    with pytest.raises(UsageError, match=message):
        cls(shape, channels)


@pytest.mark.parametrize(("side", "expected"), [(28, 3), (8, 2), (7, 3), (3, 3), (1, 1)])
def test_a_small_picture_is_pooled_less_often(side, expected):
    net = ConvNet((2, side, side), (4, "pool", 5, "pool", 6, "pool"))
    assert net.features == 6 * expected**2
    assert net.eval()(torch.zeros(3, 2, side, side)).shape == (3, net.features)


def test_a_conv_net_is_convolution_normalisation_activation_and_maxima():
    """Expected: torch's functions by hand, with the batch's own mean and variance."""
    x, net = some(5, 2, 9, 8), ConvNet((2, 9, 8), (4, "pool", 6), kernel=5, seed=1)
    convs = [layer for layer in net.layers if isinstance(layer, torch.nn.Conv2d)]
    hidden = x
    for i, conv in enumerate(convs):
        hidden = F.conv2d(hidden, conv.weight, padding=2)
        mean, variance = hidden.mean((0, 2, 3), keepdim=True), hidden.var((0, 2, 3), keepdim=True, correction=0)
        hidden = ((hidden - mean) / (variance + 1e-5).sqrt()).relu()
        hidden = F.max_pool2d(hidden, 2) if i == 0 else hidden
    torch.testing.assert_close(net(x), hidden.flatten(1), rtol=1e-4, atol=1e-5)
    other = ConvNet((2, 9, 8), (4, "pool", 6), kernel=5, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shape": (9, 9)}, "channels, height, width"),
        ({"layers": ()}, "layers="),
        ({"layers": ("pool",)}, "layers="),
        ({"layers": (4, "max")}, "layers="),
        ({"layers": "pool"}, "layers="),
        ({"layers": (0,)}, "layers="),
        ({"kernel": 4}, "kernel=4"),
    ],
)
def test_what_a_conv_net_refuses(given, message):
    with pytest.raises(UsageError, match=message):
        ConvNet(**{"shape": (1, 9, 9), "layers": (4,), **given})
