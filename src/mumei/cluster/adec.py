"""ADEC: adversarial deep embedded clustering, DEC without a reconstruction that pulls the other way.

Source: Mrabah, Bouguessa and Ksantini 2020, "Adversarial Deep Embedded Clustering: on a better trade-off between Feature
Randomness and Feature Drift". Labels that an untrained code makes up teach random features, so the paper pre-trains the
autoencoder with mixed codes and altered rows (`acai.py`; see below). A reconstruction loss beside the clustering's makes the
features drift, for the two gradients point apart; so the encoder has none. What it makes must still decode to something that a
discriminator D takes for a row:

    D:  min  -mean log D(x) - mean log(1 - D(g(f(x))))
    f:  min  KL(P || Q) - weight mean log D(g(f(x)))                      f the encoder, with the centres
    g:  min  mean |x - g(f(x))|^2 / columns - weight mean log D(g(f(x)))  g the decoder; f is held

Q and P are DEC's. P comes from the rows as they are, Q from altered copies of them: pictures are turned, moved and enlarged a
little (`augment.py`); rows of tables are left as they are, unless `augmentation=True`.

Departures: networks are fully connected, and end to end trained. The weight, the lengths of the phases and how much pictures are
altered are chosen here, and so is that the decoder goes on to reconstruct, which costs the encoder nothing. The cosine of the
clustering's and the reconstruction's gradient is in `history_` as "feature_drift", for ADEC as for DEC and IDEC. The robust
default pre-trains a plain autoencoder: mixed codes and altered rows take longer to learn than its few epochs, and k-means then
cuts their code worse (20,000 digits of MNIST, 15 and 10 epochs, one seed: ACC 0.77 in the end from plain rows, 0.73 from altered
ones, 0.68 with mixed codes at weight 0.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mumei.cluster.acai import Interpolate
from mumei.cluster.assignment import target_distribution
from mumei.cluster.augment import IMAGES, Images, Tables, make_augmentation
from mumei.cluster.autoencoder import AutoencoderClusterer
from mumei.cluster.drivers import Player, TakingTurns
from mumei.cluster.images import Shape
from mumei.cluster.pretraining import pretrain
from mumei.cluster.run import Outcome, Run
from mumei.cluster.terms import KlTarget, Reconstruction, Term, View
from mumei.core import seeds
from mumei.core.errors import UsageError
from mumei.core.estimating import widths
from mumei.core.method import At
from mumei.nn.mlp import MLP

NOT_HERE = ("noise", "reconstruction")  # settings of the base that say nothing here
TABLES = {"table_noise": "noise", "table_dropped": "dropped"}  # our names, those of `augment.Tables`


class Altered(nn.Module):
    """Rows to altered rows; without `augment` as they are.

    Parameters
    ----------
    augment : Tables, Images or None
    shape : Shape, optional
        Of images.
    """

    def __init__(self, augment: Tables | Images | None = None, shape: Shape | None = None):
        super().__init__()
        self.augment, self.shape = augment, shape

    def forward(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Return rows (b, d), altered."""
        if self.augment is None:
            return x
        made = self.augment(x, rng)
        return made if self.shape is None else self.shape.rows(made)


class Disputed(View):
    """A batch of altered rows, and how real the discriminator finds them and what they decode to."""

    @cached_property
    def x(self) -> Tensor:
        """The rows, altered (b, d)."""
        return self.nets["augment"](self.batch[0].float(), self.at.rng)

    @cached_property
    def said(self) -> Tensor:
        """The discriminator's logits of the reconstruction (b, 1)."""
        return self.nets["discriminator"](self.reconstruction)


class Dispute(TakingTurns):
    """Players that take turns; their terms see altered rows."""

    def view(self, batch: tuple[Tensor, ...], at: At) -> View:
        """Return what the terms see of a batch."""
        return Disputed(at.nets, batch, at, self.memory)


@dataclass
class Real(Term):
    """-log D(x): the discriminator's part for rows."""

    name: ClassVar[str] = "real"

    def __call__(self, view: View) -> Tensor:
        """Return the mean over rows, in nats."""
        return F.softplus(-view.nets["discriminator"](view.x)).mean()


@dataclass
class Decoded(Term):
    """-log(1 - D(g(f(x)))): the discriminator's part for reconstructions."""

    name: ClassVar[str] = "decoded"

    def __call__(self, view: View) -> Tensor:
        """Return the mean over rows, in nats."""
        return F.softplus(view.said).mean()  # type: ignore[attr-defined]


@dataclass
class Fooling(Term):
    """-log D(g(f(x))): the encoder's and the decoder's part."""

    name: ClassVar[str] = "fooling"

    def __call__(self, view: View) -> Tensor:
        """Return the mean over rows, in nats."""
        return F.softplus(-view.said).mean()  # type: ignore[attr-defined]


