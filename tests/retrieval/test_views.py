"""Views: masks of live and allowed rows over files that hold more, or fewer, rows than the state."""

from __future__ import annotations

import numpy as np
import pytest

from mumei.core.errors import DataError, UsageError
from mumei.retrieval.index import VectorStore
from mumei.retrieval.lexical import LexicalIndex
from mumei.retrieval.views import VectorView, WordView, allowed, resized


@pytest.fixture
def store(tmp_path):
    store = VectorStore(tmp_path / "v", "m", 2)
    store.append(np.array([[i, 1] for i in range(6)], dtype=np.float32))
    return store


def test_rows_beyond_the_state_and_deleted_ones_are_not_found(store):
    live = np.array([True, False, True, True])
    view = VectorView(store, 4, live)
    query = np.array([[1.0, 0.0]], dtype=np.float32)
    assert view.search(query, 9)[0].tolist() == [[3, 2, 0]]
    assert view.search(query, 9, allow=np.array([True, True, True, False]))[0].tolist() == [[2, 0]]
    assert view.search(query, 9, allow=np.zeros(4, bool))[0].shape == (1, 0)
    assert view.rows([3, 1]).tolist() == [[3, 1], [1, 1]]
    for row in (4, -1):
        with pytest.raises(UsageError, match="of 4 rows"):
            view.rows([row])
    assert VectorView(store, 6, np.ones(6, bool)).search(query, 1)[0].tolist() == [[5]]


@pytest.mark.parametrize("indexed", [0, 2, 4, 6])
def test_words_may_have_more_or_fewer_rows_than_the_state(tmp_path, indexed):
    index = LexicalIndex.build(["heart"] * indexed, tmp_path / "w") if indexed else None
    live = np.array([True, False, True, True])
    view = WordView(index, 4, live)
    assert (len(view), view.indexed) == (4, min(indexed, 4))
    assert view.search("heart", 9)[0] == [row for row in (0, 2, 3) if row < indexed]
    assert view.search("heart", 9, allow=np.array([False, True, True, True]))[0] == [r for r in (2, 3) if r < indexed]


def test_masks():
    live = np.array([True, False, True])
    assert allowed(live, None) is live
    assert allowed(live, [True, True, False]).tolist() == [True, False, False]
    assert resized(live, 5).tolist() == [True, False, True, False, False]
    assert resized(live, 2).tolist() == [True, False]
    with pytest.raises(DataError, match="one bool a row"):
        allowed(live, [1, 0, 1])
