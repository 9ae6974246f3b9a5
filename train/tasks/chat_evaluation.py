"""Accuracy of a chat model on a task with short answers: sampled, greedy, at low temperature, and by majority."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np

from rewards.reporting.intervals import bootstrap_mean
from train.evaluation.sampling import Decoding, TransformersSampler, sample
from train.tasks.chat_tasks import ChatTask, majority_answer, question_of

DECODINGS = {  # name: temperature, responses to each question
    "sampled": (1.0, 8),
    "greedy": (0.0, 1),
    "low_temperature": (0.3, 4),
}
MAJORITY = "majority of 8"  # of the sampled responses
BATCH = 64


def evaluate_chat(
    name: str,
    model: str | Path,
    task: ChatTask,
    rows: Sequence[Mapping],
    folder: Path,
    seed: int = 0,
    dtype: str = "float32",
    decodings: Sequence[str] = tuple(DECODINGS),
) -> list[dict]:
    """Rows of ``results.json``. Responses are kept in `folder`, so that a second call draws only what is missing.

    Args:
        name: of the policy in the rows.
        rows: the task's rows to ask.
        folder: for one file of responses a decoding; tied to the model by its hash.
        dtype: of the weights, "float32" or "bfloat16".
        decodings: names out of `DECODINGS`.

    Returns:
        A dictionary a decoding, and one for the majority where 8 responses were sampled: "name", "decoding",
        "temperature", "accuracy" in 0..1, "ci95" (bootstrap over questions), "n" questions, "samples" to each,
        "per_question" (n accuracies), and, but for the majority, "mean_tokens" (the end token included), "ended" (the
        share of responses with one), "first_sentence" (accuracy where only a response's first sentence is read) and
        "right_of_ended" (the share of right ones among the responses that ended; None where none did).
    """
    load = cache(partial(TransformersSampler, str(model), dtype))  # once, and only if something is missing
    ids, prompts = [str(i) for i in range(len(rows))], [row["prompt"] for row in rows]
    results = []
    for decoding in decodings:
        temperature, samples = DECODINGS[decoding]
        how = Decoding(samples, temperature, max_tokens=task.max_tokens, seed=seed, batch_size=BATCH)
        drawn = sample(folder / f"{decoding}.jsonl", str(model), ids, prompts, how, load, dtype=dtype)
        responses = [drawn[i * samples : (i + 1) * samples] for i in range(len(rows))]
        base = {"name": name, "decoding": decoding, "temperature": temperature, "samples": samples}
        results.append(base | summarise(task, rows, responses))
        if decoding == "sampled":
            share = [float(majority_is_right(task, row, of_it)) for row, of_it in zip(rows, responses)]
            results.append(base | {"decoding": MAJORITY} | accuracy(share))
    return results


def summarise(task: ChatTask, rows: Sequence[Mapping], responses: Sequence[Sequence[Mapping]]) -> dict:
    """Accuracy, lengths and ends of `responses`, several of `sample`'s rows to each of `rows`."""
    right = [[task.is_correct(row, r["text"]) for r in of_it] for row, of_it in zip(rows, responses)]
    short = [[task.is_correct(row, first_sentence(r["text"])) for r in of_it] for row, of_it in zip(rows, responses)]
    every = [r for of_it in responses for r in of_it]
    ended = [
        is_right for of_it, rights in zip(responses, right) for r, is_right in zip(of_it, rights) if r["finished"]
    ]
    return accuracy([float(np.mean(of_it)) for of_it in right]) | {
        "mean_tokens": float(np.mean([len(r["token_ids"]) for r in every])),
        "ended": float(np.mean([r["finished"] for r in every])),
        "first_sentence": float(np.mean(short)),
        "right_of_ended": float(np.mean(ended)) if ended else None,
    }


def accuracy(per_question: Sequence[float]) -> dict:
    """The mean over questions with its interval: several responses to one question are not independent."""
    mean, ends = bootstrap_mean(np.array(per_question)[:, None]) if len(per_question) > 1 else (per_question, None)
    interval = [float(mean[0])] * 2 if ends is None else [float(x) for x in ends[0]]
    return {
        "accuracy": float(mean[0]),
        "ci95": interval,
        "n": len(per_question),
        "per_question": [round(float(x), 4) for x in per_question],
    }


def majority_is_right(task: ChatTask, row: Mapping, responses: Sequence[Mapping]) -> bool:
    """Whether the answer that most responses give is the row's."""
    question = question_of(row["prompt"])
    return majority_answer([task.answer_of(question, r["text"]) for r in responses]) == row["answer"]


def first_sentence(text: str) -> str:
    """Up to the first full stop, question or exclamation mark that a capital letter, a line or the end follows."""
    text = text.strip()
    match = re.match(r".+?[.!?](?=\s+[A-Z]|\s*\n|\s*$)", text)
    return match[0] if match else text.split("\n")[0]
