"""Pre-training: what the cache shares, what it does not, what survives in a folder."""

from __future__ import annotations

import copy

import pytest
import torch

from mumei.cluster.pretraining import Cache, Reconstruct, as_cache, content_key, pretrain
from mumei.core.batches import Rows
from mumei.core.config import TrainConfig
from mumei.core.errors import UsageError
from mumei.nn.mlp import Autoencoder

X = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
CONFIG = TrainConfig(epochs=2, batch_size=8)


def method(seed: int = 0, noise: float = 0.0) -> Reconstruct:
    net = Autoencoder((4, 6, 2), seed=seed)
    return Reconstruct({"encoder": net.encoder, "decoder": net.decoder}, noise)


def weights(made: Reconstruct) -> list[torch.Tensor]:
    return [p.detach().clone() for net in made.nets.values() for p in net.parameters()]


def same(a: Reconstruct, b: Reconstruct) -> bool:
    return all(torch.equal(p, q) for p, q in zip(weights(a), weights(b), strict=True))


@pytest.mark.parametrize("place", ["memory", "folder"])
def test_the_second_fit_takes_the_first_ones_weights(place, tmp_path):
    cache = Cache() if place == "memory" else Cache(tmp_path / "cache")
    first, second, calm = method(), method(), method()
    assert len(pretrain(first, Rows(X), CONFIG, cache=cache)) == 2
    assert pretrain(second, Rows(X), CONFIG, cache=cache) == []
    pretrain(calm, Rows(X), CONFIG)
    assert same(first, second)
    assert same(first, calm)


def test_what_decides_the_weights_decides_the_key():
    key = content_key(method(), Rows(X), CONFIG)
    assert key == content_key(method(), Rows(X.clone()), CONFIG)
    others = [
        content_key(method(seed=1), Rows(X), CONFIG),
        content_key(method(noise=0.1), Rows(X), CONFIG),
        content_key(method(), Rows(X + 1e-6), CONFIG),
        content_key(method(), Rows(X), TrainConfig(epochs=3, batch_size=8)),
        content_key(method(), Rows(X), TrainConfig(epochs=2, batch_size=8, seed=1)),
    ]
    assert len({key, *others}) == 6


def test_a_damaged_file_is_made_anew(tmp_path):
    cache, made = Cache(tmp_path), method()
    pretrain(made, Rows(X), CONFIG, cache=cache)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    again = method()
    assert len(pretrain(again, Rows(X), CONFIG, cache=cache)) == 2
    assert same(made, again)
    assert [p.name for p in tmp_path.iterdir()] == [file.name]


def test_memory_is_bounded_and_clones_share_it():
    cache = Cache(most=2)
    for key in "abc":
        cache.put(key, {"w": torch.zeros(1)})
    assert [cache.get(k) is not None for k in "abc"] == [False, True, True]
    assert copy.deepcopy(cache) is cache
    assert as_cache(cache) is cache
    assert as_cache(None) is None
    with pytest.raises(UsageError, match="a folder, or None"):
        as_cache(7)


def test_dropped_inputs_are_a_share_and_the_rest_is_raised():
    made = method(noise=0.5)
    seen = []
    made.nets["encoder"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    pretrain(made, Rows(torch.ones(400, 4)), TrainConfig(epochs=1, batch_size=400))
    assert set(seen[0].unique().tolist()) == {0.0, 2.0}
    assert 0.4 < float((seen[0] == 0).float().mean()) < 0.6


def test_a_folder_of_another_noise_is_refused(tmp_path):
    pretrain(method(noise=0.1), Rows(X), CONFIG, out=tmp_path)
    with pytest.raises(UsageError, match=r"noise: 0\.1 then, 0\.2 now"):
        pretrain(method(noise=0.2), Rows(X), CONFIG, out=tmp_path)
