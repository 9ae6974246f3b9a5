"""One prompt's keys and values, computed once and attended to by several responses."""

from __future__ import annotations

import inspect

from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, cache_utils

# Layers of a cache that hold nothing but keys and values of tokens, or nothing at all; a subclass holds more.
PLAIN = {cache_utils.DynamicLayer, cache_utils.DynamicSlidingWindowLayer}
PLAIN |= {getattr(cache_utils, "DummyLayer", cache_utils.DynamicLayer)}  # older transformers have none


def can_share(lm: PreTrainedModel) -> bool:
    """Whether all that a causal LM remembers of a prompt are keys and values, in a cache that it takes back.

    The state of a recurrence (Mamba, RWKV, gated linear attention, short convolutions) cannot be shared so.
    """
    if getattr(lm, "_is_stateful", False) or _argument(lm) is None:
        return False
    return {type(layer) for layer in DynamicCache(config=lm.config).layers} <= PLAIN


def shared_prompt(lm: PreTrainedModel, prompt: Tensor, responses: int) -> dict:
    """Forward of a prompt (1, P) int64 through a causal LM that `can_share`: the keyword argument by which `responses`
    rows that go on from it attend to it."""
    cache = {str(_argument(lm)): DynamicCache(config=lm.config)}
    lm.base_model(input_ids=prompt, use_cache=True, **cache)
    next(iter(cache.values())).batch_repeat_interleave(responses)
    return cache


def _argument(lm: PreTrainedModel) -> str | None:
    """What the backbone calls its cache: transformers renamed it, and warns of the former name."""
    known = inspect.signature(lm.base_model.forward).parameters
    return next((name for name in ("cache", "past_key_values") if name in known), None)
