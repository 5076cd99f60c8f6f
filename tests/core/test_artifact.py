"""Artifacts are whole, checked and replaced in one step; what is not an artifact is left alone."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys

import pyarrow as pa
import pytest
import torch

import mumei
from mumei.core import artifact, files, registry
from mumei.core.errors import ArtifactError, StorageError, UsageError
from mumei.core.files import storage_error


class Thing(artifact.Saveable):
    """Holds one of each: a parameter, a tensor, a table."""

    def __init__(self, n: int = 1):
        self.n = n

    def state(self) -> artifact.State:
        return artifact.State(
            parameters={"n": self.n},
            tensors={"w": torch.full((4,), float(self.n))},
            tables={"rows": pa.table({"n": [self.n]})},
            seeds={"seed": 3},
            data={"rows": 10},
            metrics={"acc": 0.5},
            notes="For tests.",
        )

    @classmethod
    def from_state(cls, state: artifact.State) -> Thing:
        n = state.parameters["n"]
        assert state.tensors["w"].tolist() == [n] * 4
        assert state.tables["rows"]["n"].to_pylist() == [n]
        assert (state.seeds, state.data, state.metrics) == ({"seed": 3}, {"rows": 10}, {"acc": 0.5})
        return cls(n)


class Bare(artifact.Saveable):
    """Has nothing to keep."""

    def state(self) -> artifact.State:
        return artifact.State()

    @classmethod
    def from_state(cls, state: artifact.State) -> Bare:
        assert state.tensors == {}
        assert state.tables == {}
        return cls()


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    monkeypatch.setitem(sys.modules, "mumei_test_things", sys.modules[__name__])
    for cls in (Thing, Bare):
        monkeypatch.setattr(cls, "__module__", "mumei_test_things")
        registry.register(
            f"test/{cls.__name__.lower()}", f"mumei_test_things:{cls.__name__}", "a thing", paper="A. Author 2020"
        )


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_round_trip_by_class_and_by_kind(tmp_path):
    path = Thing(3).save(tmp_path / "deep" / "m")
    assert names(path) == ["CARD.md", "artifact.json", "rows.parquet", "weights.safetensors"]
    assert Thing.load(path).n == 3
    assert mumei.load(str(path)).n == 3
    assert names(tmp_path / "deep") == ["m"]
    manifest = artifact.read_manifest(path)
    assert manifest["kind"] == "test/thing"
    assert set(manifest["files"]) == set(names(path)) - {"artifact.json"}
    assert manifest["versions"]["mumei"] == mumei.__version__
    card = (path / "CARD.md").read_text()
    for part in ("# test/thing", "A. Author 2020", "- n: 3", "- rows: 10", "- acc: 0.5", "For tests."):
        assert part in card


def test_equal_objects_give_equal_bytes(tmp_path):
    for name in "ab":
        Thing(2).save(tmp_path / name)
    for name in names(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_an_object_without_content_and_of_another_class(tmp_path):
    path = Bare().save(tmp_path / "b")
    assert isinstance(artifact.load(path), Bare)
    with pytest.raises(ArtifactError, match="holds a Bare, not a Thing"):
        Thing.load(path)


def test_a_library_that_is_not_installed_is_recorded_as_such(monkeypatch):
    def missing(name):
        raise artifact.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(artifact.metadata, "version", missing)
    assert artifact.library_versions()["torch"] == "not installed"


class Refusal:
    """Lets `n - 1` of the watched calls through, then fails every later one until `times` have failed."""

    def __init__(self, monkeypatch, n: int, code: int):
        self.n, self.code, self.calls, self.failed = n, code, 0, False
        for owner, name in ((os, "replace"), (os, "fsync")):
            monkeypatch.setattr(owner, name, self._watched(getattr(owner, name)))

    def _watched(self, inner):
        def call(*args, **options):
            self.calls += 1
            if self.calls == self.n:
                self.failed = True
                raise OSError(self.code, os.strerror(self.code))
            return inner(*args, **options)

        return call


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
@pytest.mark.parametrize("crash", [False, True])
def test_a_refusal_at_any_call_leaves_the_old_artifact_or_the_new_one(tmp_path, code, crash):
    """`crash`: nothing after the refusal is done either, as if the process had died there."""
    path = tmp_path / "m"
    for n in range(1, 60):
        Thing(1).save(path)
        with pytest.MonkeyPatch.context() as patch:
            disk = Refusal(patch, n, code)
            if crash:
                patch.setattr(files.shutil, "rmtree", lambda *a, **o: None)
            try:
                Thing(2).save(path)
                allowed = {2}
            except StorageError as error:
                assert str(path) in str(error)  # noqa: PT017
                allowed = {1}
        if n % 2:  # a sweep before the next load must not remove the only copy
            files.sweep(tmp_path)
        assert Thing.load(path).n in allowed
        files.sweep(tmp_path)
        assert names(tmp_path) == ["m"]
        if not disk.failed:
            break
    assert n > 8
    assert not disk.failed


@pytest.mark.parametrize("swept", [False, True])
def test_a_crash_between_the_two_renames_loses_nothing(tmp_path, monkeypatch, swept):
    path = tmp_path / "m"
    Thing(1).save(path)
    real, calls = os.replace, []

    def cut(a, b):
        if str(b) == str(path):
            raise KeyboardInterrupt
        calls.append(real(a, b))

    monkeypatch.setattr(os, "replace", cut)
    with pytest.raises(KeyboardInterrupt):
        Thing(2).save(path)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "mumei_test_things", sys.modules[__name__])
    for cls in (Thing, Bare):
        monkeypatch.setattr(cls, "__module__", "mumei_test_things")
    registry.register("test/thing", "mumei_test_things:Thing", "a thing")
    try:
        assert not path.exists()
        if swept:
            files.sweep(tmp_path)
        assert Thing.load(path).n == 1
    finally:
        registry._ENTRIES.pop("test/thing", None)


KILLED = """
import itertools, sys
import torch
from mumei.core import artifact, registry
class Loop(artifact.Saveable):
    def __init__(self, n): self.n = n
    def state(self): return artifact.State(parameters={"n": self.n}, tensors={"w": torch.full((50_000,), float(self.n))})
    @classmethod
    def from_state(cls, state):
        assert bool((state.tensors["w"] == state.parameters["n"]).all())
        return cls(state.parameters["n"])
