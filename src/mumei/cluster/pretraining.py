"""Pre-training, and what spares a second one: a cache by content.

Two fits share pre-trained weights when everything that decides them is equal: the rows (sha256), the initial weights (which
follow from sizes and seed), what the networks do with them (activations, likelihoods), the training's configuration and the
objective. The cache is in memory (`Cache()`, an object that the caller holds) or a folder that the caller names; nothing is kept
anywhere else. A file appears whole or not at all, and one that cannot be read is made anew.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from mumei.cluster.terms import reconstruction_error
from mumei.core import checkpoint, files
from mumei.core.batches import Rows
from mumei.core.config import TrainConfig
from mumei.core.errors import UsageError
from mumei.core.estimating import same_settings
from mumei.core.method import At, Loss, make_optimizer
from mumei.core.progress import SILENT, Progress
from mumei.core.train import fit as train

PLAIN = (bool, int, float, str, tuple)  # attributes of a layer that decide what it does


class Cache:
    """Pre-trained weights by content, in memory or in a folder.

    Parameters
    ----------
    folder : path, optional
        Weights are kept there as `<sha256>.safetensors`; without it in memory.
    most : int
        Entries kept in memory; the one used longest ago goes first.

    Examples
    --------
    >>> cache = Cache()
    >>> cache.put("key", {"w": torch.zeros(2)})
    >>> cache.get("key")["w"].shape, cache.get("other")
    (torch.Size([2]), None)
    """

    def __init__(self, folder: Path | str | None = None, most: int = 8):
        self.folder, self.most = None if folder is None else Path(folder), most
        self.kept: OrderedDict[str, dict[str, Tensor]] = OrderedDict()

    def __deepcopy__(self, memo: Any) -> Self:
        """Return itself: clones of an estimator share their cache."""
        return self

    def get(self, key: str) -> dict[str, Tensor] | None:
        """Return the weights of a key, or None."""
        if self.folder is None:
            if key in self.kept:
                self.kept.move_to_end(key)
            return self.kept.get(key)
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(self.folder / f"{key}.safetensors")
        except (OSError, SafetensorError):
            return None

    def put(self, key: str, weights: Mapping[str, Tensor]) -> None:
        """Keep weights under a key."""
        if self.folder is not None:
            files.make_folder(self.folder)
            files.write_tensors(self.folder / f"{key}.safetensors", dict(weights))
            return
        self.kept[key] = {k: v.detach().clone() for k, v in weights.items()}
        while len(self.kept) > self.most:
            self.kept.popitem(last=False)


def as_cache(cache: Any) -> Cache | None:
    """Return the cache that an estimator's argument names: a `Cache`, a folder, or None."""
    if cache is None or isinstance(cache, Cache):
        return cache
    if isinstance(cache, str | Path):
        return Cache(cache)
    raise UsageError(f"cache={cache!r} is not allowed; give a mumei.cluster.pretraining.Cache, a folder, or None.")


class Reconstruct:
    """The method of the training loop that fits an autoencoder, with a share of the inputs put to 0 if `noise` is above 0.

    Parameters
    ----------
    nets : dict
        With "encoder" and "decoder".
    noise : float
        In [0, 1).
    """

    def __init__(self, nets: Mapping[str, nn.Module], noise: float = 0.0):
        self.nets, self.noise = {"encoder": nets["encoder"], "decoder": nets["decoder"]}, noise

    def modules(self) -> dict[str, nn.Module]:
        """Return encoder and decoder."""
        return self.nets

    def optimizers(self, config: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        """Return one optimiser over both."""
        return {"all": make_optimizer(config, [p for net in self.nets.values() for p in net.parameters()])}

    def step(self, batch: tuple[Tensor, ...], at: At) -> Loss:
        """Return the squared error, or -log p(x|z) of counts, its mean over rows and columns."""
        x = batch[0].float()
        seen = x
        if self.noise:
            kept = torch.rand(x.shape, generator=at.rng, device=x.device) >= self.noise
            seen = x * kept / (1.0 - self.noise)
        made = at.nets["decoder"](at.nets["encoder"](seen))
        return Loss(reconstruction_error(at.nets["decoder"], made, x))

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must share."""
        return {"settings": {"noise": self.noise}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """There is nothing to take back."""


def pretrain(
    method: Any,
    rows: Rows,
    config: TrainConfig,
    *,
    cache: Cache | None = None,
    out: Path | None = None,
    progress: Progress = SILENT,
    label: str = "pre-training",
) -> list[dict[str, Any]]:
    """Train a method, or take its networks' weights from the cache; return the epochs' records (none for cached weights).

    Parameters
    ----------
    method : Method
        `state_dict()["settings"]`, where it has one, is a part of the key.
    rows : Rows
    config : TrainConfig
    cache : Cache, optional
    out : path, optional
        For checkpoints.
    progress, label
        Where and under which name progress is shown.
    """
    key = "" if cache is None else content_key(method, rows, config)
    found = None if cache is None else cache.get(key)
    if found is not None:
        checkpoint.restore_weights(method.modules(), found)
        return []
    same_settings(out, _settings(method))
    history = train(method, rows.arrays, config, out=out, progress=progress, label=label)
    if cache is not None:
        cache.put(key, checkpoint.weights_of(method.modules()))
    return history.epochs


def content_key(method: Any, rows: Rows, config: TrainConfig) -> str:
    """Return the sha256 of all that decides the trained weights."""
    digest = hashlib.sha256(rows.fingerprint().encode())
    target = type(method)
    parts = {"config": {**config.identity(), "epochs": config.epochs, "max_steps": config.max_steps}}
    parts |= {"method": f"{target.__module__}.{target.__qualname__}", "settings": _settings(method)}
    parts["networks"] = {name: _structure(net) for name, net in method.modules().items()}
    digest.update(json.dumps(parts, sort_keys=True, default=str).encode())
    for name, weight in sorted(checkpoint.weights_of(method.modules()).items()):
        digest.update(f"{name} {tuple(weight.shape)};".encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _structure(net: nn.Module) -> list[Any]:
    """Return each part of a network: its kind and its plain attributes (a slope, a dropped share, a variance)."""
    return [
        [
            name,
            type(part).__qualname__,
            {k: v for k, v in vars(part).items() if isinstance(v, PLAIN) and k[0] != "_" and k != "training"},
        ]
        for name, part in net.named_modules()
    ]


def _settings(method: Any) -> dict[str, Any]:
    return method.state_dict().get("settings", {}) if hasattr(method, "state_dict") else {}
