r"""Boxes: the last one decides, one that never closes is no answer, and joined boxes are a list."""

import pytest

from rewards.answers import box_start, boxed_answer, has_box, last_boxed


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{1} so \boxed{x=2}", "x=2"),
        (r"\boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\fbox{5}", "5"),
        (r"\boxed 5", "5"),
        (r"$\boxed5$ and so on", "5"),
        (r"It is \boxed 5. Then more.", "5"),
        (r"\boxed{185\}", None),
        (r"\boxed{5} \boxed{", None),
        (r"\boxed{5}, wait, \boxed{7", None),
        (r"\boxed{\{1,2\}", None),
        (r"\boxed{}", ""),
        (r"\boxed{5}, in \boxed form.", "5"),
        (r"\boxed{5} (as `\boxed` was asked for)", "5"),
        ("5", None),
    ],
)
def test_last_boxed(text, content):
    assert last_boxed(text) == content


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{1} and \boxed{2}", "1,2"),
        (r"$x=\boxed{1}$, $\boxed{2}$, or $x = \boxed{3}$", "1,2,3"),
        (r"\boxed{1}\boxed{2}", "1,2"),
        (r"\boxed{5}, \boxed{5}", "5"),
        (r"\boxed{1}, then \boxed{2}", "2"),
        ("\\boxed{1}\n\n\\boxed{2}", "2"),
        (r"I first got \boxed{7}, but that is wrong. Final: \boxed{5}", "5"),
        (r"\boxed{1} and \boxed{ }", None),
        (r"\boxed{1} and \boxed{2", None),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{185\}", "185\\"),
        (r"\boxed{\{1,2\}", None),
    ],
)
def test_boxed_answer(text, answer):
    assert boxed_answer(text) == answer


def test_where_a_box_starts():
    assert box_start(r"a \boxed{5") == len(r"a \boxed{")
    assert box_start(r"\boxed 5") is None
    assert has_box(r"\boxed{")
    assert not has_box(r"\boxedtext{5}")
