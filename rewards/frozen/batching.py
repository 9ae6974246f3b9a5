"""Which sequences go through the frozen base together: as little padding, and as few forwards, as can be had."""

from __future__ import annotations

from collections.abc import Sequence

# Attention to a cached prompt is slower a token than the causal kind: times fewer tokens from which it is faster.
WORTH_SHARING = 1.5
# What one more forward costs beside its tokens, in tokens: kernels to launch and weights to read.
FORWARD_TOKENS = 256


def batches_by_prompt(prompts: Sequence[Sequence[int]], lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group rows so that each batch has one prompt and with it at most `budget` padded tokens; rows for which that is
    not worth while are in none.

    Args:
        prompts: token ids of each row's prompt.
        lengths: tokens of each row, prompt and response.
    """
    same: dict[tuple[int, ...], list[int]] = {}
    for i, prompt in enumerate(prompts):
        same.setdefault(tuple(prompt), []).append(i)
    batches = []
    for prompt, rows in same.items():
        tokens = sum(lengths[i] for i in rows)
        if tokens < WORTH_SHARING * (tokens - (len(rows) - 1) * (len(prompt) - 1)):
            continue
        rest = [lengths[i] - len(prompt) for i in rows]
        apart = batches_by_tokens(rest, max(1, budget - len(prompt)), FORWARD_TOKENS + len(prompt))
        batches += [[rows[k] for k in batch] for batch in apart]
    return batches


def batches_by_tokens(lengths: Sequence[int], budget: int, forward_tokens: int = FORWARD_TOKENS) -> list[list[int]]:
    """Group row indices, longest first, at the least cost: padded tokens and `forward_tokens` for every batch.

    A batch has rows x longest row <= budget; a longer row goes alone.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    padded = len(order) * max(lengths, default=0)
    if order and padded <= budget and padded - sum(lengths) <= forward_tokens:
        return [order]  # all that splitting could spare is less than another forward
    best, starts = [0], []  # for the first k rows of the order: the least cost, and where their last batch starts
    for k in range(1, len(order) + 1):
        costs = {k - 1: best[k - 1] + lengths[order[k - 1]] + forward_tokens}
        for j in range(k - 2, -1, -1):
            tokens = (k - j) * lengths[order[j]]
            if tokens > budget:
                break
            costs[j] = best[j] + tokens + forward_tokens
        starts.append(min(costs, key=costs.__getitem__))
        best.append(costs[starts[-1]])
    batches: list[list[int]] = []
    while order:
        batches.append(order[starts[len(order) - 1] :])
        del order[starts[len(order) - 1] :]
    return batches[::-1]
