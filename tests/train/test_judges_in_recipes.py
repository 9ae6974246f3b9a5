"""Rubrics and other judges in recipes: local, behind an endpoint, or the frozen base that the trainer lends."""

import json
import os

import pytest
from judge_server import as_server, saying, serving
from launching import SMALL, launch, logged
from limits import LIMIT
from tiny_models import PROBLEMS, ROOT, judge_model, word_tokenizer

from rewards import LocalJudge
from train.recipe_rewards import RewardArguments, build_rewards, rewards_of_recipe

CRITERIA = [{"criterion": "It has a number.", "weight": 2.0}, {"criterion": "It is rude.", "weight": -1.0}]


@pytest.fixture
def short(tmp_path):
    """A template that fits into a tiny model."""
    path = tmp_path / "short.txt"
    path.write_text("{prompt}:{response}:{criterion}?")
    return str(path)


def test_entries(saved_judge):
    local = {"name": "rubric", "model": saved_judge, "device": "cpu", "criteria": CRITERIA, "weight": 0.5}
    remote = {"name": "rubric", "as": "other", "model": "m", "endpoint": "http://h:1/v1", "concurrency": 2}
    lent = {"name": "rubric", "as": "third", "criteria_column": "rubric", "normalise": "batch"}
    entries = [local, remote | {"criteria": ["x"], "among_answers": True}, lent, {"name": "generative_verifier"}]
    first, second, third, fourth = rewards_of_recipe(json.dumps(entries))
    assert isinstance(first.func.judge, LocalJudge)
    assert first.shaping.weight == 0.5
    assert (second.name, second.func.judge.url, second.func.judge.concurrency) == ("other", "http://h:1/v1", 2)
    assert (third.func.judge, third.func.criteria_column, third.shaping.normalise) == (None, "rubric", "batch")
    assert fourth.func.judge is None
    thinking = {"chat_template_kwargs": {"enable_thinking": True}}
    judges = [r.func.judge for r in rewards_of_recipe([local | thinking, remote | thinking | {"criteria": ["x"]}])]
    assert [judge.chat_template_kwargs for judge in judges] == [{"enable_thinking": True}] * 2
    remotes = [
        {"name": f"{kind}_judge", "model": "m", "endpoint": "http://h:1/v1"} for kind in ("pointwise", "pairwise")
    ]
    assert [r.func.judge.model for r in rewards_of_recipe(remotes)] == ["m", "m"]
    settings = {"endpoint": "http://h:1/v1", "max_retries": 1, "criteria": CRITERIA, "model": "m"}
    [judge] = build_rewards(RewardArguments(rewards=[{"name": "rubric"} | settings]))
    assert (judge.func.judge.model, judge.func.judge.max_retries) == ("m", 1)


@pytest.mark.parametrize(
    "entry,message",
    [
        ({"criterias": ["x"]}, r"no criterias \(did you mean criteria"),
        ({}, "needs criteria"),
        ({"criteria": ["x"], "endpoint": "http://h:1/v1"}, "has an endpoint and no model: add the name"),
        ({"criteria": ["x"], "model": "m", "endpoint": "http://h:1/v1", "max_retry": 1}, "did you mean max_retries"),
        ({"criteria": ["x"], "model": "m", "max_retries": 1}, "max_retries: only for a judge behind an endpoint"),
        ({"criteria": ["x"], "model": "m", "endpoint": "http://h:1/v1", "device": "cpu"}, "the server's business"),
        ({"name": "accuracy", "endpoint": "http://h:1/v1"}, "accuracy has no endpoint"),
        ({"name": "trained_reward"}, "cannot be made without a model"),
    ],
)
def test_entries_that_make_no_sense(entry, message):
    with pytest.raises(ValueError, match=message):
        rewards_of_recipe([{"name": "rubric"} | entry])


def fields(model, data):
    changes = {"model_name_or_path": model, "dataset_name": data, "max_steps": 1, "save_strategy": "no"}
    return SMALL | changes | {"bf16": False, "dtype": "float32", "frozen_dtype": "float32"}


