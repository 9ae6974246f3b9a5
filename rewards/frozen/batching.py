"""Which sequences go through the frozen base together: as little padding, and as few forwards, as can be had."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

# Attention to a cached prompt is slower a token than the causal kind: times fewer tokens from which it is faster.
WORTH_SHARING = 1.5
# Attention compares every token of a tree with every other: times fewer costs from which a tree is used.
WORTH_BRANCHING = 1.25
# Nodes of a tree at most, in hidden sizes: attention then costs half of what the layers' products do.
LARGEST_TREE = 3
# What one more forward costs beside its tokens, in tokens: kernels to launch and weights to read.
FORWARD_TOKENS = 256


def plan_batches(
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    ways: Sequence[str],
    budget: int,
    forward_budget: int,
    hidden_size: int,
    forward_tokens: int = FORWARD_TOKENS,
) -> list[tuple[str, list[int]]]:
    """Divide rows into forwards, each with the way by which its rows share what they begin with, at the least cost.

    Args:
        prompts, responses: token ids of each row.
        ways: those that the model allows, of "tree" (`PrefixTree`) and "prompt" (one cached prompt); a row for which
            neither is worth while goes "apart".
        budget: padded tokens of a forward that shares one prompt, which has to hold a group.
        forward_budget: nodes or padded tokens of the other forwards.
        hidden_size: of the model.
        forward_tokens: what one more forward costs.
    """
    lengths = [len(p) + len(r) for p, r in zip(prompts, responses)]
    rows = [[*p, *r] for p, r in zip(prompts, responses)] if "tree" in ways else []
    trees = batches_by_prefix(rows, forward_budget, hidden_size)
    plans: list[tuple[float, list[tuple[str, list[int]]]]] = []
    for tree, prompt in itertools.product({False, bool(trees)}, {False, "prompt" in ways}):
        planned, total = [("tree", batch) for _, batch in trees if tree], 0.0
        if tree:
            total += sum(WORTH_BRANCHING * cost(n, n, hidden_size) + forward_tokens for n, _ in trees)
        rest = sorted(set(range(len(lengths))).difference(*(batch for _, batch in planned)))
        if prompt:
            groups = batches_by_prompt([prompts[i] for i in rest], [lengths[i] for i in rest], budget)
            if not groups:
                continue  # this is the plan without it
            for batch in groups:
                planned.append(("prompt", [rest[k] for k in batch]))
                length = len(prompts[rest[batch[0]]])
                total += WORTH_SHARING * (length + sum(lengths[rest[k]] - length for k in batch)) + forward_tokens
            rest = sorted(set(rest).difference(*(batch for _, batch in planned)))
        apart = batches_by_tokens([lengths[i] for i in rest], forward_budget, forward_tokens)
        for batch in apart:
            longest = max(lengths[rest[k]] for k in batch)
            total += cost(len(batch) * longest, longest // 2, hidden_size) + forward_tokens
        first = [("apart", [rest[k] for k in batch]) for batch in apart]  # so that the longest rows go first
        plans.append((total, first + planned))
    return min(plans, key=lambda plan: plan[0])[1]


def cost(tokens: int, context: int, hidden_size: int) -> float:
    """What a forward costs, in tokens of its layers' products. Attention of a token to `context` others, masked or
    not, adds their number over six hidden sizes: a pair takes products of 2 H numbers, a token those of 12 H^2."""
    return tokens * (1 + context / (6 * hidden_size))


def batches_by_prefix(rows: Sequence[Sequence[int]], budget: int, hidden_size: int) -> list[tuple[int, list[int]]]:
    """Group rows that begin alike so that each batch is a `PrefixTree` of at most `budget` nodes and `LARGEST_TREE`;
    rows for which that is not worth while are in none.

    Args:
        rows: token ids of each row.
        hidden_size: of the model.

    Returns:
        the nodes and the rows of each batch.
    """
    budget = min(budget, LARGEST_TREE * hidden_size)
    order = sorted(range(len(rows)), key=lambda i: list(rows[i]))
    found: list[tuple[int, list[int]]] = []  # nodes and rows of each batch
    last = np.asarray([])
    for i in order:
        row = np.asarray(rows[i])
        new = len(row) - alike(last, row)
        nodes, batch = found[-1] if found else (budget, [])
        if nodes + new <= budget:
            batch.append(i)
            found[-1] = (nodes + new, batch)
        else:
            found.append((len(row), [i]))
        last = row
    apart = [sum(cost(len(rows[i]), len(rows[i]) // 2, hidden_size) for i in batch) for _, batch in found]
    branching = [WORTH_BRANCHING * cost(nodes, nodes, hidden_size) for nodes, _ in found]
    return [batch for batch, one, other in zip(found, branching, apart) if one <= other]


def alike(one: np.ndarray, other: np.ndarray) -> int:
    """How many entries two arrays begin with alike."""
    length = min(len(one), len(other))
    differs = one[:length] != other[:length]
    return int(differs.argmax()) if differs.any() else length


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
