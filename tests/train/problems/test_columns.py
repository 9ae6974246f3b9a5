"""Which columns are read, by the table and by flags, and what is said of the others."""

import pytest

from rewards.reading.table import Table
from train.problems.columns import Columns, pick, unshown


def picked(*names, **flags):
    return pick(Table("t", [dict.fromkeys(names, "x")]), Columns(**flags))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("problem", "question", "answer"), ("problem", None, None, [], "answer")),
        (("Question", "Final Answer"), ("Question", None, None, [], "Final Answer")),
        (("input", "target"), ("input", None, None, [], "target")),
        (("instruction", "input", "output"), ("instruction", None, "input", [], None)),
        (("question", "input"), ("question", None, None, [], None)),
        (("Body", "Question"), ("Question", None, "Body", [], None)),
        (("prompt", "problem"), (None, "prompt", None, [], None)),
        (("question", "messages"), ("question", None, None, [], None)),
        (("question", "A", "B", "C", "answer"), ("question", None, None, ["A", "B", "C"], "answer")),
        (("question", "A", "B"), ("question", None, None, [], None)),
        (("question", "option_a", "option_b", "option_d"), ("question", None, None, ["option_a", "option_b"], None)),
        (("question", "choice1", "choice2", "label"), ("question", None, None, ["choice1", "choice2"], "label")),
        (("question", "choice 0", "choice 1", "label"), ("question", None, None, ["choice 0", "choice 1"], "label")),
    ],
)
def test_the_table(names, found):
    it = picked(*names)
    assert (it.problem, it.prompt, it.context, it.choices, it.answer) == found


def test_flags_overrule_the_table():
    names = ("prompt", "problem", "hard", "body", "choices", "answer", "solution")
    it = picked(*names, problem="hard", context="", choices="", answer="", solution="")
    assert (it.problem, it.prompt, it.context, it.choices) == ("hard", None, None, [])
    assert (it.answer, it.solution) == (None, None)
    it = picked(*names, prompt="", context="hard", choices="answer,solution", answer="problem")
    assert (it.problem, it.context, it.choices, it.answer) == ("problem", "hard", ["answer", "solution"], "problem")
    assert picked("problem", "label", "gold", answer="gold").answer == "gold"
    with pytest.raises(ValueError, match="answer_kind is 'number'; set it to letter, text, index, index1"):
        Columns(answer_kind="number")


def test_a_column_without_values_gives_way():
    table = Table("t", [{"prompt": None, "question": "q", "answer": None, "label": 5}])
    it = pick(table, Columns())
    assert (it.prompt, it.problem, it.answer) == (None, "question", "label")


def test_errors_say_what_was_looked_for_what_is_there_and_the_flag():
    with pytest.raises(ValueError, match=r"no column 'anwser' \(--answer_column\); columns found: problem, answer"):
        picked("problem", "answer", answer="anwser")
    with pytest.raises(
        ValueError,
        match="t has neither a column of prompts .prompt, messages.* nor one of problems .problem, question.*"
        "columns found: id, text, label. Name the right one, for example --problem_column text",
    ):
        picked("id", "text", "label")
    with pytest.raises(ValueError, match=r"no column 'r.h' \(--answer_column\)"):
        pick(Table("t", [{"problem": "x", "r": {"g": 1}}]), Columns(answer="r.h"))


def test_what_is_read_and_what_not_is_said_once():
    it = picked("id", "question", "query", "options", "answer", "label")
    assert it.describe("t", ["id", "question", "query", "options", "answer", "label"]) == (
        "t: problem from question (also there: query); choices from options; answer from answer (also there: label); "
        "not read: id, query, label"
    )


def test_parts_of_the_question_that_are_not_shown_are_counted():
    rows = [
        {"problem": "p", "choices": ["x", "y"], "passage": "p", "image": "f.png", "table": "t"},
        {"problem": "p", "choices": [], "passage": None, "image": None, "table": "t"},
    ]
    table = Table("t", rows)
    notes = unshown(table, pick(table, Columns(choices="", context="")))
    assert notes == [
        "t: column choices is not shown to the model (1 rows have one): --choices_column",
        "t: column passage is not shown to the model (1 rows have one): --context_column",
        "t: column image is not shown to the model (1 rows have one): no flag: models here read text only",
        "t: column table is not shown to the model (2 rows have one): --context_column",
    ]
    part = Table("t", [{"question": "q", "option_a": "x", "option_b": "y", "option_d": "z"}])
    assert unshown(part, pick(part, Columns())) == [
        "t: column option_d is not shown to the model (1 rows have one): --choices_column"
    ]
    assert [note.split()[2] for note in unshown(table, pick(table, Columns()))] == ["image", "table"]


def test_verdicts_are_no_answers():
    assert pick(Table("t", [{"prompt": "p", "label": True}, {"prompt": "p", "label": None}]), Columns()).answer is None
    assert pick(Table("t", [{"problem": "p", "correct": True, "gold": "5"}]), Columns()).answer == "gold"
    assert pick(Table("t", [{"problem": "p", "answer": True, "gold": "5"}]), Columns()).answer == "answer"


def test_what_ready_prompts_do_not_show():
    table = Table("t", [{"prompt": "p", "context": "c", "history": [["a", "b"]]}])
    assert unshown(table, pick(table, Columns())) == [
        "t: column context is not shown to the model (1 rows have one): --context_column, with --prompt_column ''",
        "t: column history is not shown to the model (1 rows have one): write all turns as messages in column prompt",
    ]
    with pytest.raises(
        ValueError, match="--context_column is shown with a problem.*--prompt_column '' --problem_column"
    ):
        pick(table, Columns(context="context"))
