"""Other ways to score the tokens of responses, to measure ours against: each takes lists of token ids without padding.

They give per-token rewards Q(s_h, a_h) - V(s_{h+1}) in nats, alpha 1 and V = log|V| after the last token (eq. 12 of
arXiv 2506.23235), or what their authors compute instead: log-probabilities, sums of rewards, or, as a limit, nothing.
"""

from __future__ import annotations

import copy
import importlib.util
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from bare_products import BareProducts
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel
from trl.trainer.utils import add_fused_lm_head

from rewards import FrozenBase
from rewards.endorm import endogenous_rewards
from rewards.frozen.batching import batches_by_tokens
from rewards.frozen.lm_head import BLOCKS, head_logits

Ids = Sequence[Sequence[int]]
BATCH_TOKENS = 8192  # of ours; the limits, and all that take their states from `response_states`, have its batches


@dataclass(frozen=True)
class Rival:
    """One way to score.

    Attributes:
        run: computes it for all responses: (T_i,) fp32 of each in nats, or its sum, or nothing.
        gives: "rewards", "log-probs", "sums of rewards" or "nothing".
        base: the frozen base that counts backbone tokens, of ours.
    """

    run: Callable[[], list[Tensor] | list[float] | None]
    gives: str
    base: FrozenBase | None = None


def rivals(
    model: PreTrainedModel, prompts: Ids, responses: Ids, share_prompts: bool = False, bf16: bool = False
) -> tuple[dict[str, Rival], dict[str, str]]:
    """The rivals that can run here, and for each other one the reason why not.

    Args:
        model: a causal LM whose head is a plain product, such as a Qwen2.
        prompts, responses: n lists of token ids each, none empty.
        share_prompts: ours computes equal prompts once; then `apart` is ours without that.
        bf16: adds ours with bfloat16 in the backbone's products alone (autocast), and in weights and states as well.
    """
    base, batch = FrozenBase(model, BATCH_TOKENS), (model, prompts, responses)
    sizes = [[len(ids) for ids in side] for side in (prompts, responses)]
    found = {
        "ours": Rival(partial(ours, base, prompts, responses, share_prompts), "rewards", base),
        "limit": Rival(partial(limit, *batch), "nothing"),
        "blocked_limit": Rival(partial(limit, *batch, BLOCKS[model.device.type]), "nothing"),
        "products": Rival(BareProducts(model).scoring(*sizes, base.batch_budget), "nothing"),
        "naive": Rival(partial(naive, *batch), "rewards"),
        "per_response_loop": Rival(partial(per_response_loop, *batch), "sums of rewards"),
        "trl_fused_head": Rival(partial(trl_fused_head, *batch), "log-probs"),
    }
    if share_prompts:
        found["apart"] = Rival(partial(ours, base, prompts, responses), "rewards", base)
    if bf16:
        autocast = FrozenBase(model, BATCH_TOKENS, autocast=partial(torch.autocast, model.device.type, torch.bfloat16))
        found["bf16_autocast"] = Rival(partial(ours, autocast, prompts, responses, share_prompts), "rewards", autocast)
        half = FrozenBase(copy.deepcopy(model).to(torch.bfloat16), BATCH_TOKENS)
        found["bf16_weights"] = Rival(partial(ours, half, prompts, responses, share_prompts), "rewards", half)
    absent = {}
    packages = {"cut_cross_entropy": (cut_cross_entropy, "rewards"), "liger_kernel": (liger, "log-probs")}
    for package, (function, gives) in packages.items():
        if package == "liger_kernel" and model.device.type != "cuda":
            absent[function.__name__] = "needs a GPU"
        elif not all(importlib.util.find_spec(name) for name in (package, "triton")):  # both import triton
            absent[function.__name__] = "not installed: pip install 'endorm[bench]'"
        else:
            found[function.__name__] = Rival(partial(function, *batch), gives)
    return found, absent


def ours(base: FrozenBase, prompts: Ids, responses: Ids, share_prompts: bool = False) -> list[Tensor]:
    """Rewards by the frozen base."""
    return [endogenous_rewards(s) for s in base.score(prompts, responses, share_prompts=share_prompts)]


