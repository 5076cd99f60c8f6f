"""A wrong file in a mirror is reported also when another source has the right one."""

from __future__ import annotations

import hashlib
import io
import os

from mumei.core.fetch import RemoteFile, fetch
from mumei.core.progress import Progress


def test_the_wrong_file_is_named_and_the_right_one_used(tmp_path, monkeypatch):
    """Two mirrors: the first has another file under the declared name, the second the declared content."""
    digest = hashlib.sha256(b"right").hexdigest()
    for name, content in (("first", b"wrong"), ("second", b"right")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.csv").write_bytes(content)
    monkeypatch.setenv("MUMEI_MIRROR", os.pathsep.join(str(tmp_path / n) for n in ("first", "second")))
    monkeypatch.setenv("MUMEI_OFFLINE", "1")
    said = io.StringIO()
    remote = RemoteFile("data.csv", ("https://example.org/data.csv",), digest, "CC0-1.0")
    path = fetch(remote, cache=tmp_path / "cache", progress=Progress(stream=said))
    assert path.read_bytes() == b"right"
    assert said.getvalue() == f"{tmp_path / 'first' / 'data.csv'} has another sha256, not used\n"
