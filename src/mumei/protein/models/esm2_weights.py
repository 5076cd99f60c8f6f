"""ESM-2 weights from where they are kept: a Hugging Face folder or hub name, or the authors' `.pt` files.

The authors' files hold the sizes in a namespace beside the weights; they are read by torch's loader of plain tensors, which
builds no other object. Their contact regression is a second file, `<name>-contact-regression.pt`, which is read where it is.
Nothing is fetched unless `allow_download` says so.
"""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mumei.core.errors import DataError, MissingExtraError, UsageError
from mumei.core.files import read_json
from mumei.protein.models.esm2_network import VOCABULARY, Esm2Shape

LAYER = re.compile(r"layers\.(\d+)\.(.+)")
OURS = {  # of a layer: Hugging Face's name, the authors' name, ours
    "attention.LayerNorm": "attention_norm", "attention.self.query": "query", "attention.self.key": "key",
    "attention.self.value": "value", "attention.output.dense": "out", "LayerNorm": "ffn_norm", "intermediate.dense": "up",
    "output.dense": "down", "self_attn_layer_norm": "attention_norm", "self_attn.q_proj": "query", "self_attn.k_proj": "key",
    "self_attn.v_proj": "value", "self_attn.out_proj": "out", "final_layer_norm": "ffn_norm", "fc1": "up", "fc2": "down",
}  # fmt: skip
OUTSIDE = {
    "embeddings.word_embeddings.weight": "embedding.weight", "embed_tokens.weight": "embedding.weight",
    "emb_layer_norm_after.weight": "norm.weight", "emb_layer_norm_after.bias": "norm.bias",
    "lm_head.dense.weight": "head_dense.weight", "lm_head.dense.bias": "head_dense.bias",
    "lm_head.layer_norm.weight": "head_norm.weight", "lm_head.layer_norm.bias": "head_norm.bias",
    "lm_head.bias": "head_bias", "contact_head.regression.weight": "contact.weight",
    "contact_head.regression.bias": "contact.bias",
}  # fmt: skip
OLD_ENDINGS = {".gamma": ".weight", ".beta": ".bias"}  # of layer norms; transformers still writes them
UNUSED = re.compile(r"(rotary|rot_emb|inv_freq|position_ids|position_embeddings|pooler|lm_head\.(weight|decoder))")
PREFIX = re.compile(r"^(esm\.encoder\.|esm\.|encoder\.sentence_encoder\.|encoder\.)")


def load_weights(source: Path | str, *, allow_download: bool = False) -> tuple[Esm2Shape, dict[str, Tensor]]:
    """Return the sizes and the weights under our names, the contact regression's ("contact.weight") among them if there.

    Parameters
    ----------
    source : path or str
        A `.pt` file of the authors, a Hugging Face folder, or a hub name.
    allow_download : bool
        Let a hub name that is not in the hub's cache be fetched.

    Raises
    ------
    UsageError
        Not on this machine, and it may not be fetched.
    DataError
        Not an ESM-2 model, or incomplete.
    """
    path = Path(source)
    if path.suffix == ".pt":
        return _authors(path)
    return _folder(path if path.is_dir() else _hub(str(source), allow_download))


def _hub(name: str, allow_download: bool) -> Path:
    if Path(name).exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise UsageError(
            f"{name!r} is no ESM-2 model: give a folder, a .pt file, or a hub name such as facebook/esm2_t6_8M_UR50D."
        )
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise MissingExtraError("loading a model by its hub name", "huggingface_hub", "protein") from error
    import httpx

    try:
        patterns = ["config.json", "*.safetensors", "*.safetensors.index.json"]
        return Path(snapshot_download(name, allow_patterns=patterns, local_files_only=not allow_download))
    except (LocalEntryNotFoundError, HfHubHTTPError, httpx.HTTPError, OSError) as error:
        how = (
            "the hub could not be reached"
            if allow_download
            else "downloads are not allowed (allow_download=True lets it)"
        )
        raise UsageError(f"the model {name!r} is not in the hub's cache on this machine, and {how}.") from error


