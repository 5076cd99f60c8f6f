"""A cached encoder equals the bare one through any sequence of calls, damage and other processes."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mumei.core.errors import ArtifactError, DataError, UsageError
from mumei.retrieval import vector_cache
from mumei.retrieval.vector_cache import RECORD, CachedEncoder, text_key
from mumei.testing import check_encoder

DIM = 5


class HashEncoder:
    """Vectors from a hash of the text; queries have others. Counts what it is given."""

    name, dim, normalized = "hash", DIM, True

    def __init__(self):
        self.given: list[str] = []

    def vector(self, text, kind=""):
        content = hashlib.blake2b((kind + text).encode("utf-8", "surrogatepass"), digest_size=4 * DIM).digest()
        return np.frombuffer(content, dtype=np.uint32).astype(np.float32)

    def encode(self, items, *, batch_size=None, progress=None, kind=""):
        self.given += items
        if progress is not None and items:
            progress(len(items))
        return np.array([self.vector(t, kind) for t in items], dtype=np.float32).reshape(-1, DIM)


class TwoWays(HashEncoder):
    name = "two ways"

    def encode_queries(self, items, *, batch_size=None, progress=None):
        return self.encode(items, kind="query ")


def files(cached):
    return cached.folder / "keys.bin", cached.folder / "vectors.f32"


def test_only_new_texts_are_encoded(tmp_path):
    inner = HashEncoder()
    cached = CachedEncoder(inner, tmp_path)
    done: list[int] = []
    expected = HashEncoder().encode(["a", "b", "a"])
    np.testing.assert_array_equal(cached.encode(["a", "b", "a"], progress=done.append), expected)
    assert inner.given == ["a", "b"]
    assert (cached.hits, cached.misses, sum(done)) == (1, 2, 3)
    again = CachedEncoder(inner, tmp_path)
    np.testing.assert_array_equal(again.encode(["b", "c", "a"]), HashEncoder().encode(["b", "c", "a"]))
    assert inner.given == ["a", "b", "c"]
    assert (again.hits, again.misses) == (2, 1)
    assert (again.name, again.dim, again.normalized) == ("hash", DIM, True)
    assert again.encode([]).shape == (0, DIM)


def test_the_layout_is_the_documented_one(tmp_path):
    """Expected: written out by hand from the module's docstring."""
    cached = CachedEncoder(HashEncoder(), tmp_path)
    cached.encode(["a", "b"])
    keys, vectors = (path.read_bytes() for path in files(cached))
    rows = [HashEncoder().vector(t).astype("<f4").tobytes() for t in "ab"]
    assert vectors == b"".join(rows)
    digests = [hashlib.blake2b(t.encode(), digest_size=16, person=b"d").digest() for t in "ab"]
    expected = [d + zlib.crc32(r).to_bytes(4, "little") + bytes(4) for d, r in zip(digests, rows, strict=True)]
    assert keys == b"".join(expected)


def test_queries_have_their_own_vectors_where_the_encoder_has_them(tmp_path):
    two, one = CachedEncoder(TwoWays(), tmp_path), CachedEncoder(HashEncoder(), tmp_path)
    assert two.folder != one.folder
    for _ in range(2):
        np.testing.assert_array_equal(two.encode(["a"])[0], HashEncoder().vector("a"))
        np.testing.assert_array_equal(two.encode_queries(["a"])[0], HashEncoder().vector("a", "query "))
        np.testing.assert_array_equal(one.encode_queries(["a"]), one.encode(["a"]))
    assert (two.hits, two.misses, one.hits, one.misses) == (2, 2, 3, 1)


TEXT = st.one_of(st.sampled_from(["", "a", "b", "a b", "\0", "肺炎", "\ud800"]), st.text(max_size=3))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["documents", "queries", "other"]), st.lists(TEXT, max_size=6)),
        st.tuples(st.sampled_from(["cut keys", "cut vectors", "damage", "reopen"]), st.integers(0, 400)),
    ),
    max_size=12,
)


@settings(max_examples=120, deadline=None)
@example([("other", ["a"]), ("cut keys", 1), ("documents", [""]), ("other", ["a"])], 3, 0)
@given(STEPS, st.sampled_from([0, 3, 10_000]), st.sampled_from([0, 2, 65_536]))
def test_any_sequence_equals_the_bare_encoder(steps, limit, recent):
    """Files are cut anywhere or a byte is flipped between calls; another cache writes to the same folder."""
    bare = TwoWays()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_cache, "RECENT", recent)
        cached, other = (CachedEncoder(TwoWays(), folder, limit=limit) for _ in range(2))
        for step, given_ in steps:
            if step in ("documents", "other"):
                np.testing.assert_array_equal(
                    (other if step == "other" else cached).encode(given_), bare.encode(given_)
                )
            elif step == "queries":
                np.testing.assert_array_equal(cached.encode_queries(given_), bare.encode_queries(given_))
            elif step == "reopen":
                cached.close()
                cached = CachedEncoder(TwoWays(), folder, limit=limit)
            else:
                spoil(files(cached)[step != "cut keys"], step, given_)
        cached.close()
        other.close()


def spoil(path, step, where):
    content = bytearray(path.read_bytes()) if path.exists() else bytearray()
    if not content:
        return
    if step == "damage":
        content[where % len(content)] ^= 0x55
        path.write_bytes(content)
    else:
        os.truncate(path, len(content) - min(len(content), where % (len(content) + 1)))