@dataclass(kw_only=True, eq=False, repr=False)
class ADEC(AutoencoderClusterer):
    """Deep embedded clustering with a discriminator in place of the reconstruction.

    Parameters
    ----------
    adversarial : float, optional
        Weight of fooling the discriminator.
    interpolation : float, optional
        Weight of the regulariser of mixed codes in pre-training; 0 for none, the robust default.
    pretrain_augmentation : bool, optional
        Rows are altered in pre-training too; not so in the robust default.
    augmentation : bool or "auto", optional
        Rows are altered; "auto" alters images alone. How much is set in `options`: see
        `mumei.cluster.augment.IMAGES`, and `table_noise` and `table_dropped`.
    others
        Those of `mumei.cluster.autoencoder.AutoencoderClusterer`; `ADEC.presets()` shows what a preset sets.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.concatenate([np.zeros((20, 4)), np.ones((20, 4))]) + np.random.default_rng(0).normal(0, 0.1, (40, 4))
    >>> model = ADEC(n_clusters=2, hidden=(16,), n_latent=2, pretrain_epochs=60, epochs=2, random_state=0)
    >>> np.bincount(model.fit_predict(X)).tolist()
    [20, 20]
    """

    adversarial: float | None = None
    interpolation: float | None = None
    augmentation: Any = None
    pretrain_augmentation: bool | None = None

    COMMON: ClassVar[dict[str, Any]] = {
        **{name: value for name, value in AutoencoderClusterer.COMMON.items() if name not in NOT_HERE},
        **IMAGES,
        "adversarial": 0.1,
        "augmentation": "auto",
        "critic_hidden": (500,),
        "table_dropped": 0.2,
        "table_noise": 0.3,
    }
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "robust": {"interpolation": 0.0, "pretrain_augmentation": False},
        "paper": {
            "batch_size": 256,
            "interpolation": 0.5,
            "pretrain_augmentation": True,
            "pretrain_epochs": None,
            "pretrain_steps": 100_000,
            "pretrain_schedule": "constant",
            "schedule": "constant",
            "learning_rate": 1e-4,
            "epochs": 200,
            "empty": "keep",
        },
    }
    LEAST: ClassVar[dict[str, float]] = {
        **{name: low for name, low in AutoencoderClusterer.LEAST.items() if name not in NOT_HERE},
        "adversarial": 0.0,
        "interpolation": 0.0,
    }
    driver_class: ClassVar[Any] = Dispute

    def make_networks(self, run: Run) -> dict[str, nn.Module]:
        """Return encoder, decoder and head, the critic of mixed codes, the discriminator, and what alters rows."""
        nets = super().make_networks(run)
        sizes = (run.width, *widths(run.settings["critic_hidden"]), 1)
        for name in ("interpolation_critic", "discriminator"):
            nets[name] = MLP(sizes, activation="leaky_relu_0.2", seed=seeds.child(run.seed, name))
        return {**nets, "augment": self.alter(run)}

    def alter(self, run: Run) -> Altered:
        """Return what alters rows."""
        settings, wanted = run.settings, run.settings["augmentation"]
        if wanted not in (True, False, "auto"):
            raise UsageError(f"augmentation={wanted!r} is not allowed; give True, False or 'auto'.")
        if not (run.image_shape is not None if wanted == "auto" else wanted):
            return Altered()
        shape = None if run.image_shape is None else Shape(run.image_shape)
        tables = {theirs: settings[ours] for ours, theirs in TABLES.items()}
        augment = make_augmentation(run.image_shape, {**settings, **tables})
        if isinstance(augment, Images) and augment.shape != channels_of(shape):
            raise UsageError(
                "side= is not allowed for ADEC, whose rows are as long when they are altered; leave it at 1."
            )
        return Altered(augment, shape)

    def pretrain(self, nets: dict[str, nn.Module], run: Run) -> list[dict[str, Any]]:
        """Fit the autoencoder, to altered rows and with mixed codes if that is asked for; return the epochs' records."""
        names = ("augmentation", *IMAGES, *TABLES)
        own = {name: run.settings[name] for name in names}
        altered = run.settings["pretrain_augmentation"]
        if altered not in (True, False):
            raise UsageError(f"pretrain_augmentation={altered!r} is not allowed; give True or False.")
        if not altered:
            nets, own = {**nets, "augment": Altered()}, {"augmentation": False}
        method = Interpolate(nets, run.settings["interpolation"], {**own, "image_shape": run.image_shape})
        config = run.config("pretrain_", seed=seeds.child(run.seed, "pretraining"))
        folder = run.folder("pretrain")
        return pretrain(method, run.rows, config, cache=run.cache, out=folder, progress=run.progress)

    def players(self, settings: Mapping[str, Any]) -> Mapping[str, Player]:
        """Return discriminator, encoder and decoder."""
        weight = settings["adversarial"]
        return {
            "discriminator": Player(("discriminator",), [Real(), Decoded()]),
            "encoder": Player(("encoder", "head"), [KlTarget(), Fooling(weight)]),
            "decoder": Player(("decoder",), [Reconstruction(), Fooling(weight)]),
        }

    def drift_terms(self, settings: Mapping[str, Any]) -> tuple[Sequence[Term], Sequence[Term]]:
        """Return KL(P || Q), and the reconstruction that the encoder is spared."""
        return [KlTarget()], [Reconstruction()]

    def remember(self, q: Tensor, settings: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return P."""
        return {"target": target_distribution(q)}

    def _say(self, best: Outcome) -> None:
        super()._say(best)
        if not (self.settings_["pretrain_augmentation"] or self.settings_["interpolation"]):
            self.notes_.append(
                "pre-trained as a plain autoencoder; the paper's mixed codes and altered rows are in preset='paper'"
            )
        augment = best.nets["augment"].augment
        if augment is not None:
            self.notes_.append(augment.said())  # type: ignore[operator]


def channels_of(shape: Shape | None) -> tuple[int, int, int] | None:
    """Return (channels, height, width), or None for tables."""
    return None if shape is None else shape.first
