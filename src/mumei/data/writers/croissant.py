"""Croissant: Parquet files, and `croissant.json`, JSON-LD that says what is in them, for catalogues and `mlcroissant`.

The format is Croissant 1.1 of MLCommons (conformsTo http://mlcommons.org/croissant/1.1): a FileObject with sha256 for each
split, a record set for each split with a field for each column, nested columns by sub-fields, lists by isArray. Licences are
addresses where SPDX has one of them, else names. The corpus's own statements are used and nothing is made up: a corpus of one's
own has neither description nor licence, and the validator then warns of what is missing.

Departure: lists of objects within lists of objects (the links of mentions, the arguments of events) are no sub-fields, and named
in the description of the field around them: a JSON path of Croissant gives one value and no list, and `mlcroissant` stops at such
sub-fields. Everything else is read by it as it is in the Parquet files.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mumei import __version__
from mumei.core.files import new_file, sha256_file
from mumei.data.licences import licence
from mumei.data.writers.tables import write_parquet

if TYPE_CHECKING:
    from mumei.data.corpus import Corpus

CONFORMS = "http://mlcommons.org/croissant/1.1"
NAME = "croissant.json"
_TERMS = (  # Croissant's own words, all of which its context has to have
    "arrayShape citeAs column containedIn equivalentProperty extract field fileProperty fileObject fileSet format includes "
    "isArray isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate "
    "separator source subField transform"
).split()
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _TERMS},
}
_TYPES = {"string": "sc:Text", "int32": "cr:Int32", "double": "cr:Float64", "bool": "sc:Boolean"}


def write_croissant(corpus: Corpus, folder: Path, notes: Counter[str]) -> None:
    """Write `<split>.parquet` of the corpus's schema, and `croissant.json` beside them."""
    write_parquet(corpus, folder, notes)
    described = json.dumps(describe(corpus, folder), ensure_ascii=False, indent=2)
    with new_file(folder / NAME) as out:
        out.write(described.encode() + b"\n")


def describe(corpus: Corpus, folder: Path) -> dict[str, Any]:
    """Return the JSON-LD of a corpus whose `<split>.parquet` lie in a folder."""
    recipe = corpus.recipe
    found: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS,
        "name": corpus.name,
    }
    if recipe is not None:
        languages = list(recipe.subset(corpus.subset).languages)
        found |= {
            "alternateName": recipe.title,
            "description": recipe.description,
            "url": recipe.homepage,
            "license": address(recipe.licence),
            "citeAs": recipe.citation.strip(),
            "inLanguage": languages[0] if len(languages) == 1 else languages,
            "keywords": ["biomedical", *recipe.tasks],
        }
    kind = "the lossless superset of " if corpus.schema != corpus.kind else ""
    found |= {
        "creditText": f"Tables under {kind}BigBIO's schema {corpus.kind}, made by mumei {__version__}.",
        "distribution": [_file(folder / f"{split}.parquet") for split in corpus.splits],
        "recordSet": [_records(corpus, split) for split in corpus.splits],
    }
    return {key: value for key, value in found.items() if value not in ("", [])}


def address(name: str) -> str:
    """Return a licence's page at SPDX, or its name where SPDX does not have it.

    Examples
    --------
    >>> address("CC BY 4.0"), address("GENIA")
    ('https://spdx.org/licenses/CC-BY-4.0.html', 'GENIA')
    """
    known = licence(name)
    return f"https://spdx.org/licenses/{known.name}.html" if known.spdx and known.known else known.name


def _file(path: Path) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": sha256_file(path),
    }


def _records(corpus: Corpus, split: str) -> dict[str, Any]:
    table = corpus.table(split)
    return {
        "@type": "cr:RecordSet",
        "@id": split,
        "name": split,
        "description": f"{table.num_rows:,} records of the split {split}.",
        "key": {"@id": f"{split}/id"},
        "field": [
            _field(f"{split}/{column.name}", column.type, f"{split}.parquet", column.name, "")
            for column in table.schema
        ],
    }


def _field(name: str, kind: pa.DataType, file: str, column: str, path: str) -> dict[str, Any]:
    """Return a column, or at a JSON path a part of it, as a field; lists within lists count in one array's shape."""
    depth = 0
    while pa.types.is_list(kind):
        kind, depth = kind.value_type, depth + 1
    found: dict[str, Any] = {"@type": "cr:Field", "@id": name, "name": name}
    if depth:
        found |= {"isArray": True, "arrayShape": ",".join(["-1"] * depth)}
    if pa.types.is_struct(kind):
        parts = {inner.name: inner.type for inner in kind}
        beyond = [part for part in parts if depth and _is_objects(parts[part])]
        if beyond:
            found["description"] = f"In the Parquet file also, as lists of objects: {', '.join(beyond)}."
        found["subField"] = [
            _field(f"{name}/{part}", inner, file, column, f"{path}.{part}" if path else part)
            for part, inner in parts.items()
            if part not in beyond
        ]
        return found
    source: dict[str, Any] = {"fileObject": {"@id": file}, "extract": {"column": column}}
    if path:
        source["transform"] = {"jsonPath": path}
    return found | {"dataType": _TYPES[str(kind)], "source": source}


def _is_objects(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) and pa.types.is_struct(kind.value_type)
