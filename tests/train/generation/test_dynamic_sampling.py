"""Groups whose rewards are all equal give way to groups of other prompts, as often as the recipe allows."""

import json

import pytest
import torch
from helpers import COMMON, PROMPTS, history, ppo, trained
from launching import SMALL, launch_script, logged
from tiny_models import ROOT, tiny_tokenizer
from vllm_stand_in import Engine, put_in_place

from rewards import EndoRM, Shaping
from train.generation.dynamic_sampling import asks_no_model, without_spread
from train.grpo_trainer import EndoGRPOConfig, EndoGRPOTrainer
from train.reward_mix import ShapedReward

EASY = set(PROMPTS["prompt"][::2])  # prompts to which every response is right


def parity(prompts, completions, completion_ids, **_):
    """Few values: 1 for easy prompts, else whether a response has an odd sum of ids."""
    return [1.0 if p in EASY else float(sum(ids) % 2) for p, ids in zip(prompts, completion_ids)]


def hopeless(prompts, **_):
    return [0.0] * len(prompts)


def grpo(model, folder, reward=parity, tries=4, **changes):
    settings = COMMON | {"max_steps": 2, "num_generations": 4, "dynamic_sampling": tries} | changes
    args = EndoGRPOConfig(output_dir=str(folder), **settings)
    kwargs = {"train_dataset": PROMPTS, "processing_class": tiny_tokenizer()}
    return EndoGRPOTrainer(model, [reward, EndoRM()], args, **kwargs)


def rollouts(trainer, monkeypatch):
    """Every rollout of a training, with the rows that it was made of."""
    seen = []
    score = trainer._calculate_rewards

    def keep(inputs, prompts, completions, ids):
        result = score(inputs, prompts, completions, ids)
        seen.append((inputs, prompts, ids, trainer.rollout.raw_rewards[:, 0].tolist()))
        return result

    monkeypatch.setattr(trainer, "_calculate_rewards", keep)
    trainer.train()
    return seen


def test_what_a_spread_is():
    nan = float("nan")
    totals = torch.tensor([0.0, 0.0, 1.0, 0.0, 1.0, 1.0, nan, nan, nan, 1.0, 0.0, nan])
    assert without_spread(totals, 2).tolist() == [True, False, True, True, False, True]


def test_which_rewards_can_be_asked_twice():
    async def slow(**_):
        return []

    assert [asks_no_model(f) for f in (parity, EndoRM(), slow, torch.nn.Linear(1, 1))] == [True, False, False, False]


def test_groups_without_a_spread_are_drawn_again(saved_model, tmp_path, monkeypatch):
    seen = rollouts(trainer := grpo(saved_model, tmp_path, tries=8), monkeypatch)
    assert len(seen) == 1  # two updates
    for inputs, prompts, ids, rewards in seen:
        assert [row["prompt"] for row in inputs] == prompts
        groups = [prompts[i : i + 4] for i in range(0, len(prompts), 4)]
        assert all(len(set(group)) == 1 for group in groups)
        assert not without_spread(torch.tensor(rewards), 4).any()
        assert rewards == parity(prompts, None, ids)  # the rewards are of these prompts and responses
        assert not EASY & set(prompts)
    (first,) = history(trainer, "dynamic_sampling/groups_with_spread_at_first")
    assert history(trainer, "dynamic_sampling/groups_with_spread") == [1.0]
    (drawn,) = history(trainer, "dynamic_sampling/responses_drawn")
    assert first < 1
    assert drawn > 8


def test_there_is_a_limit(saved_model, tmp_path, monkeypatch):
    trainer = grpo(saved_model, tmp_path, hopeless, tries=3)
    ((_, prompts, _, _),) = rollouts(trainer, monkeypatch)
    assert history(trainer, "dynamic_sampling/groups_with_spread") == [0.0]
    assert history(trainer, "dynamic_sampling/responses_drawn") == [8 * 4]  # once, and three times more
    plain = rollouts(grpo(saved_model, tmp_path / "plain", hopeless, tries=0), monkeypatch)
    assert prompts == plain[0][1]  # what found no better stays


def test_a_weight_that_is_annealed_counts_as_it_is_at_the_step(saved_model, tmp_path):
    """From 0 to 1 over two rollouts: no group is drawn again before the reward is learned from."""
    rising = ShapedReward(parity, Shaping(anneal=[0.0, 1.0, 2, 4]), "parity")
    trainer = grpo(saved_model, tmp_path, rising, tries=8, max_steps=6)
    trained(trainer)
    drawn = {row["step"]: "dynamic_sampling/responses_drawn" in row for row in trainer.state.log_history[:-1]}
    assert [drawn[step] for step in (1, 3, 5)] == [False, False, True]
    assert history(trainer, "dynamic_sampling/groups_with_spread") == [1.0]


