"""Every table and figure of the report against the numbers that it is of."""

import numpy as np
import pytest
from evaluations import made_evaluation, made_run, right
from matplotlib.figure import Figure
from table_cells import cells

from rewards.reporting.tables import percent
from train.evaluation.page import (
    PAPER_ROWS,
    RESPONSES,
    accuracy_table,
    differences_table,
    draw_curves,
    draw_differences,
    provenance,
    responses_table,
    run_section,
    settings_table,
)
from train.evaluation.problems import PAPER

SMALL = dict.fromkeys(PAPER, 8)


def cell(value, low, high, problems=100):
    return {"value": value, "low": low, "high": high, "problems": problems}


OUTCOMES = {
    "base": {"amc23": cell(0.1, 0.02, 0.18), "math500": cell(0.2, 0.1, 0.3), "average": cell(0.15, 0.1, 0.2)},
    "greedy": {"amc23": cell(0.5, None, None, 3), "math500": cell(0, -0.1, 0.1), "average": cell(0.2, None, None, 3)},
}


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    figures, real = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (figures.append(self), real(self, *a, **k)))
    return figures


# ---------------------------------------------------------------------- evaluations


def test_accuracy_stands_under_the_papers_own_rows_and_averages_its_five_alone():
    tables = right(0.5, SMALL | {"gsm8k": 12})
    e = made_evaluation(tables, "policy", "rl")
    head, _, *rows = cells(accuracy_table([e], 200))
    assert head == ["", "decoding", "AIME24", "AMC", "MATH-500", "Minerva", "Olympiad", "Avg", "GSM8K"]
    for row, (name, values) in zip(rows, PAPER_ROWS.items()):
        assert row == [name, "not stated", *(f"{v:.1f}" for v in values), "–"]
    assert rows[2][:2] == ["policy: rl", "avg@4, 4 samples, T = 1"]
    means = {b: t.mean() for b, t in tables.items()}
    values = [*(means[b] for b in PAPER), np.mean([means[b] for b in PAPER]), means["gsm8k"]]
    assert [text.split(" (")[0] for text in rows[2][2:]] == [f"{100 * v:.1f}" for v in values]
    for name, text in zip((*PAPER, "gsm8k"), [*rows[2][2:7], rows[2][8]]):
        assert text == percent(e.facts["results"]["rl"][name]["avg@4"])  # with the interval that was written


def test_what_was_not_evaluated_is_empty_and_the_papers_average_needs_all_five():
    one = made_evaluation(right(0.5, {"math500": 10, "mine": 10}, samples=1), model="a", folder="out")
    head, _, *rows = cells(accuracy_table([one, made_evaluation(right(0.5, SMALL))], 200))
    assert head[-1] == "mine"
    assert rows[2][:4] == ["out: a", "greedy", "–", "–"]
    assert rows[2][5:8] == ["–", "–", "–"]
    assert "–" not in (rows[2][4], rows[2][8])
    assert rows[3][-1] == "–"
    assert "–" not in rows[3][2:-1]


def test_the_majority_of_the_base_has_a_row_of_its_own():
    e = made_evaluation(right(0.5, {"amc23": 20}), "base")
    rows = cells(accuracy_table([e, made_evaluation(right(0.6, {"amc23": 20}), "policy")], 200))[4:]
    assert [row[1] for row in rows] == [f"{f}, 4 samples, T = 1" for f in ("avg@4", "majority@4", "avg@4")]
    assert rows[1][3] == percent(e.facts["results"]["m"]["amc23"]["majority@4"])


def test_differences_have_a_row_a_role_and_a_sentence_each():
    text = differences_table(OUTCOMES, {"aime24": ["greedy", "base"]})
    head, _, *rows = cells(text)
    assert head == ["", "AMC", "MATH-500", "Avg"]
    assert rows == [
        ["policy minus sampled base", "+10.0 (+2.0 to +18.0)", "+20.0 (+10.0 to +30.0)", "+15.0 (+10.0 to +20.0)"],
        ["policy minus greedy base", "+50.0", "+0.0 (-10.0 to +10.0)", "+20.0"],
    ]
    assert "Of 4 intervals, about 0.2 would leave zero out by chance alone." in text
    assert "- Policy minus sampled base: a gain is shown on the average" in text
    assert "- Policy minus greedy base: no difference is shown on the average" in text
    assert text.endswith("- AIME24 is left out: not evaluated for greedy base, sampled base.\n")


def test_settings_and_notes():
    one, two = made_evaluation(right(0.5), "base", top_p=0.9), made_evaluation(right(0.5), "policy", dtype="bfloat16")
    one.facts["notes"], two.facts["notes"] = ["3 prompts were cut", "old data"], ["3 prompts were cut"]
    text = settings_table([one, two])
    head, _, *rows = cells(text)
    found = [dict(zip(head, row)) for row in rows]
    assert [(f[""], f["top_p"], f["dtype"], f["samples"]) for f in found] == [
        ("base: m", "0.9", "–", "4"),
        ("policy: m", "–", "bfloat16", "4"),
    ]
    assert [x for x in text.splitlines() if x.startswith("- ")] == [
        "- 3 prompts were cut (base: m, policy: m)",
        "- old data (base: m)",
    ]


def test_responses_are_means_over_benchmarks_in_percent_but_for_tokens():
    e = made_evaluation(right(0.5))
    for benchmark, columns in e.figures.items():
        for i, figure in enumerate(RESPONSES):
            columns[figure][:] = i / 10 + (0.4 if benchmark == "amc23" else 0)
    differences = {figure: {"amc23": cell(0.25, -0.5, 0.75)} for figure in RESPONSES}
    head, _, *rows = cells(responses_table([e], differences))
    assert head == ["", "outputs/eval: m", "policy minus sampled base"]
    assert rows[0] == ["tokens", "0.2", "+0.2 (-0.5 to +0.8)"]
    assert rows[1:] == [
        [f"{figure} (%)", f"{10 * i + 20:.1f}", "+25.0 (-50.0 to +75.0)"] for i, figure in enumerate(RESPONSES) if i
    ]
    assert cells(responses_table([e], {}))[0] == ["", "outputs/eval: m"]


