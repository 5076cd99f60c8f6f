"""Extraction of hostile and honest archives; honest content is compared with what the test itself put in."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mumei.core import extract
from mumei.core.errors import DataError, StorageError, UsageError
from mumei.core.extract import safe_extract
from mumei.core.files import TEMPORARY

CONTENT = {"a.txt": b"alpha", "deep/er/b.bin": bytes(range(256)) * 40, "empty": b""}
PACKERS = {"tar": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


def tar_bytes(members: list[tuple[str | tarfile.TarInfo, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_bytes(
    members: list[tuple[str | zipfile.ZipInfo, bytes]], method: int = zipfile.ZIP_DEFLATED, encrypted: bool = False
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as packed:
        for name, content in members:
            packed.writestr(name, content)
    whole = bytearray(buffer.getvalue())
    if encrypted:  # the flag sits at byte 6 of a local header and byte 8 of a central one
        whole[6] |= 1
        whole[whole.index(b"PK\x01\x02") + 8] |= 1
    return bytes(whole)


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def unpack(tmp_path: Path, content: bytes, **limits) -> Path:
    (tmp_path / "archive").write_bytes(content)
    return safe_extract(tmp_path / "archive", tmp_path / "out", **limits)


def refused(tmp_path: Path, content: bytes, match: str, **limits) -> None:
    with pytest.raises(DataError, match=match):
        unpack(tmp_path, content, **limits)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["archive"]


def files_in(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_tar_round_trip(tmp_path, kind, form):
    content = PACKERS[kind](tar_bytes(list(CONTENT.items()), form))
    assert unpack(tmp_path, content) == tmp_path / "out"
    assert files_in(tmp_path / "out") == CONTENT
    assert not list(tmp_path.glob(f"{TEMPORARY}*"))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_round_trip(tmp_path, method):
    members: list = [("deep/", b""), *CONTENT.items()]
    assert files_in(unpack(tmp_path, zip_bytes(members, method))) == CONTENT


def test_long_names_folders_and_dots(tmp_path):
    long = "x" * 150 + "/" + "ü" * 100
    folder = special("./", tarfile.DIRTYPE)
    content = tar_bytes([(folder, b""), (special("./d", tarfile.DIRTYPE), b""), ("./d/f", b"1"), (long, b"2")])
    assert files_in(unpack(tmp_path, content)) == {"d/f": b"1", long: b"2"}


def test_into_an_empty_folder_and_new_parents(tmp_path):
    (tmp_path / "out").mkdir()
    assert files_in(unpack(tmp_path, tar_bytes([("f", b"1")]))) == {"f": b"1"}
    assert files_in(safe_extract(tmp_path / "archive", tmp_path / "x" / "y")) == {"f": b"1"}


def test_target_in_use(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    with pytest.raises(UsageError, match="not an empty folder"):
        unpack(tmp_path, tar_bytes([("f", b"1")]))
    assert files_in(tmp_path / "out") == {"mine": b"keep"}
    with pytest.raises(UsageError, match="not an empty folder"):
        safe_extract(tmp_path / "archive", tmp_path / "archive")


def test_missing_archive(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        safe_extract(tmp_path / "none.tar", tmp_path / "out")


NAMES = [
    ("/etc/x", "absolute"),
    ("C:/x", "absolute"),
    ("../x", "leads out"),
    ("a/../../x", "leads out"),
    ("a\\..\\x", "backslash"),
    ("a\nb", "control"),
    ("y" * 256, "too long"),
    ("z/" * 600 + "f", "too long"),
]


@pytest.mark.parametrize(("name", "match"), NAMES)
@pytest.mark.parametrize("build", [tar_bytes, zip_bytes])
def test_names(tmp_path, build, name, match):
    refused(tmp_path, build([("good", b"1"), (name, b"2")]), match)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE]
)
def test_tar_links_and_devices(tmp_path, kind):
    if kind == tarfile.CONTTYPE:  # a "contiguous" file is an ordinary one
        assert files_in(unpack(tmp_path, tar_bytes([(special("l", kind), b"1")]))) == {"l": b"1"}
    else:
        refused(tmp_path, tar_bytes([("good", b"1"), (special("l", kind, "good"), b"")]), "not a plain file")


def test_zip_link(tmp_path):
    info = zipfile.ZipInfo("l")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    refused(tmp_path, zip_bytes([(info, b"/etc/passwd")]), "not a plain file")


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["a", "a"], "twice"),
        (["a", "./a"], "twice"),
        (["a", "A"], "collide"),
        (["straße", "STRASSE"], "collide"),
        (["é", "e\u0301"], "collide"),
        (["d/x", "D/y"], "collide"),
        (["a", "a/b"], "twice"),
        (["a/b", "a"], "twice"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("build", [tar_bytes, zip_bytes])
def test_collisions(tmp_path, build, names, match):
    refused(tmp_path, build([(name, b"1") for name in names]), match)


def test_folder_twice(tmp_path):
    refused(tmp_path, tar_bytes([(special("d", tarfile.DIRTYPE), b"")] * 2), "twice")


@pytest.mark.parametrize("build", [tar_bytes, zip_bytes])
def test_limits_on_size_and_count(tmp_path, build):
    members = [(f"f{i}", bytes(1000)) for i in range(4)]
    assert len(files_in(unpack(tmp_path, build(members), max_bytes=100_000, max_files=4))) == 4
    other = tmp_path / "other"
    other.mkdir()
    refused(other, build(members), "max_bytes", max_bytes=3999)
    refused(other, build(members), "max_files", max_files=3)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zip"])
def test_ratio_only_over_ten_megabytes(tmp_path, kind):
    def pack(size: int) -> bytes:
        return zip_bytes([("f", bytes(size))]) if kind == "zip" else PACKERS[kind](tar_bytes([("f", bytes(size))]))

    refused(tmp_path, pack(12_000_000), "max_ratio")
    assert files_in(unpack(tmp_path, pack(9_900_000))) == {"f": bytes(9_900_000)}


def test_zip_encrypted_and_other_methods(tmp_path):
    refused(tmp_path, zip_bytes([("f", b"secret")], encrypted=True), "encrypted")
    refused(tmp_path, zip_bytes([("f", b"1")], zipfile.ZIP_LZMA), "method 14")


def test_zip_declares_a_smaller_size(tmp_path):
    content = bytearray(zip_bytes([("f", bytes(5000))]))
    at = content.index(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", 10)
    refused(tmp_path, bytes(content), "cannot unpack")


def test_zip_cut_at_its_beginning(tmp_path):
    """The directory then names a place before the file's beginning, where no seek can go."""
    content = zip_bytes([("a.txt", b"alpha"), ("b.txt", b"beta")])
    at = content.index(b"a.txt")
    refused(tmp_path, content[:at] + content[at + 4 :], "a header points out of the file")


