"""Generative verifier: the probability that the frozen base answers "Yes" when asked whether a response is good.

The log-probability of "Yes" is EndoRM's `logprob` form for a response of one token, H = 1 and a_1 = "Yes", to the
judge's prompt (arXiv 2506.23235, section 3; the verifier itself: arXiv 2408.15240). The form Q - V would add V(s_1),
which here differs from response to response, since the response is part of the judge's prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rewards.frozen.encoding import check_lists, column
from rewards.frozen.frozen_base import FrozenBase
from rewards.frozen.messages import with_tools
from rewards.judges.judge import Judge
from rewards.judges.judge_reward import JudgeReward, as_judge, first_answer, none_for_nan
from rewards.judges.templates import FOLDER, Template

FORMS = ("logprob", "prob")


class GenerativeVerifier(JudgeReward):
    """P("Yes") as a reward function. One forward a response, one position read, nothing generated.

    Args:
        base: the frozen base that judges, or another judge (see `rewards.judges.judge`), or None inside this project's
            trainers, which lend it theirs.
        tokenizer: the base's tokenizer.
        template: file with `{prompt}`, `{response}` and, if there are references, `{reference}`; default
            `rewards/judges/prompts/verifier.txt`, or `verifier_reference.txt` with a `reference_column`.
        reference_column: the dataset's column with the right answer, which the judge may then see.
        answers: what is asked for, and its opposite; each must be one token.
        form: "logprob" (nats, at most 0) or "prob" (0 to 1, bounded as RL likes it; the same order of responses).
        normalise: whether the probability is of the first answer among the two, or (default) among the whole
            vocabulary, as in EndoRM. The second is low where the judge would rather say something else altogether.
        online: the policy judges itself, as it stands, with its adapter on; inside this project's trainers only.
        progress: show a progress bar while scoring.
    """

    __name__ = "generative_verifier"

    def __init__(
        self,
        base: FrozenBase | Judge | None = None,
        tokenizer=None,
        *,
        template: str | Path | None = None,
        reference_column: str | None = None,
        answers: tuple[str, str] = ("Yes", "No"),
        form: str = "logprob",
        normalise: bool = False,
        online: bool = False,
        progress: bool = False,
    ):
        if form not in FORMS:
            raise ValueError(f"form must be one of {FORMS}, got {form!r}.")
        default = FOLDER / ("verifier_reference.txt" if reference_column else "verifier.txt")
        required = ("prompt", "response", "reference") if reference_column else ("prompt", "response")
        self.template = Template(template or default, required)
        self.judge = as_judge(base, tokenizer, online=online)
        self.reference_column, self.answers = reference_column, answers
        self.form, self.normalise, self.online, self.progress = form, normalise, online, progress

    def tokens(self, prompt, response) -> int:
        """How many of the model's positions it takes to judge a response (without a reference)."""
        return self.question_tokens(self.template, prompt=prompt, response=response) + 1

    def score(self, prompts: Sequence, responses: Sequence, references: Sequence | None = None) -> list[float | None]:
        """The (log-)probability of the first answer for each response; None where an endpoint gave no answer and is
        allowed to.

        Args:
            prompts: str or chat messages, read by the judge as text with the roles named.
            responses: str, or the assistant's chat messages.
            references: the right answers; wanted if, and only if, there is a `reference_column`.

        Raises:
            ValueError: an answer that is not one token, references that are missing or not wanted, a judge prompt
                beyond the model's positions, NaN; see `FrozenBase.score`.
            JudgeUnavailable: see `EndpointJudge`.
        """
        check_lists(prompts, responses)
        if (references is None) == (self.reference_column is not None):
            raise ValueError("Give references with a reference_column, and none without one.")
        if references is not None and None in references:
            raise ValueError(f"Row {list(references).index(None)} has no reference: drop it, or fill it in.")
        extra = [{}] * len(prompts) if references is None else [{"reference": str(r)} for r in references]
        questions = [{"prompt": p, "response": r, **e} for p, r, e in zip(prompts, responses, extra, strict=True)]
        log_probs = self.asked_judge().log_probs(self.template, questions, self.answers, self.progress)
        values = first_answer(log_probs, self.normalise)
        return none_for_nan((values if self.form == "logprob" else values.exp()).tolist())

    def __call__(
        self, prompts, completions, completion_ids=None, log_metric=None, rendering=None, **kwargs
    ) -> list[float | None]:
        """TRL's reward-function interface. The completions' text is judged, since the judge's tokens may be others.

        Raises:
            ValueError: the dataset has no `reference_column`.
        """
        references = (
            None if self.reference_column is None else column(kwargs, self.reference_column, "reference_column")
        )
        values = self.score(with_tools(prompts, rendering), completions, references)
        self.log_judge(log_metric)
        return values
