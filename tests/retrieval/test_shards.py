"""Expected vectors: a formula of the text alone, computed here. Expected files: what a second planning must not touch."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mumei.core.errors import ArtifactError, DataError, UsageError
from mumei.retrieval import distributed, shards
from mumei.retrieval.distributed import collect, documents, embed_shards, iter_segments
from mumei.retrieval.documents import Document
from mumei.retrieval.index import VectorStore
from mumei.retrieval.shards import Plan, finish_shard, load_encoder, pending, plan_parquet, plan_shards

HASHING = """
import hashlib, os
import numpy as np

class Hashing:
    name, dim = "hashing/8", 8

    def encode(self, items, *, batch_size=None, progress=None):
        if os.environ.get("HASHING_LOG"):
            with open(os.environ["HASHING_LOG"], "a") as log:
                log.write(items[0] + "\\n")
        if progress is not None:
            progress(len(items))
        return np.array([list(hashlib.sha256(t.encode()).digest()[:8]) for t in items], dtype=np.float32)

class Renamed(Hashing):
    name = "renamed/8"

class Broken(Hashing):
    name = "broken/8"
    def encode(self, items, *, batch_size=None, progress=None):
        vectors = super().encode(items)
        vectors[2, 3] = np.nan
        return vectors

class Short(Hashing):
    name = "short/8"
    def encode(self, items, *, batch_size=None, progress=None):
        return super().encode(items)[:-1]
"""
NAME = "shard_fakes.encoders:Hashing"


def expected(texts):
    return np.array([list(hashlib.sha256(t.encode()).digest()[:8]) for t in texts], dtype=np.float32)


def make(n, start=0):
    return [Document(f"d{i}", f"Title {i}", f"body {i}", {"year": 1990 + i}) for i in range(start, start + n)]


@pytest.fixture(scope="module", autouse=True)
def fakes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fakes")
    (folder / "shard_fakes").mkdir()
    (folder / "shard_fakes" / "__init__.py").write_text("")
    (folder / "shard_fakes" / "encoders.py").write_text(HASHING)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Which shards were encoded: the first text of each call."""
    monkeypatch.setenv("HASHING_LOG", str(tmp_path / "calls"))
    return lambda: (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []


def state(folder):
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()}


def serial(folder, **options):
    return embed_shards(folder, engine="serial", **options)


def test_plan_embed_collect(tmp_path, log):
    given_documents = make(10)
    plan = plan_shards(iter(given_documents), tmp_path / "work", NAME, rows_per_shard=4)
    assert [s.rows for s in plan.shards] == [4, 4, 2]
    assert (plan.encoder, plan.dim, plan.rows) == ("hashing/8", 8, 10)
    finished = []
    did = serial(tmp_path / "work", progress=finished.append)
    assert (did.engine, did.workers, did.done, did.skipped, did.rows) == ("serial", 1, 3, 0, 10)
    assert finished == [4, 4, 2]
    store = collect(tmp_path / "work", tmp_path / "store")
    wanted = expected([f"Title {i}. body {i}" for i in range(10)])
    np.testing.assert_array_equal(store.rows(np.arange(10)), wanted)
    assert store.model == "hashing/8"
    assert list(documents(tmp_path / "work")) == given_documents
    parts = list(iter_segments(tmp_path / "work"))
    assert [d for part, _ in parts for d in part] == given_documents
    np.testing.assert_array_equal(np.concatenate([v for _, v in parts]), wanted)
    assert [len(v) for _, v in iter_segments(tmp_path / "work", first=1)] == [4, 2]
    assert len(log()) == 3


def test_any_object_with_the_attributes_will_do(tmp_path):
    plan_shards([SimpleNamespace(id="a", title="", text="x", metadata={})], tmp_path, NAME)
    assert list(documents(tmp_path)) == [Document("a", "", "x", {})]


def test_planning_twice_changes_nothing(tmp_path):
    plan = plan_shards(make(10), tmp_path, NAME, rows_per_shard=4)
    serial(tmp_path)
    before = state(tmp_path)
    assert plan_shards(make(10), tmp_path, NAME, rows_per_shard=4) == plan
    assert state(tmp_path) == before


