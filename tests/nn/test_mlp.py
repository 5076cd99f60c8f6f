"""Fully connected networks: shapes, seeds, and what is refused."""

from __future__ import annotations

import pytest
import torch

from mumei.core.errors import UsageError
from mumei.nn.mlp import MLP, Autoencoder


def test_output_equals_a_product_written_out():
    """Expected: two matrix products and a relu by hand."""
    net = MLP((3, 4, 2), seed=1)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    first, second = net[0], net[2]
    torch.testing.assert_close(net(x), (x @ first.weight.T).relu() @ second.weight.T)


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_shapes_and_layers(norm):
    net = MLP((6, 5, 5, 2), "gelu", norm=norm, dropout=0.2, final_activation="sigmoid")
    out = net(torch.zeros(4, 6))
    assert out.shape == (4, 2)
    assert ((out >= 0) & (out <= 1)).all()
    assert Autoencoder((6, 4, 2))(torch.zeros(3, 6)).shape == (3, 6)
    assert MLP((2, 1))(torch.zeros(0, 2)).shape == (0, 1)


def test_same_seed_same_weights_and_the_global_generator_is_left_alone():
    before = torch.random.get_rng_state()
    a, b, c = MLP((3, 9, 2), seed=5), MLP((3, 9, 2), seed=5), MLP((3, 9, 2), seed=6)
    torch.testing.assert_close(a[0].weight, b[0].weight, rtol=0, atol=0)
    assert not torch.equal(a[0].weight, c[0].weight)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(("initial", "deviation"), [("he", (2 / 400) ** 0.5), ("glorot", (2 / 700) ** 0.5), ("small", 0.01)])
def test_weights_have_the_spread_of_their_formula(initial, deviation):
    """Expected: sqrt(2/fan_in), sqrt(2/(fan_in + fan_out)), 0.01; 120,000 draws are within 2 %."""
    assert float(MLP((400, 300), initial=initial)[0].weight.detach().std()) == pytest.approx(deviation, rel=0.02)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sizes": (3,)}, "two or more widths"),
        ({"sizes": (3, 0)}, "two or more widths"),
        ({"activation": "rleu"}, "Did you mean 'relu'"),
        ({"norm": "bach"}, "Did you mean 'batch'"),
        ({"initial": "xavier"}, "Allowed: glorot"),
        ({"dropout": 1.0}, "dropout=1.0"),
    ],
)
def test_wrong_arguments_say_what_is_allowed(options, said):
    with pytest.raises(UsageError, match=said):
        MLP(**{"sizes": (3, 2), **options})
