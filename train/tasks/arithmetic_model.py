"""The small language model of the embedded experiments, its arithmetic demonstrations and its training loop."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2ForCausalLM,
    get_cosine_schedule_with_warmup,
)

from train.tasks.arithmetic import (
    CHARACTERS,
    EXPERT_ERROR,
    N_STEPS,
    OPERATORS,
    chain_responses,
    problem_arrays,
    sample_indices,
)


def build_model(
    tokenizer: PreTrainedTokenizerBase, hidden: int = 96, layers: int = 3, positions: int = 64
) -> Qwen2ForCausalLM:
    """A randomly initialised Qwen2 with tied embeddings and the tokenizer's special tokens in both its configs."""
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        # Inputs are a few dozen tokens long at most and 96 wide: with the defaults for large models (base 10000, std
        # 0.02) position is hardly visible and training stays on a plateau for many times the steps needed here.
        rope_parameters={"rope_type": "default", "rope_theta": 100.0},
        initializer_range=0.12,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    return Qwen2ForCausalLM(config)


def demonstrations(
    n: int,
    rng: np.random.Generator,
    heldout: np.ndarray,
    tokenizer: PreTrainedTokenizerBase,
    error: float,
    lazy: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Fresh expert demonstrations: token ids ``(n, 15)`` and labels of the same shape (-100 on the prompt).

    A row is ten prompt tokens, four response digits and the end token; held-out problems are never drawn. A share
    ``lazy`` of the responses ends after the first digit, and has label -100 from there.
    """
    digits, operators = problem_arrays(sample_indices(n, rng, exclude=heldout))
    tokens = token_rows(digits, operators, chain_responses(digits, operators, error=error, rng=rng), tokenizer)
    labels = tokens.clone()
    labels[:, : 2 * N_STEPS + 2] = -100
    if lazy > 0.0:
        short, end = torch.from_numpy(rng.random(n) < lazy), 2 * N_STEPS + 3
        tokens[short, end] = labels[short, end] = tokenizer.eos_token_id
        labels[short, end + 1 :] = -100  # and no token sees what comes after it
    return tokens, labels


def imitate_expert(
    tokenizer: PreTrainedTokenizerBase,
    heldout: np.ndarray,
    *,
    seed: int = 0,
    steps: int = 700,
    batch_size: int = 128,
    learning_rate: float = 3e-3,
    error: float = EXPERT_ERROR,
    lazy: float = 0.0,
    hidden: int = 96,
    layers: int = 3,
) -> Qwen2ForCausalLM:
    """A model trained on ``steps`` batches of demonstrations, none of them of the sorted problems ``heldout``; cross
    entropy over the response and end token."""
    # A stream of its own, so the demonstrations do not depend on how many prompts the splits drew.
    rng = np.random.default_rng([seed, 1])
    return imitate(
        tokenizer,
        lambda: demonstrations(batch_size, rng, heldout, tokenizer, error, lazy),
        seed=seed,
        steps=steps,
        learning_rate=learning_rate,
        hidden=hidden,
        layers=layers,
        description="noisy expert",
    )


def imitate(
    tokenizer: PreTrainedTokenizerBase,
    next_batch: Callable[[], tuple[Tensor, Tensor]],
    *,
    seed: int,
    steps: int,
    learning_rate: float,
    hidden: int,
    layers: int,
    description: str,
) -> Qwen2ForCausalLM:
    """A language model trained from scratch on demonstrations, by the cross entropy of their labels.

    Args:
        tokenizer: its length is the size of the vocabulary.
        next_batch: gives ``steps`` fresh batches, token ids (n, T) and labels of the same shape, which are -100
            where nothing is to be learned. Padding on the right needs no mask: no token before it sees it.
        seed: of the initial weights.
        steps: optimizer steps.
        learning_rate: its largest value, of AdamW.
        hidden: width of the model.
        layers: number of its layers.
        description: shown beside the progress bar.

    Returns:
        The model in evaluation mode.
    """
    torch.manual_seed(seed)
    model = build_model(tokenizer, hidden, layers)

    def next_loss() -> Tensor:
        tokens, labels = next_batch()
        return model(input_ids=tokens, labels=labels, use_cache=False).loss

    fit(model, next_loss, steps, learning_rate, description)
    return model


def token_rows(
    digits: np.ndarray, operators: np.ndarray, responses: np.ndarray, tokenizer: PreTrainedTokenizerBase
) -> Tensor:
    """Token ids ``(n, 15)`` of problems ``digits (n, 5)``, ``operators (n, 4)`` with ``responses (n, 4)`` and end."""
    ids = np.asarray(tokenizer.convert_tokens_to_ids(list(CHARACTERS)))
    digit_ids, operator_ids = ids[:10], ids[10 : 10 + len(OPERATORS)]
    prompt_len = 2 * N_STEPS + 2
    tokens = np.full((len(digits), prompt_len + N_STEPS + 1), tokenizer.eos_token_id)
    tokens[:, 0 : prompt_len - 1 : 2] = digit_ids[digits]
    tokens[:, 1 : prompt_len - 1 : 2] = operator_ids[operators]
    tokens[:, prompt_len - 1] = ids[-1]
    tokens[:, prompt_len:-1] = digit_ids[responses]
    return torch.from_numpy(tokens)


def fit(
    model: PreTrainedModel, next_loss: Callable[[], Tensor], steps: int, learning_rate: float, description: str
) -> PreTrainedModel:
    """Minimise ``next_loss()``, the loss of ``model`` on a fresh batch, for ``steps`` steps of AdamW; returns it in
    evaluation mode. The learning rate warms up over the first 20th of the steps and decays by a cosine."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    scheduler = get_cosine_schedule_with_warmup(optimizer, max(1, steps // 20), steps)
    bar = tqdm(range(steps), desc=description, unit="step", mininterval=1.0)
    for step in bar:
        loss = next_loss()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}")
    return model.eval()
