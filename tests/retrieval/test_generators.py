"""Own text, replayed files, names of generators, errors: expected texts are those put in."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import DataError, MumeiError, UsageError
from mumei.retrieval import generators as g
from mumei.retrieval.generators import (
    Call,
    GeneratorError,
    GeneratorMissing,
    OwnText,
    Replay,
    check_request,
    open_generator,
    totals,
)
from mumei.testing import check_generator


def jsonl(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


ROWS = (
    {"query_id": "q1", "query": "What lowers LDL cholesterol?", "model": "a", "text": "Statins lower LDL."},
    {"query_id": "q2", "query": "What does insulin do?", "model": "a", "text": "It lowers glucose."},
    {"query_id": "q1", "query": "What lowers LDL cholesterol?", "model": "b", "text": "Statins do."},
)


def test_own_text_meets_the_protocol():
    check_generator(lambda: OwnText(["one text", "another"]))
    check_generator(OwnText.example)
    assert OwnText("x").name != OwnText("y").name


def test_replay_meets_the_protocol(tmp_path):
    path = jsonl(tmp_path / "g.jsonl", *ROWS)
    check_generator(lambda: Replay(path))
    assert Replay(path).name.startswith("replay/g.jsonl/")


def test_own_text_for_all_and_by_query():
    assert OwnText("t").generate(["a", "b"]) == [["t"], ["t"]]
    own = OwnText({"q  one": "first", "q two": ["second", "third"]})
    assert own.generate(["p", "p"], n=2, queries=["q two", "q one"]) == [["second", "third"], ["first", "first"]]
    assert own.available("q two") == 2
    assert own.available("other") == 0
    assert own.notes == ["q one: 1 of 2 texts wanted, repeated in turn"]
    with pytest.raises(GeneratorMissing, match=r"'q on'\. Did you mean 'q one'\? Texts are given for 2 queries"):
        own.generate(["p"], queries=["q on"])


@pytest.mark.parametrize("texts", ["", "  ", [], {}, {"q": ""}, {"q": []}, [1], {1: "x"}, None, b"x"])
def test_own_text_refuses_what_is_no_text(texts):
    with pytest.raises(UsageError, match="own text"):
        OwnText(texts)


def test_samples_go_on_where_first_says():
    own, seen = OwnText(["a", "b", "c"]), []
    assert own.generate(["p"], n=2, first=1, on_text=lambda *made: seen.append(made)) == [["b", "c"]]
    assert [(place, k, made.text, made.finish) for place, k, made in seen] == [
        (0, 1, "b", "given"),
        (0, 2, "c", "given"),
    ]


def test_replay_finds_by_query_id_and_prompt(tmp_path):
    replay = Replay(
        jsonl(tmp_path / "g.jsonl", *ROWS, {"prompt": "P", "text": "by prompt"}, {"query_id": 7, "text": "x"})
    )
    assert replay.generate(["any"], n=2, queries=["What  lowers LDL cholesterol?"]) == [
        ["Statins lower LDL.", "Statins do."]
    ]
    assert replay.generate(["q2", "P", "7"]) == [["It lowers glucose."], ["by prompt"], ["x"]]
    assert replay.models == ["a", "b"]
    assert Replay(replay.path, model="b").generate(["q1"], n=1) == [["Statins do."]]
    with pytest.raises(UsageError, match=r"unknown model in .* 'c'\. .*Allowed: a, b"):
        Replay(replay.path, model="c")


def test_an_unknown_query_names_the_closest_and_keeps_what_was_found(tmp_path):
    replay = Replay(jsonl(tmp_path / "g.jsonl", *ROWS))
    with pytest.raises(GeneratorMissing, match=r"Did you mean 'What does insulin do\?'\? It holds 2 queries") as caught:
        replay.generate(["q1", "What does insulin"])
    assert caught.value.finished == [["Statins lower LDL."], []]
    assert list(caught.value.failed) == [1]
    assert caught.value.reason == "missing"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{broken", "line 1: not JSON"),
        (b'\n{"query": "q"}', "line 2: no 'text'"),
        (b'{"text": "t"}', "line 1: none of 'query_id', 'query' and 'prompt'"),
        (b"[1]", "line 1: no 'text'"),
        (b'{"query": "q", "text": 3}', "line 1: no 'text'"),
        (b"\xff\xfe", "line 1: not JSON"),
        (b"[" * 100_000, "line 1: not JSON"),
        (b"", "holds no generation"),
        (b'{"query": "q", "text": " "}', "holds no generation"),
    ],
)
def test_a_bad_replay_file_is_named_with_the_line(tmp_path, content, said):
    path = tmp_path / "g.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        Replay(path)


def test_a_missing_replay_file(tmp_path):
    with pytest.raises(DataError, match=r"cannot read the replay file .*none\.jsonl"):
        Replay(tmp_path / "none.jsonl")


def test_an_empty_text_is_left_out_and_said(tmp_path):
    replay = Replay(jsonl(tmp_path / "g.jsonl", *ROWS, {"query": "q", "text": ""}))
    assert [n.partition(", ")[2] for n in replay.notes] == ["line 4: the text is empty, left out"]


def test_replay_of_the_stored_generations(data_dir):
    path = data_dir / "retrieval" / "bioasq12b-dev" / "generations.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    replay = Replay(path)
    assert len(rows) == len(replay) == 84
    found = replay.generate(["x"] * 84, queries=[row["query"] for row in rows])
    assert found == replay.generate([row["query_id"] for row in rows])
    assert [texts[0] for texts in found] == [row["text"] for row in rows]


@given(
    st.dictionaries(
        st.text(min_size=1).filter(str.strip),
        st.lists(st.text().filter(str.strip), min_size=1, max_size=3),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=40, deadline=None)
def test_what_is_written_comes_back(tmp_path_factory, table):
    table = {g.plain(query): texts for query, texts in table.items()}
    rows = [{"query": query, "text": text} for query, texts in table.items() for text in texts]
    replay = Replay(jsonl(tmp_path_factory.mktemp("replay") / "g.jsonl", *rows))
    own = OwnText(table)
    for query, texts in table.items():
        assert replay.generate([query], n=len(texts)) == own.generate([query], n=len(texts)) == [texts]


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompts": "text"}, {"prompts": [None]}, {"prompts": 3}, {"n": 0}, {"n": True}, {"n": 1.0}, {"temperature": -1},
        {"temperature": float("nan")}, {"temperature": "hot"}, {"max_tokens": 0}, {"seed": -1}, {"first": -1},
        {"queries": ["a", "b"]}, {"queries": "a"}, {"queries": [1]},
    ],
)  # fmt: skip
def test_bad_arguments(wrong):
    right = {"prompts": ["p"], "n": 1, "temperature": 1.0, "max_tokens": 5}
    assert check_request(**right) == ["p"]
    with pytest.raises(MumeiError, match=next(iter(wrong)).rstrip("s").replace("querie", "quer")):
        check_request(**{**right, **wrong})


def test_generators_by_name(tmp_path):
    path = jsonl(tmp_path / "g.jsonl", *ROWS)
    assert open_generator(f"replay:{path}").generate(["q2"]) == [["It lowers glucose."]]
    assert open_generator({"kind": "replay", "path": str(path), "model": "b"}).generate(["q1"]) == [["Statins do."]]
    assert open_generator("TEXT: my own: text").generate(["p"]) == [["my own: text"]]
    assert open_generator({"kind": "text", "texts": ["a"]}).generate(["p"]) == [["a"]]
    own = OwnText("x")
    assert open_generator(own) is own


def test_a_server_by_name():
    made = open_generator("openai:org/model@v2@http://127.0.0.1:8080/v1/")
    assert (made.model, made.base_url) == ("org/model@v2", "http://127.0.0.1:8080/v1")
    assert made.name == "openai:org/model@v2@http://127.0.0.1:8080/v1"
    table = {
        "kind": "openai",
        "model": "m",
        "base_url": "http://localhost:1/v1",
        "extra": {"top_p": 0.9},
        "key_env": None,
    }
    assert open_generator(table).parameters["top_p"] == 0.9


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("replai:x", "unknown kind of generator 'replai'. Did you mean 'replay'"),
        ("", "unknown kind of generator ''"),
        ("replay", "write replay:FILE"),
        ("local:", "write local:FOLDER_OR_NAME"),
        ("openai:gpt", "add the address after an @, for example openai:gpt@http://127.0.0.1"),
        ("openai:@http://x", "add the address after an @"),
        ("feedback", "uses no language model"),
        ({"kind": "openai", "modell": "m", "base_url": "http://localhost"}, "'modell'. Did you mean 'model'"),
        ({"kind": "openai", "model": "m"}, "needs 'base_url'"),
        ({"kind": "openai", "api_key": "secret-value"}, "does not belong in a table"),
        ({}, "unknown kind"),
        (3, "give a string such as"),
    ],
)
def test_names_that_are_wrong(spec, said):
    with pytest.raises(UsageError) as caught:
        open_generator(spec)
    assert said in str(caught.value)
    assert "secret-value" not in str(caught.value)


def test_errors_are_one_family_with_stable_reasons():
    family = [e for e in vars(g).values() if isinstance(e, type) and issubclass(e, GeneratorError)]
    reasons = {e.reason for e in family}
    assert len(reasons) == len(family) == 10
    assert reasons >= {
        "down",
        "timeout",
        "rate-limited",
        "auth",
        "refused",
        "empty",
        "malformed",
        "rejected",
        "missing",
    }


def test_an_error_comes_back_from_a_worker_process():
    error = g.GeneratorDown("gone", finished=[["a"], []], failed={1: g.GeneratorEmpty("e")})
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), back.finished) == (g.GeneratorDown, "gone", [["a"], []])
    assert isinstance(back.failed[1], g.GeneratorEmpty)


def test_totals():
    log = [Call("ok", 2, 1000.0, 4, 10, 2000), Call("ok", 1, 500.0, 1), Call("auth", 1, 1.0, 0)]
    assert (
        totals(log)
        == "3 calls (1 failed), 4 attempts, 5 texts, 10 + 2,000 tokens (1 calls not counted by the server), 1.5 s"
    )
    assert totals([]) == "0 calls (0 failed), 0 attempts, 0 texts, 0 + 0 tokens, 0.0 s"
