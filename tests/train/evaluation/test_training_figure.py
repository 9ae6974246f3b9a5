"""The picture of a training: every reward in training and on held-out prompts, each line where its numbers are."""

import math

import pytest
from matplotlib.figure import Figure

from train.evaluation.training_figure import FRACTIONS, draw_runs, draw_training, panels

ACCURACY, LENGTH, ENDORM = "rewards/right/mean", "rewards/length/mean", "rewards/endorm/mean"


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    figures, real = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (figures.append(self), real(self, *a, **k)))
    return figures


def lines(figure, title) -> dict:
    """{label: (points, dashed)} of a panel."""
    (axis,) = [axis for axis in figure.axes if axis.get_title() == title]
    return {x.get_label(): (x.get_xydata().tolist(), x.get_linestyle() == "--") for x in axis.lines}


def test_a_reward_that_is_only_logged_is_drawn_beside_the_one_learned_from(drawn, tmp_path):
    rows = [{"step": s, "reward": -s, ENDORM: -s, ACCURACY: s / 10} for s in (1, 2)]
    assert draw_training(rows, tmp_path / "x.png")
    titles = [axis.get_title() for axis in drawn[0].axes if axis.axison]
    assert titles == ["reward endorm, which is the weighted sum", "reward right"]
    assert lines(drawn[0], titles[0]) == {"in training": ([[1, -1], [2, -2]], False)}
    assert lines(drawn[0], titles[1]) == {"in training": ([[1, 0.1], [2, 0.2]], False)}


def test_a_sum_that_is_no_single_reward_has_its_own_panel():
    rows = [{"step": 1, "reward": 0.5, ENDORM: 0.4, LENGTH: -9.0}]
    assert panels([rows]) == {
        "reward, the weighted sum": ["reward"],
        "reward endorm": [ENDORM],
        "reward length": [LENGTH],
    }


def test_rewards_from_0_to_1_share_a_panel_and_a_scale_of_its_own_does_not(drawn, tmp_path):
    rows = [{"step": 1, "reward": -9.0, ACCURACY: 0.25, "rewards/format/mean": 1.0, LENGTH: -9.0}]
    draw_training(rows, tmp_path / "x.png")
    assert lines(drawn[0], FRACTIONS) == {"right": ([[1, 0.25]], False), "format": ([[1, 1.0]], False)}
    assert "reward length, which is the weighted sum" in panels([rows])
    assert FRACTIONS not in panels([[*rows, {"step": 2, f"eval_{ACCURACY}": 1.5}]])  # held out it leaves the scale


def test_held_out_metrics_are_dashed_lines_of_their_panels(drawn, tmp_path):
    rows = [
        {"step": 1, ACCURACY: 0.5, "kl/k1": 0.1},
        {"step": 2, f"eval_{ACCURACY}": 0.25, "eval_kl/k1": 0.2, f"eval_{LENGTH}": -8.0, "eval_runtime": 3.0},
        {"step": 4, f"eval_{ACCURACY}": 0.75, "eval_runtime": 3.0},
    ]
    draw_training(rows, tmp_path / "x.png")
    held_out = ([[2, 0.25], [4, 0.75]], True)
    assert lines(drawn[0], "reward right") == {"in training": ([[1, 0.5]], False), "held out": held_out}
    assert lines(drawn[0], "reward length") == {"held out": ([[2, -8.0]], True)}  # which training has not
    assert lines(drawn[0], "KL to the frozen base, k1 (nats a token)")["held out"] == ([[2, 0.2]], True)


def test_several_sets_of_held_out_prompts_are_lines_of_their_own(drawn, tmp_path):
    rows = [
        {"step": s, f"eval_{ACCURACY}": v, f"eval_{n}_runtime": 1.0} for s in (1, 2) for n, v in (("a", 0), ("b", 1))
    ]
    draw_training(rows, tmp_path / "x.png")
    assert lines(drawn[0], "reward right") == {
        "held out (a)": ([[1, 0], [2, 0]], True),
        "held out (b)": ([[1, 1], [2, 1]], True),
    }


def test_what_is_no_finite_number_is_left_out(drawn, tmp_path):
    values = [math.nan, None, "Infinity", math.inf, 0.5]
    draw_training([{"step": s, ACCURACY: v} for s, v in enumerate(values)], tmp_path / "x.png")
    assert lines(drawn[0], "reward right") == {"in training": ([[4, 0.5]], False)}
    assert not draw_training([{"step": 1, ACCURACY: math.nan}], tmp_path / "none.png")


def test_levels_to_compare_with_stand_in_the_panel_of_their_metric(drawn, tmp_path):
    draw_training([{"step": 1, ACCURACY: 0.5, "entropy": 2.0}], tmp_path / "x.png", {ACCURACY: {"base": 0.125}})
    found = lines(drawn[0], "reward right")
    assert list(found) == ["in training", "base (0.125)"]
    assert [y for _, y in found["base (0.125)"][0]] == [0.125, 0.125]
    assert list(lines(drawn[0], "entropy (nats a token)")) == ["in training"]


def test_several_runs_keep_their_colours_and_a_panel_for_each_reward(drawn, tmp_path):
    one = [{"step": 1, ACCURACY: 0.5, "rewards/format/mean": 1.0}]
    two = [{"step": 1, ACCURACY: 0.75, f"eval_{ACCURACY}": 0.25, "eval_loss": 3.0}]
    assert draw_runs({"one": one, "two": two}, tmp_path / "x.png", more=["eval_loss", f"eval_{ACCURACY}", "eval_no"])
    axes = {axis.get_title(): axis for axis in drawn[0].axes if axis.axison}
    assert list(axes) == ["reward right", "reward format", "eval_loss"]
    assert [(x.get_color(), x.get_ydata().tolist()) for x in axes["reward right"].lines] == [
        ("C0", [0.5]),
        ("C1", [0.75]),
        ("C1", [0.25]),
    ]
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["one", "two", "on held-out prompts"]
    assert axes["reward right"].get_legend() is None


def test_a_figure_of_nothing_is_no_figure(tmp_path):
    assert not draw_training([{"step": 1, "other": 2.0}], tmp_path / "x.png")
    assert not draw_runs({}, tmp_path / "x.png")
    assert not list(tmp_path.iterdir())
