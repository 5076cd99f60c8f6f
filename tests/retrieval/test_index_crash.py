"""Cut anywhere: every row that was acknowledged is there once, and what was deleted stays deleted."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mumei.retrieval.index import VectorStore

SINGLE = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

# Each cut in a forked child that leaves without any cleaning up, as kill -9 would; the parent has one thread.
CUTS = """
import json, os, shutil, sys
from pathlib import Path
import numpy as np
from mumei.retrieval import segments
from mumei.retrieval.index import VectorStore

segments.SIDECAR_ROWS = 20
folder, step = Path(sys.argv[1]), sys.argv[2]
rows = np.arange(400, dtype=np.float32).reshape(100, 4)

def prepare(path):
    store = VectorStore(path, "m", 4)
    for i in range(7):
        store.append(rows[5 * i : 5 * i + 5])
    store.delete([3])

def change(path):
    store = VectorStore(path, "m", 4)
    if step == "append":
        store.append(rows[35:36].repeat(600, 0))  # a tier of its own: nothing is merged
    elif step == "merge":
        store.append(rows[35:40])
    elif step == "delete":
        store.delete([3, 7, 8])
    else:
        store.truncate(12)

def cut(n):
    calls = iter(range(1000))
    def wrap(name):
        real = getattr(os, name)
        def call(*given, **named):
            if next(calls) == n:
                os._exit(9)
            return real(*given, **named)
        setattr(os, name, call)
    for name in ("replace", "fsync", "unlink"):
        wrap(name)

results = []
for n in range(1000):
    path = folder / str(n)
    prepare(path)
    child = os.fork()
    if child == 0:
        cut(n)
        try:
            change(path)
        finally:
            os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    results.append(code)
    if code == 0:
        break
print(json.dumps(results))
"""


@pytest.mark.parametrize("step", ["append", "merge", "delete", "truncate"])
def test_a_cut_at_any_rename_or_flush_leaves_the_old_or_the_new_store(tmp_path, step):
    done = subprocess.run(
        [sys.executable, "-c", CUTS, str(tmp_path), step], capture_output=True, text=True, check=True, env=SINGLE
    )
    codes = json.loads(done.stdout)
    assert codes == [9] * (len(codes) - 1) + [0]
    assert len(codes) > 5
    rows, seen = np.arange(400, dtype=np.float32).reshape(100, 4), []
    new = {"append": 635, "merge": 40, "delete": 35, "truncate": 12}[step]
    for n in range(len(codes)):
        folder = tmp_path / str(n)
        store = VectorStore.open(folder)
        dead = np.flatnonzero(~store.live).tolist()
        seen.append((len(store), dead))
        common = min(len(store), 36)
        assert (store.rows(range(common)) == rows[:common]).all()
        found = store.search(np.ones((1, 4)), 1000)[0][0]
        assert sorted(found) == np.flatnonzero(store.live).tolist()
        # Opened by nobody else, it is clean: nothing but what the manifest names.
        view = store._view
        sidecars = {s.sidecar.name for s in view.segments if s.entry["stored"] >= 20}
        files = {p.name for p in folder.iterdir()} - {"manifest.json", ".lock", ".readers"} - sidecars
        assert files == {s.path.name for s in view.segments} | {view.manifest["deleted"]} - {None}
        store.append(rows[50:51])
        assert (VectorStore.open(folder).rows([len(store) - 1]) == rows[50]).all()
    old_dead, new_dead = [3], [3, 7, 8] if step == "delete" else [3]
    assert set(map(str, seen)) == {str((35, old_dead)), str((new, new_dead))}
    assert seen[-1] == (new, new_dead)


LOOP = """
import sys, random
import numpy as np
from mumei.retrieval.index import VectorStore
from mumei.retrieval.locks import BusyError

folder, me = sys.argv[1], int(sys.argv[2])
rng, n = random.Random(), 0
store = VectorStore(folder, "m", 4)
print("open", len(store), flush=True)
while True:
    try:
        with store.writing():
            if rng.random() < 0.3 and len(store):
                row = rng.randrange(len(store))
                store.delete([row])
                print("deleted", row, flush=True)
            else:
                first, count = len(store), rng.choice([1, 2, 30, 2000])
                print("appending", first, count, me, flush=True)
                rows = np.arange(first, first + count)
                store.append(np.stack([rows // 1000, rows % 1000, rows * 0 + me, rows * 0 + 1], 1).astype("f4"))
                print("appended", first, count, me, flush=True)
    except BusyError:
        print("busy", flush=True)
        store.refresh()
"""


def start(folder, me: int = 1) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", LOOP, str(folder), str(me)], stdout=subprocess.PIPE, text=True, env=SINGLE
    )


def check(folder, lines: list[str], alone: bool) -> VectorStore:
    """Every acknowledged row is there, none twice, every acknowledged deletion holds."""
    store = VectorStore.open(folder)
    appended = [line.split() for line in lines if line.startswith("appended")]
    owner = np.zeros(len(store), dtype=int)
    for _, first, count, me in appended:
        part = slice(int(first), int(first) + int(count))
        assert int(first) + int(count) <= len(store)
        assert not owner[part].any()  # no two writers were told the same rows
        owner[part] = int(me)
    rows = store.rows(range(len(store)))
    number = np.arange(len(store))
    assert (rows[:, 0] * 1000 + rows[:, 1] == number).all()
    assert (rows[owner > 0, 2] == owner[owner > 0]).all()
    deleted = {int(line.split()[1]) for line in lines if line.startswith("deleted")}
    assert not store.live[sorted(deleted)].any()
    if alone:  # at most the one batch and the one deletion under way were not acknowledged
        assert (~store.live).sum() <= len(deleted) + lines.count("killed\n")
        pending = sum(1 for line in lines if line.startswith("appending")) - len(appended)
        assert pending <= lines.count("killed\n")
    found = store.search(np.array([[0, 0, 0, 1]]), len(store))[0][0]
    assert sorted(found) == np.flatnonzero(store.live).tolist()
    return store


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_nothing_acknowledged_is_lost(tmp_path, kills):
    rng, lines = random.Random(kills), []
    for _ in range(kills):
        process = start(tmp_path)
        assert process.stdout.readline().startswith("open")
        time.sleep(rng.uniform(0.1, 1.0))
        process.send_signal(signal.SIGKILL)
        lines += [line for line in process.communicate()[0].splitlines(keepends=True) if line.endswith("\n")]
        lines.append("killed\n")
        check(tmp_path, lines, alone=True)
    assert sum(line.startswith("appended") for line in lines) > 5 * kills
    assert len(list(tmp_path.glob("vectors-*.npy"))) < 60


@pytest.mark.parametrize("seconds", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_two_writers_do_not_harm_each_other(tmp_path, seconds):
    writers = [start(tmp_path, me) for me in (1, 2)]
    for writer in writers:
        assert writer.stdout.readline().startswith("open")
    time.sleep(seconds)
    lines = []
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
        lines += [line for line in writer.communicate()[0].splitlines(keepends=True) if line.endswith("\n")]
    store = check(tmp_path, lines, alone=False)
    assert {line.split()[3] for line in lines if line.startswith("appended")} <= {"1", "2"}
    assert any(line == "busy\n" for line in lines)
    assert len(store) > 0
