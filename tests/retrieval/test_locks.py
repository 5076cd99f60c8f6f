"""One writer, many readers, and a moment alone: between processes and within one."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys

import pytest

from mumei.core.errors import StorageError
from mumei.retrieval import locks
from mumei.retrieval.locks import BusyError, Reader, make_locks, writing

HOLD = """
import sys, time
from pathlib import Path
from mumei.retrieval.locks import Reader, writing
folder = Path(sys.argv[1])
reader = Reader(folder)
with writing(folder):
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_lock_of_a_dead_process_is_free(tmp_path):
    make_locks(tmp_path)
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    with process.stdout:
        assert process.stdout.readline() == b"held\n"
    reader = Reader(tmp_path)
    assert not reader.alone()
    with pytest.raises(BusyError, match="another process is writing"), writing(tmp_path):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    with writing(tmp_path):
        assert reader.alone()


def test_a_writer_is_alone_when_the_last_other_reader_goes(tmp_path):
    make_locks(tmp_path)
    mine, others = Reader(tmp_path), [Reader(tmp_path) for _ in range(3)]
    assert not mine.alone()
    others.pop().close()
    others.pop().close()
    assert not mine.alone()
    others.clear()
    gc.collect()
    assert mine.alone()
    with mine.exclusive() as alone:
        assert alone
    late = Reader(tmp_path)
    assert not mine.alone()
    late.close()
    late.close()
    assert mine.alone()


def test_locks_are_made_once_and_a_forbidden_folder_says_so(tmp_path):
    for _ in range(2):
        make_locks(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".lock", ".readers"]
    with pytest.raises(StorageError):
        make_locks(tmp_path / "missing")


def test_without_flock_everything_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_flock", lambda: None)
    reader = Reader(tmp_path)
    with writing(tmp_path), writing(tmp_path):
        assert reader.alone()
    reader.close()


def test_a_folder_without_the_files_can_be_read(tmp_path):
    reader = Reader(tmp_path)
    assert reader.alone()
    assert os.listdir(tmp_path) == []
    reader.close()