def test_a_lost_input_is_written_again_by_planning(tmp_path):
    plan = plan_shards(make(10), tmp_path, NAME, rows_per_shard=4)
    before = state(tmp_path)
    (tmp_path / plan.shards[1].file).unlink()
    with pytest.raises(ArtifactError, match=r"shard-000001\.parquet cannot be read"):
        serial(tmp_path)
    plan_shards(make(10), tmp_path, NAME, rows_per_shard=4)
    after = state(tmp_path)
    assert {p: c for p, (_, c) in before.items()}.items() <= {p: c for p, (_, c) in after.items()}.items()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ([*make(9), Document("d9", "Title 9", "other", {})], "other documents in shard-000002"),
        (make(13), "has other documents in shard-000002"),
        (make(12), "has other documents in shard-000002"),
        (make(8), r"has 3 shards \(10 documents\), the input only 2 \(8\)"),
        ([*make(10)[:9], Document("d9", "Title 9", "body 9", {"year": 1})], "other documents in shard-000002"),
    ],
)
def test_other_content_is_refused(tmp_path, changed, message):
    plan_shards(make(10), tmp_path, NAME, rows_per_shard=4)
    before = state(tmp_path)
    with pytest.raises(UsageError, match=message):
        plan_shards(changed, tmp_path, NAME, rows_per_shard=4)
    assert state(tmp_path) == before


def test_more_shards_than_planned_are_refused(tmp_path):
    plan_shards(make(8), tmp_path, NAME, rows_per_shard=4)
    with pytest.raises(UsageError, match="has no shard-000002"):
        plan_shards(make(9), tmp_path, NAME, rows_per_shard=4)


def test_another_encoder_or_size_is_refused(tmp_path):
    plan_shards(make(10), tmp_path, NAME, rows_per_shard=4)
    with pytest.raises(UsageError, match="planned for the encoder hashing/8, not renamed/8"):
        plan_shards(make(10), tmp_path, "shard_fakes.encoders:Renamed", rows_per_shard=4)
    with pytest.raises(UsageError, match="planned for rows_per_shard 4, not 5"):
        plan_shards(make(10), tmp_path, NAME, rows_per_shard=5)
    with pytest.raises(UsageError, match="is planned for the encoder 'shard_fakes"):
        serial(tmp_path, encoder_name="minilm")


def test_a_restart_keeps_what_is_the_same(tmp_path, log):
    plan_shards(make(12), tmp_path, NAME, rows_per_shard=4)
    serial(tmp_path)
    changed = [*make(4), *make(4, start=50)]  # the first shard as before, the second another, the third gone
    plan_shards(changed, tmp_path, NAME, rows_per_shard=4, restart=True)
    did = serial(tmp_path)
    assert (did.skipped, did.done) == (1, 1)
    assert log()[3:] == ["Title 50. body 50"]
    assert sorted(p.name for p in (tmp_path / "vectors").iterdir()) == [
        f"shard-00000{i}.{end}" for i in (0, 1) for end in ("json", "npy")
    ]
    assert len(list((tmp_path / "input").iterdir())) == 2
    assert list(documents(tmp_path)) == changed


def test_finished_shards_are_skipped_and_spoilt_ones_redone(tmp_path, log):
    plan = plan_shards(make(20), tmp_path, NAME, rows_per_shard=4)
    serial(tmp_path)
    whole = {p: c for p, (_, c) in state(tmp_path).items()}
    plan.receipt_file(plan.shards[0]).unlink()
    plan.vectors_file(plan.shards[1]).unlink()
    plan.receipt_file(plan.shards[2]).write_text("{")
    content = json.loads(plan.receipt_file(plan.shards[3]).read_text())
    plan.receipt_file(plan.shards[3]).write_text(json.dumps({**content, "input": "of other content"}))
    (tmp_path / "vectors" / ".tmp-mumei-0123456789ab-x").write_text("left by a killed worker")
    assert pending(plan) == [0, 1, 2, 3]
    with pytest.raises(ArtifactError, match="4 of 5 shards"):
        collect(tmp_path, tmp_path.parent / "never")
    did = serial(tmp_path)
    assert (did.skipped, did.done, did.rows) == (1, 4, 16)
    assert log()[5:] == [f"Title {i}. body {i}" for i in (0, 4, 8, 12)]
    assert {p: c for p, (_, c) in state(tmp_path).items() if p.name != "calls"} == {
        p: c for p, c in whole.items() if p.name != "calls"
    }
    assert serial(tmp_path).done == 0


def test_a_crash_between_vectors_and_receipt_leaves_the_shard_undone(tmp_path, monkeypatch):
    plan = plan_shards(make(4), tmp_path, NAME)

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shards, "write_json", crash)
        with pytest.raises(KeyboardInterrupt):
            serial(tmp_path)
    assert plan.vectors_file(plan.shards[0]).exists()
    assert pending(plan) == [0]
    assert serial(tmp_path).done == 1


