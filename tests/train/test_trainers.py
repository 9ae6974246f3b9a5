"""Both trainers on tiny models: the one frozen forward, LoRA, learning, metrics, resume, saving."""

import json
import math

import pytest
import torch
from datasets import concatenate_datasets
from helpers import PROMPTS, grpo, history, ppo, trained
from peft import LoraConfig
from safetensors.torch import load_file
from tiny_models import PROMISED, SHARED, tiny_model, tiny_tokenizer
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from trl import GRPOTrainer

from rewards import EndoRM, FrozenBase
from train.prompts import DataArguments, load_prompts


@pytest.mark.parametrize("algorithm", [ppo, grpo])
def test_one_frozen_forward_a_rollout_for_kl_reward_and_critic(algorithm, saved_model, tmp_path):
    trainer = algorithm(saved_model, tmp_path, max_steps=4)  # two rollouts of two updates
    calls = []
    frozen = trainer.frozen_base._lm.base_model
    frozen.register_forward_hook(lambda *_: calls.append(1))
    trainer.train()
    assert trainer.frozen_base.forwards == 2
    assert len(calls) == 2 + 2  # and one tiny self-check of the head, which runs the backbone twice
    assert trainer.ref_model is None
    assert all(math.isfinite(x) for x in history(trainer, "reward"))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_reference_log_probs_are_trls_own(temperature, saved_model, tmp_path):
    """The same seed gives the same rollout; our shared forward and TRL's reference model must then give one loss."""
    rewards = [lambda completion_ids, **_: [float(sum(ids) % 7) for ids in completion_ids]]
    settings = {"rewards": rewards, "beta": 0.5, "optim": "sgd", "learning_rate": 0.1, "temperature": temperature}
    ours = trained(grpo(saved_model, tmp_path / "a", **settings))
    theirs = trained(grpo(saved_model, tmp_path / "b", cls=GRPOTrainer, **settings))
    for key in ("loss", "kl", "reward", "entropy"):
        assert history(ours, key) == pytest.approx(history(theirs, key), rel=1e-4, abs=1e-6)
    assert history(ours, "kl")[-1] > 0


def test_endorm_in_an_unmodified_trl_trainer(saved_model, tmp_path):
    rm = EndoRM.from_pretrained(saved_model, device="cpu")
    theirs = trained(grpo(saved_model, tmp_path / "a", cls=GRPOTrainer, rewards=[rm], max_steps=1))
    ours = trained(grpo(saved_model, tmp_path / "b", max_steps=1))
    assert history(ours, "rewards/endorm/mean") == pytest.approx(history(theirs, "rewards/endorm/mean"), rel=1e-4)


def test_lora_needs_no_second_copy_and_the_base_is_the_adapter_off(saved_model, tmp_path):
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = ppo(saved_model, tmp_path, trainer_kwargs={"peft_config": lora}, max_steps=1)
    assert trainer.frozen_base.adapter is None
    trainer.train()  # now the adapter does something
    plain = AutoModelForCausalLM.from_pretrained(saved_model)
    size = sum(p.numel() for p in plain.parameters())
    adapter = sum(p.numel() for n, p in trainer.model.named_parameters() if "lora_" in n)
    assert sum(p.numel() for p in trainer.model.parameters()) == size + adapter
    assert {id(p) for p in trainer.frozen_base._lm.parameters()} <= {id(p) for p in trainer.model.parameters()}
    prompts, responses = [[5, 6], [7]], [[8, 9, 2], [10, 11]]
    ours = trainer.frozen_base.score(prompts, responses)
    for a, b in zip(ours, FrozenBase(plain).score(prompts, responses)):
        torch.testing.assert_close(a.log_probs, b.log_probs, atol=1e-5, rtol=0)
    with torch.no_grad():  # the adapter is on for everybody else, and does something
        ids = torch.tensor([[5, 6, 8, 9, 2]])
        assert not torch.allclose(trainer.model(ids).logits, plain(ids).logits, atol=1e-2)
    assert trainer.frozen_base.forwards == 2  # one for the rollout, one for the comparison above
    assert math.isfinite(history(trainer, "loss")[0])


