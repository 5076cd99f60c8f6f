"""DDI XML: drugs in sentences and the interactions of their pairs.

Herrero-Zazo and others 2013, The DDI corpus (doi 10.1016/j.jbi.2013.07.011). Spans are inclusive (`0-3` is four characters);
those of a discontinuous drug are apart by `;`. A pair with `ddi="true"` is a relation of its `type`; pairs without interaction
are all others of a sentence's drugs, and only how many pairs a document lists is kept (metadata "pairs").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mumei.data.documents import Document
from mumei.data.readers.base import Problems, SourceFile
from mumei.data.readers.sentences_xml import read_sentences
from mumei.data.schemas import NULL


def read_ddi(
    files: Sequence[SourceFile], problems: Problems, *, encoding: str = "", passage_type: str = "text"
) -> Iterator[Document]:
    """Yield the documents of DDI XML files.

    Parameters
    ----------
    files : sequence of SourceFile
        Files of one split.
    problems : Problems
        Takes documents that are no XML or lack what the format asks for.
    encoding : str
        Of all files; by default what each declares.
    passage_type : str
        Type of the one passage.

    Yields
    ------
    Document
        One passage, its sentences' offsets, drugs and interactions.
    """
    yield from read_sentences(files, problems, encoding, True, passage_type, _stated)


def _stated(element: Any) -> str | None:
    if element.tag != "pair":
        return None
    return (element.get("type") or NULL) if element.get("ddi", "").lower() == "true" else ""
