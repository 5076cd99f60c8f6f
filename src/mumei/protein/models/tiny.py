"""A small ESM-2 trained from scratch on the user's own sequences, in minutes on a CPU.

The network, the masking (15% of the positions: of those 80% masked, 10% replaced, 10% kept) and token dropout are ESM-2's; its
size is not: with a few million residues it learns composition, neighbours and what a set of families shares. Do not expect
contacts: the 8M ESM-2 finds 16% of them after some 10^12 tokens. Departures: sequences longer than `crop` are cut into pieces of
that length at fixed places, all of them used in each epoch; the learning rate falls by a cosine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from mumei.core import seeds
from mumei.core.artifact import Saveable, State
from mumei.core.config import TrainConfig
from mumei.core.errors import DataError, UsageError
from mumei.core.method import At, Loss, Objective
from mumei.core.progress import SILENT, Progress
from mumei.core.train import fit
from mumei.protein.alphabet import AMINO_ACIDS, encode
from mumei.protein.models.esm2 import Esm2Model, network_of
from mumei.protein.models.esm2_network import CLS, EOS, MASK, PAD, VOCABULARY, Esm2, Esm2Shape
from mumei.protein.sequence import read_sequences

CHOSEN, MASKED, RANDOM = 0.15, 0.8, 0.1
SHORTEST = 10
IDS = torch.tensor([VOCABULARY.index(letter) for letter in AMINO_ACIDS + "X"])
CLAIMS = (
    "A small language model trained from scratch on {n} of the user's own sequences. Its scores hold for proteins like those; it "
    "has seen far too little to know folds, and claims no structure, no stability and no function."
)


class Tiny(Esm2Model, Saveable):
    """An ESM-2-shaped model of the user's sequences; make one by `Tiny.fit`."""

    def __init__(self, network: Esm2, name: str, about: dict[str, Any] | None = None, *, device: str = "cpu"):
        self.about = dict(about or {})
        claims = CLAIMS.format(n=self.about.get("sequences", "some"))
        super().__init__(network, name, claims=claims, device=device)

    @classmethod
    def example(cls) -> Self:
        """Return one trained for a step, for the conformance checks."""
        return cls.fit(
            ["MKTAYIAKQRQISFVKSHFSRQ", "MNIFEMLRIDEGLRLKIYKD"] * 4, layers=2, dim=16, heads=2, epochs=1, crop=16
        )

    @classmethod
    def fit(
        cls,
        sequences: Path | str | Iterable[str],
        *,
        layers: int = 6,
        dim: int = 160,
        heads: int = 10,
        crop: int = 128,
        epochs: int = 5,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        held_out: float = 0.05,
        precision: str = "float32",
        seed: int = 0,
        device: str = "cpu",
        name: str = "",
        out: Path | str | None = None,
        progress: Progress = SILENT,
    ) -> Self:
        """Train a model.

        Parameters
        ----------
        sequences : path of a FASTA file, or sequences
            Those of fewer than 10 residues are left out.
        layers, dim, heads : int
            Of the network; the feed-forward part is four times as wide.
        crop : int
            Residues of a training row.
        held_out : float
            Part of the sequences that only measures: `about["held_out_perplexity"]` is that of masked residues there.
        precision : {"float32", "bf16"}
        out : path, optional
            A folder for checkpoints: the same call goes on from there.

        Raises
        ------
        DataError
            Fewer than two sequences of 10 residues.
        """
        if not 0 <= held_out < 1 or crop < SHORTEST:
            raise UsageError(
                f"held_out={held_out} and crop={crop}: give a part from 0 to below 1, and {SHORTEST} residues or more."
            )
        stem = Path(sequences).name.split(".")[0] if isinstance(sequences, (str, Path)) else "sequences"
        texts = (
            [r.sequence for r in read_sequences(sequences)] if isinstance(sequences, (str, Path)) else list(sequences)
        )
        texts = [text for text in texts if len(text) >= SHORTEST]
        if len(texts) < 2:
            raise DataError(
                f"{stem} has {len(texts)} sequences of at least {SHORTEST} residues; a model needs two, better thousands."
            )
        order = seeds.numpy_generator(seed, "held out").permutation(len(texts))
        aside = min(len(texts) - 1, round(held_out * len(texts)))
        train, test = (pieces([texts[i] for i in part], crop) for part in (order[aside:], order[:aside]))
        shape = Esm2Shape(layers, dim, heads, 4 * dim)
        network = start(shape, seed)
        config = TrainConfig(
            epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, optimizer="adamw", weight_decay=0.01,
            schedule="cosine", final_rate=0.1, warmup_steps=min(200, max(1, len(train) // batch_size)), clip=1.0,
            precision=precision, seed=seed,
        )  # fmt: skip
        history = fit(
            Objective(network, masked_loss), train, config, out=out, progress=progress, label="language model"
        )
        about = {
            "sequences": len(texts) - aside, "held_out": aside, "rows": len(train), "steps": history.steps, "seed": seed,
            "loss": history.epochs[-1]["loss"], "held_out_perplexity": _perplexity(network, test, batch_size, seed),
        }  # fmt: skip
        return cls(network, f"tiny:{name or stem}", about, device=device)

    def state(self) -> State:
        """Return what it is made of."""
        tensors = {key: tensor.float().cpu() for key, tensor in self.network.state_dict().items()}
        parameters = {"shape": asdict(self.network.shape), "name": self.name, "about": self.about}
        return State(parameters=parameters, tensors=tensors, notes=self.claims)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Make it again."""
        network = network_of(Esm2Shape(**state.parameters["shape"]), dict(state.tensors), state.parameters["name"])
        return cls(network, state.parameters["name"], state.parameters["about"])


def pieces(texts: list[str], crop: int) -> Tensor:
    """Return training rows of the network's tokens, (n, crop + 2) int64: starts and ends only where a sequence has them."""
    rows = []
    for text in texts:
        tokens = torch.cat(
            [torch.tensor([CLS]), IDS[torch.from_numpy(encode(text, unknown="keep"))], torch.tensor([EOS])]
        )
        rows += [part for part in tokens.split(crop + 2) if len(part) >= SHORTEST or len(tokens) <= crop + 2]
    if not rows:
        return torch.zeros(0, crop + 2, dtype=torch.int64)
    return torch.nn.utils.rnn.pad_sequence([*rows, torch.full((crop + 2,), PAD)], batch_first=True, padding_value=PAD)[
        :-1
    ]


def start(shape: Esm2Shape, seed: int) -> Esm2:
    """Return a network with fresh weights: normal, 0.4 / sqrt(width), those that add to the stream smaller by depth."""
    with torch.device("meta"):
        network = Esm2(shape)
    network.to_empty(device="cpu")
    draw = seeds.torch_generator(seed, "tiny weights")
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 1:
                parameter.fill_(1.0 if name.endswith("norm.weight") else 0.0)
            else:
                added = ".out." in name or ".down." in name
                parameter.normal_(0.0, 0.4 / (shape.dim * (2 * shape.layers if added else 1)) ** 0.5, generator=draw)
    return network


def masked_loss(batch: tuple[Tensor, ...], at: At) -> Loss:
    """Return the cross-entropy of the chosen positions, by ESM-2's masking."""
    tokens = _trimmed(batch[0])
    given, chosen = corrupted(tokens, at.rng)
    logits = at.nets["net"](given)
    return Loss(F.cross_entropy(logits[chosen].float(), tokens[chosen]) if bool(chosen.any()) else logits.sum() * 0.0)


def corrupted(tokens: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return tokens with some masked or replaced, and which were chosen: residues only, never a special token."""
    residue = (tokens >= int(IDS[:20].min())) & (tokens <= int(IDS[:20].max()))
    chosen = residue & (torch.rand(tokens.shape, generator=rng, device=tokens.device) < CHOSEN)
    lot = torch.rand(tokens.shape, generator=rng, device=tokens.device)
    other = IDS.to(tokens.device)[torch.randint(0, 20, tokens.shape, generator=rng, device=tokens.device)]
    given = torch.where(chosen & (lot < MASKED), MASK, tokens)
    return torch.where(chosen & (lot >= MASKED) & (lot < MASKED + RANDOM), other, given), chosen


def _trimmed(tokens: Tensor) -> Tensor:
    return tokens[:, : int((tokens != PAD).sum(1).max())]


def _perplexity(network: Esm2, rows: Tensor, batch_size: int, seed: int) -> float | None:
    """Return the perplexity of masked residues of held-out rows; None where there are none."""
    rng, lost, count = seeds.torch_generator(seed, "held-out masks"), 0.0, 0
    with torch.inference_mode():
        for part in rows.split(batch_size) if len(rows) else ():
            tokens = _trimmed(part)
            given, chosen = corrupted(tokens, rng)
            chosen &= given == MASK
            lost += float(F.cross_entropy(network(given)[chosen].float(), tokens[chosen], reduction="sum"))
            count += int(chosen.sum())
    return round(float(torch.tensor(lost / count).exp()), 3) if count else None
