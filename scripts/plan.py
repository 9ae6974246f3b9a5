"""Say what a run will take before it is paid for, and refuse what cannot fit.

    python scripts/plan.py --config configs/math/ppo_qwen2.5_math_7b.yaml --accelerate zero3 --gpus 8 --gpu_memory 80

Reads the recipe and the model's config, loads no weights. Exit code 1 if the plan does not fit, with what would.
"""

import argparse
import sys
from pathlib import Path

from train.cost.memory import GIB, HEADROOM, MOMENTS, make_plan, proposals, read_shape
from train.recipe import read_recipe


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="the recipe")
    parser.add_argument("--accelerate", default="single", help="a launcher: file in configs/accelerate or its name")
    parser.add_argument("--gpus", type=int, default=1, help="processes")
    parser.add_argument("--gpu_memory", type=float, default=80, help="GiB of one GPU")
    parser.add_argument("--model_name_or_path", help="in place of the recipe's, e.g. a folder with a config.json")
    args = parser.parse_args(argv)

    recipe = read_recipe(args.config)
    name = args.model_name_or_path or recipe["model_name_or_path"]
    shape, launcher = read_shape(name), Path(args.accelerate).stem
    memory = int(args.gpu_memory * GIB)
    plan = make_plan(shape, recipe, launcher, args.gpus, memory)

    print(f"{name}: {shape.parameters / 1e9:.2f}B parameters, {recipe['algorithm']}, {launcher}, {args.gpus} GPU(s)\n")
    for part, size in plan.parts.items():
        print(f"{part:34} {size / GIB:8.2f} GiB{'   one at a time' if part in MOMENTS else ''}")
    print(f"{'peak, estimated':34} {plan.peak / GIB:8.2f} GiB of {args.gpu_memory:g} ({HEADROOM:.0%} of it usable)\n")
    for what, count in plan.work.items():
        print(f"{what:46} {count:,}")
    if plan.peak <= HEADROOM * memory:
        print("\nThis fits.")
        return 0
    print("\nThis does NOT fit. What would:")
    for text in proposals(shape, recipe, launcher, args.gpus, memory) or ["nothing tried here with this model"]:
        print(f"  - {text}")
    print("  - configs/math/ppo_qwen2.5_math_7b_qlora.yaml: 4-bit weights with LoRA, small rollouts")
    print("  - configs/math/ppo_qwen2.5_math_1.5b_lora.yaml: a smaller model with LoRA")
    return 1


if __name__ == "__main__":
    sys.exit(main())
