"""Mixed precision: every method runs under it, is judged in float32, and products of probabilities keep their digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cluster_toys import blobs

from mumei.cluster.drivers import evaluating
from mumei.cluster.iic import information
from mumei.core import registry

METHODS = (
    "dec",
    "idec",
    "dcn",
    "dac",
    "deepcluster",
    "iic",
    "vade",
    "gmvae",
    "ltvae",
    "catgan",
    "clustergan",
    "adec",
)


@pytest.mark.parametrize("name", METHODS)
def test_it_learns_under_bfloat16(name):
    X, _ = blobs(120)
    model = registry.resolve(f"cluster/{name}").example().set_params(options={"precision": "bf16"}, random_state=0)
    model.fit(X)
    assert np.array_equal(model.predict(X), model.labels_)
    assert all(np.isfinite(v) for record in model.history_ for v in record.values() if isinstance(v, float))
    assert all(p.dtype is torch.float32 for p in model.net_.parameters())


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("preset", ["robust", "paper"])
def test_images_under_bfloat16(name, preset):
    X = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    made = registry.resolve(f"cluster/{name}")
    given = {
        k: v
        for k, v in {"hidden": (16,), "convolutions": (4, "pool", 6), "channels": (4, 6)}.items()
        if k in made.__dataclass_fields__
    }
    short = {"pretrain_epochs": 1} if "pretrain_epochs" in made.__dataclass_fields__ else {}
    options = {"precision": "bf16", "steps": 3}
    model = made(
        n_clusters=3, preset=preset, batch_size=16, epochs=1, random_state=0, options=options, **given, **short
    )
    assert np.array_equal(model.fit(X).predict(X), model.labels_)


def test_information_keeps_its_digits_under_autocast():
    p, q = (torch.randn(64, 2, 10, generator=torch.Generator().manual_seed(i)).softmax(2) for i in (0, 1))
    with torch.autocast("cpu", torch.bfloat16):
        found = information(p, q)
    torch.testing.assert_close(found, information(p, q), rtol=1e-6, atol=0)


def test_what_is_evaluated_is_in_float32():
    net, x = torch.nn.Linear(5, 4), torch.randn(3, 5)
    with torch.autocast("cpu", torch.bfloat16), evaluating({"net": net}):
        inside = net(x)
        assert inside.dtype is torch.float32
    assert torch.equal(inside, net(x).detach())
