"""Rewards read from full float64 logits of plain transformers, for one response at a time."""

import math

import torch


def statistics(model, prompt: list[int], response: list[int]) -> dict[str, float]:
    """The four label-free rewards of one response."""
    with torch.no_grad():
        logits = model(torch.tensor([prompt + response])).logits[0].double()
    z = logits[len(prompt) - 1 : -1]
    log_p = z.log_softmax(-1)
    taken = log_p.gather(1, torch.tensor(response)[:, None])[:, 0]
    return {
        "self_certainty": (-log_p.mean(1) - math.log(z.shape[1])).mean().item(),
        "negative_entropy": (log_p.exp() * log_p).sum(1).mean().item(),
        "mean_log_likelihood": taken.mean().item(),
        "sequence_log_likelihood": taken.sum().item(),
    }


def answer_probabilities(model, tokenizer, context: str, answer: str) -> torch.Tensor:
    """The probability of each of the answer's tokens after the context."""
    context, answer = tokenizer(context)["input_ids"], tokenizer(answer)["input_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([context + answer])).logits[0].double()
    p = logits.softmax(-1)[len(context) - 1 : -1]
    return p.gather(1, torch.tensor(answer)[:, None])[:, 0]
