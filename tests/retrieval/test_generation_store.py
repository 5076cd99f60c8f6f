"""Stored generations: nothing is paid for twice, nothing that was stored is lost, damage is said."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import scripted_server as play
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_server import ScriptedServer

from mumei.core.errors import ArtifactError, StorageError, UsageError
from mumei.retrieval import generation_store
from mumei.retrieval.chat import ChatGenerator
from mumei.retrieval.generation_store import CachedGenerator, GenerationStore, Request
from mumei.retrieval.generators import Generated, GeneratorError, GeneratorMalformed, GeneratorRefusal, OwnText, Replay
from mumei.testing import check_generator


class Counting:
    """A generator of the bare protocol: counts the texts asked for, and each text says how it was asked."""

    name = "counting"

    def __init__(self):
        self.calls = []

    def generate(self, prompts, *, n=1, temperature=1.0, max_tokens=512, seed=0):
        self.calls.append((list(prompts), n, seed))
        chance = seed if temperature else 0
        return [[f"{p}/{chance}/{i}" for i in range(n)] for p in prompts]


@pytest.fixture
def store(tmp_path):
    with GenerationStore(tmp_path / "store") as opened:
        yield opened


@pytest.fixture(autouse=True)
def _no_key(monkeypatch):
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_it_meets_the_protocol(tmp_path):
    folders = iter(range(100))
    check_generator(lambda: CachedGenerator(Counting(), GenerationStore(tmp_path / str(next(folders)))))
    check_generator(lambda: CachedGenerator(Counting(), GenerationStore(tmp_path / "one")))
    check_generator(lambda: CachedGenerator(OwnText(["a", "b"]), GenerationStore(tmp_path / "own")))


def test_the_second_run_is_free(store):
    with ScriptedServer() as server:
        options = {"n": 3, "temperature": 0.7, "max_tokens": 20, "seed": 5}
        cached = CachedGenerator(ChatGenerator(server.url, "toy"), store)
        first = cached.generate(["p", "q"], **options)
        asked = server.count
        assert asked == 2
        store.close()
        again = CachedGenerator(ChatGenerator(server.url, "toy"), GenerationStore(store.folder))
        assert again.generate(["q", "p"], **options) == first[::-1]
        assert server.count == asked
        assert (cached.misses, again.hits, again.misses, again.log) == (6, 6, 0, [])
        assert again.totals().endswith("6 texts from the store")


@pytest.mark.parametrize("server", [play.fine, play.ignores_n], ids=["n", "one"])
def test_four_after_two_asks_for_the_missing_two(store, server):
    with ScriptedServer(server) as running:
        cached = CachedGenerator(ChatGenerator(running.url, "toy"), store)
        two = cached.generate(["p"], n=2, seed=3)[0]
        before = running.count
        four = cached.generate(["p"], n=4, seed=3)[0]
        assert four[:2] == two
        assert len(set(four)) == 4
        new = running.requests[before:]
        assert sum(r["body"].get("n", 1) for r in new) == 2
        assert cached.generate(["p"], n=3, seed=3) == [four[:3]]
        assert running.count == before + len(new)


def test_a_bare_generator_gets_another_seed_for_later_samples(store):
    inner = Counting()
    cached = CachedGenerator(inner, store)
    two, four = cached.generate(["p"], n=2, seed=1)[0], cached.generate(["p"], n=4, seed=1)[0]
    assert four[:2] == two
    assert len(set(four)) == 4
    assert [(c[1], c[2] == 1) for c in inner.calls] == [(2, True), (2, False)]


def test_equal_prompts_are_asked_once(store):
    inner = Counting()
    made = CachedGenerator(inner, store).generate(["p", "q", "p"])
    assert made[0] == made[2] != made[1]
    assert inner.calls == [(["p", "q"], 1, 0)]


CHANGES = ({"temperature": 0.5}, {"max_tokens": 9}, {"seed": 1}, {"prompts": ["other"]})


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: next(iter(c)))
def test_whatever_shapes_a_text_makes_another_request(store, change):
    inner = Counting()
    cached = CachedGenerator(inner, store)
    base = {"prompts": ["p"], "temperature": 1.0, "max_tokens": 8, "seed": 0}
    cached.generate(**base)
    cached.generate(**{**base, **change})
    assert len(inner.calls) == 2
    cached.generate(**{**base, "temperature": 1})
    assert len(inner.calls) == 2


def test_the_generator_s_own_parameters_and_the_query_count(store):
    assert len({Request("m", "p", {"stop": s, "temperature": 1.0}).hash for s in (None, ["a"], ["b"])}) == 3
    with ScriptedServer() as server:
        for options in ({}, {"system": "Be short."}, {"extra": {"top_p": 0.5}}, {"extra": {"stop": ["\n"]}}):
            CachedGenerator(ChatGenerator(server.url, "toy", **options), store).generate(["p"], queries=["q"])
        assert server.count == 4
        CachedGenerator(ChatGenerator(server.url, "toy"), store).generate(["p"], queries=["another"])
        assert server.count == 4  # a server sees the prompt alone
    own = CachedGenerator(OwnText({"a": "of a", "b": "of b"}), store)
    assert own.generate(["p", "p"], queries=["a", "b"]) == [["of a"], ["of b"]]


def test_greedy_texts_do_not_depend_on_the_seed(store):
    inner = Counting()
    cached = CachedGenerator(inner, store)
    assert cached.generate(["p"], temperature=0, seed=1) == cached.generate(["p"], temperature=0, seed=2)
    assert len(inner.calls) == 1


@given(
    calls=st.lists(
        st.tuples(st.lists(st.sampled_from("abc"), min_size=1, max_size=3), st.integers(1, 4), st.integers(0, 1)),
        max_size=8,
    )
)
@settings(max_examples=25, deadline=None)
def test_the_same_sample_is_the_same_text_whatever_was_asked_before(tmp_path_factory, calls):
    """Against a plain dictionary of what was returned first."""
    seen: dict = {}
    with GenerationStore(tmp_path_factory.mktemp("store")) as store:
        inner = Counting()
        cached = CachedGenerator(inner, store)
        for prompts, n, seed in calls:
            for prompt, texts in zip(prompts, cached.generate(prompts, n=n, seed=seed), strict=True):
                for k, text in enumerate(texts):
                    assert seen.setdefault((prompt, seed, k), text) == text
        assert len(store) == len(seen) == sum(len(prompts) * n for prompts, n, _ in inner.calls)


def test_a_failed_call_keeps_what_was_finished(store):
    with ScriptedServer(play.by_prompt({"bad": play.says(None, refusal="No.")})) as server:
        cached = CachedGenerator(ChatGenerator(server.url, "toy"), store)
        with pytest.raises(GeneratorRefusal, match="refuses the prompt 'bad'") as caught:
            cached.generate(["a", "bad", "c"], n=2)
        assert [len(texts) for texts in caught.value.finished] == [2, 0, 2]
        before = server.count
        assert cached.generate(["a", "c"], n=2) == [caught.value.finished[i] for i in (0, 2)]
        assert server.count == before


def test_places_of_failed_prompts_are_those_of_the_call(store):
    """Also where stored and repeated prompts were not asked for."""
    with ScriptedServer(play.by_prompt({"bad": play.says(None, refusal="No.")})) as server:
        cached = CachedGenerator(ChatGenerator(server.url, "toy"), store)
        cached.generate(["a"])
        with pytest.raises(GeneratorRefusal) as caught:
            cached.generate(["a", "bad", "c", "bad"])
        assert sorted(caught.value.failed) == [1, 3]


def test_what_is_stored(store):
    with ScriptedServer() as server:
        generator = ChatGenerator(server.url, "toy", extra={"top_p": 0.9, "stop": ["\n\n\n"]})
        text = CachedGenerator(generator, store).generate(
            ["p q"], n=2, temperature=0.7, max_tokens=5, seed=4, queries=["Q?"]
        )[0]
    connection = sqlite3.connect(store.path)
    connection.row_factory = sqlite3.Row
    rows = [dict(r) for r in connection.execute("SELECT * FROM generations ORDER BY sample")]
    connection.close()
    assert [r["text"] for r in rows] == text
    expected = {"temperature": 0.7, "max_tokens": 5, "n": 2, "seed": 4, "top_p": 0.9, "stop": ["\n\n\n"]}
    assert expected.items() <= json.loads(rows[0]["parameters"]).items()
    assert (rows[0]["model"], rows[0]["prompt"], rows[0]["query"]) == (generator.name, "p q", "Q?")
    assert rows[0]["tokens"] > 0
    assert rows[0]["milliseconds"] > 0
    assert abs(rows[0]["created"] - time.time()) < 60
    summary = store.summary()
    assert (summary["texts"], summary["requests"], summary["models"]) == (2, 1, {generator.name: 2})
    assert summary["tokens"] == rows[0]["tokens"] + rows[1]["tokens"]
    assert summary["bytes"] > 0


def test_the_journal_is_written_ahead_and_flushed(store):
    with store._using() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_export_is_read_by_replay(store, tmp_path):
    cached = CachedGenerator(Counting(), store)
    texts = cached.generate(["prompt a", "prompt b"], n=2, seed=1, queries=["a?", "b?"])
    other = cached.generate(["prompt a"], n=1, seed=2, queries=["a?"])
    path = tmp_path / "out.jsonl"
    assert store.export(path, seed=1) == 4
    replay = Replay(path)
    assert replay.generate(["x", "x"], n=2, queries=["b?", "a?"]) == texts[::-1]
    assert replay.generate(["prompt b"], n=2) == texts[1:]
    assert store.export(path, model="none") == 0
    assert store.export(path) == 5
    assert set(Replay(path).generate(["a?"], n=3)[0]) == {*texts[0], *other[0]}


STRANGE = ["", " ", "\u0000 nul", "\ud800 lone", "𝔘𝔫𝔦 肺炎", "x" * 100_000, "'; DROP TABLE generations; --"]


@pytest.mark.parametrize("text", STRANGE, ids=range(len(STRANGE)))
def test_any_text_comes_back(store, text):
    request = Request("m", text, {"temperature": 1.0})
    store.put(request, 0, Generated(text))
    expected = text.encode("utf-8", "replace").decode()
    assert store.get([request.hash], 0, 1) == {request.hash: {0: expected}}
    store.check()


def test_the_first_text_stays(store):
    request = Request("m", "p", {})
    store.put(request, 0, Generated("first"))
    store.put(request, 0, Generated("second"))
    assert store.get([request.hash], 0, 9) == {request.hash: {0: "first"}}


WRITER = """
    import sys
    from mumei.retrieval.generation_store import GenerationStore, Request
    from mumei.retrieval.generators import Generated

    store = GenerationStore(sys.argv[1])
    for i in range(int(sys.argv[3])):
        store.put(Request(sys.argv[2], f"prompt {i}", {"temperature": 1.0}), 0, Generated(f"{sys.argv[2]} {i}"))
        print(i, flush=True)
