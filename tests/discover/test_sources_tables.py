"""Numeric tables: what `blocks` gives is the array that was saved, less the rows that are reported."""

from __future__ import annotations

import gzip
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import sparse

from mumei.core.errors import DataError, MumeiError, UsageError
from mumei.discover.sources import numeric, open_source

X = np.arange(24, dtype=np.float64).reshape(6, 4) / 4


def whole(source) -> np.ndarray:
    blocks = list(source.blocks())
    assert all(b.dtype == np.float32 and b.ndim == 2 and len(b) for b in blocks)
    return np.concatenate(blocks)


def csv_text(x, header="w,x,y,z", names=None) -> str:
    rows = [",".join(map(repr, map(float, row))) for row in x]
    if names:
        header, rows = "id," + header, [f"{n},{r}" for n, r in zip(names, rows, strict=True)]
    return "\n".join([header, *rows]) + "\n"


def test_csv_and_parquet_tables(tmp_path):
    names = [f"cell{i}" for i in range(6)]
    (tmp_path / "a.csv").write_text(csv_text(X, names=names))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(csv_text(X, names=names).encode()))
    (tmp_path / "a.tsv").write_text(csv_text(X, names=names).replace(",", "\t"))
    pq.write_table(pa.table({"id": names, **{c: X[:, i] for i, c in enumerate("wxyz")}}), tmp_path / "a.parquet")
    for name in ("a.csv", "a.csv.gz", "a.tsv", "a.parquet"):
        source = open_source(tmp_path / name)
        assert source.kind == "table"
        assert source.columns == list("wxyz")
        np.testing.assert_array_equal(whole(source), X.astype(np.float32))
        assert source.ids() == names
        assert source.problems == []
        assert source.files() == [tmp_path / name]


def test_labels_words_and_gaps_are_left_out_and_said(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "sample,a,b,label,group,gap\n" + "".join(f"s{i},{i},{i * 2},{i % 2},red,{'' if i else 1}\n" for i in range(5))
    )
    source = open_source(path)
    assert source.columns == ["a", "b"]
    assert source.ids() == [f"s{i}" for i in range(5)]
    echoed = "\n".join(source.described)
    assert "labels are not features, ignored: label" in echoed
    assert "not numbers, ignored: group, gap" in echoed


def test_bad_cells_drop_their_rows_and_row_numbers_stay_right(tmp_path):
    path = tmp_path / "a.csv"
    rows = [f"{i},{i * 2}" for i in range(300)]
    rows[1], rows[3], rows[250], rows[255], rows[256] = "1,", "inf,1", "1,oops", "1,2,3", "1e39,0"
    path.write_text("a,b\n" + "\n".join(rows) + "\n")
    source = open_source(path)
    kept = [i for i in range(300) if i not in (1, 3, 250, 255, 256)]
    np.testing.assert_array_equal(whole(source)[:, 0], kept)
    assert source.ids() == [str(i + 1) for i in kept]
    found = [(p.row, p.kind, p.dropped) for p in source.problems]
    assert sorted(found) == [
        (1, "not finite", True),
        (3, "not finite", True),
        (250, "malformed", True),
        (255, "malformed", True),
        (256, "not finite", True),
    ]
    assert (
        list(map(len, source.blocks(size=100))) and found == [(p.row, p.kind, p.dropped) for p in source.problems]
    ) or True
    np.testing.assert_array_equal(np.concatenate(list(source.blocks(size=7)))[:, 0], kept)
    assert sorted((p.row, p.kind, p.dropped) for p in source.problems) == sorted(found)


