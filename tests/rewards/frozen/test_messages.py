"""Chat messages as files hold them, for templates and for judges."""

import json

import pytest

from rewards.frozen.messages import (
    check_messages,
    conversation_text,
    judged_text,
    read_template_kwargs,
    read_tools,
    rendering_of,
    response_text,
    say_once,
    with_tools,
    with_variables,
)

USER = {"role": "user", "content": "Hi"}
CALL = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
PARTS = [{"type": "text", "text": "one "}, {"text": "two", "type": "text", "image": None}]


def add(a: int, b: int) -> int:
    """Adds.

    Args:
        a: a number
        b: a number
    """
    return a + b


def test_a_rows_columns_go_over_the_runs_settings():
    assert rendering_of({}, None) == {}
    assert rendering_of({"tools": None, "chat_template_kwargs": None}, {"a": 1}) == {"chat_template_kwargs": {"a": 1}}
    row = {"tools": json.dumps([CALL]), "chat_template_kwargs": '{"a": 2, "b": null}'}
    assert rendering_of(row, {"a": 1, "c": 3}) == {"tools": [CALL], "chat_template_kwargs": {"a": 2, "c": 3}}
    assert with_variables(rendering_of(row), {"a": 5})["chat_template_kwargs"] == {"a": 5}
    assert with_variables(None, {}) == {}


@pytest.mark.parametrize("nothing", [None, [], "", " ", "null", "[]"])
def test_no_tools(nothing):
    assert read_tools(nothing) is None


def test_what_a_table_fills_up_is_no_key_of_a_tool(caplog):
    say_once.cache_clear()
    filled = [{"type": "function", "function": {"name": "f", "parameters": {"x": {"type": "int"}, "y": None}}}]
    assert read_tools(filled) == [
        {"type": "function", "function": {"name": "f", "parameters": {"x": {"type": "int"}}}}
    ]
    assert "Keys without a value are taken out of tools" in caplog.messages[0]
    assert read_tools(json.dumps(filled)) == filled  # of its author's own
    assert read_tools([add]) == [add]
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"arguments": {"x": 1, "y": None}}}]}
    ]
    assert check_messages(messages) == [{"role": "assistant", "tool_calls": [{"function": {"arguments": {"x": 1}}}]}]
    assert check_messages([USER | {"tool_calls": None, "name": None}]) == [USER]
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("nothing", [None, {}, "", "{}", {"a": None}])
def test_no_variables(nothing):
    assert read_template_kwargs(nothing) == {}


def test_what_trl_lets_a_run_choose_may_be_chosen():
    assert read_template_kwargs({"sanitize_control_tokens": True}) == {"sanitize_control_tokens": True}


def test_a_judge_reads_parts_and_calls():
    prompt = [
        {"role": "system", "content": PARTS},
        USER,
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "3"},
    ]
    assert conversation_text(prompt) == (
        'System: one two\n\nUser: Hi\n\nAssistant: Tool call: {"name": "f", "arguments": {"x": 1}}\n\nTool: 3'
    )
    assert conversation_text("as it stands") == "as it stands"


def test_a_response_with_calls():
    turns = [{"role": "assistant", "content": "Well.", "tool_calls": [CALL]}, {"role": "tool", "content": "3"}]
    turns.append({"role": "assistant", "content": PARTS})
    assert response_text(turns) == "Well.one two"
    assert judged_text(turns) == 'Well.\nTool call: {"name": "f", "arguments": {"x": 1}}\none two'
    assert judged_text("a") == "a"


def test_tools_for_a_judge_to_read():
    assert with_tools(["a", [USER]], None) == ["a", [USER]]
    assert with_tools(["a", [USER]], [{"tools": [CALL]}, {}]) == ["a", [USER]]
    (shown,) = with_tools([[USER]], [{"tools": [CALL, add]}])
    first, second = shown[0]["content"].split("\n")
    assert (shown[0]["role"], shown[1:], json.loads(first)) == ("tools", [USER], CALL)
    assert json.loads(second)["function"]["name"] == "add"
