"""kill -9 at random moments of discover: the final workspace equals the undisturbed one, byte for byte."""

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

SCRIPT = """
import torch
torch.set_num_threads(1)
from mumei.discover import pipeline
pipeline.ENCODE_ROWS = 24
pipeline.discover("primer", out={out!r}, ask=["statins and muscle pain"])
"""


def start(out: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(out=str(out))], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name not in ("log.jsonl", ".lock")
    }


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_discover_ends_byte_equal(tmp_path, kills):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    begin = time.perf_counter()
    assert start(whole).wait(600) == 0
    seconds = time.perf_counter() - begin
    expected = contents(whole)
    assert len(expected) > 15  # parts, vectors, words, tables, report: something to compare
    rng, landed = random.Random(kills), 0
    while True:
        process = start(cut)
        try:
            process.wait(rng.uniform(0.02, seconds) if landed < kills else 600)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            landed += 1
            continue
        assert process.returncode == 0
        assert contents(cut) == expected
        if landed == kills:
            break
        shutil.rmtree(cut)  # it finished before its kill: clear the ground and go on
    assert landed == kills
