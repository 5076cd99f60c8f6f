"""TAC XML: drug labels with adverse reactions (TAC 2017, SPL-ADR-200db).

Demner-Fushman and others 2018, A dataset of 200 structured product labels annotated for adverse drug reactions (doi
10.1038/sdata.2018.1). A label is sections of text, mentions (`start="3,20" len="4,7"`: offsets within the section, several where
discontinuous), relations, and reactions: strings with MedDRA terms. A section is a passage of its name.

The link from a mention to MedDRA is by string, as the format means it: a reaction's terms belong to every mention of an adverse
reaction whose string, in lower case, is the reaction's. Links are ids of preferred terms; lowest level terms and names are kept
as attributes of the document, one a normalisation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mumei.data.documents import Attribute, Document, Relation
from mumei.data.readers.base import Problems, SourceFile
from mumei.data.readers.xml import attribute, root_of
from mumei.data.schemas import Entity, Normalized, Passage


def read_tac(
    files: Sequence[SourceFile],
    problems: Problems,
    *,
    encoding: str = "",
    reaction_type: str = "AdverseReaction",
) -> Iterator[Document]:
    """Yield the documents of TAC XML files, one a file.

    Parameters
    ----------
    files : sequence of SourceFile
        Files of one split.
    problems : Problems
        Takes files that are no XML or lack what the format asks for.
    encoding : str
        Of all files; by default what each declares.
    reaction_type : str
        Type of the mentions that reactions are about.

    Yields
    ------
    Document
        A passage a section; ids are the drugs'.
    """
    for file in files:
        root = root_of(file, "Label", problems, encoding)
        if root is None:
            continue
        try:
            made = _document(root, reaction_type)
        except ValueError as error:
            problems.bad(str(error), file.name, 1, root.get("drug", ""))
            continue
        made.file, made.line = file.name, 1
        yield made


def _document(root: Any, reaction_type: str) -> Document:
    name = attribute(root, "drug")
    made = Document(name, name, metadata={k: v for k, v in root.attrib.items() if k != "drug" and v})
    sections: dict[str, tuple[int, str]] = {}  # id -> where its text begins, and the text
    start = 0
    for section in root.iterfind("Text/Section"):
        own, text = attribute(section, "id"), "".join(section.itertext())
        made.passages.append(Passage(f"{name}_{own}", attribute(section, "name"), [text], [(start, start + len(text))]))
        sections[own] = start, text
        start += len(text) + 1
    terms = _reactions(root, made)
    ids: set[str] = set()
    for mention in root.iterfind("Mentions/Mention"):
        own = attribute(mention, "id")
        if own in ids:
            raise ValueError(f"the id {own} is given twice")
        ids.add(own)
        links = terms.get(attribute(mention, "str").lower(), []) if mention.get("type") == reaction_type else []
        _mention(mention, made, sections, links)
    for relation in root.iterfind("Relations/Relation"):
        own, first, second = (f"{name}_{attribute(relation, key)}" for key in ("id", "arg1", "arg2"))
        made.relations.append(Relation(own, attribute(relation, "type"), first, second, [], "arg1", "arg2"))
    return made


def _mention(mention: Any, made: Document, sections: dict[str, tuple[int, str]], links: list[Normalized]) -> None:
    own, section, said = attribute(mention, "id"), attribute(mention, "section"), attribute(mention, "str")
    if section not in sections:
        raise ValueError(f"the mention {own} is in the section {section}, which does not exist")
    begin, text = sections[section]
    starts, lengths = attribute(mention, "start").split(","), attribute(mention, "len").split(",")
    try:
        spans = [(int(a), int(a) + int(n)) for a, n in zip(starts, lengths, strict=True)]
    except ValueError:
        raise ValueError(f"the mention {own} has start {','.join(starts)!r} and len {','.join(lengths)!r}") from None
    full = f"{made.id}_{own}"
    texts = [said] if len(spans) == 1 else [text[max(a, 0) : max(b, 0)] for a, b in spans]
    offsets = [(a + begin, b + begin) for a, b in spans]
    made.entities.append(Entity(full, attribute(mention, "type"), texts, offsets, list(links)))
    if len(spans) > 1 and " ".join(texts) != said:
        made.attributes.append(Attribute(full + "_text", "text", said, full))


def _reactions(root: Any, made: Document) -> dict[str, list[Normalized]]:
    """Return {string: MedDRA terms}, and keep all that is said of them."""
    found: dict[str, list[Normalized]] = {}
    for reaction in root.iterfind("Reactions/Reaction"):
        text = attribute(reaction, "str")
        links = found.setdefault(text.lower(), [])
        for one in reaction.iterfind("Normalization"):
            said = "; ".join(f"{key}={value}" for key, value in one.attrib.items() if key != "id")
            made.attributes.append(
                Attribute(f"{made.id}_{attribute(one, 'id')}", "reaction", f"{text}: {said}", made.id)
            )
            term = one.get("meddra_pt_id")
            link = Normalized("MedDRA", term) if term else None
            if link is not None and link not in links:
                links.append(link)
    return found