registry.register("test/loop", "__main__:Loop", "a loop")
if sys.argv[1] == "load":
    print(Loop.load(sys.argv[2]).n)
else:
    for n in itertools.count():
        Loop(n).save(sys.argv[2])
        print(n, flush=True)
"""


def test_a_killed_process_leaves_an_artifact_that_loads(tmp_path):
    path = tmp_path / "m"
    command = [sys.executable, "-c", KILLED]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for round_ in range(4):
        with subprocess.Popen([*command, "save", str(path)], stdout=subprocess.PIPE, env=environment) as process:
            for _ in range(3 + round_):
                last = int(process.stdout.readline())
            os.kill(process.pid, signal.SIGKILL)
            last = max([last, *(int(line) for line in process.stdout.read().split())])
        if round_ % 2:
            files.sweep(tmp_path)
        done = subprocess.run(
            [*command, "load", str(path)], capture_output=True, text=True, check=True, env=environment
        )
        assert int(done.stdout) in (last, last + 1)
        files.sweep(tmp_path)
        assert names(tmp_path) == ["m"]


@pytest.mark.parametrize("name", ["weights.safetensors", "rows.parquet", "CARD.md"])
@pytest.mark.parametrize("how", ["altered", "truncated", "missing", "folder"])
def test_a_damaged_file_is_named(tmp_path, name, how):
    path = Thing(1).save(tmp_path / "m")
    content = bytearray((path / name).read_bytes())
    if how == "altered":
        content[len(content) // 2] ^= 1
    elif how == "truncated":
        del content[-1]
    (path / name).unlink()
    if how == "folder":
        (path / name).mkdir()
    elif how != "missing":
        (path / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=name):
        artifact.load(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    path = Thing(1).save(tmp_path / "m")

    def refused(file):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(artifact, "sha256_file", refused)
    with pytest.raises(ArtifactError, match=r"CARD\.md cannot be read \(Input/output error\)"):
        artifact.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ("null", "cannot be read"),
        ("{}", "cannot be read"),
        ('{"format": "x"}', "cannot be read"),
        ('{"format": null}', "cannot be read"),
        ('{"format": 1}', "kind, files, parameters, seeds, data, metrics missing"),
        ('{"format": 99}', "format 99, this mumei reads up to 1; update mumei"),
        ("\xff", "cannot be read"),
    ],
)
def test_a_damaged_manifest(tmp_path, content, message):
    path = Thing(1).save(tmp_path / "m")
    (path / "artifact.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ArtifactError, match=message):
        artifact.load(path)


def test_an_unknown_kind_and_no_artifact(tmp_path):
    path = Thing(1).save(tmp_path / "m")
    manifest = json.loads((path / "artifact.json").read_text())
    (path / "artifact.json").write_text(json.dumps({**manifest, "kind": "other/model"}))
    with pytest.raises(ArtifactError, match="'other/model', which this mumei does not know"):
        artifact.load(path)
    for missing in (tmp_path / "none", tmp_path / "none" / "m", tmp_path):
        with pytest.raises(ArtifactError, match="no artifact at"):
            artifact.load(missing)


def test_weights_that_the_manifest_does_not_name_are_not_read(tmp_path):
    path = Bare().save(tmp_path / "b")
    (path / "weights.safetensors").write_bytes(b"not checked")
    assert isinstance(artifact.load(path), Bare)


def test_what_is_not_an_artifact_is_left_alone(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    for name in ("data", "file"):
        with pytest.raises(ArtifactError, match="is not a mumei artifact; it was left alone"):
            Thing().save(tmp_path / name)
    assert (tmp_path / "data" / "mine.txt").read_text() == (tmp_path / "file").read_text() == "mine"
    Thing().save(tmp_path / "empty")
    assert Thing.load(tmp_path / "empty").n == 1
    with pytest.raises(StorageError, match=r"a part of this path is a file|a file of that name"):
        Thing().save(tmp_path / "file" / "m")
    assert names(tmp_path) == ["data", "empty", "file"]


def test_a_folder_that_may_not_be_looked_into(tmp_path, monkeypatch):
    (tmp_path / "m").mkdir()

    def refused(self):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(artifact.Path, "iterdir", refused)
    with pytest.raises(StorageError, match="no permission"):
        Thing().save(tmp_path / "m")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="no permission"):
        Thing().save(tmp_path / "m")
    tmp_path.chmod(0o700)


def test_errors_of_the_object_itself_leave_nothing_behind(tmp_path, monkeypatch):
    class Unknown(Thing):
        pass

    with pytest.raises(UsageError, match="not registered"):
        Unknown().save(tmp_path / "m")
    monkeypatch.setattr(Thing, "state", lambda self: artifact.State(parameters={"x": object()}))
    with pytest.raises(ArtifactError, match="parameters 'x' has no JSON form"):
        Thing().save(tmp_path / "m")

    def disk_full(*args, **options):
        raise storage_error(OSError(errno.ENOSPC, ""), "w")

    monkeypatch.setattr(Thing, "state", lambda self: artifact.State())
    monkeypatch.setattr(artifact, "_write", disk_full)
    with pytest.raises(StorageError, match="cannot write w: the disk is full"):
        Thing().save(tmp_path / "m")
    assert names(tmp_path) == []
