"""Rewards side by side on the demo task: what each made of the same base, over seeds, with collapses named."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from rewards import FrozenBase
from rewards.reporting.intervals import student
from rewards.reporting.tables import markdown_table, with_interval
from train.tasks.arithmetic_evaluation import complete, evaluate

COLLAPSE = 0.10  # loss of sampled or greedy accuracy from which a row is called a collapse
LIMIT = 16  # tokens of a response, end token included; a right one has five
MEASURES = ("sampled", "greedy", "tokens", "entropy", "kl")


def measure(name: str, model, base: FrozenBase, tokenizer, prompts: list[str], seed: int) -> dict:
    """A policy on held-out prompts: accuracies (`evaluate`), and of its samples at temperature 1 the mean length in
    tokens, the share cut off at `LIMIT`, the entropy (nats a token) and the KL to the base (k1, nats a response)."""
    row = {d: evaluate(name, model, tokenizer, prompts, d, seed)["accuracy"] for d in ("sampled", "greedy")}
    torch.manual_seed(seed)
    texts, lengths = complete(model, tokenizer, prompts, 1.0, max_new_tokens=LIMIT)
    end = [tokenizer.eos_token_id]
    ids = [tokenizer(text)["input_ids"] + end * (length < LIMIT) for text, length in zip(texts, lengths)]
    kept = [i for i, response in enumerate(ids) if response]
    rows = [tokenizer(prompts[i])["input_ids"] for i in kept], [ids[i] for i in kept]
    own = FrozenBase(model).score(*rows, distribution=True)
    frozen = base.score(*rows)
    entropy = sum(s.entropy.sum() for s in own) / sum(len(s.entropy) for s in own)
    kl = sum((s.log_probs - f.log_probs).sum() for s, f in zip(own, frozen)) / len(own)
    cut = lengths.count(LIMIT) / len(lengths)
    return row | {"tokens": float(np.mean(lengths)), "cut_off": cut, "entropy": float(entropy), "kl": float(kl)}


def verdict(rows: Sequence[Mapping], base: Sequence[Mapping]) -> str:
    """What a reward did to its bases, of the same seeds: a gain of sampled accuracy where the interval of the paired
    differences is above 0, and a collapse where sampled or greedy accuracy lost `COLLAPSE`, named by how it looks."""
    mean, low, high = student([r["sampled"] - b["sampled"] for r, b in zip(rows, base, strict=True)])
    lost = max(np.mean([b[k] - r[k] for r, b in zip(rows, base, strict=True)]) for k in ("sampled", "greedy"))
    if lost >= COLLAPSE:
        tokens, cut, entropy = (np.mean([r[k] for r in rows]) for k in ("tokens", "cut_off", "entropy"))
        usual, usual_entropy = (np.mean([b[k] for b in base]) for k in ("tokens", "entropy"))
        how = []
        if cut > 0.5:
            how.append("runs into the length limit")
        elif tokens < 0.8 * usual:
            how.append("short answers")
        elif tokens > 1.2 * usual:
            how.append("long answers")
        if entropy < 0.2 * usual_entropy:
            how.append("certain of what is wrong")
        elif entropy > 1.5 * usual_entropy:
            how.append("noise")
        return "collapse: " + (", ".join(how) or "drifts away")
    if low > 0:
        return "gain"
    return "loss" if high < 0 else "nothing shown"


def summarise(
    results: Mapping[str, Sequence[Mapping]],
    bases: Sequence[Mapping],
    starts: Mapping[str, Sequence[Mapping]] | None = None,
) -> list[dict]:
    """One row a reward, of its runs in the order of ``bases``: each measure's mean and interval, the gain of sampled
    accuracy and the verdict, both over the bases or over what ``starts`` says that a reward began from."""
    rows = []
    for name, runs in results.items():
        begun = (starts or {}).get(name, bases)
        gain = student([run["sampled"] - b["sampled"] for run, b in zip(runs, begun, strict=True)])
        row = {"name": name, "seeds": len(runs), "gain": gain, "verdict": verdict(runs, begun)}
        rows.append(row | {key: student([run[key] for run in runs]) for key in MEASURES})
    return rows


def markdown(rows: Sequence[Mapping], cold: Sequence[float]) -> str:
    """The table; ``cold`` holds the bases' accuracies at low temperature, one a seed."""
    lines = [["base, temperature 0.3", with_interval(*student(cold)), "", "", "", "", "control"]]
    for row in rows:
        cells = [with_interval(*row[key], f".{digits}f") for key, digits in zip(MEASURES, (3, 3, 2, 3, 2))]
        lines.append([row["name"], *cells, row["verdict"]])
    headings = ["reward", "sampled", "greedy", "tokens", "entropy (nats a token)", "KL (nats a response)", "verdict"]
    return markdown_table(headings, lines)


def draw(rows: Sequence[Mapping], controls: Mapping, curves: Mapping[str, Sequence], path: Path) -> None:
    """Left, accuracies at the end with intervals; right, accuracy in training, a mean over seeds, of ``curves``
    {reward: (steps, accuracies)}."""
    figure = Figure(figsize=(13, 7), layout="constrained")
    ends, training = figure.subplots(1, 2)
    places = np.arange(len(rows))[::-1]
    for key, color, shift in (("sampled", "tab:blue", 0.12), ("greedy", "tab:green", -0.12)):
        mean, low, high = np.array([row[key] for row in rows]).T
        ends.errorbar(mean, places + shift, xerr=[mean - low, high - mean], fmt="o", color=color, label=key, capsize=2)
    for (decoding, values), style in zip(controls.items(), ("--", ":", "-.")):
        ends.axvline(np.mean(values), color="grey", ls=style, label=f"base, {decoding}")
    ends.set_yticks(places, [row["name"] for row in rows])
    ends.set_xlim(-0.05, 1.05)
    ends.set_xlabel("accuracy on held-out problems, 95 % interval over seeds")
    ends.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3, fontsize=8)
    for i, (name, (steps, accuracy)) in enumerate(curves.items()):
        training.plot(steps, accuracy, label=name, color=f"C{i % 10}", ls="-" if i < 10 else "--", lw=1.2)
    training.set_xlabel("step")
    training.set_ylabel("accuracy of the rollouts")
    training.set_ylim(0, 1.02)
    training.grid(alpha=0.3)
    training.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=4, fontsize=7)
    figure.savefig(path, dpi=120)
