"""1 where a completion ends with the right one of two verdicts: a verifiable reward that trains a judge.

GRPO with rewards for right verdicts makes a reward model that reasons (RM-R1, arXiv 2505.02387; J1, arXiv 2505.10320).
Known failure: a policy that always says "A" earns one half where both are right equally often, so watch the share.
"""

from __future__ import annotations

from collections.abc import Sequence

from rewards.frozen.encoding import response_text
from rewards.judges.verdicts import parse_choice
from rewards.verifiable import reference_column

VERDICTS = ("A", "B")


def right_verdict(completions: Sequence, completion_ids=None, log_metric=None, **columns) -> list[float]:
    """TRL reward function: 1.0 where a completion ends with the verdict that is the row's `winner`, else 0.0.

    `judges.verdicts` says how "[[A]]" or "[[B]]" is found. A completion without a verdict gets 0.0, and their share is
    logged as `right_verdict/unparsable`.

    Args:
        completions: str, or the assistant's chat messages.
        columns: `winner` among them, "A" or "B" a row.

    Raises:
        ValueError: there is no column `winner`, or a row has another one.
    """
    winners = reference_column(columns, "winner", "right_verdict")
    if wrong := [(i, winner) for i, winner in enumerate(winners) if winner not in VERDICTS]:
        raise ValueError(
            f"The reward right_verdict needs a winner of 'A' or 'B' in every row, but row {wrong[0][0]} of this batch "
            f"has {wrong[0][1]!r}: correct the data, or leave out rows without a winner."
        )
    said = [parse_choice(response_text(completion), VERDICTS) for completion in completions]
    if log_metric is not None and said:
        log_metric("right_verdict/unparsable", said.count(None) / len(said))
    return [float(verdict == winner) for verdict, winner in zip(said, winners, strict=True)]
