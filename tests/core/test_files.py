"""Files appear whole or not at all, whichever call the disk refuses."""

from __future__ import annotations

import builtins
import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core import files
from mumei.core.errors import StorageError


class FullDisk:
    """Fails the n-th call of os.replace, os.fsync or of an open for writing with ENOSPC, and counts the calls."""

    def __init__(self, monkeypatch, n: int):
        self.n, self.calls, self.failed = n, 0, False
        monkeypatch.setattr(os, "replace", self._counted(os.replace))
        monkeypatch.setattr(os, "fsync", self._counted(os.fsync))
        monkeypatch.setattr(builtins, "open", self._opener(builtins.open))

    def _tick(self) -> None:
        self.calls += 1
        if self.calls == self.n:
            self.failed = True
            raise OSError(errno.ENOSPC, "No space left on device")

    def _counted(self, inner):
        def call(*args, **options):
            self._tick()
            return inner(*args, **options)

        return call

    def _opener(self, inner):
        def call(file, mode="r", *args, **options):
            if any(letter in mode for letter in "wa+x"):
                self._tick()
            return inner(file, mode, *args, **options)

        return call


WRITERS = {
    "bytes": lambda path, n: files.write_bytes(path, b"x" * (n + 10)),
    "text": lambda path, n: files.write_text(path, "é" * (n + 10)),
    "json": lambda path, n: files.write_json(path, {"n": n}),
    "table": lambda path, n: files.write_table(path, pa.table({"n": [n, n]})),
    "tensors": lambda path, n: files.write_tensors(path, {"n": torch.full((3,), float(n))}),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_refusal_at_any_call_leaves_the_old_file_or_the_new_one(tmp_path, kind):
    """Expected: the bytes that the same writer leaves on a disk that refuses nothing."""
    write, path = WRITERS[kind], tmp_path / "file"
    contents = []
    for n in (0, 1):
        write(path, n)
        contents.append(path.read_bytes())
    for n in range(1, 30):
        write(path, 0)
        with pytest.MonkeyPatch.context() as patch:
            disk = FullDisk(patch, n)
            try:
                write(path, 1)
                new = True
            except StorageError as error:
                assert "disk is full" in str(error)  # noqa: PT017
                assert str(path) in str(error)  # noqa: PT017
                new = False
        assert path.read_bytes() == contents[new]
        files.sweep(tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == ["file"]
        if not disk.failed:
            break
    assert n > 2, "the fault was never injected"
    assert not disk.failed


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("kind", [k for k in WRITERS if k != "tensors"])  # safetensors renames a file of its own
def test_a_disk_that_is_really_full(tmp_path, monkeypatch, kind):
    """The temporary file is a link to /dev/full: each library's own way of reporting ENOSPC becomes a StorageError."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(files.secrets, "token_hex", lambda n: "0" * 12)
    (tmp_path / f"{files.TEMPORARY}{'0' * 12}-file").symlink_to("/dev/full")
    with pytest.raises(StorageError, match="cannot write"):
        WRITERS[kind](path, 1)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


LIMITED = """
import resource, signal, sys
import pyarrow as pa, torch
from mumei.core import files
from mumei.core.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
numbers = torch.rand(200_000, generator=torch.Generator().manual_seed(0))
for name, write in {
    "bytes": lambda p: files.write_bytes(p, bytes(1_000_000)),
    "table": lambda p: files.write_table(p, pa.table({"x": numbers.numpy()})),
    "tensors": lambda p: files.write_tensors(p, {"x": numbers}),
}.items():
    try:
        write(sys.argv[1] + "/" + name)
    except StorageError as error:
        assert "arge" in str(error), error
    else:
        raise SystemExit(name + " was written")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_FSIZE")
def test_a_disk_that_refuses_in_the_middle_of_a_file(tmp_path):
    subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert list(tmp_path.iterdir()) == []


@given(
    content=st.binary(max_size=200),
    name=st.text("abé-_. [x]*?", min_size=1, max_size=20).filter(lambda s: s.strip(". ")),
)
@settings(max_examples=40, deadline=None)
def test_bytes_come_back(tmp_path_factory, content, name):
    path = tmp_path_factory.mktemp("d") / name
    files.write_bytes(path, content)
    assert path.read_bytes() == content
    assert files.sha256_file(path) == hashlib.sha256(content).hexdigest()
    assert len(list(path.parent.iterdir())) == 1


def test_a_name_as_long_as_the_file_system_allows(tmp_path):
    path = tmp_path / ("n" * 255)
    files.write_text(path, "x")
    assert path.read_text() == "x"


def test_json_is_canonical_and_comes_back(tmp_path):
    files.write_json(tmp_path / "a", {"b": 1, "a": ["é", None]})
    files.write_json(tmp_path / "b", {"a": ["é", None], "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (
        files.read_json(tmp_path / "a") == json.loads((tmp_path / "a").read_text("utf-8")) == {"b": 1, "a": ["é", None]}
    )
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a", float("nan"))


def test_tables_and_tensors_come_back(tmp_path):
    from safetensors.torch import load_file

    table = pa.table({"x": [1, 2], "y": ["a", None]})
    files.write_table(tmp_path / "t", table)
    assert pq.read_table(tmp_path / "t").equals(table)
    tensor = torch.arange(6.0).reshape(2, 3)
    files.write_tensors(tmp_path / "w", {"x": tensor.T}, {"note": "a"})
    assert torch.equal(load_file(tmp_path / "w")["x"], tensor.T)
    files.write_tensors(tmp_path / "w", {"x": tensor, "tied": tensor, "part": tensor[1]})
    assert torch.equal(load_file(tmp_path / "w")["part"], tensor[1])


def test_every_writer_gives_the_same_permissions(tmp_path):
    for kind, write in WRITERS.items():
        write(tmp_path / kind, 1)
    (tmp_path / "plain").touch()
    assert len({p.stat().st_mode for p in tmp_path.iterdir()}) == 1


def test_an_error_of_safetensors_that_is_not_the_disks_is_passed_on(tmp_path, monkeypatch):
    import safetensors.torch
    from safetensors import SafetensorError

    def broken(*args, **options):
        raise SafetensorError("bad header")

    monkeypatch.setattr(safetensors.torch, "save_file", broken)
    with pytest.raises(SafetensorError, match="bad header"):
        files.write_tensors(tmp_path / "w", {"x": torch.zeros(1)})
    assert list(tmp_path.iterdir()) == []


def test_what_the_disk_said_to_safetensors_is_understood(tmp_path, monkeypatch):
    import safetensors.torch
    from safetensors import SafetensorError

    def full(*args, **options):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(StorageError, match="disk is full"):
        files.write_tensors(tmp_path / "w", {"x": torch.zeros(1)})
    assert list(tmp_path.iterdir()) == []


def test_text_mode_writes_utf8_and_unix_lines(tmp_path):
    with files.atomic_open(tmp_path / "a", "w") as handle:
        handle.write("é\n")
    assert (tmp_path / "a").read_bytes() == "é\n".encode()


def test_a_failing_caller_leaves_the_old_file(tmp_path):
    files.write_text(tmp_path / "a", "old")
    with pytest.raises(RuntimeError, match="mine"), files.atomic_open(tmp_path / "a") as handle:  # noqa: PT012
        handle.write(b"half")
        raise RuntimeError("mine")
    assert (tmp_path / "a").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(StorageError, match="inner"), files.atomic_open(tmp_path / "a"):
        raise StorageError("inner")


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "--out"),
        (errno.ENOTDIR, "not a folder"),
        (errno.EISDIR, "is a folder"),
        (errno.EIO, "Input/output"),
    ],
)
def test_each_refusal_says_what_to_do(code, remedy):
    text = str(files.storage_error(OSError(code, os.strerror(code)), "x/y"))
    assert text.startswith("cannot write x/y: ")
    assert remedy in text


