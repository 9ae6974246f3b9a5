"""What is left out of a file of pairs, what is kept although it is odd, and how both are said."""

import json

import pytest

from rewards.preferences import pairs

USER = {"role": "user", "content": "Name a tree."}


def said(text, *before):
    return [*before, {"role": "assistant", "content": text}]


TURNS = said("Oak.", USER) + [{"role": "user", "content": "Another?"}]
GOOD = {"prompt": "Sure?", "chosen": "Yes.", "rejected": "No."}


def load(tmp_path, rows, **arguments):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return pairs.load(str(path), **arguments)


@pytest.mark.parametrize(
    "row, reason",
    [
        ({"prompt": "Sure?", "chosen": None, "rejected": "No."}, "no prompt or response"),
        ({"prompt": " ", "chosen": "Yes.", "rejected": "No."}, "no prompt or response"),
        (
            {"prompt": "Another?", "chosen": said("Elm.", *TURNS), "rejected": said("Elm.", USER)},
            "the histories of the responses contradict each other",
        ),
        (
            {"prompt": "And a fish?", "chosen": said("Elm.", *TURNS), "rejected": said("Ash.", *TURNS)},
            "the history contradicts the prompt",
        ),
        (
            {"prompt": None, "chosen": TURNS, "rejected": said("Ash.", USER)},
            "a conversation must end with the assistant's turn",
        ),
        (
            {
                "chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
                "rejected": "\n\nHuman: a\n\nAssistant: e",
            },
            "the histories of the responses contradict each other",
        ),
    ],
)
def test_rows_left_out_with_their_reason(tmp_path, row, reason):
    comparisons = load(tmp_path, [GOOD, row, row])
    assert len(comparisons) == 1
    assert comparisons.notes == [f"2 rows left out: {reason}"]


def arena(winner, first, second):
    return {"conversation_a": first, "conversation_b": second, "winner": winner}


def test_ties_and_turns_that_differ_are_counted(tmp_path, caplog):
    won, lost = said("Oak.", USER), said("Fish.", USER)
    ask = {"role": "user", "content": "Another?"}
    rows = [
        arena("model_a", won, lost),
        arena("tie", won, lost),
        arena("tie (bothbad)", won, lost),
        arena("unsure", won, lost),
        arena("model_a", said("Elm.", *won, ask), said("Elm.", *lost, ask)),
    ]
    comparisons = load(tmp_path, rows)
    assert len(comparisons) == 1
    assert comparisons.notes == [
        "read as Chatbot Arena: prompts from 'conversation_a', the better one by 'winner'",
        "2 rows left out: ties",
        "1 rows left out: the histories of the responses contradict each other",
        "1 rows left out: no verdict in column 'winner', which says 'unsure'",
    ]
    assert all(note in caplog.text for note in comparisons.notes)


def test_ties_within_a_list_are_counted(tmp_path):
    items = [{"response": text, "overall_score": score} for text, score in (("a", 1), ("b", 2), ("c", 2), ("d", None))]
    comparisons = load(tmp_path, [{"instruction": "Sure?", "completions": items}])
    assert len(comparisons) == 2
    assert comparisons.notes[1:] == [
        "1 rows are compared by 'overall_score'",
        "1 responses without a score left out",
        "1 pairs of equal score left out",
    ]


