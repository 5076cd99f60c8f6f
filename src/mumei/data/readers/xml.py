"""XML for readers: files cut into elements as they stream by, each parsed by itself.

A file of many documents is cut at the tags of its documents, as bytes, and every document is parsed alone (`elements`,
`parse`). So memory holds one document, a broken one costs no other, and the DTD is never seen by the parser: no file, no
address and no entity of it is ever opened or expanded, and a reference to one is an error. A file that is one document is
parsed by `whole`, under the same rules.

Departures from XML: a tag of documents inside a comment or CDATA is taken for one, and then the pieces do not parse, which is
reported; prefixes of namespaces have to be declared by the document or be given by the reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from mumei.core.errors import UsageError
from mumei.data.readers.base import BLOCK, Problems, ReadError, SourceFile, decode

LARGEST = 256 << 20  # bytes of one document; more is no document
_DECLARED = re.compile(rb"\A\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"'][^>]{0,100}?\?>")
_PROLOG = re.compile(
    rb"\A\s*(?:<\?xml.*?\?>\s*)?(?:<!--.*?-->\s*|<\?.*?\?>\s*|<!DOCTYPE[^\[>]*(?:\[.*?\]\s*)?>\s*)*", re.S
)
_ROOT = re.compile(rb"<([A-Za-z_][\w.:-]*)")
_ASCII_LIKE = ("utf-8", "utf8", "us-ascii", "ascii")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@cache
def _parser() -> Any:
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

    return etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )


def parse(content: bytes, name: str, line: int = 1, around: bytes = b"") -> Any:
    """Return the element that UTF-8 bytes without a DTD are; `around` is a start tag `<_ xmlns:...>` to put around them.

    Raises
    ------
    ReadError
        They are no well-formed element; with the line, counted from `line` on.
    """
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

    try:
        if around:
            return etree.fromstring(b"".join((around, content, b"</_>")), _parser())[0]
        return etree.fromstring(content, _parser())
    except etree.XMLSyntaxError as error:
        at = (error.lineno or 1) + line - 1
        raise ReadError(f"the XML is broken ({_reason(error)})", name, at) from error
    except (ValueError, LookupError) as error:  # a null byte; nothing within `around`
        raise ReadError(f"the XML cannot be read ({error})", name, line) from error


def _reason(error: Any) -> str:
    text = (error.msg or "no element").partition(", line ")[0]
    if text.startswith("Entity '"):
        text += "; entities of a DTD are not read: write them out as characters"
    return text


def whole(file: SourceFile, encoding: str = "") -> Any:
    """Return the root element of a file that is one document; raise `ReadError` where it is none.

    Parameters
    ----------
    file : SourceFile
        The file.
    encoding : str
        Its encoding; by default what it declares, else UTF-8.
    """
    content = _as_utf8(file.read(), file.name, encoding)
    prolog = _PROLOG.match(content)
    start = prolog.end() if prolog else 0
    return parse(content[start:], file.name, 1 + content.count(b"\n", 0, start))


def _declared(head: bytes, encoding: str) -> str:
    """Return the encoding of a file that begins with `head`."""
    if encoding:
        return encoding
    if head.startswith(_UTF16):
        return "utf-16"
    found = _DECLARED.match(head.removeprefix(b"\xef\xbb\xbf"))
    name = found.group(1).decode("ascii").lower() if found else "utf-8"
    return "utf-8" if name in _ASCII_LIKE else name


def _as_utf8(content: bytes, name: str, encoding: str) -> bytes:
    """Return a file's bytes as UTF-8."""
    found = _declared(content[:1000], encoding)
    if found.lower() in _ASCII_LIKE:
        return content.removeprefix(b"\xef\xbb\xbf")
    try:
        return decode(content, name, found).encode()
    except UsageError as error:
        if encoding:
            raise
        raise ReadError(f"it declares the encoding {found!r}, which nobody knows", name, 1) from error
    except UnicodeEncodeError as error:
        raise ReadError(f"it holds half a surrogate pair ({error})", name) from error


def _pieces(file: SourceFile, encoding: str) -> Iterator[bytes]:
    """Yield a file's bytes as UTF-8, in pieces."""
    try:
        with open(file.path, "rb", buffering=0) as handle:
            piece = handle.read(BLOCK)
            if _declared(piece[:1000], encoding).lower() not in _ASCII_LIKE:
                yield _as_utf8(piece + handle.read(), file.name, encoding)
                return
            piece = piece.removeprefix(b"\xef\xbb\xbf")
            while piece:
                yield piece
                piece = handle.read(BLOCK)
    except OSError as error:
        raise ReadError(f"cannot be read ({error.strerror or error})", file.name) from error