def test_folders(tmp_path):
    assert files.make_folder(tmp_path / "a" / "b").is_dir()
    files.write_text(tmp_path / "f", "")
    with pytest.raises(StorageError, match="a file of that name"):
        files.make_folder(tmp_path / "f")
    with pytest.raises(StorageError, match="a part of this path is a file"):
        files.make_folder(tmp_path / "f" / "g")
    with pytest.raises(StorageError, match="a folder where a file"):
        files.write_text(tmp_path / "a", "x")
    files.sync_folder(tmp_path / "missing")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="no permission"):
        files.write_text(tmp_path / "a", "x")
    with pytest.raises(StorageError, match="no permission"):
        files.make_folder(tmp_path / "a")
    tmp_path.chmod(0o700)


def test_sweep_removes_what_is_unfinished_and_nothing_else(tmp_path):
    (tmp_path / f"{files.TEMPORARY}1").mkdir()
    (tmp_path / f"{files.TEMPORARY}1" / "x").touch()
    (tmp_path / f"{files.TEMPORARY}2").touch()
    (tmp_path / "kept").mkdir()
    (tmp_path / f"{files.TEMPORARY}3").symlink_to(tmp_path / "kept")
    assert files.sweep(tmp_path) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
    assert files.sweep(tmp_path / "missing") == 0


