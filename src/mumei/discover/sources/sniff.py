"""Which format a file is in: by its content first, by its name only where the content leaves it open."""

from __future__ import annotations

import json

from mumei.core.errors import DataError
from mumei.discover.sources import delimited, fasta, medline
from mumei.discover.sources.compression import Blob, is_npz
from mumei.discover.sources.kinds import ACCEPTED
from mumei.discover.sources.lines import text_head
from mumei.discover.sources.text_folder import SUFFIXES as TEXT_SUFFIXES
from mumei.discover.sources.text_folder import is_binary

_BINARY = ((b"PAR1", "parquet"), (b"\x93NUMPY", "npy"), (b"\x89HDF\r\n\x1a\n", "h5ad"))
_REFUSED = (
    (b"%PDF", "a PDF; save its text as .txt"),
    (b"\xd0\xcf\x11\xe0", "an old Office document; save it as CSV or text"),
    (b"SQLite format 3", "an SQLite database; export the table as CSV"),
    (b"ARROW1", "an Arrow or Feather file; save it as Parquet"),
    (b"\x89PNG", "an image; gather images in one array in .npz"),
    (b"\xff\xd8\xff", "an image; gather images in one array in .npz"),
    (b"MATLAB 5.0", "a MATLAB file; save the array as .npy"),
    (b"\x80\x04\x95", "a Python pickle, which can run code and is never read; save it as .npy, CSV or JSONL"),
    (b"\x80\x05\x95", "a Python pickle, which can run code and is never read; save it as .npy, CSV or JSONL"),
    (b"{\\rtf", "an RTF document; save it as plain text"),
)
_JSON_LINES = (".jsonl", ".ndjson", ".jsonlines")
_FASTA = (".fasta", ".fa", ".faa", ".fna", ".ffn", ".fas", ".a3m")
_TABLES = (".csv", ".tsv", ".tab")


def sniff(blob: Blob, encoding: str | None = None) -> str:
    """Return a format's name: parquet, npy, npz, h5ad, xml, fasta, jsonl, array, document, csv or lines.

    Raises
    ------
    DataError
        The file is empty or in no format that is read; the text lists those that are.
    """
    if is_npz(blob):
        return "npz"
    head = blob.head()
    if not head.strip(b"\xef\xbb\xbf\xff\xfe \t\r\n\x00") and len(head) < 1 << 16:
        raise DataError(f"{blob.path} is empty; give a file with rows in it.")
    for magic, name in _BINARY:
        if head.startswith(magic):
            return name
    for magic, what in _REFUSED:
        if head.startswith(magic):
            raise DataError(f"{blob.path} is {what}.")
    if head[257:262] == b"ustar":
        raise DataError(f"{blob.path} is a tar archive; unpack it and give the folder or a file.")
    text, whole = text_head(blob, encoding)
    if medline.root_name(text).lower() == "html" and text.lstrip("\ufeff \t\r\n")[:1] == "<":
        raise DataError(f"{blob.path} is a web page; save its text as .txt.")
    found = _by_content(text.lstrip("\ufeff \t\r\n"), whole, blob.suffix)
    named = blob.suffix in (*_JSON_LINES, *_TABLES)
    if found and (named or found in ("xml", "fasta") or encoding or not is_binary(head)):
        return found
    raise DataError(f"{blob.path} is in no format that mumei reads. Accepted: {ACCEPTED}.")


def _by_content(text: str, whole: bool, suffix: str) -> str:
    first = text[:1]
    if first == "<" and medline.root_name(text) in medline.ROOTS:
        return "xml"
    if first == "<" and suffix not in (*_JSON_LINES, *_TABLES, *TEXT_SUFFIXES):
        return ""
    if first in (">", ";") and (suffix in _FASTA or (suffix != ".csv" and fasta.looks_like(text))):
        return "fasta"
    if suffix in _FASTA:
        return ""
    if first in ("{", "["):
        found = _json(text, whole, suffix)
        if found:
            return found
    if suffix in _JSON_LINES:
        return "jsonl"
    if suffix == ".json":
        return ""
    if delimited.sniff(text, whole, suffix) is not None:
        return "csv"
    return "lines" if suffix in TEXT_SUFFIXES else ""


def _json(text: str, whole: bool, suffix: str) -> str:
    """Tell the three shapes of JSON apart by the first lines; "" if the text is none of them."""
    lines = text.split("\n")
    ended = lines if whole else lines[:-1]
    objects = [line for line in ended[:5] if line.strip() and _is_object(line)]
    if objects and (suffix != ".json" or len(ended) > 1):
        return "jsonl"
    then = text[1:].lstrip()[:1]
    if text[0] == "[":
        return "array" if then in ("{", '"') or suffix == ".json" else ""
    if suffix in _JSON_LINES:
        return "jsonl"
    return "document" if then in ('"', "}") and suffix not in _TABLES else ""


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
