"""From a collection's manifest to the encoder that made it, and back."""

from __future__ import annotations

from typing import Any

SENTENCE_TRANSFORMERS = "sentence-transformers/"


def how_to_make(encoder: Any) -> str | None:
    """Return the name by which `text_encoder` makes this encoder again, or None for one that it does not make."""
    from mumei.retrieval import encoders

    if isinstance(encoder, encoders.MiniLMEncoder):
        return encoders.EMBEDDED if encoder.folder == encoders.embedded_model() else None
    if isinstance(encoder, encoders.SentenceTransformerEncoder):
        return encoder.name.removeprefix(SENTENCE_TRANSFORMERS)
    return None


def make_encoder(how: str | None, name: str | None = None) -> Any:
    """Return the encoder that `how` names; for the embedded model, in the number type and cut that `name` tells.

    The embedded model chooses its number type by the machine, and a collection may have been made on another one.
    """
    from mumei.retrieval import encoders

    encoder = encoders.text_encoder(how)
    if name is None or name == encoder.name or not isinstance(encoder, encoders.MiniLMEncoder):
        return encoder
    model, _, rest = name.partition("/")
    dtype, _, cut = rest.partition("/")
    if model == encoder.name.partition("/")[0] and dtype in ("bfloat16", "float32") and cut.isdigit():
        return encoders.MiniLMEncoder(dtype=dtype, max_tokens=int(cut))
    return encoder