def test_what_is_odd_is_kept_and_said(tmp_path):
    rows = [
        GOOD | {"score_chosen": 5.0, "score_rejected": 5.0, "more": 1},
        {"prompt": "Same?", "chosen": "Yes.", "rejected": "Yes.", "score_chosen": 2, "score_rejected": 1, "more": 1},
        {"prompt": "Quiet?", "chosen": "", "rejected": "No.", "score_chosen": 2, "score_rejected": 1, "more": 1},
        {"prompt": "The sky is", "chosen": "The sky is blue.", "rejected": "The sky is green."},
        {"prompt": said("Oak.", USER), "chosen": "Elm.", "rejected": "Fish."},
        {"prompt": said("Oak.", USER), "chosen": "Oak.", "rejected": "Fish."},
    ]
    comparisons = load(tmp_path, rows)
    assert comparisons.notes == [
        "1 rows have a 'score_chosen' that is not above 'score_rejected'; kept as the file pairs them",
        "columns not read: more",
        "1 rows have responses that all begin with the text of the prompt, kept as they are",
        "1 rows have a prompt that ends with a turn of the assistant",
        "1 empty responses, kept: what a judge makes of one is its own affair",
        "1 comparisons of identical responses: ties by nature, so never won",
    ]
    assert comparisons.groups[4].prompt == said("Oak.", USER)
    assert comparisons.groups[5].prompt == [USER]


def test_a_text_that_begins_as_a_play_is_a_response_unless_it_holds_the_prompt(tmp_path):
    play = "Human: Hello.\n\nAssistant: Hello to you."
    (group,) = load(tmp_path, [{"prompt": "Write a dialogue.", "chosen": play, "rejected": "No."}]).groups
    assert (group.prompt[0]["content"], group.responses) == ("Write a dialogue.", [play, "No."])
    row = {"prompt": "Hello.", "chosen": play, "rejected": "Human: Hello.\n\nAssistant: Go."}
    (group,) = load(tmp_path, [row]).groups
    assert (group.prompt, group.responses) == ([{"role": "user", "content": "Hello."}], ["Hello to you.", "Go."])


def test_a_prompt_column_that_asks_for_nothing(tmp_path):
    rows = [{"prompt": "trees", "question": "fish", "chosen": said("Oak.", USER), "rejected": said("Fish.", USER)}]
    with pytest.raises(
        ValueError, match="the history contradicts the prompt; name the column that asks by --prompt_c"
    ):
        load(tmp_path, rows)
    comparisons = load(tmp_path, rows, prompt="")
    assert (comparisons.groups[0].prompt, comparisons.notes) == ([USER], ["columns not read: prompt, question"])


def test_a_guessed_column_gives_way_to_the_turns(tmp_path):
    rows = [{"question": "fish", "chosen": said("Oak.", USER), "rejected": said("Fish.", USER)}]
    comparisons = load(tmp_path, rows)
    assert comparisons.groups[0].prompt == [USER]
    assert comparisons.notes == [
        "columns not read: question",
        "1 rows bring their turns along, read in place of the column that was guessed to ask",
    ]


def test_what_a_system_column_replaces_and_tools_that_are_not_shown(tmp_path):
    own = {"role": "system", "content": "Be long."}
    rows = [{"system": "Be brief.", "prompt": [own, USER], "chosen": "Oak.", "rejected": "Fish."}]
    comparisons = load(tmp_path, rows)
    assert comparisons.groups[0].prompt == [{"role": "system", "content": "Be brief."}, USER]
    assert comparisons.notes == [
        "system prompts from column 'system'",
        "1 rows have another system message, which that of column 'system' replaces",
    ]
    with pytest.raises(ValueError, match="column 'system' must hold text; found 3. Name another by --system_column"):
        load(tmp_path, [{"system": 3, "prompt": "q", "chosen": "a", "rejected": "b"}])
    asked = {"messages": [USER], "tools": [{"name": "look"}]}
    row = {"input": asked, "preferred_output": said("Oak."), "non_preferred_output": said("Fish.")}
    assert load(tmp_path, [row]).notes == [
        "read as OpenAI: prompts from 'input'",
        "1 rows have tools, which are not shown",
    ]


def test_lists_written_as_text_are_said(tmp_path):
    rows = [{"prompt": "Sure?", "chosen": '["Yes."]', "rejected": '["No."]'}]
    assert load(tmp_path, rows).notes == ["1 rows have responses that are lists written as text, kept as they are"]
