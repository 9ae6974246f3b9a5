"""A byte-level BPE tokenizer of Qwen2's kind, learned from any text: for models that are made on the spot."""

import json
from collections.abc import Iterable
from typing import cast

from tokenizers import pre_tokenizers
from tokenizers.trainers import BpeTrainer
from transformers import Qwen2Tokenizer

EOS, PAD = "<|endoftext|>", "<|pad|>"  # eos as in Qwen2.5 base models; a pad of its own shows masks that confuse both
SPECIAL_TOKENS = [EOS, "<|im_start|>", "<|im_end|>", PAD]
SMALLEST_VOCAB = 256 + len(SPECIAL_TOKENS)  # every byte, so that any text can be written


def train_tokenizer(texts: Iterable[str], vocab_size: int, model_max_length: int = 4096) -> Qwen2Tokenizer:
    """A tokenizer of at most ``vocab_size`` tokens, special ones included; little text gives fewer.

    Decoding gives back any text (in Unicode form NFC), every digit is a token of its own, encoding adds no special
    tokens and padding goes to the left. It has no chat template.

    Raises:
        ValueError: no text, or a ``vocab_size`` without room for all bytes and special tokens.
    """
    if vocab_size < SMALLEST_VOCAB:
        raise ValueError(f"vocab_size is {vocab_size}; {SMALLEST_VOCAB} is the least (all bytes and special tokens)")
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise ValueError("there is no text to train the tokenizer on")
    # An untrained Qwen2Tokenizer brings Qwen2's own normaliser, pre-tokeniser and decoder.
    backend = Qwen2Tokenizer().backend_tokenizer
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    learned = json.loads(backend.to_str())["model"]
    return Qwen2Tokenizer(
        vocab=learned["vocab"],
        merges=cast(list, [tuple(merge) for merge in learned["merges"]]),  # annotated as texts, read as pairs
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=SPECIAL_TOKENS[1:3],
        model_max_length=model_max_length,
        padding_side="left",
    )
