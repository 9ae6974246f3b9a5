"""Adapters: the frozen base is the policy as it was loaded, and what cannot be kept that way is refused."""

import pytest
import torch
from helpers import grpo, history, ppo
from peft import LoHaConfig, LoKrConfig, LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from tiny_models import tiny_model
from transformers import AutoModelForCausalLM
from vllm_stand_in import Engine, put_in_place

from train.policy_forward import switch_off_dropout


@pytest.mark.parametrize("start", [{"init_lora_weights": False}, {"init_lora_weights": "pissa"}, {"use_dora": True}])
def test_an_adapter_that_is_not_zero_is_a_part_of_the_frozen_base(start, saved_model, tmp_path):
    """Of a trained adapter, one with a start of its own, and one that has more than two factors."""
    plain = AutoModelForCausalLM.from_pretrained(saved_model)
    count = sum(p.numel() for p in plain.parameters())
    model = get_peft_model(plain, LoraConfig(r=4, target_modules="all-linear", **start))
    with torch.no_grad():
        expected = model.eval()(torch.tensor([[5, 6, 8, 9, 2]])).logits.log_softmax(-1)
    trainer = ppo(model, tmp_path, max_steps=4, learning_rate=0.02)
    adapter = sum(p.numel() for n, p in trainer.model.named_parameters() if ".default." in n)
    assert sum(p.numel() for p in trainer.model.parameters()) == count + 2 * adapter  # no second copy of the weights
    trainer.train()
    assert abs(history(trainer, "kl/k3")[0]) < 1e-4
    assert abs(history(trainer, "kl/k3")[-1]) > 1e-4  # the policy has moved
    scores = trainer.frozen_base.score([[5, 6]], [[8, 9, 2]])[0]  # and the frozen base has not
    found = expected[0, 1:4].gather(1, torch.tensor([[8], [9], [2]]))[:, 0]
    torch.testing.assert_close(scores.log_probs, found, atol=1e-4, rtol=1e-4)
    assert trainer.model.active_adapter == "default"
    assert all(p.requires_grad == (".default." in n) for n, p in trainer.model.named_parameters())


def test_weights_beside_the_adapter_may_not_be_trained(saved_model, tmp_path):
    lora = LoraConfig(r=4, target_modules="all-linear", bias="all")
    with pytest.raises(ValueError, match=r'LoraConfig\(bias="none"\)'):
        ppo(saved_model, tmp_path, trainer_kwargs={"peft_config": lora})


def test_lora_on_the_embeddings(saved_model, tmp_path):
    lora = LoraConfig(r=4, target_modules=["embed_tokens", "q_proj"])
    trainer = ppo(saved_model, tmp_path, trainer_kwargs={"peft_config": lora}, max_steps=2)
    trainer.train()
    assert abs(history(trainer, "kl/k3")[0]) < 1e-4


def test_lora_on_single_tokens_of_the_embeddings(saved_model, tmp_path):
    lora = LoraConfig(r=4, target_modules=["q_proj"], trainable_token_indices=[3, 4])
    trainer = ppo(saved_model, tmp_path, trainer_kwargs={"peft_config": lora}, max_steps=2)
    trainer.train()
    assert abs(history(trainer, "kl/k3")[0]) < 1e-4


@pytest.mark.parametrize("kind", [LoHaConfig, LoKrConfig])
def test_dropout_that_an_adapter_keeps_by_its_name(kind):
    """Rates of whole ranks and modules, in dicts; the adapter starts at zero, so that no first KL would show them."""
    config = kind(r=4, target_modules=["q_proj", "v_proj"], rank_dropout=0.3, module_dropout=0.2)
    model = get_peft_model(tiny_model(initializer_range=0.2), config)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1)
    model.train()
    ids = torch.tensor([[5, 6, 7, 8]])
    assert switch_off_dropout(model) == 0.3
    assert all(torch.equal(model(ids).logits, model(ids).logits) for _ in range(4))


# ---------------------------------------------------------------------- refused


def test_an_adapter_that_would_not_be_trained(saved_model, tmp_path):
    """As PEFT loads one unless it is told otherwise."""
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(saved_model), LoraConfig(r=4))
    model.requires_grad_(False)
    for algorithm in (ppo, grpo):
        with pytest.raises(ValueError, match="is_trainable=True"):
            algorithm(model, tmp_path)


@pytest.mark.parametrize("kind", [PrefixTuningConfig, PromptTuningConfig])
def test_tokens_in_place_of_weights(kind, saved_model, tmp_path):
    config = kind(task_type="CAUSAL_LM", num_virtual_tokens=3)
    with pytest.raises(ValueError, match="Prefix and prompt tuning"):
        ppo(saved_model, tmp_path, trainer_kwargs={"peft_config": config})


def test_an_adapters_folder_in_place_of_a_model(saved_model, tmp_path):
    get_peft_model(AutoModelForCausalLM.from_pretrained(saved_model), LoraConfig(r=4)).save_pretrained(tmp_path / "a")
    with pytest.raises(ValueError, match="holds an adapter, not a model: merge it first"):
        ppo(str(tmp_path / "a"), tmp_path)


def test_modules_to_save_with_vllm(saved_model, tmp_path, monkeypatch):
    put_in_place(Engine(saved_model), monkeypatch.setattr)
    lora = LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["norm"])
    with pytest.raises(ValueError, match="use_vllm with modules_to_save"):
        ppo(saved_model, tmp_path, trainer_kwargs={"peft_config": lora}, use_vllm=True, vllm_mode="server")
