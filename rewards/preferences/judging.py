"""Judges on comparisons: from a judge's name and a benchmark's responses to outcomes.

EndoRM goes through a cache on disk, so that its settings can be swept without another forward. No response is judged
in silence that a judge cannot read in full: one beyond the model's positions is not scored, and counted, or cut.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from transformers import AutoConfig, AutoTokenizer

from rewards import (
    EndoRM,
    FrozenBase,
    GenerativeVerifier,
    ImplicitReward,
    PairwiseJudge,
    PointwiseJudge,
    TrainedReward,
)
from rewards.frozen.encoding import encode_prompt, encode_response
from rewards.frozen.loading import load_causal_lm
from rewards.frozen.score_cache import ScoreCache
from rewards.frozen.sweep import ScoredResponses, Setting
from rewards.pairwise_judge import POINTS
from rewards.preferences.comparisons import Comparisons, outcomes

logger = logging.getLogger(__name__)
RIVALS = {
    cls.__name__: cls for cls in (GenerativeVerifier, PointwiseJudge, PairwiseJudge, TrainedReward, ImplicitReward)
}
JUDGES = {"endorm": EndoRM} | {cls.__dict__["__name__"]: cls for cls in RIVALS.values()}


@dataclass
class Verdicts:
    """What one judge made of the comparisons.

    Attributes:
        outcome: (n,) as `outcomes` makes it.
        scores: one list per group, or None from a judge that only compares.
        facts: counts worth reporting: forwards and tokens of the backbone, unparsable answers, position bias ...
        notes: what was not scored or cut, with counts.
    """

    outcome: np.ndarray
    scores: list[list[float]] | None
    facts: dict
    notes: list[str] = field(default_factory=list)


class EndoRMScores:
    """Per-token scores of every response of a benchmark, from a cache and one forward for what it lacks.

    Args:
        model: name or folder.
        cache: folder of the cache.
        alphas: at which soft values are kept.
        cut: shorten responses beyond the model's positions instead of leaving them without a score.
        dtype, device, batch_tokens: of the frozen base, which is loaded only if the cache lacks something.
        trust_remote_code: run Python code that comes with the model.
    """

    def __init__(
        self,
        model: str,
        cache: str | Path,
        alphas: Sequence[float] = (1.0,),
        cut: bool = False,
        dtype: str = "auto",
        device: str | None = None,
        batch_tokens: int = 8192,
        trust_remote_code: bool = False,
    ):
        self.tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=trust_remote_code)
        config = AutoConfig.from_pretrained(model, trust_remote_code=trust_remote_code).get_text_config()
        self.positions = getattr(config, "max_position_embeddings", None)
        self.cache, self.cut = ScoreCache(cache, model, dtype, alphas), cut
        self._load = lambda: FrozenBase(load_causal_lm(model, dtype, device, trust_remote_code)[0], batch_tokens)
        self._base: FrozenBase | None = None

    @property
    def facts(self) -> dict:
        """Forwards of the backbone so far and tokens that went through it."""
        return (
            {"forwards": self._base.forwards, "tokens": self._base.tokens}
            if self._base
            else {"forwards": 0, "tokens": 0}
        )

    def base(self) -> FrozenBase:
        """The frozen base, loaded at the first call."""
        self._base = self._base or self._load()
        return self._base

    def score(
        self, comparisons: Comparisons, name: str = "endorm"
    ) -> tuple[list[tuple[int, int]], ScoredResponses, list[str]]:
        """Every response that fits: its (group, response) indices, the scores of them all, and notes on the others.
        The progress bar has the name."""
        places, prompts, responses, too_long = [], [], [], 0
        for g, group in enumerate(comparisons.groups):
            prompt = encode_prompt(self.tokenizer, group.prompt)
            for r, text in enumerate(group.responses):
                if text is None:
                    continue
                ids = encode_response(self.tokenizer, text, append_eos=True, prompt=group.prompt)
                room = (self.positions or len(prompt) + len(ids)) - len(prompt)
                if len(ids) > room:
                    too_long += 1
                    if not self.cut or room < 2:
                        continue
                    ids = [*ids[: room - 1], ids[-1]]
                places.append((g, r))
                prompts.append(prompt)
                responses.append(ids)
        if not places:
            raise ValueError(f"No response fits into the model's {self.positions} positions: use another model.")
        scored = ScoredResponses(self.cache.score(self.base, prompts, responses, name=name))
        return places, scored, too_long_note(too_long, self.cut)


def too_long_note(count: int, cut: bool) -> list[str]:
    """The note on responses beyond the model's positions, logged too; none if there are none."""
    if not count:
        return []
    note = f"{count} responses beyond the model's positions: " + ("cut to fit" if cut else "not scored")
    logger.warning(note)
    return [note]


