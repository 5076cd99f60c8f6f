"""Fetching: cache, mirrors, network. Hashes are computed here with hashlib; the server is a local one."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote

import pytest

from mumei.core import fetch as module
from mumei.core.errors import FetchError, StorageError, UsageError
from mumei.core.fetch import RemoteFile, cache_folder, fetch
from mumei.core.files import TEMPORARY
from mumei.core.progress import Progress

GOOD = bytes(range(256)) * 5000
SHA = hashlib.sha256(GOOD).hexdigest()
URL = "https://example.org/data.bin"


def remote(*urls: str, sha256: str = SHA, size: int | None = len(GOOD)) -> RemoteFile:
    return RemoteFile("data.bin", urls or (URL,), sha256, "CC0-1.0", size)


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    for name in ("MUMEI_MIRROR", "MUMEI_OFFLINE", "MUMEI_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def served(monkeypatch) -> list[str]:
    """Replace the network: every address gives GOOD; returns the list of addresses asked for."""
    asked: list[str] = []

    def download(url: str, path: Path, limit: int, advance=None) -> None:
        asked.append(url)
        if "bad" in url:
            raise FetchError("404")
        path.write_bytes(b"other" if "wrong" in url else GOOD)

    monkeypatch.setattr(module, "_download", download)
    return asked


def only(folder: Path, *names: str) -> bool:
    return sorted(p.name for p in folder.iterdir()) == sorted(names)


# --- the declaration -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"name": "../x"}, "not plain"),
        ({"name": ""}, "not plain"),
        ({"name": "a/b"}, "not plain"),
        ({"name": ".hidden"}, "not plain"),
        ({"name": "x\n"}, "not plain"),
        ({"sha256": "abc"}, "64"),
        ({"sha256": SHA.upper()}, "64"),
        ({"urls": ()}, "at least one"),
        ({"urls": [URL]}, "tuple"),
        ({"urls": ("http://example.org/x",)}, "only https"),
        ({"urls": ("https:///x",)}, "only https"),
        ({"urls": ("file:///etc/passwd",)}, "only https"),
        ({"licence": " "}, "licence"),
        ({"size": -1}, "size"),
    ],
)
def test_declaration_is_checked(change, match):
    fields = {"name": "data.bin", "urls": (URL,), "sha256": SHA, "licence": "CC0-1.0", "size": 1, **change}
    with pytest.raises(UsageError, match=match):
        RemoteFile(**fields)


def test_cache_folder(monkeypatch, tmp_path):
    assert cache_folder().name in ("mumei", "Cache")
    monkeypatch.setenv("MUMEI_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    (tmp_path / f"{SHA}-data.bin").write_bytes(GOOD)
    assert fetch(remote()) == tmp_path / f"{SHA}-data.bin"


# --- cache, mirrors, order of sources --------------------------------------------------------------------------------


def test_second_call_is_served_from_the_cache(cache, served):
    path = fetch(remote(), cache=cache)
    assert path == cache / f"{SHA}-data.bin"
    assert path.read_bytes() == GOOD
    assert fetch(remote(), cache=cache) == path
    assert served == [URL]
    assert only(cache, path.name)


def test_altered_cache_file_is_fetched_again(cache, served):
    path = fetch(remote(), cache=cache)
    path.write_bytes(GOOD[:-1])
    assert fetch(remote(), cache=cache).read_bytes() == GOOD
    assert served == [URL, URL]


def test_addresses_are_tried_in_turn(cache, served):
    urls = tuple(f"https://example.org/{part}" for part in ("bad", "wrong", "good", "never"))
    assert fetch(remote(*urls), cache=cache).read_bytes() == GOOD
    assert served == list(urls[:3])


def test_all_addresses_fail(cache, served):
    with pytest.raises(FetchError) as caught:
        fetch(remote("https://example.org/bad", "https://example.org/wrong"), cache=cache)
    other = hashlib.sha256(b"other").hexdigest()
    for part in ("https://example.org/bad: 404", f"another sha256 ({other})", "MUMEI_MIRROR", "CC0-1.0"):
        assert part in str(caught.value)
    assert only(cache)


@pytest.mark.parametrize("name", [SHA, f"{SHA}-data.bin", "data.bin"])
def test_mirror_hit(cache, served, monkeypatch, tmp_path, name):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / name).write_bytes(GOOD)
    monkeypatch.setenv("MUMEI_MIRROR", os.pathsep.join(["", str(tmp_path / "absent"), str(mirror)]))
    path = fetch(remote(), cache=cache)
    assert path == cache / f"{SHA}-data.bin"
    assert path.read_bytes() == GOOD
    assert served == []


def test_mirror_with_wrong_content_is_named_and_not_used(cache, served, monkeypatch, tmp_path):
    (tmp_path / "data.bin").write_bytes(b"poison")
    monkeypatch.setenv("MUMEI_MIRROR", str(tmp_path))
    with pytest.raises(FetchError) as caught:
        fetch(remote("https://example.org/bad"), cache=cache)
    assert f"{tmp_path / 'data.bin'} has another sha256, not used" in str(caught.value)
    assert fetch(remote(), cache=cache).read_bytes() == GOOD


def test_mirror_that_changes_while_copied(cache, monkeypatch, tmp_path):
    (tmp_path / "data.bin").write_bytes(GOOD)
    monkeypatch.setenv("MUMEI_MIRROR", str(tmp_path))
    monkeypatch.setattr(module, "_is_sound", lambda path, *_: path == tmp_path / "data.bin")
    (tmp_path / "data.bin").write_bytes(b"changed")
    with pytest.raises(FetchError, match="changed while"):
        fetch(remote(), cache=cache)
    assert only(cache)


def test_offline_says_what_to_put_where(cache, served, monkeypatch):
    monkeypatch.setenv("MUMEI_OFFLINE", "1")
    with pytest.raises(FetchError) as caught:
        fetch(remote(), cache=cache)
    message = str(caught.value)
    for part in (
        "data.bin",
        f"{len(GOOD):,} bytes",
        "CC0-1.0",
        SHA,
        URL,
        str(cache / f"{SHA}-data.bin"),
        "MUMEI_OFFLINE",
    ):
        assert part in message
    assert served == []
    (cache / f"{SHA}-data.bin").write_bytes(GOOD)  # exactly what the message said
    assert fetch(remote(), cache=cache).read_bytes() == GOOD
    monkeypatch.setenv("MUMEI_OFFLINE", "0")
    (cache / f"{SHA}-data.bin").unlink()
    fetch(remote(), cache=cache)
    assert served == [URL]


def test_no_network(cache, monkeypatch):
    def fail(*_args, **_options):
        raise OSError("Temporary failure in name resolution")

    monkeypatch.setattr(module.socket, "getaddrinfo", fail)
    with pytest.raises(FetchError, match=r"no network, or no such host 'example.org'[\s\S]*What to do"):
        fetch(remote(size=None), cache=cache)
    assert only(cache)


def test_cache_that_cannot_be_made(tmp_path, served):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        fetch(remote(), cache=tmp_path / "file")


def test_full_disk_is_not_taken_for_a_bad_network(cache, monkeypatch):
    def download(*_args) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_download", download)
    with pytest.raises(StorageError, match="disk is full"):
        fetch(remote(), cache=cache)


# --- addresses -------------------------------------------------------------------------------------------------------

PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "192.168.0.1",
    "172.16.0.1",
    "169.254.169.254",
    "0.0.0.0",
    "100.64.0.1",
    "224.0.0.1",
]
PRIVATE += ["::1", "fe80::1%eth0", "fc00::1", "::ffff:10.0.0.1", "::"]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused(address, monkeypatch):
    assert not module._is_public(address)
    monkeypatch.setattr(
        module.socket, "getaddrinfo", lambda *_a, **_o: [(0, 0, 0, "", ("8.8.8.8", 1)), (0, 0, 0, "", (address, 1))]
    )
    with pytest.raises(FetchError, match="private network"):
        module._check_url(URL)


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8"])
def test_public_addresses_pass(address, monkeypatch):
    monkeypatch.setattr(module.socket, "getaddrinfo", lambda *_a, **_o: [(0, 0, 0, "", (address, 1))])
    module._check_url(URL)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/x",
        "ftp://example.org",
        "https://",
        "https://a:b:c/x",
        "https://[/",
        "https://a@b/x",
        "https://a\\@b/x",
    ],
)
def test_other_addresses_are_refused(url):
    with pytest.raises(FetchError):
        module._check_url(url)


def test_behind_a_proxy_names_are_not_resolved_here(monkeypatch):
    def fail(*_args, **_options):
        raise OSError("no such host")

    monkeypatch.setattr(module.socket, "getaddrinfo", fail)
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    module._check_url(URL)


# --- the real HTTP path ----------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    """Serves GOOD in honest and less honest ways."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", unquote(self.path[4:]).replace("PORT", str(self.server.server_port)))  # type: ignore[attr-defined]
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path == "/missing":
            self.send_error(404)
            return
        content = {"/wrong": b"x" * len(GOOD), "/long": GOOD * 2, "/endless": GOOD * 2}.get(self.path, GOOD)
        self.send_response(200)
        if self.path != "/endless":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.path == "/cut" else content)

    def log_message(self, format: str, *args) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    """Start a local server; plain http and this host's own address are allowed for the test."""
    monkeypatch.setattr(module, "SCHEMES", ("http",))
    real = module._is_public
    monkeypatch.setattr(module, "_is_public", lambda address: address == "127.0.0.1" or real(address))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.asked = []  # type: ignore[attr-defined]
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def address(server, path: str) -> str:
    return f"http://127.0.0.1:{server.server_port}{path}"


