"""The report on folders with known numbers: differences by hand, sentences that follow them, bad input."""

import json
import math

import numpy as np
import pytest
from evaluations import SIZES, evaluation_folder, right, rollouts, training_folder
from scipy.stats import bootstrap
from table_cells import cells

from scripts import load_script
from train.evaluation.differences import collapse_signs
from train.evaluation.folders import read_run

DRAWS = 2000


@pytest.fixture(scope="module")
def report():
    module = load_script("report")

    def main(folder, *places):
        module.main([*map(str, places), "--output", str(folder), "--draws", str(DRAWS)])
        return json.loads((folder / "report.json").read_text()), (folder / "report.md").read_text()

    return main


def test_paired_differences_are_those_of_an_independent_computation(report, tmp_path):
    base, policy = right(0.4), right(0.5, seed=1)
    shuffled = np.random.default_rng(0).permutation(40)
    evaluation_folder(tmp_path / "b", {"amc23": base["amc23"]}, "base", order=shuffled)
    evaluation_folder(tmp_path / "p", {"amc23": policy["amc23"]}, "rl")
    facts, _ = report(tmp_path / "o", f"base={tmp_path / 'b'}", f"policy={tmp_path / 'p'}")
    difference = policy["amc23"].mean(axis=1) - base["amc23"].mean(axis=1)
    cell = facts["policy_minus"]["base"]["amc23"]
    assert cell["value"] == pytest.approx(difference.mean())
    expected = bootstrap((difference,), np.mean, n_resamples=5000, method="percentile", rng=1).confidence_interval
    # the interval is widened for the 40 problems by sqrt(40/39) and by Student's instead of the normal tail
    widened = (cell["high"] - cell["low"]) / (expected.high - expected.low)
    assert widened == pytest.approx(math.sqrt(40 / 39) * 2.0227 / 1.96, abs=0.06)
    majority = policy["amc23"].mean(axis=1) - (base["amc23"].mean(axis=1) > 0.5)
    assert facts["policy_minus"]["majority"]["amc23"]["value"] == pytest.approx(majority.mean())
    assert facts["responses_policy_minus_base"]["tokens"]["amc23"]["value"] == 0


def test_the_average_is_over_benchmarks(report, tmp_path):
    base, policy = right(0.4), right(0.5, seed=1)
    evaluation_folder(tmp_path / "b", base, "base")
    evaluation_folder(tmp_path / "p", policy, "rl")
    facts, page = report(tmp_path / "o", f"base={tmp_path / 'b'}", f"policy={tmp_path / 'p'}")
    by_hand = [policy[b].mean() - base[b].mean() for b in SIZES]
    assert facts["policy_minus"]["base"]["average"]["value"] == pytest.approx(np.mean(by_hand))
    rows = cells(page)
    assert ["base, as the paper has it", "not stated", "19.0", "42.3", "63.0", "12.1", "28.4", "33.0"] in rows
    assert ["EndoRM RL, as the paper has it", "not stated", "20.4", "49.4", "67.4", "22.8", "34.2", "38.8"] in rows
    row = next(row for row in rows if row[0] == "policy: rl" and row[1].startswith("avg@4"))
    assert row[2] == "–"  # no AIME24 was evaluated, so there is no average to set beside the paper's
    assert row[7] == "–"
    assert row[4].startswith(f"{100 * policy['math500'].mean():.1f} (")


def compared(report, tmp_path, policy, **roles):
    """Sentences on a policy with this accuracy beside roles with theirs; greedy roles have one sample."""
    places = [f"policy={evaluation_folder(tmp_path / 'policy', right(policy, seed=9), 'rl')}"]
    for i, (role, rate) in enumerate(roles.items()):
        model = "base" if role in ("base", "greedy", "low_temperature") else role
        settings = {"temperature": 0.3} if role == "low_temperature" else {}
        answers = right(rate, samples=1 if role == "greedy" else 4, seed=i)
        places.append(f"{role}={evaluation_folder(tmp_path / role, answers, model, **settings)}")
    facts, page = report(tmp_path / "o", *places)
    assert all(line in page for line in facts["conclusions"])
    return facts["conclusions"]