# ---------------------------------------------------------------------- runs


def test_a_run_by_hand():
    metrics = {"reward": [3.0, 1.0, 2.0, 8.0, 9.0, 10.0], "completions__repetition_rate": [0.1] * 3 + [0.5] * 3}
    run = made_run([{"step": 4, "watch": "eos", "message": "they do not end"}], **metrics)
    run.best = "checkpoint-4"
    text = run_section(run)
    assert text.startswith("### outputs/run\n")
    _, _, *rows = cells(text)
    assert rows == [
        ["reward", "2", "9", "1 (step 2)", "10 (step 6)"],
        ["completions/repetition_rate", "0.1", "0.5", "0.1 (step 1)", "0.5 (step 4)"],
    ]
    assert [x for x in text.splitlines() if x.startswith("- ")] == [
        "- Step 4, watch eos: they do not end.",
        "- Sign of a collapse: 0.50 of the 4-grams repeat, 0.10 at the start.",
        "- Best checkpoint: checkpoint-4.",
    ]


def test_every_reward_of_a_run_has_a_row_in_training_and_held_out():
    run = made_run(reward=[1.0], rewards__a__mean=[0.5], rewards__b__mean=[2.0], eval_rewards__a__mean=[0.25])
    rows = cells(run_section(run))[2:]
    assert [row[:2] for row in rows] == [
        ["reward", "1"],
        ["rewards/a/mean", "0.5"],
        ["rewards/b/mean", "2"],
        ["eval_rewards/a/mean", "0.25"],
    ]


def test_a_run_without_watches_or_signs_says_so():
    text = run_section(made_run(reward=[1.0, 2.0], eval_rewards__accuracy__mean=[0.5]))
    assert [row[0] for row in cells(text)[2:]] == ["reward", "eval_rewards/accuracy/mean"]
    assert "There is no watches.jsonl: no watch tripped, or none was on." in text
    assert "No sign of a collapse" in text
    assert "There is no watches.jsonl" not in run_section(made_run([], reward=[1.0]))


def test_provenance_of_evaluations_and_runs():
    e, run = made_evaluation(right(0.5)), made_run(facts={"command": "train.py --x 'a b'", "git_commit": "def"})
    e.facts["command"] = ["eval.py", "--prompt", "two words"]
    head, _, *rows = cells(provenance([e], [run, made_run(name="other")]))
    assert head == ["", "command", "commit", "versions"]
    assert rows == [
        ["outputs/eval: m", "`eval.py --prompt 'two words'`", "abc123", "torch 2"],
        ["outputs/run", "`train.py --x 'a b'`", "def", "not known"],
        ["other", "not known", "not known", "not known"],
    ]


def test_curves_of_all_runs_share_panels_and_keep_their_colours(drawn, tmp_path):
    one = made_run(name="one", reward=[1.0, 2.0, 3.0], entropy=[0.5])
    two = made_run(name="two", reward=[5.0], eval_rewards__accuracy__mean=[0.25, 0.5])
    assert draw_curves([one, two], tmp_path / "training.png")
    assert (tmp_path / "training.png").read_bytes().startswith(b"\x89PNG")
    panels = {axis.get_title(): axis for axis in drawn[0].axes if axis.axison}
    accuracy = "reward accuracy"
    assert list(panels) == ["reward, the weighted sum", accuracy, "entropy (nats a token)"]
    lines = {title: [(x.get_color(), x.get_xydata().tolist()) for x in axis.lines] for title, axis in panels.items()}
    assert lines["reward, the weighted sum"] == [("C0", [[1, 1], [2, 2], [3, 3]]), ("C1", [[1, 5]])]
    assert lines["entropy (nats a token)"] == [("C0", [[1, 0.5]])]
    assert lines[accuracy] == [("C1", [[1, 0.25], [2, 0.5]])]
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["one", "two", "on held-out prompts"]


def test_a_metric_of_the_best_checkpoint_that_no_panel_holds_is_drawn_too(drawn, tmp_path):
    facts = {"recipe": {"metric_for_best_model": "loss"}}
    draw_curves([made_run(facts=facts, eval_loss=[3.0, 2.0])], tmp_path / "training.png")
    (axis,) = drawn[0].axes
    assert (axis.get_title(), axis.lines[0].get_ydata().tolist()) == ("eval_loss", [3.0, 2.0])


def test_of_nothing_no_figure_is_drawn(tmp_path):
    assert not draw_curves([made_run(loss=[1.0]), made_run()], tmp_path / "training.png")
    assert not draw_curves([], tmp_path / "training.png")
    assert not list(tmp_path.iterdir())


def test_differences_are_drawn_with_the_interval_that_there_is(drawn, tmp_path):
    draw_differences(OUTCOMES, tmp_path / "differences.png")
    assert (tmp_path / "differences.png").read_bytes().startswith(b"\x89PNG")
    (axis,) = drawn[0].axes
    lines = [line.get_xydata().tolist() for line in axis.lines]
    assert lines[:3] == [[[10, 0], [20, 0]], [[15, 0]], [[20, 1]]]  # interval and point, and a point without one
    assert lines[3][0][0] == lines[3][1][0] == 0  # where there would be no difference
    assert [text.get_text() for text in axis.get_yticklabels()] == ["sampled base", "greedy base"]
    assert axis.yaxis_inverted()
