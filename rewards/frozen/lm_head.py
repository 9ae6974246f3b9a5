"""The language-model head in fp32, a block at a time: Q of the tokens taken and log-partition functions.

A [batch, tokens, vocabulary] tensor never exists; bf16 logits, off by up to 0.03 nats at |logit| = 8, neither.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

# States x vocabulary entries of one block of fp32 logits: at most 32 MiB on a CPU, near its caches; 256 MiB on a GPU.
BLOCKS = {"cpu": (4096, 2048), "cuda": (4096, 16384)}

# fp32 sums of exp(x) are sound where their log lies within +- this: exp overflows at 88 and loses digits below -87
ROOM = 60.0


@dataclass(frozen=True)
class LogitRule:
    """What an architecture does to the product of hidden state and head: logits = cap * tanh(scale * x / cap).

    Attributes:
        scale: Cohere's `logit_scale` (times), Granite's and MiniCPM's `logits_scaling` (divided by), Falcon-H1's
            `lm_head_multiplier`.
        cap: Gemma's `final_logit_softcapping`, RecurrentGemma's `logits_soft_cap`; None for no cap.
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
        caps = (getattr(config, name, None) for name in ("final_logit_softcapping", "logits_soft_cap"))
        return cls(scale, next((cap for cap in caps if cap is not None), None))

    def __call__(self, logits: Tensor) -> Tensor:
        """Apply the rule in place to fp32 logits of any shape."""
        if self.scale != 1.0:
            logits.mul_(self.scale)
        if self.cap is not None:
            logits.div_(self.cap).tanh_().mul_(self.cap)
        return logits


@dataclass
class HeadStatistics:
    """Statistics of N states, fp32: q (N,), log_z {t: (N,)} with log_z[t] = logsumexp(Q / t) and, on request, the mean
    of Q over the vocabulary under the uniform distribution and under softmax(Q), (N,) each."""

    q: Tensor
    log_z: dict[float, Tensor]
    vocab_size: int
    uniform_mean: Tensor | None = None
    softmax_mean: Tensor | None = None

    def log_probs(self, temperature: float) -> Tensor:
        """(N,) log softmax(Q / temperature) at the tokens taken, in nats."""
        return self.q / temperature - self.log_z[temperature]


def head_logits(states: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor | None = None) -> Tensor:
    """fp32 logits (n, v) of states (n, H) for v rows of the head, whatever its dtype. Autocast does not reach in."""
    with torch.autocast(states.device.type, enabled=False):
        if weight.dtype != torch.float32 and weight.is_cuda:
            logits = torch.mm(states.to(weight.dtype), weight.T, out_dtype=torch.float32, out=out)
        else:
            logits = torch.mm(states.float(), weight.float().T, out=out)
        return logits if bias is None else logits.add_(bias.float())


def head_statistics(
    states: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    actions: Tensor,
    temperatures: Sequence[float],
    rule: LogitRule,
    block: tuple[int, int] | None = None,
    distribution: bool = False,
) -> HeadStatistics:
    """Q and log-partition functions of many states, in blocks of states x vocabulary.

    The logits of one block are summed up while they are still near the cache; on two CPU cores that takes 0.6 of the
    time of whole rows, and memory does not grow with the vocabulary.

    Args:
        states: (N, H) hidden states, any floating dtype.
        weight, bias: (V, H) and (V,) or None, of the head.
        actions: (N,) token ids whose Q is wanted.
        temperatures: the t at which log_z[t] = logsumexp(Q / t) is wanted (duplicates cost nothing).
        rule: the architecture's scaling and cap.
        block: states and vocabulary entries whose fp32 logits exist at a time; default by device, see BLOCKS.
        distribution: also the two means of Q.
    """
    rows, columns = block or BLOCKS.get(states.device.type, BLOCKS["cuda"])
    temperatures = tuple(dict.fromkeys((*temperatures, *[1.0] * distribution)))
    n, vocab_size = len(states), len(weight)
    q = torch.empty(n, device=states.device)
    log_z = {t: torch.empty(n, device=states.device) for t in temperatures}
    means = torch.empty(2 * distribution, n, device=states.device)
    buffer = torch.empty(min(rows, n) * min(columns, vocab_size), device=states.device)
    far_out = False
    for first in range(0, n, rows):
        part = slice(first, min(first + rows, n))
        x, a = states[part], actions[part]
        q_part = (x.float() * weight[a].float()).sum(dim=1)
        q[part] = rule(q_part if bias is None else q_part + bias[a].float())

        def blocks(x=x):
            for v in range(0, vocab_size, columns):
                w, b = weight[v : v + columns], None if bias is None else bias[v : v + columns]
                yield rule(head_logits(x, w, b, out=buffer[: len(x) * len(w)].view(len(x), len(w))))

        # A shift by the maximum, which is known only after another product, is for logits far from 0 or small t.
        if not far_out:
            logs = _log_sums_of_exp(blocks(), None, temperatures)
            far_out = not bool((torch.stack([*logs.values()]).abs() < ROOM).all())  # NaN too
        if far_out:
            top = torch.stack([logits.amax(dim=1, keepdim=True) for logits in blocks()]).amax(dim=0)
            logs = _log_sums_of_exp(blocks(), top, temperatures)
        for t in temperatures:
            log_z[t][part] = logs[t]
        if distribution:
            means[:, part] = _means(blocks(), log_z[1.0][part, None], vocab_size)
    return HeadStatistics(q, log_z, vocab_size, *means)


def _means(blocks: Iterable[Tensor], log_z: Tensor, vocab_size: int) -> Tensor:
    """(2, n): means of the logits (n, v) of all blocks under the uniform distribution and under softmax."""
    uniform, softmax = torch.zeros_like(log_z[:, 0]), torch.zeros_like(log_z[:, 0])
    for logits in blocks:
        uniform = uniform + logits.sum(dim=1)
        softmax = softmax + (logits * (logits - log_z).exp_()).sum(dim=1)
    return torch.stack([uniform / vocab_size, softmax])


def _log_sums_of_exp(
    blocks: Iterable[Tensor], shift: Tensor | None, temperatures: Sequence[float]
) -> dict[float, Tensor]:
    """{t: (n,)} log of the sum of exp(logits / t) over all blocks (n, v), which are overwritten; inside the sum they
    are less by `shift` (n, 1)."""
    sums: dict[float, Tensor] = {}
    for logits in blocks:
        if shift is not None:
            logits.sub_(shift)
        for t in temperatures:
            scaled = logits if t == 1.0 else logits / t
            sum_here = (scaled.exp_() if t == temperatures[-1] else scaled.exp()).sum(dim=1)
            sums[t] = sums[t] + sum_here if t in sums else sum_here
    return {t: x.log() if shift is None else x.log() + shift[:, 0] / t for t, x in sums.items()}


@contextlib.contextmanager
def materialize(weight: nn.Parameter, bias: nn.Parameter | None) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The whole head weight and bias where ZeRO-3 or FSDP2 hold only shards of them."""
    if isinstance(weight, DTensor):  # FSDP2
        yield weight.full_tensor(), bias.full_tensor() if isinstance(bias, DTensor) else bias
    elif hasattr(weight, "ds_id"):  # ZeRO-3
        from trl.trainer.utils import maybe_gather_lm_head_ctx

        with maybe_gather_lm_head_ctx(*(p for p in (weight, bias) if p is not None)):
            yield weight, bias
    else:
        yield weight, bias
