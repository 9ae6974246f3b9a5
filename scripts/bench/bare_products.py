"""The matrix products of a model's forward, bare: what no faster way around them can spare, measured on this machine.

A forward is these products and what lies between them: norms, rotary angles, activations, sums. Run one after the
other on random states, with the model's own weights, into buffers that exist, the products take the time of a limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel

from rewards.frozen.batching import batches_by_tokens
from rewards.frozen.lm_head import BLOCKS, head_logits


class BareProducts:
    """The products of a causal LM of transformers whose layers are `nn.Linear` and plain attention.

    Args:
        model: gives shapes and weights.
        dtype: of states and weights in the layers' products; default that of the weights. Weights of another dtype
            are cast once, here, so that a cast in every forward is not part of the limit.
    """

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype | None = None):
        config, self.device = model.config, model.device
        self.dtype = dtype or model.dtype
        layers = model.model.layers
        self.weights = [m.weight.detach().to(self.dtype) for m in layers.modules() if isinstance(m, nn.Linear)]
        self.head = model.lm_head.weight.detach()
        self.layers, self.heads = len(layers), config.num_attention_heads
        self.kv_heads = config.num_key_value_heads
        self.head_size = getattr(config, "head_dim", None) or config.hidden_size // self.heads

    @torch.no_grad()
    def forward(self, rows: int, width: int, context: int = 0) -> Callable[[], None]:
        """The layers' products for (rows, width) tokens, each of which attends to those before it in its row and to
        `context` more. Buffers are made here, and not when it runs."""
        tokens = rows * width
        sizes = {size for weight in self.weights for size in weight.shape}
        states = {size: self._random(tokens, size) for size in sizes}
        results = {size: torch.empty_like(states[size]) for size in sizes}
        q = self._random(rows, self.heads, width, self.head_size)
        k, v = (self._random(rows, self.kv_heads, context + width, self.head_size) for _ in range(2))

        @torch.no_grad()
        def run() -> None:
            for weight in self.weights:
                torch.mm(states[weight.shape[1]], weight.T, out=results[weight.shape[0]])
            for _ in range(self.layers):
                scaled_dot_product_attention(q, k, v, is_causal=not context, enable_gqa=True)

        return run

    @torch.no_grad()
    def head_product(self, states: int, dtype: torch.dtype | None = None) -> Callable[[], None]:
        """The product of so many states with the head: fp32 logits in the blocks that the frozen base takes, each into
        one buffer; or with `dtype` all at once and in that."""
        x = self._random(states, self.head.shape[1])
        if dtype is not None:
            weight, x = self.head.to(dtype), x.to(dtype)
            logits = torch.empty(states, len(weight), dtype=dtype, device=self.device)
            return lambda: torch.mm(x, weight.T, out=logits)
        rows, columns = BLOCKS[self.device.type]
        buffer = torch.empty(min(rows, states) * columns, device=self.device)

        @torch.no_grad()
        def run() -> None:
            for part in x.split(rows):
                for weight in self.head.split(columns):
                    head_logits(part, weight, None, out=buffer[: len(part) * len(weight)].view(len(part), len(weight)))

        return run

    def scoring(self, prompts: Sequence[int], responses: Sequence[int], batch_tokens: int) -> Callable[[], None]:
        """All products of scoring: the layers' in batches as the frozen base makes them, and the head's for the states
        before each response token and after the last.

        Args:
            prompts, responses: tokens of each.
            batch_tokens: padded tokens in one batch, `FrozenBase.batch_budget`.
        """
        lengths = [p + r for p, r in zip(prompts, responses)]
        batches = batches_by_tokens(lengths, batch_tokens)
        runs = [self.forward(len(rows), max(lengths[i] for i in rows)) for rows in batches]
        runs.append(self.head_product(sum(responses) + len(responses)))

        def run_all() -> None:
            for run in runs:
                run()

        return run_all

    def _random(self, *shape: int) -> Tensor:
        return torch.randn(shape, device=self.device, dtype=self.dtype)
