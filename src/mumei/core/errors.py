"""Errors that a user can act on: what was given, what is allowed, what to do.

Everything mumei raises on purpose derives from `MumeiError`, so the command line can print one clear message and no
traceback, and a library user can catch one class. `UsageError` (exit code 2) is the caller's mistake in a command or an
argument; any other `MumeiError` (exit code 1) is something that went wrong with the data, the disk or the network.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class MumeiError(Exception):
    """Base of every error that mumei raises on purpose."""

    exit_code = 1


class UsageError(MumeiError, ValueError):
    """An argument, option or name that is not allowed."""

    exit_code = 2


class DataError(MumeiError, ValueError):
    """Input data that cannot be read or used as it is."""


class ArtifactError(MumeiError, RuntimeError):
    """A saved artifact that is missing, incomplete, altered or of another kind."""


class StorageError(MumeiError, OSError):
    """The disk refused: full, read-only, or no permission."""


class FetchError(MumeiError, RuntimeError):
    """A remote file that could not be had, or is not what it should be."""


class NonFiniteError(MumeiError, FloatingPointError):
    """A loss, a loss part or a gradient became NaN or infinite."""


class MissingExtraError(MumeiError, ImportError):
    """An optional package that this feature needs is not installed."""

    def __init__(self, feature: str, package: str, extra: str):
        super().__init__(
            f"{feature} needs the package {package!r}, which is not installed. "
            f"Install it with: pip install 'mumei[{extra}]'"
        )
        self._given = (feature, package, extra)

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str, str]]:
        """Return how to make it again: an error has to come back from a worker process."""
        return type(self), self._given


def suggest(name: str, allowed: Iterable[str], limit: int = 3) -> str:
    """Return `" Did you mean 'x'?"` for the closest allowed names, or an empty string.

    Parameters
    ----------
    name : str
        What was given.
    allowed : iterable of str
        What would have been accepted.
    limit : int
        At most this many suggestions.
    """
    by_lower = {a.lower(): a for a in allowed}
    found = get_close_matches(str(name).lower(), by_lower, n=limit, cutoff=0.5)
    if not found:
        return ""
    return " Did you mean " + " or ".join(repr(by_lower[f]) for f in found) + "?"


def unknown(what: str, name: str, allowed: Iterable[str]) -> UsageError:
    """Build the error for a name that is not in a list: given, closest, allowed.

    Examples
    --------
    >>> str(unknown("encoder", "minilmm", ["minilm", "kmer"]))
    "unknown encoder 'minilmm'. Did you mean 'minilm'? Allowed: kmer, minilm."
    """
    allowed = sorted(allowed)
    shown = ", ".join(allowed) if allowed else "(none registered)"
    return UsageError(f"unknown {what} {name!r}.{suggest(name, allowed)} Allowed: {shown}.")
