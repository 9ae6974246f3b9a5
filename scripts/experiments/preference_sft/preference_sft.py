"""Does supervised fine-tuning on the chosen responses of preference data make a better judge of EndoRM?

    python scripts/experiments/preference_sft/preference_sft.py --output outputs/preference_sft

A base is fine-tuned on the chosen responses to 64, 512 or more problems, and judges right against wrong responses to
held-out ones by its EndoRM. Beside it stand the same on the rejected responses, and Bradley-Terry reward models from
the same base on the same pairs. The settings are the arithmetic task with its small model, and word problems with
SmolLM2-135M-Instruct (scripts/get_model.py). Writes results.json, results.md and accuracy.png.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from chat_pairs import (
    CHOSEN,
    PROMPT,
    REJECTED,
    Row,
    answer_loss,
    autocast,
    batches,
    draw_pairs,
    encode,
    imitation_loss,
    layers_of,
    pair_rewards,
    read_lower_layers,
)
from matplotlib.figure import Figure
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from rewards import EndoRM, FrozenBase
from rewards.reporting.intervals import bootstrap_mean, student
from rewards.reporting.record import record
from rewards.reporting.tables import markdown_table, with_interval, write_between
from train.tasks.arithmetic import N_STEPS, build_tokenizer, preference_pairs, problem_arrays, split_indices
from train.tasks.arithmetic_model import fit, imitate_expert, token_rows
from train.tasks.bradley_terry import bradley_terry_loss, fit_bradley_terry, reward, reward_model

SCRIPT = Path(__file__).resolve()
RESULTS, README, ROOT = SCRIPT.parent / "results", SCRIPT.with_name("README.md"), SCRIPT.parents[3]
DISCOUNTS = (1.0, 0.95)  # the first is the one reported, as in the other experiments
CHOSEN_SFT, REJECTED_SFT, RIVAL = "EndoRM, SFT on chosen", "EndoRM, SFT on rejected", "Bradley-Terry on pairs"
JUDGES = (CHOSEN_SFT, REJECTED_SFT, RIVAL)
ARITHMETIC, WORDS = "arithmetic, small model", "word problems, SmolLM2-135M-Instruct"
# Steps are the same for all judges: as many epochs as said, and not fewer steps than said. Rates were chosen by the
# accuracy on seed 3, which is not reported: of 3e-4, 1e-3 and 3e-3 with 4,096 responses, of 1e-4 and 3e-4 with 1,024.
# SFT with 3e-3 was within 0.001 of 1e-3 in arithmetic, and Bradley-Terry equal with both rates in word problems.
TRAINING = {
    ARITHMETIC: {"epochs": 4, "least_steps": 80, "batch_size": 64, "sft_rate": 1e-3, "rival_rate": 1e-3},
    WORDS: {"epochs": 1, "least_steps": 16, "batch_size": 16, "sft_rate": 1e-4, "rival_rate": 1e-4},
}
EXPERT_BATCH = 128


def steps_for(responses: int, setting: str) -> int:
    """Optimizer steps of every judge that learns from that many responses or pairs."""
    how = TRAINING[setting]
    return max(how["epochs"] * responses // how["batch_size"], how["least_steps"])


def judgement(judge: str, responses: int, margins: Sequence[np.ndarray]) -> dict:
    """A row of the results, from margins (score of the right less that of the wrong response) at each discount, or of
    a judge that has none. Ties are losses."""
    found: dict = {"judge": judge, "responses": responses}
    for key, margin in zip(("accuracy", "discounted"), margins):
        accuracy, interval = bootstrap_mean((margin > 0).astype(float))
        found |= {key: float(accuracy), f"{key}_ci95": interval.tolist()}
    return found | {"ties": float((margins[0] == 0).mean())}


def endorm_margins(base: FrozenBase, tokenizer, prompts: list, chosen: list, rejected: list) -> list[np.ndarray]:
    """EndoRM of the chosen less that of the rejected responses, all given as token ids, at each discount."""
    n, prompts, responses = len(chosen), prompts * 2, chosen + rejected
    scores, margins = base.score(prompts, responses), []
    for discount in DISCOUNTS:
        values = EndoRM(base, tokenizer, discount=discount)(prompts, responses, responses, frozen_scores=scores)
        margins.append(np.subtract(values[:n], values[n:]))
    return margins


def arithmetic(seed: int, args: argparse.Namespace) -> list[dict]:
    """Rows of the small model, which first imitates a noisy expert for a while."""
    how, tokenizer = TRAINING[ARITHMETIC], build_tokenizer()
    train, heldout = split_indices(max(args.responses), args.problems, seed)
    base = imitate_expert(tokenizer, np.sort(heldout), seed=seed, steps=args.expert_steps, batch_size=EXPERT_BATCH)
    rng, length = np.random.default_rng([seed, 2]), 2 * N_STEPS + 2
    learned, held = (
        [token_rows(*problems, written, tokenizer) for written in preference_pairs(*problems, rng)]
        for problems in (problem_arrays(train), problem_arrays(heldout))
    )

    def judged(lm: PreTrainedModel, judge: str, k: int) -> dict:
        prompts, sides = held[0][:, :length].tolist(), [side[:, length:].tolist() for side in held]
        return judgement(judge, k, endorm_margins(FrozenBase(lm), tokenizer, prompts, *sides))

    rows = [judged(deepcopy(base), CHOSEN_SFT, 0)]
    for k in args.responses:
        steps = steps_for(k, ARITHMETIC)
        for judge, tokens in zip((CHOSEN_SFT, REJECTED_SFT), learned, strict=True):
            lm, order = deepcopy(base), np.random.default_rng([seed, 3])
            rows.append(judged(imitate(lm, tokens[:k], length, steps, order), judge, k))
        torch.manual_seed(seed)
        rival, order = reward_model(base, from_lm=True), np.random.default_rng([seed, 3])
        sizes = {"steps": steps, "batch_size": how["batch_size"], "learning_rate": how["rival_rate"]}
        fit_bradley_terry(rival, learned[0][:k], learned[1][:k], rng=order, **sizes)
        with torch.inference_mode():
            rows.append(judgement(RIVAL, k, [(reward(rival, held[0]) - reward(rival, held[1])).numpy()]))
    return rows


def imitate(
    lm: PreTrainedModel, tokens: Tensor, prompt_length: int, steps: int, rng: np.random.Generator
) -> PreTrainedModel:
    """``lm`` after SFT on the responses in ``tokens (k, T)``, which begin after ``prompt_length`` tokens."""
    rows = [Row(row, (torch.arange(len(row)) >= prompt_length).long() * CHOSEN) for row in tokens]
    how = TRAINING[ARITHMETIC]
    data = batches(rows, how["batch_size"], rng)

    def next_loss() -> Tensor:
        ids = torch.stack([row.ids for row in next(data)])
        labels = ids.clone()
        labels[:, :prompt_length] = -100
        return answer_loss(lm, {"input_ids": ids, "use_cache": False}, labels)

    return fit(lm, next_loss, steps, how["sft_rate"], f"SFT, {len(tokens):,} responses")


def word_problems(seed: int, args: argparse.Namespace) -> list[dict]:
    """Rows of the chat model, of which the top layers are trained."""
    how, tokenizer = TRAINING[WORDS], AutoTokenizer.from_pretrained(args.model)
    # On rows of some fifty tokens plain attention is a third faster on a CPU, backward above all.
    plain = {"dtype": torch.float32, "attn_implementation": "eager"}
    base = AutoModelForCausalLM.from_pretrained(args.model, **plain)
    whole, drawn = base.config.num_hidden_layers, draw_pairs(max(args.chat_responses), args.chat_problems, seed)
    learned, held = ([encode(pair, tokenizer) for pair in pairs] for pairs in drawn)
    base.requires_grad_(False)
    read_lower_layers(base, args.trained_layers, [*learned, *held])

    def judged(lm: PreTrainedModel, judge: str, k: int) -> dict:
        texts = [[row.ids[row.kinds == kind].tolist() for row in held] for kind in (PROMPT, CHOSEN, REJECTED)]
        return judgement(judge, k, endorm_margins(FrozenBase(lm, autocast=autocast), tokenizer, *texts))

    def trained(part: PreTrainedModel, k: int, loss: Callable, rows: Sequence[Row], rate: str) -> PreTrainedModel:
        part.base_model.layers.requires_grad_(True)
        part.base_model.norm.requires_grad_(True)
        data = batches(rows, how["batch_size"], np.random.default_rng([seed, 3]))
        return fit(part, lambda: loss(part, next(data)), steps_for(k, WORDS), how[rate], f"{rate}, {k:,} responses")

    rows = [judged(deepcopy(base), CHOSEN_SFT, 0)]
    for k in args.chat_responses:
        for judge, kind in ((CHOSEN_SFT, CHOSEN), (REJECTED_SFT, REJECTED)):
            lm = deepcopy(base)
            part = layers_of(lm, whole - args.trained_layers, whole)
            trained(part, k, imitation_loss, [row.with_answer(kind) for row in learned[:k]], "sft_rate")
            rows.append(judged(lm, judge, k))
        torch.manual_seed(seed)
        rival = reward_model(layers_of(base, whole - args.trained_layers, whole), from_lm=True)
        rival.set_attn_implementation("eager")
        rival.base_model.embed_tokens.requires_grad_(False)
        trained(rival, k, lambda m, batch: bradley_terry_loss(*pair_rewards(m, batch)), learned[:k], "rival_rate")
        with torch.inference_mode():
            found = [torch.stack(pair_rewards(rival, held[i : i + 32])) for i in range(0, len(held), 32)]
        chosen, rejected = torch.cat(found, 1).numpy()
        rows.append(judgement(RIVAL, k, [chosen - rejected]))
    return rows


SETTINGS = {ARITHMETIC: arithmetic, WORDS: word_problems}


def curve(rows: Sequence[dict], setting: str, judge: str, key: str = "accuracy") -> dict[int, dict[int, float]]:
    """Number of responses -> seed -> accuracy; at 0 both SFT curves begin at the base."""
    found: dict[int, dict[int, float]] = {}
    for row in rows:
        own = judge == row["judge"] or (row["responses"] == 0 and judge != RIVAL)
        if own and row["setting"] == setting and key in row:
            found.setdefault(row["responses"], {})[row["seed"]] = row[key]
    return found


def markdown(rows: Sequence[dict]) -> str:
    """A table for each setting: accuracies by seed with bootstrap intervals over pairs, means over seeds with
    intervals by Student's t, and how far each judge is above the base of its seed."""
    seeds = sorted({row["seed"] for row in rows})
    headings = ["judge", "responses", *(f"seed {s}" for s in seeds), "mean", "less the base", "at discount 0.95"]
    text = []
    for setting in dict.fromkeys(row["setting"] for row in rows):
        cells, base = [], curve(rows, setting, CHOSEN_SFT)[0]
        for judge in JUDGES:
            discounted = curve(rows, setting, judge, "discounted")
            for k, by_seed in curve(rows, setting, judge).items():
                if k == 0 and judge != CHOSEN_SFT:
                    continue
                where = {"setting": setting, "judge": judge, "responses": k}
                own = {row["seed"]: row for row in rows if where.items() <= row.items()}
                shown = [
                    with_interval(own[s]["accuracy"], *own[s]["accuracy_ci95"]) if s in own else "" for s in seeds
                ]
                above = with_interval(*student([by_seed[s] - base[s] for s in by_seed]), "+.3f") if k else ""
                late = with_interval(*student(list(discounted[k].values()))) if k in discounted else ""
                mean = f"**{with_interval(*student(list(by_seed.values())))}**"
                cells.append([judge if k else "EndoRM of the base", f"{k:,}", *shown, mean, above, late])
        right, wrong = (curve(rows, setting, judge) for judge in (CHOSEN_SFT, REJECTED_SFT))
        less = (
            f"{k:,}: {with_interval(*student([right[k][s] - wrong[k][s] for s in right[k]]), '+.3f')}"
            for k in right
            if k
        )
        text.append(
            f"{setting[0].upper()}{setting[1:]}:\n\n{markdown_table(headings, cells)}\n"
            f"SFT on chosen less SFT on rejected responses, by their number: {', '.join(less)}.\n"
        )
    return "\n".join(text)