def test_zip_wrong_checksum(tmp_path):
    content = zip_bytes([("f", b"abcdefgh")], zipfile.ZIP_STORED).replace(b"abcdefgh", b"abcdefgX")
    refused(tmp_path, content, "CRC")


def with_size(content: bytes, field: bytes) -> bytes:
    """Return a one-member tar with another size field and a checksum that fits."""
    head = bytearray(content[:512])
    head[124:136] = field
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + content[512:]


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.SYMTYPE])
@pytest.mark.parametrize("size", [-512, -1, -(1 << 40), 1 << 40])
def test_tar_impossible_sizes(tmp_path, kind, size):
    """Negative sizes must not loop for ever, huge header sizes must not fill the memory."""
    content = tar_bytes([(special("f", kind), b"12 path=abc\n")])
    refused(
        tmp_path,
        with_size(
            content,
            size.to_bytes(12, "big", signed=True)
            if size < 0
            else b"%011o\0" % size
            if size < 8**11
            else b"\x80" + size.to_bytes(11, "big"),
        ),
        "cannot unpack",
    )


@pytest.mark.parametrize("kind", PACKERS)
def test_truncated_anywhere(tmp_path, kind):
    """A cut archive is refused, except a plain tar that lost only its zero padding."""
    whole = PACKERS[kind](tar_bytes(list(CONTENT.items())))
    inside = len(whole.rstrip(b"\0")) if kind == "tar" else len(whole)
    for length in [*range(0, inside, max(1, inside // 60)), inside - 1, inside]:
        if length < len(whole):
            refused(tmp_path, whole[:length], "cannot unpack")


def test_tar_headers_nested_without_end(tmp_path):
    """Each extended header asks for another header: a recursive reader must not bring the process down."""
    head = with_size(tar_bytes([(special("f", tarfile.GNUTYPE_LONGNAME), b"")])[:512], b"%011o\0" % 0)
    refused(tmp_path, head * 5000, "cannot unpack")


def test_tar_damaged_header_in_the_middle(tmp_path):
    content = bytearray(tar_bytes([("a", b"1"), ("b", b"2")]))
    content[1024 + 148] ^= 1
    refused(tmp_path, bytes(content), "end mark")


def test_gzip_wrong_checksum_after_the_last_member(tmp_path):
    content = bytearray(gzip.compress(tar_bytes([("a", b"1")])))
    content[-6] ^= 1
    refused(tmp_path, bytes(content), "CRC")


HEADS = [b"", b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b\x08\0\0\0\0\0\0\0", b"BZh9", b"\xfd7zXZ\x00"]
SAMPLES = [pack(tar_bytes(list(CONTENT.items()))) for pack in PACKERS.values()] + [zip_bytes(list(CONTENT.items()))]
QUICK = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(head=st.sampled_from(HEADS), tail=st.binary(max_size=2000))
def test_random_bytes(tmp_path, head, tail):
    assume(head + tail != zip_bytes([]))  # an empty zip is a sound one
    refused(tmp_path, head + tail, "cannot unpack")


@QUICK
@given(data=st.data(), sample=st.sampled_from(SAMPLES))
def test_damaged_archives(tmp_path, data, sample):
    """Cut and altered archives unpack whole or raise DataError, and leave nothing in the second case."""
    content = bytearray(sample[: data.draw(st.integers(0, len(sample)))])
    for _ in range(data.draw(st.integers(0, 3)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with_folder = tmp_path / "run"
    with_folder.mkdir(exist_ok=True)
    try:
        unpack(with_folder, bytes(content))
    except DataError:
        assert [p.name for p in with_folder.iterdir()] == ["archive"]
    else:
        shutil.rmtree(with_folder)


def test_disk_errors_leave_nothing(tmp_path, monkeypatch):
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(extract.os, "fsync", fail)
    with pytest.raises(StorageError, match="disk is full"):
        unpack(tmp_path, tar_bytes([("a", b"1")]))
    assert [p.name for p in tmp_path.iterdir()] == ["archive"]


def test_the_source_never_unpacks_all_at_once():
    assert "extract" + "all" not in Path(extract.__file__).read_text()
