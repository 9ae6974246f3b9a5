"""Merge a LoRA adapter into its base, for tools that know no adapters.

python scripts/merge_adapter.py --adapter outputs/ppo_qwen2.5_math_1.5b_lora --output outputs/merged
"""

import argparse
from pathlib import Path

from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer


def main(argv: list[str] | None = None) -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", type=Path, required=True, help="folder of a LoRA run, or one of its checkpoints")
    parser.add_argument("--output", type=Path, required=True, help="folder to write model and tokenizer to")
    parser.add_argument("--dtype", default="auto", help="of the merged weights: auto (the base's), float32, bfloat16")
    args = parser.parse_args(argv)
    if not (args.adapter / "adapter_config.json").is_file():
        parser.error(f"{args.adapter} holds no adapter (adapter_config.json); give the folder of a LoRA run")
    model = AutoPeftModelForCausalLM.from_pretrained(args.adapter, dtype=args.dtype)
    model.merge_and_unload().save_pretrained(args.output)
    AutoTokenizer.from_pretrained(args.adapter).save_pretrained(args.output)
    print(f"{args.output}: {model.num_parameters():,} parameters, adapter merged in")


if __name__ == "__main__":
    main()
