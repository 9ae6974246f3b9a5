"""Before the first update the policy and the frozen base are one function, for every architecture, or it is said."""

import logging

import pytest
import torch
from datasets import Dataset
from helpers import COMMON, PROMPTS, grpo, history, ppo
from peft import LoraConfig
from tiny_models import VOCAB_SIZE, tiny_model, tiny_tokenizer
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BertConfig,
    BertLMHeadModel,
    CLIPImageProcessorPil,
    LlavaProcessor,
    T5Config,
    T5ForConditionalGeneration,
)
from trl import GRPOConfig

from rewards import EndoRM, FrozenBase
from rewards.frozen.wrappers import unwrap
from train.grpo_trainer import EndoGRPOConfig, EndoGRPOTrainer
from train.policy_forward import PrefixSharing, check_same_function, switch_off_dropout
from train.ppo_trainer import PPOConfig, PPOTrainer

SIZES = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}
GPT = {"vocab_size": VOCAB_SIZE, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.2}
NEO = {"vocab_size": VOCAB_SIZE, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_position_embeddings": 64}
MAMBA = {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 8}
ARCHITECTURES = {
    "gpt2": GPT,
    "gpt_bigcode": GPT,
    "gpt_neo": NEO | {"attention_types": [[["global", "local"], 1]], "window_size": 8, "initializer_range": 0.2},
    "opt": SIZES | {"ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.2},
    "bloom": {"vocab_size": VOCAB_SIZE, "hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.2},
    "qwen2": SIZES,
    "qwen3": SIZES,
    "llama": SIZES,
    "gemma2": SIZES | {"sliding_window": 8},
    "gemma3_text": SIZES | {"sliding_window": 8},
    "mistral": SIZES | {"sliding_window": 8},
    "mixtral": SIZES | {"num_local_experts": 4, "router_jitter_noise": 0.1},
    "falcon_h1": SIZES | MAMBA,
}
RATE = 0.1
DROPOUTS = ["attention_dropout", "hidden_dropout", "resid_dropout", "embed_dropout", "activation_dropout", "dropout"]
DROPOUTS += ["layerdrop", "attn_pdrop", "embd_pdrop", "resid_pdrop"]
ADAPTED = {"mixtral": ["q_proj", "v_proj"], "falcon_h1": ["q_proj", "v_proj"]}  # PEFT takes no others there
UNEQUAL = Dataset.from_dict({"prompt": ["a", "bc" * 9, "def", "g" * 13, "hij", "k", "lmnop", "q" * 17] * 4})


def model_of(architecture, dropout=0.0):
    torch.manual_seed(0)
    config = AutoConfig.for_model(architecture, **ARCHITECTURES[architecture])
    for name in DROPOUTS:
        if hasattr(config, name):
            setattr(config, name, dropout)
    config.pad_token_id, config.bos_token_id, config.eos_token_id = 0, 1, 2
    return AutoModelForCausalLM.from_config(config)


@pytest.mark.slow
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_kl_before_the_first_update_with_dropout_and_unequal_prompts(architecture, lora, tmp_path):
    """Dropout of every kind that the architecture has, and in the adapter; k3 as it is logged."""
    extra = {"train_dataset": UNEQUAL}
    if lora:
        targets = ADAPTED.get(architecture, "all-linear")
        extra["peft_config"] = LoraConfig(r=4, lora_dropout=RATE, target_modules=targets)
    trainer = ppo(model_of(architecture, RATE), tmp_path, trainer_kwargs=extra, max_steps=1)
    trainer.train()
    assert abs(history(trainer, "kl/k3")[0]) < 1e-4
    assert abs(history(trainer, "kl/k1")[0]) < 1e-4
    assert history(trainer, "clip_ratio/region_mean")[0] == 0.0


def test_positions_are_those_of_each_prompt_alone(tmp_path):
    """TRL's own padded forward of GPT-2 reads a short prompt as if it began late; here a row is what it is alone."""
    model = model_of("gpt2").eval()
    alone = FrozenBase(model_of("gpt2")).score([[5], [6] * 9], [[7, 8], [9, 2]])
    trainer = grpo(model, tmp_path, rewards=[EndoRM()])
    ids = torch.tensor([[0] * 8 + [5, 7, 8], [6] * 9 + [9, 2]])
    mask = torch.tensor([[0] * 8 + [1] * 3, [1] * 11])
    with torch.no_grad():
        found = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, 2)[0]
    torch.testing.assert_close(found, torch.stack([s.log_probs for s in alone]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", ["rwkv"])
def test_what_reads_padding_is_refused_and_the_cause_named(architecture, tmp_path):
    torch.manual_seed(0)
    sizes = {"vocab_size": VOCAB_SIZE, "hidden_size": 32, "num_hidden_layers": 2, "context_length": 64}
    config = AutoConfig.for_model(architecture, **sizes, bos_token_id=1, eos_token_id=2)
    model = AutoModelForCausalLM.from_config(config)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    trainer = ppo(model, tmp_path, trainer_kwargs={"train_dataset": UNEQUAL}, max_steps=1)
    with pytest.raises(ValueError, match="k3 is .* nats a token.*padded on the left differ.*one length"):
        trainer.train()


def test_a_policy_that_was_changed_is_found(saved_model, tmp_path):
    trainer = ppo(saved_model, tmp_path, max_steps=1)
    with torch.no_grad():
        for p in trainer.model.parameters():
            p.mul_(1.05)
    with pytest.raises(ValueError, match="weights changed since they were loaded"):
        trainer.train()


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_an_instance_is_its_own_frozen_base_whatever_its_name_stands_for(dtype, saved_model, tmp_path):
    """Weights that were changed after they were loaded are the policy's; TRL would load the old ones as reference."""
    model = AutoModelForCausalLM.from_pretrained(saved_model)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.2)
    trainer = ppo(model, tmp_path, trainer_kwargs={"frozen_dtype": dtype}, max_steps=1)
    trainer.train()
    assert next(trainer.frozen_base.model.parameters()).dtype is (torch.bfloat16 if dtype else torch.float32)
    assert abs(history(trainer, "kl/k3")[0]) < (0.05 if dtype else 1e-4)


@pytest.mark.slow
def test_a_second_training_of_the_same_trainer_is_no_fault(saved_model, tmp_path):
    trainer = ppo(saved_model, tmp_path, max_steps=2, learning_rate=0.02)
    trainer.train()
    trainer.train()
    assert history(trainer, "kl/k3")[-1] > 1e-4


@pytest.mark.slow
def test_experts_that_rounding_exchanges_are_no_fault(tmp_path):
    """In 16 bits single tokens of a mixture of experts may go to another expert: k3 is then a matter of rounding."""
    torch.manual_seed(0)
    sizes = ARCHITECTURES["mixtral"] | {"initializer_range": 0.5, "router_jitter_noise": 0.0}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("mixtral", **sizes)).to(torch.bfloat16)
    trainer = ppo(model, tmp_path, trainer_kwargs={"train_dataset": UNEQUAL}, max_steps=1)
    trainer.train()


def test_only_tokens_that_count_are_compared_and_nan_is_a_difference():
    mask = torch.tensor([[1, 1, 0, 1], [1, 0, 0, 0]])
    ref = -torch.arange(1.0, 9.0).view(2, 4)
    elsewhere = ref - 3.0 * (1 - mask)
    padded, model = torch.zeros(2, dtype=torch.bool), torch.nn.Linear(1, 1)
    check_same_function(elsewhere, ref, mask, padded, True, model)
    check_same_function(elsewhere - 3.0, ref, 0 * mask, padded, True, model)  # nothing counts
    with pytest.raises(ValueError, match=r"k3 is 0\.0499 nats a token.*0\.0001"):  # e^0.3 - 1.3 on every one
        check_same_function(elsewhere - 0.3, ref, mask, padded, True, model)
    broken = ref.clone()
    broken[0, 3] = torch.nan
    with pytest.raises(ValueError, match="k3 is nan"):
        check_same_function(broken, ref, mask, padded, True, model)


def test_another_frozen_base_may_differ(saved_model, tmp_path):
    other = tiny_model(seed=3, initializer_range=0.2)
    trainer = ppo(saved_model, tmp_path, trainer_kwargs={"frozen_base": other}, max_steps=1)
    trainer.train()
    assert history(trainer, "kl/k3")[0] > 1e-3


@pytest.mark.parametrize("architecture", ["qwen2", "gpt2", "opt", "bloom", "mixtral"])
def test_a_training_forward_without_dropout_is_no_lottery(architecture):
    model = model_of(architecture, RATE)
    model.train()
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        assert not torch.equal(model(ids).logits, model(ids).logits)
        assert switch_off_dropout(model) == RATE
        assert torch.equal(model(ids).logits, model(ids).logits)
    assert switch_off_dropout(model) == 0.0


@pytest.mark.parametrize("config", [PPOConfig, EndoGRPOConfig])
def test_dropout_that_is_asked_for_stays_and_is_warned_of(config, tmp_path, caplog):
    model = model_of("qwen2", RATE)
    args = config(str(tmp_path), **(COMMON | {"max_steps": 1, "disable_dropout": False, "num_generations": 4}))
    trainer_class = PPOTrainer if config is PPOConfig else EndoGRPOTrainer
    with caplog.at_level(logging.WARNING):
        trainer = trainer_class(model, [EndoRM()], args, train_dataset=PROMPTS, processing_class=tiny_tokenizer())
    assert "disable_dropout is false" in caplog.text
    trainer.train()
    assert history(trainer, "kl/k3")[0] > 1e-3


def test_trls_own_config_asks_for_nothing(tmp_path):
    args = GRPOConfig(str(tmp_path), **(COMMON | {"max_steps": 1, "num_generations": 4, "beta": 0.01}))
    kwargs = {"train_dataset": PROMPTS, "processing_class": tiny_tokenizer()}
    trainer = EndoGRPOTrainer(model_of("qwen2", RATE), [EndoRM()], args, **kwargs)
    trainer.train()
    assert abs(history(trainer, "kl/k3")[0]) < 1e-4


# ---------------------------------------------------------------------- beginnings that rows share

ALIKE = Dataset.from_dict({"prompt": [f"We ask you this: {end}" for end in ("a", "bcd", "ef" * 4, "g")] * 4})


def tokens_read(model) -> list[int]:
    """How many tokens, padding included, each forward of a policy puts through its first layer."""
    sizes = []
    unwrap(model).model.layers[0].register_forward_pre_hook(lambda _, args: sizes.append(args[0].shape[:2].numel()))
    return sizes


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "lora", "checkpointing", "bf16"])
@pytest.mark.parametrize("config", [PPOConfig, EndoGRPOConfig])
def test_beginnings_read_once_change_a_training_by_rounding_alone(config, kind, tmp_path):
    changes = {"num_generations": 4, "max_steps": 4, "temperature": 0.8, "bf16": kind == "bf16", "use_cpu": True}
    changes |= {"gradient_checkpointing": kind == "checkpointing"}
    found, sizes = [], []
    for share in (True, False):
        kwargs = {"train_dataset": ALIKE, "processing_class": tiny_tokenizer()}
        if kind == "lora":
            kwargs["peft_config"] = LoraConfig(r=4, target_modules="all-linear")
        args = config(str(tmp_path / str(share)), **(COMMON | changes | {"share_prefixes": share}))
        trainer_class = PPOTrainer if config is PPOConfig else EndoGRPOTrainer
        trainer = trainer_class(model_of("qwen2"), [EndoRM()], args, **kwargs)
        sizes.append(tokens_read(trainer.model))
        trainer.train()
        found.append(trainer)
    assert sum(sizes[0]) < 0.7 * sum(sizes[1])
    keys = ("loss", "reward", "kl/k3", "entropy", "grad_norm", "completions/mean_length")
    tolerance = {"rel": 0.1, "abs": 0.05} if kind == "bf16" else {"rel": 1e-3, "abs": 1e-5}
    steps = 1 if kind == "bf16" else 4  # a rounded weight soon draws another token
    for key in keys:
        assert history(found[0], key)[:steps] == pytest.approx(history(found[1], key)[:steps], **tolerance), key


