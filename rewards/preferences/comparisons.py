"""Comparisons: which response should beat which, and what a judge's scores make of it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

logger = logging.getLogger(__name__)

Prompt = str | list[dict]


@dataclass
class Group:
    """Responses to one prompt.

    Attributes:
        id: name of the row it came from.
        prompt: text as it stands, or chat messages.
        responses: texts; None where the file lacks one.
    """

    id: str
    prompt: Prompt
    responses: list[str | None]


@dataclass
class Comparisons:
    """n comparisons between responses of the same group.

    Attributes:
        groups: the prompts with their responses; a judge scores every response once.
        group: (n,) int, the group of each comparison.
        better, worse: (n,) int, responses of that group: the first should win.
        labels: name -> (n,) array of what is known about each comparison, e.g. "domain".
        notes: everything left out or odd, with counts.

    Raises:
        ValueError: arrays of other lengths, or a comparison with a response that does not exist.
    """

    groups: list[Group]
    group: np.ndarray
    better: np.ndarray
    worse: np.ndarray
    labels: dict[str, np.ndarray]
    notes: list[str]

    def __post_init__(self) -> None:
        arrays = {"group": self.group, "better": self.better, "worse": self.worse, **self.labels}
        wrong = [name for name, array in arrays.items() if np.shape(array) != (len(self.group),)]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: give one value per comparison, {len(self.group)} as in `group`")
        sizes = np.array([len(g.responses) for g in self.groups])[self.group]
        for name, index in (("better", self.better), ("worse", self.worse)):
            if ((index < 0) | (index >= sizes)).any():
                raise ValueError(f"`{name}` points outside of its group's responses; count them from 0")
        if any(None in texts for texts in self._texts()):
            raise ValueError("a comparison is with an absent response (None); leave it out")

    @classmethod
    def build(cls, groups: list[Group], rows: list[tuple], labels: Sequence[str], notes: list[str]) -> Comparisons:
        """From one tuple ``(group, better, worse, *labels)`` per comparison. Adds notes on the texts, logs all notes.

        Raises:
            ValueError: no comparison.
        """
        if not rows:
            raise ValueError(f"no comparison is left: {'; '.join(notes) or 'the file has none'}. Name another file")
        group, better, worse, *values = (np.array(column) for column in zip(*rows, strict=True))
        built = cls(groups, group, better, worse, dict(zip(labels, values, strict=True)), list(notes))
        empty = sum(text is not None and not text.strip() for g in groups for text in g.responses)
        repeated = len(groups) - len(set(built.units.tolist()))
        for count, what in (
            (empty, "empty responses, kept: what a judge makes of one is its own affair"),
            (int(built.identical.sum()), "comparisons of identical responses: ties by nature, so never won"),
            (repeated, "rows repeat the prompt of another; intervals resample them together"),
        ):
            if count:
                built.notes.append(f"{count} {what}")
        for note in built.notes:
            logger.warning(note)
        return built

    def __len__(self) -> int:
        return len(self.group)

    @cached_property
    def units(self) -> np.ndarray:
        """(groups,) int: equal where groups have the same prompt. What intervals resample: pairs of one prompt are
        correlated."""
        seen: dict[str, int] = {}
        return np.array([seen.setdefault(repr(g.prompt), len(seen)) for g in self.groups])

    @cached_property
    def identical(self) -> np.ndarray:
        """(n,) bool: both responses are the same text."""
        return np.array([better == worse for better, worse in self._texts()], dtype=bool)

    def gather(self, values: Sequence[Sequence[float | None]]) -> tuple[np.ndarray, np.ndarray]:
        """From values per response those of each comparison's better and worse one: two (n,) float64 arrays.

        Args:
            values: one list per group, one number per response; None counts as NaN.

        Raises:
            ValueError: values that are not aligned with the groups and their responses.
        """
        if len(values) != len(self.groups):
            raise ValueError(f"{len(values)} lists of scores for {len(self.groups)} groups; give one per group")
        sizes = np.array([len(g.responses) for g in self.groups])
        for g, size, row in zip(self.groups, sizes, values, strict=True):
            if len(row) != size:
                raise ValueError(f"group {g.id}: {len(row)} scores for {size} responses; give NaN where there is none")
        flat = np.array([value for row in values for value in row], dtype=float)
        start = (np.cumsum(sizes) - sizes)[self.group]
        return flat[start + self.better], flat[start + self.worse]

    def _texts(self):
        for g, better, worse in zip(self.group.tolist(), self.better.tolist(), self.worse.tolist(), strict=True):
            yield self.groups[g].responses[better], self.groups[g].responses[worse]


def as_prompt(prompt: Prompt, system: str | None = None, chat: bool = True) -> Prompt:
    """A prompt for a judge: chat messages, or with `chat` off plain text, for models without a chat template.

    Args:
        prompt: text, which becomes one user message, or chat messages.
        system: replaces, or adds, the system message; put before plain text with an empty line between.

    Raises:
        ValueError: chat messages with `chat` off.
    """
    if isinstance(prompt, str):
        if not chat:
            return f"{system}\n\n{prompt}" if system else prompt
        prompt = [{"role": "user", "content": prompt}]
    elif not chat:
        raise ValueError(f"the prompts are chat messages and cannot be plain text: leave chat on. {str(prompt)[:200]}")
    if system:
        prompt = [{"role": "system", "content": system}, *(m for m in prompt if m["role"] != "system")]
    return prompt


def with_system(comparisons: Comparisons, system: str) -> Comparisons:
    """The same comparisons under another system prompt; see `as_prompt`."""
    groups = [
        dataclasses.replace(g, prompt=as_prompt(g.prompt, system, chat=not isinstance(g.prompt, str)))
        for g in comparisons.groups
    ]
    return dataclasses.replace(comparisons, groups=groups)


def outcomes(comparisons: Comparisons, scores: Sequence[Sequence[float | None]]) -> np.ndarray:
    """What the scores make of each comparison: (n,) float64 of 1 win, 0 loss, 0.5 tie, NaN not scored.

    Identical texts tie whatever their scores, which batching may set apart by rounding. A judge that compares instead
    of scoring makes this array itself. Accuracy is the share of wins, so a tie counts as lost, as in RM-Bench's code.

    Args:
        scores: one list per group, one number per response; NaN or None where the judge gave no score.

    Raises:
        ValueError: scores that are not aligned with the groups and their responses.
    """
    better, worse = comparisons.gather(scores)
    result = np.where(better > worse, 1.0, 0.0)
    result[(better == worse) | comparisons.identical] = 0.5
    result[np.isnan(better) | np.isnan(worse)] = np.nan
    return result


def length_scores(groups: list[Group], tokenizer=None) -> list[list[float]]:
    """Lengths of all responses, as scores: characters, or tokens where a tokenizer is given. NaN for an absent one."""

    def length(text: str | None) -> float:
        if text is None:
            return float("nan")
        return float(len(text if tokenizer is None else tokenizer(text, add_special_tokens=False)["input_ids"]))

    return [[length(text) for text in g.responses] for g in groups]


def random_scores(groups: list[Group], seed: int = 0) -> list[list[float]]:
    """Independent uniform scores, the same for the same seed."""
    generator = np.random.default_rng(seed)
    return [generator.random(len(g.responses)).tolist() for g in groups]


def floors(comparisons: Comparisons, tokenizer=None, seed: int = 0) -> dict[str, np.ndarray]:
    """Outcomes of judges that do not read: the better of "longer wins" and "shorter wins", and a random one."""
    lengths = length_scores(comparisons.groups, tokenizer)
    by_length = {
        "length only (longer wins)": outcomes(comparisons, lengths),
        "length only (shorter wins)": outcomes(comparisons, [[-n for n in row] for row in lengths]),
    }
    best = max(by_length, key=lambda name: np.sum(by_length[name] == 1))
    return {best: by_length[best], "random": outcomes(comparisons, random_scores(comparisons.groups, seed))}