def endorm_verdicts(
    source: EndoRMScores, comparisons: Comparisons, settings: Sequence[Setting], name: str = "endorm"
) -> list[Verdicts]:
    """EndoRM's verdicts under each setting, from one set of scores, whose progress bar has the name."""
    places, scored, notes = source.score(comparisons, name)
    result = []
    for setting in settings:
        table = [[float("nan")] * len(group.responses) for group in comparisons.groups]
        for (g, r), value in zip(places, scored.rewards(setting).tolist()):
            table[g][r] = value
        result.append(Verdicts(outcomes(comparisons, table), table, source.facts, notes))
    return result


def load_judge(name: str, model: str, *, reference: str | None = None, **settings):
    """A rival of EndoRM by its registered name.

    Raises:
        ValueError: an unknown name, or an implicit reward without its reference model.
    """
    if name not in JUDGES or name == "endorm":
        raise ValueError(f"Unknown judge {name!r}; known: {', '.join(JUDGES)}.")
    if name == "implicit_reward":
        if reference is None:
            raise ValueError("implicit_reward compares two models: name the one before training with --reference.")
        settings["reference"] = reference
    return JUDGES[name].from_pretrained(model, progress=True, **settings)


def rival_verdicts(judge, comparisons: Comparisons, cut: bool = False) -> Verdicts:
    """Verdicts of a judge that scores texts, or compares two."""
    if isinstance(judge, PairwiseJudge):
        return _compared(judge, comparisons)
    places, prompts, responses, too_long = [], [], [], 0
    for g, group in enumerate(comparisons.groups):
        for r, text in enumerate(group.responses):
            if text is None:
                continue
            over = judge.tokens(group.prompt, text) - (judge.max_positions or float("inf"))
            if over > 0:
                too_long += 1
                text = _shortened(judge, group.prompt, text, over) if cut else None
                if text is None:
                    continue
            places.append((g, r))
            prompts.append(group.prompt)
            responses.append(text)
    table = [[float("nan")] * len(group.responses) for group in comparisons.groups]
    for (g, r), value in zip(places, judge.score(prompts, responses)):
        table[g][r] = float("nan") if value is None else value
    facts = {name: getattr(judge, name) for name in ("asked", "unparsable") if hasattr(judge, name)}
    return Verdicts(outcomes(comparisons, table), table, facts, too_long_note(too_long, cut))


def _shortened(judge, prompt, text: str, over: int) -> str | None:
    """The beginning of a response that fits, by tokens of the judge; None if not even one token does."""
    ids = judge.tokenizer(text, add_special_tokens=False)["input_ids"]
    while over > 0 and len(ids) > over:
        ids = ids[: len(ids) - int(over)]
        text = judge.tokenizer.decode(ids)
        over = judge.tokens(prompt, text) - judge.max_positions
    return text if over <= 0 else None


def _compared(judge: PairwiseJudge, comparisons: Comparisons) -> Verdicts:
    """Verdicts of a judge that compares. A pair without an answer (an endpoint may give none) is not scored."""
    indices = zip(comparisons.group.tolist(), comparisons.better.tolist(), comparisons.worse.tolist())
    pairs = [(comparisons.groups[g], b, w) for g, b, w in indices]
    questions = [(group.prompt, group.responses[b], group.responses[w]) for group, b, w in pairs]
    limit = judge.max_positions or float("inf")
    fits = [judge.tokens(*question) <= limit for question in questions]
    outcome = np.full(len(comparisons), np.nan)
    asked = [question for question, fit in zip(questions, fits) if fit]
    verdicts = judge.compare(*map(list, zip(*asked))) if asked else []
    outcome[fits] = [np.nan if verdict is None else POINTS[verdict][0] for verdict in verdicts]
    outcome[comparisons.identical] = 0.5
    facts = {"asked": judge.asked, "position_bias": judge.position_bias, "unanswered": verdicts.count(None)}
    return Verdicts(outcome, None, facts, too_long_note(fits.count(False), False))
