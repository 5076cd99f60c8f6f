"""Get a remote file once, by its sha256: from the cache, from mirror folders, then from the network.

Whatever the source, the content is hashed before the file gets its name, so a file in the cache is the declared one; it
is hashed again at each use. Environment: `MUMEI_CACHE` (folder of the cache), `MUMEI_MIRROR` (folders to look in first,
separated as in PATH), `MUMEI_OFFLINE=1` (never touch the network). A cache folder can serve as a mirror elsewhere.

Only https is spoken, and neither an address nor a redirect may lead to a private network. Behind a proxy that resolves
names by itself, only addresses written as numbers can be checked.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

from mumei.core.errors import FetchError, UsageError
from mumei.core.files import atomic_path, make_folder, new_file, sha256_file, storage_error
from mumei.core.progress import SILENT, Progress

CHUNK = 1 << 20  # bytes
LARGEST = 100_000_000_000  # bytes, for a file whose size is not declared
SCHEMES = ("https",)
TIMEOUT = 30  # seconds without a byte
Advance = Callable[[int], None]


@dataclass(frozen=True)
class RemoteFile:
    """A file that somebody else publishes.

    Parameters
    ----------
    name : str
        A plain file name (letters, digits and `._+-`), the end of the name in the cache.
    urls : tuple of str
        https addresses of the same content, tried in turn.
    sha256 : str
        Hash of the content, 64 lower-case hex digits.
    licence : str
        Under which terms it is published.
    size : int, optional
        Size in bytes.

    Raises
    ------
    UsageError
        A field is not as described.
    """

    name: str
    urls: tuple[str, ...]
    sha256: str
    licence: str
    size: int | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,149}", self.name):
            raise UsageError(f"remote file name {self.name!r} is not plain; allowed: letters, digits and ._+-")
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise UsageError(f"{self.name}: sha256 {self.sha256!r} must be 64 lower-case hex digits")
        if not isinstance(self.urls, tuple) or not self.urls:
            raise UsageError(f"{self.name}: urls must be a tuple with at least one https address, got {self.urls!r}")
        for url in self.urls:
            if urlsplit(url).scheme not in SCHEMES or not urlsplit(url).hostname:
                raise UsageError(f"{self.name}: {url!r} is not an https address; only https is allowed")
        if not self.licence.strip():
            raise UsageError(f"{self.name}: the licence is empty; state the terms under which the file is published")
        if self.size is not None and self.size < 0:
            raise UsageError(f"{self.name}: size must be a number of bytes, got {self.size}")


def cache_folder() -> Path:
    """Return the folder of fetched files: `MUMEI_CACHE`, or the user's cache folder of this system."""
    if given := os.environ.get("MUMEI_CACHE"):
        return Path(given).expanduser()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("mumei", appauthor=False))


def fetch(remote: RemoteFile, *, cache: Path | str | None = None, progress: Progress = SILENT) -> Path:
    """Return the path of a remote file's verified copy, getting it where the cache lacks it.

    Parameters
    ----------
    remote : RemoteFile
        What to get.
    cache : path, optional
        Folder of verified files; `cache_folder()` by default. Made where missing.
    progress : Progress
        Where to show the download.

    Returns
    -------
    Path
        `<cache>/<sha256>-<name>`.

    Raises
    ------
    FetchError
        No source had it, or what they had is not the declared content. Says what to put where.
    StorageError
        The cache cannot be written.
    """
    folder = make_folder(Path(cache) if cache is not None else cache_folder())
    target = folder / f"{remote.sha256}-{remote.name}"
    notes: list[str] = []  # why each source failed
    if _is_sound(target, remote, notes) or _from_mirrors(remote, target, notes):
        _tell(notes, progress)
        return target
    if _is_offline():
        notes.append("the network is switched off by MUMEI_OFFLINE")
    elif _from_network(remote, target, notes, progress):
        _tell(notes, progress)
        return target
    raise FetchError(_explain(remote, target, notes))


def _tell(notes: list[str], progress: Progress) -> None:
    """Say what was wrong on the way also where another source had the file: a mirror may need mending."""
    for note in notes:
        progress.say(note)


def _is_offline() -> bool:
    return os.environ.get("MUMEI_OFFLINE", "").strip().lower() not in ("", "0", "false", "no")


def _is_sound(path: Path, remote: RemoteFile, notes: list[str]) -> bool:
    """Say whether `path` is the declared content; note where a file exists that is not."""
    try:
        if not path.is_file():
            return False
        if sha256_file(path) == remote.sha256:
            return True
        notes.append(f"{path} has another sha256, not used")
    except OSError as error:
        notes.append(f"{path} cannot be read ({error.strerror or error})")
    return False


def _from_mirrors(remote: RemoteFile, target: Path, notes: list[str]) -> bool:
    """Copy the file from the first mirror folder that has it."""
    names = (remote.sha256, f"{remote.sha256}-{remote.name}", remote.name)
    folders = [Path(f).expanduser() for f in os.environ.get("MUMEI_MIRROR", "").split(os.pathsep) if f]
    for path in (folder / name for folder in folders for name in names):
        if _is_sound(path, remote, notes):
            with atomic_path(target) as temporary:
                if _copy(path, temporary) == remote.sha256:
                    return True
                raise FetchError(f"{path} changed while it was copied; run the same command again.")
    return False


