"""Step-level rewards: any reward per token, aggregated over the steps of a response.

A step is a line, or a part under a heading "Step k" (Lightman et al., arXiv 2305.20050, judge one line at a time), or
a turn: the policy's own tokens between two parts by a tool or an environment. Its reward is the sum, mean or minimum
of its tokens' and lands on its last token. The minimum says how bad a step's worst token is; it is lower for longer
steps, as the sum is of rewards that are negative.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from rewards.frozen.encoding import encode_response

TURN = "turn"
RULES = ("line", "step", TURN)
REDUCES = {"sum": "sum", "mean": "mean", "min": "amin"}  # ours: torch's
LINE = re.compile(r"\n(?:[^\S\n]*\n)*")  # the end of a line, with the blank lines after it
BLANK = re.compile(r"\n(?:[^\S\n]*\n)+")
HEADING = re.compile(r"^[ \t]*[#*]*[ \t]*step[ \t]*\d+", re.MULTILINE | re.IGNORECASE)


def turns(own: Tensor) -> Tensor:
    """The turn that each of the policy's own tokens belongs to, from 0 on, (own tokens,) int64.

    Args:
        own: (T,) bool, true on the policy's own tokens.
    """
    before = torch.cat([own.new_zeros(1), own[:-1]])
    return (own & ~before).cumsum(0)[own] - 1


def step_starts(text: str, rule: str = "line") -> list[int]:
    """Where in a text its steps but the first begin, as positions of characters, ascending.

    Args:
        rule: "line", every line that is not blank, or "step", every heading "Step k" at the start of a line (in
            Markdown or not), or if there is none every part after a blank line. Blank lines belong to the step
            before them, those at the start to the first.
    """
    if rule not in RULES or rule == TURN:  # turns are not in the text
        raise ValueError(f"rule must be one of {RULES[:-1]}, got {rule!r}.")
    begin, end = len(text) - len(text.lstrip()), len(text.rstrip())
    if rule == "step" and (headings := [m.start() for m in HEADING.finditer(text)]):
        return [start for start in headings if start > begin]
    breaks = (LINE if rule == "line" else BLANK).finditer(text)
    return [m.end() for m in breaks if begin < m.start() and m.end() < end]


def token_steps(pieces: Sequence[str], rule: str = "line") -> Tensor:
    """The step that each token belongs to, (T,) int64, ascending.

    Args:
        pieces: each token's text. A token belongs where its last character does, one without text (an end token) to
            the step of the token before it.
    """
    ends = torch.tensor(list(accumulate(map(len, pieces))), dtype=torch.long)
    starts = torch.tensor(step_starts("".join(pieces), rule), dtype=torch.long)
    return torch.searchsorted(starts, ends - 1, right=True)


def aggregate_steps(rewards: Tensor, steps: Tensor, reduce: str = "sum") -> Tensor:
    """Each step's sum, mean or minimum on the step's last token and 0 elsewhere, (T,) as `rewards`.

    Args:
        rewards: (T,) one a token, in any unit.
        steps: (T,) int64, ascending, as from `token_steps`.
    """
    if reduce not in REDUCES:
        raise ValueError(f"reduce must be one of {tuple(REDUCES)}, got {reduce!r}.")
    _, index, counts = steps.unique_consecutive(return_inverse=True, return_counts=True)
    values = rewards.new_zeros(len(counts)).scatter_reduce(0, index, rewards, REDUCES[reduce], include_self=False)
    return torch.zeros_like(rewards).index_copy(0, counts.cumsum(0) - 1, values)


class StepReward:
    """A reward function that aggregates the token rewards of another over the steps of each response.

    Args:
        inner: a reward function with token rewards: a method `per_token`, or a list of one number per token for a
            response when called.
        rule: "line" or "step", see `step_starts`; or "turn".
        reduce: "sum", "mean" or "min" of a step's tokens.
        tokenizer: what decodes the tokens; default the inner reward's, in this project's trainers the policy's.
    """

    def __init__(self, inner, rule: str = "line", reduce: str = "sum", tokenizer=None):
        if rule not in RULES or reduce not in REDUCES:
            raise ValueError(f"rule must be one of {RULES} and reduce of {tuple(REDUCES)}, got {rule!r}, {reduce!r}.")
        self.inner, self.rule, self.reduce, self._tokenizer = inner, rule, reduce, tokenizer
        self._inner_name = getattr(inner, "__name__", type(inner).__name__)
        self.__name__ = f"{self._inner_name}_steps"  # what TRL calls the reward in its logs

    @property
    def tokenizer(self):
        return self._tokenizer or getattr(self.inner, "tokenizer", None)

    @tokenizer.setter
    def tokenizer(self, tokenizer) -> None:
        self._tokenizer = tokenizer

    def __call__(self, prompts, completions, completion_ids=None, **kwargs) -> list[float | None]:
        """TRL's reward-function interface: the sum over a response's steps."""
        rows = self.per_token(prompts, completions, completion_ids, **kwargs)
        return [row if row is None else float(row.sum()) for row in rows]

    def per_token(self, prompts, completions, completion_ids=None, **kwargs) -> list[Tensor | None]:
        """Like a call, but one reward per token, (T_i,) fp32 on the CPU: 0 but on the last token of each step, of the
        policy's own tokens where the column `own_tokens` tells them from an environment's.

        Raises:
            ValueError: no tokenizer, or an inner reward that gives one number a response, or for other tokens.
        """
        if self.tokenizer is None:
            raise ValueError("StepReward decodes tokens: pass tokenizer=.")
        if completion_ids is not None:
            kwargs["completion_ids"] = completion_ids
        rewards = getattr(self.inner, "per_token", self.inner)(prompts=prompts, completions=completions, **kwargs)
        if completion_ids is None:
            end = getattr(self.inner, "append_eos", False), getattr(self.inner, "end_token", "template")
            completion_ids = [
                encode_response(self.tokenizer, c, end[0], p, end[1]) for p, c in zip(prompts, completions)
            ]
        masks = kwargs.get("own_tokens") or [[1] * len(ids) for ids in completion_ids]
        return [r if r is None else self._aggregate(r, *row) for r, *row in zip(rewards, completion_ids, masks)]

    def _aggregate(self, rewards, ids: Sequence[int], own: Sequence) -> Tensor:
        rewards = torch.as_tensor(rewards, dtype=torch.float32).cpu()
        if rewards.shape != (len(ids),):
            raise ValueError(
                f"{self.__name__} needs one reward a token, but {self._inner_name} gave "
                f"{tuple(rewards.shape)} for a response of {len(ids)} tokens: choose a reward with token rewards."
            )
        mask, result = torch.as_tensor(own, dtype=torch.bool), torch.zeros(len(ids))
        if self.rule == TURN:
            result[mask] = aggregate_steps(rewards[mask], turns(mask), self.reduce)
            return result
        # decoded one by one, a character split over tokens has other pieces, but a line's end is never split
        pieces = self.tokenizer.batch_decode([[i] for i in ids], skip_special_tokens=True)
        # lines are those of the whole text, but what an environment wrote of them is not judged
        result[mask] = aggregate_steps(rewards[mask], token_steps(pieces, self.rule)[mask], self.reduce)
        return result
