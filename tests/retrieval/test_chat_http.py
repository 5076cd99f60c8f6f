"""Addresses, keys, waiting times: the rules of asking a server, without one. What a server does is in test_chat.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mumei.core.errors import UsageError
from mumei.retrieval.chat_http import Key, check_base_url, is_loopback, retry_after


def test_loopback():
    assert [is_loopback(h) for h in ("localhost", "127.0.0.1", "127.9.9.9", "::1")] == [True] * 4
    assert [is_loopback(h) for h in ("127.0.0.1.example.org", "10.0.0.1", "", "0.0.0.0")] == [False] * 4


@pytest.mark.parametrize(
    "url",
    ["", "ftp://x/v1", "x/v1", "http://", "http://user:pw@x/v1", "http://x/v1?key=1", "http://x/v1#a", "http://x:a/v1",
     "http://x/v1/chat/completions", "http://x\\@y/v1", None],
)  # fmt: skip
def test_addresses_that_are_not_allowed(url):
    with pytest.raises(UsageError, match="base_url") as caught:
        check_base_url(url)
    assert "pw" not in str(caught.value)


def test_retry_after_as_a_date():
    from datetime import UTC, datetime, timedelta
    from email.utils import format_datetime

    assert 28 < retry_after({"retry-after": format_datetime(datetime.now(UTC) + timedelta(seconds=30))}) <= 30
    assert retry_after({"retry-after": format_datetime(datetime.now(UTC) - timedelta(seconds=30))}) == 0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({"retry-after": "-1"}) is None


@given(st.text())
def test_any_retry_after_is_a_number_of_seconds_or_nothing(given_text):
    found = retry_after({"retry-after": given_text})
    assert found is None or found >= 0


def test_a_key_is_hidden_and_cut_out_of_texts(monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-0123456789abcdef\n")
    key = Key.read("MY_KEY")
    assert (repr(key), f"{key}", bool(key)) == ("Key(hidden)", "Key(hidden)", True)
    assert key.headers() == {"Authorization": "Bearer sk-0123456789abcdef"}
    assert key.scrub("is sk-0123456789abcdef wrong") == "is [key] wrong"
    monkeypatch.setenv("MY_KEY", "none")
    assert Key.read("MY_KEY").scrub("none of it", least=16) == "none of it"
    assert Key.read(None).headers() == Key.read("NOT_SET_AT_ALL").headers() == {}
