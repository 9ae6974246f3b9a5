"""Shapes of JSON that hold rows, and the words for those that do not."""

import json
from pathlib import Path

import pytest

from rewards.reading.json_rows import json_rows

ROWS = [{"problem": "a\u2028b", "answer": 5}, {"problem": "c", "answer": 2.5}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", LINES),
        ("a.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n\n" for row in ROWS).rstrip()),
        ("a.json", LINES),
        ("a.jsonl", json.dumps(ROWS)),
        ("a.json", json.dumps(ROWS, indent=1)),
        ("a.json", json.dumps({"data": ROWS})),
        ("a.json", json.dumps({"anything": ROWS})),
        ("a.json", json.dumps({"version": 1, "Data": ROWS})),
        ("a.jsonl", json.dumps({"data": ROWS}, indent=2)),
        ("a.json", json.dumps({"train": [{"problem": "x"}], "test": ROWS})),
        ("a.json", json.dumps({name: [row[name] for row in ROWS] for name in ROWS[0]})),
        ("a.json", json.dumps({name: {str(i): row[name] for i, row in enumerate(ROWS)} for name in ROWS[0]})),
    ],
)
def test_rows_are_those_of_the_file(name, text):
    rows, notes = json_rows(text, Path(name), "test")
    assert rows == ROWS
    assert [type(row["answer"]) for row in rows] == [int, float]
    others = [name for name in ("train", "version") if f'"{name}"' in text]
    left = [f"a.json: rows read from '{'Data' if 'Data' in text else 'test'}' (not read: {n})" for n in others]
    assert [note for note in notes if "not read" in note] == left


def test_one_object_is_one_row():
    chat = {"prompt": [{"role": "user", "content": "q"}], "chosen": [{"role": "assistant", "content": "a"}]}
    chosen = {"question": "q", "choices": [{"label": "A", "text": "x"}], "answer": "A"}
    for name, text in (
        ("a.json", json.dumps(ROWS[0], indent=1)),
        ("a.jsonl", json.dumps({"a": [1, 2]})),
        ("a.json", json.dumps(chat, indent=1)),
        ("a.json", json.dumps(chosen, indent=1)),
    ):
        assert json_rows(text, Path(name), "train")[0] == [json.loads(text)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", LINES + '{"problem": "d", "ans', "a.jsonl, line 3 is not JSON.*cut off: delete the line"),
        ("a.jsonl", '{"problem": \n' + LINES, "a.jsonl, line 1 is not JSON.*repair the file"),
        ("a.jsonl", LINES + "[1, 2]\n", "line 3 must hold a JSON object"),
        ("a.json", "[1, 2]", "row 1 is 1"),
        ("a.json", json.dumps(ROWS, indent=1)[:-9], "a.json is not JSON.*line 8"),
        ("a.json", '"text"', "must hold JSON objects"),
        ("a.json", '{"a": [1, 2], "b": [1]}', "unequal lengths .a: 2, b: 1."),
        ("a.json", '{"x": [{"a": 1}], "y": [{"a": 1}]}', "several keys .x, y. and none is called 'test'"),
        ("a.json", '{"q1": {"a": 1}, "q2": {"a": 2}}', "keys q1, q2.*array of objects"),
        ("a.jsonl", '{"a": "\\ud83d"}\n', r"line 1 holds half of a character, \\ud83d"),
        ("a.jsonl", '{"a": ' + "9" * 5000 + "}\n", "line 1 is not JSON.*digits"),
        ("a.jsonl", '{"a": ' * 9999 + "1" + "}" * 9999, "line 1 is not JSON"),
    ],
)
def test_other_shapes_are_refused_with_file_line_and_fix(name, text, message):
    with pytest.raises(ValueError, match=message):
        json_rows(text, Path(name), "test")
