"""The demo task in two styles, and a small language model that knows both and is told which by a criterion.

A terse response is the four running results, ``2974``; a verbose one announces each with a ``=``, ``=2=9=7=4``. The
criterion, written in the task's own characters before the problem, says how many characters the response should have:
``4=`` or ``8=``. Without one, the noisy expert takes either style with probability 1/2.
"""

import re

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedTokenizerBase, Qwen2ForCausalLM

from train.tasks.arithmetic import EXPERT_ERROR, N_STEPS, chain_responses, problem_arrays, sample_indices
from train.tasks.arithmetic_model import imitate, token_rows

CRITERIA = {"terse": "4=", "verbose": "8="}
_STYLES = {"terse": re.compile(r"[0-9]{4}"), "verbose": re.compile(r"(=[0-9]){4}")}


def style_of(response: str) -> str | None:
    """The style in which ``response`` is written, right or wrong; None if it is neither."""
    return next((style for style, pattern in _STYLES.items() if pattern.fullmatch(response)), None)


def styled_demonstrations(
    n: int, rng: np.random.Generator, heldout: np.ndarray, tokenizer: PreTrainedTokenizerBase, error: float
) -> tuple[Tensor, Tensor]:
    """Fresh demonstrations, a quarter each terse and verbose, with and without criterion: token ids ``(n, 21)``,
    padded on the right, and labels of the same shape (-100 on prompt and padding). Held-out problems are never drawn;
    ``n`` is a multiple of 4."""
    equals, width, rows = tokenizer.convert_tokens_to_ids("="), 2 + (2 * N_STEPS + 2) + 2 * N_STEPS + 1, []
    for style, criterion in CRITERIA.items():
        for before in (tokenizer(criterion)["input_ids"], []):
            digits, operators = problem_arrays(sample_indices(n // 4, rng, exclude=heldout))
            responses = chain_responses(digits, operators, error=error, rng=rng)
            tokens = token_rows(digits, operators, responses, tokenizer)
            prompt, response, end = tokens.split([2 * N_STEPS + 2, N_STEPS, 1], dim=1)
            if style == "verbose":
                response = torch.stack([torch.full_like(response, equals), response], dim=2).flatten(1)
            prompt = torch.cat([torch.tensor([before] * len(prompt), dtype=torch.long), prompt], dim=1)
            # padding on the right is seen by no token before it and has no label: no mask is needed
            parts = [prompt, response, end], [torch.full_like(prompt, -100), response, end]
            ids, labels = (torch.cat(part, dim=1) for part in parts)
            fill = width - ids.shape[1]
            rows.append((pad(ids, (0, fill), value=tokenizer.pad_token_id), pad(labels, (0, fill), value=-100)))
    ids, labels = zip(*rows, strict=True)
    return torch.cat(ids), torch.cat(labels)


def imitate_styles(
    tokenizer: PreTrainedTokenizerBase,
    heldout: np.ndarray,
    *,
    seed: int = 0,
    steps: int = 300,
    batch_size: int = 128,
    learning_rate: float = 3e-3,
    hidden: int = 64,
    layers: int = 2,
) -> Qwen2ForCausalLM:
    """A model trained on ``steps`` batches of demonstrations in both styles, half of them after a criterion; cross
    entropy over the response and end token."""
    rng = np.random.default_rng([seed, 1])
    return imitate(
        tokenizer,
        lambda: styled_demonstrations(batch_size, rng, heldout, tokenizer, EXPERT_ERROR),
        seed=seed,
        steps=steps,
        learning_rate=learning_rate,
        hidden=hidden,
        layers=layers,
        description="two styles",
    )
