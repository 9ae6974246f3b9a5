"""The frozen base: the policy as it was loaded, or another model of its family, ready for the launcher."""

from __future__ import annotations

import copy
import re
from typing import cast

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn
from transformers import AutoTokenizer, PreTrainedModel
from transformers.integrations import is_deepspeed_zero3_enabled
from trl.models.utils import prepare_deepspeed, prepare_fsdp
from trl.trainer.utils import create_model_from_path, get_config_model_id

from rewards import FrozenBase
from train.reward_hosts import same_tokenizer

REF = "ref"  # TRL's name for the frozen copy of an adapter


def build_frozen_base(trainer, frozen: str | nn.Module | None, dtype: str | None, batch_tokens: int) -> FrozenBase:
    """The frozen base of a trainer.

    Args:
        trainer: an `EndoGRPOTrainer` whose policy is there.
        frozen: name, folder or instance; None for the policy as it was loaded.
        dtype: of one that has to be loaded; None for the policy's.
        batch_tokens: as in `FrozenBase`.

    Raises:
        ValueError: another tokenizer than the policy's, or an adapter that cannot be kept (see `keep_adapter`).
    """
    settings = {"batch_tokens": batch_tokens, "autocast": trainer.accelerator.autocast}
    if frozen is None and hasattr(trainer.model, "disable_adapter"):
        adapter = keep_adapter(trainer.model)
        kept = [n for n, _ in trainer.model.named_parameters() if f"modules_to_save.{REF}." in n]
        if trainer.use_vllm and kept:
            raise ValueError(
                f"use_vllm with modules_to_save: TRL would send {kept[0]}, the frozen copy, to vLLM too, which knows "
                "no such weight. Leave modules_to_save out of the adapter, or drop use_vllm."
            )
        return FrozenBase(trainer.model, adapter=adapter, **settings)  # once training starts, the prepared model
    model: nn.Module = frozen if isinstance(frozen, nn.Module) else _load(trainer, frozen, dtype)
    if trainer.is_deepspeed_enabled:
        model = prepare_deepspeed(model, trainer.accelerator)
    elif trainer.is_fsdp_enabled:
        model = cast(nn.Module, prepare_fsdp(model, trainer.accelerator))
    else:
        model = trainer.accelerator.prepare_model(model, evaluation_mode=True)
    return FrozenBase(model, **settings)


def frozen_instance(model: PreTrainedModel, dtype: str | None) -> nn.Module | None:
    """A copy of a policy that was given as an instance, as it is: its name may stand for other weights, or for none.

    Args:
        dtype: of the copy; None for the policy's.

    Returns:
        None where the instance holds only shards of its weights (ZeRO-3) and has a name to be loaded by.
    """
    if is_deepspeed_zero3_enabled() and model.config._name_or_path:
        return None
    frozen = copy.deepcopy(model)
    return frozen if dtype in (None, "auto") else frozen.to(getattr(torch, dtype))


def _load(trainer, frozen: str | None, dtype: str | None) -> nn.Module:
    args, policy = trainer.args, get_config_model_id(trainer.model.config)
    init = dict(args.model_init_kwargs or {})
    init.setdefault("trust_remote_code", args.trust_remote_code)
    if frozen is not None and frozen != policy:
        tokenizer = AutoTokenizer.from_pretrained(frozen, trust_remote_code=init["trust_remote_code"])
        if not same_tokenizer(tokenizer, trainer._tokenizer):
            raise ValueError(
                f"The tokenizer of the frozen base {frozen} is not the policy's: the same ids mean other "
                "tokens to it, so it cannot be the KL reference. Choose a frozen base of the policy's model "
                "family; a teacher may have any tokenizer as a reward, rewards: [{name: endorm, model: ...}]."
            )
        init.pop("revision", None)  # the policy's
    init["dtype"] = dtype or trainer.model.dtype
    init.setdefault("attn_implementation", trainer.model.config._attn_implementation)
    if args.distributed_state.distributed_type in ("MULTI_GPU", "DEEPSPEED"):
        init["device_map"] = None
    return create_model_from_path(frozen or policy, **init)


def keep_adapter(model: PeftModel) -> str | None:
    """Keep the adapter of a PEFT model as it is: None where it changes nothing, so that the base is the model with its
    adapter off; else the name of a frozen copy of it. No weights of the model itself are copied.

    An adapter that was trained before, and one that does not start at zero (PiSSA even takes its start out of the base
    weights), are a part of the policy as it was loaded.

    Raises:
        ValueError: weights outside the adapter are trained too, and switching it off would not bring them back;
            nothing is trained; or the adapter is made of tokens (prefix and prompt tuning).
    """
    name = model.active_adapter
    if getattr(model.peft_config[name], "is_prompt_learning", False):
        raise ValueError(
            "Prefix and prompt tuning put tokens of their own before every prompt, which the frozen base does not "
            "read: rewards and KL would be of another text. Use LoRA, or train without an adapter."
        )
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(
            "No parameter of the policy requires a gradient, so that nothing would be trained: load a trained adapter "
            "with is_trainable=True."
        )
    part = re.compile(rf"\.{re.escape(name)}(?=\.|$)")  # of a parameter's name, if it is the adapter's
    outside = [n for n, p in model.named_parameters() if p.requires_grad and not part.search(n)]
    if outside:
        raise ValueError(
            f"Beside the adapter {len(outside)} other weights are trained (such as {outside[0]}), so that the frozen "
            'base would move with the policy. Freeze them (LoraConfig(bias="none")), or train without an adapter.'
        )
    if changes_nothing(model, name):
        return None
    config = copy.deepcopy(model.peft_config[name])
    if hasattr(config, "init_lora_weights"):
        config.init_lora_weights = True  # PiSSA and its like would take another start out of the base weights
    model.add_adapter(REF, config)
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for n, p in weights.items():
            if part.search(n):
                weights[part.sub(f".{REF}", n)].copy_(p).requires_grad_(False)
    return REF


def changes_nothing(model: nn.Module, name: str) -> bool:
    """Whether an adapter leaves the model as it is, as far as can be told from its weights: LoRA whose second factor
    is zero. Of other kinds it is not known, and the answer is no."""
    layers = [m for m in model.modules() if isinstance(m, (BaseTunerLayer, AuxiliaryTrainingWrapper))]
    if not layers or not all(isinstance(m, LoraLayer) for m in layers):
        return False
    for layer in layers:
        factors = [part[name] for part in (layer.lora_B, layer.lora_embedding_B) if name in part]
        weights = [getattr(factor, "weight", factor) for factor in factors]
        if name in layer.lora_magnitude_vector or any(bool(w.any()) for w in weights):
            return False
    return True
