"""PPI XML: the format to which the five corpora of protein interactions (AIMed, BioInfer, HPRD50, IEPA, LLL) were unified.

Pyysalo and others 2008, Comparative analysis of five protein-protein interaction corpora (doi 10.1186/1471-2105-9-S3-S6).
Ends of spans are exclusive in the "learning format" (`<interaction e1 e2 type/>`) and inclusive in others of the same names
(`inclusive`); those list `<pair interaction="True"/>`, of which the true ones are relations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mumei.data.documents import Document
from mumei.data.readers.base import Problems, SourceFile
from mumei.data.readers.sentences_xml import read_sentences
from mumei.data.schemas import NULL, Normalized


def read_ppi(
    files: Sequence[SourceFile],
    problems: Problems,
    *,
    encoding: str = "",
    inclusive: bool = False,
    passage_type: str = "text",
    concept_type: str = "",
    database: str = NULL,
) -> Iterator[Document]:
    """Yield the documents of PPI XML files.

    Parameters
    ----------
    files : sequence of SourceFile
        Files of one split.
    problems : Problems
        Takes documents that are no XML or lack what the format asks for.
    encoding : str
        Of all files; by default what each declares.
    inclusive : bool
        Whether a span's end is its last character.
    passage_type : str
        Type of the one passage.
    concept_type, database : str
        Where entities' `type` holds ids of concepts, apart by `||`: what their type is then, and the ids' vocabulary.

    Yields
    ------
    Document
        One passage, its sentences' offsets, entities and interactions.
    """
    for made in read_sentences(files, problems, encoding, inclusive, passage_type, _stated):
        for entity in made.entities if concept_type else ():
            entity.normalized = [
                Normalized(database, name) for name in entity.type.split("||") if name not in ("", NULL)
            ]
            entity.type = concept_type
        yield made


def _stated(element: Any) -> str | None:
    if element.tag == "interaction":
        return element.get("type") or "PPI"
    if element.tag != "pair":
        return None
    return (element.get("type") or "PPI") if element.get("interaction", "").lower() == "true" else ""
