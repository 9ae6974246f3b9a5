"""Rewards of a recipe with settings and shaping of their own, and what PPO and GRPO learn from of them."""

import json
import math
from functools import partial

import pytest
import shaping_worker
import torch
from helpers import PROMPTS, capture, grpo, history, length, ppo, trained
from launching import torchrun

from rewards import EndoRM, Shaping, StepReward
from train.recipe_rewards import rewards_of_recipe
from train.reward_mix import RewardMix, ShapedReward


def second_half(completion_ids, **_):
    """1 where the response's last id is in the upper half, None in one case."""
    return [None if ids[0] % 7 == 0 else float(ids[-1] >= 48) for ids in completion_ids]


# ---------------------------------------------------------------------- mixes


def test_the_gate_of_a_label_by_its_format():
    endorm = {"name": "endorm", "weight": 1.0, "discount": 1.0, "normalise": "group", "clip": 5}
    accuracy = {"name": "accuracy", "weight": 0.5, "gate": "boxed", "anneal": [0.0, 1.0, 100]}
    mix = RewardMix(rewards_of_recipe([endorm, accuracy]), None, 2)
    assert mix.names == ["endorm", "accuracy", "boxed"]
    # a right answer outside a box does not apply, a wrong one in a box is 0
    raw = torch.tensor([[-4.0, 1.0, 0.0], [-2.0, 1.0, 1.0], [-3.0, 0.0, 1.0], [-3.0, 1.0, 1.0]])
    shaped, _ = mix(raw, {}, torch.tensor([5, 5, 5, 5]), 2, True)
    expected = [[-1.0, math.nan, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 1.0], [0.0, 1.0, 1.0]]
    torch.testing.assert_close(shaped, torch.tensor(expected), equal_nan=True)
    assert mix.weights(50).tolist() == [1.0, 0.25, 0.0]


def test_mixes_that_make_no_sense():
    with pytest.raises(ValueError, match="leave reward_weights out"):
        RewardMix([ShapedReward(length)], [1.0], 4)
    with pytest.raises(ValueError, match="Two rewards are called length: .* as: length_2"):
        RewardMix([ShapedReward(length), length], None, 4)
    with pytest.raises(ValueError, match=r"gate of length is no reward of this mix: ling \(did you mean length"):
        RewardMix([ShapedReward(length, Shaping(gate="ling"))], None, 4)
    with pytest.raises(ValueError, match="sees one a prompt: raise num_generations"):
        RewardMix([ShapedReward(length, Shaping(normalise="group"))], None, 1)


# ---------------------------------------------------------------------- trainers


def three(**first):
    """A dense reward, one of growing weight that counts where the third is above 0, and that one."""
    return [
        ShapedReward(EndoRM(), Shaping(**({"normalise": "running", "clip": 1.0} | first))),
        ShapedReward(partial(length, scale=2.0), Shaping(weight=3.0, gate="passes", anneal=[0.0, 1.0, 4])),
        ShapedReward(second_half, Shaping(weight=0.5), "passes"),
    ]


def test_ppo_gets_scaled_and_clipped_tokens_and_the_gated_reward_on_the_last(saved_model, tmp_path):
    rewards = three(weight=0.5)
    rewards[1].shaping.anneal = None
    trainer = ppo(saved_model, tmp_path, rewards, kl_coef=0.0, max_steps=1)
    seen = capture(trainer)
    plain = EndoRM(seen["scores"][0].base, eos_token_ids=[2])
    rows = plain.per_token([None] * 8, [None] * 8, seen["ids"], frozen_scores=seen["scores"])
    std = torch.stack([r.sum() for r in rows]).std(unbiased=False)
    lengths = length(seen["ids"], 2.0)
    passes = torch.tensor([math.nan if x is None else x for x in second_half(seen["ids"])])
    assert 0 < (passes > 0).sum() < 8
    for i, row in enumerate(rows):
        expected = 0.5 * (row / std).clamp(-1, 1)
        expected[-1] += (3.0 * lengths[i] if passes[i] > 0 else 0.0) + 0.5 * passes[i].nan_to_num()
        torch.testing.assert_close(seen["rewards"][i, : len(row)], expected, atol=1e-4, rtol=1e-4)
        assert not seen["rewards"][i, len(row) :].any()
    assert history(trainer, "rewards/endorm/mean")[0] == pytest.approx(sum(float(r.sum()) for r in rows) / 8, rel=1e-4)


