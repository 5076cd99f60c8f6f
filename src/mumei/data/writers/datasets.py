"""A folder that `datasets` loads by its path, with a card: `README.md` with YAML front matter, and Parquet below `data/`.

Two configurations with BigBIO's names: the harmonised schema, which is the default, and `source`, the lossless superset. The
front matter has languages, licence, tasks, and of each configuration its files, features, rows and bytes. Strings are written as
JSON, which YAML contains.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mumei.core.files import new_file
from mumei.data.counts import ALL, counts
from mumei.data.languages import NAMES
from mumei.data.licences import licence
from mumei.data.schemas import SOURCE
from mumei.data.writers.tables import write_table

if TYPE_CHECKING:
    from mumei.data.corpus import Corpus

CATEGORIES = {  # task -> the hub's category
    **dict.fromkeys(("NER", "NED", "EE", "COREF"), "token-classification"),
    **dict.fromkeys(("RE", "TE", "TXTCLASS", "TXT2CLASS"), "text-classification"),
    "QA": "question-answering",
    "STS": "sentence-similarity",
    "PARA": "text-generation",
    "TRANSL": "translation",
    "SUM": "summarization",
}
HUB_LICENCES = (
    "cc0-1.0",
    "mit",
    "isc",
    "unlicense",
    "apache-2.0",
    "bsd-2-clause",
    "bsd-3-clause",
    "odbl",
    "gfdl",
    "unknown",
)
_RENAMED = {"gpl-3.0-only": "gpl-3.0", "gpl-3.0-or-later": "gpl-3.0", "gpl-2.0-only": "gpl-2.0", "odbl-1.0": "odbl"}


def write_datasets(corpus: Corpus, folder: Path, notes: Counter[str]) -> None:
    """Write the tables of both schemas and the card."""
    configurations = []
    for schema in (corpus.kind, SOURCE):
        tail = SOURCE if schema == SOURCE else f"bigbio_{schema}"
        place = folder / "data" / tail
        place.mkdir(parents=True)
        rows = []
        for split in corpus.splits:
            table = corpus.source(split) if schema == SOURCE else corpus.to_bigbio().table(split)
            write_table(table, place / f"{split}.parquet")
            rows.append({"name": split, "num_bytes": table.nbytes, "num_examples": table.num_rows})
        size = sum((place / f"{split}.parquet").stat().st_size for split in corpus.splits)
        table = corpus.source(corpus.splits[0]) if schema == SOURCE else corpus.to_bigbio().table(corpus.splits[0])
        configurations.append(
            {"name": f"{corpus.name}_{tail}", "tail": tail, "rows": rows, "size": size, "schema": table.schema}
        )
    with new_file(folder / "README.md") as out:
        out.write(card(corpus, configurations).encode())


def card(corpus: Corpus, configurations: list[dict[str, Any]]) -> str:
    """Return the card: front matter, then what a reader has to know."""
    return f"---\n{_yaml(_matter(corpus, configurations))}---\n\n{_text(corpus)}"


def _matter(corpus: Corpus, configurations: list[dict[str, Any]]) -> dict[str, Any]:
    recipe = corpus.recipe
    front: dict[str, Any] = {"pretty_name": recipe.title if recipe else corpus.name}
    if recipe:
        front["language"] = list(recipe.subset(corpus.subset).languages)
        front |= _licence(recipe.licence, recipe.homepage)
        front["task_categories"] = sorted({CATEGORIES[task] for task in recipe.tasks})
    front["tags"] = ["biology", "medical", "bigbio"]
    front["configs"] = [
        {
            "config_name": c["name"],
            **({"default": True} if c["tail"] != SOURCE else {}),
            "data_files": [
                {"split": row["name"], "path": f"data/{c['tail']}/{row['name']}.parquet"} for row in c["rows"]
            ],
        }
        for c in configurations
    ]
    front["dataset_info"] = [
        {
            "config_name": c["name"],
            "features": features(c["schema"]),
            "splits": c["rows"],
            "download_size": c["size"],
            "dataset_size": sum(row["num_bytes"] for row in c["rows"]),
        }
        for c in configurations
    ]
    return front


def _licence(name: str, homepage: str) -> dict[str, str]:
    """Return the hub's fields for a licence: its own name of it, or "other" with the name beside it."""
    known = licence(name).name.lower()
    known = _RENAMED.get(known, known)
    if known in HUB_LICENCES or known.startswith(("cc-by", "gpl-")):
        return {"license": known}
    return {"license": "other", "license_name": known.replace(" ", "-"), "license_link": homepage}


def features(schema: pa.Schema) -> list[dict[str, Any]]:
    """Return an Arrow schema as the features of a card.

    Examples
    --------
    >>> features(pa.schema([("id", pa.string()), ("offsets", pa.list_(pa.list_(pa.int32())))]))
    [{'name': 'id', 'dtype': 'string'}, {'name': 'offsets', 'list': {'list': 'int32'}}]
    """
    return [{"name": field.name, **_feature(field.type)} for field in schema]


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind):
        inner = kind.value_type
        if pa.types.is_struct(inner):
            return {"list": [{"name": f.name, **_feature(f.type)} for f in inner]}
        return {"list": _feature(inner) if pa.types.is_list(inner) else str(inner)}
    if pa.types.is_struct(kind):
        return {"struct": [{"name": f.name, **_feature(f.type)} for f in kind]}
    return {"dtype": str(kind)}


def _yaml(value: Any, depth: int = 0) -> str:
    """Return mappings, lists and scalars as block YAML."""
    pad, lines = "  " * depth, []
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, (dict, list)) and inner:
                lines.append(f"{pad}{key}:\n{_yaml(inner, depth + 1)}")
            else:
                lines.append(f"{pad}{key}: {json.dumps(inner, ensure_ascii=False)}\n")
    else:
        for inner in value:
            if isinstance(inner, dict):
                block = _yaml(inner, depth + 1)
                lines.append(f"{pad}- {block[len(pad) + 2 :]}")
            else:
                lines.append(f"{pad}- {json.dumps(inner, ensure_ascii=False)}\n")
    return "".join(lines)


def _text(corpus: Corpus) -> str:
    recipe, found = corpus.recipe, counts(corpus)
    keys = [key for key, n in found[ALL].items() if "." not in key and n]
    lines = [f"# {recipe.title if recipe else corpus.name}", ""]
    if recipe:
        spoken = ", ".join(NAMES.get(code, code) for code in recipe.languages)
        lines += [recipe.description, "", f"Homepage: {recipe.homepage}", "", f"Licence: {recipe.licence}"]
        lines += [f"({licence(recipe.licence).caution})"] if licence(recipe.licence).caution else []
        lines += ["", f"Languages: {spoken}. Tasks: {', '.join(recipe.tasks)}.", ""]
        lines += [recipe.note, ""] if recipe.note else []
    lines += [f"| split | {' | '.join(key.replace('_', ' ') for key in keys)} |", "|---" + "|---:" * len(keys) + "|"]
    lines += [f"| {split} | {' | '.join(f'{own[key]:,}' for key in keys)} |" for split, own in found.items()]
    lines += [
        "",
        "Offsets count characters (code points) of the passages' texts joined by one blank; an end is exclusive.",
    ]
    lines += ["", "```bibtex", recipe.citation.strip(), "```"] if recipe and recipe.citation.strip() else []
    return "\n".join(lines) + "\n"
