"""The model inside the wrappers that a launcher or an adapter puts around it."""

from __future__ import annotations

from torch import nn


def unwrap(model: nn.Module) -> nn.Module:
    """The causal LM inside DDP, DeepSpeed and PEFT wrappers (FSDP2 changes the class in place and wraps nothing)."""
    model = unwrap_parallel(model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def unwrap_parallel(model: nn.Module) -> nn.Module:
    """The module inside DDP, DeepSpeed and torch.compile wrappers, a PEFT model kept."""
    while isinstance(inner := getattr(model, "module", getattr(model, "_orig_mod", None)), nn.Module):
        model = inner
    return model