def test_the_critic_starts_from_the_soft_value_only_where_its_reward_is_unshaped(saved_model, tmp_path):
    expected = {"clip": 0.0, "anneal": 0.7, "steps": 0.0}
    rewards = {
        "clip": ShapedReward(EndoRM(), Shaping(clip=1.0)),
        "anneal": ShapedReward(EndoRM(), Shaping(anneal=[0.7, 0.0, 9])),
        "steps": ShapedReward(StepReward(EndoRM())),
    }
    for name, reward in rewards.items():
        trainer = ppo(saved_model, tmp_path, [length, reward])
        assert trainer.critic.critic.coefficient.item() == pytest.approx(expected[name])


@pytest.mark.parametrize(
    "settings,placement,expected",
    [
        ({}, "dense", 1.0),
        ({"alpha": 0.5}, "dense", 1.0),
        ({"discount": 0.9}, "dense", 0.0),
        ({"form": "logprob"}, "dense", 0.0),
        ({"reduce": "mean"}, "dense", 0.0),
        ({}, "terminal", 0.0),
    ],
)
def test_the_critic_starts_from_the_soft_value_only_where_returns_telescope(
    settings, placement, expected, saved_model, tmp_path
):
    trainer = ppo(saved_model, tmp_path, [EndoRM(**settings)], reward_placement=placement)
    assert trainer.critic.critic.coefficient.item() == expected


def test_an_unshaped_endorm_in_a_mix_is_the_endorm_alone(saved_model, tmp_path):
    alone = trained(ppo(saved_model, tmp_path / "a", [EndoRM()], max_steps=4))
    mixed = trained(ppo(saved_model, tmp_path / "b", [ShapedReward(EndoRM())], max_steps=4))
    for key in ("loss", "reward", "critic/loss", "rewards/endorm/mean", "rewards/endorm/std"):
        assert history(mixed, key) == history(alone, key)
    assert not history(mixed, "rewards/endorm/shaped_mean")


@pytest.mark.parametrize("algorithm", [ppo, grpo])
def test_weights_follow_the_steps_and_both_means_are_logged(algorithm, saved_model, tmp_path):
    trainer = algorithm(saved_model, tmp_path, rewards=three(length_control=True), max_steps=6)
    totals = []
    real = trainer._calculate_rewards

    def keep(*args):
        totals.append((real(*args), trainer.rollout.raw_rewards, trainer.reward_weights.clone()))
        return totals[-1][0]

    trainer._calculate_rewards = keep
    trainer.train()
    assert history(trainer, "rewards/length/weight") == pytest.approx([0.0, 1.5, 3.0])  # rollouts at steps 0, 2, 4
    assert [w.tolist() for _, _, w in totals] == [[1.0, 0.0, 0.5], [1.0, 1.5, 0.5], [1.0, 3.0, 0.5]]
    rewards = [(s * w).nansum(1).mean().item() for s, _, w in totals]
    assert history(trainer, "reward") == pytest.approx(rewards, abs=1e-5)
    for i, name in enumerate(("endorm", "length", "passes")):
        assert history(trainer, f"rewards/{name}/mean") == pytest.approx(
            [r[:, i].nanmean().item() for _, r, _ in totals]
        )
    assert history(trainer, "rewards/endorm/shaped_mean") == pytest.approx(
        [s[:, 0].nanmean().item() for s, _, _ in totals], abs=1e-6
    )
    assert len(history(trainer, "rewards/endorm/length_slope")) == 3
    for shaped, raw, _ in totals:
        assert torch.equal(shaped[:, 1].isnan(), ~(raw[:, 2] > 0))
    assert list(trainer._logs["rewards"]["length"]) == totals[-1][1][:, 1].tolist()


def watch_rewards(trainer):
    """The shaped rewards of the last rollout and the ids that they are of, as the trainer goes on."""
    real, seen = trainer._calculate_rewards, {}

    def keep(*args):
        seen["shaped"], seen["ids"] = real(*args), args[3]
        return seen["shaped"]

    trainer._calculate_rewards = keep
    return seen


