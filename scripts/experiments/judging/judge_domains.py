"""The claim in miniature: does a prompt steer EndoRM, and how many labels is it worth? Nothing is downloaded.

Steering: a small LM learns, from scratch, to answer in four synthetic domains chosen by a system line. To held-out
questions there is one response of each domain; EndoRM under a domain's system line should prefer that domain's.

Labels: a small LM learns arithmetic from a noisy expert. Its EndoRM judges right against wrong responses of that
expert, beside Bradley-Terry reward models of the same size, trained on k labelled pairs.

Writes results.json, results.md and judging.png. Takes two to three minutes on one or two CPU cores.
"""

import argparse
import json
import random
import time
from pathlib import Path

import domains as domain_task
import numpy as np
import torch
from domains import DOMAINS, SYSTEM_LINES
from judging_report import (
    column_winners,
    domain_cells,
    draw,
    judgement,
    labels_worth,
    markdown,
    over_seeds,
    share_beaten,
)

from rewards import EndoRM, FrozenBase
from rewards.reporting.record import record
from rewards.reporting.tables import write_between
from train.tasks.arithmetic import (
    EXPERT_ERROR,
    N_STEPS,
    build_tokenizer,
    chain_responses,
    preference_pairs,
    problem_arrays,
    split_indices,
)
from train.tasks.arithmetic_model import imitate_expert, token_rows
from train.tasks.bradley_terry import fit_bradley_terry, reward, reward_model

SCRIPT = Path(__file__).resolve()
RESULTS, README, ROOT = SCRIPT.parent / "results", SCRIPT.with_name("README.md"), SCRIPT.parents[3]
# The first setting is the one reported, chosen before any was measured. Alpha is 1 and rewards are summed in all.
SETTINGS = [{"form": form, "discount": discount} for discount in (1.0, 0.95) for form in ("reward", "logprob")]
# Of 3e-4, 1e-3 and 3e-3 the rate that was best for the rival at 4,096 labels, on a seed that is not reported.
BRADLEY_TERRY = {"batch_size": 64, "learning_rate": 1e-3}
EXPERT_BATCH = 128


def steering(args: argparse.Namespace) -> dict:
    """The table of system lines by domains, with a row without system line, a floor and a ceiling."""
    tokenizer = domain_task.build_tokenizer()
    train, heldout = domain_task.split_questions(args.questions, args.seed)
    model = domain_task.imitate_domains(tokenizer, train, seed=args.seed, steps=args.domain_steps)
    rng = random.Random(f"held-out {args.seed}")
    prompts = [question for question in heldout for _ in DOMAINS]
    responses = [domain_task.answer(question, domain, rng) for question in heldout for domain in DOMAINS]
    base, scores, by_question = FrozenBase(model), {}, (len(heldout), len(DOMAINS))
    for row, line in (SYSTEM_LINES | {"no system line": None}).items():
        endorm = EndoRM(base, tokenizer, **SETTINGS[0], system_prompt=line, progress=True)
        scores[row] = np.reshape(endorm.score(prompts, responses), by_question)
    words = np.reshape([len(response.split()) for response in responses], by_question)
    outcomes = {row: share_beaten(s) for row, s in (scores | {"length only (shorter)": -words}).items()}
    # The generator's own likelihood under the column's domain: what a perfect imitation of it would reach.
    known = [[domain_task.style_log_prob(response, domain) for response in responses] for domain in DOMAINS]
    beaten = share_beaten(np.reshape(known, (len(DOMAINS), *by_question)))
    outcomes["generator itself"] = tuple(np.diagonal(share, axis1=0, axis2=2) for share in beaten)
    winners = column_winners({row: outcomes[row][0] for row in scores}, DOMAINS)
    square = np.stack([outcomes[row][0].mean(0) for row in DOMAINS])
    return {
        "parameters": model.num_parameters(),
        "questions": len(heldout),
        "cells": domain_cells(outcomes, DOMAINS),
        "winners": winners,
        "diagonal_wins": sum(winner["largest"] == column for column, winner in winners.items()),
        "diagonal_largest_in_row": int((square.argmax(1) == np.arange(len(DOMAINS))).sum()),
        "mean_words": dict(zip(DOMAINS, words.mean(0).tolist(), strict=True)),
        "length_correlation": {row: float(np.corrcoef(s.ravel(), words.ravel())[0, 1]) for row, s in scores.items()},
    }