def test_two_workers_on_one_shard_write_the_same_bytes(tmp_path, monkeypatch):
    """Both looked for a receipt before either wrote one."""
    plan = plan_shards(make(4), tmp_path, NAME)
    monkeypatch.setattr(shards, "receipt", lambda *_: None)
    (tmp_path / "vectors").mkdir()
    contents = []
    for _ in range(2):
        assert finish_shard(plan, plan.shards[0], load_encoder(NAME))
        contents.append({p: c for p, (_, c) in state(tmp_path / "vectors").items()})
    assert contents[0] == contents[1]


def test_damaged_input_and_vectors_are_found(tmp_path):
    plan = plan_shards(make(8), tmp_path, NAME, rows_per_shard=4)
    os.replace(tmp_path / plan.shards[1].file, tmp_path / plan.shards[0].file)
    with pytest.raises(ArtifactError, match=r"not what was planned as shard-000000"):
        serial(tmp_path)
    plan_shards(make(8), tmp_path, NAME, rows_per_shard=4, restart=True)
    serial(tmp_path)
    content = bytearray(plan.vectors_file(plan.shards[1]).read_bytes())
    content[-1] ^= 1
    plan.vectors_file(plan.shards[1]).write_bytes(content)
    with pytest.raises(ArtifactError, match=r"shard-000001\.npy is damaged; remove .*shard-000001\.json"):
        list(iter_segments(tmp_path))


def test_collecting_goes_on_where_it_was_cut(tmp_path):
    plan_shards(make(12), tmp_path / "work", NAME, rows_per_shard=4)
    serial(tmp_path / "work")
    vectors = expected([f"Title {i}. body {i}" for i in range(12)])
    store = VectorStore(tmp_path / "store", "hashing/8", 8)
    store.append(vectors[:4])
    store = collect(tmp_path / "work", tmp_path / "store")
    assert len(store) == 12
    before = state(tmp_path / "store")
    collect(tmp_path / "work", tmp_path / "store")
    assert state(tmp_path / "store") == before
    np.testing.assert_array_equal(store.rows(np.arange(12)), vectors)


@pytest.mark.parametrize(
    "rows", [slice(0, 3), slice(4, 8), slice(0, None)], ids=["not a whole shard", "others", "more"]
)
def test_a_store_with_something_else_is_refused(tmp_path, rows):
    plan_shards(make(8), tmp_path / "work", NAME, rows_per_shard=4)
    serial(tmp_path / "work")
    VectorStore(tmp_path / "store", "hashing/8", 8).append(expected([f"Title {i}. body {i}" for i in range(12)])[rows])
    with pytest.raises(ArtifactError, match="does not begin with the vectors"):
        collect(tmp_path / "work", tmp_path / "store")


@pytest.mark.parametrize(
    ("name", "message"), [("Broken", "NaN or infinity for document 'd2' of shard-000000"), ("Short", r"\(3, 8\)")]
)
def test_an_encoder_that_fails_is_named(tmp_path, name, message):
    plan = plan_shards(make(4), tmp_path, f"shard_fakes.encoders:{name}")
    with pytest.raises(DataError, match=message):
        serial(tmp_path)
    assert pending(plan) == [0]


def test_an_encoder_that_calls_itself_otherwise_here_is_refused(tmp_path):
    """The number type of the embedded encoder depends on the processor, and its name says so."""
    plan = plan_shards(make(4), tmp_path, NAME)
    with pytest.raises(UsageError, match="calls itself renamed/8 here, the plan says hashing/8"):
        finish_shard(plan, plan.shards[0], load_encoder("shard_fakes.encoders:Renamed"))


def test_parquet_stays_where_it_is(tmp_path, log):
    table = pa.table(
        {
            "id": [f"d{i}" for i in range(10)],
            "text": [f"body {i}" for i in range(10)],
            "title": [None if i == 3 else f"Title {i}" for i in range(10)],
            "metadata": [{"year": i} for i in range(10)],
            "unused": [1] * 10,
        }
    )
    pq.write_table(table.slice(0, 6), tmp_path / "a.parquet", row_group_size=2)
    pq.write_table(table.slice(6).drop_columns(["metadata"]), tmp_path / "b.parquet", row_group_size=3)
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    plan = plan_parquet(files, tmp_path / "work", NAME, rows_per_shard=5)
    assert [(s.rows, s.groups) for s in plan.shards] == [(4, (0, 1)), (2, (2,)), (4, (0, 1))]
    assert not (tmp_path / "work" / "input").exists()
    serial(tmp_path / "work")
    texts = ["body 3" if i == 3 else f"Title {i}. body {i}" for i in range(10)]
    store = collect(tmp_path / "work", tmp_path / "store")
    np.testing.assert_array_equal(store.rows(np.arange(10)), expected(texts))
    assert [d.metadata for d in documents(tmp_path / "work")] == [*({"year": i} for i in range(6)), {}, {}, {}, {}]
    before = state(tmp_path / "work")
    assert plan_parquet(files, tmp_path / "work", NAME, rows_per_shard=5) == plan
    assert state(tmp_path / "work") == before
    pq.write_table(table.slice(0, 5), tmp_path / "a.parquet", row_group_size=2)
    with pytest.raises(UsageError, match="other documents in shard-000000"):
        plan_parquet(files, tmp_path / "work", NAME, rows_per_shard=5)