def test_prompts_read_as_a_tree_leave_the_cache_that_rows_leave():
    model = model_of("llama").eval()
    frozen_base = FrozenBase(model, online=True)
    frozen_base.check()
    sharing = PrefixSharing(model, frozen_base, GRPOConfig(report_to="none", bf16=False))
    rows = [[5, 6, 7, 8, 9, 10, end] for end in (11, 12, 13)] + [[5, 6, 7]]
    ids = torch.tensor([[0] * (7 - len(row)) + row for row in rows])
    mask = (ids > 0).long()
    settings = {"attention_mask": mask, "max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    settings |= {"output_logits": True, "return_dict_in_generate": True}
    sizes = tokens_read(model)
    apart = model.generate(ids, **settings)
    with sharing.shared():
        together = model.generate(ids, **settings)
    assert sizes == [28, *[4] * 5, 9, *[4] * 5]
    assert torch.equal(apart.sequences, together.sequences)
    for one, other in zip(apart.logits, together.logits):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)
    real = torch.cat([mask, mask.new_ones(4, 5)], dim=1).bool()[:, None, :, None]
    one, other = apart.past_key_values.layers[1], together.past_key_values.layers[1]
    torch.testing.assert_close(one.values * real, other.values * real, atol=1e-4, rtol=0)


