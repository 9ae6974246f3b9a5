"""Train the base language model of the demo from scratch: a small Qwen2 that imitates a noisy arithmetic expert.

Writes the model and tokenizer (loadable with from_pretrained) and the train and held-out prompts. The expert errs
in 15% of its steps, so a good imitator samples right answers a little over half of the time while its most probable
token is right at every step. Runs on the CPU in about a minute.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM, get_cosine_schedule_with_warmup

from train.demo_task import (
    CHARACTERS,
    EXPERT_ERROR,
    N_STEPS,
    OPERATORS,
    build_tokenizer,
    chain_responses,
    problem_arrays,
    sample_indices,
    write_splits,
)


def build_model(tokenizer: PreTrainedTokenizerBase, hidden: int = 96, layers: int = 3) -> Qwen2ForCausalLM:
    """A randomly initialised Qwen2 with tied embeddings and the tokenizer's special tokens in both its configs."""
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        # Inputs are 15 tokens long and 96 wide: with the defaults for large models (base 10000, std 0.02) position is
        # hardly visible and training stays on a plateau for many times the steps needed here.
        rope_parameters={"rope_type": "default", "rope_theta": 100.0},
        initializer_range=0.12,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    return Qwen2ForCausalLM(config)


def demonstrations(
    n: int, rng: np.random.Generator, heldout: np.ndarray, tokenizer: PreTrainedTokenizerBase, error: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fresh expert demonstrations: token ids ``[n, 15]`` and labels of the same shape (-100 on the prompt).

    A row is ten prompt tokens, four response digits and the end token; held-out problems are never drawn.
    """
    digits, operators = problem_arrays(sample_indices(n, rng, exclude=heldout))
    responses = chain_responses(digits, operators, error=error, rng=rng)
    ids = np.asarray(tokenizer.convert_tokens_to_ids(list(CHARACTERS)))
    digit_ids, operator_ids = ids[:10], ids[10 : 10 + len(OPERATORS)]
    prompt_len = 2 * N_STEPS + 2
    tokens = np.full((n, prompt_len + N_STEPS + 1), tokenizer.eos_token_id)
    tokens[:, 0 : prompt_len - 1 : 2] = digit_ids[digits]
    tokens[:, 1 : prompt_len - 1 : 2] = operator_ids[operators]
    tokens[:, prompt_len - 1] = ids[-1]
    tokens[:, prompt_len:-1] = digit_ids[responses]
    labels = tokens.copy()
    labels[:, :prompt_len] = -100
    return torch.from_numpy(tokens), torch.from_numpy(labels)


def train(args: argparse.Namespace, heldout: np.ndarray, tokenizer: PreTrainedTokenizerBase) -> Qwen2ForCausalLM:
    """Train a model on ``args.steps`` batches of demonstrations; cross entropy over the response and end token."""
    torch.manual_seed(args.seed)
    # A stream of its own, so the demonstrations do not depend on how many prompts the splits drew.
    rng = np.random.default_rng([args.seed, 1])
    model = build_model(tokenizer, args.hidden, args.layers).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    scheduler = get_cosine_schedule_with_warmup(optimizer, max(1, args.steps // 20), args.steps)
    bar = tqdm(range(args.steps), desc="demo base", unit="step", mininterval=1.0)
    for step in bar:
        tokens, labels = demonstrations(args.batch_size, rng, heldout, tokenizer, args.error)
        loss = model(input_ids=tokens, labels=labels, use_cache=False).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}")
    return model.eval()


def main(argv: list[str] | None = None) -> None:
    """Command line entry: write the prompt splits, train, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/demo/base"), help="folder for the model")
    parser.add_argument("--data_dir", type=Path, default=None, help="folder for the prompts; None: OUTPUT/../data")
    parser.add_argument("--seed", type=int, default=0, help="seed of the prompts, the model and the demonstrations")
    parser.add_argument("--steps", type=int, default=700, help="optimizer steps")
    parser.add_argument("--batch_size", type=int, default=128, help="demonstrations per step")
    parser.add_argument("--learning_rate", type=float, default=3e-3, help="peak learning rate of AdamW")
    parser.add_argument("--error", type=float, default=EXPERT_ERROR, help="expert's chance of a wrong step")
    parser.add_argument("--hidden", type=int, default=96, help="hidden size")
    parser.add_argument("--layers", type=int, default=3, help="number of layers")
    # Matrices this small make threads wait for each other wherever the cores are shared with other work.
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; 2 is faster, on cores that are idle")
    parser.add_argument("--n_train", type=int, default=20_000, help="prompts in train.jsonl")
    parser.add_argument("--n_heldout", type=int, default=2_000, help="prompts in heldout.jsonl")
    args = parser.parse_args(argv)

    start = time.perf_counter()
    torch.set_num_threads(args.threads)
    data_dir = args.data_dir or args.output.parent / "data"
    heldout = write_splits(data_dir, args.n_train, args.n_heldout, args.seed)
    tokenizer = build_tokenizer()
    model = train(args, heldout, tokenizer)
    model.save_pretrained(args.output)
    tokenizer.save_pretrained(args.output)
    size = sum(p.numel() for p in model.parameters())
    seconds = time.perf_counter() - start
    print(f"Saved a base model of {size:,} parameters to {args.output} and prompts to {data_dir} ({seconds:.0f} s)")


if __name__ == "__main__":
    main()
