"""Models and tokenizers from the hub or a folder, alike for every reward."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Self

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.integrations import deepspeed

from rewards.frozen.frozen_base import FrozenBase


def default_device(device: str | torch.device | None) -> str | torch.device:
    """`device`, or if None CUDA where there is one, else the CPU."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")


@contextlib.contextmanager
def whole_weights() -> Iterator[None]:
    """Models load whole in here. While a trainer uses ZeRO-3, transformers else shards each one that is loaded, and
    nobody would gather the weights of a judge."""
    reference = deepspeed._hf_deepspeed_config_weak_ref
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        if reference is not None and reference() is not None:
            deepspeed.set_hf_deepspeed_config(reference())


def load_causal_lm(
    name_or_path: str,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device | None = None,
    trust_remote_code: bool = False,
    whole: bool = True,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal LM, in evaluation mode on its device, and its tokenizer; safetensors only.

    Args:
        dtype: "auto" (the checkpoint's), "float32", "bfloat16" or a torch dtype.
        device: see `default_device`.
        trust_remote_code: run Python code that comes with the model.
        whole: whole on each process, even beside a training under ZeRO-3.
    """
    with whole_weights() if whole else contextlib.nullcontext():
        model = AutoModelForCausalLM.from_pretrained(
            name_or_path, dtype=dtype, use_safetensors=True, trust_remote_code=trust_remote_code
        )
    tokenizer = AutoTokenizer.from_pretrained(name_or_path, trust_remote_code=trust_remote_code)
    place = default_device(device)
    return model.to(place).eval(), tokenizer  # type: ignore[arg-type]  # its decorator makes `self` an argument


class FromFrozenBase:
    """For rewards that are built of a frozen base, its tokenizer and settings."""

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str,
        *,
        dtype: str | torch.dtype = "auto",
        device: str | torch.device | None = None,
        batch_tokens: int = 8192,
        trust_remote_code: bool = False,
        **settings,
    ) -> Self:
        """Load base and tokenizer from the hub or a folder (safetensors only); `settings` are those of the class.
        Beside a training under ZeRO-3 the base is split too, and this project's trainers gather it for its forwards.

        Args:
            dtype: "auto" (the checkpoint's), "float32", "bfloat16" or a torch dtype. Logits are fp32 in any case.
            device: default CUDA where there is one, else the CPU.
            batch_tokens: padded tokens in one forward.
            trust_remote_code: run Python code that comes with the model.
        """
        model, tokenizer = load_causal_lm(name_or_path, dtype, device, trust_remote_code, whole=False)
        make: Callable[..., Self] = cls  # a subclass says what it takes
        return make(FrozenBase(model, batch_tokens=batch_tokens), tokenizer, **settings)