ONLY_ONE = """
import os
from rewards import Rubric

class OnlyOne(Rubric):
    def __call__(self, *args, rubric, **columns):
        own = rubric if os.environ["RANK"] == "1" else [None] * len(rubric)
        return super().__call__(*args, rubric=own, **columns)
"""


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["cpu_ddp", "cpu_zero3"])
def test_ppo_with_a_lent_and_a_local_judge_in_two_processes(
    launcher, rehearsal, saved_judge, tmp_path, short, monkeypatch
):
    """The first process has no criteria. It has to make the other's forwards all the same where weights are split."""
    (tmp_path / "my_rewards.py").write_text(ONLY_ONE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(tmp_path)]))
    data = tmp_path / "problems.jsonl"
    data.write_text(
        "".join(json.dumps(row | {"rubric": [["a"], ["a", "b"]][i % 2]}) + "\n" for i, row in enumerate(PROBLEMS))
    )
    lent = {"name": "my_rewards.OnlyOne", "template": short, "answers": ["y", "n"], "criteria_column": "rubric"}
    local = {"name": "rubric", "as": "local", "model": saved_judge, "device": "cpu", "criteria": CRITERIA}
    mix = ["endorm", lent, local]
    config, recipe = f"configs/accelerate/{launcher}.yaml", "configs/math/ppo_qwen2.5_math_7b.yaml"
    settings = fields(rehearsal, str(data)) | {"rewards": json.dumps(mix)}
    launch("ppo_endorm", recipe, tmp_path / "run", ["--config_file", config], **settings)
    metrics = {k: v for row in logged(tmp_path / "run") for k, v in row.items()}
    assert 0 < metrics["rewards/OnlyOne/mean"] < 1
    assert 0 <= metrics["rewards/local/mean"] <= 1
    assert 0 < metrics["rubric/criterion_1"] < 1


@pytest.mark.slow
def test_grpo_with_all_judges_behind_one_endpoint_in_two_processes(rehearsal, problems, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("MY_KEY", "secret-1")
    by_model = as_server(judge_model(), word_tokenizer())
    with serving(lambda body: by_model(body) if body.get("logprobs") else saying("Rating: [[6]]")) as server:
        endpoint = {"model": "tiny", "endpoint": server.url, "api_key_env": "MY_KEY", "concurrency": 2}
        endpoint["timeout_s"] = LIMIT  # a question that is asked again would be counted
        mix = [
            {"name": "rubric", "criteria": CRITERIA} | endpoint,
            {"name": "generative_verifier", "form": "prob", "reference_column": "solution"} | endpoint,
            {"name": "pointwise_judge"} | endpoint,
            {"name": "pairwise_judge"} | endpoint,
        ]
        config = ["--config_file", "configs/accelerate/cpu_ddp.yaml"]
        sizes = {"rewards": json.dumps(mix), "num_generations": 4, "per_device_train_batch_size": 2}
        recipe = "configs/math/grpo_qwen2.5_math_7b.yaml"
        settings = fields(rehearsal, problems) | sizes
        done = launch("grpo_endorm", recipe, tmp_path / "run", config, **settings)
    metrics = {k: v for row in logged(tmp_path / "run") for k, v in row.items()}
    # two processes with four responses each: 2 criteria, 1 verdict, 1 mark, 12 questions on pairs
    assert len(server.requests) == 2 * 4 * (2 + 1 + 1) + 2 * 12
    assert server.most <= 4
    assert metrics["rewards/pointwise_judge/mean"] == 6
    assert metrics["rewards/pairwise_judge/mean"] == 0.5
    assert metrics["rubric/failed"] == metrics["pairwise_judge/failed"] == 0
    assert 0 <= metrics["rewards/rubric/mean"] <= 1
    assert 0 < metrics["rewards/generative_verifier/mean"] < 1
    written = [path.read_text() for path in (tmp_path / "run").rglob("*.json*")]
    assert "secret-1" not in "".join([done.stdout, done.stderr, *written])