def draw(rows: Sequence[dict], path: Path) -> None:
    """Accuracy by number of responses, a panel for each setting: means over seeds with their intervals, and a point
    for each seed."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    for axis, setting in zip(figure.subplots(1, len(settings), squeeze=False)[0], settings, strict=True):
        ticks: set[int] = {0}
        for judge, colour in zip(JUDGES, ("tab:green", "tab:red", "tab:blue"), strict=True):
            found = curve(rows, setting, judge)
            mean, low, high = np.array([student(list(by_seed.values())) for by_seed in found.values()]).T
            bars = {"yerr": [mean - low, high - mean], "capsize": 3, "color": colour, "label": judge}
            axis.errorbar(list(found), mean, **bars)
            points = [(k, value) for k, by_seed in found.items() for value in by_seed.values()]
            axis.plot(*zip(*points, strict=True), ".", color=colour, alpha=0.5)
            ticks |= set(found)
        axis.axhline(0.5, color="grey", ls=":", label="chance")
        axis.set_xscale("symlog", linthresh=64, linscale=0.5)
        axis.set_xlim(-16, 1.5 * max(ticks))
        axis.set_xticks(sorted(ticks), [f"{k:,}" for k in sorted(ticks)])
        axis.minorticks_off()
        axis.set(xlabel="responses, or pairs, trained on", ylabel="accuracy on held-out pairs", title=setting)
        axis.set_ylim(0.3, 1.03)
        axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=100)


def committed_table() -> str:
    """The README's tables, from results/results.json."""
    return markdown(json.loads((RESULTS / "results.json").read_text(encoding="utf-8"))["rows"])