def test_what_belongs_to_single_tokens_keeps_rows_apart():
    model = model_of("llama").eval()
    frozen_base = FrozenBase(model, online=True)
    frozen_base.check()
    sharing, sizes = PrefixSharing(model, frozen_base, GRPOConfig(report_to="none", bf16=False)), tokens_read(model)
    ids = torch.tensor([[5, 6, 7, 8, 9, 10, end] for end in (11, 12, 13)])
    rows = {"attention_mask": torch.ones_like(ids)}
    with torch.no_grad(), sharing.shared():
        model(ids, **rows)  # by position: the backbone gets it by name
        model(input_ids=ids, **rows, token_type_ids=torch.zeros_like(ids))
        model(input_ids=ids)
        model(input_ids=ids[:1], attention_mask=rows["attention_mask"][:1])
    with torch.no_grad():
        model(input_ids=ids, **rows)  # outside of it
    assert sizes == [9, 21, 21, 7, 21]


@pytest.mark.parametrize("found", [True, False])
def test_a_policy_whose_kind_gets_trees_wrong_reads_rows(found, saved_model, tmp_path, monkeypatch):
    monkeypatch.setattr("rewards.frozen.frozen_base.reads_trees", lambda *_: found)
    trainer = ppo(saved_model, tmp_path, trainer_kwargs={"train_dataset": ALIKE}, max_steps=1)
    sizes = tokens_read(trainer.model)
    trainer.train()
    assert (max(sizes) > 100) is not found


