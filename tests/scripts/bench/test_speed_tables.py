"""Tables hold what the files hold, and the README of the benchmarks holds the tables of the committed results."""

import json

import pytest
from speed_tables import main, tables
from table_cells import cells

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


def test_every_kind_has_its_figures_in_a_table():
    text = tables(RESULTS)
    found = cells(text)
    assert [row[1:] for row in found if row[0].startswith("[None, 8 x")] == [
        ["0.500 (0.400 to 0.600)", "0.96", "4.00", "40", "", "1.2e-05"]
    ]
    assert "not measured: needs a GPU" in text
    ours = ["40", "1.00", "policy 3, frozen base 1", "", "5.00", "30", "1500.0", "750.0", "0.0", "950.0"]
    assert ["ours PPO", *ours] in found
    assert ["TRL 1.12 PPO", "16", "0.40"] in [row[:3] for row in found]
    assert ["batch", "1 to 32", "1.010 (0.980 to 1.040)", "1.000", "", ""] in found
    assert ["ppo.yaml, 8 H100s", "1,000, 2,000", "2.2, 4.4"] in found
    assert "0.010 (-0.010 to 0.030) bytes" in text
    blocks = [cells(block) for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) == len(RESULTS)
    assert all(len({len(row) for row in block}) == 1 for block in blocks)


def test_results_of_unknown_kinds_are_named_and_left_out():
    with pytest.warns(UserWarning, match="old.json"):
        assert tables({"old.json": {"median": 1}}) == ""


def test_the_page_is_written_and_checked(tmp_path, capsys):
    results, readme = tmp_path / "results", tmp_path / "README.md"
    results.mkdir()
    for name, result in RESULTS.items():
        (results / name).write_text(json.dumps(result))
    readme.write_text("top\n<!-- speed:begin -->\nold\n<!-- speed:end -->\nend\n")
    where = ["--results", str(results), "--readme", str(readme)]
    assert main([*where, "--check"]) == 1
    assert "old" in readme.read_text()
    assert main(where) == main([*where, "--check"]) == 0
    page = readme.read_text()
    assert "old" not in page
    assert page.startswith("top\n<!-- speed:begin -->\n\n`scripts/bench/bench_scoring.py` on CPU")
    assert page.endswith("|\n\n<!-- speed:end -->\nend\n")
    (results / "scoring.json").unlink()
    assert main([*where, "--check"]) == 1
    assert "Run scripts/bench/speed_tables.py" in capsys.readouterr().out


def test_the_readme_of_the_benchmarks_has_the_tables_that_the_results_give():
    assert main(["--check"]) == 0
