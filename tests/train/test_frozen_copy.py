"""The frozen base of a training: no copy where an adapter can be switched off, and one that stays as it was."""

import math

import pytest
import torch
from helpers import grpo, history, ppo
from peft import LoraConfig
from tiny_models import tiny_model, tiny_tokenizer
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from rewards import EndoRM, FrozenBase


def constant(completion_ids, **_):
    return [100.0] * len(completion_ids)


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


def test_a_frozen_base_that_follows_the_policy(saved_model, tmp_path):
    """It does so where nothing but the KL term reads it; a reward, or PPO's critic, would change under way."""
    settings = {"sync_ref_model": True, "ref_model_sync_steps": 2, "ref_model_mixup_alpha": 0.5, "beta": 0.1}
    trainer = grpo(saved_model, tmp_path, rewards=[constant], max_steps=2, **settings)
    before = [p.clone() for p in trainer.frozen_base._lm.parameters()]
    trainer.train()
    for old, new, policy in zip(before, trainer.frozen_base._lm.parameters(), trainer.model.parameters()):
        torch.testing.assert_close(new, 0.5 * old + 0.5 * policy)
    with pytest.raises(ValueError, match="moves the frozen base, but rewards"):
        grpo(saved_model, tmp_path, rewards=[EndoRM()], **settings)
    with pytest.raises(ValueError, match="PPO's critic"):
        ppo(saved_model, tmp_path, [constant], sync_ref_model=True)
    with pytest.raises(ValueError, match="needs beta above 0"):
        grpo(saved_model, tmp_path, rewards=[constant], **(settings | {"beta": 0.0}))


def test_a_frozen_base_with_another_tokenizer(saved_model, tmp_path):
    tiny_model().save_pretrained(tmp_path / "other")
    tiny_tokenizer(shift=9).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="tokenizer of the frozen base .* is not the policy's"):
        ppo(saved_model, tmp_path, trainer_kwargs={"frozen_base": str(tmp_path / "other")})


def test_an_unsaved_model_is_its_own_frozen_base(tmp_path):
    model = tiny_model(initializer_range=0.2)
    trainer = ppo(model, tmp_path, max_steps=1)
    before = [p.clone() for p in trainer.frozen_base._lm.parameters()]
    trainer.train()
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.frozen_base._lm.parameters()))
    moved = zip(trainer.model.parameters(), trainer.frozen_base._lm.parameters())
    assert any(not torch.equal(a, b) for a, b in moved)
