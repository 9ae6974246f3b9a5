"""Grades that are kept for as long as they hold, figures by counting, and tables that show the numbers they are of."""

import itertools
import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from table_cells import cells
from transformers import AutoTokenizer

from rewards import EndoRM
from rewards.endorm import endogenous_rewards, position_weights
from train.evaluation import summary
from train.evaluation.problems import BENCHMARKS, PAPER, Problem
from train.evaluation.summary import (
    EndoRMScorer,
    draw_series,
    grade_samples,
    markdown,
    paper_order,
    problem_figures,
    summarise_model,
    title,
)

PROBLEMS = [Problem("a", "1+1?", ("2",)), Problem("b", "1+2?", ("3", "three"))]
ROWS = [{"id": i, "sample": k, "text": t} for k, i, t in [(0, "b", "3"), (0, "a", "1"), (1, "a", "2"), (1, "b", "")]]


@dataclass
class Grade:
    verdict: str
    answer: str | None
    reason: str = ""


class Graders:
    """Takes the whole response for the answer, and notes what it is asked."""

    seconds = 5.0

    def __init__(self):
        self.asked = []

    def grade(self, texts, golds, boxed_only, progress):
        self.asked.append((texts, golds, boxed_only))
        return [Grade("right" if t in g else "wrong", t or None) for t, g in zip(texts, golds, strict=True)]

    def cluster(self, groups):
        self.asked[-1] += (groups,)
        return [([None if a is None else sorted(set(filter(None, g))).index(a) for a in g], len(g)) for g in groups]


def graded(path, rows=ROWS, problems=PROBLEMS, graders=None, **settings):
    graders = graders or Graders()
    return grade_samples(path, problems, rows, graders, progress=False, **settings), len(graders.asked)


def test_each_sample_is_graded_by_its_problem_and_clustered_among_its_fellows(tmp_path):
    graders = Graders()
    found, _ = graded(tmp_path / "new" / "grades.jsonl", graders=graders)
    golds = [("3", "three"), ("2",), ("2",), ("3", "three")]
    assert graders.asked == [(["3", "1", "2", ""], golds, False, [["3", None], ["1", "2"]])]
    assert [(g["id"], g["sample"], g["verdict"], g["answer"], g["cluster"]) for g in found] == [
        ("b", 0, "right", "3", 0),
        ("a", 0, "wrong", "1", 0),
        ("a", 1, "right", "2", 1),
        ("b", 1, "wrong", None, None),
    ]
    assert {g["not_compared"] for g in found} == {2}
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["grades.jsonl"]  # and nothing unfinished beside it


def changed(i, **fields):
    return [row | fields if k == i else row for k, row in enumerate(ROWS)]


@pytest.mark.parametrize(
    "settings, again",
    [
        ({}, False),
        ({"rows": [row | {"token_ids": [1]} for row in ROWS]}, False),  # what is not graded does not count
        ({"problems": [replace(p, problem="?") for p in PROBLEMS]}, False),
        ({"again": True}, True),
        ({"boxed_only": True}, True),
        ({"rows": changed(2, text="2.")}, True),
        ({"rows": ROWS[::-1]}, True),
        ({"problems": [PROBLEMS[0], replace(PROBLEMS[1], golds=("3",))]}, True),
    ],
)
def test_grades_are_read_again_while_they_are_of_the_same(settings, again, tmp_path):
    path = tmp_path / "grades.jsonl"
    first, _ = graded(path)
    found, asked = graded(path, **settings)
    assert asked == again
    assert again or found == first
    assert graded(path, **settings | {"again": False})[1] == 0  # what was graded anew is kept in its turn


def test_other_graders_grade_again(tmp_path, monkeypatch):
    path = tmp_path / "grades.jsonl"
    graded(path)
    patient = Graders()
    patient.seconds = 60.0
    assert graded(path, graders=patient)[1] == 1
    monkeypatch.setattr(summary, "version", lambda _: "99.0")
    assert graded(path, graders=patient)[1] == 2
    assert json.loads(path.read_text().splitlines()[0])["math_verify"] == "99.0"


# ---------------------------------------------------------------------- figures


