"""Tables that Markdown reads as they are meant, and their places in a page."""

import pytest
from table_cells import cells

from rewards.reporting.tables import insert, markdown_table, percent, with_interval, write_between


def test_a_table_has_its_cells_and_alignment():
    table = markdown_table(["name", "a|b", "n"], [["x | y", 1.50, None], ["1e5", "002", "–"]])
    head, rule, *rows = cells(table)
    assert head == ["name", r"a\|b", "n"]
    assert rows == [[r"x \| y", "1.5", "None"], ["1e5", "002", "–"]]  # numbers stay as they were written
    assert [cell.endswith(":") for cell in rule] == [False, True, True]
    assert table.endswith("|\n")
    assert [cell.endswith(":") for cell in cells(markdown_table(["a", "b"], [["x", "y"]], left=2))[1]] == [False] * 2
    assert cells(markdown_table(["a", "b"], []))[0] == ["a", "b"]


def test_scores_in_percent():
    assert percent(0.5) == "50.0"
    assert percent(None) == "–"
    assert percent({"value": 0.7021, "low": 0.689, "high": 0.716}) == "70.2 (68.9 to 71.6)"
    assert percent({"value": 0.7021, "low": None, "high": None}) == "70.2"
    assert percent({"value": None, "low": None, "high": None}) == "–"


def test_a_number_with_its_interval():
    assert with_interval(0.9816, 0.9747, 0.987) == "0.982 (0.975 to 0.987)"
    assert with_interval(1234.5, 1000, 2000, ",.0f") == "1,234 (1,000 to 2,000)"


def test_a_text_goes_between_the_marks_and_again_in_its_place(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- x:begin -->\nold\n<!-- x:end -->\nafter\n", encoding="utf-8")
    for _ in range(2):
        write_between(page, "x", "\nnew\n")
        expected = "before\n<!-- x:begin -->\n\nnew\n\n<!-- x:end -->\nafter\n"
        assert page.read_text(encoding="utf-8") == expected


BEGIN, END = "<!-- x:begin -->", "<!-- x:end -->"


@pytest.mark.parametrize("page", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}", f"{BEGIN}{END}{END}"])
def test_a_page_without_its_two_marks_is_an_error(page):
    with pytest.raises(ValueError, match="x:begin"):
        insert(page, "x", "new")