@pytest.mark.parametrize("path", ["/good", "/to/http://127.0.0.1:PORT/good", "/to//good", "/to//to//good"])
def test_http_good(server, cache, path):
    assert fetch(remote(address(server, path)), cache=cache).read_bytes() == GOOD
    asked = list(server.asked)
    fetch(remote(address(server, path)), cache=cache)
    assert server.asked == asked
    assert only(cache, f"{SHA}-data.bin")


@pytest.mark.parametrize(
    ("path", "match"),
    [
        ("/wrong", "another sha256"),
        ("/missing", "404"),
        ("/cut", "IncompleteRead|Connection broken"),
        ("/long", "announces"),
        ("/endless", "sends more"),
        ("/to/https://127.0.0.1/x", "only https"),
        ("/to/file:///etc/passwd", "only https"),
        ("/to/http://127.0.0.2:PORT/good", "private network"),
        ("/to/http://10.0.0.1/x", "private network"),
        ("/to/http://[::1]/x", "private network"),
    ],
)
def test_http_bad(server, cache, path, match):
    with pytest.raises(FetchError, match=match):
        fetch(remote(address(server, path)), cache=cache)
    assert only(cache)
    assert not list(cache.glob(f"{TEMPORARY}*"))
    assert server.asked == [quote(path, safe="/:")]


