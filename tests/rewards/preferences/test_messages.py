"""Prompts out of messages and transcripts, beside TRL's helper where that is right."""

import copy

import pytest
from preference_rows import assistant, system, user
from trl import extract_prompt

from rewards.preferences.messages import (
    LeftOut,
    conversation,
    is_transcript_prompt,
    one_history,
    split_conversation,
    split_transcript,
    transcript_messages,
    with_history,
)

TURNS = [user("one"), assistant("two"), user("three")]


@pytest.mark.parametrize("before", [TURNS, TURNS[:1], [system("s"), *TURNS]])
def test_conversations_that_agree_are_split_as_trl_does(before):
    row = {side: [*before, assistant(side)] for side in ("chosen", "rejected")}
    theirs = extract_prompt(copy.deepcopy(row))
    split = [split_conversation(row[side], side) for side in row]
    assert one_history([history for history, _ in split]) == theirs["prompt"]
    assert [[assistant(text)] for _, text in split] == [theirs["chosen"], theirs["rejected"]]


def test_where_trl_is_not_right():
    # within a word of two texts that begin alike, and before a turn of the user that contradicts the other one
    text = extract_prompt({"chosen": "It is white.", "rejected": "It is whale."})
    assert text["prompt"] == "It is wh"
    row = {"chosen": [user("a"), assistant("x")], "rejected": [user("b"), assistant("x")]}
    assert extract_prompt(row)["chosen"] == [user("a"), assistant("x")]
    with pytest.raises(LeftOut, match="contradict each other"):
        one_history([split_conversation(row[side], side)[0] for side in row])


@pytest.mark.parametrize(
    "prompt, history, expected",
    [
        ("three", [], "three"),
        (None, TURNS, TURNS),
        ("one", [user("one ")], "one"),
        ("three", TURNS, TURNS),
        ("one", TURNS, TURNS),
        ("one", [system("s"), user("one")], [system("s"), user("one")]),
        ("one", [system("s")], [system("s"), user("one")]),
        ("one", TURNS[1:], TURNS),
        (TURNS, TURNS, TURNS),
        (TURNS[:1], TURNS, TURNS),
        (TURNS[:1], TURNS[1:], TURNS),
        (TURNS, TURNS[2:], TURNS),
        ([system("s"), user("one")], TURNS, [system("s"), *TURNS]),
        ([system("s"), *TURNS], TURNS, [system("s"), *TURNS]),
        (TURNS, [system("s"), *TURNS], [system("s"), *TURNS]),
        ("<|user|>\none<|end|>\n<|assistant|>\ntwo<|end|>\n<|user|>\nthree<|end|>\n<|assistant|>\n", TURNS, TURNS),
        ("<s>[INST] one [/INST] two </s>[INST] three [/INST]", TURNS, TURNS),
        ("Human: one\n\nAssistant: two\n\nHuman: three\n\nAssistant:", TURNS, TURNS),
    ],
)
def test_a_prompt_beside_a_history(prompt, history, expected):
    assert with_history(prompt, history) == expected


@pytest.mark.parametrize(
    "prompt, history",
    [
        ("four", TURNS),
        ("four", [user("one")]),
        ("one and three", TURNS),
        ([user("four")], TURNS),
        ([user("one"), assistant("five"), user("three")], TURNS),
        ([system("s"), user("one")], [system("t"), user("one"), assistant("two"), user("three")]),
        ("one more than two and three", TURNS),
    ],
)
def test_a_history_that_contradicts_the_prompt(prompt, history):
    with pytest.raises(LeftOut, match="the history contradicts the prompt"):
        with_history(prompt, history)


@pytest.mark.parametrize(
    "text, parts",
    [
        ("\n\nHuman: a\n\nAssistant: b", ("\n\nHuman: a\n\nAssistant:", " b")),
        ("Human: a\n\nAssistant:", ("Human: a\n\nAssistant:", "")),
        ("\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d\n\ne", None),
        ("\n\nHuman: a", None),
        ("A play. Human: a\n\nAssistant: b", None),
        ("Some text.\n\nHuman: a\n\nAssistant: b", None),
    ],
)
def test_where_a_transcript_ends(text, parts):
    if "e" in text[-1]:
        parts = ("\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:", " d\n\ne")
    assert split_transcript(text) == parts


def test_a_transcript_as_messages():
    text = "\n\nHuman: one\n\nand more\n\nAssistant: two\n\nHuman: three\n\nAssistant: "
    assert transcript_messages(text) == [user("one\n\nand more"), assistant("two"), user("three")]
    assert is_transcript_prompt(text)
    assert not any(map(is_transcript_prompt, ["three", "Human: three", f"{text} four", f"In {text}", "\n\nHuman:"]))
    with pytest.raises(LeftOut, match="must end with the assistant's turn"):
        split_transcript("\n\nHuman: a\n\nAssistant: b\n\nHuman: c")


def test_roles_and_contents_by_all_their_names():
    calls = [{"function": {"name": "look"}}]
    given = [
        {"from": "system", "value": "s"},
        {"from": "Human", "value": "u"},
        {"from": "gpt", "value": "a", "weight": 1},
        {"role": "assistant", "content": None, "tool_calls": calls, "name": None},
        {"from": "observation", "value": "t"},
        {"role": "function", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]},
    ]
    assert conversation(given, "c") == [
        system("s"),
        user("u"),
        assistant("a"),
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "t"},
        {"role": "tool", "content": "xy"},
    ]


@pytest.mark.parametrize(
    "last, reason",
    [
        (user("u"), "must end with the assistant's turn"),
        ({"role": "assistant", "content": [{"type": "image", "image": "i"}]}, "parts that are not text"),
        ({"role": "assistant", "content": None, "tool_calls": [{"name": "look"}]}, "a call of a tool, without a text"),
    ],
)
def test_a_conversation_without_a_response_of_text(last, reason):
    with pytest.raises(LeftOut, match=reason):
        split_conversation([user("one"), last], "chosen")