def test_sharpening(report, tmp_path):
    said = compared(
        report, tmp_path, 0.5, base=0.3, greedy=0.5, low_temperature=0.3, random=0.3, format=0.5, labels=0.8
    )
    assert said[0].startswith("Self-improvement is shown: the policy is above the sampled base (+")
    assert said[1].startswith("Sharpening, not new ability, is all that is shown: no gain over the greedy base (")
    assert any(line.startswith("The policy is above the random-reward run") for line in said)
    credit = [line for line in said if "can't be credited" in line]
    assert len(credit) == 1
    assert credit[0].startswith("No gain is shown over the format-reward run")
    assert any(line.startswith("The policy is below the label-reward run") for line in said)
    assert not any("was given" in line for line in said)


def test_a_gain_over_every_control(report, tmp_path):
    said = compared(report, tmp_path, 0.8, base=0.2, greedy=0.3, low_temperature=0.25)
    assert said[1].startswith("Not only sharpening: a gain is shown over the greedy base (+")
    assert "No random-reward run was given: a gain that it would give too can't be ruled out." in said
    assert "No format-reward run was given: a gain that it would give too can't be ruled out." in said
    assert sum("was given" in line for line in said) == 3


@pytest.mark.parametrize(
    "base, begins", [(0.4, "No difference is shown between"), (0.7, "The policy is worse than the sampled base (-")]
)
def test_no_gain_is_not_claimed(report, tmp_path, base, begins):
    said = compared(report, tmp_path, 0.4, base=base)
    assert said[0].startswith(begins)
    assert not any("improvement" in line or "harpening" in line for line in said)
    assert any(line.startswith("No greedy base was given") for line in said)


def test_only_an_interval_without_zero_is_a_gain(report, tmp_path):
    one = {"amc23": np.ones((1, 4), dtype=bool)}
    evaluation_folder(tmp_path / "p", one, "rl")
    evaluation_folder(tmp_path / "b", {"amc23": ~one["amc23"]}, "base")
    facts, page = report(tmp_path / "o", f"base={tmp_path / 'b'}", f"policy={tmp_path / 'p'}")
    assert facts["policy_minus"]["base"]["amc23"] == {"value": 1, "low": None, "high": None, "problems": 1}
    assert facts["conclusions"][0].startswith("No difference is shown")
    assert "Fewer than 6 problems can show nothing: AMC has 1." in page


def test_differences_in_settings_are_told(report, tmp_path):
    evaluation_folder(tmp_path / "p", right(0.8), "rl", max_tokens=2048)
    evaluation_folder(tmp_path / "b", right(0.2), "base", max_tokens=1024)
    evaluation_folder(tmp_path / "g", right(0.2, samples=1), "another", max_tokens=2048)
    places = [f"{role}={tmp_path / role[0]}" for role in ("policy", "base", "greedy")]
    said = report(tmp_path / "o", *places)[0]["conclusions"]
    assert said[0].startswith("The policy is above the sampled base")  # but not: self-improvement is shown
    told = [line for line in said if line.startswith("Not evaluated alike")]
    assert told[0].endswith("sampled base, max_tokens is 1024, the policy's 2048.")
    assert told[1].endswith("greedy base, its model is /weights/another, the sampled base's /weights/base.")


def test_benchmarks_that_one_lacks_are_left_out(report, tmp_path):
    evaluation_folder(tmp_path / "p", right(0.5), "rl")
    evaluation_folder(tmp_path / "b", {"math500": right(0.4)["math500"]}, "base")
    facts, page = report(tmp_path / "o", f"base={tmp_path / 'b'}", f"policy={tmp_path / 'p'}")
    assert list(facts["policy_minus"]["base"]) == ["math500"]
    assert "AMC is left out: not evaluated for sampled base." in page


