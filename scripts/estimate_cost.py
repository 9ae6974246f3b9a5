"""What a recipe will cost on H100s, on paper: seconds by part and GPU-hours, with the arithmetic shown.

    python scripts/estimate_cost.py --config configs/math/ppo_qwen2.5_math_7b.yaml --preset 7b --gpus 8 64

For full fine-tuning with ZeRO-3. Speeds that no result in --measured tells are assumptions, listed with their ranges.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from rewards.reporting.record import record
from train.cost.hours import CASES, estimate, markdown, totals, with_measurements
from train.cost.memory import read_shape, shape_of
from train.cost.shapes import PRESETS, preset_config
from train.recipe import read_recipe

RESULTS = Path(__file__).parent / "bench/results"


def main(argv: list[str] | None = None) -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="the recipe")
    parser.add_argument(
        "--preset", choices=PRESETS, help="shape of the model, in place of the recipe's model's config"
    )
    parser.add_argument("--model_name_or_path", help="in place of the recipe's, e.g. a folder with a config.json")
    parser.add_argument("--gpus", type=int, nargs="+", default=[8, 64], help="H100s, 8 a node")
    parser.add_argument("--prompts", type=int, default=7500, help="of the dataset; MATH has 7,500")
    parser.add_argument("--use_vllm", action="store_true", help="rollouts by vLLM, whatever the recipe says")
    parser.add_argument("--measured", type=Path, default=RESULTS, help="folder of measured results (JSON)")
    parser.add_argument("--output", type=Path, help="JSON file; the tables are written beside it as Markdown")
    args = parser.parse_args(argv)

    recipe = read_recipe(args.config)
    recipe["use_vllm"] |= args.use_vllm
    name = args.model_name_or_path or args.preset or recipe["model_name_or_path"]
    shape = shape_of(preset_config(name)) if name == args.preset else read_shape(name)
    results = {p.name: json.loads(p.read_text(encoding="utf-8")) for p in sorted(args.measured.glob("*.json"))}
    assumptions = with_measurements(results)
    measured = [a.source for a in assumptions.values() if a.source != "assumption"]

    said = f"{recipe['algorithm']}, {shape.parameters / 1e9:.2f}G parameters, {args.prompts:,} prompts x "
    said += f"{recipe['num_generations']} responses x {recipe['num_train_epochs']} epochs, ZeRO-3, "
    said += f"rollouts by {'vLLM' if recipe['use_vllm'] else 'transformers'}"
    given = "; ".join(measured) or "none was measured: ALL efficiencies below are assumptions"
    text = [f"# What {args.config.name} costs on H100s", said, f"Speeds: {given}."]
    estimates = {}
    for gpus in args.gpus:
        lines = estimate(shape, recipe, gpus, args.prompts, assumptions)
        total = totals(lines)
        estimates[str(gpus)] = {
            "lines": [asdict(line) for line in lines],
            "seconds": total,
            "gpu_hours": {case: total[case] * gpus / 3600 for case in CASES},
        }
        text.append(markdown(lines, gpus))
    rows = ["| what | " + " | ".join(CASES) + " | from |", "|---|---|---|---|---|"]
    rows += [f"| {a.what} | {' | '.join(f'{x:g}' for x in a.values)} | {a.source} |" for a in assumptions.values()]
    text.append("\n".join(rows))
    text.append(
        "FLOPs, gathers and bytes are of one GPU. A pass takes its computation and that share of its gathers which is "
        "not hidden, and no less than its gathers."
    )
    text.append("Not counted: loading, start-up, waiting for the slowest process, an evaluation's forwards.")
    print("\n\n".join(text))
    if args.output:
        settings = {"config": args.config.name, "prompts": args.prompts, "use_vllm": recipe["use_vllm"]}
        result = {"kind": "cost", **record(settings), "estimates": estimates}
        result["assumptions"] = {k: asdict(a) for k, a in assumptions.items()}
        args.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        args.output.with_suffix(".md").write_text("\n\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
