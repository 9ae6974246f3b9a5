"""Rows that begin alike as one tree, so that what they share goes through a model once.

The prompts of a batch begin with the same chat template, and the responses of a group with the same prompt. Here all
rows lie one after another in a single sequence, a shared beginning once, and each token attends to those before it in
its own row alone. There is no padding left, every token has the state that it has in its own row, and the gradient of
a shared token is the sum over the rows that go on from it.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, cache_utils

from rewards.frozen.batching import LARGEST_TREE, WORTH_BRANCHING, cost
from rewards.frozen.shared_prompt import can_share

# Settings of architectures whose attention depends on a token's place in memory, which no position id changes.
BY_PLACE = ("alibi", "window_size", "attention_window", "use_alibi")


@dataclass(frozen=True)
class PrefixTree:
    """B rows of up to L tokens as N nodes, each once.

    Attributes:
        ids, positions: (N,) int64, of each node its token and how many come before it in its row.
        place: (B, L) int64, the node of each token of each row, and any node where a row has padding.
        mask: (N, N) bool, whether a node (first axis) attends to another.
    """

    ids: Tensor
    positions: Tensor
    place: Tensor
    mask: Tensor

    def inputs(self, lm: PreTrainedModel) -> dict[str, Tensor]:
        """The keyword arguments by which the backbone of a causal LM reads the tree as one row of N tokens."""
        mask = self.mask[None, None]
        if lm.config._attn_implementation == "eager":  # adds its mask
            mask = torch.zeros(mask.shape, dtype=lm.dtype, device=mask.device).masked_fill(
                ~mask, torch.finfo(lm.dtype).min
            )
        return {"input_ids": self.ids[None], "position_ids": self.positions[None], "attention_mask": mask}

    def rows(self, states: Tensor) -> Tensor:
        """(B, L, ...) from what the backbone gave for the nodes, (1, N, ...)."""
        return states[0].index_select(0, self.place.flatten()).view(*self.place.shape, *states.shape[2:])


def prefix_tree(ids: Tensor, real: Tensor, hidden_size: int | None = None) -> PrefixTree | None:
    """The tree of a batch of rows.

    Args:
        ids: (B, L) int64, padded on any side.
        real: (B, L), true or 1 on tokens; every row has one.
        hidden_size: of the model; with it, None is returned where the tree would be too large, or no faster than rows.
    """
    real = real.bool()
    rank = real.long().cumsum(dim=1) - 1
    width = ids.shape[1]
    begun = ids.new_full((len(ids), width + 1), -1)  # each row from its first token; padding goes to a last column
    begun = begun.scatter(1, torch.where(real, rank, width), ids)[:, :width]
    begun = torch.where(torch.arange(width, device=ids.device) <= rank[:, -1:], begun, -1)
    rows, of_row = torch.unique(begun, dim=0, return_inverse=True)  # in lexicographic order: neighbours share most
    same = ((rows[1:] == rows[:-1]) & (rows[1:] >= 0)).long().cumprod(dim=1).sum(dim=1)
    shared = torch.cat([same.new_zeros(1), same])
    columns = torch.arange(width, device=ids.device)
    new = (columns >= shared[:, None]) & (rows >= 0)
    number = new.flatten().cumsum(dim=0).view(new.shape) - 1
    # what a row shares it has from the last row that had a node of its own in that column
    place = torch.where(new, number, -1).cummax(dim=0).values
    nodes = int(new.sum())
    if hidden_size is not None:
        branching, apart = cost(nodes, nodes, hidden_size), cost(ids.numel(), width, hidden_size)
        if nodes > LARGEST_TREE * hidden_size or branching * WORTH_BRANCHING > apart:
            return None
    row, position = new.nonzero(as_tuple=True)
    before = place[row]  # (N, L), the path that leads to each node and beyond
    mask = torch.zeros(nodes, nodes + 1, dtype=torch.bool, device=ids.device)
    mask.scatter_(1, torch.where(before < 0, nodes, before), columns <= position[:, None])
    every = place[of_row].gather(1, rank.clamp(min=0)).clamp(min=0)
    return PrefixTree(rows[new], position, every, mask[:, :nodes])


def can_branch(lm: PreTrainedModel) -> bool:
    """Whether a causal LM may read a tree: all its layers attend to all tokens before, by a mask and positions that
    are given to it. `reads_trees` tries whether it does."""
    config = lm.config.get_text_config()
    if config._attn_implementation not in ("sdpa", "eager"):
        return False
    if any(getattr(config, name, None) for name in BY_PLACE):
        return False
    if {type(layer) for layer in DynamicCache(config=lm.config).layers} - {cache_utils.DynamicLayer}:
        return False
    return can_share(lm) and {"position_ids", "attention_mask"} <= set(
        inspect.signature(lm.base_model.forward).parameters
    )


@torch.no_grad()
def reads_trees(lm: PreTrainedModel, ids: Tensor, states: Tensor) -> bool:
    """Whether the backbone of a causal LM that `can_branch` gives rows (B, L) that begin alike, read as a tree, the
    states (B, L, H) that it gave them as they are, but for rounding. One that fails at it does not either."""
    tree = prefix_tree(ids, torch.ones_like(ids))
    assert tree is not None
    try:
        together = tree.rows(lm.base_model(**tree.inputs(lm), use_cache=False).last_hidden_state)
    except (RuntimeError, ValueError):
        return False
    tolerance = 1e-3 if states.dtype == torch.float32 and not torch.is_autocast_enabled(ids.device.type) else 0.1
    return bool((together.float() - states.float()).norm() <= tolerance * states.float().norm())