def test_qlora_scores_and_trains_on_one_copy_of_4_bit_weights(saved_model, tmp_path, monkeypatch):
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="quantized weights need the optional extra qlora")
    # its CPU kernels for generation repack the weights in a way that it then cannot train
    monkeypatch.setattr(bitsandbytes.nn.modules, "has_avx512bf16", lambda: False)
    settings = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": "float32"}
    quantization = BitsAndBytesConfig(**settings)
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = ppo(
        saved_model, tmp_path, trainer_kwargs={"peft_config": lora, "quantization_config": quantization}, max_steps=2
    )
    plain = AutoModelForCausalLM.from_pretrained(saved_model, quantization_config=quantization)
    packed = {name: p.clone() for name, p in trainer.model.named_parameters() if p.dtype is torch.uint8}
    assert len(packed) == 2 * 7  # linear layers, the head left alone
    trainer.train()
    ours, theirs = (f.score([[5, 6], [7]], [[8, 9, 2], [10]]) for f in (trainer.frozen_base, FrozenBase(plain)))
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(
            a.q, b.q, atol=2e-2, rtol=0
        )  # norms and head are bf16 in the one, fp32 in the other
    assert all(math.isfinite(x) for key in ("loss", "reward", "grad_norm") for x in history(trainer, key))
    assert all(torch.equal(p, packed[name]) for name, p in trainer.model.named_parameters() if name in packed)
    trainer.save_model()
    assert (tmp_path / "adapter_model.safetensors").exists()
    assert not (tmp_path / "model.safetensors").exists()


def test_every_promised_metric_is_logged_and_finite(saved_model, tmp_path):
    trainer = ppo(saved_model, tmp_path, num_iterations=2, max_steps=4)
    trainer.train()
    row = {k: v for log in trainer.state.log_history for k, v in log.items()}
    promised = PROMISED.split()
    assert [name for name in promised if name not in row] == []
    assert [name for name in promised if not math.isfinite(row[name])] == []


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


@pytest.mark.parametrize("algorithm", [ppo, grpo])
def test_resume_in_the_middle_of_a_rollout_continues_to_the_same_losses(algorithm, saved_model, tmp_path):
    """Rollouts serve 2 x 2 updates, and the checkpoint after update 3 lies in the middle of the first."""
    settings = {"num_iterations": 2, "save_strategy": "steps", "save_steps": 3, "max_steps": 6}
    whole = algorithm(saved_model, tmp_path / "whole", **settings)
    whole.train()
    resumed = algorithm(saved_model, tmp_path / "resumed", **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    for key in ("loss", "reward", "critic/loss"):
        assert history(resumed, key) == pytest.approx(history(whole, key), abs=1e-6)
    assert resumed.state.global_step == 6
    for trainer in (whole, resumed):
        trainer.save_model()
    files = ["model.safetensors"] + (["critic.safetensors"] if algorithm is ppo else [])
    for file in files:
        a, b = (load_file(tmp_path / run / file) for run in ("whole", "resumed"))
        for name in a:
            torch.testing.assert_close(a[name], b[name], atol=1e-6, rtol=0)


def test_saved_policy_generates_with_plain_transformers(saved_model, tmp_path):
    trainer = ppo(saved_model, tmp_path, max_steps=1)
    trainer.train()
    trainer.save_model()
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = model.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=4, do_sample=False)
    assert ids.shape[1] > 3
    assert not (tmp_path / "model.bin").exists()


def test_real_maths_rows_through_ppo(saved_model, tmp_path):
    path = SHARED / "data" / "math_train.jsonl.gz"
    if not path.exists():
        pytest.skip("the MATH rows are not at hand")
    tokenizer = tiny_tokenizer()
    data = DataArguments(dataset_name=str(path), dataset_split="train[:200]", max_prompt_length=300)
    dataset, counts = load_prompts(data, tokenizer)
    assert counts["kept"] + counts["too_long"] + counts["no_answer"] == 200
    model = tiny_model(initializer_range=0.2, max_position_embeddings=400)
    trainer = ppo(model, tmp_path, trainer_kwargs={"train_dataset": dataset, "processing_class": tokenizer})
    trainer.train()
    assert json.dumps(trainer.state.log_history)
    assert all(math.isfinite(x) for x in history(trainer, "reward"))
