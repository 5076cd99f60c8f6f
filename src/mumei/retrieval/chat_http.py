"""One POST to an OpenAI-compatible server: which addresses may be asked, where the key goes, how much is read, what failed.

Nothing here raises for what a server or a network does: `post` returns an `Answer` or a `Failure`, so that no exception
carries a request with its key. The body is read up to a limit and uncompressed, the whole request within one time limit,
a redirect is followed to the same origin alone, and the environment's proxies and certificates hold as httpx takes them.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from mumei.core.errors import UsageError
from mumei.retrieval.generators import (
    GeneratorAuth,
    GeneratorDown,
    GeneratorError,
    GeneratorMalformed,
    GeneratorRateLimited,
    GeneratorRejected,
    GeneratorTimeout,
)

if TYPE_CHECKING:
    import httpx

EXCERPT = 80  # characters of a foreign text that an error shows
SAID = 300  # characters of a server's own error message
LONG_KEY = 16  # characters
HOPS = 3  # redirects within the same origin
REDIRECTS = (301, 302, 303, 307, 308)
DOWN = (500, 502, 503, 504)


class Key:
    """A secret from the environment: sent in one header, shown nowhere."""

    __slots__ = ("_value",)

    def __init__(self, value: str = ""):
        self._value = value

    @classmethod
    def read(cls, variable: str | None) -> Key:
        """Read the key from an environment variable; an absent one is an empty key, which is not sent."""
        value = os.environ.get(variable, "").strip() if variable else ""
        if not all(33 <= ord(c) <= 126 for c in value):
            raise UsageError(
                f"the environment variable {variable} holds blanks or characters that no key has; set it anew."
            )
        return cls(value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "Key(hidden)"

    def headers(self) -> dict[str, str]:
        """Return the header that carries the key, none where there is no key."""
        return {"Authorization": f"Bearer {self._value}"} if self._value else {}

    def scrub(self, text: str, least: int = 1) -> str:
        """Return a text without the key, should a server have echoed it; keys shorter than `least` are let be."""
        return text.replace(self._value, "[key]") if len(self._value) >= least else text


@dataclass(frozen=True)
class Answer:
    """What a server answered with status 200: a JSON object."""

    content: dict[str, Any]


@dataclass(frozen=True)
class Failure:
    """Why there is no answer; `again` where another attempt may help, `after` the seconds that the server asks to wait."""

    error: GeneratorError
    again: bool = False
    after: float | None = None
    status: int = 0
    said: str = ""  # the server's own message


def check_base_url(base_url: str) -> str:
    """Return a base address without its final slash, or raise `UsageError`: http(s), a host, nothing secret, no route."""
    if not isinstance(base_url, str):
        raise UsageError(f"base_url is {type(base_url).__name__}; give an address such as 'http://127.0.0.1:8080/v1'.")
    try:
        parts = urlsplit(base_url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"base_url {base_url!r:.200} is not an address ({error}).") from None
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            "base_url holds a user name or a password; put the key into an environment variable (key_env)."
        )
    if parts.scheme not in ("http", "https") or not host or "\\" in base_url:
        raise UsageError(
            f"base_url {base_url!r:.200} is not allowed; give http://HOST/... or https://HOST/..., often up to /v1."
        )
    if parts.query or parts.fragment:
        raise UsageError(f"base_url {parts.scheme}://{parts.netloc}{parts.path}: leave out what follows '?' or '#'.")
    if re.search(r"/(chat/)?completions/?$", parts.path):
        raise UsageError(
            f"base_url {base_url!r:.200}: end it before /chat/completions or /completions, which is added."
        )
    return base_url.strip().rstrip("/")


def check_secure(base_url: str, key: Key, allow_insecure: bool) -> None:
    """Raise `UsageError` where a key would cross a network in the clear."""
    parts = urlsplit(base_url)
    if key and parts.scheme == "http" and not is_loopback(parts.hostname or "") and not allow_insecure:
        raise UsageError(
            f"refused to send the key to {parts.hostname} over http, where others can read it. Use https, or no key "
            "(key_env=None) for a server that needs none, or allow_insecure=True within a network that you trust."
        )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return False


async def post(
    client: httpx.AsyncClient, url: str, body: Mapping[str, Any], key: Key, *, timeout: float, limit: int
) -> Answer | Failure:
    """Send one request and read its answer, all of it within `timeout` seconds and `limit` bytes."""
    import httpx

    try:
        async with asyncio.timeout(timeout):
            return await _post(client, url, body, key, limit)
    except (TimeoutError, httpx.TimeoutException):
        return Failure(GeneratorTimeout(f"{url} gave no full answer within {timeout:g} s"), again=True)
    except (httpx.TransportError, OSError) as error:
        why = key.scrub(_network_reason(error))
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        why = f"{type(error).__name__}: {key.scrub(str(error))[:SAID]}"
        return Failure(GeneratorMalformed(f"{url} cannot be spoken to ({why})"))
    return Failure(GeneratorDown(f"{url} cannot be reached ({why})"), again="certificate" not in why.lower())


def _network_reason(error: Exception) -> str:
    said = str(error).strip() or "the connection was closed"
    return f"{type(error).__name__}: {said[:SAID]}"


async def _post(client: httpx.AsyncClient, url: str, body: Mapping[str, Any], key: Key, limit: int) -> Answer | Failure:
    """Send a request, following redirects to the same origin with the request unchanged."""
    at = url
    for _ in range(HOPS + 1):
        async with client.stream("POST", at, json=body) as response:
            if response.status_code not in REDIRECTS:
                return await _read(response, at, key, limit)
            target = urljoin(at, response.headers.get("location", ""))
            if response.status_code not in (307, 308) or _origin(target) != _origin(at):
                return _redirected(url, target, response.status_code)
            at = target
    return Failure(GeneratorRejected(f"{url} redirects more than {HOPS} times"))


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port
    except ValueError:
        return "", "", None


def _redirected(url: str, target: str, status: int) -> Failure:
    scheme, host, port = _origin(target)
    where = f"{scheme}://{host}{f':{port}' if port else ''}" if host else "nowhere"
    return Failure(
        GeneratorRejected(
            f"{url} redirects ({status}) to {where}, which is not followed: prompts and the key go to the given address "
            "alone. If that is where the server is, give it as base_url"
        ),
        status=status,
    )


async def _read(response: httpx.Response, url: str, key: Key, limit: int) -> Answer | Failure:
    """Read a body up to the limit, and judge it by its status."""
    announced = response.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        return _too_large(url, f"announces {int(announced):,}", limit)
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        return Failure(GeneratorMalformed(f"{url} answers compressed, which was not asked for"))
    content = bytearray()
    async for block in response.aiter_raw():
        content += block
        if len(content) > limit:
            return _too_large(url, f"sends more than {limit:,}", limit)
    text = content.decode("utf-8", "replace")
    if response.status_code != 200:
        return _refused(url, response.status_code, response.headers, key.scrub(text))
    # A key that is a word ("none", "ollama") is no secret, and cutting it out of an answer would break the answer.
    text = key.scrub(text, least=LONG_KEY)
    kind = response.headers.get("content-type", "").lower()
    if "html" in kind or text.lstrip().startswith("<"):
        return Failure(GeneratorMalformed(f"{url} answers with a web page, not JSON: {_start(text)}. Check base_url"))
    if "event-stream" in kind:
        return Failure(GeneratorMalformed(f"{url} streams events, which was not asked for"))
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Failure(GeneratorMalformed(f"{url} answers with broken JSON ({str(error)[:80]}): {_start(text)}"))
    if not isinstance(parsed, dict):
        return Failure(GeneratorMalformed(f"{url} answers with JSON that is no object: {_start(text)}"))
    return Answer(parsed)


def _too_large(url: str, how: str, limit: int) -> Failure:
    return Failure(GeneratorMalformed(f"{url} {how} bytes; the limit of an answer is {limit:,}, the rest was not read"))


def _start(text: str) -> str:
    return repr(" ".join(text.split())[:EXCERPT])


def _refused(url: str, status: int, headers: Mapping[str, str], text: str) -> Failure:
    """Turn a status other than 200 into an error that says what to do."""
    said, code = _message(text)
    what = f"{url} answers {status}" + (f": {said}" if said else "")
    if status == 429:
        spent = code == "insufficient_quota"
        what += " (the quota is used up; waiting does not help)" if spent else " (too many requests)"
        return Failure(
            GeneratorRateLimited(what), again=not spent, after=retry_after(headers), status=status, said=said
        )
    if status in (401, 403):
        return Failure(GeneratorAuth(what), status=status, said=said)
    if status in DOWN:
        return Failure(GeneratorDown(what), again=True, after=retry_after(headers), status=status, said=said)
    if status >= 500:
        return Failure(GeneratorDown(what), status=status, said=said)
    if status == 404:
        what += ". Check the model's name and base_url, which often ends in /v1"
    return Failure(GeneratorRejected(what), status=status, said=said)


def _message(text: str) -> tuple[str, str]:
    """Return a server's own error message and code, in the forms that servers have, else the start of the body."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return (_start(text) if text.strip() else ""), ""
    error = content.get("error", content) if isinstance(content, dict) else content
    if isinstance(error, dict):
        said = next((error[k] for k in ("message", "detail", "msg") if isinstance(error.get(k), str)), "")
        return " ".join(said.split())[:SAID] or _start(text), str(error.get("code") or error.get("type") or "")
    return " ".join(str(error).split())[:SAID], ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a Retry-After header asks to wait (a number or a date), None where there is none.

    Examples
    --------
    >>> retry_after({"retry-after": "2"}), retry_after({})
    (2.0, None)
    """
    given = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", given):
        return float(given)
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(given)
    except (ValueError, TypeError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