def samples(n, problems=7, seed=0):
    """Rows and grades by problem and sample, of answers of which some are equal."""
    rng, rows, grades = np.random.default_rng(seed), [], []
    for problem, k in itertools.product(range(problems), range(n)):
        length, cluster = int(rng.integers(1, 5)), rng.choice([0, 1, 2, None])
        text = rng.choice([r"\boxed{5}", "import os\n", "so 5"])
        rows.append({"id": problem, "sample": k, "text": str(text), "token_ids": list(range(length))})
        rows[-1]["finished"] = bool(rng.integers(2))
        verdict = "wrong" if cluster is None else ("right", "wrong", "ungraded")[(cluster + problem) % 3]
        answer = None if cluster is None else str(cluster)
        grades.append({"verdict": verdict, "answer": answer, "cluster": cluster})
    return rows, grades, rng.integers(0, 3, len(rows)).astype(float)


def chosen(right, scores):
    """The share of right ones among those with the highest score."""
    return np.mean([r for r, s in zip(right, scores) if s == max(scores)])


@pytest.mark.parametrize("n", [1, 2, 6])
def test_figures_of_each_problem_by_counting(n):
    rows, grades, endorm = samples(n)
    figures = problem_figures(rows, grades, n, endorm)
    names = {f"avg@{n}", "tokens", "truncated", "boxed", "code", "repetition", "no answer", "ungraded"}
    if n > 1:
        passes = {f"pass@{k}" for k in (2, 4, n) if k <= n}
        names |= passes | {f"majority@{n}", f"shortest of {n}", f"longest of {n}", f"EndoRM of {n}"}
    assert set(figures) == names
    for i in range(7):
        mine = slice(i * n, (i + 1) * n)
        right = [g["verdict"] == "right" for g in grades[mine]]
        lengths = [len(row["token_ids"]) for row in rows[mine]]
        expected = {f"avg@{n}": np.mean(right), "tokens": np.mean(lengths)}
        expected["truncated"] = np.mean([not row["finished"] for row in rows[mine]])
        expected["no answer"] = np.mean([g["answer"] is None for g in grades[mine]])
        expected["ungraded"] = np.mean([g["verdict"] == "ungraded" for g in grades[mine]])
        expected["boxed"] = np.mean(["boxed" in row["text"] for row in rows[mine]])
        expected["code"] = np.mean(["import" in row["text"] for row in rows[mine]])
        for k in (k for k in (2, 4, n) if 1 < k <= n):
            expected[f"pass@{k}"] = np.mean([any(s) for s in itertools.combinations(right, k)])
        if n > 1:
            given = [g["cluster"] for g in grades[mine]]
            votes = [0 if c is None else given.count(c) for c in given]  # equal answers are right or wrong together
            most = {c: r for c, r, v in zip(given, right, votes) if c is not None and v == max(votes)}
            expected[f"majority@{n}"] = np.mean(list(most.values())) if most else 0
            expected[f"shortest of {n}"] = chosen(right, [-x for x in lengths])
            expected[f"longest of {n}"] = chosen(right, lengths)
            expected[f"EndoRM of {n}"] = chosen(right, endorm[mine])
        assert {name: figures[name][i] for name in expected} == pytest.approx(expected)


def test_without_a_scorer_there_is_no_choice_of_its():
    rows, grades, _ = samples(4)
    assert "EndoRM of 4" not in problem_figures(rows, grades, 4)


def test_the_average_is_of_benchmarks_that_are_resampled_apart():
    one = {"avg@4": np.random.default_rng(0).integers(0, 5, 60) / 4, "tokens": np.arange(60.0)}
    found = summarise_model({"a": one, "b": one, "c": {k: v / 2 for k, v in one.items()}}, 4000)
    for figure in one:
        parts = [found[b][figure] for b in "abc"]
        mean = found["average"][figure]
        assert mean["value"] == pytest.approx(np.mean([p["value"] for p in parts]))
        # independent errors add up in squares
        widths = np.array([p["high"] - p["low"] for p in parts])
        assert mean["high"] - mean["low"] == pytest.approx(np.sqrt((widths**2).sum()) / 3, rel=0.06)
    assert list(summarise_model({"a": one}, 100)) == ["a"]


# ---------------------------------------------------------------------- EndoRM's choice


