"""What a step of training cannot be faster than: the matrix products of each of its phases, bare, on this machine."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from bare_products import BareProducts

from rewards.frozen.encoding import encode_prompt
from rewards.frozen.loading import load_causal_lm

BACKWARD = 3  # times the products of a forward that a forward with its backward makes


class StepLimits:
    """Times the products of a rollout and its updates.

    Args:
        folder, data: the policy's, and a file of its prompts.
        batch: responses of a rollout.
        micro_batch: those in one forward of an update.
        epochs: updates in which each response takes part.
        dtype: of what the policy computes, and the layers of the frozen base; its head's products are fp32.
    """

    def __init__(self, folder: Path, data: Path, batch: int, micro_batch: int, epochs: int, dtype: torch.dtype):
        model, tokenizer = load_causal_lm(str(folder), torch.float32)
        self.products, self.dtype = BareProducts(model, dtype), dtype
        self.batch, self.micro_batch, self.epochs = batch, micro_batch, epochs
        with data.open(encoding="utf-8") as file:
            prompts = [json.loads(line)["prompt"] for line, _ in zip(file, range(256))]
        self.prompt = round(statistics.mean(len(encode_prompt(tokenizer, prompt)) for prompt in prompts))

    def measure(self, tokens: float, longest: int) -> dict[str, float]:
        """Seconds of each part of a step, by the names of `step_table`.

        Args:
            tokens: of a prompt with its response, mean.
            longest: tokens of the longest response, which generation has to wait for.
        """
        response, width = max(1, round(tokens) - self.prompt), round(tokens)
        context = self.prompt + longest // 2
        layers = self._seconds(self.products.forward(self.micro_batch, width)) * self.batch / self.micro_batch
        head = self._seconds(self.products.head_product(self.batch * response, self.dtype))
        frozen_head = self._seconds(self.products.head_product(self.batch * (response + 1)))
        prefill = self._seconds(self.products.forward(self.batch, self.prompt))
        token = self._seconds(self.products.forward(self.batch, 1, context))
        token += self._seconds(self.products.head_product(self.batch, self.dtype))
        return {
            "generation": prefill + longest * token,
            "frozen base, reference": layers + frozen_head,
            "policy log-probs": layers + head,
            "update": self.epochs * BACKWARD * (layers + head),
        }

    @staticmethod
    def _seconds(run: Callable[[], object], repeats: int = 3) -> float:
        run()
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        return min(seconds)


def median_limits(rounds: list[Mapping[str, float]]) -> dict[str, float]:
    """The medians over the rounds of a benchmark, and their sum as "whole"."""
    found = {part: round(statistics.median(limits[part] for limits in rounds), 5) for part in rounds[0]}
    return found | {"whole": round(sum(found.values()), 5)}