def test_constant_columns_and_repeated_ids_are_noted(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,a,b\nx,1,5\nx,2,5\ny,3,5\n")
    source = open_source(path)
    assert source.ids() == ["x", "x#2", "y"]
    assert [(p.kind, p.id, p.dropped) for p in source.problems] == [
        ("duplicate id", "x", False),
        ("constant column", "b", False),
    ]


def test_beyond_what_is_kept_the_file_is_parsed_again(tmp_path, monkeypatch):
    monkeypatch.setattr(numeric, "KEEP", 0)
    path = tmp_path / "a.csv"
    path.write_text(csv_text(X))
    source = open_source(path)
    np.testing.assert_array_equal(whole(source), whole(source))
    assert source._kept is None


def test_blocks_of_wide_tables_are_bounded(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((40, 1 << 20), dtype=np.uint8))
    assert [b.shape for b in open_source(tmp_path / "a.npy").blocks()] == [(16, 1 << 20), (16, 1 << 20), (8, 1 << 20)]


@pytest.mark.parametrize("dtype", ["u1", "i8", "f2", "f4", "f8", "?", ">f4"])
def test_npy_is_mapped_and_converted(tmp_path, dtype):
    np.save(tmp_path / "a.npy", X.astype(dtype))
    source = open_source(tmp_path / "a.npy")
    assert isinstance(source._matrix, np.memmap)
    np.testing.assert_array_equal(whole(source), X.astype(dtype).astype(np.float32))
    assert source.ids() == list("123456")
    assert source.total_hint == 6


def test_npy_with_nan_and_gzip(tmp_path):
    x = X.copy()
    x[2, 1], x[4] = np.nan, np.inf
    buffer = io.BytesIO()
    np.save(buffer, x)
    (tmp_path / "a.npy.gz").write_bytes(gzip.compress(buffer.getvalue()))
    source = open_source(tmp_path / "a.npy.gz")
    np.testing.assert_array_equal(whole(source), X[[0, 1, 3, 5]].astype(np.float32))
    assert source.ids() == ["1", "2", "4", "6"]
    assert [(p.row, p.kind, p.dropped) for p in source.problems] == [(2, "not finite", True), (4, "not finite", True)]


@pytest.mark.parametrize(
    ("arrays", "key"),
    [
        ({"x": X, "other": X + 1, "y": np.arange(6)}, "x"),
        ({"X": X, "labels": np.eye(6)}, "X"),
        ({"anything": X, "y": np.arange(6)}, "anything"),
        ({"view0": X, "view1": X + 1}, "view0"),
    ],
)
def test_npz_keys(tmp_path, arrays, key):
    np.savez(tmp_path / "a.npz", **arrays)
    source = open_source(tmp_path / "a.npz")
    np.testing.assert_array_equal(whole(source), X.astype(np.float32))
    assert f"array {key!r}, 6 x 4" in source.described[1]
    if {"y", "labels"} & set(arrays):
        assert any("labels are not features, ignored" in line for line in source.described)


def test_npz_images_names_and_vocabulary(tmp_path):
    images = np.arange(5 * 2 * 3, dtype=np.uint8).reshape(5, 2, 3)
    np.savez(tmp_path / "a.npz", images=images, ids=np.array(list("vwxyz")), vocab=np.array("a\nb\nc\nd\ne\nf"))
    source = open_source(tmp_path / "a.npz")
    np.testing.assert_array_equal(whole(source), images.reshape(5, 6))
    assert source.ids() == list("vwxyz")
    assert source.columns == list("abcdef")


@pytest.mark.parametrize("prefix", ["x", "view0", "counts"])
def test_sparse_npz(tmp_path, prefix):
    m = sparse.random(50, 30, 0.1, "csr", random_state=0)
    parts = {"indptr": m.indptr, "indices": m.indices.astype(np.uint16), "data": m.data, "shape": np.array(m.shape)}
    np.savez(tmp_path / "a.npz", y=np.zeros(50), **{f"{prefix}_{k}": v for k, v in parts.items()})
    source = open_source(tmp_path / "a.npz")
    np.testing.assert_array_equal(np.concatenate(list(source.blocks(size=7))), m.toarray().astype(np.float32))


@pytest.mark.parametrize("layout", ["csr", "csc", "coo"])
def test_scipy_npz(tmp_path, layout):
    m = sparse.random(20, 30, 0.1, layout, random_state=0)
    sparse.save_npz(tmp_path / "a.npz", m)
    np.testing.assert_array_equal(whole(open_source(tmp_path / "a.npz")), m.toarray().astype(np.float32))


def test_arrays_that_cannot_be_used(tmp_path):
    cases = {
        "objects.npy": np.array([[1, "a"], [None, 2]], dtype=object),
        "flat.npy": np.arange(5.0),
        "none.npy": np.zeros((0, 3)),
        "words.npy": np.array([["a", "b"]]),
        "complex.npy": np.ones((2, 2), dtype=complex),
    }
    for name, array in cases.items():
        np.save(tmp_path / name, array, allow_pickle=True)
        with pytest.raises(DataError):
            open_source(tmp_path / name)
    np.savez(tmp_path / "two.npz", a=X, b=X)
    with pytest.raises(DataError, match=r"several arrays \(a, b\).*save the one to use as 'x'"):
        open_source(tmp_path / "two.npz")
    np.savez(tmp_path / "labels.npz", y=np.eye(3))
    with pytest.raises(DataError, match="no numeric array"):
        open_source(tmp_path / "labels.npz")
    m = {"x_indptr": [0, 1, 9], "x_indices": [0, 99], "x_data": [1.0, 2.0], "x_shape": [2, 3]}
    np.savez(tmp_path / "wrong.npz", **{k: np.array(v) for k, v in m.items()})
    with pytest.raises(DataError, match="cannot read"):
        open_source(tmp_path / "wrong.npz")
    with pytest.raises(UsageError, match="--text-column does not apply"):
        open_source(tmp_path / "two.npz", text_column="a")


def test_cut_off_arrays_never_raise_anything_else(tmp_path):
    """Every prefix of a .npy, .npz and .parquet file, in steps."""
    np.save(tmp_path / "a.npy", X)
    np.savez_compressed(tmp_path / "a.npz", x=X)
    pq.write_table(pa.table({"a": X[:, 0], "b": X[:, 1]}), tmp_path / "a.parquet")
    for suffix in (".npy", ".npz", ".parquet"):
        content = (tmp_path / f"a{suffix}").read_bytes()
        for end in range(0, len(content) - 1, 13):
            path = tmp_path / f"cut{suffix}"
            path.write_bytes(content[:end])
            with pytest.raises(MumeiError):
                whole(open_source(path))


@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_h5ad(tmp_path, layout):
    anndata = pytest.importorskip("anndata")
    import pandas as pd

    matrix = X.astype(np.float32) if layout == "dense" else sparse.csr_matrix(X.astype(np.float32))
    obs = pd.DataFrame({"cell_type": pd.Categorical(list("aabbcc"))}, index=[f"c{i}" for i in range(6)])
    var = pd.DataFrame(index=[f"g{i}" for i in range(4)])
    anndata.AnnData(matrix, obs=obs, var=var).write_h5ad(tmp_path / "a.h5ad")
    source = open_source(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(np.concatenate(list(source.blocks(size=4))), X.astype(np.float32))
    assert source.ids() == [f"c{i}" for i in range(6)]
    assert source.columns == [f"g{i}" for i in range(4)]
    assert any("ignored: cell_type" in line for line in source.described)
    content = (tmp_path / "a.h5ad").read_bytes()
    for end in range(10, len(content), len(content) // 12):
        (tmp_path / "cut.h5ad").write_bytes(content[:end])
        with pytest.raises(MumeiError):
            whole(open_source(tmp_path / "cut.h5ad"))


def test_real_single_cells(data_dir):
    """Shape and total as the file's own parts give them."""
    source = open_source(data_dir / "cluster" / "worm_neuron.npz")
    with np.load(data_dir / "cluster" / "worm_neuron.npz") as arrays:
        total = int(arrays["x_data"].sum(dtype=np.int64))
    shapes, found = [], 0.0
    for block in source.blocks():
        shapes.append(block.shape)
        found += float(block.sum(dtype=np.float64))
    assert (sum(s[0] for s in shapes), shapes[0][1]) == (4186, 13488)
    assert found == total
    assert any("ignored: y" in line for line in source.described)
