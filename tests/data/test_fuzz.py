"""The readers against files changed at random (`fuzz.py`): by hand for as long as wanted, and its own inputs at every run.

`MUMEI_FUZZ_SECONDS=300 pytest -m slow tests/data/test_fuzz.py` takes 300 seconds a reader; MUMEI_FUZZ_SEED makes other cases.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mumei.data.readers import READERS

SCRIPT = Path(__file__).with_name("fuzz.py")


def fuzz(*arguments: str) -> list[dict]:
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [f["failures"] for f in found if f["failures"]] == []
    assert done.returncode == 0, done.stderr  # killed: out of memory, or a fault of foreign code
    return found


def test_every_reader_has_a_valid_input_and_survives_the_first_changes():
    for seconds in ("0.3", "3"):  # on a busy machine a reader may get no turn in the shorter time
        found = fuzz("--seconds", seconds)
        if all(f["read"] and f["refused"] for f in found):
            break
    assert [f["reader"] for f in found] == list(READERS)
    assert all(f["read"] and f["refused"] for f in found)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_nothing_but_errors_that_say_what_is_wrong(reader, tmp_path):
    seconds = os.environ.get("MUMEI_FUZZ_SECONDS", "20")
    (found,) = fuzz(
        reader, "--seconds", seconds, "--seed", os.environ.get("MUMEI_FUZZ_SEED", "0"), "--keep", str(tmp_path)
    )
    assert found["cases"] > float(seconds)
