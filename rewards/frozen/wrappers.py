"""The model inside the wrappers that a launcher or an adapter puts around it."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedModel


def unwrap(model: nn.Module) -> PreTrainedModel:
    """The causal LM inside DDP, DeepSpeed and PEFT wrappers (FSDP2 changes the class in place and wraps nothing)."""
    inner: Any = unwrap_parallel(model)  # PEFT may not be there to name its class
    return inner.get_base_model() if hasattr(inner, "get_base_model") else inner


def unwrap_parallel(model: nn.Module) -> nn.Module:
    """The module inside DDP, DeepSpeed and torch.compile wrappers, a PEFT model kept."""
    while isinstance(inner := getattr(model, "module", getattr(model, "_orig_mod", None)), nn.Module):
        model = inner
    return model