"""


def writer(folder, name, count):
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(folder), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_process_loses_nothing_that_it_stored(tmp_path):
    process = writer(tmp_path, "w", 100_000)
    told = [process.stdout.readline() for _ in range(40)]
    os.kill(process.pid, signal.SIGKILL)
    told += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    done = 1 + max(int(line) for line in told if line.endswith("\n"))
    assert done >= 40
    with GenerationStore(tmp_path) as store:
        store.check()
        hashes = [Request("w", f"prompt {i}", {"temperature": 1.0}).hash for i in range(done)]
        found = store.get(hashes, 0, 1)
        assert [found[h][0] for h in hashes] == [f"w {i}" for i in range(done)]


def test_two_processes_at_once(tmp_path):
    processes = [writer(tmp_path, name, 60) for name in ("a", "b", "a")]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    with GenerationStore(tmp_path) as store:
        store.check()
        assert len(store) == 120


def test_threads_at_once(store):
    cached = CachedGenerator(Counting(), store)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda i: cached.generate([f"p{i % 5}"], n=2), range(40)))
    assert len({json.dumps(made[i]) for i in range(40)}) == 5
    assert len(store) == 10


def test_threads_that_ask_the_same_pay_once(store):
    with ScriptedServer(play.slow(0.2)) as server:
        cached = CachedGenerator(ChatGenerator(server.url, "toy"), store)
        with ThreadPoolExecutor(3) as pool:
            made = list(pool.map(lambda _: cached.generate(["p"], n=2), range(3)))
        assert made[0] == made[1] == made[2]
        assert server.count == 1


def test_a_generator_that_returns_too_few_is_said(store):
    class Short(Counting):
        def generate(self, prompts, **options):
            return super().generate(prompts, **{**options, "n": 1})

    with pytest.raises(GeneratorMalformed, match="counting did not return 1 lists of 2 texts"):
        CachedGenerator(Short(), store).generate(["p"], n=2)


def test_a_child_process_opens_its_own(store):
    store.put(Request("m", "p", {}), 0, Generated("t"))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if len(store) == 1 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(store) == 1


def test_a_damaged_file_is_said(tmp_path):
    (tmp_path / generation_store.FILE).write_bytes(b"this is no database, but long enough to be taken for one " * 100)
    with pytest.raises(ArtifactError, match=r"generations\.sqlite is damaged .*Move the file .* away: .*\.recover"):
        GenerationStore(tmp_path)


def test_a_page_overwritten_is_said(tmp_path):
    with GenerationStore(tmp_path) as store:
        for i in range(200):
            store.put(Request("m", f"p{i}", {}), 0, Generated("text " * 50))
    content = bytearray(store.path.read_bytes())
    content[4096 * 2 : 4096 * 6] = b"\xa5" * (4096 * 4)
    store.path.write_bytes(content)
    with pytest.raises(ArtifactError, match="is damaged"), GenerationStore(tmp_path) as again:
        again.check()


def test_a_changed_letter_is_said(tmp_path):
    request = Request("m", "p", {})
    with GenerationStore(tmp_path) as store:
        store.put(request, 0, Generated("statins lower cholesterol"))
    store.path.write_bytes(store.path.read_bytes().replace(b"statins lower", b"statins raise"))
    with GenerationStore(tmp_path) as store, pytest.raises(ArtifactError, match="is not the text that was stored"):
        store.get([request.hash], 0, 1)
    with GenerationStore(tmp_path) as store, pytest.raises(ArtifactError, match="is not the text that was stored"):
        store.check()


def test_another_program_s_file_and_a_newer_one(tmp_path):
    path = tmp_path / generation_store.FILE
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(ArtifactError, match="is another program's SQLite file"):
        GenerationStore(tmp_path)
    path.unlink()
    GenerationStore(tmp_path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(ArtifactError, match="has version 9, newer than this mumei knows"):
        GenerationStore(tmp_path)


def test_a_file_in_the_folder_s_place(tmp_path):
    (tmp_path / "f").write_text("x")
    with pytest.raises(StorageError, match="as a folder"):
        GenerationStore(tmp_path / "f")


def test_a_store_held_by_another_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(generation_store, "BUSY", 0.1)
    with GenerationStore(tmp_path) as store:
        other = sqlite3.connect(store.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match=r"another process has held it for 0\.1 s"):
            store.put(Request("m", "p", {}), 0, Generated("t"))
        other.execute("ROLLBACK")
        other.close()


def test_bad_arguments_do_not_reach_the_store(store):
    cached = CachedGenerator(Counting(), store)
    with pytest.raises(UsageError, match="n=0"):
        cached.generate(["p"], n=0)
    assert len(store) == 0


def test_a_deadline_goes_to_a_generator_that_takes_it(store):
    with ScriptedServer(play.slow(20)) as server:
        cached = CachedGenerator(ChatGenerator(server.url, "toy"), store)
        began = time.monotonic()
        with pytest.raises(GeneratorError, match="deadline"):
            cached.generate(["p"], deadline=0.2)
        assert time.monotonic() - began < 3
    assert CachedGenerator(Counting(), store).generate(["p"], deadline=0.2) == [["p/0/0"]]
