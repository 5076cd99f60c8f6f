"""A model behind a server: every way in which a server can fail gives its error, and the deadline holds."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
import traceback

import pytest
import scripted_server as play
from scripted_server import ScriptedServer, fine, says, status, text_for

from mumei.core.errors import UsageError
from mumei.core.seeds import seed32
from mumei.retrieval.chat import ChatGenerator
from mumei.retrieval.chat_http import Key
from mumei.retrieval.generators import (
    GeneratorAuth,
    GeneratorDown,
    GeneratorEmpty,
    GeneratorError,
    GeneratorMalformed,
    GeneratorRateLimited,
    GeneratorRefusal,
    GeneratorRejected,
    GeneratorTimeout,
)
from mumei.testing import check_generator

SECRET = "sk-secret-0123456789abcdef"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def chat(server, **options):
    url = server if isinstance(server, str) else server.url
    return ChatGenerator(url, "toy", **{"timeout": 5, "retries": 2, "backoff": 0.01, **options})


def fails(server, error, said, prompts=("p",), **options):
    generator = chat(server, **{k: v for k, v in options.items() if k not in ("n", "deadline_now", "temperature")})
    call = {k: options[k] for k in ("n", "temperature") if k in options}
    with pytest.raises(error, match=said) as caught:
        generator.generate(list(prompts), **call)
    assert type(caught.value) is error
    return generator, caught.value


@pytest.mark.parametrize("server", [fine, play.ignores_n, play.at_most(2), play.refuses_n], ids=lambda p: p.__name__)
@pytest.mark.parametrize("style", ["chat", "completion"])
def test_it_meets_the_protocol(server, style):
    with ScriptedServer(server) as running:
        check_generator(lambda: chat(running, style=style))
        route = "/v1/chat/completions" if style == "chat" else "/v1/completions"
        assert {r["path"] for r in running.requests} == {route}


def test_what_is_sent():
    with ScriptedServer() as server:
        generator = chat(server, system="Be short.", extra={"top_p": 0.9, "stop": ["\n\n\n"], "user": None})
        assert generator.generate(["why?"], n=2, temperature=0.7, max_tokens=9, seed=11) == [
            [text_for("why?", 11, 0, 0.7), text_for("why?", 11, 1, 0.7)]
        ]
        assert server.requests[0]["body"] == {
            "model": "toy", "temperature": 0.7, "max_tokens": 9, "seed": 11, "n": 2, "top_p": 0.9, "stop": ["\n\n\n"],
            "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "why?"}],
        }  # fmt: skip
        assert "Authorization" not in server.requests[0]["headers"]
    assert generator.parameters == {"style": "chat", "system": "Be short.", "top_p": 0.9, "stop": ["\n\n\n"]}


def test_a_server_that_ignores_n_is_asked_for_the_rest_with_derived_seeds():
    with ScriptedServer(play.ignores_n) as server:
        generator = chat(server)
        made = generator.generate(["p"], n=3, seed=7)
        seeds = [7, *(seed32(7, "sample", k, 0) for k in (1, 2))]
        assert made == [[text_for("p", seed, 0, 1.0) for seed in seeds]]
        assert [r["body"].get("n") for r in server.requests] == [3, None, None]
        assert generator.notes == ["the server makes 1 of 3 texts asked for (n): the rest by more requests"]
        assert generator.generate(["p"], n=3, seed=7) == made
        assert [r["body"].get("n") for r in server.requests[3:]] == [None, None, None]
        assert generator.generate(["p"], n=1, first=2, seed=7) == [made[0][2:]]


def test_a_server_that_refuses_n_is_asked_one_by_one():
    with ScriptedServer(play.refuses_n) as server:
        generator = chat(server)
        assert len(set(generator.generate(["p"], n=3)[0])) == 3
        assert server.count == 4
        assert generator.notes[0] == "the server makes one text a request: n texts by n requests"


def test_temperature_zero_asks_once():
    with ScriptedServer() as server:
        assert chat(server).generate(["p"], n=4, temperature=0) == [[text_for("p", 0, 0, 0)] * 4]
        assert server.count == 1


def test_max_completion_tokens():
    with ScriptedServer(play.wants_max_completion_tokens) as server:
        generator = chat(server)
        assert generator.generate(["p", "q", "r"], max_tokens=5) == [[text_for(p, 0, 0, 1.0)] for p in "pqr"]
        assert server.requests[-1]["body"]["max_completion_tokens"] == 5
        before = server.count
        generator.generate(["p"])
        assert server.count == before + 1
        assert generator.notes == ["the server wants max_completion_tokens in place of max_tokens"]


def test_requests_run_beside_each_other_up_to_the_limit():
    def late(handler, body):
        time.sleep(0.05)
        fine(handler, body)

    with ScriptedServer(late) as server:
        made = chat(server, max_concurrent=3).generate([f"p{i}" for i in range(9)])
        assert made == [[text_for(f"p{i}", 0, 0, 1.0)] for i in range(9)]
        assert server.most_under_way == 3


def test_requests_per_minute_spaces_requests():
    with ScriptedServer() as server:
        generator = chat(server, requests_per_minute=600)  # one in 0.1 s
        generator.generate(["a", "b"])
        generator.generate(["c"])
        at = [r["at"] for r in server.requests]
        assert min(b - a for a, b in itertools.pairwise(at)) > 0.08


def test_429_then_fine_waits_as_the_server_asks():
    with ScriptedServer(status(429, after="0.4"), fine) as server:
        generator = chat(server)
        assert generator.generate(["p"]) == [[text_for("p", 0, 0, 1.0)]]
        assert server.requests[1]["at"] - server.requests[0]["at"] >= 0.4
        assert (generator.log[0].status, generator.log[0].attempts) == ("ok", 2)


def test_429_for_ever():
    with ScriptedServer(status(429, message="slow down")) as server:
        generator, error = fails(
            server, GeneratorRateLimited, r"answers 429: slow down \(too many requests\), after 3 attempts"
        )
        assert (server.count, error.reason) == (3, "rate-limited")
        assert [(c.status, c.attempts) for c in generator.log] == [("rate-limited", 3)]


def test_a_used_up_quota_is_not_asked_again():
    with ScriptedServer(status(429, code_name="insufficient_quota")) as server:
        fails(server, GeneratorRateLimited, "the quota is used up")
        assert server.count == 1


def test_a_retry_after_that_is_too_long_is_an_error_at_once():
    with ScriptedServer(status(429, after="3600")) as server:
        began = time.monotonic()
        fails(server, GeneratorRateLimited, r"asks to wait 3,600 s, longer than longest_wait=120")
        assert time.monotonic() - began < 2


@pytest.mark.parametrize("code", [500, 502, 503, 504])
def test_a_failing_server_is_asked_again(code):
    with ScriptedServer(status(code), fine) as server:
        assert chat(server).generate(["p"]) == [[text_for("p", 0, 0, 1.0)]]
        assert server.count == 2


def test_500_for_ever():
    with ScriptedServer(status(500, message="out of memory")) as server:
        fails(server, GeneratorDown, "answers 500: out of memory, after 3 attempts")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (400, GeneratorRejected),
        (401, GeneratorAuth),
        (403, GeneratorAuth),
        (404, GeneratorRejected),
        (422, GeneratorRejected),
    ],
)
def test_what_is_never_asked_again(code, error):
    with ScriptedServer(status(code, message="bad thing")) as server:
        generator, _ = fails(server, error, f"answers {code}: bad thing")
        assert server.count == 1
        assert generator.log[0].attempts == 1


def test_a_closed_port():
    with ScriptedServer() as server:
        url = server.url
    began = time.monotonic()
    generator, _ = fails(url, GeneratorDown, r"cannot be reached \(ConnectError: .*\), after 3 attempts")
    assert time.monotonic() - began < 3
    assert generator.log[0].status == "down"


def test_a_server_that_hangs_up():
    with ScriptedServer(play.hangs_up) as server:
        fails(server, GeneratorDown, "cannot be reached")
        assert server.count == 3


def test_a_slow_server():
    with ScriptedServer(play.slow(20)) as server:
        began = time.monotonic()
        fails(server, GeneratorTimeout, r"gave no full answer within 0\.2 s, after 2 attempts", timeout=0.2, retries=1)
        assert time.monotonic() - began < 3


def test_bytes_that_drip_do_not_outlast_the_timeout():
    with ScriptedServer(play.drip(0.02)) as server:
        began = time.monotonic()
        fails(server, GeneratorTimeout, r"gave no full answer within 0\.3 s", timeout=0.3, retries=0)
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("how", ["slow", "drip"])
def test_the_deadline_holds_and_keeps_what_was_finished(how):
    hold = play.slow(30) if how == "slow" else play.drip(0.02)
    with ScriptedServer(play.by_prompt({"late": hold})) as server:
        generator = chat(server, timeout=60, deadline=0.6)
        seen = []
        began = time.monotonic()
        with pytest.raises(
            GeneratorTimeout, match=r"deadline of this call .* 2 of 3 texts were finished within 0\.6 s"
        ) as caught:
            generator.generate(["one", "late", "two"], on_text=lambda *made: seen.append(made[:2]))
        assert 0.5 < time.monotonic() - began < 2.5
        one, two = (text_for(p, 0, 0, 1.0) for p in ("one", "two"))
        assert caught.value.finished == [[one], [], [two]]
        assert sorted(seen) == [(0, 0), (2, 0)]


def test_the_deadline_holds_between_attempts():
    with ScriptedServer(status(503)) as server:
        began = time.monotonic()
        generator = chat(server, backoff=5, deadline=60)
        with pytest.raises(GeneratorDown, match=r"the next attempt, in .* would pass the deadline"):
            generator.generate(["p"], deadline=0.5)
        assert time.monotonic() - began < 2


def test_an_empty_text_is_asked_for_again_with_another_seed():
    with ScriptedServer(says("  "), fine) as server:
        seed = seed32(0, "sample", 0, 1)
        assert chat(server).generate(["p"]) == [[text_for("p", seed, 0, 1.0)]]
        assert [r["body"]["seed"] for r in server.requests] == [0, seed]


def test_an_empty_text_for_ever():
    with ScriptedServer(says(None)) as server:
        _, error = fails(server, GeneratorEmpty, r"gives an empty text for the prompt 'p', sample 0, 3 times\.")
        assert (server.count, error.reason) == (3, "empty")
    with ScriptedServer(says("", finish="length")) as server:
        fails(server, GeneratorEmpty, "cut at max_tokens=512 before any text: give more")


@pytest.mark.parametrize("refusing", [says(None, refusal="I cannot help."), says("some", finish="content_filter")])
def test_a_refusal_stops_its_own_prompt_alone(refusing):
    with ScriptedServer(play.by_prompt({"bad": refusing})) as server:
        _, error = fails(
            server, GeneratorRefusal, r"refuses the prompt 'bad': (I cannot|a content filter)", ["a", "bad", "c"]
        )
        assert error.finished == [[text_for("a", 0, 0, 1.0)], [], [text_for("c", 0, 0, 1.0)]]
        assert list(error.failed) == [1]
        assert server.count == 3


def test_one_empty_text_of_several_is_replaced():
    with ScriptedServer(says("a", "", "c"), fine) as server:
        made = chat(server).generate(["p"], n=3)
        assert made == [["a", text_for("p", seed32(0, "sample", 1, 1), 0, 1.0), "c"]]


def test_a_cut_text_is_taken_and_noted():
    with ScriptedServer(says("cut he", finish="length")) as server:
        generator = chat(server)
        assert generator.generate(["p"]) == [["cut he"]]
        assert generator.log[0].note == "1 of 1 texts cut at max_tokens"
        assert generator.notes == ["some texts were cut at max_tokens"]


@pytest.mark.parametrize("announce", [True, False])
def test_a_large_body_is_not_read(announce):
    with ScriptedServer(play.endless(announce)) as server:
        fails(
            server,
            GeneratorMalformed,
            r"(announces 10,485,760|sends more than 100,000) bytes; the limit",
            limit=100_000,
        )
        time.sleep(0.1)
        assert server.blocks < 160


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        (
            b"<html><body>Sign in</body></html>" + b"x" * 500,
            "text/html",
            r"a web page, not JSON: '<html><body>Sign in</body></html>x{47}'\. Check",
        ),
        (b"<!doctype html>", "application/json", "a web page"),
        (b"{broken", "application/json", r"broken JSON .*'\{broken'"),
        (b"[" * 50_000, "application/json", "broken JSON"),
        (b"[]", "application/json", "JSON that is no object"),
        (b"data: {}", "text/event-stream", "streams events"),
        (b"{}", "application/json", r"200 with no choices: '\{\}'"),
        (b'{"choices": []}', "application/json", "no choices"),
        (b'{"choices": "x"}', "application/json", "no choices"),
        (b'{"error": {"message": "boom"}}', "application/json", "an error in place of choices: .*boom"),
        (b'{"choices": [{"index": 0}]}', "application/json", "a choice that has no message"),
        (b'{"choices": [{"message": {"content": 3}}]}', "application/json", "a choice that has no message"),
        (b"", "application/json", "broken JSON"),
    ],
)
def test_answers_that_are_not_the_protocol(content, kind, said):
    with ScriptedServer(play.raw(content, kind)) as server:
        fails(server, GeneratorMalformed, said)
        assert server.count == 1


def test_a_compressed_answer_is_refused():
    with ScriptedServer(play.raw(b"\x1f\x8b", headers={"Content-Encoding": "gzip"})) as server:
        fails(server, GeneratorMalformed, "answers compressed")
        assert server.requests[0]["headers"]["Accept-Encoding"] == "identity"


def test_a_redirect_to_another_host_is_not_followed(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with ScriptedServer() as other, ScriptedServer(play.redirect(other.url + "/chat/completions?x=1")) as server:
        fails(
            server, GeneratorRejected, rf"redirects \(307\) to http://127\.0\.0\.1:{other.port}, which is not followed"
        )
        assert (server.count, other.count) == (1, 0)


def test_a_redirect_within_the_server_is_followed_with_the_request():
    with ScriptedServer(play.redirect("/v2/chat/completions"), fine) as server:
        assert chat(server).generate(["p"]) == [[text_for("p", 0, 0, 1.0)]]
        assert [r["path"] for r in server.requests] == ["/v1/chat/completions", "/v2/chat/completions"]
        assert server.requests[0]["body"] == server.requests[1]["body"]
    with ScriptedServer(play.redirect("/v1/chat/completions")) as server:
        fails(server, GeneratorRejected, "redirects more than 3 times")
    with ScriptedServer(play.redirect("/x", 302)) as server:
        fails(server, GeneratorRejected, "redirects")


def test_the_key_is_sent_and_shown_nowhere(monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MY_KEY", f" {SECRET}\n")
    echo = f"Incorrect API key provided: {SECRET}"
    plays = [
        fine,
        status(401, message=echo),
        play.raw(SECRET.encode(), "text/html"),
        status(500, message=echo),
        says(f"key {SECRET}"),
    ]
    shown = []
    with ScriptedServer(*plays) as server:
        generator = chat(server, key_env="MY_KEY", retries=0)
        shown.append(generator.generate(["p"]))
        assert server.requests[0]["headers"]["Authorization"] == f"Bearer {SECRET}"
        for _ in range(3):
            with pytest.raises(GeneratorError) as caught:
                generator.generate(["p"])
            error = caught.value
            frames = error.__traceback__.tb_next  # below this test, which holds the key itself
            shown += ["".join(traceback.TracebackException(type(error), error, frames, capture_locals=True).format())]
            shown += [str(error), repr(error.__context__), repr(error.__cause__)]
        shown.append(generator.generate(["p"]))
    shown += [generator.__dict__, generator.log, caplog.text, Key(SECRET)]
    assert SECRET not in repr(shown)
    assert repr(shown).count("[key]") >= 3


def test_a_key_with_blanks_inside_is_refused_without_showing_it(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a b")
    with pytest.raises(UsageError, match="OPENAI_API_KEY holds blanks") as caught:
        ChatGenerator("http://127.0.0.1:1/v1", "m")
    assert "sk-a" not in str(caught.value)


def test_the_key_does_not_cross_a_network_in_the_clear(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with pytest.raises(UsageError, match=r"refused to send the key to models\.example\.org over http"):
        ChatGenerator("http://models.example.org/v1", "m")
    for url, options in (
        ("https://models.example.org/v1", {}),
        ("http://[::1]:8080/v1", {}),
        ("http://models.example.org/v1", {"key_env": None}),
        ("http://models.example.org/v1", {"allow_insecure": True}),
    ):
        assert ChatGenerator(url, "m", **options).base_url == url
    late = ChatGenerator("http://models.example.org/v1", "m", key_env="LATER")
    monkeypatch.setenv("LATER", SECRET)
    with pytest.raises(UsageError, match="refused to send the key"):
        late.generate(["p"])


def test_the_environment_s_proxy_is_used(monkeypatch):
    with ScriptedServer() as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        made = ChatGenerator("http://models.invalid/v1", "m", retries=0).generate(["p"])
        assert made == [[text_for("p", 0, 0, 1.0)]]
        assert proxy.requests[0]["path"] == "http://models.invalid/v1/chat/completions"


@pytest.mark.parametrize(
    "wrong",
    [{"timeout": 0}, {"retries": -1}, {"max_concurrent": 0}, {"requests_per_minute": 0}, {"style": "x"}, {"deadline": -1},
     {"extra": {"stream": True}}, {"extra": {"n": 2}}, {"extra": {"stop": {1, 2}}},
     {"limit": 0}, {"style": "completion", "system": "s"}],
)  # fmt: skip
def test_arguments_that_are_not_allowed(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong)) if "system" not in wrong else "system message"):
        ChatGenerator("http://127.0.0.1:1/v1", "m", **wrong)


def test_the_ledger():
    with ScriptedServer() as server:
        generator = chat(server)
        seen = []
        generator.generate(["one two"], n=2, on_text=lambda place, k, made: seen.append(made))
        words = sum(len(t.text.split()) for t in seen)
        (call,) = generator.log
        assert (call.status, call.attempts, call.texts, call.prompt_tokens, call.completion_tokens) == (
            "ok",
            1,
            2,
            2,
            words,
        )
        assert call.milliseconds > 0
        assert [t.tokens for t in seen] == [words // 2] * 2
        assert generator.totals().startswith(f"1 calls (0 failed), 1 attempts, 2 texts, 2 + {words} tokens, ")


def test_it_works_within_a_running_loop():
    async def inside(server):
        return chat(server).generate(["p"])

    with ScriptedServer() as server:
        assert asyncio.run(inside(server)) == [[text_for("p", 0, 0, 1.0)]]


def test_an_error_of_on_text_comes_through():
    def full(*_):
        raise OSError("disk full")

    with ScriptedServer() as server, pytest.raises(OSError, match="disk full"):
        chat(server).generate(["p", "q"], on_text=full)


def test_text_is_data():
    """What a model writes is returned as it is, whatever it looks like."""
    evil = "{{7*7}} __import__('os').system('x') <script>alert(1)</script> {\"tool_calls\": []} ../../etc"
    with ScriptedServer(says(evil)) as server:
        assert chat(server).generate(["p"]) == [[evil]]
