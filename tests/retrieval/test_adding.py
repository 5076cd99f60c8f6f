"""Adding: what is encoded and what is not, repeated ids, conflicts, hostile documents, failures half way."""

from __future__ import annotations

import io
import itertools
import shutil

import numpy as np
import pytest
from collection_toys import HashEncoder, Killed, Power, answers, check, contents, document, expected, make

from mumei.core.errors import DataError, StorageError, UsageError
from mumei.core.progress import Progress
from mumei.retrieval import adding, documents, lexical, upkeep
from mumei.retrieval.adding import Added
from mumei.retrieval.collection import Collection
from mumei.retrieval.documents import Document


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(adding, "BATCH", 8)


@pytest.fixture
def small_parts(monkeypatch):
    for module in (documents, adding, upkeep):
        monkeypatch.setattr(module, "PART", 8)
    monkeypatch.setattr(documents, "GROUP", 3)
    monkeypatch.setattr(documents, "RUN", 5)


def seen(collection):
    asked = list(collection.encoder.seen)
    collection.encoder.seen.clear()
    return asked


def test_only_what_is_new_or_changed_is_encoded(tmp_path):
    collection = make(tmp_path / "c")
    assert collection.add([document(i) for i in range(20)]) == Added(added=20)
    assert len(seen(collection)) == 20
    assert collection.add([document(i) for i in range(20)]) == Added(unchanged=20)
    assert seen(collection) == []
    assert collection.add([document(3, 1), document(4), document(30)]) == Added(added=1, updated=1, unchanged=1)
    assert seen(collection) == ["title 3. word3 version1 common", "title 30. word30 version0 common"]
    assert (collection.total, len(collection)) == (22, 21)
    check(collection, [document(3, 1), document(30), *(document(i) for i in range(20) if i != 3)])


def test_changed_metadata_alone_keeps_the_vector(tmp_path):
    collection = make(tmp_path / "c", [Document("a", "t", "x", {"n": 1}), Document("b", "t", "y", {"n": 1})])
    seen(collection)
    before = collection.vectors.rows([0])
    assert collection.add([Document("a", "t", "x", {"n": 2})]).updated == 1
    assert seen(collection) == []
    assert contents(collection) == {"a": ("t", "x", {"n": 2}), "b": ("t", "y", {"n": 1})}
    np.testing.assert_array_equal(collection.vectors.rows(collection.row_of(["a"])), before)


@pytest.mark.parametrize("gap", [0, 3, 30])
def test_of_repeated_ids_the_first_wins(tmp_path, gap):
    given = [document(0), *(document(i) for i in range(1, gap + 1)), document(0, 1), document(0, 2)]
    collection = make(tmp_path / "c")
    found = collection.add(given)
    assert (found.added, found.duplicates_in_source, found.duplicate_ids) == (gap + 1, 2, ("id0", "id0"))
    assert contents(collection) == expected(given[:-2])
    again = collection.add(given)
    assert (again.unchanged, again.duplicates_in_source, again.updated) == (gap + 1, 2, 0)


def test_repeated_ids_are_listed_up_to_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(adding, "LISTED", 3)
    found = make(tmp_path / "c").add([document(0)] * 10)
    assert (found.duplicates_in_source, found.duplicate_ids) == (9, ("id0",) * 3)


@pytest.mark.parametrize("policy", ["update", "skip", "error"])
def test_conflicts(tmp_path, policy):
    collection = make(tmp_path / "c", [document(0), document(1)])
    given = [document(0), document(1, 1), document(2)]
    if policy == "error":
        with pytest.raises(DataError, match="'id1' is in the collection with other content; 2 rows are saved"):
            collection.add(given, on_conflict=policy)
        assert contents(collection) == expected([document(0), document(1)])
        return
    found = collection.add(given, on_conflict=policy)
    skipped = policy == "skip"
    assert found == Added(added=1, unchanged=1, skipped=int(skipped), updated=int(not skipped))
    assert contents(collection) == expected([document(0), document(1, int(not skipped)), document(2)])


