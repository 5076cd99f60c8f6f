"""Fields that hold concept ids: one or several, with or without the name of their vocabulary.

What stands before the first colon is a vocabulary's name (`OMIM:193300`), else the reader's `database` says which one. Several
ids of one mention (`D001|D002`, `D001+D002`) become several links; the field as it stood is then kept beside them, and so is
an id that means no concept (`-1`).
"""

from __future__ import annotations

from collections.abc import Sequence

from mumei.data.schemas import Normalized

NO_CONCEPT = ("", "-", "-1", "None")


class ConceptFields:
    """Splits concept fields; each is looked at once.

    Parameters
    ----------
    database : str
        Vocabulary of ids without a prefix.
    joiners : str
        Characters that stand between several ids.
    whole : sequence of str
        Types of mentions whose field is one id, joiners and colons included.
    """

    def __init__(self, database: str, joiners: str, whole: Sequence[str]):
        self.database, self.joiners, self.whole = database, joiners, frozenset(whole)
        self.seen: dict[tuple[str, str], tuple[list[Normalized], bool]] = {}

    def get(self, kind: str, field: str) -> tuple[list[Normalized], bool]:
        """Return the links of a field, and whether the field has to be kept beside them."""
        found = self.seen[kind, field] = self._split(kind, field)
        return found

    def _split(self, kind: str, field: str) -> tuple[list[Normalized], bool]:
        parts = [field]
        for joiner in "" if kind in self.whole else self.joiners:
            parts = [piece for part in parts for piece in part.split(joiner)]
        links = []
        for part in map(str.strip, parts):
            name, colon, local = part.partition(":")
            if part not in NO_CONCEPT:
                links.append(
                    Normalized(name, local) if colon and kind not in self.whole else Normalized(self.database, part)
                )
        return links, len(parts) > 1 or (not links and field not in ("", "-"))
