"""Reading: what an answer's text says, and what is never given to the parser."""

import pytest
from sympy import Integer

from rewards.answers.reading import DEPTH, LENGTH, decimal_comma, read


def test_read():
    assert read(" $5$. ").value == Integer(5)
    assert read("2516_8").based == ("2516", 8)
    assert read("9_8").based is None  # no such digit
    assert read("12:30").time == "12:30"
    assert read(r"\{1,2\}").braces == "{"
    assert read("0.5").decimal
    assert not read("1/2").decimal


@pytest.mark.parametrize(
    "answer",
    [
        "9^{9^{9}}",
        "10^{10^{10}}",
        "(0, 9^{9^{9}})",
        "1000000000!",
        "(10^9)!",
        "(x+1)^{10000000}",
        r"\binom{1000000000}{500000000}",
        r"\operatorname{eye}(100000)",
        "2^{99999999}",
        "{" * 300 + "(" * 300 + "5" + ")" * 300 + "}" * 300,
        "7" * 50_000,
        r"\sqrt{" * (DEPTH + 1) + "2" + "}" * (DEPTH + 1),
        "1+" * LENGTH + "1",
        "{5",
        "",
        "1 2",
    ],
)
def test_what_has_no_value(answer):
    found = read(answer)
    assert found.value is None
    assert found == read(answer)


def test_decimal_comma():
    assert decimal_comma("1,22").value == read("1.22").value
    assert decimal_comma("1,2,3") is None
