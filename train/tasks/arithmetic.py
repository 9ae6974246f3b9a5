"""The embedded demo task: five digits, four operations, evaluated strictly left to right modulo 10.

A prompt is ten characters such as ``7+5-3+8*2=``; a correct response is the four running results, ``2974``, the last
of which is the answer. Nothing here is downloaded: prompts are numbered 0 .. ``N_PROBLEMS - 1`` and drawn from a
seeded numpy generator, and the noisy expert that the demo base model imitates is a few array operations.
"""

import json
import re
from pathlib import Path
from typing import cast
from zlib import crc32

import numpy as np
from transformers import Qwen2Tokenizer

MODULUS = 10
N_STEPS = 4
OPERATORS = "+-*"
N_PROBLEMS = MODULUS ** (N_STEPS + 1) * len(OPERATORS) ** N_STEPS
EXPERT_ERROR = 0.15
PAD_TOKEN, EOS_TOKEN = "<pad>", "<eos>"
CHARACTERS = "0123456789" + OPERATORS + "="

_PROMPT = re.compile(rf"[0-9]([{re.escape(OPERATORS)}][0-9]){{{N_STEPS}}}=")
_RESPONSE = re.compile(rf"[0-9]{{{N_STEPS}}}")
_SHAPE = (MODULUS,) * (N_STEPS + 1) + (len(OPERATORS),) * N_STEPS


