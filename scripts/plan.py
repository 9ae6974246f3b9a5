"""Estimate what a run will take before it is paid for: memory of a GPU, or seconds and GPU-hours.

    python scripts/plan.py --config configs/math/ppo_qwen2.5_math_7b.yaml --accelerate zero3 --gpus 8 --gpu_memory 80
    python scripts/plan.py --config configs/math/ppo_qwen2.5_math_7b.yaml --hours --preset 7b --gpus 8 64

Reads the recipe and the model's config, and loads no weights. Without --hours it prints memory by part; the exit code
is 1 if the run does not fit, and the output then names what would. With --hours it prints seconds by part for full
fine-tuning with ZeRO-3 on H100s, with the arithmetic. Speeds that no result in --measured gives are assumptions, which
are listed with their ranges.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from rewards.reporting.record import record
from train.cost.hours import CASES, assumptions_table, estimate, markdown, totals, with_measurements
from train.cost.memory import GIB, HEADROOM, MOMENTS, Shape, make_plan, proposals, read_shape, shape_of
from train.cost.shapes import PRESETS, preset_config
from train.recipe import read_recipe

RESULTS = Path(__file__).parent / "bench/results"


def memory(shape: Shape, name: str, recipe: dict, gpus: int, args: argparse.Namespace) -> int:
    """Print memory by part and what would fit; returns the exit status."""
    launcher, size = Path(args.accelerate).stem, int(args.gpu_memory * GIB)
    plan = make_plan(shape, recipe, launcher, gpus, size)
    print(f"{name}: {shape.parameters / 1e9:.2f}B parameters, {recipe['algorithm']}, {launcher}, {gpus} GPU(s)\n")
    for part, held in plan.parts.items():
        print(f"{part:34} {held / GIB:8.2f} GiB{'   one at a time' if part in MOMENTS else ''}")
    print(f"{'peak, estimated':34} {plan.peak / GIB:8.2f} GiB of {args.gpu_memory:g} ({HEADROOM:.0%} of it usable)\n")
    for what, count in plan.work.items():
        print(f"{what:46} {count:,}")
    if plan.peak <= HEADROOM * size:
        print("\nThis fits.")
        return 0
    print("\nThis does NOT fit. What would:")
    for text in proposals(shape, recipe, launcher, gpus, size) or ["nothing tried here with this model"]:
        print(f"  - {text}")
    print("  - configs/math/ppo_qwen2.5_math_7b_qlora.yaml: 4-bit weights with LoRA, small rollouts")
    print("  - configs/math/ppo_qwen2.5_math_1.5b_lora.yaml: a smaller model with LoRA")
    return 1


def hours(shape: Shape, recipe: dict, gpus: list[int], args: argparse.Namespace, made: dict) -> None:
    """Print seconds and GPU-hours for each number of GPUs, and write them where --output says."""
    results = {p.name: json.loads(p.read_text(encoding="utf-8")) for p in sorted(args.measured.glob("*.json"))}
    assumptions = with_measurements(results)
    measured = [a.source for a in assumptions.values() if a.source != "assumption"]
    said = f"{recipe['algorithm']}, {shape.parameters / 1e9:.2f}G parameters, {args.prompts:,} prompts x "
    said += f"{recipe['num_generations']} responses x {recipe['num_train_epochs']} epochs, ZeRO-3, "
    said += f"rollouts by {'vLLM' if recipe['use_vllm'] else 'transformers'}"
    given = "; ".join(measured) or "none was measured: ALL efficiencies below are assumptions"
    text = [f"# What {args.config.name} costs on H100s", said, f"Speeds: {given}."]
    estimates = {}
    for count in gpus:
        lines = estimate(shape, recipe, count, args.prompts, assumptions)
        total = totals(lines)
        gpu_hours = {case: total[case] * count / 3600 for case in CASES}
        estimates[str(count)] = {"lines": [asdict(line) for line in lines], "seconds": total, "gpu_hours": gpu_hours}
        text.append(markdown(lines, count).strip())
    text.append(assumptions_table(assumptions).strip())
    text.append(
        "FLOPs, gathers and bytes are of one GPU. A pass takes its computation and that share of its gathers which is "
        "not hidden, and no less than its gathers."
    )
    text.append("Not counted: loading, start-up, waiting for the slowest process, an evaluation's forwards.")
    print("\n\n".join(text))
    if args.output:
        result = {"kind": "cost", **made, "estimates": estimates}
        result["assumptions"] = {name: asdict(assumption) for name, assumption in assumptions.items()}
        args.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        args.output.with_suffix(".md").write_text("\n\n".join(text) + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Command line entry; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="the recipe")
    parser.add_argument("--gpus", type=int, nargs="+", help="processes, default 1; with --hours several, default 8 64")
    parser.add_argument("--model_name_or_path", help="in place of the recipe's, e.g. a folder with a config.json")
    parser.add_argument("--preset", choices=PRESETS, help="a published shape, in place of the recipe's model's config")
    parser.add_argument("--hours", action="store_true", help="seconds and GPU-hours in place of memory")
    group = parser.add_argument_group("memory")
    group.add_argument("--accelerate", default="single", help="a launcher: file in configs/accelerate or its name")
    group.add_argument("--gpu_memory", type=float, default=80, help="GiB of one GPU")
    group = parser.add_argument_group("with --hours")
    group.add_argument("--prompts", type=int, default=7500, help="of the dataset; MATH has 7,500")
    group.add_argument("--use_vllm", action="store_true", help="rollouts by vLLM, whatever the recipe says")
    group.add_argument("--measured", type=Path, default=RESULTS, help="folder of measured results (JSON)")
    group.add_argument("--output", type=Path, help="JSON file; the tables are written beside it as Markdown")
    args = parser.parse_args(argv)
    gpus = args.gpus or ([8, 64] if args.hours else [1])
    if len(gpus) > 1 and not args.hours:
        parser.error("memory is planned for one number of GPUs: give --gpus one number, or add --hours")

    recipe = read_recipe(args.config)
    name = args.model_name_or_path or args.preset or recipe["model_name_or_path"]
    shape = shape_of(preset_config(name)) if name == args.preset else read_shape(name)
    if not args.hours:
        return memory(shape, name, recipe, gpus[0], args)
    recipe["use_vllm"] |= args.use_vllm
    settings = {"config": args.config.name, "prompts": args.prompts, "use_vllm": recipe["use_vllm"]}
    hours(shape, recipe, gpus, args, record(settings, argv if argv is None else ["scripts/plan.py", *argv]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
