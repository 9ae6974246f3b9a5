"""Messages in the ways that collections write them."""

import json

import pytest

from train.problems.messages import MessageError, are_messages, asked, message_text, read_messages, without_reply

CHAT = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
SHARE = [{"from": "system", "value": "s"}, {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]


@pytest.mark.parametrize(
    "value", [CHAT, SHARE, json.dumps(CHAT), json.dumps(SHARE)], ids=["chat", "share", "text", "text of share"]
)
def test_both_ways(value):
    assert read_messages(value) == CHAT
    assert without_reply(read_messages(value)) == (CHAT[:2], "a")


def test_a_call_of_a_tool_needs_no_content():
    call = {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {}}}]}
    turns = [CHAT[1], call, {"role": "tool", "content": "2"}]
    assert read_messages(turns) == turns
    assert message_text(call) == ""
    assert not are_messages([CHAT[1], {"role": "assistant"}])


def test_messages_that_are_none_are_refused():
    for value in (
        "q",
        "[{",
        "[{}]",
        None,
        [],
        ["q"],
        [{"speaker": "x"}],
        [{"from": "nobody", "value": "x"}],
        {"role": "user"},
    ):
        assert not are_messages(value)
        with pytest.raises(MessageError):
            read_messages(value)


def test_the_problem_is_the_one_message_of_the_user():
    parts = [{"type": "text", "text": "q"}, {"type": "text", "text": "?"}]
    assert asked(CHAT[:2]) == ("q", "")
    assert asked([{"role": "user", "content": parts}]) == ("q?", "")
    assert asked([{"role": "user", "content": [*parts, {"type": "image"}]}]) == ("q?", "parts that are no text")
    assert asked([*CHAT, {"role": "user", "content": "again"}]) == ("again", "more than one turn")
    assert asked(CHAT[:1]) == ("", "no message of the user")
    assert message_text({"role": "assistant", "content": None, "tool_calls": []}) == ""
    assert without_reply(CHAT[:2]) == (CHAT[:2], None)
