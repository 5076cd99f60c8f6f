"""Freed memory is kept: told by the page faults of a loop that frees and makes some megabytes, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mumei.core import memory

LOOP = """
import resource, numpy as np
from mumei.core.memory import freed_memory_kept

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(40):
        parts = [np.ones(1 << 19) for _ in range(3)]  # 4 MiB each
        del parts
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

np.ones(64).sum()
outside = faults()
with freed_memory_kept():
    with freed_memory_kept():
        faults()
    within = faults()
print(outside, within, faults())
"""


@pytest.mark.skipif(memory._libc() is None, reason="the C library has no mallopt")
def test_a_loop_that_frees_and_makes_memory_has_few_page_faults():
    done = subprocess.run([sys.executable, "-c", LOOP], capture_output=True, text=True, check=True)
    outside, within, after = map(int, done.stdout.split())
    assert within < 0.1 * outside
    assert after > 0.5 * outside  # and the system's way is back, the outermost context being left


def test_without_mallopt_nothing_is_done(monkeypatch):
    monkeypatch.setattr(memory, "_libc", lambda: None)
    with memory.freed_memory_kept():
        pass


def test_an_error_within_leaves_the_count_right():
    with pytest.raises(ValueError, match="x"), memory.freed_memory_kept():
        raise ValueError("x")
    assert memory._running == 0