def test_a_run_and_its_collapse(report, tmp_path):
    rows = rollouts(length=10) + [
        {"step": 9, "eval_rewards/accuracy/mean": 0.8},
        {"step": 10, "eval_rewards/accuracy/mean": 0.6},
    ]
    rows += [{"step": 7, "loss": math.nan}]
    watches = [{"step": 5, "watch": "length", "message": "responses have 55.0 tokens, 100.0 at the start"}]
    bad = training_folder(tmp_path / "bad", rows, watches)
    good = training_folder(tmp_path / "good", rollouts())
    facts, page = report(tmp_path / "o", bad, good)
    signs = facts["collapse_signs"]
    assert signs[str(good)] == []
    assert signs[str(bad)] == [
        "loss was not finite at 1 logged steps, first at 7",
        "responses have 19.0 tokens, 91.0 at the start",
        "eval_rewards/accuracy/mean fell from 0.800 (step 9) to 0.600 while the reward rose",
    ]
    assert "- Step 5, watch length: responses have 55.0 tokens, 100.0 at the start." in page
    assert "There is no watches.jsonl" in page
    assert "train/ppo_endorm.py" in page
    assert (tmp_path / "o" / "training.png").read_bytes().startswith(b"\x89PNG")
    assert facts["conclusions"][0] == "No policy was given: nothing can be said of a trained model."


def test_figures_checkpoints_and_provenance(report, tmp_path):
    folder = evaluation_folder(tmp_path / "p", right(0.5), "checkpoint-10")
    facts = json.loads((folder / "results.json").read_text())
    for part in ("models", "results", "per_problem"):
        facts[part]["checkpoint-20"] = facts[part]["checkpoint-10"]
    (folder / "results.json").write_text(json.dumps(facts))
    evaluation_folder(tmp_path / "b", right(0.3), "base")
    with pytest.raises(SystemExit, match="several models: say policy=.*@ and one of checkpoint-10, checkpoint-20"):
        report(tmp_path / "o", f"policy={folder}")
    _, page = report(tmp_path / "o", f"policy={folder}@checkpoint-20", f"base={tmp_path / 'b'}", folder)
    assert (tmp_path / "o" / "differences.png").read_bytes().startswith(b"\x89PNG")
    for part in (
        "policy: checkpoint-20",
        f"{folder}: checkpoint-10",
        "abc123",
        "torch 2",
        "scripts/eval_math.py --output",
    ):
        assert part in page


def test_trainer_state_stands_in_for_metrics(tmp_path):
    state = {"log_history": rollouts(length=300), "best_model_checkpoint": "checkpoint-4"}
    (tmp_path / "trainer_state.json").write_text(json.dumps(state))
    run = read_run(tmp_path)
    assert run.best == "checkpoint-4"
    assert collapse_signs(run) == ["responses have 280.0 tokens, 120.0 at the start"]


def test_input_that_cannot_work(report, tmp_path):
    p = evaluation_folder(tmp_path / "p", right(0.5), "rl")
    other = evaluation_folder(tmp_path / "other", right(0.5, {"amc23": 38, "math500": 200}), "base")
    with pytest.raises(
        SystemExit, match=r"amc23: not the same problems, 2 only in policy: rl \(such as amc23/38\) and 0"
    ):
        report(tmp_path / "o", f"policy={p}", f"base={other}")
    gsm8k = evaluation_folder(tmp_path / "gsm8k", right(0.5, {"gsm8k": 30}), "base")
    with pytest.raises(SystemExit, match="policy: amc23, math500; base: gsm8k"):
        report(tmp_path / "o", f"policy={p}", f"base={gsm8k}")
    with pytest.raises(SystemExit, match="--temperature 0"):
        report(tmp_path / "o", f"greedy={p}")
    with pytest.raises(SystemExit, match="lower temperature than base="):
        report(tmp_path / "o", f"low_temperature={p}", f"base={p}")
    with pytest.raises(SystemExit, match="'bsae' is none of policy, base"):
        report(tmp_path / "o", f"bsae={p}")
    with pytest.raises(SystemExit, match="given twice"):
        report(tmp_path / "o", f"base={p}", f"base={p}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="no metrics.jsonl or trainer_state.json"):
        report(tmp_path / "o", tmp_path / "empty")
    with pytest.raises(SystemExit, match="no results.json"):
        report(tmp_path / "o", f"base={tmp_path / 'empty'}")
    (tmp_path / "empty" / "results.json").write_text("{}")
    with pytest.raises(SystemExit, match="not a result of scripts/eval_math.py"):
        report(tmp_path / "o", tmp_path / "empty")
    cut = training_folder(tmp_path / "cut", rollouts())
    (cut / "metrics.jsonl").write_text((cut / "metrics.jsonl").read_text() + '{"step": 1')
    with pytest.raises(SystemExit, match="line 12 is no JSON"):
        report(tmp_path / "o", cut)