def labels(args: argparse.Namespace) -> dict:
    """EndoRM of a noisy expert's imitator beside Bradley-Terry reward models by number of labels."""
    tokenizer = build_tokenizer()
    train, heldout = split_indices(max(20_000, *args.labels), args.problems, args.seed)
    model = imitate_expert(
        tokenizer, np.sort(heldout), seed=args.seed, steps=args.expert_steps, batch_size=EXPERT_BATCH
    )
    rng, pairs = np.random.default_rng([args.seed, 2]), []
    for indices in (train[: max(args.labels)], heldout):
        problems = problem_arrays(indices)
        pairs.append([token_rows(*problems, written, tokenizer) for written in preference_pairs(*problems, rng)])
    (chosen, rejected), test = pairs
    answers = [chain_responses(*problems, error, rng)[:, -1] for error in (0.0, EXPERT_ERROR)]

    prompt_length = 2 * N_STEPS + 2
    tokens, base, n = torch.cat(test), FrozenBase(model), len(heldout)
    prompts, responses = tokens[:, :prompt_length].tolist(), tokens[:, prompt_length:].tolist()
    lengths = [len(response) for response in responses]
    frozen_scores, margins = base.score(prompts, responses, progress=True), []
    for setting in SETTINGS:
        scores = EndoRM(base, tokenizer, **setting)(prompts, responses, responses, frozen_scores=frozen_scores)
        margins.append(np.subtract(scores[:n], scores[n:]))
    free = [s | {"primary": s is SETTINGS[0]} | judgement(m) for s, m in zip(SETTINGS, margins, strict=True)]

    trained = []
    for start, from_lm in (("from scratch", False), ("from the noisy expert", True)):
        for k in args.labels:
            torch.manual_seed(args.seed)
            rng, rival = np.random.default_rng([args.seed, 3]), reward_model(model, from_lm)
            steps = max(4 * k // BRADLEY_TERRY["batch_size"], args.least_steps)
            fit_bradley_terry(rival, chosen[:k], rejected[:k], steps=steps, rng=rng, **BRADLEY_TERRY)
            with torch.inference_mode():
                own, held = (reward(rival, a) - reward(rival, b) for a, b in ((chosen[:k], rejected[:k]), test))
            fitted = float((own > 0).float().mean())
            row = {"start": start, "labels": k, "steps": steps, "accuracy_on_own_labels": fitted}
            trained.append(row | judgement(held.numpy(), margins[0]))
    return {
        "parameters": model.num_parameters(),
        "problems": n,
        "demonstrations": args.expert_steps * EXPERT_BATCH,
        "expert_right": float((answers[0] == answers[1]).mean()),
        "endorm": free,
        "bradley_terry": trained,
        "length_only": judgement(np.subtract(lengths[n:], lengths[:n])),
        "worth": labels_worth(free[0], trained),
    }


def committed_table() -> str:
    """The README's table: a column for each file in results/."""
    return over_seeds([json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("seed*.json"))])


def main(argv: list[str] | None = None) -> None:
    """Command line entry: both experiments, then the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/judging"), help="folder for the results")
    parser.add_argument("--seed", type=int, default=0, help="seed of the data and the models")
    # Matrices this small make threads wait for each other wherever the cores are shared with other work.
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; 2 is faster, on cores that are idle")
    parser.add_argument("--questions", type=int, default=500, help="held-out questions of the four domains")
    parser.add_argument("--problems", type=int, default=2000, help="held-out arithmetic problems")
    parser.add_argument("--labels", type=int, nargs="+", default=[64, 512, 4096], help="numbers of labelled pairs")
    parser.add_argument("--domain_steps", type=int, default=300, help="training steps on the four domains")
    parser.add_argument("--expert_steps", type=int, default=700, help="training steps on the noisy expert")
    parser.add_argument("--least_steps", type=int, default=80, help="of Bradley-Terry, which else takes 4 epochs")
    parser.add_argument("--write_readme", action="store_true", help="only write the table of results/ to the README")
    args = parser.parse_args(argv)
    if args.write_readme:
        write_between(README, "results", committed_table())
        return
    if min(args.questions, args.problems) < 2 or min(args.labels) < 1:
        parser.error("intervals need at least two --questions and two --problems, and --labels at least one pair")
    start = time.perf_counter()
    settings = {k: v for k, v in vars(args).items() if k not in ("output", "seed", "write_readme")}
    settings |= {"primary": SETTINGS[0], "bradley_terry": BRADLEY_TERRY}
    made = record(settings, None if argv is None else [SCRIPT.relative_to(ROOT), *argv])
    torch.set_num_threads(args.threads)

    results = {"steering": steering(args), "labels": labels(args)}
    results |= {"seed": args.seed} | made | {"seconds": time.perf_counter() - start}
    args.output.mkdir(parents=True, exist_ok=True)
    draw(results, args.output / "judging.png")
    (args.output / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    text = markdown(results)
    (args.output / "results.md").write_text(text, encoding="utf-8")
    print(f"{text}\nWrote results.json, results.md and judging.png to {args.output} ({results['seconds']:.0f} s)")


if __name__ == "__main__":
    main()
