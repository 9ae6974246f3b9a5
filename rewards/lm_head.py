"""The language-model head in fp32, a few tokens at a time: Q of the tokens taken and log-partition functions.

A [batch, tokens, vocabulary] tensor never exists; bf16 logits, off by up to 0.03 nats at |logit| = 8, neither.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LogitRule:
    """What an architecture does to the product of hidden state and head: logits = cap * tanh(scale * x / cap).

    Attributes:
        scale: Cohere's `logit_scale` (times), Granite's and MiniCPM's `logits_scaling` (divided by), Falcon-H1's
            `lm_head_multiplier`.
        cap: Gemma's `final_logit_softcapping`; None for no cap.
    """

    scale: float = 1.0
    cap: float | None = None

    @classmethod
    def from_config(cls, config) -> LogitRule:
        """Read the rule from a transformers text config."""
        scale = 1.0
        if getattr(config, "logits_scaling", None):
            scale = config.logits_scaling if config.model_type == "hyperclovax" else 1.0 / config.logits_scaling
        for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"):
            value = getattr(config, name, None)
            if value is not None:
                scale = float(value)
                break
        return cls(scale, getattr(config, "final_logit_softcapping", None))

    def __call__(self, logits: Tensor) -> Tensor:
        """Apply the rule in place to fp32 logits of any shape."""
        if self.scale != 1.0:
            logits.mul_(self.scale)
        if self.cap is not None:
            logits.div_(self.cap).tanh_().mul_(self.cap)
        return logits


@dataclass
class HeadStatistics:
    """Statistics of N states, fp32: q (N,) and log_z {t: (N,)} with log_z[t] = logsumexp(Q / t)."""

    q: Tensor
    log_z: dict[float, Tensor]
    vocab_size: int

    def log_probs(self, temperature: float) -> Tensor:
        """(N,) log softmax(Q / temperature) at the tokens taken, in nats."""
        return self.q / temperature - self.log_z[temperature]


def head_logits(states: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor | None = None) -> Tensor:
    """fp32 logits (n, V) of states (n, H), whatever the dtype of the weights. Autocast does not reach in here."""
    with torch.autocast(states.device.type, enabled=False):
        if weight.dtype != torch.float32 and weight.is_cuda:
            logits = torch.mm(states.to(weight.dtype), weight.T, out_dtype=torch.float32)
        elif out is not None:
            logits = torch.mm(states.float(), weight.float().T, out=out)
        else:
            logits = torch.mm(states.float(), weight.float().T)
        return logits if bias is None else logits.add_(bias.float())


def head_statistics(
    states: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    actions: Tensor,
    temperatures: Sequence[float],
    rule: LogitRule,
    chunk_tokens: int,
) -> HeadStatistics:
    """Q and log-partition functions of many states with chunk_tokens x V x 4 bytes of memory.

    Args:
        states: (N, H) hidden states, any floating dtype.
        weight, bias: (V, H) and (V,) or None, of the head.
        actions: (N,) token ids whose Q is wanted.
        temperatures: the t at which log_z[t] = logsumexp(Q / t) is wanted (duplicates cost nothing).
        rule: the architecture's scaling and cap.
        chunk_tokens: rows at a time.
    """
    n, vocab_size = len(states), len(weight)
    temperatures = tuple(dict.fromkeys(temperatures))
    q = torch.empty(n, device=states.device)
    log_z = {t: torch.empty(n, device=states.device) for t in temperatures}
    if weight.dtype != torch.float32 and not weight.is_cuda:
        weight = weight.float()  # once a call, not once a chunk
    # One buffer for all chunks: on a CPU the page faults of fresh memory cost as much as the product itself.
    buffer = torch.empty(min(chunk_tokens, n), vocab_size, device=states.device)
    for start in range(0, n, chunk_tokens):
        rows = slice(start, min(start + chunk_tokens, n))
        logits = rule(head_logits(states[rows], weight, bias, out=buffer[: rows.stop - start]))
        q[rows] = logits.gather(1, actions[rows, None])[:, 0]
        top = logits.amax(dim=1, keepdim=True)
        logits.sub_(top)
        for t in temperatures:
            scaled = logits if t == 1.0 else logits / t
            exp = scaled.exp_() if t == temperatures[-1] else scaled.exp()
            log_z[t][rows] = exp.sum(dim=1).log_() + top[:, 0] / t
    return HeadStatistics(q, log_z, vocab_size)


@contextlib.contextmanager
def materialize(weight: Tensor, bias: Tensor | None):
    """The whole head weight and bias where ZeRO-3 or FSDP2 hold only shards of them."""
    if hasattr(weight, "full_tensor"):  # FSDP2
        yield weight.full_tensor(), None if bias is None else bias.full_tensor()
    elif hasattr(weight, "ds_id"):  # ZeRO-3
        from trl.trainer.utils import maybe_gather_lm_head_ctx

        with maybe_gather_lm_head_ctx(weight, bias):
            yield weight, bias
    else:
        yield weight, bias
