"""TRL's rewards that shape a response's length and repetition, under names that a recipe can give. Without units.

A name stands for the default settings, whose lengths are those of `configs/math/` (1,024 tokens); others are given by
the dotted path to an instance of one's own, such as `my_package.my_rewards.overlong` with `overlong =
Overlong(max_length=4096, margin=512)` in that module.
"""

from __future__ import annotations

from collections.abc import Sequence

from trl.rewards import get_cosine_scaled_reward, get_repetition_penalty_reward, get_soft_overlong_punishment

from rewards.controls import token_ids
from rewards.verifiable import as_messages, reference_column


class CosineLength:
    """Accuracy by length: the shorter, the more for a right answer and the less for a wrong one (arXiv 2502.03373,
    appendix C.1; `trl.rewards.get_cosine_scaled_reward`). From 1 to 0.5 if right, from -1 to -0.5 if wrong, along half
    a cosine; None where the reference cannot be parsed. Known failure: a wrong answer gains by being long.

    Args:
        max_length: tokens at which the cosine ends.
        column: the dataset's column with the reference.
        **bounds: TRL's min_value_wrong, max_value_wrong, min_value_correct, max_value_correct.

    Raises (when called):
        ValueError: no such column, or no token ids.
    """

    __name__ = "cosine_length"

    def __init__(self, max_length: int = 1024, column: str = "solution", **bounds: float):
        self.column, self._reward = column, get_cosine_scaled_reward(max_length, **bounds)

    def __call__(self, completions: Sequence, completion_ids=None, **columns) -> list[float | None]:
        """TRL's reward-function interface. In the main thread, or math-verify has no time-out."""
        references = reference_column(columns, self.column, self.__name__)
        ids = token_ids(completion_ids, self.__name__, columns.get("own_tokens"))
        return self._reward(as_messages(completions), references, ids)


class RepetitionPenalty:
    """max_penalty x the share of n-grams of tokens that are repeats: 0 without any (arXiv 2502.03373, appendix C.2;
    `trl.rewards.get_repetition_penalty_reward`). Known failure: short responses have nothing to repeat.

    Args:
        ngram_size: tokens in an n-gram.
        max_penalty: at most 0.

    Raises:
        ValueError: a positive max_penalty, or, when called, no token ids.
    """

    __name__ = "repetition_penalty"

    def __init__(self, ngram_size: int = 3, max_penalty: float = -1.0):
        self._reward = get_repetition_penalty_reward(ngram_size, max_penalty)

    def __call__(self, completions: Sequence, completion_ids=None, **columns) -> list[float]:
        """TRL's reward-function interface."""
        return self._reward(token_ids(completion_ids, self.__name__, columns.get("own_tokens")))


class Overlong:
    """0 up to max_length - margin tokens, then falling to -1 at max_length (DAPO, arXiv 2503.14476, eq. 13;
    `trl.rewards.get_soft_overlong_punishment`). Known failure: with a max_length above the recipe's
    max_completion_length it never applies in full.

    Args:
        max_length: tokens at which the penalty is -1; the recipe's max_completion_length.
        margin: how many tokens before that it begins.

    Raises:
        ValueError: a margin outside [0, max_length], or, when called, no token ids.
    """

    __name__ = "overlong"

    def __init__(self, max_length: int = 1024, margin: int = 256):
        if not 0 <= margin <= max_length:
            raise ValueError(f"margin must lie in [0, max_length], got {margin} with max_length {max_length}.")
        self._reward = get_soft_overlong_punishment(max_length, margin)

    def __call__(self, completions: Sequence, completion_ids=None, **columns) -> list[float]:
        """TRL's reward-function interface."""
        return self._reward(token_ids(completion_ids, self.__name__, columns.get("own_tokens")))
