"""Make a tiny random Qwen2 model with its own tokenizer, to rehearse any recipe on a CPU and without a model hub.

python scripts/make_rehearsal_model.py --output outputs/rehearsal
accelerate launch train/ppo_endorm.py --config configs/RECIPE.yaml --model_name_or_path outputs/rehearsal
"""

import argparse

from train.tasks.rehearsal_model import make_rehearsal_model, project_texts, read_texts


def main(argv: list[str] | None = None) -> None:
    """Command line of the script; see ``--help``."""
    parser = argparse.ArgumentParser(
        description="Make a tiny random Qwen2 model and tokenizer, to rehearse a recipe on a CPU without a model hub.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--output", required=True, help="folder to write, for --model_name_or_path")
    parser.add_argument(
        "--text",
        help="file to train the tokenizer on (.txt, .jsonl, either with .gz); without it the project's own README.md, "
        "pyproject.toml and Python source are used, so no download is ever needed",
    )
    parser.add_argument("--text_field", default="problem,solution", help="fields to read from a .jsonl file")
    parser.add_argument("--vocab_size", type=int, default=2048, help="most tokens, special ones included")
    parser.add_argument("--hidden_size", type=int, default=64, help="width of the model")
    parser.add_argument("--layers", type=int, default=2, help="transformer layers")
    parser.add_argument("--heads", type=int, default=2, help="attention heads; vLLM takes those of 32 entries or more")
    parser.add_argument("--kv_heads", type=int, default=1, help="key-value heads")
    parser.add_argument("--max_position_embeddings", type=int, default=4096, help="longest sequence, in tokens")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights")
    sizes = vars(parser.parse_args(argv))
    output, text = sizes.pop("output"), sizes.pop("text")
    fields = [name.strip() for name in sizes.pop("text_field").split(",") if name.strip()]
    try:
        model = make_rehearsal_model(read_texts(text, fields) if text else project_texts(), output, **sizes)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    print(f"{output}: {model.num_parameters():,} random parameters, vocabulary of {model.config.vocab_size}")


if __name__ == "__main__":
    main()
