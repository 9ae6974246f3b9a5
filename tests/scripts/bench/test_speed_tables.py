"""Tables hold what the files hold, and only what got slower beside its own yardstick is flagged."""

import copy

import pytest
from speed_tables import BEGIN, END, compare, insert, tables

MADE = {"command": "python scripts/x.py", "device": "CPU, 2 threads", "commit": "c", "versions": {}}
SCORING = MADE | {
    "kind": "scoring",
    "settings": {"batch": 8, "repeats": 9},
    "summary": {
        "ours": {"median": 0.5, "least": 0.4, "most": 0.6, "over ours": 1.0},
        "limit": {"median": 0.48, "least": 0.47, "most": 0.5, "over ours": 0.96},
        "naive": {"median": 2.0, "least": 1.9, "most": 2.5, "over ours": 4.0},
    },
    "extra_memory_mib": {"ours": 40.4, "limit": 300.0, "naive": None},
    "largest_deviation_nats": {"ours": 1.2e-5},
    "unavailable": {"liger": "needs a GPU"},
}
STEP = MADE | {
    "kind": "step",
    "settings": {"rollouts": 3},
    "contenders": {
        "ours PPO": {
            "samples_per_second": 40.0,
            "seconds": {"generation": 1.5, "update": 0.75, "whole": 3.2},
            "passes": {"policy": 3, "frozen base": 1.0},
            "model_bytes": {"weights": 2**20, "all": 5 * 2**20},
            "peak_bytes": 30 * 2**20,
        },
        "ours GRPO": {
            "samples_per_second": 44.0,
            "seconds": {"generation": 1.5, "whole": 2.9},
            "passes": {"policy": 3},
            "model_bytes": {"all": 4 * 2**20},
            "peak_bytes": None,
        },
        "TRL 1.12 PPO": {
            "samples_per_second": 16.0,
            "seconds": {"generation": 3.0, "frozen base": 1.0, "garbage collection": 2.0, "whole": 8.0},
            "passes": {"policy": 2, "reference": 1, "reward": 1, "value": 3},
            "model_bytes": {"all": 10 * 2**20},
            "peak_bytes": 60 * 2**20,
        },
    },
}
GROWTH = {"exponent": 1.01, "ci95": [0.98, 1.04], "expected": 1.0}
SCALING = MADE | {
    "kind": "scaling",
    "axes": {"batch": {"x": [1, 32], "time": GROWTH, "memory": None}},
    "bytes_a_logit": {"slope": 0.01, "ci95": [-0.01, 0.03]},
}
COST = MADE | {
    "kind": "cost",
    "settings": {"config": "ppo.yaml"},
    "estimates": {"8": {"seconds": {"least": 1000, "central": 2000}, "gpu_hours": {"least": 2.2, "central": 4.4}}},
}
RESULTS = {"scoring.json": SCORING, "step.json": STEP, "scaling.json": SCALING, "c.json": COST}


def changed(name, **ratios):
    """RESULTS with the ratio of rivals' times to ours changed in one file."""
    results = copy.deepcopy(RESULTS)
    for rival, ratio in ratios.items():
        results[name]["summary"][rival]["over ours"] = ratio
    return results


def test_every_kind_has_its_figures_in_a_table():
    text = tables(RESULTS)
    for figure in ("0.500 (0.400 to 0.600)", "| 0.96 |", "| 40 |", "1.2e-05", "not measured: needs a GPU"):
        assert figure in text
    ours = "| ours PPO | 40 | 1.00 | policy 3, frozen base 1 | 5.00 | 30 | 1500.0 | 750.0 | 0.0 | 950.0 |"
    for figure in (ours, "| TRL 1.12 PPO | 16 | 0.40 |", "1.010 (0.980 to 1.040)"):
        assert figure in text
    for figure in ("0.010 (-0.010 to 0.030) bytes", "1,000, 2,000", "2.2, 4.4"):
        assert figure in text
    widths = {block: {row.count("|") for row in block.splitlines()} for block in text.split("\n\n") if block[0] == "|"}
    assert len(widths) == len(RESULTS)
    assert all(len(found) == 1 for found in widths.values())


def test_results_of_unknown_kinds_are_named_and_left_out():
    with pytest.warns(UserWarning, match="old.json"):
        assert tables({"old.json": {"median": 1}}) == ""


def test_a_table_goes_between_the_markers_and_again_in_its_place():
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = insert(page, tables(RESULTS))
    assert once.startswith(f"before\n{BEGIN}\n\n`scripts/bench/bench_scoring.py` on CPU")
    assert once.endswith(f"|\n\n{END}\nafter\n")
    assert "old" not in once
    assert insert(once, tables(RESULTS)) == once
    assert insert(once, "") == f"before\n{BEGIN}\n{END}\nafter\n"


@pytest.mark.parametrize("page", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}", f"{BEGIN}{END}{END}"])
def test_a_page_without_its_two_markers_is_an_error(page):
    with pytest.raises(ValueError, match="speed:begin"):
        insert(page, "x")


def test_nothing_changed_nothing_flagged():
    lines, slower = compare(RESULTS, RESULTS)
    assert not slower
    assert len(lines) == 2 + 2 + 1
    assert "scoring.json: ours / limit 1.042 -> 1.042 (+0.0%)" in lines


@pytest.mark.parametrize("limit, flagged", [(0.96 / 1.04, False), (0.96 / 1.06, True), (0.96 / 0.5, False)])
def test_over_five_per_cent_slower_than_its_yardstick_is_flagged(limit, flagged):
    lines, slower = compare(changed("scoring.json", limit=limit), RESULTS)
    assert slower == flagged
    assert [line for line in lines if "SLOWER" in line] == [line for line in lines if flagged and "limit" in line]


def test_a_slower_machine_is_not_a_slower_program():
    results = copy.deepcopy(RESULTS)
    for found in results["scoring.json"]["summary"].values():
        found["median"] *= 3
    for contender in results["step.json"]["contenders"].values():
        contender["samples_per_second"] /= 3
    assert not compare(results, RESULTS)[1]


def test_a_step_is_held_against_rivals_and_not_against_our_other_steps():
    results = copy.deepcopy(RESULTS)
    results["step.json"]["contenders"]["ours GRPO"]["samples_per_second"] = 88.0
    assert not compare(results, RESULTS)[1]
    results["step.json"]["contenders"]["ours PPO"]["samples_per_second"] = 37.0
    lines, slower = compare(results, RESULTS)
    assert slower
    assert sum("SLOWER  step.json: ours PPO / TRL 1.12 PPO" in line for line in lines) == 1


def test_what_cannot_be_compared_is_said():
    elsewhere = {"scoring.json": changed("scoring.json", limit=0.5)["scoring.json"] | {"device": "GPU"}}
    lines, slower = compare(elsewhere, RESULTS)
    assert not slower
    assert "another device, not compared" in lines[0]
    assert "step.json: gone" in lines
    other = {"scoring.json": changed("scoring.json", limit=0.5)["scoring.json"] | {"settings": {"batch": 9}}}
    assert compare(other, RESULTS)[0][0] == "scoring.json: other settings, not compared"
    longer = {"scoring.json": SCORING | {"settings": {"batch": 8, "repeats": 3}}}
    assert "ours / limit" in compare(longer, RESULTS)[0][0]
    assert compare(RESULTS, {})[0][0].endswith("new, nothing to compare with")