def problem_arrays(indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Digits ``(n, 5)`` in 0..9 and operators ``(n, 4)`` (places in ``OPERATORS``) of problems ``indices (n,)``.

    Raises ``ValueError`` for an index outside 0 .. ``N_PROBLEMS - 1``.
    """
    columns = np.stack(np.unravel_index(indices, _SHAPE), axis=-1)
    return columns[..., : N_STEPS + 1], columns[..., N_STEPS + 1 :]


def prompt_text(index: int) -> str:
    """The prompt of problem ``index``, e.g. ``7+5-3+8*2=``."""
    digits, operators = problem_arrays(np.asarray([index]))
    steps = zip(operators[0], digits[0, 1:], strict=True)
    return f"{digits[0, 0]}" + "".join(f"{OPERATORS[o]}{d}" for o, d in steps) + "="


def prompt_index(prompt: str) -> int:
    """The number of the problem written in ``prompt``; ``ValueError`` if it is not a prompt of this task."""
    if not _PROMPT.fullmatch(prompt):
        raise ValueError(f"not a demo prompt (five digits joined by four of {OPERATORS}, then '='): {prompt!r}")
    digits = [int(c) for c in prompt[:-1:2]]
    return int(np.ravel_multi_index((*digits, *(OPERATORS.index(c) for c in prompt[1:-1:2])), _SHAPE))


def sample_indices(n: int, rng: np.random.Generator, exclude: np.ndarray | None = None) -> np.ndarray:
    """``n`` problem numbers, uniform and with repetition over all problems outside the sorted array ``exclude``."""
    if exclude is None or len(exclude) == 0:
        return rng.integers(N_PROBLEMS, size=n)
    # The k-th allowed number is k plus the count of excluded numbers at or below it, so nothing needs a redraw.
    draw = rng.integers(N_PROBLEMS - len(exclude), size=n)
    return draw + np.searchsorted(exclude - np.arange(len(exclude)), draw, side="right")


def chain_responses(
    digits: np.ndarray,
    operators: np.ndarray,
    error: float = 0.0,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """The running results ``(n, 4)`` (digits 0..9) written for ``digits (n, 5)`` and ``operators (n, 4)``.

    With ``error`` > 0 each step is replaced, with that probability, by one of the other nine digits (uniform), and the
    later steps go on from the digit that was written. ``ValueError`` if ``error`` needs an ``rng`` and has none.
    """
    if not 0.0 <= error <= 1.0 or (error > 0.0 and rng is None):
        raise ValueError(f"error must lie in [0, 1] and needs an rng when above 0; got error={error}, rng={rng}")
    value, written = digits[:, 0], []
    for step in range(N_STEPS):
        right = digits[:, step + 1]
        value = np.choose(operators[:, step], (value + right, value - right, value * right)) % MODULUS
        if rng is not None and error > 0.0:
            slip = rng.random(len(value)) < error
            value = np.where(slip, (value + rng.integers(1, MODULUS, size=len(value))) % MODULUS, value)
        written.append(value)
    return np.stack(written, axis=1)


def preference_pairs(
    digits: np.ndarray, operators: np.ndarray, rng: np.random.Generator, error: float = EXPERT_ERROR
) -> tuple[np.ndarray, np.ndarray]:
    """A right and a wrong response ``(n, 4)`` of the noisy expert to each problem ``digits (n, 5)``, ``operators
    (n, 4)``: it is asked until its answer is right, and until it is wrong; earlier digits are not judged."""
    answers = chain_responses(digits, operators)[:, -1]

    def ask_until(right: bool) -> np.ndarray:
        written, open_ = np.empty_like(operators), np.arange(len(digits))
        while len(open_):
            drawn = chain_responses(digits[open_], operators[open_], error, rng)
            done = (drawn[:, -1] == answers[open_]) == right
            written[open_[done]], open_ = drawn[done], open_[~done]
        return written

    return ask_until(True), ask_until(False)


def expert_response(prompt: str, rng: np.random.Generator, error: float = EXPERT_ERROR) -> str:
    """One response of the noisy expert to ``prompt``: four digits, each written wrong with probability ``error``."""
    arrays = problem_arrays(np.asarray([prompt_index(prompt)]))
    return "".join(map(str, chain_responses(*arrays, error=error, rng=rng)[0]))


def solve(prompt: str) -> str:
    """The correct response to ``prompt``: its four running results; the last digit is the answer."""
    return "".join(map(str, chain_responses(*problem_arrays(np.asarray([prompt_index(prompt)])))[0]))


def is_correct(prompt: str, response: str) -> bool:
    """Whether ``response`` is exactly four digits and ends at the true answer; earlier digits are not judged."""
    return _RESPONSE.fullmatch(response) is not None and response[-1] == solve(prompt)[-1]


def demo_accuracy(prompts: list[str], completions: list[str], **kwargs) -> list[float]:
    """TRL reward function: 1.0 where :func:`is_correct`, else 0.0, one value per completion (plain text, no chat)."""
    return [float(is_correct(p, c)) for p, c in zip(prompts, completions, strict=True)]


def tenth_accuracy(prompts: list[str], completions: list[str], **kwargs) -> list[float | None]:
    """TRL reward function: :func:`demo_accuracy` on a fixed tenth of all prompts, None (unlabelled) on the others."""
    labelled = [crc32(prompt.encode()) % 10 == 0 for prompt in prompts]
    return [a if known else None for a, known in zip(demo_accuracy(prompts, completions), labelled, strict=True)]


def build_tokenizer() -> Qwen2Tokenizer:
    """A character-level tokenizer of 16 tokens: ``<pad>`` 0, ``<eos>`` 1, then the digits, operators and ``=``.

    Encoding adds no special tokens, padding goes to the left, and decoding joins characters without spaces. Any other
    character is dropped: there is no unknown token.
    """
    # Byte-level BPE without merges is one token a character. The class is Qwen2's own fast tokenizer because
    # AutoTokenizer loads that class for any folder that holds a Qwen2 model, whatever class the folder names.
    return Qwen2Tokenizer(
        vocab={token: i for i, token in enumerate([PAD_TOKEN, EOS_TOKEN, *CHARACTERS])},
        merges=[],
        unk_token=cast(str, None),  # annotated as a text, and none where None
        pad_token=PAD_TOKEN,
        eos_token=EOS_TOKEN,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=64,
    )


def split_indices(n_train: int, n_heldout: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Problem numbers of the train ``(n_train,)`` and held-out ``(n_heldout,)`` prompts: all distinct, fixed by seed.

    Raises ``ValueError`` if more prompts are asked for than there are problems.
    """
    drawn = np.random.default_rng(seed).choice(N_PROBLEMS, size=n_train + n_heldout, replace=False)
    return drawn[:n_train], drawn[n_train:]


def write_splits(data_dir: str | Path, n_train: int = 20_000, n_heldout: int = 2_000, seed: int = 0) -> np.ndarray:
    """Write ``train.jsonl`` and ``heldout.jsonl`` (rows ``{"prompt": ...}``) into ``data_dir``, made if absent.

    Returns the held-out problem numbers, sorted: the form :func:`sample_indices` excludes.
    """
    folder = Path(data_dir)
    folder.mkdir(parents=True, exist_ok=True)
    train, heldout = split_indices(n_train, n_heldout, seed)
    for name, indices in (("train", train), ("heldout", heldout)):
        rows = (json.dumps({"prompt": prompt_text(i)}) + "\n" for i in indices)
        (folder / f"{name}.jsonl").write_text("".join(rows), encoding="utf-8")
    return np.sort(heldout)