def _folder(folder: Path) -> tuple[Esm2Shape, dict[str, Tensor]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    files = sorted(folder.glob("*.safetensors"))
    try:
        config = read_json(folder / "config.json")
        tensors = {name: tensor for file in files for name, tensor in load_file(file).items()}
    except (OSError, ValueError, SafetensorError) as error:
        raise DataError(f"{folder} cannot be read as a model ({error}); get it again.") from error
    if not tensors:
        raise DataError(f"{folder} has no *.safetensors; convert its weights to safetensors first.")
    if config.get("model_type") != "esm" or config.get("position_embedding_type") != "rotary":
        raise DataError(
            f"{folder} is a {config.get('model_type')!r} model with {config.get('position_embedding_type')!r} positions, not an "
            "ESM-2; load it by 'hf:'."
        )
    if config.get("emb_layer_norm_before") or config.get("vocab_size") != len(VOCABULARY):
        raise DataError(f"{folder} is of another ESM generation (its embeddings differ); load it by 'hf:'.")
    shape = Esm2Shape(
        int(config["num_hidden_layers"]), int(config["hidden_size"]), int(config["num_attention_heads"]),
        int(config["intermediate_size"]), float(config.get("layer_norm_eps", 1e-5)), bool(config.get("token_dropout")),
    )  # fmt: skip
    return shape, _renamed(tensors, folder)


def _authors(path: Path) -> tuple[Esm2Shape, dict[str, Tensor]]:
    content = read_torch(path)
    tensors = dict(_weights_of(content, path))
    beside = path.with_name(path.stem + "-contact-regression.pt")
    if beside.is_file():
        tensors.update(_weights_of(read_torch(beside), beside))
    weights = _renamed(tensors, path)
    if "embedding.weight" not in weights or weights["embedding.weight"].shape[0] != len(VOCABULARY):
        raise DataError(
            f"{path} is no ESM-2 model of the authors: its embedding is not one of {len(VOCABULARY)} tokens."
        )
    model = content.get("cfg", {}).get("model", {})
    sizes = vars(model) if isinstance(model, Namespace) else model
    layers = 1 + max((int(m[1]) for name in weights if (m := LAYER.match(name))), default=-1)
    if not layers or "layers.0.up.weight" not in weights:
        raise DataError(f"{path} has no layers of an ESM-2 network; it is no model file of the authors.")
    dim = weights["embedding.weight"].shape[1]
    heads = sizes.get("encoder_attention_heads")
    if heads is None:  # the rotary frequencies are as many as half a head is wide
        rotary = next((t for name, t in tensors.items() if name.endswith("rot_emb.inv_freq")), None)
        if rotary is None:
            raise DataError(f"{path} does not say how many heads the network has; it is no file of the authors.")
        heads = dim // (2 * len(rotary))
    shape = Esm2Shape(
        layers, dim, int(heads), weights["layers.0.up.weight"].shape[0], 1e-5, bool(sizes.get("token_dropout", True))
    )
    return shape, weights


def read_torch(path: Path) -> dict[str, Any]:
    """Return a torch file's dict of plain values and tensors; what would build any other object is refused."""
    try:
        with torch.serialization.safe_globals([Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has no class of its own for a refused or damaged file
        if isinstance(error, FileNotFoundError):
            raise DataError(f"{path} is not there; give the path of a .pt file.") from error
        first = str(error).splitlines()[0][:160]
        raise DataError(
            f"{path} cannot be read as plain tensors ({first}). Get it again, or use the safetensors form of the model."
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}, not a dict of weights.")
    return content


def _weights_of(content: dict[str, Any], path: Path) -> dict[str, Tensor]:
    found = content.get("model", content)
    if not isinstance(found, dict) or not all(isinstance(t, Tensor) for t in found.values()):
        raise DataError(f"{path} has no dict of weights under 'model'; it is no model file of the authors.")
    return found


def _renamed(tensors: dict[str, Tensor], source: Path) -> dict[str, Tensor]:
    """Return the weights under our names; what no ESM-2 has is refused."""
    out, strange = {}, []
    for name, tensor in tensors.items():
        plain = PREFIX.sub("", name)
        plain = plain if "layers." in plain else plain.replace("layer.", "layers.", 1)
        for old, new in OLD_ENDINGS.items():
            plain = plain.removesuffix(old) + new if plain.endswith(old) else plain
        match = LAYER.fullmatch(plain)
        part, _, kind = (match[2] if match else "").rpartition(".")
        if plain in OUTSIDE:
            out[OUTSIDE[plain]] = tensor.float()
        elif match and part in OURS:
            out[f"layers.{match[1]}.{OURS[part]}.{kind}"] = tensor.float()
        elif not UNUSED.search(name):
            strange.append(name)
    if strange:
        raise DataError(f"{source} has weights that an ESM-2 has not: {', '.join(strange[:3])}. Is it another model?")
    return out