def folder(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "x").write_text(text)
    return path


@pytest.mark.parametrize("name", ["model", "old-model", "m[1]*?", "-"])
@pytest.mark.parametrize("finish", [files.sweep, None])
def test_a_folder_is_replaced_and_a_cut_replacement_is_finished(tmp_path, monkeypatch, name, finish):
    """Between the two renames the old content has no name: a crash then must not lose it, not even to a sweep."""
    target = folder(tmp_path / name, "old")
    files.replace_folder(folder(tmp_path / "new", "new"), target)
    assert (target / "x").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == [name]
    real, seen = os.replace, []

    def cut(a, b):
        if seen:
            raise KeyboardInterrupt
        seen.append(real(a, b))

    monkeypatch.setattr(os, "replace", cut)
    with pytest.raises(KeyboardInterrupt):
        files.replace_folder(folder(tmp_path / f"{files.TEMPORARY}n", "newer"), target)
    monkeypatch.undo()
    assert not target.exists()
    files.sweep(tmp_path) if finish else files.restore(target)
    assert (target / "x").read_text() == "new"
    files.sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_the_newest_of_several_old_folders_is_restored(tmp_path):
    for age, digit in ((2, "f"), (1, "0")):
        path = folder(tmp_path / f"{files.ASIDE}{digit * 12}-m", digit)
        os.utime(path, ns=(0, 10**18 - age))
    files.restore(tmp_path / "m")
    assert (tmp_path / "m" / "x").read_text() == "0"
    files.replace_folder(folder(tmp_path / "new", "new"), tmp_path / "m")
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    files.restore(tmp_path / "missing" / "m")


@pytest.mark.parametrize("many", [2, 70])
def test_a_folder_appears_whole_or_not_at_all(tmp_path, many):
    def fill(text):
        with files.whole_folder(tmp_path / "deep" / "m") as made:
            (made / "sub").mkdir()
            for i in range(many):
                with files.new_file(made / "sub" / str(i)) as handle:
                    handle.write(text)

    fill(b"old")
    for n in range(1, 40):
        with pytest.MonkeyPatch.context() as patch:
            calls = []

            def call(*args, inner, at=n, calls=calls):
                calls.append(1)
                if len(calls) == at:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return inner(*args)

            patch.setattr(os, "replace", partial(call, inner=os.replace))
            patch.setattr(os, "fsync", partial(call, inner=os.fsync))
            try:
                fill(b"new")
                text = b"new"
            except StorageError as error:
                assert "disk is full" in str(error)  # noqa: PT017
                text = b"old"
        files.sweep(tmp_path / "deep")
        assert [p.name for p in (tmp_path / "deep").iterdir()] == ["m"]
        assert {p.read_bytes() for p in (tmp_path / "deep" / "m" / "sub").iterdir()} == {text}
        if len(calls) < n:
            break
        fill(b"old")
    assert len(calls) < n
    with pytest.raises(StorageError, match="inner"), files.whole_folder(tmp_path / "x"):
        raise StorageError("inner")
    with pytest.raises(FileExistsError):
        files.new_file(tmp_path / "deep" / "m" / "sub" / "0")


LOOP = """
import itertools, sys
from mumei.core import files
for i in itertools.count():
    files.write_text(sys.argv[1], str(i) * 50_000)
    print(i, flush=True)
"""


def test_a_killed_writer_leaves_a_whole_file(tmp_path):
    path = tmp_path / "file"
    for _ in range(4):
        with subprocess.Popen([sys.executable, "-c", LOOP, str(path)], stdout=subprocess.PIPE) as process:
            for _ in range(5):
                process.stdout.readline()
            os.kill(process.pid, signal.SIGKILL)
        text = path.read_text()
        number = text[: len(text) // 50_000]
        assert text == number * 50_000
        files.sweep(tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == ["file"]
