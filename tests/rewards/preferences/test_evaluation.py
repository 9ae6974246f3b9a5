"""Tables of an evaluation: a sweep has its best setting first, and what judges lack is said in notes."""

from table_cells import cells

from rewards.frozen.sweep import grid
from rewards.preferences.evaluation import judge_tables, sweep_panels


def swept(*values):
    settings = grid(discount=[1.0, 0.9, 0.8], form=["reward", "logprob"])
    figures = [
        {"value": v, "low": v - 0.1, "high": v + 0.1} if v is not None else dict.fromkeys(("value", "low", "high"))
        for v in values
    ]
    rows = zip(settings, figures, strict=True)
    return [{"setting": vars(s), "views": {}, "figure": figure, "above_length": figure} for s, figure in rows]


def test_a_sweep_is_shown_with_the_best_setting_first_and_with_intervals():
    markdown, panels = sweep_panels(swept(0.5, 0.7, None, 0.6, 0.7, 0.4))
    table = cells(markdown.split("\n\n")[0])
    shown = [(row[1], row[3], row[-1]) for row in table[2:]]
    assert shown == [
        ("1.0", "logprob", "70.0 (60.0 to 80.0)"),
        ("0.8", "reward", "70.0 (60.0 to 80.0)"),
        ("0.9", "logprob", "60.0 (50.0 to 70.0)"),
        ("1.0", "reward", "50.0 (40.0 to 60.0)"),
        ("0.8", "logprob", "40.0 (30.0 to 50.0)"),
        ("0.9", "reward", "–"),
    ]
    assert "the best of 6 on one set looks better than it is" in markdown
    matrix, rows, columns = panels["sweep"]
    assert matrix == [[0.5, 0.7], [None, 0.6], [0.7, 0.4]]
    assert (rows, columns) == (["discount 1.0", "discount 0.9", "discount 0.8"], ["form reward", "form logprob"])


def test_a_table_of_judges_says_why_scores_are_missing():
    score = {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}}
    judge = {"scores": score, "counts": {"tied": 0, "not_scored": 0}, "notes": ["one"], "missing": ["math: no rows"]}
    page = judge_tables({"judges": {"endorm": judge, "random": judge}, "differences": {}}, ["accuracy"])
    assert page.endswith("\n- one\n- math: no rows\n")
