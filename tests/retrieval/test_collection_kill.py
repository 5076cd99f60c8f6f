"""kill -9 at random moments of an add: the same add again ends with each document once and the undisturbed answers."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from collection_toys import HashEncoder, answers, contents, document, expected, make

from mumei.retrieval.collection import Collection

SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from collection_toys import HashEncoder, document
from mumei.retrieval import adding
from mumei.retrieval.collection import Collection
adding.BATCH = {batch}
source = [document(i, i % 2) for i in range({n}) if i % 100 != 7]
collection = Collection.open({folder!r}, HashEncoder())
print("adding", flush=True)
collection.add(source + source[:5])
"""


def start(folder: Path, n: int) -> subprocess.Popen:
    script = SCRIPT.format(tests=str(Path(__file__).parent), folder=str(folder), n=n, batch=n // 60)
    process = subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE
    )
    with process.stdout:
        assert process.stdout.readline() == b"adding\n"
    return process


def begin(folder: Path, n: int) -> None:
    """A tenth of the documents in an older version, and one in a hundred deleted for good."""
    collection = make(folder, [document(i) for i in range(n) if i % 10 in (3, 7)])
    assert collection.delete([f"id{i}" for i in range(7, n, 100)]) == n // 100
    collection.close()


@pytest.mark.parametrize(("n", "kills"), [(300, 3), pytest.param(3000, 20, marks=pytest.mark.slow)])
def test_killed_add_ends_as_the_undisturbed_one(tmp_path, n, kills):
    left = [document(i, i % 2) for i in range(n) if i % 100 != 7]
    queries = [f"title {i}. word{i} version{i % 2} common" for i in range(0, n, n // 30)]
    begin(tmp_path / "whole", n)
    process = start(tmp_path / "whole", n)
    clock = time.perf_counter()
    assert process.wait(600) == 0
    seconds = time.perf_counter() - clock
    whole = Collection.open(tmp_path / "whole")
    assert contents(whole) == expected(left)
    rng, landed, partly, rounds = random.Random(kills), 0, 0, 0
    while landed < kills:
        shutil.rmtree(tmp_path / "cut", ignore_errors=True)
        begin(tmp_path / "cut", n)
        rounds += 1
        while True:
            process = start(tmp_path / "cut", n)
            try:
                process.wait(rng.uniform(0, seconds) if landed < kills else 600)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                landed += 1
                cut = Collection.open(tmp_path / "cut")
                found = contents(cut)
                cut.close()
                assert not {f"id{i}" for i in range(7, n, 100)} & set(found)
                partly += n // 5 < len(found) < len(left)
                continue
            assert process.returncode == 0
            break
        again = Collection.open(tmp_path / "cut")
        assert contents(again) == expected(left)
        assert again.verify() == []
        assert answers(again, queries) == answers(whole, queries)
        again.close()
    assert landed == kills
    assert partly or kills < 20, f"no kill came while rows were added, in {rounds} rounds"


def test_readers_see_whole_batches_while_another_process_writes(tmp_path):
    n = 600
    begin(tmp_path / "c", n)
    before, after = (
        contents(Collection.open(tmp_path / "c")),
        expected(document(i, i % 2) for i in range(n) if i % 100 != 7),
    )
    changes = [name for name in after if before.get(name) != after[name]]
    process, sizes = start(tmp_path / "c", n), set()
    while process.poll() is None:
        reader = Collection.open(tmp_path / "c", HashEncoder())
        found = contents(reader)
        done = [name for name in changes if found.get(name) == after[name]]
        assert done == changes[: len(done)]
        assert found == {**before, **{name: after[name] for name in done}}
        ids = list(found)[:: max(len(found) // 7, 1)]
        texts = [f"{found[i][0]}. {found[i][1]}" for i in ids]
        assert reader.vectors.search(HashEncoder().encode(texts), 1)[0][:, 0].tolist() == reader.row_of(ids).tolist()
        assert reader.words_behind + reader.words.indexed == reader.total
        assert reader.verify() == []
        sizes.add(len(done))
        reader.close()
    assert process.returncode == 0
    assert len(sizes) > 1
    assert contents(Collection.open(tmp_path / "c")) == after
