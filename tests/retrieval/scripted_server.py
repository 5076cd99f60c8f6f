"""An OpenAI-compatible server on loopback that plays a script: one play a request, the last one again and again."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Play = Callable[["Handler", dict], None]


def text_for(prompt: str, seed: Any, index: int, temperature: float) -> str:
    """The server's model: a text that depends on the prompt and, above temperature 0, on seed and index."""
    chance = hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=4).hexdigest() if temperature else "greedy"
    return f"A text about {prompt} ({chance})"


def prompt_of(body: dict) -> str:
    return body["prompt"] if "prompt" in body else body["messages"][-1]["content"]


class Handler(BaseHTTPRequestHandler):
    """One request of one connection."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
        owner: ScriptedServer = self.server.owner
        with owner.lock:
            play = owner.plays[min(len(owner.requests), len(owner.plays) - 1)]
            owner.requests.append(
                {"path": self.path, "headers": dict(self.headers), "body": body, "at": time.monotonic()}
            )
            owner.under_way += 1
            owner.most_under_way = max(owner.most_under_way, owner.under_way)
        try:
            play(self, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with owner.lock:
                owner.under_way -= 1

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def send(self, status: int, content: bytes, kind: str = "application/json", headers: dict | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def answer(self, body: dict, texts: list[str | None], *, finish: str = "stop", refusal: str | None = None) -> None:
        """Send texts in the form that the route has."""
        choices = []
        for i, text in enumerate(texts):
            if self.path.endswith("/chat/completions"):
                choice: dict = {"message": {"role": "assistant", "content": text, "refusal": refusal}}
            else:
                choice = {"text": text}
            choices.append({"index": i, "finish_reason": finish, **choice})
        words = sum(len((t or "").split()) for t in texts)
        usage = {"prompt_tokens": len(prompt_of(body).split()), "completion_tokens": words}
        self.send(200, json.dumps({"object": "x", "choices": choices, "usage": usage}).encode())


def fine(handler: Handler, body: dict) -> None:
    """Honours n and seed."""
    make = range(body.get("n", 1))
    handler.answer(body, [text_for(prompt_of(body), body["seed"], i, body["temperature"]) for i in make])


def ignores_n(handler: Handler, body: dict) -> None:
    fine(handler, {**body, "n": 1})


def at_most(count: int) -> Play:
    """Makes at most `count` texts a request."""
    return lambda handler, body: fine(handler, {**body, "n": min(count, body.get("n", 1))})


def refuses_n(handler: Handler, body: dict) -> None:
    if body.get("n", 1) > 1:
        status(400, message="Only one completion choice is allowed")(handler, body)
    else:
        fine(handler, body)


def status(code: int, *, message: str = "no", after: str | None = None, code_name: str = "") -> Play:
    """An error with a JSON body."""
    content = json.dumps({"error": {"message": message, "code": code_name or None}}).encode()
    headers = {} if after is None else {"Retry-After": after}
    return lambda handler, body: handler.send(code, content, headers=headers)


def says(*texts: str | None, finish: str = "stop", refusal: str | None = None) -> Play:
    """These very texts."""
    return lambda handler, body: handler.answer(body, list(texts), finish=finish, refusal=refusal)


def raw(content: bytes, kind: str = "application/json", code: int = 200, headers: dict | None = None) -> Play:
    """Any bytes."""
    return lambda handler, body: handler.send(code, content, kind, headers)


def slow(seconds: float) -> Play:
    """Answers late, or when the server is closed."""

    def play(handler: Handler, body: dict) -> None:
        handler.server.owner.closing.wait(seconds)
        fine(handler, body)

    return play


def drip(pause: float = 0.05, length: int = 100_000) -> Play:
    """A byte now and then: each read is in time, the whole never is."""

    def play(handler: Handler, body: dict) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(length))
        handler.end_headers()
        for _ in range(length):
            if handler.server.owner.closing.wait(pause):
                break
            handler.wfile.write(b" ")
            handler.wfile.flush()
        handler.close_connection = True

    return play


def endless(announce: bool = False, megabytes: int = 10) -> Play:
    """A large body, whose length is announced or not; counts the blocks that were taken."""

    def play(handler: Handler, body: dict) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        if announce:
            handler.send_header("Content-Length", str(megabytes << 20))
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True
        for _ in range(megabytes * 16):
            handler.wfile.write(b" " * (1 << 16))
            handler.server.owner.blocks += 1

    return play


def hangs_up(handler: Handler, body: dict) -> None:
    """Closes the connection without a word."""
    handler.close_connection = True


def wants_max_completion_tokens(handler: Handler, body: dict) -> None:
    if "max_tokens" in body:
        said = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
        status(400, message=said)(handler, body)
    else:
        fine(handler, body)


def redirect(location: str, code: int = 307) -> Play:
    return lambda handler, body: handler.send(code, b"", headers={"Location": location})


def by_prompt(plays: dict[str, Play], other: Play = fine) -> Play:
    """Another play for prompts that hold a word."""

    def play(handler: Handler, body: dict) -> None:
        found = [p for word, p in plays.items() if word in prompt_of(body)]
        (found[0] if found else other)(handler, body)

    return play


class ScriptedServer:
    """The server, running within a `with`: `requests` holds every request with its path, headers and body.

    >>> with ScriptedServer(status(429, after="0"), fine) as server:
    ...     generator = ChatGenerator(server.url, "toy", key_env=None)
    """

    def __init__(self, *plays: Play):
        self.plays: list[Play] = list(plays) or [fine]
        self.requests: list[dict] = []
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.under_way = self.most_under_way = self.blocks = 0

    def __enter__(self) -> ScriptedServer:
        self._server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.owner = self
        self._server.handle_error = lambda *_: None
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def count(self) -> int:
        return len(self.requests)