def test_it_is_off_by_default(saved_model, tmp_path):
    trainer = trained(grpo(saved_model, tmp_path, tries=0))
    assert "dynamic_sampling/responses_drawn" not in trainer.state.log_history[0]
    assert EndoGRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False).dynamic_sampling == 0


def test_ppo_takes_it_for_groups(saved_model, tmp_path):
    settings = {"num_generations": 4, "dynamic_sampling": 8}
    trainer = trained(ppo(saved_model, tmp_path, [parity, EndoRM()], **settings))
    assert history(trainer, "dynamic_sampling/groups_with_spread") == [1.0]


@pytest.mark.slow
def test_a_resumed_run_draws_the_same(saved_model, tmp_path):
    settings = {"max_steps": 6, "save_strategy": "steps", "save_steps": 2}
    whole = trained(grpo(saved_model, tmp_path / "whole", **settings))
    resumed = grpo(saved_model, tmp_path / "resumed", **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    for key in ("reward", "dynamic_sampling/responses_drawn", "loss"):
        assert history(resumed, key) == history(whole, key)
    theirs = dict(resumed.model.named_parameters())
    assert all(torch.equal(p, theirs[name]) for name, p in whole.model.named_parameters())


def test_log_probs_of_vllm_go_with_their_responses(saved_model, tmp_path, monkeypatch):
    put_in_place(Engine(saved_model), monkeypatch.setattr)
    trainer = trained(grpo(saved_model, tmp_path, tries=8, use_vllm=True, vllm_mode="server"))
    assert history(trainer, "dynamic_sampling/groups_with_spread") == [1.0]
    assert history(trainer, "sampling/sampling_logp_difference/max") == pytest.approx([0], abs=1e-5)


def test_what_cannot_be(saved_model, tmp_path):
    with pytest.raises(ValueError, match="no reward that asks no model"):
        grpo(saved_model, tmp_path, EndoRM(discount=0.5))
    with pytest.raises(ValueError, match="-1 tries: give 0 or more"):
        grpo(saved_model, tmp_path, tries=-1)
    with pytest.raises(ValueError, match="a group of one"):
        ppo(saved_model, tmp_path, [parity], dynamic_sampling=1)


@pytest.mark.slow
@pytest.mark.parametrize("vllm", [False, True])
def test_two_processes_draw_together(vllm, rehearsal, problems, tmp_path):
    """Groups that lie across both, and processes that have nothing to draw while the other has."""
    reward = tmp_path / "odd.py"
    reward.write_text("def odd(completion_ids, **_):\n    return [float(sum(x) % 5 == 0) for x in completion_ids]\n")
    fields = SMALL | {"bf16": False, "dtype": "float32", "frozen_dtype": "float32", "dynamic_sampling": 12}
    fields |= {"model_name_or_path": rehearsal, "dataset_name": problems, "num_generations": 4, "report_to": "none"}
    fields |= {"rewards": json.dumps([{"name": f"{reward}:odd"}, {"name": "endorm", "weight": 0.1}])}
    fields |= {
        "steps_per_generation": 3,
        "max_steps": 9,
        "save_steps": 9,
    }  # 6 responses of a process, of which 2 share a group with the other's
    config = ["--config_file", "configs/accelerate/cpu_ddp.yaml"]
    script = ["train/grpo_endorm.py"]
    if vllm:
        script = [str(ROOT / "tests/support/vllm_stand_in.py"), rehearsal, str(tmp_path / "record.json"), *script]
        fields |= {"use_vllm": True, "vllm_mode": "server"}
    launch_script(script, "configs/math/grpo_qwen2.5_math_7b.yaml", tmp_path / "run", config, **fields)
    rows = [row for row in logged(tmp_path / "run") if "dynamic_sampling/responses_drawn" in row]
    assert [row["dynamic_sampling/groups_with_spread"] for row in rows] == [1.0] * len(rows)
    assert any(row["dynamic_sampling/responses_drawn"] > 12 for row in rows)
    if vllm:  # each response has its own log-probs
        assert [row["sampling/sampling_logp_difference/max"] for row in rows] == pytest.approx(
            [0] * len(rows), abs=1e-4
        )