def earlier(file: Path, settings: dict) -> tuple[list[dict], float]:
    """The rows of a run that was killed, and its seconds: they are not made again.

    Raises:
        SystemExit: the file is of other settings.
    """
    if not file.is_file():
        return [], 0.0
    found = json.loads(file.read_text(encoding="utf-8"))
    which = ("seeds", "settings")  # these may grow
    ours, theirs = ({k: v for k, v in of.items() if k not in which} for of in (settings, found["settings"]))
    if json.loads(json.dumps(ours)) != theirs:
        raise SystemExit(f"{file} is of a run with other settings: choose another --output.")
    return found["rows"], found["seconds"]


def main(argv: list[str] | None = None) -> None:
    """Command line entry: every setting and seed, with the files written after each; what they have is kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/preference_sft"), help="folder for the results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of data, trainings and small models")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="which to run")
    parser.add_argument("--responses", type=int, nargs="+", default=[64, 512, 4096], help="numbers to train on")
    parser.add_argument("--problems", type=int, default=2000, help="held-out arithmetic problems")
    parser.add_argument("--expert_steps", type=int, default=150, help="training steps of the small base")
    parser.add_argument("--model", type=Path, default=Path("outputs/SmolLM2-135M-Instruct"), help="the chat model")
    parser.add_argument("--chat_responses", type=int, nargs="+", default=[64, 512, 2048], help="with the chat model")
    parser.add_argument("--chat_problems", type=int, default=500, help="held-out word problems")
    parser.add_argument("--trained_layers", type=int, default=6, help="top layers of the chat model, trained")
    parser.add_argument("--write_readme", action="store_true", help="only write the tables of results/ to the README")
    args = parser.parse_args(argv)
    if args.write_readme:
        write_between(README, "results", committed_table())
        return
    settings = {k: v for k, v in vars(args).items() if k not in ("output", "write_readme")} | {"training": TRAINING}
    made = record(settings, None if argv is None else [SCRIPT.relative_to(ROOT), *argv])
    torch.set_num_threads(1)
    args.output.mkdir(parents=True, exist_ok=True)
    rows, before = earlier(args.output / "results.json", made["settings"])
    start = time.perf_counter() - before
    for setting in args.settings:
        for seed in args.seeds:
            if any((row["setting"], row["seed"]) == (setting, seed) for row in rows):
                continue
            rows += [{"setting": setting, "seed": seed} | row for row in SETTINGS[setting](seed, args)]
            results = {"rows": rows, "seconds": round(time.perf_counter() - start)} | made
            (args.output / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
            text = markdown(rows)
            (args.output / "results.md").write_text(text, encoding="utf-8")
            draw(rows, args.output / "accuracy.png")
            print(f"{text}\nWrote results.json, results.md and accuracy.png to {args.output}", flush=True)


if __name__ == "__main__":
    main()
