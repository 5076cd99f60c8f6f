"""A folder of text files, MEDLINE and JATS XML, and FASTA."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mumei.core.errors import DataError
from mumei.discover.sources.lines import BROKEN, damaged, open_bytes, read_lines
from mumei.discover.sources.rows import Checker, Item, Problem

_LETTERS = re.compile(r"[^A-Z]")


class TextFolder:
    """A folder of text files, one document a file; the title is the file's name."""

    kind = "text"

    def __init__(self, folder: Path, paths: list[Path]):
        self.folder, self.paths, self.name, self.total_hint = folder, paths, folder.resolve().name, len(paths)
        self.described = [f"format: folder of {len(paths):,} text files, one document a file"]

    def files(self) -> list[Path]:
        """Return the files read."""
        return self.paths

    def rows(self) -> Iterator[Item | Problem]:
        """Stream checked documents."""
        return Checker().check(self._items())

    def _items(self) -> Iterator[Item | Problem]:
        for row, path in enumerate(self.paths):
            name = path.relative_to(self.folder).as_posix()
            try:
                lines = list(read_lines(path))
            except DataError as error:
                yield Problem(row, name, "malformed", str(error), True)
                continue
            if any(line.text is None for line in lines):
                yield Problem(row, name, "too long", "a line of over 64 MB was skipped", False)
            if any(line.guessed for line in lines):
                yield Problem(row, name, "undecodable", "no UTF-8, read as Windows-1252", False)
            text = "\n".join(line.text for line in lines if line.text is not None)
            yield Item(name, path.stem.replace("_", " "), text, row, name)


class XmlSource:
    """PubMed/MEDLINE citations (title and abstract, with section labels) or JATS articles (title, abstract, body)."""

    kind = "text"

    def __init__(self, paths: list[Path], name: str):
        self.paths, self.name, self.total_hint = paths, name, None
        self.described = [
            "format: MEDLINE or JATS XML",
            "columns: id=PMID, title=article title, text=abstract and body",
        ]

    def files(self) -> list[Path]:
        """Return the files read."""
        return self.paths

    def rows(self) -> Iterator[Item | Problem]:
        """Stream checked articles."""
        return Checker().check(self._items())

    def _items(self) -> Iterator[Item | Problem]:
        row = -1
        for path in self.paths:
            for item in self._articles(path):
                row += 1
                name, title, text, remark = item
                if remark:
                    yield Problem(row, name, "malformed", f"{remark} ({path.name})", not text)
                if text or not remark:
                    yield Item(name or str(row + 1), title, text, row, path.name)

    def _articles(self, path: Path) -> Iterator[tuple[str, str, str, str]]:
        from lxml import etree  # type: ignore[reportAttributeAccessIssue]

        # No entities, no network, no DTD: a citation file has no use for them and they are how XML attacks a reader.
        options: dict[str, Any] = {"resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": True}
        options |= {"remove_comments": True, "remove_pis": True}
        tags = ("{*}MedlineCitation", "{*}article")
        try:
            with open_bytes(path) as handle:
                for _, element in etree.iterparse(handle, events=("end",), tag=tags, **options):
                    yield _medline(element) if element.tag.endswith("MedlineCitation") else _jats(element)
                    element.clear()
                    while element.getprevious() is not None and element.getparent() is not None:
                        del element.getparent()[0]
        except etree.XMLSyntaxError as error:
            yield "", "", "", f"XML stops here: {error.msg}"
        except BROKEN as error:
            raise damaged(path, error) from error


def _words(element: Any) -> str:
    return "" if element is None else " ".join("".join(element.itertext("*")).split())


def _medline(citation: Any) -> tuple[str, str, str, str]:
    sections = []
    for part in citation.findall(".//{*}Abstract/{*}AbstractText"):
        label, text = part.get("Label"), _words(part)
        sections.append(f"{label}: {text}" if label and text else text)
    title = _words(citation.find(".//{*}ArticleTitle"))
    return _words(citation.find("{*}PMID")), title, " ".join(filter(None, sections)) or title, ""


def _jats(article: Any) -> tuple[str, str, str, str]:
    meta = article.find(".//{*}article-meta")
    ids = {e.get("pub-id-type"): _words(e) for e in (meta if meta is not None else article).findall("{*}article-id")}
    name = next((ids[k] for k in ("pmid", "pmc", "pmcid", "doi", "publisher-id") if ids.get(k)), "")
    paragraphs = [*article.findall(".//{*}abstract//{*}p"), *article.findall("{*}body//{*}p")]
    return name, _words(article.find(".//{*}article-title")), "\n".join(filter(None, map(_words, paragraphs))), ""


class FastaSource:
    """Sequences: the id is the first word of a `>` line, the title the rest; gaps and stops are taken out."""

    kind = "sequence"

    def __init__(self, paths: list[Path], name: str):
        self.paths, self.name, self.total_hint = paths, name, None
        self.described = ["format: FASTA"]

    def files(self) -> list[Path]:
        """Return the files read."""
        return self.paths

    def rows(self) -> Iterator[Item | Problem]:
        """Stream checked sequences."""
        return Checker().check(self._items())

    def _items(self) -> Iterator[Item | Problem]:
        row = -1
        for path in self.paths:
            for number, header, sequence, whole in _records(path):
                row += 1
                name, _, title = header.partition(" ")
                where = f"{path.name}:{number}"
                letters = _LETTERS.sub("", sequence)
                odd = sorted(set(sequence) - set(letters) - set("-.* \t"))
                if odd:
                    detail = f"characters that are no letters were taken out: {' '.join(odd)[:40]} ({where})"
                    yield Problem(row, name, "malformed", detail, False)
                if not whole:
                    yield Problem(row, name, "too long", f"a line of over 64 MB was skipped ({where})", False)
                yield Item(name or str(row + 1), title.strip(), letters, row, where)


def _records(path: Path) -> Iterator[tuple[int, str, str, bool]]:
    """Yield (line number, header, sequence in capitals, whether no line was skipped)."""
    header, number, parts, whole = None, 0, [], True
    for line in read_lines(path):
        if line.text is not None and line.text.startswith(">"):
            if header is not None:
                yield number, header, "".join(parts).upper(), whole
            header, number, parts, whole = line.text[1:].strip(), line.number, [], True
        elif line.text is None:
            whole = False
        elif header is not None and not line.text.startswith(";"):
            parts.append(line.text.strip())
    if header is not None:
        yield number, header, "".join(parts).upper(), whole