@torch.no_grad()
def response_states(model: PreTrainedModel, prompts: Ids, responses: Ids) -> tuple[Tensor, Tensor]:
    """(N, H) states before each response token and after the last, N = sum(T_i + 1), and the (N,) tokens taken there,
    0 after the last. The backbone runs in the batches that ours makes."""
    states: list[Tensor] = [None] * len(prompts)
    lengths = [len(p) + len(r) for p, r in zip(prompts, responses)]
    for rows in batches_by_tokens(lengths, FrozenBase(model, BATCH_TOKENS).batch_budget):
        ids = padded(model, [prompts[i] for i in rows], [responses[i] for i in rows])
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
        for i, row in zip(rows, hidden):
            states[i] = row[len(prompts[i]) - 1 : len(prompts[i]) + len(responses[i])]
    return torch.cat(states), torch.tensor([a for r in responses for a in (*r, 0)], device=model.device)


def padded(model: PreTrainedModel, prompts: Ids, responses: Ids) -> Tensor:
    """(n, longest) token ids, padded on the right, where a causal model's tokens cannot see it."""
    rows = [torch.tensor([*p, *r]) for p, r in zip(prompts, responses)]
    return pad_sequence(rows, batch_first=True).to(model.device)


def without_last(values: Tensor, responses: Ids) -> list[Tensor]:
    """Those of (N,) values that belong to the states before tokens, for each response."""
    return [x[:-1] for x in values.split([len(r) + 1 for r in responses])]


@torch.no_grad()
def limit(model: PreTrainedModel, prompts: Ids, responses: Ids, block: tuple[int, int] | None = None) -> None:
    """Backbone and fp32 head product alone, results thrown away: 256 whole rows of logits at a time, or `block` states
    and vocabulary entries at a time into one buffer."""
    states, _ = response_states(model, prompts, responses)
    weight = model.lm_head.weight
    rows, columns = block or (256, len(weight))
    buffer = torch.empty(rows * columns, device=model.device) if block else None
    for x in states.split(rows):
        for w in weight.split(columns):
            head_logits(x, w, None, out=None if buffer is None else buffer[: len(x) * len(w)].view(len(x), len(w)))


@torch.no_grad()
def naive(model: PreTrainedModel, prompts: Ids, responses: Ids) -> list[Tensor]:
    """Rewards from the full fp32 logits of the padded batch."""
    logits = model(padded(model, prompts, responses), use_cache=False).logits.float()
    return [rewards_of(row, p, r) for row, p, r in zip(logits, prompts, responses)]


def rewards_of(logits: Tensor, prompt: Sequence[int], response: Sequence[int]) -> Tensor:
    """(T,) rewards from the logits of one sequence, (at least len(prompt) + T, |V|)."""
    n, actions = len(prompt), torch.tensor(response, device=logits.device)
    v = torch.logsumexp(logits[n : n + len(response)], dim=-1)
    v[-1] = math.log(logits.shape[-1])
    return logits[n - 1 : n - 1 + len(response)].gather(-1, actions[:, None])[:, 0] - v


@torch.no_grad()
def per_response_loop(
    model: PreTrainedModel, prompts: Ids, responses: Ids, discount: float = 1.0, floor: float = 0.0
) -> list[float]:
    """Sums of max(discount^h, floor) * reward, as the method was first published: one response at a time, the logits
    of its whole sequence in fp32, and a Python loop over its tokens."""
    totals = []
    for prompt, response in zip(prompts, responses):
        ids = torch.tensor([[*prompt, *response]], device=model.device)
        logits = model(ids, use_cache=False).logits[0].float()
        total, end = 0.0, len(response) - 1
        for h, token in enumerate(response):
            state = len(prompt) - 1 + h
            after = math.log(logits.shape[-1]) if h == end else torch.logsumexp(logits[state + 1], dim=-1).item()
            total += max(discount**h, floor) * (logits[state, token].item() - after)
        totals.append(total)
    return totals


