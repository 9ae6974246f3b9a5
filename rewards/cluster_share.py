"""Answer-cluster share (EMPO, arXiv 2504.05812): how much of the group gives the same answer.

    r_i = (completions of the same prompt with an answer equivalent to answer_i) / (completions of the same prompt)

This is the estimate of p(meaning of answer_i | prompt) whose maximisation lowers the semantic entropy of the answers.
EMPO also leaves out prompts of very low or high semantic entropy; that is not done here. Known failure: as with the
majority vote, agreement is rewarded whether right or wrong, and in the end all of a group agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from rewards.answers import answer_reader, cluster_answers, extract_answer
from rewards.groups import score_groups


class ClusterShare:
    """The share of its group, in [0, 1], that has a completion's answer.

    Answers count as one where `rewards.answers` finds them equal. A completion without an answer gets 0 and forms no
    cluster, but counts in the size of the group. A group is all completions with the same prompt, over all processes.

    Args:
        extract: from a completion's text (or chat messages) to its answer, None where there is none; or a regular
            expression, see `answer_reader`.
    """

    __name__ = "cluster_share"

    def __init__(self, extract: Callable[[str | list[dict]], str | None] | str = extract_answer):
        self.extract = answer_reader(extract)

    def __call__(self, prompts: Sequence, completions: Sequence, completion_ids=None, **columns) -> list[float]:
        """TRL's reward-function interface. Every process has to take part."""
        return score_groups(prompts, [self.extract(completion) for completion in completions], share)


def share(answers: Sequence[str | None]) -> list[float]:
    """Rewards of one whole group, given its answers."""
    clusters = cluster_answers(answers)
    sizes = Counter(clusters)
    return [0.0 if cluster is None else sizes[cluster] / len(clusters) for cluster in clusters]
