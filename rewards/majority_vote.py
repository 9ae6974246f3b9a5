"""Majority vote (TTRL, arXiv 2504.16084): the group's most frequent answer stands in for the label.

    r_i = 1 if answer_i is equivalent to the most frequent answer of the completions of the same prompt, else 0

Known failure: it rewards agreement, right or wrong. Where most answers are wrong it teaches the wrong one, and once
all of a group agree it teaches nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from rewards.answers import answer_reader, cluster_answers, extract_answer
from rewards.groups import score_groups


class MajorityVote:
    """1 for the completions with their group's most frequent answer, 0 for the others.

    Answers count as one where `rewards.answers` finds them equal. Of equally frequent ones the first wins. One
    without an answer gets 0 and does not vote. A group is all completions with the same prompt, over all processes; a
    group of one always wins, so PPO needs num_generations above 1 too.

    Args:
        extract: from a completion's text (or chat messages) to its answer, None where there is none; or a regular
            expression, see `answer_reader`.
    """

    __name__ = "majority_vote"

    def __init__(self, extract: Callable[[str | list[dict]], str | None] | str = extract_answer):
        self.extract = answer_reader(extract)

    def __call__(self, prompts: Sequence, completions: Sequence, completion_ids=None, **columns) -> list[float]:
        """TRL's reward-function interface. Every process has to take part."""
        return score_groups(prompts, [self.extract(completion) for completion in completions], vote)


def vote(answers: Sequence[str | None]) -> list[float]:
    """Rewards of one whole group, given its answers."""
    clusters = cluster_answers(answers)
    votes = Counter(cluster for cluster in clusters if cluster is not None)
    winner = max(votes, key=votes.__getitem__, default=-1)  # the first of equals
    return [float(cluster == winner) for cluster in clusters]