def _copy(source: Path, target: Path) -> str:
    """Copy a file; return the sha256 of what was copied."""
    digest = hashlib.sha256()
    with open(source, "rb") as reader, new_file(target) as writer:
        while block := reader.read(CHUNK):
            digest.update(block)
            writer.write(block)
    return digest.hexdigest()


def _from_network(remote: RemoteFile, target: Path, notes: list[str], progress: Progress) -> bool:
    """Try the addresses in turn."""
    limit = LARGEST if remote.size is None else remote.size
    for url in remote.urls:
        with progress.task(f"Fetching {remote.name}", remote.size, "bytes") as task:
            try:
                with atomic_path(target) as temporary:
                    _download(url, temporary, limit, task.advance)
                    if (found := sha256_file(temporary)) != remote.sha256:
                        raise FetchError(f"the content has another sha256 ({found}), not used")
                return True
            except FetchError as error:
                notes.append(f"{url}: {error}")
    return False


def _download(url: str, path: Path, limit: int, advance: Advance | None = None) -> None:
    """Write the content of `url` to `path`, at most `limit` bytes; raise `FetchError` where the network fails."""
    from pooch import HTTPDownloader
    from requests import RequestException
    from urllib3.exceptions import HTTPError

    _check_url(url)
    seen: list[Any] = []

    def inspect(response: Any, **_: Any) -> None:
        """Check each answer before a redirect is followed or the content is read."""
        seen.append(response)
        if response.is_redirect:
            _check_url(urljoin(response.url, response.headers["location"]))
        elif (length := response.headers.get("content-length", "")).isdigit() and int(length) > limit:
            raise FetchError(f"the server announces {int(length):,} bytes, more than the {limit:,} expected")

    # "identity": the hash is of the published bytes, which a transparent compression would hide.
    options = {"headers": {"Accept-Encoding": "identity"}, "hooks": {"response": inspect}, "timeout": TIMEOUT}
    try:
        with new_file(path) as handle:
            sink: Any = _Capped(handle, limit, advance)
            HTTPDownloader(progressbar=False, chunk_size=CHUNK, **options)(url, sink, None)
    # Errors of requests are OSErrors too: they must not be taken for a fault of the disk.
    except (RequestException, HTTPError, UnicodeError) as error:
        raise FetchError(f"{type(error).__name__}: {error}") from error
    except OSError as error:
        raise storage_error(error, path.parent) from error
    finally:
        for response in seen:
            response.close()


class _Capped:
    """A file for writing that refuses more than `limit` bytes."""

    def __init__(self, handle: IO[bytes], limit: int, advance: Advance | None):
        self.handle, self.left, self.limit, self.advance = handle, limit, limit, advance

    def write(self, block: bytes) -> None:
        self.left -= len(block)
        if self.left < 0:
            raise FetchError(f"the server sends more than the {self.limit:,} bytes expected")
        self.handle.write(block)
        if self.advance is not None:
            self.advance(len(block))

    def flush(self) -> None:
        """Nothing to do: the file is flushed to the disk at the end."""


def _check_url(url: str) -> None:
    """Refuse an address that is not https or leads into a private network."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise FetchError(f"{url!r} is not an address ({error})") from error
    # Programs disagree on where the host is in an address with a backslash or a user name: neither is needed.
    if "\\" in url or "@" in parts.netloc:
        raise FetchError(f"refused to follow {url!r}: it holds a backslash or a user name")
    if parts.scheme not in SCHEMES or not host:
        raise FetchError(f"refused to follow {url!r}: only https is allowed")
    for address in _addresses(host, port or 443, url):
        if not _is_public(address):
            raise FetchError(f"refused to follow {url!r}: {host} is in a private network ({address})")


def _is_public(address: str) -> bool:
    found = ipaddress.ip_address(address.split("%")[0])
    found = getattr(found, "ipv4_mapped", None) or found
    return found.is_global and not found.is_multicast


def _addresses(host: str, port: int, url: str) -> list[str]:
    """Return the addresses of a host, an empty list where only a proxy can tell."""
    try:
        return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as error:
        from requests.utils import get_environ_proxies

        if get_environ_proxies(url):
            return []
        raise FetchError(f"no network, or no such host {host!r} ({error})") from error


def _explain(remote: RemoteFile, target: Path, notes: list[str]) -> str:
    size = "size not declared" if remote.size is None else f"{remote.size:,} bytes"
    tried = "".join(f"\n  - {note}" for note in notes)
    return (
        f"cannot get {remote.name} ({size}, licence: {remote.licence}, sha256 {remote.sha256}).\nTried:{tried}\n"
        f"What to do: on a machine with network, download {' or '.join(remote.urls)}\n"
        f"and save it here as {target}\n"
        f"or as {remote.name} in any folder, and set MUMEI_MIRROR to that folder. Then run the same command again."
    )
