"""Fully connected networks: values by hand, seeds, artifacts, and what is refused."""

from __future__ import annotations

import pytest
import torch

from mumei.core import artifact
from mumei.core.errors import UsageError
from mumei.nn.mlp import ACTIVATIONS, MLP, Autoencoder


def some(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_output_equals_the_products_written_out():
    """Expected: two matrix products and a relu by hand."""
    net = MLP((3, 4, 2), seed=1)
    first, second = net.layers[0], net.layers[2]
    x = some(5, 3)
    torch.testing.assert_close(net(x), (x @ first.weight.T).relu() @ second.weight.T)


def test_order_of_the_layers():
    net = MLP((6, 5, 4, 2), norm="batch", dropout=0.2, activation="gelu", final_activation="sigmoid")
    hidden = ["FastLinear", "BatchNorm1d", "GELU", "Dropout"]
    assert [type(m).__name__ for m in net.layers] == [*hidden, *hidden, "FastLinear", "Sigmoid"]


@pytest.mark.parametrize("shape", [(0, 6), (1, 6), (2, 3, 6), (6,)])
@pytest.mark.parametrize("norm", [None, "layer"])
def test_shapes(shape, norm):
    assert MLP((6, 5, 2), norm=norm)(torch.zeros(shape)).shape == (*shape[:-1], 2)
    net = Autoencoder((6, 4, 2), norm=norm)
    assert net.encode(torch.zeros(shape)).shape == (*shape[:-1], 2)
    assert net(torch.zeros(shape)).shape == shape


def test_autoencoder_is_mirrored():
    net = Autoencoder(final_activation="sigmoid")
    assert net.encoder.sizes == (784, 500, 500, 2000, 10)
    assert net.decoder.sizes == (10, 2000, 500, 500, 784)
    out = net(torch.zeros(2, 784))
    assert ((out >= 0) & (out <= 1)).all()
    # 784*500 + 500*500 + 500*2000 + 2000*10 weights each way, and a bias for each output
    assert sum(p.numel() for p in net.parameters()) == 2 * 1_662_000 + (500 + 500 + 2000 + 10) + (
        2000 + 500 + 500 + 784
    )


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation_builds(name):
    assert torch.isfinite(MLP((3, 4, 2), activation=name)(some(5, 3))).all()


@pytest.mark.parametrize(
    ("options", "deviation"),
    [
        ({"init": "he"}, (2 / 400) ** 0.5),
        ({"init": "glorot"}, (2 / 700) ** 0.5),
        ({"init": "uniform"}, (1 / 1200) ** 0.5),
        ({"init": "normal"}, 0.01),
        ({"init": "normal", "init_std": 0.05}, 0.05),
    ],
)
def test_weights_have_the_spread_of_their_formula(options, deviation):
    """Expected: sqrt(2 / inputs), sqrt(2 / (inputs + outputs)), sqrt(1 / (3 inputs)), the given one; 120,000 draws within 2 %."""
    layer = MLP((400, 300), **options).layers[0]
    assert float(layer.weight.detach().std()) == pytest.approx(deviation, rel=0.02)
    assert not layer.bias.any()


def test_the_start_of_torch_has_biases_too():
    """Expected: weights and biases as `torch.nn.Linear` has them, both with deviation sqrt(1 / (3 inputs)) and no further out."""
    layer, theirs = MLP((400, 30_000), init="torch").layers[0], torch.nn.Linear(400, 30_000)
    for own, other in ((layer.weight, theirs.weight), (layer.bias, theirs.bias)):
        assert float(own.detach().std()) == pytest.approx((1 / 1200) ** 0.5, rel=0.02)
        assert float(other.detach().std()) == pytest.approx((1 / 1200) ** 0.5, rel=0.02)
        assert float(own.detach().abs().max()) <= 400**-0.5 + 1e-8
    assert torch.equal(MLP((5, 4), init="torch").layers[0].weight, MLP((5, 4), init="uniform").layers[0].weight)


def test_same_seed_same_bits_and_the_global_generator_is_left_alone():
    before = torch.random.get_rng_state()
    a, b, c = (Autoencoder((5, 4, 3), seed=s).state_dict() for s in (5, 5, 6))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["encoder.layers.0.weight"], c["encoder.layers.0.weight"])
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("cls", [MLP, Autoencoder])
def test_save_and_load(tmp_path, cls):
    net = cls((5, 4, 3), activation="tanh", dropout=0.5, norm="batch", seed=4)
    net(some(8, 5))  # moves the running statistics
    net.eval()
    loaded = artifact.load(net.save(tmp_path / "net"))
    assert isinstance(loaded, cls)
    assert torch.equal(loaded(some(8, 5)), net(some(8, 5)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sizes": (3,)}, r"sizes=\(3,\).*at least two"),
        ({"sizes": (3, 0)}, "at least 1"),
        ({"sizes": (3, 2.0)}, "integer"),
        ({"activation": "rleu"}, "Did you mean 'relu'"),
        ({"final_activation": "sigmoyd"}, "Did you mean 'sigmoid'"),
        ({"norm": "bach"}, "Did you mean 'batch'"),
        ({"init": "xavier"}, "Allowed: glorot, he, normal"),
        ({"init_std": 0.0}, "greater than 0"),
        ({"dropout": 1.0}, "dropout=1.0.*below 1"),
        ({"dropout": -0.1}, "at least 0"),
    ],
)
@pytest.mark.parametrize("cls", [MLP, Autoencoder])
def test_what_is_refused(cls, options, said):
    with pytest.raises(UsageError, match=said):
        cls(**{"sizes": (3, 4, 2), **options})
