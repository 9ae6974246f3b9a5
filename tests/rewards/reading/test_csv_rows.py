"""CSV by hand: quotes, line breaks, other separators, and rows that do not fit."""

import csv
import io
from pathlib import Path

import pytest

from rewards.reading.csv_rows import csv_rows


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_what_is_written_is_read(delimiter):
    rows = [{"problem": 'Say "a, b; c"\nnow\t|', "answer": "007"}, {"problem": "é" * 200_000, "answer": None}]
    written = io.StringIO()
    writer = csv.DictWriter(written, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    found, notes = csv_rows(written.getvalue().replace("\r\n", "\n"), Path("a.csv"))
    assert found == rows
    assert len(notes) == (delimiter != ",")


def test_an_index_without_a_name_is_told():
    rows, notes = csv_rows(',problem,answer\n0,a,"5"\n\n1, "b, c", 6\n', Path("a.csv"))
    assert rows == [{"problem": "a", "answer": "5"}, {"problem": "b, c", "answer": "6"}]
    assert notes == ["a.csv: 1 column without a name is not read"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "problem,answer\na,b\nWhat, then?,5\n",
            "a.csv, line 3 has 3 fields where the first.* 2.*double quotes",
        ),
        ('problem,answer\n"a\nb",5\nc\n', "a.csv, line 4 has 1 fields"),
        ('problem,answer\n"a,5\nb,6\n', "a.csv, line 2 is not CSV.*close every double quote"),
        ('problem,answer\n"a"b,5\n', "a.csv, line 2 is not CSV"),
        ("problem,problem\na,b\n", "names 'problem' twice"),
        (",\na,b\n", "names no column"),
    ],
)
def test_rows_that_do_not_fit_are_refused_with_their_line(text, message):
    with pytest.raises(ValueError, match=message):
        csv_rows(text, Path("a.csv"))
