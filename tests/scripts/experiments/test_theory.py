"""The report on the theory: exponents, verdicts that follow the numbers, and the whole script on a few draws."""

import copy
import json

import numpy as np
import pytest
import theory_checks
import theory_growth
from theory_report import markdown
from theory_verdicts import verdicts
from tiny_models import ROOT

from scripts import load_script

RESULTS = ROOT / "scripts/experiments/theory/results" / "results.json"


@pytest.fixture(scope="module")
def script():
    return load_script("verify_theory")


@pytest.fixture
def committed():
    return json.loads(RESULTS.read_text(encoding="utf-8"))


@pytest.fixture
def small(monkeypatch):
    """A few short responses, so that the script takes a second or two."""
    monkeypatch.setattr(theory_growth, "HORIZONS", (4, 8, 16))
    monkeypatch.setattr(theory_growth, "LONG", (4, 8, 16))
    monkeypatch.setattr(theory_checks, "SIZES", [(2, 1), (2, 7), (3, 3), (6, 2)])


def test_imitators_are_drawn_within_eps_and_as_far_as_eps():
    rng = np.random.default_rng(0)
    d = theory_checks.draw(rng, 3, 4, 40)
    distance = [np.abs(x - y).max((1, 2)) / d.eps for x, y in zip(d.imitator, d.expert, strict=True)]
    assert np.max(distance) <= 1 + 1e-9
    assert np.max(distance) > 0.999
    for layer in d.imitator:
        np.testing.assert_allclose(np.exp(layer).sum(-1), 1)


def test_pairs_of_responses_part_where_they_are_said_to():
    for seed in range(20):
        (x, y), split = theory_checks.pair_of_responses(np.random.default_rng(seed), 3, 5)
        assert [int((a != b).argmax()) for a, b in zip(x, y, strict=True)] == split.tolist()
        assert (x != y).any(1).all()


@pytest.mark.slow
def test_the_whole_script_on_a_few_draws(script, small, tmp_path, capsys):
    code = script.main(["--output", str(tmp_path), "--seed", "3", "--draws", "300", "--growth_draws", "5"])
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert code == (0 if results["passed"] else 1)
    assert results["seed"] == 3
    assert {"versions", "commit", "command", "seconds", "cpu_seconds"} <= results.keys()
    assert results["draws"]["draws"] == 300
    assert max(results["draws"]["identities"].values()) < 1e-9
    assert all(row["violations"] == 0 and row["draws"] == 300 for row in results["draws"]["bounds"].values())
    page, shown = (tmp_path / "theory.md").read_text(encoding="utf-8"), capsys.readouterr().out
    arguments = (RESULTS.parents[1] / "arguments.md").read_text(encoding="utf-8")
    for name, found in results["verdicts"].items():
        assert f"**{name}**" in page
        assert f"\n## {name}\n" in arguments
        assert found["verdict"] in page
        assert found["verdict"] in shown
    assert (tmp_path / "theory.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_bound_that_is_too_small_fails_and_sets_the_exit_code(script, small, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("rewards.theory.bounds.mode_to_best", lambda alpha, h, eps: alpha * h * eps)
    monkeypatch.setattr(script, "draw", lambda *args: None)
    arguments = ["--output", str(tmp_path), "--draws", "100", "--growth_draws", "2"]
    assert script.main(arguments) == 1
    assert "2 alpha H eps to the best response FAILS" in capsys.readouterr().out
    assert "CHECKS FAILED" in (tmp_path / "theory.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("bad", ["--draws 3", "--growth_draws 1"])
def test_too_few_draws_are_refused(script, bad, capsys):
    with pytest.raises(SystemExit):
        script.main(bad.split())
    assert "at least" in capsys.readouterr().err


def test_committed_results_are_of_the_defaults_and_pass(committed):
    assert committed["passed"] is True
    assert committed["settings"] == {"draws": 12000, "growth_draws": 200}
    assert committed["draws"]["draws"] >= 10_000
    assert committed["cpu_seconds"] < 180
    assert committed["verdicts"] == verdicts(committed["draws"], committed["growth"])
    assert RESULTS.with_name("theory.md").read_text(encoding="utf-8") == markdown(committed)


def test_verdicts_change_with_the_numbers(committed):
    before = verdicts(committed["draws"], committed["growth"])

    def changed(edit) -> dict:
        draws, growth = copy.deepcopy((committed["draws"], committed["growth"]))
        edit(draws, growth)
        after = verdicts(draws, growth)
        return {name: after[name] for name in before if after[name] != before[name]}

    for name in committed["draws"]["identities"]:
        (found,) = changed(lambda d, g, name=name: d["identities"].update({name: 1e-6})).values()
        assert not found["passed"]
        assert "NOT hold" in found["verdict"]
    for name in committed["draws"]["bounds"]:
        (found,) = changed(lambda d, g, name=name: d["bounds"][name].update(violations=2)).values()
        assert not found["passed"], name
    wrong = {"exponent": 5.0, "ci95": [4.9, 5.1], "last": 5.0, "gap": [1.0, 9.0]}
    in_horizon = {("H", where) for where in ("majority", "matched majority", "two branches")}
    for i, row in enumerate(committed["growth"]):
        if (row["variable"], row["where"]) in in_horizon | {("eps", "even odds")}:
            found = changed(lambda d, g, i=i: g[i].update(wrong))
            assert not all(verdict["passed"] for verdict in found.values()), row
    (found,) = changed(lambda d, g: d["gains_with_kl_penalty"]["second_round_gain"].update(ci95=[-1, 1])).values()
    assert "no gain by a second round is shown" in found["verdict"]
    (found,) = changed(lambda d, g: d.update(offsets_at_discount_1=0.1)).values()
    assert not found["passed"]
