"""Mathematics benchmarks for a model, a LoRA adapter, or a series of checkpoints.

    python scripts/eval_math.py --model Qwen/Qwen2.5-Math-7B --output outputs/eval_base
    python scripts/eval_math.py --model outputs/run/checkpoint-100 --samples 16 --temperature 0.6 --top_p 0.95
    python scripts/eval_math.py --model BASE --checkpoints 'outputs/run/checkpoint-*' --benchmarks math500 my=my.jsonl

Killed and started again with the same command it goes on. In the output folder: samples and grades of each model and
benchmark as JSON Lines, results.json, results.md, and accuracy.png of a series. Accuracy is avg@n over n samples.
"""

import argparse
import json
import logging
import re
from functools import partial
from glob import glob
from pathlib import Path

from rewards.endorm import FORMS, REDUCES
from rewards.frozen.messages import read_template_kwargs
from rewards.reporting.record import record
from train.evaluation.folders import model_name
from train.evaluation.grading import SECONDS, Graders
from train.evaluation.problems import BENCHMARKS, PAPER, TEMPLATES, load_benchmark, write_prompt
from train.evaluation.sampling import SAMPLERS, Decoding, sample
from train.evaluation.summary import (
    EndoRMScorer,
    draw_series,
    grade_samples,
    markdown,
    paper_order,
    problem_figures,
    summarise_model,
)
from train.problems.columns import FLAGS, KINDS


