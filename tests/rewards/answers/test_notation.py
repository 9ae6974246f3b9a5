"""Notations that are read as if they were LaTeX, and words."""

import pytest

from rewards.answers.notation import tidy, unspaced, words


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("$5$.", "5"),
        ("185\\", "185"),
        ("9/2 * π", r"9/2 * \pi"),
        ("pi", r"\pi"),
        ("sqrt(2)", r"\sqrt {2}"),
        ("2√3", r"2\sqrt{3}"),
        ("x²", "x^{2}"),
        ("2516₈", "2516_{8}"),
        ("٣", "3"),
        ("３", "3"),
        ("3½", r"3\frac{1}{2}"),
        ("3 1/2", r"3\frac{1}{2}"),
        ("\N{MINUS SIGN}5", "-5"),
        ("8.7e8", r"8.7 \times 10^{8}"),
        ("np.arcsin(10/13)", r"\arcsin (10/13)"),
        ("-3./2", "-3/2"),
        (".5", "0.5"),
        (r"1{,}000", "1000"),
        (r"1,\!000", "1000"),
        (r"1\,000", "1000"),
        ("1,000", "1000"),
        ("1 000", "1000"),
        ("100,200, 300", "100200, 300"),
        ("(100,200)", "(100,200)"),
        (r"\varnothing", r"\emptyset"),
        (r"1-\frac{1}{\mathrm e}", r"1-\frac{1}{e}"),
        (r"\left(1,2\right)", "(1,2)"),
        (r"1950^\circ C", "1950"),
        (r"0.1\overline{6}", r"\frac{15}{90}"),
        ("{{{5}}}", "{5}"),
    ],
)
def test_tidy(answer, text):
    assert unspaced(tidy(answer)) == unspaced(text)


def test_tidying_twice_changes_nothing():
    for answer in ("9/2 * π", "1,000", "3½", r"\text{ 5 apples }", "x²+1", r"0.\overline{3}", "1e-7"):
        assert tidy(tidy(answer)) == tidy(answer)


def test_white_space_between_digits_stays():
    assert unspaced("1 2 + x") == "1 2+x"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"\text{Evelyn}", ("evelyn", True)),
        ("even", ("even", True)),
        (r"\textbf{(C)}", ("c", True)),
        ("ab", ("ab", False)),
        ("x+1", (None, False)),
        (r"\text{Type 2}", (None, False)),
    ],
)
def test_words(text, found):
    assert words(text) == found
