"""Every layout of preference files that is read as it is: small rows beside the prompt and responses they mean."""

import csv
import json

import pytest
from preference_rows import ASK, HH, ROWS, assistant

from rewards.preferences import pairs
from rewards.preferences.layouts import LAYOUTS


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def read(path, **arguments):
    """(prompt, {(better, worse)}) of a file of one group."""
    comparisons = pairs.load(path, **arguments)
    (group,) = comparisons.groups
    found = zip(comparisons.better.tolist(), comparisons.worse.tolist())
    return group.prompt, {(group.responses[b], group.responses[w]) for b, w in found}


@pytest.mark.parametrize("row, prompt, expected", [r[1:] for r in ROWS], ids=[r[0] for r in ROWS])
def test_a_row_of_each_layout(tmp_path, row, prompt, expected):
    expected = set(expected or [("Oak.", "Fish.")])
    assert read(write(tmp_path / "rows.jsonl", [row])) == (prompt, expected)


def test_every_layout_of_the_table_has_a_row_here(tmp_path):
    unseen = {layout.columns for layout in LAYOUTS}
    for _, row, *_ in ROWS:
        unseen -= {next(x.columns for x in LAYOUTS if set(x.columns) <= set(row) and x.fits(row))}
    shown_elsewhere = {("prompt", "response"), ("chosen", "reject")}
    shown_elsewhere |= {
        (a, b) for a in ("responses", "generations") for b in ("scores", "ratings", "rewards", "ranks")
    }
    assert unseen - shown_elsewhere == set()


def test_one_response_a_row_is_compared_within_its_prompt(tmp_path):
    rows = [
        {"prompt": "Name a tree.", "response": "Oak.", "helpfulness": 4, "correctness": 1},
        {"prompt": "Name a tree.", "response": "Fish.", "helpfulness": 0, "correctness": 2},
        {"prompt": "Alone?", "response": "Yes.", "helpfulness": 2, "correctness": 2},
    ]
    path = write(tmp_path / "rows.jsonl", rows)
    assert read(path) == (ASK, {("Oak.", "Fish.")})
    assert read(path, label="correctness") == (ASK, {("Fish.", "Oak.")})
    assert (
        "1 rows left out: fewer than two responses with a score, whose field --label_column names"
        in pairs.load(path).notes
    )


def test_a_flag_chooses_what_judges(tmp_path):
    row = next(row for name, row, *_ in ROWS if name == "SafeRLHF")
    path = write(tmp_path / "safe.jsonl", [row])
    assert "read as SafeRLHF: prompts from 'prompt', the better one by 'better_response_id'" in pairs.load(path).notes
    assert read(path, label="safer_response_id") == (ASK, {("Fish.", "Oak.")})
    row = next(row for name, row, *_ in ROWS if name == "UltraFeedback")
    path = write(tmp_path / "feedback.jsonl", [row])
    assert read(path, label="fine-grained_score")[1] == {("Elm.", "Oak."), ("Elm.", "Fish."), ("Oak.", "Fish.")}
    with pytest.raises(
        ValueError, match="no 'stars' in 'completions'; name one of response, overall_score, .* --label"
    ):
        pairs.load(path, label="stars")


def test_columns_of_ones_own_by_name(tmp_path):
    row = {"ask": "Name a tree.", "left_text": "Fish.", "right_text": "Oak.", "verdict": "right_text", "who": "me"}
    path = write(tmp_path / "own.jsonl", [row])
    named = {"prompt": "ask", "chosen": "left_text", "rejected": "right_text"}
    assert read(path, **named, label="verdict") == (ASK, {("Oak.", "Fish.")})
    assert read(path, **named) == (ASK, {("Fish.", "Oak.")})


def test_a_table_of_texts_holds_the_same_rows(tmp_path):
    rows = [row for name, row, *_ in ROWS if name in ("Chatbot Arena (55k)", "SHP", "TRL, implicit prompt")]
    for n, row in enumerate(rows):
        path = tmp_path / f"{n}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerow({k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()})
        assert read(str(path)) == read(write(tmp_path / f"{n}.jsonl", [row]))


def test_without_chat_a_transcript_stays_one_text(tmp_path):
    for row in (
        {"chosen": f"{HH} Elm.", "rejected": f"{HH} Fish."},
        {"prompt": HH, "chosen": " Elm.", "rejected": " Fish."},
    ):
        assert read(write(tmp_path / "rows.jsonl", [row]), chat=False) == (HH, {(" Elm.", " Fish.")})
    row = {"prompt": "Name a tree.", "chosen": [*ASK, assistant("Oak.")], "rejected": [*ASK, assistant("Fish.")]}
    assert read(write(tmp_path / "rows.jsonl", [row]), chat=False)[0] == "Name a tree."