@torch.no_grad()
def trl_fused_head(model: PreTrainedModel, prompts: Ids, responses: Ids) -> list[Tensor]:
    """Log-probs by TRL's fused head, as its GRPO trainer sets it up for the reference model: padded batch with a mask,
    logits in the model's dtype, only the response tokens labelled."""
    add_fused_lm_head(fused := copy.copy(model))  # it patches `forward`: of a shell that shares the weights
    ids = padded(model, prompts, responses)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, (p, r) in enumerate(zip(prompts, responses)):
        mask[row, : len(p) + len(r)] = 1
        labels[row, len(p) : len(p) + len(r)] = ids[row, len(p) : len(p) + len(r)]
    log_probs = fused(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True).log_probs
    return [row[len(p) - 1 :][: len(r)] for row, p, r in zip(log_probs, prompts, responses)]


@torch.no_grad()
def cut_cross_entropy(model: PreTrainedModel, prompts: Ids, responses: Ids) -> list[Tensor]:
    """Rewards by Apple's cut cross-entropy (arXiv 2411.09009), without a GPU its variant for torch.compile, whose
    logits are whole. Releases without `return_lse` give the loss V - Q alone; Q is then one more row-wise product."""
    from cut_cross_entropy import linear_cross_entropy

    states, actions = response_states(model, prompts, responses)
    weight, impl = model.lm_head.weight, "cce" if model.device.type == "cuda" else "torch_compile"
    if "return_lse" in inspect.signature(linear_cross_entropy).parameters:
        loss, v = linear_cross_entropy(states, weight, actions, reduction="none", return_lse=True, impl=impl)
        q = v - loss
    else:
        loss = linear_cross_entropy(states, weight, actions, reduction="none", impl=impl)
        q = (states.float() * weight[actions].float()).sum(dim=1)
        v = q + loss
    rewards = []
    for q_i, v_i in zip(q.split(lengths := [len(r) + 1 for r in responses]), v.split(lengths)):
        v_i[-1] = math.log(len(weight))
        rewards.append(q_i[:-1] - v_i[1:])
    return rewards


@torch.no_grad()
def liger(model: PreTrainedModel, prompts: Ids, responses: Ids) -> list[Tensor]:
    """Log-probs by Liger's fused linear cross-entropy (arXiv 2410.10989)."""
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    states, actions = response_states(model, prompts, responses)
    loss = LigerFusedLinearCrossEntropyLoss(reduction="none")(model.lm_head.weight, states, actions)
    return without_last(-loss, responses)


@torch.no_grad()
def exact(model: PreTrainedModel, prompts: Ids, responses: Ids) -> dict[str, list[Tensor]]:
    """Rewards and log-probs in float64, from the same weights cast up: what every rival would give without rounding.

    One sequence at a time through a copy of the model. Norms are replaced, since transformers computes them in fp32
    whatever the dtype; so are rotary angles, which stay as they are.
    """
    double = copy.deepcopy(model).double()
    for module in list(double.modules()):
        for name, norm in module.named_children():
            if hasattr(norm, "variance_epsilon"):
                setattr(module, name, nn.RMSNorm(norm.weight.shape, norm.variance_epsilon, device=norm.weight.device))
                getattr(module, name).weight = norm.weight
    found = {"rewards": [], "log-probs": [], "sums of rewards": []}
    for p, r in zip(prompts, responses):
        logits = double(padded(model, [p], [r]), use_cache=False).logits[0]
        found["rewards"].append(rewards_of(logits, p, r))
        found["sums of rewards"].append(found["rewards"][-1].sum())
        taken = torch.tensor(r, device=model.device)[:, None]
        found["log-probs"].append(logits[len(p) - 1 : -1].log_softmax(dim=-1).gather(1, taken)[:, 0])
    return found


def deviation(given: list, exact: list[Tensor]) -> float:
    """Largest difference to as many of the first results as `exact` has."""
    return max((torch.as_tensor(g, device=e.device) - e).abs().max().item() for g, e in zip(given, exact))
