"""Artifacts read while another process replaces them, artifacts made by others, and what does not fit into one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pyarrow as pa
import pytest
import torch

import mumei
from mumei.core import artifact, registry
from mumei.core.artifact import State
from mumei.core.errors import ArtifactError, DataError
from mumei.core.files import replace_folder, sha256_file


class Thing(artifact.Saveable):
    """A number, kept three times."""

    def __init__(self, n=1, notes="For tests.", extra=None):
        self.n, self.notes, self.extra = n, notes, extra or {}

    def state(self):
        n = self.n
        return State(
            {"n": n} | self.extra, {"w": torch.full((999,), float(n))}, {"t": pa.table({"n": [n]})}, notes=self.notes
        )

    @classmethod
    def from_state(cls, state):
        n = state.parameters["n"]
        if n == -1:
            raise DataError("minus one is refused by the class itself")
        assert set(state.tensors["w"].tolist()) == {n} == set(state.tables["t"]["n"].to_pylist())
        return cls(n, state.notes)


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    registry.register("test/thing", f"{__name__}:Thing", "a toy")


def test_notes_survive_a_second_save(tmp_path):
    mumei.load(Thing(notes="Not for clinical use.").save(tmp_path / "a")).save(tmp_path / "b")
    assert "Not for clinical use." in (tmp_path / "b" / "CARD.md").read_text()


@pytest.mark.parametrize(
    "bad", [np.int64(3), float("nan"), {1: "a", "b": 2}, object()], ids=["int64", "nan", "keys", "object"]
)
def test_what_json_cannot_hold_is_named_before_anything_is_written(tmp_path, bad):
    with pytest.raises(ArtifactError, match="test/thing cannot be saved: its parameters 'odd' has no JSON form"):
        Thing(extra={"odd": bad}).save(tmp_path / "new" / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_followed_and_stays_a_link(tmp_path):
    Thing(1).save(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert Thing(2).save(tmp_path / "link") == tmp_path / "link"
    assert (tmp_path / "link").is_symlink()
    assert mumei.load(tmp_path / "real").n == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "real"]


def test_two_names_of_one_ending_do_not_mix(tmp_path):
    """The old content of `x-b` that a crash left aside is not taken for that of `b`."""
    Thing(1).save(tmp_path / "x-b")
    os.replace(tmp_path / "x-b", tmp_path / ".old-mumei-0123456789ab-x-b")
    with pytest.raises(ArtifactError, match="no artifact"):
        mumei.load(tmp_path / "b")
    assert mumei.load(tmp_path / "x-b").n == 1


def forge(folder, change):
    """Alter the manifest as somebody could who also corrects its hashes."""
    manifest = json.loads((folder / "artifact.json").read_text())
    change(manifest)
    (folder / "artifact.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", ["../secret.parquet", "/etc/hostname", "", "..", "a/b.parquet"])
def test_a_manifest_cannot_name_files_elsewhere(tmp_path, name):
    folder = Thing().save(tmp_path / "m")
    forge(folder, lambda m: m["files"].update({name: "0" * 64}))
    with pytest.raises(ArtifactError, match="outside its folder"):
        mumei.load(folder)


@pytest.mark.parametrize("file", ["weights.safetensors", "t.parquet"])
def test_a_file_with_the_right_hash_and_the_wrong_content(tmp_path, file):
    folder = Thing().save(tmp_path / "m")
    (folder / file).write_bytes(b"not what it says")
    forge(folder, lambda m: m["files"].update({file: sha256_file(folder / file)}))
    with pytest.raises(ArtifactError, match="cannot be read"):
        mumei.load(folder)


def test_parameters_of_another_version_of_the_class(tmp_path):
    folder = Thing().save(tmp_path / "m")
    forge(folder, lambda m: m["parameters"].pop("n"))
    with pytest.raises(ArtifactError, match=r"has not the content that test/thing is made of \(KeyError: 'n'\)"):
        mumei.load(folder)
    forge(folder, lambda m: m["parameters"].update(n=-1))
    with pytest.raises(DataError, match="minus one"):
        mumei.load(folder)


WRITER = """
import os, sys, time
sys.path.insert(0, sys.argv[2])
import shared_thing
thing = shared_thing.Thing
for n in range(2, 10**6):
    thing(n).save(sys.argv[1])
    if not os.path.exists(sys.argv[3]):
        break
"""
MODULE = """
import pyarrow as pa, torch
from mumei.core import artifact, registry
class Thing(artifact.Saveable):
    def __init__(self, n):
        self.n = n
    def state(self):
        n = self.n
        return artifact.State({"n": n}, {"w": torch.full((999,), float(n))}, {"t": pa.table({"n": [n]})})
registry.register("test/thing", "shared_thing:Thing", "a toy")
"""


def test_a_reader_beside_a_writer_sees_one_version_or_the_next(tmp_path):
    """Another process saves without pause while this one loads: each load is one version, and none goes back."""
    (tmp_path / "shared_thing.py").write_text(MODULE)
    (tmp_path / "go").touch()
    target = Thing(1).save(tmp_path / "m")
    arguments = [sys.executable, "-c", WRITER, str(target), str(tmp_path), str(tmp_path / "go")]
    seen = [1]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as writer:
        try:
            while len(set(seen)) < 25 and writer.poll() is None:
                seen.append(mumei.load(target).n)
        finally:
            (tmp_path / "go").unlink()
            errors = writer.communicate(timeout=60)[1]
    assert writer.returncode == 0, errors
    assert seen == sorted(seen)
    assert len(set(seen)) >= 25
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_an_artifact_that_never_stands_still(tmp_path, monkeypatch):
    """Every look at the manifest finds another one, as when it is replaced faster than it is read."""
    folder = Thing().save(tmp_path / "m")
    count = iter(range(1000))
    monkeypatch.setattr(artifact, "_stamp", lambda path: (next(count),))
    with pytest.raises(ArtifactError, match="replaced again and again"):
        mumei.load(folder)


def test_a_reader_that_puts_the_old_folder_back_does_not_stop_the_writer(tmp_path, monkeypatch):
    """Between the writer's two renames the reader's `restore` runs, once."""
    from mumei.core import files

    for name in ("target", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "content").write_text(name)
    real, calls = os.replace, []

    def replace(source, target):
        calls.append(source)
        if len(calls) == 2:
            files.restore(tmp_path / "target")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    replace_folder(tmp_path / "new", tmp_path / "target")
    assert (tmp_path / "target" / "content").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


def test_two_writers_at_once_leave_one_whole_artifact(tmp_path):
    def work(start):
        for n in range(start, start + 15):
            try:
                Thing(n).save(tmp_path / "m")
            except Exception as error:
                failures.append(error)

    failures: list[Exception] = []
    Thing(0).save(tmp_path / "m")
    threads = [threading.Thread(target=work, args=(s,)) for s in (100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mumei.load(tmp_path / "m").n in (114, 214)
    assert failures == []