def elements(file: SourceFile, tag: str, problems: Problems, encoding: str = "") -> Iterator[tuple[bytes, int]]:
    """Yield (bytes, line of its first) of each element `tag` of a file, outermost ones, in order.

    What is not well-formed inside is `parse`'s to say. A file that ends within an element or without the end of its root,
    or that has no such element, is given to `problems.bad`.

    Raises
    ------
    ReadError
        The file cannot be read, or an element is larger than `LARGEST`.
    """
    name = tag.encode()
    start = re.compile(rb"<" + name + rb"(?=[\s/>])(?:[^\"'<>]|\"[^\"<]*\"|'[^'<]*')*>")
    end = re.compile(rb"</" + name + rb"\s*>")
    rest, line, first, count = b"", 1, b"", 0
    for piece in _pieces(file, encoding):
        first = first or piece[:4096]
        rest += piece
        at = 0  # where the part of `rest` begins that is not used up
        while opened := start.search(rest, at):
            closed = opened if opened.group().endswith(b"/>") else end.search(rest, opened.end())
            if closed is None:
                break
            line += rest.count(b"\n", at, opened.start())
            yield rest[opened.start() : closed.end()], line
            line += rest.count(b"\n", opened.start(), closed.end())
            at, count = closed.end(), count + 1
        rest = rest[at:]
        if len(rest) > LARGEST:
            raise ReadError(f"no end of <{tag}> within {LARGEST >> 20} MB", file.name, line)
    _finish(file, tag, problems, (rest, line, first, count))


def _finish(file: SourceFile, tag: str, problems: Problems, seen: tuple[bytes, int, bytes, int]) -> None:
    """Report a file that ends too early."""
    rest, line, first, count = seen
    opened = re.search(rb"<" + tag.encode() + rb"(?=[\s/>]|\Z)", rest)
    prolog = _PROLOG.match(first)
    root = _ROOT.match(first, prolog.end() if prolog else 0)
    if opened:
        line += rest.count(b"\n", 0, opened.start())
        problems.bad(f"the file ends within <{tag}>", file.name, line)
    elif not count:
        problems.bad(f"there is no <{tag}> in it", file.name, 1)
    elif root and root.group(1) != tag.encode() and not re.search(rb"</" + re.escape(root.group(1)) + rb"\s*>", rest):
        problems.bad(f"the file ends before </{root.group(1).decode(errors='replace')}>", file.name, line)


def documents(
    file: SourceFile, tag: str, problems: Problems, encoding: str = "", around: bytes = b""
) -> Iterator[tuple[Any, int]]:
    """Yield (element, line) of each well-formed element `tag` of a file; others go to `problems.bad`.

    So does a file that cannot be read, when reading keeps going.
    """
    try:
        for content, line in elements(file, tag, problems, encoding):
            try:
                element = parse(content, file.name, line, around)
            except ReadError as error:
                problems.bad(error.message, file.name, error.line, error.document)
                continue
            yield element, line
    except ReadError as error:
        if not problems.keep_going:
            raise
        problems.bad(error.message, error.file, error.line, error.document)


def root_of(file: SourceFile, tag: str, problems: Problems, encoding: str = "") -> Any:
    """Return the root element of a file that is one document with the tag `tag`, or None after `problems.bad`."""
    try:
        root = whole(file, encoding)
    except ReadError as error:
        problems.bad(error.message, error.file, error.line, error.document)
        return None
    if local(root) != tag:
        problems.bad(f"expected <{tag}>, got <{local(root)}>", file.name, root.sourceline or 1)
        return None
    return root


def local(element: Any) -> str:
    """Return an element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def attribute(element: Any, name: str) -> str:
    """Return an attribute that an element has to have; raise `ValueError` that names both."""
    found = element.get(name)
    if found is None:
        raise ValueError(f"<{local(element)}> has no attribute {name}")
    return found


def head(file: SourceFile, encoding: str = "") -> bytes:
    """Return the first bytes of a file, as UTF-8."""
    return next(_pieces(file, encoding), b"")[: 1 << 16]


def collapsed(element: Any, without: Sequence[str] = ()) -> str:
    """Return the text inside an element, white space collapsed; "" for None. Elements named by `without` are passed over."""
    if element is None:
        return ""
    pieces = _pieces_of(element, without) if without else element.itertext()
    return " ".join("".join(pieces).split())


def _pieces_of(element: Any, without: Sequence[str]) -> Iterator[str]:
    yield element.text or ""
    for child in element:
        if local(child) not in without:
            yield from _pieces_of(child, without)
        yield child.tail or ""
