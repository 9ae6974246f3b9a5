"""Runs in which the policy judges or asks itself are recipes that the trainers take; their table says what the files
say."""

import json
import re
from argparse import Namespace

import pytest
import yaml
from tiny_models import ROOT, judge_model, word_tokenizer

from scripts import load_script
from train.grpo_trainer import EndoGRPOConfig
from train.tasks.capitals import CAPITALS, is_correct, question_of, split_countries
from train.tasks.chat_evaluation import accuracy
from train.tasks.chat_runs import STEPS

experiment = load_script("self_rewarding")


def test_rows_differ_in_who_judges_or_who_asks():
    runs = experiment.RUNS
    assert all(set(run.fields) <= set(EndoGRPOConfig.__dataclass_fields__) for run in runs.values())
    frozen, own = runs["frozen judge"], runs["policy as judge"]
    assert [{**reward, "online": True} for reward in frozen.rewards] == own.rewards
    assert frozen.fields == own.fields
    given, proposed = runs["given problems"], runs["problems of its own"]
    assert given.rewards == proposed.rewards
    assert {**given.fields, "own_problems": experiment.PATTERN} == proposed.fields


def test_judges_that_write_are_the_base_or_the_one_of_the_seed(tmp_path):
    runs = experiment.RUNS
    args = Namespace(model=tmp_path / "base", judges=tmp_path / "judges", output=tmp_path)
    with pytest.raises(SystemExit, match="grpo_seed2 holds no model.*train_judge.py"):
        experiment.with_judge(runs["trained judge that reasons"], args, 2)
    for name, folder in (("frozen", args.model), ("trained", args.judges / "grpo_seed2")):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        run = runs[f"{name} judge that reasons"]
        (reward,) = experiment.with_judge(run, args, 2).rewards
        assert reward == {**run.rewards[0], "model": str(folder), "template": str(tmp_path / "template.json")}
    assert experiment.with_judge(runs["frozen judge"], args, 2) is runs["frozen judge"]


def test_the_recipe_is_the_row():
    recipe = yaml.safe_load((ROOT / "configs/demo/own_problems_grpo.yaml").read_text())
    assert {key: recipe[key] for key in ("own_problems", "dynamic_sampling", "eval_steps")} == {
        **experiment.RUNS["problems of its own"].fields
    }
    assert recipe["max_steps"] == 4 * STEPS  # rollouts of the results
    assert all(re.fullmatch(recipe["own_problems"], question_of(country)) for country in CAPITALS)


def test_pairs_are_of_held_out_questions_with_one_right_answer():
    countries = split_countries()[1]
    pairs = experiment.pairs(countries)
    assert pairs == experiment.pairs(countries)
    assert [question for question, _, _ in pairs] == [question_of(c) for c in countries for _ in range(2)]
    assert all(is_correct(question, right) and not is_correct(question, wrong) for question, right, wrong in pairs)


@pytest.mark.slow
def test_a_judges_accuracy_and_the_files(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "split_countries", lambda: ([], ["Peru", "Chile", "France"]))
    run = {"name": "policy as judge", "seed": 1}
    folder = tmp_path / "capitals_policy_as_judge_seed1"
    for part in ("policy", "runs"):
        ((folder if part == "policy" else tmp_path) / part).mkdir(parents=True)
    judge_model().save_pretrained(folder / "policy")
    word_tokenizer().save_pretrained(folder / "policy")
    (folder / "log.txt").write_text("WARNING:train.watches:Step 8, watch repetition: 0.4 of the 4-grams repeat\n")
    judged = experiment.judged(run, tmp_path, folder / "policy")
    assert judged["watches"] == [("8", "repetition")]
    assert 0 <= judged["judge"]["accuracy"] <= 1
    assert len(judged["judge"]["per_question"]) == 3
    assert not list((folder / "policy").glob("*.safetensors"))  # half a gigabyte of a real one
    written = json.loads((tmp_path / "runs/capitals_policy_as_judge_seed1.json").read_text())
    assert written["judge"] == judged["judge"]


def test_the_table_names_gains_collapses_and_watches():
    def run(name, sampled, judge=None, **more):
        cells = [{"decoding": "sampled", "mean_tokens": 9.0, "ended": 1.0} | accuracy(sampled)]
        cells.append({"decoding": "greedy"} | accuracy([0.5] * len(sampled)))
        own = {"judge": {"accuracy": judge, "ci95": [judge - 0.1, judge + 0.1]}} if judge else {}
        return {"name": name, "seed": 0, "heldout": cells} | own | more

    files = [run("base", [0.2] * 4), run("frozen judge", [0.6] * 4, 0.625, watches=[])]
    files.append(run("policy as judge", [0.0] * 4, 0.5, watches=[["8", "repetition"], ["12", "length"]]))
    files += [run("trained judge that reasons", [0.4] * 4, seed=s, paid_by={"accuracy": 0.5 + s / 4}) for s in (1, 0)]
    files.append(run("base", [0.2] * 4, seed=1))
    lines = experiment.table(files, {"accuracy": 0.75, "ci95": [0.7, 0.8]}).splitlines()
    assert len(lines) == 6
    assert "| 0.500, 0.750 |" in re.sub(" +", " ", lines[5])
    assert all(text in lines[2] for text in ("base", "0.750 (0.700 to 0.800)"))
    assert all(text in lines[3] for text in ("frozen judge", "+0.400", "0.625 (0.525 to 0.725)", "gain"))
    assert all(text in lines[4] for text in ("policy as judge", "collapse: wrong answers", "length, repetition"))
