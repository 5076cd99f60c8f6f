"""A collection against a dictionary: any order of adding, updating, deleting, compacting, reopening and being cut."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from collection_toys import HashEncoder, Killed, Power, contents, document, expected, make
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mumei.retrieval import adding, documents, lexical, upkeep
from mumei.retrieval.collection import Collection

BATCH = 3
batches = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 2)), max_size=10)
numbers = st.lists(st.integers(0, 11), max_size=4)


class Machine(RuleBasedStateMachine):
    """Does to a collection what it does to a dictionary, in small batches, parts and shards."""

    @initialize()
    def begin(self):
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(adding, "BATCH", BATCH)
        for module in (documents, adding, upkeep):
            self.patch.setattr(module, "PART", 4)
        self.patch.setattr(documents, "GROUP", 2)
        self.patch.setattr(documents, "RUN", 3)
        self.patch.setattr(lexical, "SHARD", 8)
        self.home = Path(tempfile.mkdtemp())
        self.folder = self.home / "c"
        self.collection = make(self.folder)
        self.model: dict = {}
        self.reader, self.reader_model = Collection.open(self.folder, HashEncoder()), {}

    def teardown(self):
        if hasattr(self, "home"):
            self.patch.undo()
            self.collection.close()
            self.reader.close()
            shutil.rmtree(self.home)

    def after_add(self, source):
        """The dictionaries after each saved batch of an add."""
        states, model, waiting, named = [dict(self.model)], dict(self.model), 0, set()
        for d in source:
            content = expected([d])[d.id]
            if d.id not in named and model.get(d.id) != content:
                model[d.id] = content
                waiting += 1
                if waiting % BATCH == 0:
                    states.append(dict(model))
            named.add(d.id)
        return [*states, model]

    @rule(given=batches, policy=st.sampled_from(["update", "skip"]))
    def add(self, given, policy):
        source = [document(*pair) for pair in given]
        first = {d.id: d for d in reversed(source)}
        found = self.collection.add(source, on_conflict=policy)
        new = {name: content for name, content in expected(first.values()).items() if name not in self.model}
        changed = {n: c for n, c in expected(first.values()).items() if n in self.model and self.model[n] != c}
        assert (found.added, found.updated + found.skipped) == (len(new), len(changed))
        assert found.duplicates_in_source == len(source) - len(first)
        assert found.unchanged == len(first) - len(new) - len(changed)
        self.model |= new | (changed if policy == "update" else {})

    @rule(which=numbers)
    def delete(self, which):
        known = {f"id{i}" for i in which} & set(self.model)
        assert self.collection.delete([f"id{i}" for i in which]) == len(known)
        self.model = {n: c for n, c in self.model.items() if n not in known}

    @rule()
    def compact(self):
        self.collection.compact()
        assert self.collection.total == len(self.model)

    @rule()
    def reopen(self):
        self.collection.close()
        self.collection = Collection.open(self.folder, HashEncoder())

    @rule()
    def read_anew(self):
        self.reader.close()
        self.reader, self.reader_model = Collection.open(self.folder, HashEncoder()), dict(self.model)

    @rule(given=batches, n=st.integers(0, 60), what=st.sampled_from(["add", "delete", "compact"]))
    def cut(self, given, n, what):
        source = [document(*pair) for pair in given]
        ids = [d.id for d in source]
        states = {
            "add": self.after_add(source),
            "delete": [self.model, {k: v for k, v in self.model.items() if k not in ids}],
            "compact": [self.model],
        }[what]
        act = {
            "add": lambda: self.collection.add(source),
            "delete": lambda: self.collection.delete(ids),
            "compact": self.collection.compact,
        }[what]
        with Power(n).on(self.patch):
            try:
                act()
            except Killed:
                pass
            else:
                states = states[-1:]
        self.reopen()
        self.model = contents(self.collection)
        assert self.model in states

    @precondition(lambda self: hasattr(self, "collection"))
    @invariant()
    def is_the_model(self):
        collection = self.collection
        assert contents(collection) == self.model
        assert collection.verify() == []
        names = [f"id{i}" for i in range(13)]
        rows = collection.row_of(names).tolist()
        assert [row >= 0 for row in rows] == [name in self.model for name in names]
        assert [r["id"] for r in collection.rows([r for r in rows if r >= 0], ["id"])] == [
            n for n in names if n in self.model
        ]
        if self.model:
            texts = [f"{title}. {text}" for title, text, _ in self.model.values()]
            found = collection.vectors.search(HashEncoder().encode(texts), 1)[0][:, 0].tolist()
            assert found == collection.row_of(list(self.model)).tolist()
            newer = collection.where("version >= 1 and number < 6")
            assert newer.sum() == sum(c[2]["version"] >= 1 and c[2]["number"] < 6 for c in self.model.values())
        if not collection.words_behind:
            for i in range(12):
                assert collection.words.search(f"word{i}", 3)[0] == [row for row in rows[i : i + 1] if row >= 0]
        assert contents(self.reader) == self.reader_model


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)
