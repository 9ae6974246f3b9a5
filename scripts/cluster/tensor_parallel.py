"""Over how many GPUs vLLM can spread a model: it splits the attention heads evenly.

python scripts/cluster/tensor_parallel.py Qwen/Qwen2.5-Math-7B 8
"""

import argparse
import sys

from transformers import AutoConfig


def possible_sizes(heads: int, kv_heads: int, gpus: int) -> list[int]:
    """Tensor parallel sizes up to `gpus` that vLLM takes: a share of the heads, and of the key-value heads (or, where
    there are more GPUs than of those, as many copies of each)."""
    return [n for n in range(1, gpus + 1) if heads % n == 0 and (kv_heads % n == 0 or n % kv_heads == 0)]


def choose(model: str, gpus: int, exactly: bool) -> int:
    """The largest size for a model, which is named on stderr where it leaves GPUs idle.

    Raises:
        ValueError: `exactly` as many GPUs cannot be used.
    """
    try:
        config = AutoConfig.from_pretrained(model).get_text_config()
        heads = int(config.num_attention_heads)
    except (OSError, ValueError, AttributeError) as error:
        first = str(error).splitlines()[0]
        print(f"The attention heads of {model} are not known here ({first}): vLLM itself will check", file=sys.stderr)
        return gpus
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    sizes = possible_sizes(heads, kv_heads, gpus)
    if sizes[-1] == gpus:
        return gpus
    said = f"{model} has {heads} attention heads and {kv_heads} key-value heads, which {gpus} GPUs cannot share"
    if exactly:
        raise ValueError(f"{said}: give --tensor-parallel-size {' or '.join(map(str, sizes))}")
    print(f"{said}: the server uses {sizes[-1]}, and {gpus - sizes[-1]} are idle", file=sys.stderr)
    return sizes[-1]


def main(argv: list[str] | None = None) -> None:
    """Command line of the script; see ``--help``."""
    parser = argparse.ArgumentParser(description="Print over how many GPUs vLLM can spread a model.")
    parser.add_argument("model", help="folder or hub name")
    parser.add_argument("gpus", type=int, help="GPUs that there are")
    parser.add_argument("--exactly", action="store_true", help="refuse where fewer would have to do")
    asked = parser.parse_args(argv)
    try:
        print(choose(asked.model, asked.gpus, asked.exactly))
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
