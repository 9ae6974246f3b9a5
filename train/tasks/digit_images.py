"""Images as sequences of tokens: scikit-learn's digits, 8 x 8 pixels of 16 levels, after a token for their class.

A model that imitates noisy images is a base that draws noise, as a language model's samples are noisier than what it
knows. Whether its own reward takes the noise out again is judged by a classifier that has seen clean images only.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, Qwen2ForCausalLM, Qwen2Tokenizer

from train.tasks.arithmetic import EOS_TOKEN, PAD_TOKEN
from train.tasks.arithmetic_model import build_model, fit

CLASSES, LEVELS = "0123456789", "abcdefghijklmnop"  # one character is one token
SIDE = 8
PIXELS = SIDE * SIDE
LENGTH = PIXELS + 1  # class, pixels; no end, since an image has the size that it has


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """All 1,797 images, (n, 64) levels of 0 to 15, and their classes, (n,).

    Raises:
        ImportError: scikit-learn, which holds them, is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("The images come with scikit-learn: pip install -e '.[images]'") from error
    digits = load_digits()
    return np.minimum(digits.data, 15).astype(np.int64), digits.target.astype(np.int64)


def split_digits(seed: int = 0) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Two halves, images and classes each: what the model imitates, and what the classifier learns from."""
    images, classes = read_digits()
    order = np.random.default_rng(seed).permutation(len(images))
    halves = np.array_split(order, 2)
    return (images[halves[0]], classes[halves[0]]), (images[halves[1]], classes[halves[1]])


def add_noise(images: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Images of the same shape, in which a share of `noise` of the pixels has a level drawn anew, all alike likely."""
    spoilt = rng.random(images.shape) < noise
    return np.where(spoilt, rng.integers(len(LEVELS), size=images.shape), images)


def image_tokenizer() -> Qwen2Tokenizer:
    """A tokenizer of 28 tokens: padding, an end that no image has, classes, levels. "7aab..." begins a seven."""
    return Qwen2Tokenizer(
        vocab={token: i for i, token in enumerate([PAD_TOKEN, EOS_TOKEN, *CLASSES, *LEVELS])},
        merges=[],
        unk_token=None,  # type: ignore[arg-type]
        pad_token=PAD_TOKEN,
        eos_token=EOS_TOKEN,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=LENGTH,
    )


def token_rows(images: np.ndarray, classes: np.ndarray, tokenizer: Qwen2Tokenizer) -> Tensor:
    """(n, 65) token ids of images (n, 64) with classes (n,)."""
    ids = np.array(tokenizer.convert_tokens_to_ids([*CLASSES, *LEVELS]))
    return torch.from_numpy(np.hstack([ids[classes][:, None], ids[len(CLASSES) + images]]))


def imitate_images(
    images: np.ndarray,
    classes: np.ndarray,
    *,
    noise: float,
    seed: int,
    steps: int,
    batch_size: int = 64,
    hidden: int = 96,
    layers: int = 3,
) -> Qwen2ForCausalLM:
    """A model trained on images with fresh noise in each batch; cross entropy over pixels."""
    tokenizer, rng = image_tokenizer(), np.random.default_rng([seed, 2])
    torch.manual_seed(seed)
    model = build_model(tokenizer, hidden, layers, positions=LENGTH)

    def next_loss() -> Tensor:
        chosen = rng.integers(len(images), size=batch_size)
        tokens = token_rows(add_noise(images[chosen], noise, rng), classes[chosen], tokenizer)
        labels = tokens.clone()
        labels[:, 0] = -100
        return model(input_ids=tokens, labels=labels, use_cache=False).loss

    fit(model, next_loss, steps, 3e-3, "noisy images")
    return model


@torch.no_grad()
def draw_images(model: PreTrainedModel, classes: np.ndarray, seed: int, temperature: float = 1.0) -> np.ndarray:
    """(n, 64) levels of an image of each class, sampled; -1 where the model wrote something else than a level."""
    tokenizer = image_tokenizer()
    ids = torch.tensor([tokenizer.convert_tokens_to_ids([CLASSES[c]]) for c in classes])
    torch.manual_seed(seed)
    how = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0, "max_new_tokens": PIXELS}
    how["min_new_tokens"] = PIXELS
    generate: Callable[..., Tensor] = model.generate  # type: ignore[assignment]
    out = generate(input_ids=ids, attention_mask=torch.ones_like(ids), pad_token_id=tokenizer.pad_token_id, **how)
    pixels = out[:, 1:].numpy() - tokenizer.get_vocab()[LEVELS[0]]
    return np.where((pixels >= 0) & (pixels < len(LEVELS)), pixels, -1)


def write_prompts(path: Path, n: int) -> None:
    """A data set of `n` prompts, as many of each class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"prompt": CLASSES[i % 10]}) + "\n" for i in range(n)), encoding="utf-8")
