"""PPO on tiny models: it learns, logs what it promises, saves, and refuses settings without effect."""

import json
import math

import pytest
import torch
from datasets import concatenate_datasets
from helpers import COMMON, PROMPTS, history, ppo, trained
from tiny_models import PROMISED, SHARED, tiny_model, tiny_tokenizer
from transformers import AutoModelForCausalLM

from train.ppo_trainer import PPOConfig
from train.prompts import DataArguments, load_prompts


def test_every_promised_metric_is_logged_and_finite(saved_model, tmp_path):
    trainer = ppo(saved_model, tmp_path, num_iterations=2, max_steps=4)
    trainer.train()
    row = {k: v for log in trainer.state.log_history for k, v in log.items()}
    promised = PROMISED.split()
    assert [name for name in promised if name not in row] == []
    assert [name for name in promised if not math.isfinite(row[name])] == []


@pytest.mark.slow
def test_ppo_learns_from_a_reward_it_can_get(saved_model, tmp_path):
    """One rollout per prompt: the policy learns to write the half of the vocabulary that is paid for."""

    def low(completion_ids, **_):
        return [[float(i < 48) for i in ids] for ids in completion_ids]

    settings = {"per_device_train_batch_size": 16, "num_iterations": 2, "learning_rate": 1e-2, "kl_coef": 0.0}
    more = {"train_dataset": concatenate_datasets([PROMPTS, PROMPTS])}
    trainer = trained(ppo(saved_model, tmp_path, [low], more, max_steps=80, **settings))
    shares = [r / n for r, n in zip(history(trainer, "reward"), history(trainer, "completions/mean_length"))]
    assert shares[0] < 0.7
    assert sum(shares[-3:]) / 3 > 0.9


@pytest.mark.parametrize("bf16", [False, True])
def test_the_critics_features_take_the_memory_of_what_they_were_computed_in(bf16, saved_model, tmp_path):
    trainer = ppo(saved_model, tmp_path, max_steps=1, bf16=bf16, use_cpu=True)
    seen, real = [], trainer.critic.fit
    trainer.critic.fit = lambda hidden, *args: (seen.append(hidden.dtype), real(hidden, *args))[1]
    trainer.train()
    assert seen == [torch.bfloat16 if bf16 else torch.float32]


def test_saved_policy_generates_with_plain_transformers(saved_model, tmp_path):
    trainer = ppo(saved_model, tmp_path, max_steps=1)
    trainer.train()
    trainer.save_model()
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = model.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=4, do_sample=False)
    assert ids.shape[1] > 3
    assert not (tmp_path / "model.bin").exists()


@pytest.mark.slow
def test_real_maths_rows_through_ppo(saved_model, tmp_path):
    path = SHARED / "data" / "math_train.jsonl.gz"
    if not path.exists():
        pytest.skip(f"needs MATH's training rows, shared/data/{path.name} beside the repository")
    tokenizer = tiny_tokenizer()
    data = DataArguments(dataset_name=str(path), dataset_split="train[:200]", max_prompt_length=300)
    dataset, counts = load_prompts(data, tokenizer)
    assert counts["kept"] + counts["too_long"] + counts["no_answer"] == 200
    model = tiny_model(initializer_range=0.2, max_position_embeddings=400)
    trainer = ppo(model, tmp_path, trainer_kwargs={"train_dataset": dataset, "processing_class": tokenizer})
    trainer.train()
    assert json.dumps(trainer.state.log_history)
    assert all(math.isfinite(x) for x in history(trainer, "reward"))


@pytest.mark.parametrize(
    "changes", [{"scale_rewards": "batch"}, {"scale_rewards": False}, {"use_bias_correction_kl": False}]
)
def test_ppo_refuses_what_only_grpo_reads(changes, tmp_path):
    with pytest.raises(ValueError, match=f"{next(iter(changes))} has no effect in PPO: .* Leave"):
        PPOConfig(str(tmp_path), **changes)
    with pytest.raises(ValueError, match="multi_objective_aggregation has no effect"):
        PPOConfig(str(tmp_path), multi_objective_aggregation="normalize_then_sum")


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"beta": 0.1}, "set kl_coef"),
        ({"reward_placement": "last"}, "reward_placement"),
        ({"gamma": 1.2}, "gamma and lam"),
        ({"whiten_floor": 0.0}, "whiten_floor"),
        ({"per_device_train_batch_size": 1, "steps_per_generation": 1}, "rollout of one response"),
    ],
)
def test_settings_that_make_no_sense(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        PPOConfig(output_dir=str(tmp_path), **(COMMON | changes))
