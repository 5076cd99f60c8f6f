"""Collections: what goes in is found, readers keep their view, wrong encoders and second writers are refused."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from collection_toys import HashEncoder, check, contents, document, expected, make

from mumei.core.errors import ArtifactError, DataError, UsageError
from mumei.retrieval import adding
from mumei.retrieval.collection import Collection
from mumei.retrieval.documents import Document
from mumei.retrieval.guard import background
from mumei.retrieval.locks import BusyError


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(adding, "BATCH", 8)


def test_what_is_added_is_found(tmp_path):
    given = [document(i) for i in range(30)]
    collection = make(tmp_path / "c", given)
    check(collection, given)
    check(Collection.open(tmp_path / "c", HashEncoder()), given)
    assert (len(collection), collection.total, collection.words_behind, collection.notes) == (30, 30, 0, [])


def test_an_empty_collection_can_be_used(tmp_path):
    collection = make(tmp_path / "c")
    check(collection, [])
    assert collection.row_of(["a"]).tolist() == [-1]
    assert collection.rows([]) == []
    assert collection.words.search("x", 3) == ([], [])
    assert collection.vectors.search(np.zeros((2, 16), np.float32), 3)[0].shape == (2, 0)
    assert collection.where("text contains 'x'").shape == (0,)
    assert (collection.background, collection.compact(), collection.delete(["a"])) == ((0.0, 1.0), 0, 0)


def test_conditions_and_masks_choose_rows(tmp_path):
    given = [document(i) for i in range(20)]
    collection = make(tmp_path / "c", given)
    collection.delete(["id3", "id5"])
    mask = collection.where("number < 10 and not number == 4")
    assert np.flatnonzero(mask).tolist() == [0, 1, 2, 6, 7, 8, 9]
    query = HashEncoder().encode(["x"])
    everything = collection.vectors.search(query, 20)[0][0]
    assert sorted(everything.tolist()) == np.flatnonzero(collection.live).tolist()
    assert collection.vectors.search(query, 5, allow=mask)[0][0].tolist() == [r for r in everything if mask[r]][:5]
    assert collection.words.search("common", 30, allow=mask)[0] == np.flatnonzero(mask).tolist()
    assert collection.words.search("common", 30)[0] == np.flatnonzero(collection.live).tolist()
    for view in (collection.vectors, collection.words):
        with pytest.raises(DataError, match="one bool a row"):
            view.search(query if view is collection.vectors else "x", 3, allow=np.ones(3, bool))
    with pytest.raises(UsageError, match="no document has the field 'numbre'"):
        collection.where("numbre > 3")
    assert collection.fields == ["number", "version"]


def test_views_do_not_let_rows_in_or_out(tmp_path):
    collection = make(tmp_path / "c", [document(0)])
    with pytest.raises(UsageError, match=r"Collection\.add"):
        collection.vectors.append(np.zeros((1, 16)))
    with pytest.raises(UsageError, match=r"Collection\.delete"):
        collection.vectors.delete([0])
    with pytest.raises(UsageError, match="of 1 rows"):
        collection.vectors.rows([1])
    with pytest.raises(ValueError, match="read-only"):
        collection.live[0] = False
    assert (len(collection.vectors), collection.vectors.model, collection.vectors.dim) == (1, "hash/16", 16)


def test_a_reader_keeps_its_view_while_others_write(tmp_path):
    given = [document(i) for i in range(12)]
    make(tmp_path / "c", given)
    early = Collection.open(tmp_path / "c", HashEncoder())
    used = Collection.open(tmp_path / "c", HashEncoder())
    check(used, given)
    writer = Collection.open(tmp_path / "c", HashEncoder())
    changed = [document(i, 1) for i in range(3)] + [document(i) for i in range(20, 40)]
    writer.add(changed)
    writer.delete(["id7"])
    writer.compact()
    writer.add([document(50)])
    now = [d for d in given[3:] if d.id != "id7"] + changed + [document(50)]
    check(writer, sorted(now, key=lambda d: writer.row_of([d.id])[0]))
    for reader in (used, early):
        assert contents(reader) == expected(given)
        assert reader.vectors.search(HashEncoder().encode(["title 3. word3 version0 common"]), 1)[0].tolist() == [[3]]
        assert reader.words.search("word7", 5)[0] == [7]
        assert sorted(reader.words.search("common", 50)[0]) == list(range(12))
    assert contents(early.reload()) == expected(now)
    used.close()
    early.close()
    writer.add([])
    assert {p.name for p in (tmp_path / "c").iterdir() if p.is_dir()} == {"documents-1", "vectors-1", "words-1"}
    assert len(list((tmp_path / "c" / "documents-1").iterdir())) <= 2


def test_while_somebody_reads_old_files_stay(tmp_path):
    writer = make(tmp_path / "c", [document(0)])
    reader = Collection.open(tmp_path / "c", HashEncoder())
    writer.add([document(1)])
    assert len(list((tmp_path / "c" / "documents").glob("part-*"))) == 2
    reader.close()
    writer.add([document(2)])
    assert len(list((tmp_path / "c" / "documents").glob("part-*"))) == 1


def test_a_second_writer_is_refused(tmp_path):
    collection = make(tmp_path / "c", [document(0)])
    other = Collection.open(tmp_path / "c", HashEncoder())
    with collection.writer():
        for attempt in (lambda: other.add([document(1)]), lambda: other.delete(["id0"]), other.compact, other.rebuild):
            with pytest.raises(BusyError, match="another process is writing"):
                attempt()
        assert contents(other) == expected([document(0)])
    assert other.add([document(1)]).added == 1


def test_two_writers_take_turns_and_see_each_other(tmp_path):
    one = make(tmp_path / "c", [document(0)])
    two = Collection.open(tmp_path / "c", HashEncoder())
    assert two.add([document(1), document(0)]).unchanged == 1
    assert one.add([document(1), document(2)]).unchanged == 1
    assert two.delete(["id2"]) == 1
    check(one.reload(), [document(0), document(1)])


def test_another_encoder_is_refused(tmp_path):
    make(tmp_path / "c", [document(0)])
    other = HashEncoder()
    other.name = "hash/17"
    with pytest.raises(ArtifactError, match=r"was made by the encoder hash/16 .* not by hash/17"):
        Collection.open(tmp_path / "c", other)
    with pytest.raises(UsageError, match="give it: "):
        Collection.open(tmp_path / "c").encoder.encode(["x"])
    assert contents(Collection.open(tmp_path / "c")) == expected([document(0)])


def test_the_encoder_is_made_again_by_its_name(tmp_path, monkeypatch):
    from mumei.retrieval import encoders

    asked = []

    def text_encoder(name=None):
        asked.append(name)
        return HashEncoder()

    monkeypatch.setattr(encoders, "text_encoder", text_encoder)
    Collection.create(tmp_path / "c", "somebody/model").add([document(0)])
    assert Collection.open(tmp_path / "c").encoder.name == "hash/16"
    Collection.open(tmp_path / "c").add([document(1)])
    assert set(asked) == {"somebody/model"}
    monkeypatch.setattr(HashEncoder, "name", "hash/new")
    with pytest.raises(ArtifactError, match="not by hash/new"):
        _ = Collection.open(tmp_path / "c").encoder


@pytest.mark.parametrize("n", [0, 1, 2, 60])
def test_the_background_is_that_of_random_live_pairs(tmp_path, n):
    collection = make(tmp_path / "c", [document(i) for i in range(n)])
    for _ in range(2):
        live = np.flatnonzero(collection.live)
        vectors = collection.vectors.rows(live)
        products = (vectors @ vectors.T)[~np.eye(len(live), dtype=bool)]
        mean, deviation = collection.background
        if n > 2:
            assert mean == pytest.approx(products.mean(), abs=0.05)
            assert deviation == pytest.approx(products.std(), rel=0.2)
            assert collection.manifest["background"] == [mean, deviation]
        assert np.isfinite([mean, deviation]).all()
        collection.delete([f"id{i}" for i in range(0, n, 3)])
    assert background(collection.vectors, 0) == background(collection.vectors, 0, np.ones(n, bool))


def test_source_notes_and_analyzer_are_kept(tmp_path):
    collection = Collection.create(tmp_path / "c", HashEncoder(), source={"path": "x.jsonl"}, analyzer="plain")
    collection.add([Document("a", text="treated patients")])
    again = Collection.open(tmp_path / "c", HashEncoder())
    assert (again.source, again.words.search("treating", 1)[0]) == ({"path": "x.jsonl"}, [0])
    with pytest.raises(UsageError, match="unknown analyzer"):
        Collection.create(tmp_path / "d", HashEncoder(), analyzer="plian")
    assert not (tmp_path / "d").exists()


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UsageError, match="not empty; it was left alone"):
        Collection.create(tmp_path, HashEncoder())
    make(tmp_path / "c")
    with pytest.raises(UsageError, match="a collection already; open it"):
        Collection.create(tmp_path / "c", HashEncoder())
    assert [p.name for p in tmp_path.iterdir() if p.name != "c"] == ["mine.txt"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no collection at"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"format": 9}', "update mumei"),
        ('{"format": 1, "rows": 3}', "cannot be read"),
    ],
)
def test_what_is_no_collection_is_an_error(tmp_path, content, message):
    if content is not None:
        (tmp_path / "collection.json").write_text(content)
    with pytest.raises(ArtifactError, match=message):
        Collection.open(tmp_path)


def test_a_manifest_that_contradicts_itself_is_an_error(tmp_path):
    make(tmp_path / "c", [document(0)])
    path = tmp_path / "c" / "collection.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "rows": 5}))
    with pytest.raises(ArtifactError, match="contradicts itself"):
        Collection.open(tmp_path / "c")


def test_a_copy_that_cannot_be_written_to_can_be_read(tmp_path):
    given = [document(i) for i in range(5)]
    make(tmp_path / "c", given)
    shutil.copytree(tmp_path / "c", tmp_path / "copy", ignore=shutil.ignore_patterns(".lock", ".readers"))
    for path in [tmp_path / "copy", *(tmp_path / "copy").rglob("*")]:
        os.chmod(path, 0o555 if path.is_dir() else 0o444)
    try:
        check(Collection.open(tmp_path / "copy", HashEncoder()), given)
    finally:
        for path in [tmp_path / "copy", *(tmp_path / "copy").rglob("*")]:
            os.chmod(path, 0o755 if path.is_dir() else 0o644)
    assert Collection.open(tmp_path / "copy", HashEncoder()).add([document(9)]).added == 1


def test_the_embedded_model_is_made_again_in_its_number_type(tmp_path):
    from mumei.retrieval.encoders import MiniLMEncoder

    other = "float32" if MiniLMEncoder().dtype == "bfloat16" else "bfloat16"
    given = MiniLMEncoder(dtype=other, max_tokens=32)
    Collection.create(tmp_path / "c", given).add([Document("a", "Statins", "They lower LDL.")])
    again = Collection.open(tmp_path / "c")
    assert again.encoder.name == given.name
    assert again.vectors.search(again.encoder.encode(["cholesterol drugs"]), 1)[0].tolist() == [[0]]