def test_parquet_that_cannot_be_planned_is_refused(tmp_path):
    pq.write_table(pa.table({"id": ["a"] * 20, "text": ["x"] * 20}), tmp_path / "large.parquet")
    with pytest.raises(UsageError, match="row group of 20 rows, too many for shards of 2"):
        plan_parquet([tmp_path / "large.parquet"], tmp_path / "work", NAME, rows_per_shard=2)
    pq.write_table(pa.table({"id": ["a"], "abstract": ["x"]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="no column 'text'"):
        plan_parquet([tmp_path / "other.parquet"], tmp_path / "work", NAME)
    pq.write_table(pa.table({"id": ["a"], "text": ["x"], "metadata": ["{"]}), tmp_path / "json.parquet")
    with pytest.raises(DataError, match="is not JSON"):
        plan_parquet([tmp_path / "json.parquet"], tmp_path / "work", NAME)
    (tmp_path / "no.parquet").write_text("no")
    with pytest.raises(ArtifactError, match=r"no\.parquet cannot be read"):
        plan_parquet([tmp_path / "no.parquet"], tmp_path / "work", NAME)


def test_what_cannot_be_done_is_said(tmp_path):
    with pytest.raises(DataError, match="no documents"):
        plan_shards([], tmp_path / "none", NAME)
    with pytest.raises(UsageError, match="rows_per_shard=0"):
        plan_shards(make(1), tmp_path / "none", NAME, rows_per_shard=0)
    with pytest.raises(UsageError, match=r"no encoder 'shard_fakes\.missing:Hashing'.*installed on every machine"):
        plan_shards(make(1), tmp_path / "none", "shard_fakes.missing:Hashing")
    with pytest.raises(UsageError, match=r"no encoder 'shard_fakes\.encoders:Missing'"):
        plan_shards(make(1), tmp_path / "none", "shard_fakes.encoders:Missing")
    with pytest.raises(DataError, match="document 1: the id '' is empty"):
        plan_shards([*make(1), Document("", "", "x", {})], tmp_path / "none", NAME)
    with pytest.raises(ArtifactError, match=r"no plan at .*plan_shards\(\) first"):
        serial(tmp_path / "none")
    plan_shards(make(1), tmp_path / "some", NAME)
    with pytest.raises(UsageError, match=r"unknown engine 'rya'\. Did you mean 'ray'"):
        embed_shards(tmp_path / "some", engine="rya")
    with pytest.raises(UsageError, match="workers=0"):
        serial(tmp_path / "some", workers=0)
    (tmp_path / "some" / "plan.json").write_text("{}")
    with pytest.raises(ArtifactError, match="restart=True"):
        Plan.open(tmp_path / "some")
    (tmp_path / "some" / "plan.json").write_text('{"format": 99, "shards": []}')
    with pytest.raises(ArtifactError):
        Plan.open(tmp_path / "some")


def test_a_receipt_that_never_shows_is_an_error(tmp_path, monkeypatch):
    plan_shards(make(4), tmp_path, NAME)
    monkeypatch.setattr(distributed, "VISIBLE_WITHIN", 0.1)
    monkeypatch.setattr(distributed, "finish_shard", lambda *_: True)
    with pytest.raises(distributed.DistributedError, match="1 of 1 shards have no valid receipt"):
        serial(tmp_path)


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20)


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=12), st.integers(1, 13))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_order_and_content_survive_any_cut(tmp_path_factory, texts, size):
    folder = tmp_path_factory.mktemp("cut")
    given_documents = [Document(f"d{i}", title, text, {}) for i, (title, text) in enumerate(texts)]
    plan_shards(given_documents, folder / "work", NAME, rows_per_shard=size)
    serial(folder / "work")
    assert list(documents(folder / "work")) == given_documents
    joined = [f"{a}. {b}" if a and not b.startswith(a) else b for a, b in texts]
    store = collect(folder / "work", folder / "store")
    np.testing.assert_array_equal(store.rows(np.arange(len(texts))), expected(joined))