def test_an_unknown_policy_is_refused(tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'update'"):
        make(tmp_path / "c").add([], on_conflict="updat")


def test_empty_and_unclean_documents_are_counted(tmp_path):
    given = [
        Document("a"),
        Document("b", " ", "\n"),
        Document("c", "t"),
        Document("d", "", "x\x00\ud800"),
        Document("e", text="y"),
    ]
    collection = make(tmp_path / "c")
    found = collection.add(given)
    assert found == Added(added=3, dropped_empty=2, cleaned=1)
    assert contents(collection) == {"c": ("t", "", {}), "d": ("", "x \ufffd", {}), "e": ("", "y", {})}
    assert "2 empty, left out" in str(found)
    assert collection.add(given).unchanged == 3


def test_a_document_that_cannot_be_used_stops_with_the_rest_saved(tmp_path):
    collection = make(tmp_path / "c")
    with pytest.raises(DataError, match="document 19: the id"):
        collection.add([*(document(i) for i in range(19)), Document("bad\x01", text="x")])
    check(Collection.open(tmp_path / "c", HashEncoder()), [document(i) for i in range(16)])
    assert collection.add(document(i) for i in range(19)).added == 3
    check(collection, [document(i) for i in range(19)])


def test_a_long_document_is_found(tmp_path):
    long = Document("long", "t", "filler " * 14_000 + "needle", {"n": 1})
    collection = make(tmp_path / "c", [document(0), long, document(1)])
    assert collection.words.search("needle", 3)[0] == [1]
    assert collection.rows([1])[0]["text"] == long.text


def test_progress_says_what_is_saved(tmp_path, monkeypatch):
    from mumei.core import progress

    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    stream = io.StringIO()
    make(tmp_path / "c").add([document(i) for i in range(20)], progress=Progress(stream=stream))
    lines = stream.getvalue().splitlines()
    assert any(line.startswith("add: 8 of 20 documents (40 %)") for line in lines)
    assert any(line.startswith("add: 20 of 20") for line in lines)
    assert any(line.endswith("16 rows saved") for line in lines)  # told while the last batch is encoded
    assert lines[-1] == f"add: 20 added, 0 updated, 0 unchanged; 20 documents in {tmp_path / 'c'}"


@pytest.mark.parametrize("wrong", ["rows", "dim", "nan"])
def test_an_encoder_that_fails_leaves_what_was_saved(tmp_path, wrong):
    class Failing(HashEncoder):
        def encode(self, items, **options):
            out = super().encode(items)
            if any("word12" in text for text in items):
                out = {"rows": out[1:], "dim": out[:, 1:], "nan": out * np.nan}[wrong]
            return out

    collection = Collection.create(tmp_path / "c", Failing())
    with pytest.raises(DataError):
        collection.add([document(i) for i in range(20)])
    again = Collection.open(tmp_path / "c", HashEncoder())
    assert contents(again) == expected([document(i) for i in range(8)])
    assert again.words_behind == 8
    assert "8 of 8 rows cannot be found by words yet" in again.notes[0]
    again.add([])
    check(again, [document(i) for i in range(8)])


def test_words_follow_in_full_shards_while_adding(tmp_path, monkeypatch):
    monkeypatch.setattr(lexical, "SHARD", 16)
    counts = []

    def source():
        for i in range(60):
            counts.append(lexical.LexicalIndex.rows_in(tmp_path / "c" / "words"))
            yield document(i)

    collection = make(tmp_path / "c")
    collection.add(source())
    assert set(counts) == {0, 16, 32, 48}
    check(collection, [document(i) for i in range(60)])


def test_a_full_disk_leaves_the_collection_as_it_was(tmp_path, monkeypatch):
    import errno
    import os

    given = [document(i) for i in range(8)]
    collection = make(tmp_path / "c", given)
    for n in itertools.count():
        with monkeypatch.context() as patch:
            calls = itertools.count()

            def full(*args, inner=os.replace, n=n, calls=calls):
                if next(calls) >= n:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return inner(*args)

            patch.setattr(os, "replace", full)
            try:
                collection.add([document(0, n + 1), document(20 + n)])
                break
            except StorageError as error:
                if "the disk is full" not in str(error):
                    raise
        found = contents(collection)
        assert found in (contents(Collection.open(tmp_path / "c", HashEncoder())),)
        assert {k: v for k, v in found.items() if k not in ("id0", *(f"id{20 + i}" for i in range(n + 1)))} == expected(
            given[1:]
        )
    assert n > 5
    assert [str(d) for d in collection.verify()] == []


BASE = [document(i) for i in range(13)]
SOURCE = [document(i, i % 2) for i in range(20)]
TEXTS = [f"title {i}. word{i} version{i % 2} common" for i in range(20)]
ACTS = {
    "add": lambda collection: collection.add(SOURCE),
    "delete": lambda collection: collection.delete(["id1", "id12"]),
    "compact": lambda collection: collection.compact(),
}


def start(folder):
    collection = make(folder, BASE)
    collection.delete(["id2", "id5"])
    return collection


def between(before, after, what):
    """The states that may be found after a cut: whole batches of an add, all or nothing of the others."""
    if what != "add":
        return [before, after] if what == "delete" else [before]
    changes = [d.id for d in SOURCE if before.get(d.id) != after[d.id]]
    return [{**before, **{name: after[name] for name in changes[:n]}} for n in range(0, len(changes) + 8, 8)]


@pytest.mark.parametrize("what", ACTS)
@pytest.mark.parametrize("stride", [29, pytest.param(1, marks=pytest.mark.slow)])
def test_cut_at_every_rename_and_flush(tmp_path, monkeypatch, small_parts, what, stride):
    """After a cut at any moment the collection is one that was saved; the same command again completes it."""
    whole = start(tmp_path / "whole")
    before = contents(whole)
    with Power().on(monkeypatch) as power:
        ACTS[what](whole)
    after = contents(whole)
    saved, found_states = between(before, after, what), set()
    assert power.calls > 8
    for n in range(0, power.calls, stride):
        start(tmp_path / "cut").close()
        with Power(n).on(monkeypatch), pytest.raises(Killed):
            ACTS[what](Collection.open(tmp_path / "cut", HashEncoder()))
        again = Collection.open(tmp_path / "cut", HashEncoder())
        found = contents(again)
        assert found in saved
        found_states.add(saved.index(found))
        assert [str(d) for d in again.verify()] == []
        ACTS[what](again)
        assert contents(again) == after
        assert [str(d) for d in again.verify()] == []
        assert again.words_behind == 0
        assert answers(again, TEXTS) == answers(whole, TEXTS)
        again.close()
        shutil.rmtree(tmp_path / "cut")
    assert found_states == set(range(len(saved))) or stride > 1