def test_http_refused_connection(server, cache):
    free = f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    with pytest.raises(FetchError, match="ConnectionError"):
        fetch(remote(free), cache=cache)


def test_http_redirect_without_end(server, cache, monkeypatch):
    monkeypatch.setattr(Handler, "do_GET", redirect_to_itself)
    with pytest.raises(FetchError, match="TooManyRedirects"):
        fetch(remote(address(server, "/round")), cache=cache)


def redirect_to_itself(self) -> None:
    self.send_response(302)
    self.send_header("Location", "/round")
    self.send_header("Content-Length", "0")
    self.end_headers()


def test_http_disk_full(server, cache, monkeypatch):
    def write(*_args) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module._Capped, "write", write)
    with pytest.raises(StorageError, match="disk is full"):
        fetch(remote(address(server, "/good")), cache=cache)
    assert only(cache)


def test_http_progress(server, cache):
    """The download is counted in bytes; a quiet progress prints nothing."""
    tasks = []

    class Counting(Progress):
        def task(self, label, total=None, unit="items"):
            found = super().task(label, total, unit)
            tasks.append((found, label, total, unit))
            return found

    fetch(remote(address(server, "/good")), cache=cache, progress=Counting(quiet=True))
    assert [t[1:] for t in tasks] == [("Fetching data.bin", len(GOOD), "bytes")]


def test_import_is_light():
    heavy = {"numpy", "pooch", "requests", "torch"}
    code = f"import sys, mumei.core.fetch, mumei.core.extract; print(sorted({heavy} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
