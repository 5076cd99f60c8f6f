"""What is read out of an answer: expected texts are those put in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mumei.retrieval.chat_choices import read_choices, usage
from mumei.retrieval.chat_http import Failure


def test_parts_order_and_lone_surrogates():
    content = {
        "choices": [
            {"index": 1, "message": {"content": "two"}},
            {
                "index": 0,
                "message": {"content": [{"type": "text", "text": " one"}, {"type": "text", "text": "\ud800 "}, 3]},
            },
        ]
    }
    choices, whole = read_choices(content, "chat", 2, "here")
    assert [c.text for c in choices] == ["one?", "two"]
    assert whole is content
    assert len(read_choices(content, "chat", 1, "here")[0]) == 1


def test_refusals_and_ends():
    def only(choice, style="chat"):
        return read_choices({"choices": [choice]}, style, 1, "here")[0][0]

    assert only({"message": {"content": "x"}, "finish_reason": "length"}).finish == "length"
    assert only({"message": {"content": None}}).text == ""
    assert only({"message": {"content": "x", "refusal": " No. "}}).refusal == "No."
    assert only({"message": {"content": "x"}, "finish_reason": "content_filter"}).refusal.startswith("a content filter")
    assert only({"text": " t "}, "completion").text == "t"


@pytest.mark.parametrize(
    "given_usage", [None, 3, {}, {"prompt_tokens": "4", "completion_tokens": -1}, {"completion_tokens": True}]
)
def test_tokens_that_are_not_counted(given_usage):
    assert usage({"usage": given_usage}) == (None, None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["index", "message", "content", "refusal", "text", "finish_reason"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(choices=JSON, style=st.sampled_from(["chat", "completion"]), count=st.integers(1, 3))
def test_any_json_is_read_or_said_to_be_wrong(choices, style, count):
    found = read_choices({"choices": choices}, style, count, "here")
    if isinstance(found, Failure):
        assert str(found.error).startswith("here answers")
    else:
        assert 1 <= len(found[0]) <= count
        assert all(isinstance(c.text, str) and isinstance(c.refusal, str) for c in found[0])
