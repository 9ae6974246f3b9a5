"""The base model of the middle size, and training it from scratch for a number of minutes or steps."""

import math
import time
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

WARM_UP = 0.02  # of the whole training


def build_model(tokenizer: PreTrainedTokenizerBase, hidden: int = 512, layers: int = 8) -> Qwen2ForCausalLM:
    """A random float32 Qwen2 with tied embeddings, a head for every 64 of its width and MLPs four times as wide.

    Raises:
        ValueError: ``hidden`` is not a multiple of 64.
    """
    if hidden % 64:
        raise ValueError(f"hidden is {hidden}; set a multiple of 64, the width of an attention head")
    ids = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = Qwen2Config(
        vocab_size=-(-len(tokenizer) // 64) * 64,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 64,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        dtype="float32",
        **ids,
    )
    model = Qwen2ForCausalLM(config)
    model.generation_config = GenerationConfig(**ids)
    return model


def rate(progress: float) -> float:
    """Share of the peak learning rate at ``progress`` 0 to 1 of the training: a line up, then half a cosine to 0."""
    if progress < WARM_UP:
        return progress / WARM_UP
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (progress - WARM_UP) / (1.0 - WARM_UP))))


def fit_within(
    model: PreTrainedModel,
    batches: Iterable[Tensor],
    *,
    seconds: float | None = None,
    steps: int | None = None,
    learning_rate: float = 1e-3,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Train ``model``, where it lies, on ``batches`` ``[rows, length]`` of token ids until the first limit is reached.

    AdamW with clipped gradients; in bfloat16 autocast on CUDA, in float32 elsewhere. The learning rate follows
    :func:`rate` of the share of the limits that is used up, so that it has come down when the time is over, however
    fast the machine is. There are no checkpoints: a training that was killed starts anew.

    Args:
        seconds, steps: limits, at least one; no step begins after either.
        clock: seconds from any start.

    Returns:
        The steps taken. The model is left in evaluation mode.

    Raises:
        ValueError: no limit, one that is not above 0, or batches that end before either.
    """
    limits = [limit for limit in (seconds, steps) if limit is not None]
    if not limits or min(limits) <= 0:
        raise ValueError(f"seconds is {seconds} and steps is {steps}; set one or both, above 0")
    model.train()
    cuda = model.device.type == "cuda"
    betas = (0.9, 0.95)
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, betas=betas, weight_decay=0.1, fused=cuda)
    start, step, source = clock(), 0, iter(batches)
    with tqdm(total=1.0, desc="base model", bar_format="{l_bar}{bar}| {elapsed}<{remaining}{postfix}") as bar:
        while True:
            elapsed = clock() - start
            progress = max(elapsed / seconds if seconds else 0.0, step / steps if steps else 0.0)
            bar.update(min(1.0, progress) - bar.n)
            if progress >= 1.0:
                break
            batch = next(source, None)
            if batch is None:
                raise ValueError(f"the batches ended after {step} steps: give more of them, or a lower limit")
            batch = batch.to(model.device, non_blocking=True)
            # half a step on: the first of few steps has a rate above 0
            optimizer.param_groups[0]["lr"] = learning_rate * rate(progress + (0.5 / steps if steps else 1e-4))
            with torch.autocast(model.device.type, torch.bfloat16, enabled=cuda):
                loss = model(input_ids=batch, labels=batch, use_cache=False).loss
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if step % 20 == 0:
                bar.set_postfix(step=step, loss=f"{loss.item():.3f}")
            step += 1
    model.eval()
    return step


@torch.no_grad()
def heldout_loss(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, documents: Sequence[str], batch_size: int = 16
) -> float:
    """Mean cross entropy of ``documents`` with their end tokens in nats a token, the first token left out; every
    document stands alone, and what is beyond the model's positions is cut."""
    if not documents:
        raise ValueError("there are no held-out documents: give some")
    total, count = torch.zeros((), device=model.device), 0
    for i in range(0, len(documents), batch_size):
        texts = [text + tokenizer.eos_token for text in documents[i : i + batch_size]]
        inputs = tokenizer(texts, padding=True, padding_side="right", truncation=True, return_tensors="pt")
        labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
        tokens = int((labels[:, 1:] != -100).sum())
        with torch.autocast(model.device.type, torch.bfloat16, enabled=model.device.type == "cuda"):
            total += model(**inputs.to(model.device), labels=labels.to(model.device), use_cache=False).loss * tokens
        count += tokens
    return (total / count).item()
