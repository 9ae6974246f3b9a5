"""A response's verdict: golds as their own response, in every form, and several golds."""

import gzip
import json

import pytest
from tiny_models import SHARED

from rewards.answers import final_answer, gold_answers, is_right

DATA = SHARED / "data"
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="needs the benchmarks' own files, shared/data beside the repository"
)


def answers_of(name, every=1):
    raw = (DATA / name).read_bytes()
    lines = (gzip.decompress(raw) if name.endswith("gz") else raw).decode().splitlines()
    rows = [str(json.loads(line)["answer"]) for line in lines[::every]]
    return [row for row in rows if row.strip()]


@pytest.mark.parametrize(
    ("reference", "gold"),
    [("\\boxed{4}\n#### 5", ["5"]), (r"#### Answer: \boxed{5}", ["5"]), ("2 + 3\n#### 5\n", ["5"])],
)
def test_what_a_last_line_marks_goes_before_a_box(reference, gold):
    assert gold_answers(reference) == gold


def test_each_of_several_golds_counts():
    assert gold_answers(["1", "The answer is 2.", None, ""]) == ["1", "2"]
    assert is_right("2", ["1", "2"])
    assert not is_right("3", ["1", "2"])
    assert not is_right(None, ["1"])
    assert not is_right("1", [])


@pytest.mark.parametrize(("text", "right"), [("1,2", True), ("1", False), ("1,2,3", False)])
def test_a_gold_with_several_parts_needs_all_of_them(text, right):
    boxes = " and ".join(rf"$\boxed{{{part}}}$" for part in text.split(","))
    assert is_right(final_answer(boxes), gold_answers("1,2")) is right
    assert is_right(final_answer(rf"\boxed{{{text}}}"), gold_answers("1,2")) is right


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize(
    ("name", "every"),
    [
        ("math500.jsonl", 4),
        ("aime24.jsonl", 1),
        ("amc23.jsonl", 1),
        ("minerva_math.jsonl", 4),
        ("olympiadbench.jsonl.gz", 5),
        ("math_train.jsonl.gz", 50),
    ],
)
def test_gold_answers_are_right(name, every):
    for form in (r"Thus we get $\boxed{%s}$.", "%s"):
        texts = [(form.replace("%s", answer), answer) for answer in answers_of(name, every)]
        assert [t for t, gold in texts if not is_right(final_answer(t), gold_answers(gold))] == []


@needs_data
def test_other_problems_answers_are_not():
    golds = answers_of("math_test.jsonl.gz", 20)
    taken = [(a, b) for a, b in zip(golds[1:], golds) if a != b and is_right(a, [b])]
    assert len(taken) < 0.01 * len(golds), taken


@needs_data
def test_fractions_at_the_end_of_a_sentence():
    fractions = [a for a in answers_of("math_test.jsonl.gz", 5) if a.startswith(r"\frac{") and a.count("{") == 2]
    plain = [a.replace(r"\frac{", "").replace("}{", "/").rstrip("}") for a in fractions]
    right = [is_right(final_answer(f"So the answer is {p}."), [a]) for p, a in zip(plain, fractions)]
    assert len(right) > 50
    assert all(r for r, p in zip(right, plain) if p.replace("/", "").isdigit())


def test_of_two_boxes_that_are_one_answer_the_list_and_the_last_count():
    solution = r"We get $\boxed{(-2,18)}$ and $\boxed{(8,38)}$."
    assert gold_answers(solution) == ["(8,38)", "(-2,18),(8,38)"]
    rights = [is_right(final_answer(text), gold_answers(solution)) for text in (solution, r"\boxed{(8,38)}")]
    assert rights == [True, True]
    assert not is_right("(-2,18)", gold_answers(solution))