def test_grpo_group_normalisation_is_that_of_each_groups_responses(saved_model, tmp_path):
    trainer = grpo(saved_model, tmp_path, rewards=[ShapedReward(length, Shaping(normalise="group"))], max_steps=1)
    seen = watch_rewards(trainer)
    trainer.train()
    groups = torch.tensor(length(seen["ids"])).view(-1, 4)
    std = groups.std(1, keepdim=True, unbiased=False)
    expected = torch.where(std > 0, (groups - groups.mean(1, keepdim=True)) / std, 0.0)
    torch.testing.assert_close(seen["shaped"].view(-1, 4), expected)


def test_an_evaluations_groups_are_its_own(saved_model, tmp_path):
    """Four responses a prompt in training, two in evaluation."""

    def remainder(completion_ids, **_):
        return [float(sum(ids) % 7) for ids in completion_ids]

    trainer = grpo(
        saved_model,
        tmp_path,
        rewards=[ShapedReward(remainder, Shaping(normalise="group"))],
        trainer_kwargs={"eval_dataset": PROMPTS.select(range(4))},
        num_generations_eval=2,
        per_device_eval_batch_size=8,
    )
    seen = watch_rewards(trainer)
    trainer.evaluate()
    groups = torch.tensor(remainder(seen["ids"])).view(-1, 2)
    expected = (groups[:, 0] - groups[:, 1]).sign()  # of two that differ one is at +1 and one at -1
    assert bool(expected.any())
    torch.testing.assert_close(seen["shaped"].view(-1, 2), torch.stack([expected, -expected], dim=1))


@pytest.mark.parametrize("algorithm", [ppo, grpo])
def test_three_endorms_share_one_frozen_forward_a_rollout(algorithm, saved_model, tmp_path):
    entries = [
        {"name": "endorm", "discount": 0.9, "normalise": "running"},
        {"name": "endorm", "as": "cool", "alpha": 0.5, "reduce": "mean", "weight": 0.3, "length_control": True},
        {"name": "endorm", "as": "by_step", "alpha": 2.0, "form": "logprob", "steps": "step", "step_reduce": "min"},
    ]
    trainer = trained(algorithm(saved_model, tmp_path, rewards=rewards_of_recipe(entries), max_steps=4))
    assert trainer.frozen_base.forwards == 2  # two rollouts of two updates
    assert trainer.alphas == (1.0, 0.5, 2.0)
    means = [history(trainer, f"rewards/{name}/mean")[0] for name in ("endorm", "cool", "by_step")]
    assert len(set(means)) == 3
    assert all(math.isfinite(x) for key in ("loss", "reward") for x in history(trainer, key))


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [ppo, grpo])
def test_running_statistics_survive_a_checkpoint(algorithm, saved_model, tmp_path):
    settings = {"save_strategy": "steps", "save_steps": 3, "max_steps": 6}
    whole = trained(algorithm(saved_model, tmp_path / "whole", rewards=three(), **settings))
    resumed = algorithm(saved_model, tmp_path / "resumed", rewards=three(), **settings)
    checkpoint = str(tmp_path / "whole" / "checkpoint-3")
    resumed.train(resume_from_checkpoint=checkpoint)
    assert resumed.mix.state_dict() == whole.mix.state_dict()
    assert resumed.mix.state_dict()["endorm"]["count"] == 3 * 8
    for key in ("loss", "reward", "rewards/endorm/shaped_mean", "rewards/length/weight"):
        assert history(resumed, key) == pytest.approx(history(whole, key), abs=1e-6)
    other = [ShapedReward(length, Shaping(normalise="running"))]
    with pytest.raises(ValueError, match="no running statistics of length"):
        algorithm(saved_model, tmp_path / "other", rewards=other, **settings).train(resume_from_checkpoint=checkpoint)


@pytest.mark.slow
def test_two_processes_shape_as_one(saved_model, tmp_path):
    shaping_worker.main(saved_model, str(tmp_path))  # in this process alone
    torchrun("shaping_worker.py", saved_model, tmp_path)
    one, first, second = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("0_of_1", "0_of_2", "1_of_2"))
    assert one["state"] == first["state"] == second["state"]
    for whole, a, b in zip(one["rounds"], first["rounds"], second["rounds"]):
        assert repr(whole["shaped"]) == repr(a["shaped"]) == repr(b["shaped"])  # to the bit, NaN alike
        assert repr(whole["tokens"]) == repr(a["tokens"] + b["tokens"])
    assert not math.isnan(one["rounds"][1]["tokens"][4][0])