# ---------------------------------------------------------------------- refused


def small_t5():
    sizes = {"vocab_size": VOCAB_SIZE, "d_model": 16, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    return T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0))


def small_bert():
    sizes = {"vocab_size": VOCAB_SIZE, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    return BertLMHeadModel(BertConfig(**sizes, num_attention_heads=2, initializer_range=0.5))


@pytest.mark.parametrize("by_name", [False, True])
def test_an_encoder_decoder_is_refused(by_name, tmp_path):
    model = small_t5()
    if by_name:
        model.save_pretrained(tmp_path / "t5")
        model = str(tmp_path / "t5")
    with pytest.raises(ValueError, match="is an encoder-decoder.*decoder-only"):
        ppo(model, tmp_path)


def test_an_encoder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="lets tokens see those after them"):
        FrozenBase(small_bert()).score([[5, 6]], [[7, 2]])
    model = small_bert()
    model.save_pretrained(tmp_path / "bert")
    config = AutoConfig.from_pretrained(tmp_path / "bert")
    config.architectures = ["BertForMaskedLM"]
    config.save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match="cannot generate text"):
        ppo(str(tmp_path / "bert"), tmp_path)


def test_images_are_refused(saved_model, tmp_path):
    processor = LlavaProcessor(CLIPImageProcessorPil(), tiny_tokenizer(), patch_size=4)
    with pytest.raises(ValueError, match="pass its tokenizer as processing_class"):
        ppo(saved_model, tmp_path, trainer_kwargs={"processing_class": processor})
    data = PROMPTS.add_column("image", [None] * len(PROMPTS))
    for algorithm in (ppo, grpo):
        with pytest.raises(ValueError, match="trained on images.*without image columns"):
            algorithm(saved_model, tmp_path, trainer_kwargs={"train_dataset": data})
