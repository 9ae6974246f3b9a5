"""The parts of a step are disjoint and add up to it, and table and figure show the same numbers."""

import pytest
from matplotlib.figure import Figure
from step_table import PHASES, draw_steps, parts, step_table
from table_cells import cells

from train.cost.stopwatch import MIB


def contender(speed=10.0, peak=None, models=MIB, passes=None, read=None, **seconds):
    made = {"samples_per_second": speed, "seconds": seconds, "passes": passes or {}, "peak_bytes": peak}
    made |= {} if read is None else {"tokens_read": read}  # results of an earlier version have none
    return made | {"model_bytes": {"all": models}}


RESULT = {
    "device": "a CPU, 2 threads",
    "contenders": {
        "ours": contender(
            40.0, 30 * MIB, 5 * MIB, {"policy": 3, "frozen base": 1.0}, {"policy": 61.5}, generation=1.5, whole=3.25
        ),
        "half": contender(20.0, None, 1.5 * MIB, {"policy": 2.5}, generation=1, update=2, critic=0.5, whole=3.5),
    },
}


def test_every_phase_has_one_part_and_what_is_left_is_the_rest():
    seconds = {phase: 2.0**i for i, phase in enumerate(PHASES)}
    whole = sum(seconds.values()) + 100
    found = parts(seconds | {"whole": whole, "whole rollout": 77.0})  # a phase that holds others is no part of its own
    for part in set(PHASES.values()):
        assert found.pop(part) == sum(s for phase, s in seconds.items() if PHASES[phase] == part)
    assert found == {"rest": 100}


def test_the_rest_is_never_negative():
    """Seconds of phases are rounded, so that their sum may be above the whole."""
    assert parts({"generation": 1.00001, "whole": 1.0})["rest"] == 0


def test_the_parts_of_ours_and_theirs_stand_in_the_same_columns():
    """A frozen forward and a reference are the same work, and so are what follows the forward and a reward model."""
    ours = parts({"frozen forward": 1, "endorm after it": 2, "whole": 3})
    assert ours == parts({"reference": 1, "reward model": 2, "whole": 3})


def test_the_table_by_hand():
    head, _, *rows = cells(step_table(RESULT))
    first = ["contender", "samples/s", "of the first", "passes of a response", "tokens read for it"]
    first += ["models, MiB", "peak, MiB"]
    assert head == [*first, "generation, ms", "critic, ms", "update, ms", "rest, ms"]  # of all zeros no column
    assert rows == [
        [
            "ours",
            "40",
            "1.00",
            "policy 3, frozen base 1",
            "policy 61.5",
            "5.00",
            "30",
            "1500.0",
            "0.0",
            "0.0",
            "1750.0",
        ],
        ["half", "20", "0.50", "policy 2.5", "", "1.50", "", "1000.0", "500.0", "2000.0", "0.0"],
    ]


def test_shares_of_the_limit_by_hand():
    limits = {"generation": 0.75, "update": 0.5, "whole": 1.25}
    *_, head, _, first, ours, half = cells(step_table(RESULT | {"limits": limits}))
    assert head == ["share of the limit", "generation", "update", "whole"]
    assert first == ["limit, ms", "750.0", "500.0", "1250.0"]
    assert ours == ["ours", "0.50", "", "0.38"]  # it has no update
    assert half == ["half", "0.75", "0.25", "0.36"]


def test_the_bars_are_the_parts_one_after_the_other(tmp_path, monkeypatch):
    drawn = []
    real = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (drawn.append(self), real(self, *a, **k)))
    draw_steps(RESULT, tmp_path / "step.png")
    assert (tmp_path / "step.png").read_bytes().startswith(b"\x89PNG")
    (axes,) = drawn[0].axes
    bars = {c.get_label(): [(bar.get_x(), bar.get_width()) for bar in c] for c in axes.containers}
    assert bars == {
        "generation": [(0, 1500), (0, 1000)],
        "critic": [(1500, 0), (1000, 500)],
        "update": [(1500, 0), (1500, 2000)],
        "rest": [(1500, 1750), (3500, 0)],
    }
    assert [text.get_text() for text in axes.get_yticklabels()] == ["ours", "half"]
    assert axes.yaxis_inverted()  # the first on top
    assert "a CPU, 2 threads" in axes.get_xlabel()
    ends = {name: sum(widths[i][1] for widths in bars.values()) for i, name in enumerate(RESULT["contenders"])}
    assert ends == pytest.approx({name: 1000 * c["seconds"]["whole"] for name, c in RESULT["contenders"].items()})