@pytest.mark.parametrize("cut", range(1, 2 * RECORD))
def test_a_truncated_file_is_recovered_from(tmp_path, cut):
    """What is whole is used, the rest is encoded and appended again, and the files end whole."""
    first = CachedEncoder(HashEncoder(), tmp_path)
    first.encode(["a", "b", "c"])
    keys, vectors = files(first)
    os.truncate(keys, keys.stat().st_size - cut)
    inner = HashEncoder()
    second = CachedEncoder(inner, tmp_path)
    np.testing.assert_array_equal(second.encode(["c", "b", "a"]), HashEncoder().encode(["c", "b", "a"]))
    lost = -(-cut // RECORD)
    assert inner.given == ["c", "b", "a"][:lost]
    assert (keys.stat().st_size, vectors.stat().st_size) == (3 * RECORD, 3 * 4 * DIM)


def test_a_damaged_vector_is_made_again(tmp_path):
    first = CachedEncoder(HashEncoder(), tmp_path)
    first.encode(["a", "b"])
    spoil(files(first)[1], "damage", 4 * DIM + 1)
    inner = HashEncoder()
    for _ in range(2):
        np.testing.assert_array_equal(
            CachedEncoder(inner, tmp_path).encode(["a", "b"]), HashEncoder().encode(["a", "b"])
        )
    assert inner.given == ["b"]


def test_the_limit_is_kept(tmp_path):
    inner = HashEncoder()
    cached = CachedEncoder(inner, tmp_path, limit=2)
    for _ in range(2):
        np.testing.assert_array_equal(cached.encode(["a", "b", "c"]), HashEncoder().encode(["a", "b", "c"]))
    assert inner.given == ["a", "b", "c", "c"]
    assert cached.full
    assert files(cached)[0].stat().st_size == 2 * RECORD


def test_many_keys_are_found_again(tmp_path, monkeypatch):
    """More than fit the dict: they are sorted in, and those of a later append too."""
    monkeypatch.setattr(vector_cache, "RECENT", 100)
    texts = [str(i) for i in range(1000)]
    cached = CachedEncoder(HashEncoder(), tmp_path)
    for start in range(0, 1000, 70):
        cached.encode(texts[start : start + 70])
    fresh = CachedEncoder(HashEncoder(), tmp_path)
    for one in (cached, fresh):
        before = one.misses
        np.testing.assert_array_equal(one.encode(texts[::-1]), HashEncoder().encode(texts[::-1]))
        assert one.misses == before


WRITER = """
import sys
sys.path.insert(0, {tests!r})
from test_vector_cache import HashEncoder
from mumei.retrieval.vector_cache import CachedEncoder
cached = CachedEncoder(HashEncoder(), {folder!r})
print("ready", flush=True)
for i in range({start}, {stop}):
    cached.encode([f"text {{i}}", f"other {{i}}"])
print("done", flush=True)
"""


def writer(folder, start, stop):
    code = WRITER.format(tests=str(Path(__file__).parent), folder=str(folder), start=start, stop=stop)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_two_processes_write_and_one_is_killed(tmp_path):
    """Every record that is there afterwards is right, and the files are whole again after the next write."""
    steady, killed = writer(tmp_path, 0, 300), writer(tmp_path, 200, 10**9)
    assert killed.stdout is not None
    assert killed.stdout.readline() == "ready\n"
    time.sleep(0.3)
    killed.send_signal(signal.SIGKILL)
    assert "done" in steady.communicate(timeout=60)[0]
    killed.communicate(timeout=60)
    assert (killed.returncode, steady.returncode) == (-signal.SIGKILL, 0)
    inner = HashEncoder()
    cached = CachedEncoder(inner, tmp_path)
    texts = [f"{kind} {i}" for i in range(400) for kind in ("text", "other")]
    np.testing.assert_array_equal(cached.encode(texts), HashEncoder().encode(texts))
    assert not {f"text {i}" for i in range(300)} & set(inner.given)
    cached.encode(["a text of neither"])  # a quick writer has left nothing new among those above
    keys, vectors = files(cached)
    assert keys.stat().st_size / RECORD == vectors.stat().st_size / (4 * DIM)


def test_threads_share_one_cache(tmp_path):
    cached = CachedEncoder(HashEncoder(), tmp_path)
    wrong = []

    def work(start):
        for i in range(start, start + 60):
            texts = [str(i % 50), str(i)]
            if not (cached.encode(texts) == HashEncoder().encode(texts)).all():
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(s,)) for s in (0, 20, 40)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []
    assert cached.hits + cached.misses == 360


def test_the_kit(tmp_path):
    check_encoder(lambda: CachedEncoder(HashEncoder(), tmp_path), ["a", "b", "", "肺炎"])


def test_what_does_not_fit_is_refused(tmp_path):
    cached = CachedEncoder(HashEncoder(), tmp_path)
    wider = HashEncoder()
    wider.dim = DIM + 1
    with pytest.raises(ArtifactError, match="5 dimensions"):
        CachedEncoder(wider, tmp_path)
    with pytest.raises(UsageError, match="limit=-1"):
        CachedEncoder(HashEncoder(), tmp_path, limit=-1)
    with pytest.raises(DataError, match="item 0 is int"):
        cached.encode([1])
    assert text_key(b"d", "a") != text_key(b"q", "a")
