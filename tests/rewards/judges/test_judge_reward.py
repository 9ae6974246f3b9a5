"""Rewards by generative judges with a judge of a model's or endpoint's name."""

import copy

import pytest
import torch
from helpers import grpo, history, ppo, trained
from peft import LoraConfig
from tiny_models import judge_model, word_tokenizer

from rewards import FrozenBase, GenerativeVerifier, LocalJudge, PairwiseJudge, PointwiseJudge, Rubric


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_from_pretrained_with_an_endpoint():
    judge = Rubric.from_pretrained(
        "a/b", endpoint="http://host:1/v1", concurrency=3, criteria=["x"], among_answers=True
    )
    assert (judge.judge.model, judge.judge.url, judge.judge.concurrency) == ("a/b", "http://host:1/v1", 3)
    assert judge.among_answers
    assert judge.base is judge.tokenizer is judge.max_positions is None
    with pytest.raises(ValueError, match="concurrency, timeout_s: only for a judge behind an endpoint"):
        PairwiseJudge.from_pretrained("a/b", timeout_s=1.0, concurrency=3)
    with pytest.raises(ValueError, match="are the server's business"):
        PointwiseJudge.from_pretrained("a/b", endpoint="http://host:1/v1", dtype="bfloat16")


JUDGES = {
    "verifier": lambda **how: GenerativeVerifier(**how),
    "rubric": lambda **how: Rubric(criteria=["It is short.", "It is right."], **how),
}


def renamed(reward, name):
    reward.__name__ = name
    return reward


def policy_now(trainer):
    """The policy as it stands, as one model with plain weights."""
    policy = copy.deepcopy(trainer.accelerator.unwrap_model(trainer.model))
    return policy.merge_and_unload() if hasattr(policy, "merge_and_unload") else policy


@pytest.mark.slow
@pytest.mark.parametrize("make", JUDGES.values(), ids=JUDGES)
@pytest.mark.parametrize("algorithm, lora", [(ppo, False), (grpo, False), (grpo, True)])
def test_the_policy_judges_itself_as_it_stands(make, algorithm, lora, saved_judge, tmp_path):
    frozen, online = renamed(make(), "frozen"), renamed(make(online=True), "online")
    truth = []

    def watch(prompts, completions, **_):
        judge = make(base=FrozenBase(policy_now(trainer)), tokenizer=word_tokenizer())
        truth.append(sum(judge.score(prompts, completions)) / len(prompts))
        assert trainer.model.training
        return [0.0] * len(prompts)

    kwargs = {"processing_class": word_tokenizer()}
    kwargs |= {"peft_config": LoraConfig(r=4, target_modules="all-linear")} if lora else {}
    settings = {"max_steps": 6, "learning_rate": 0.02}
    rewards = [frozen, online, watch]
    trainer = algorithm(saved_judge, tmp_path, rewards=rewards, trainer_kwargs=kwargs, **settings)
    trainer.train()
    of_frozen, of_online = (history(trainer, f"rewards/{name}/mean") for name in ("frozen", "online"))
    assert of_online == pytest.approx(truth, rel=1e-3, abs=1e-4)
    assert of_online[0] == pytest.approx(of_frozen[0], rel=1e-4)  # the policy is still its base
    assert abs(of_online[-1] - of_frozen[-1]) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("lora", [False, True])
def test_a_judge_that_writes_is_the_frozen_base_or_the_policy(lora, saved_judge, tmp_path):
    frozen, online = (PointwiseJudge(max_new_tokens=8, online=on) for on in (False, True))
    online.__name__ = "online"
    seen = []

    def watch(prompts, completions, **_):
        questions = [{"prompt": p, "response": r} for p, r in zip(prompts, completions)]
        judges = frozen.judge, LocalJudge(judge_model(), word_tokenizer())
        judges += online.judge, LocalJudge(policy_now(trainer), word_tokenizer())
        seen.append([judge.write(frozen.template, questions, 8) for judge in judges])
        assert trainer.model.training
        return [float(len(c)) for c in completions]

    kwargs = {"processing_class": word_tokenizer()}
    kwargs |= {"peft_config": LoraConfig(r=4, target_modules="all-linear")} if lora else {}
    settings = {"max_steps": 6, "learning_rate": 0.05}
    trainer = grpo(saved_judge, tmp_path, rewards=[frozen, online, watch], trainer_kwargs=kwargs, **settings)
    trained(trainer)
    for of_base, base, of_policy, policy in seen:
        assert of_base == base
        assert of_policy == policy
    assert seen[-1][0] != seen[-1][2]


def test_online_is_for_the_policy_alone(saved_judge):
    with pytest.raises(ValueError, match="online means that the policy judges itself: leave model and endpoint out"):
        GenerativeVerifier.from_pretrained(saved_judge, device="cpu", online=True)
    with pytest.raises(ValueError, match="online means"):
        PointwiseJudge.from_pretrained("a/b", endpoint="http://host:1/v1", online=True)
    with pytest.raises(ValueError, match="has no judge: .* or, with online, the policy"):
        Rubric(online=True, criteria=["x"]).score(["a"], ["b"])


def test_sharded_weights_do_not_write():
    model = judge_model()
    next(model.parameters()).ds_id = 0
    judge = PointwiseJudge(FrozenBase(model), word_tokenizer())
    with pytest.raises(ValueError, match="A judge that writes needs whole weights"):
        judge.score(["a"], ["b"])
    del next(model.parameters()).ds_id
    model.train()
    with torch.no_grad(), judge.base.writing() as same:
        assert same is model
        assert not model.training
    assert model.training
