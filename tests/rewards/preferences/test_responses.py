"""The words by which a label names the better of two responses."""

import json

import pytest

from rewards.preferences import pairs


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    "columns, label, better",
    [
        ("response_0 response_1", 0, "first"),
        ("response_0 response_1", "1", "second"),
        ("answer_1 answer_2", 1.0, "first"),
        ("left_text right_text", "left", "first"),
        ("response_0 response_1", "1.0", "second"),
        ("x y", "A>>B", "first"),
        ("x y", "model_b", "second"),
        ("x y", "tie (bothbad)", "tie"),
        ("x y", 0, None),
        ("x y", None, None),
        ("response response2", "", None),
    ],
)
def test_words_of_a_label(tmp_path, columns, label, better):
    first, second = columns.split()
    rows = [
        {"prompt": "Name a tree.", first: "1", second: "2", "label": label},
        {"prompt": "Sure?", first: "1", second: "2", "label": "a>b"},
    ]
    path = write(tmp_path / "rows.jsonl", rows)
    comparisons = pairs.load(path, chosen=first, rejected=second, label="label")
    assert comparisons.groups[-1].responses == ["1", "2"]
    if better in ("first", "second"):
        assert comparisons.groups[0].responses == (["1", "2"] if better == "first" else ["2", "1"])
    else:
        said = "none" if label is None else label
        reason = "ties" if better == "tie" else f"no verdict in column 'label', which says {str(said)!r}"
        assert comparisons.notes[0] == f"1 rows left out: {reason}"
