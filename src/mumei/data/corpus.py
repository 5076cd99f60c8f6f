"""A loaded corpus: its tables by split, and the records behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from mumei.core.errors import unknown
from mumei.data.documents import RECORDS, Record
from mumei.data.readers.base import Problem
from mumei.data.schemas import SCHEMAS, SOURCE, schema_name

if TYPE_CHECKING:
    import pyarrow as pa

    from mumei.data.recipes import Recipe


class Corpus:
    """A corpus under one schema. `corpus["train"]` is an Arrow table of it.

    Parameters
    ----------
    name : str
        The corpus's name, or a folder's.
    kind : str
        The harmonised schema that its records belong to.
    schema : str
        What its tables are: `kind`, or "source" for the lossless superset.
    source : mapping of str to function
        Split -> a function that returns the superset's table.
    view : mapping of str to function, optional
        The same of `schema`'s tables; made from `source` where missing.
    recipe : Recipe, optional
        Where it has one.
    subset : str
        "" for the whole.
    problems : list of Problem
        What was wrong with the files; documents are missing where `skipped` says so.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        schema: str,
        source: Mapping[str, Callable[[], pa.Table]],
        view: Mapping[str, Callable[[], pa.Table]] | None = None,
        recipe: Recipe | None = None,
        subset: str = "",
        problems: list[Problem] | None = None,
    ):
        self.name, self.kind, self.schema = name, kind, schema
        self.recipe, self.subset, self.problems = recipe, subset, problems or []
        self._source, self._view = dict(source), dict(view or {})
        self._tables: dict[tuple[str, str], pa.Table] = {}

    @property
    def splits(self) -> list[str]:
        """The names of the splits."""
        return list(self._source)

    def __getitem__(self, split: str) -> pa.Table:
        """Return a split's table under the corpus's schema."""
        return self.table(split)

    def __iter__(self) -> Iterator[str]:
        """Yield the names of the splits."""
        return iter(self._source)

    def __len__(self) -> int:
        """Return how many records there are, all splits together."""
        return sum(self.source(split).num_rows for split in self)

    def __repr__(self) -> str:
        """Say name, schema and rows by split."""
        rows = ", ".join(f"{split}: {self.source(split).num_rows:,}" for split in self)
        return f"Corpus({self.name!r}, {self.schema!r}, {rows})"

    def table(self, split: str) -> pa.Table:
        """Return a split's table under the corpus's schema; `UsageError` for a split that it lacks."""
        if self.schema == SOURCE:
            return self.source(split)
        key = (self.schema, self._known(split))
        if key not in self._tables:
            if split in self._view:
                self._tables[key] = self._view[split]()
            else:
                from mumei.data.bigbio import to_bigbio

                self._tables[key] = to_bigbio(self.source(split), self.schema)
        return self._tables[key]

    def source(self, split: str) -> pa.Table:
        """Return a split's table of the lossless superset."""
        key = (SOURCE, self._known(split))
        if key not in self._tables:
            self._tables[key] = self._source[split]()
        return self._tables[key]

    def records(self, split: str | None = None) -> Iterator[Record]:
        """Yield the records of the lossless superset, of one split or of all."""
        from mumei.data.tables import from_table

        for name in [split] if split is not None else self.splits:
            yield from from_table(self.source(name), RECORDS[self.kind])

    def to_bigbio(self) -> Corpus:
        """Return the corpus under its harmonised schema."""
        return Corpus(
            self.name, self.kind, self.kind, self._source, self._view, self.recipe, self.subset, self.problems
        )

    def _known(self, split: str) -> str:
        if split not in self._source:
            raise unknown(f"split of {self.name}", split, self._source)
        return split


def corpus_of(
    splits: Mapping[str, Iterable[Record]], kind: str, *, name: str = "memory", schema: str = SOURCE
) -> Corpus:
    """Return a corpus of records in memory.

    Parameters
    ----------
    splits : mapping of str to iterable of Record
        Records of one kind by split.
    kind : str
        Their harmonised schema.
    name, schema : str
        As in `Corpus`.
    """
    from mumei.data.tables import to_table

    if kind not in SCHEMAS:
        raise unknown("schema", kind, SCHEMAS)
    tables = {split: to_table(records, RECORDS[kind]) for split, records in splits.items()}
    return Corpus(name, kind, schema_name(schema), {split: (lambda t=t: t) for split, t in tables.items()})
