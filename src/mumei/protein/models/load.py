"""A sequence model by its name: `esm2:facebook/esm2_t6_8M_UR50D`, `hf:FOLDER`, `ngram`, or the folder of a saved one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mumei.core import artifact
from mumei.core.errors import UsageError, unknown
from mumei.protein.models.base import SequenceModel

BACKENDS = ("esm2", "hf", "ngram", "potts", "tiny")


def load_model(
    name: Path | str, *, device: str = "cpu", dtype: str = "float32", allow_download: bool = False
) -> SequenceModel:
    """Return the sequence model of a name.

    Parameters
    ----------
    name : path or str
        `esm2:` and a hub name, a folder or a `.pt` file of the authors; `hf:` and a hub name or folder; `ngram` (what comes with
        mumei), or `ngram:` and a FASTA file or a folder of tables; the folder of a saved Potts, tiny or n-gram model, which may
        have `potts:`, `tiny:` or `ngram:` before it.
    device, dtype : str
        Where it runs, and for ESM-2 "float32" or "bfloat16".
    allow_download : bool
        Let a hub name be fetched; without it nothing goes over the network.

    Raises
    ------
    UsageError
        No such model, or one that is no sequence model.
    """
    text = str(name)
    kind, colon, rest = text.partition(":")
    if Path(text).exists():
        return _saved(Path(text), device)
    if text == "ngram" or (kind == "ngram" and rest == "natural"):
        from mumei.protein.models.ngram import Ngram

        return Ngram.natural(device=device)
    if not colon or kind not in BACKENDS or not rest:
        raise UsageError(f"{unknown('sequence model', text, BACKENDS)} Or give the folder of a saved model.")
    if kind == "esm2":
        from mumei.protein.models.esm2 import Esm2Model

        return Esm2Model.load(rest, device=device, dtype=dtype, allow_download=allow_download)
    if kind == "hf":
        from mumei.protein.models.hf import MaskedLM

        return MaskedLM(rest, device=device, allow_download=allow_download)
    if kind == "ngram" and not (Path(rest) / "artifact.json").is_file():
        from mumei.protein.models.ngram import Ngram

        return _on(Ngram.from_tables(rest) if Path(rest).is_dir() else Ngram.fit(rest), device)
    return _saved(Path(rest), device)


def _saved(path: Path, device: str) -> Any:
    found = artifact.load(path)
    if not isinstance(found, SequenceModel):
        raise UsageError(
            f"{path} holds a {type(found).__name__}, which is no sequence model; give a Potts, tiny or n-gram model."
        )
    return _on(found, device)


def _on(model: Any, device: str) -> Any:
    """Return a saved model on a device; it is read on the CPU."""
    from mumei.core.runtime import pick_device
    from mumei.protein.models.ngram import Ngram
    from mumei.protein.models.potts import Potts
    from mumei.protein.models.tiny import Tiny

    chosen = pick_device(device)
    if chosen == model.device:
        return model
    if isinstance(model, Potts):
        return Potts(model.h.to(chosen), model.J.to(chosen), model.columns, model.name, model.about)
    if isinstance(model, Tiny):
        return Tiny(model.network, model.name, model.about, device=str(chosen))
    if isinstance(model, Ngram):
        return Ngram(model.frequencies, model.name, model.about, device=str(chosen))
    raise UsageError(f"{model.name} cannot be moved to {chosen}; leave --device out.")
