"""Tables from rows and from datasets: the same columns, fields of objects, names of labels, mixed columns."""

import pytest
from datasets import ClassLabel, Dataset

from rewards.reading.table import Table

ROWS = [{"q": "a", "r": {"g": "5"}}, {"q": None, "r": None}, {"q": "c", "r": {"g": None}}]


@pytest.mark.parametrize("data", [ROWS, Dataset.from_list(ROWS)], ids=["rows", "dataset"])
def test_columns_and_fields(data):
    table = Table("t", data)
    assert (table.columns, len(table), table.rows()) == (["q", "r"], 3, list(data))
    assert table.column("q") == ["a", None, "c"]
    assert table.column("r.g") == ["5", None, None]
    assert [table.has(name) for name in ("q", "r.g", "r.h", "x.g", "x")] == [True, True, False, False, False]
    assert table.limited(2).column("q") == ["a", "c"]
    assert table.limited(2).notes == ["limited to 2 of 3 rows, evenly spaced"]
    kept, notes = table.dataset([2, 0], ["r"])
    assert (kept.to_list(), notes) == ([{"q": "c"}, {"q": "a"}], [])
    with pytest.raises(ValueError, match="set 1 or more"):
        table.limited(0)


def test_fields_of_json_texts():
    table = Table("t", [{"v": '{"g": {"x": 1}}'}, {"v": "{"}, {"v": "g"}])
    assert table.column("v.g.x") == [1, None, None]


def test_class_labels_are_their_names():
    data = Dataset.from_dict({"label": [1, 0, -1]}).cast_column("label", ClassLabel(names=["no", "yes"]))
    assert Table("t", data).column("label") == ["yes", "no", None]


def test_columns_of_several_kinds_become_json_text():
    kept, notes = Table("t", [{"a": 1, "b": 10**30}, {"a": "x", "b": 1}, {"b": 2}]).dataset([0, 1, 2])
    assert kept.to_dict() == {"a": ["1", '"x"', None], "b": ["1" + "0" * 30, "1", "2"]}
    assert notes == ["columns with values of several kinds are handed on as JSON text: a, b"]
