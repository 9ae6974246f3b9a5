"""Tiny models and tokenizers that every test can afford: random weights, no download, well under a second."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.cohere import CohereConfig
from transformers.models.gemma2 import Gemma2Config
from transformers.models.gpt2 import GPT2Config
from transformers.models.granite import GraniteConfig
from transformers.models.llama import LlamaConfig
from transformers.models.qwen2 import Qwen2Config

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
VOCAB_SIZE = 97
# the metrics that a PPO run logs, all of them finite
PROMISED = """reward reward_std rewards/endorm/mean rewards/endorm/std token_rewards/mean token_rewards/std
    response_rewards/mean response_rewards/std returns/mean returns/std values/mean advantages/std
    critic/explained_variance critic/loss critic/clip_fraction kl/k1 kl/k3 entropy clip_ratio/low_mean
    clip_ratio/high_mean clip_ratio/region_mean completions/mean_length completions/eos_rate
    completions/repetition_rate loss grad_norm learning_rate"""
PROBLEMS = [{"problem": f"What is {a} + {a + 3}?", "solution": rf"It is $\boxed{{{2 * a + 3}}}$."} for a in range(40)]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_config(architecture: str, **changes):
    """A config small enough for a CPU test whose special rules (soft cap, scaling) do show in the logits."""
    sizes = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "initializer_range": 0.5,  # logits of several nats, as a trained model has
    }
    config = {
        "qwen2": lambda: Qwen2Config(**(sizes | changes)),
        "llama": lambda: LlamaConfig(**(sizes | changes)),
        "gemma2": lambda: Gemma2Config(
            **(sizes | {"head_dim": 8, "final_logit_softcapping": 5.0, "sliding_window": 8} | changes)
        ),
        "granite": lambda: GraniteConfig(**(sizes | {"logits_scaling": 3.0} | changes)),
        "cohere": lambda: CohereConfig(**(sizes | {"logit_scale": 0.25} | changes)),
        "gpt2": lambda: GPT2Config(
            vocab_size=VOCAB_SIZE,
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_positions=64,
            bos_token_id=1,
            eos_token_id=2,
            initializer_range=0.5,
        ),
    }[architecture]()
    config.pad_token_id = 0
    return config


def tiny_model(architecture: str = "qwen2", seed: int = 0, **changes):
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(tiny_config(architecture, **changes)).eval()


def tiny_tokenizer(shift: int = 0, chat_template: str | None = CHATML) -> PreTrainedTokenizerFast:
    """Character tokenizer of VOCAB_SIZE entries; `shift` permutes the ids, which makes it another tokenizer."""
    special = ["<pad>", "<bos>", "<eos>", "<|im_start|>", "<|im_end|>"]
    characters = [chr(c) for c in range(32, 127)][: VOCAB_SIZE - len(special) - 1] + ["\n"]
    characters = characters[shift:] + characters[:shift]
    vocabulary = {token: i for i, token in enumerate(special + characters)}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        additional_special_tokens=special[3:],
        chat_template=chat_template,
        padding_side="left",
    )


def word_tokenizer(chat_template: str | None = CHATML) -> PreTrainedTokenizerFast:
    """Byte-level BPE that writes any text and has one token each for Yes, No, A and B, after a space or not."""
    special = ["<pad>", "<bos>", "<eos>", "<|im_start|>", "<|im_end|>"]
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=280, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(["Yes Yes No No A B"] * 3, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        additional_special_tokens=special[3:],
        chat_template=chat_template,
    )


def judge_model(architecture: str = "qwen2", seed: int = 0, **changes):
    """A tiny model for the vocabulary of `word_tokenizer`, with room for a judge's prompt."""
    sizes = {"vocab_size": len(word_tokenizer()), "max_position_embeddings": 1024, "initializer_range": 0.3}
    return tiny_model(architecture, seed, **(sizes | changes))
