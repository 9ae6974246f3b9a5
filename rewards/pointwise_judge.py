"""GenRM-pointwise: a language model writes a mark from 1 to 10 for each response."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedModel

from rewards.frozen.encoding import check_lists
from rewards.frozen.frozen_base import FrozenBase
from rewards.frozen.messages import with_tools
from rewards.judges.judge import Judge
from rewards.judges.judge_reward import JudgeReward, as_judge
from rewards.judges.templates import FOLDER, Template
from rewards.judges.verdicts import check_reason_tokens, last_verdict

logger = logging.getLogger(__name__)

_NUMBER = r"(?<![\d.-])(\d+(?:\.\d+)?)(?!\.?\d)"
# most to least explicit: [[7]], then "Rating: 7" or "7/10" or "7 out of 10", then an answer that is only a number
_FORMS = [
    re.compile(rf"\[\[\s*{_NUMBER}\s*(?:/\s*10)?\s*\]\]"),
    re.compile(
        rf"\b(?:rating|score|mark)\b\s*(?:is\b|of\b)?[\s:=*\[]*{_NUMBER}(?!\s*(?:-|–|to\b))"
        rf"|{_NUMBER}\s*(?:/|out\s+of)\s*10\b",
        re.IGNORECASE,
    ),
    re.compile(rf"\A\W*{_NUMBER}\W*\Z"),
]


def parse_mark(text: str, reasons: bool = False) -> float | None:
    """The mark in a judge's answer, or None if there is none from 1 to 10.

    Of the most explicit form that occurs ("[[7]]"; "Rating: 7", "7/10", "7 out of 10"; a number alone) the last mark
    counts, since a judge that explains itself concludes with it. Fractions such as 8.5 are marks. Thoughts do
    not count (see `judges.verdicts`).

    Args:
        reasons: whether reasons were asked for, so that an answer that breaks off in the mark's sentence has none.
    """
    found = last_verdict(text, _FORMS, settled=reasons)
    return float(found) if found is not None and 1 <= float(found) <= 10 else None


class PointwiseJudge(JudgeReward):
    """The mark as a reward function. An answer without a mark gives None, which TRL takes for "does not apply".

    Args:
        model: a causal LM of transformers, a frozen base, or another judge (see `judges.judge`), or None inside this
            project's trainers, which lend it their frozen base. It generates greedily.
        tokenizer: the model's tokenizer.
        template: file with `{prompt}` and `{response}`; default `judges/prompts/pointwise.txt`, which asks for the
            mark alone, or with `reason_tokens` `pointwise_reasons.txt`.
        max_new_tokens: the most tokens of an answer, beside its reasons.
        reason_tokens: the most tokens of reasons, or of thoughts where the judge's template is told `enable_thinking`,
            before the mark; 0 asks for the mark alone.
        batch_tokens: padded tokens, answers included, in one batch of a model given as such.
        online: the policy judges itself, as it stands, with its adapter on; inside this project's trainers only.
        progress: show a progress bar while scoring.

    Attributes:
        asked, unparsable: answers so far, and those without a mark.
    """

    __name__ = "pointwise_judge"

    def __init__(
        self,
        model: PreTrainedModel | FrozenBase | Judge | None = None,
        tokenizer=None,
        *,
        template: str | Path | None = None,
        max_new_tokens: int = 32,
        reason_tokens: int = 0,
        batch_tokens: int = 8192,
        online: bool = False,
        progress: bool = False,
    ):
        self.reason_tokens = check_reason_tokens(reason_tokens)
        default = FOLDER / ("pointwise_reasons.txt" if reason_tokens else "pointwise.txt")
        self.template = Template(template or default, ("prompt", "response"))
        self.judge = as_judge(model, tokenizer, batch_tokens, online)
        self.max_new_tokens, self.online, self.progress = max_new_tokens, online, progress
        self.asked = self.unparsable = 0

    @property
    def budget(self) -> int:
        """The most tokens of an answer, reasons included."""
        return self.reason_tokens + self.max_new_tokens

    def tokens(self, prompt, response) -> int:
        """How many of the model's positions it takes to judge a response, the longest answer included."""
        return self.question_tokens(self.template, prompt=prompt, response=response) + self.budget

    def score(self, prompts: Sequence, responses: Sequence) -> list[float | None]:
        """The mark of each response, 1 to 10, or None where the judge's answer has none; those are counted and logged.
        None too where an endpoint gave no answer and is allowed to.

        Args:
            prompts: str or chat messages, read by the judge as text with the roles named.
            responses: str, or the assistant's chat messages.

        Raises:
            ValueError: prompt and answer would not fit into the model's positions.
            JudgeUnavailable: see `EndpointJudge`.
        """
        check_lists(prompts, responses)
        questions = [{"prompt": p, "response": r} for p, r in zip(prompts, responses)]
        answers = self.asked_judge().write(self.template, questions, self.budget, self.progress)
        marks = [None if answer is None else parse_mark(answer, self.reason_tokens > 0) for answer in answers]
        given = [answer for answer in answers if answer is not None]
        unparsable = [answer for answer, mark in zip(answers, marks) if mark is None and answer is not None]
        self.asked += len(given)
        self.unparsable += len(unparsable)
        if unparsable:
            logger.warning("%d of %d answers have no mark, e.g. %.80r", len(unparsable), len(given), unparsable[0])
        return marks

    def __call__(
        self, prompts, completions, completion_ids=None, log_metric=None, rendering=None, **kwargs
    ) -> list[float | None]:
        """TRL's reward-function interface; logs the share of answers without a mark where the trainer has metrics."""
        asked, unparsable = self.asked, self.unparsable
        marks = self.score(with_tools(prompts, rendering), completions)
        if log_metric is not None and self.asked > asked:
            log_metric("pointwise_judge/unparsable", (self.unparsable - unparsable) / (self.asked - asked))
        self.log_judge(log_metric)
        return marks