def test_scores_are_those_of_endorm_and_are_kept(rehearsal, tmp_path, monkeypatch):
    tokenizer = AutoTokenizer.from_pretrained(rehearsal)
    prompts = {"a": "What is 1 + 4?", "b": [{"role": "user", "content": "What is 2 + 5?"}]}
    ids = {"a": tokenizer(prompts["a"])["input_ids"]}
    text = tokenizer.apply_chat_template(prompts["b"], tokenize=False, add_generation_prompt=True)
    ids["b"] = tokenizer(text)["input_ids"]
    rows = [
        {"id": i, "token_ids": tokenizer(f"It is {k}.")["input_ids"], "finished": k < 2}
        for i in "ab"
        for k in range(3)
    ]
    scorer = EndoRMScorer(rehearsal, rehearsal, str(tmp_path), device="cpu", discount=0.9, alpha=0.5)
    found = scorer(prompts, rows)
    base = EndoRM.from_pretrained(rehearsal, device="cpu", alpha=0.5).base
    scores = base.score([ids[row["id"]] for row in rows], [row["token_ids"] for row in rows], alphas=(0.5,))
    expected = [
        float((endogenous_rewards(s, alpha=0.5, complete=r["finished"]) * position_weights(len(s.q), 0.9, 0.0)).sum())
        for s, r in zip(scores, rows)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    monkeypatch.setattr(summary, "load_causal_lm", lambda *_: pytest.fail("the scores are on disk"))
    again = EndoRMScorer(rehearsal, rehearsal, str(tmp_path), device="cpu", discount=0.9, alpha=0.5)
    np.testing.assert_array_equal(again(prompts, rows[::-1]), found[::-1])


def test_a_base_of_another_family_cannot_score(rehearsal, saved_model, tmp_path):
    with pytest.raises(ValueError, match=f"{rehearsal} has another tokenizer than {saved_model}: EndoRM scores need"):
        EndoRMScorer(rehearsal, saved_model, str(tmp_path))


# ---------------------------------------------------------------------- tables and figure


def test_the_papers_benchmarks_come_first_and_have_titles():
    assert paper_order(["mine", *PAPER[::-1], "gsm8k", "mine"]) == [*PAPER, "mine", "gsm8k"]
    assert [title(b) for b in ("average", "mine")] == ["Avg", "mine"]
    assert [title(b) for b in PAPER] == [BENCHMARKS[b].title for b in PAPER]


def figure(value, half=0.1):
    return {"value": value, "low": value - half, "high": value + half}


RESULTS = {
    m: {b: {"avg@4": figure(x), "tokens": figure(100 * x, 7)} for b, x in (("amc23", value), ("average", value / 2))}
    for m, value in (("base", 0.2), ("rl", 0.64))
}


def test_tables_hold_the_figures():
    text = markdown(RESULTS, ["one note", "another", "one note"])
    assert text.startswith("# Accuracy (avg@4) in percent")
    assert [row for row in cells(text) if not row[0].startswith(":-")] == [
        ["model", "AMC", "Avg"],
        ["base", "20.0 (10.0 to 30.0)", "10.0 (0.0 to 20.0)"],
        ["rl", "64.0 (54.0 to 74.0)", "32.0 (22.0 to 42.0)"],
        ["figure", "AMC", "Avg"],
        ["avg@4", "20.0 (10.0 to 30.0)", "10.0 (0.0 to 20.0)"],
        ["tokens", "20 (13 to 27)", "10 (3 to 17)"],
        ["figure", "AMC", "Avg"],
        ["avg@4", "64.0 (54.0 to 74.0)", "32.0 (22.0 to 42.0)"],
        ["tokens", "64 (57 to 71)", "32 (25 to 39)"],
    ]
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## base", "## rl"]
    assert text.endswith("\n- one note\n- another\n")


def test_the_curve_goes_by_step_whatever_the_order(tmp_path, monkeypatch):
    drawn, real = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (drawn.append(self), real(self, *a, **k)))
    draw_series(RESULTS, {"base": 100, "rl": 20}, tmp_path / "accuracy.png")
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    first, second = drawn[0].axes
    assert first.lines[0].get_xydata().tolist() == [[20, 0.64], [100, 0.2]]
    assert second.lines[0].get_xydata().tolist() == [[20, 0.32], [100, 0.1]]
    corners = first.collections[0].get_paths()[0].vertices
    assert {(x, round(y, 3)) for x, y in corners} == {(20, 0.54), (20, 0.74), (100, 0.1), (100, 0.3)}
    assert [axis.get_title() for axis in (first, second)] == ["AMC", "Avg"]