def variables(text: str) -> dict:
    """The chat template's variables, from JSON.

    Raises:
        argparse.ArgumentTypeError: they cannot be read.
    """
    try:
        return read_template_kwargs(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The flags, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", help="name or folder of a model or LoRA adapter; step 0 beside --checkpoints")
    add("--name", help="of --model in folders and tables, default its own, with the run's where that says too little")
    add("--checkpoints", help="pattern of folders whose names end with a step, in quotes")
    add("--benchmarks", nargs="+", default=list(PAPER), help=f"{', '.join(BENCHMARKS)}, or NAME=FILE_OR_HUB_NAME")
    add("--data", help="folder with files such as math500.jsonl, read in place of the hub")
    for flag in FLAGS:  # the same names, and the same table behind them, as in training
        add(f"--{flag}", help="of every benchmark, where it is not found by itself; '' for none")
    add("--answer_kind", choices=KINDS, help="how answers name a choice, default what fits")
    add("--limit", type=int, help="evenly spaced problems of each benchmark, default all")
    add("--output", default="outputs/eval_math", help="folder for samples, grades and results")
    add("--template", default="qwen-math", help=f"{', '.join(TEMPLATES)}, or a text file with {{problem}}")
    add(
        "--chat_template_kwargs",
        type=variables,
        help="variables of the chat template, as JSON: '{\"enable_thinking\": false}'",
    )
    add("--samples", type=int, default=1, help="responses to each problem, n")
    add("--temperature", type=float, default=0.0, help="0: greedy")
    add("--top_p", type=float, default=1.0)
    add("--max_tokens", type=int, default=1024, help="of a response")
    add("--seed", type=int, default=0)
    add("--backend", choices=SAMPLERS, default="transformers")
    add("--batch_size", type=int, help="responses in one batch, default 32, with vLLM 1024")
    add("--dtype", default="auto", help="auto, float32, bfloat16")
    add("--device", help="default CUDA where there is one, else the CPU")
    add("--trust_remote_code", action="store_true", help="run Python code that comes with the models")
    add("--boxed_only", action="store_true", help="a response without a box is wrong")
    add("--regrade", action="store_true", help="grade again, also where grades are there; generates nothing anew")
    add("--workers", type=int, help="grading processes, default one per core")
    add("--grade_seconds", type=float, default=SECONDS, help="for one answer, then it is ungraded")
    add("--endorm", metavar="MODEL", help="frozen base that chooses the best of n by EndoRM")
    add("--alpha", type=float, default=1.0, help="EndoRM: temperature of the soft value")
    add("--discount", type=float, default=1.0, help="EndoRM: token h weighs max(discount^h, floor)")
    add("--floor", type=float, default=0.0, help="EndoRM: least weight of a token")
    add("--form", choices=FORMS, default="reward", help="EndoRM: Q - V, or log-probabilities alone")
    add("--reduce", choices=REDUCES, default="sum", help="EndoRM: sum or mean over tokens")
    add("--cache", default="outputs/score_cache", help="folder of EndoRM's per-token scores")
    add("--draws", type=int, default=10_000, help="of the bootstrap")
    args = parser.parse_args(argv)
    if not (args.model or args.checkpoints):
        parser.error("name what to evaluate: --model, --checkpoints or both")
    args.batch_size = args.batch_size or (1024 if args.backend == "vllm" else 32)
    return args


def models_of(args: argparse.Namespace) -> tuple[dict[str, str], dict[str, int]]:
    """Label -> name or folder of each model, and label -> step where there is a series of checkpoints."""
    models = {args.name or model_name(args.model): args.model} if args.model else {}
    if not args.checkpoints:
        return models, {}
    steps = dict.fromkeys(models, 0)
    found = [p for p in map(Path, glob(args.checkpoints)) if p.is_dir() and re.search(r"\d+$", p.name)]
    for path in sorted(found, key=lambda p: int(re.search(r"\d+$", p.name)[0])):
        if not any((path / name).is_file() for name in ("config.json", "adapter_config.json")):
            print(f"{path} holds neither a model nor an adapter: left out")
            continue
        label = path.name if path.name not in models else str(path).replace("/", "_")
        models[label], steps[label] = str(path), int(re.search(r"\d+$", path.name)[0])
    if len(models) == bool(args.model):
        raise SystemExit(f"no checkpoint is called {args.checkpoints!r}: correct the pattern, and put it in quotes")
    return models, steps


def main(argv: list[str] | None = None) -> None:
    """Command line entry."""
    args = arguments(argv)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("train.evaluation").setLevel(logging.INFO)  # which columns are read
    models, steps = models_of(args)
    how = Decoding(args.samples, args.temperature, args.top_p, args.max_tokens, args.seed, args.batch_size)
    columns = {name: getattr(args, name) for name in (*FLAGS, "answer_kind")}
    loaded = {
        name: (problems, notes)
        for name, problems, notes in (load_benchmark(b, args.data, args.limit, **columns) for b in args.benchmarks)
    }
    notes = [note for _, found in loaded.values() for note in found]
    output = Path(args.output)
    results, per_problem, counts = {}, {}, {}
    with Graders(args.workers, args.grade_seconds) as graders:
        for label, model in models.items():
            samplers = []

            def load(model=model, samplers=samplers):
                if not samplers:  # one model serves all its benchmarks, and none is loaded where no sample is missing
                    samplers.append(SAMPLERS[args.backend](model, args.dtype, args.device, args.trust_remote_code))
                return samplers[0]

            if args.endorm:
                names = ("alpha", "discount", "floor", "form", "reduce", "chat_template_kwargs")
                settings = {name: getattr(args, name) for name in names}
                loading = (args.cache, args.dtype, args.device, args.trust_remote_code)
                scorer = EndoRMScorer(args.endorm, model, *loading, **settings)
            drawn = {}
            for name in paper_order(list(loaded)):
                problems = loaded[name][0]
                prompts = {p.id: write_prompt(args.template, p.problem) for p in problems}
                print(f"{label}: {name}, {len(problems)} problems, {args.samples} samples each")
                settings = {"backend": args.backend, "dtype": args.dtype}
                settings["chat_template_kwargs"] = args.chat_template_kwargs
                draw = partial(sample, load=load, trust_remote_code=args.trust_remote_code, **settings)
                path = output / label / f"{name}.samples.jsonl"
                drawn[name] = prompts, draw(path, model, list(prompts), list(prompts.values()), how)
            samplers.clear()  # its memory is EndoRM's now
            per_problem[label], counts[label] = {}, {}
            for name, (prompts, rows) in drawn.items():
                path = output / label / f"{name}.grades.jsonl"
                grades = grade_samples(path, loaded[name][0], rows, graders, args.boxed_only, args.regrade)
                scores = scorer(prompts, rows) if args.endorm and args.samples > 1 else None
                per_problem[label][name] = problem_figures(rows, grades, args.samples, scores)
                ungraded = [f"{g['id']}/{g['sample']}: {g['reason']}" for g in grades if g["verdict"] == "ungraded"]
                hung = sum(grade["not_compared"] for grade in grades[:: args.samples])
                counts[label][name] = {"ungraded": ungraded, "answers_not_compared": hung}
                if ungraded:
                    notes.append(
                        f"{label}, {name}: {len(ungraded)} ungraded, counted as not right: {ungraded[0]}, ..."
                    )
                if hung:
                    notes.append(f"{label}, {name}: {hung} pairs of answers could not be compared, taken as different")
            results[label] = summarise_model(per_problem[label], args.draws)
    facts = {
        **record(vars(args), argv if argv is None else ["scripts/eval_math.py", *argv]),
        "models": models,
        "steps": steps,
        "results": results,
        "counts": counts,
        "problems": {name: [p.id for p in problems] for name, (problems, _) in loaded.items()},
        "per_problem": {
            m: {b: {f: v.tolist() for f, v in c.items()} for b, c in x.items()} for m, x in per_problem.items()
        },
        "notes": list(dict.fromkeys(notes)),
    }
    text = markdown(results, notes)
    (output / "results.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    (output / "results.md").write_text(text, encoding="utf-8")
    if steps:
        draw_series(results, steps, output / "accuracy.png")
    print(f"\n{text}\nWrote results.json and results.md to {output}")


if __name__ == "__main__":
    main()
