"""From a judge's answers to outcomes, where the judge is a stand-in."""

import numpy as np

from rewards import PairwiseJudge
from rewards.preferences import Comparisons, Group
from rewards.preferences.judging import rival_verdicts


class Answers(PairwiseJudge):
    """A judge that compares and answers what it was told to; an endpoint may leave a question without an answer."""

    def __init__(self, verdicts):
        self.verdicts, self.asked, self.first_wins = verdicts, 2 * len(verdicts), 0.0

    max_positions = None

    def tokens(self, prompt, first, second):
        return 1

    def compare(self, prompts, first, second):
        return self.verdicts


def test_a_pair_without_an_answer_is_not_scored_and_is_counted():
    groups = [Group(str(n), f"p{n}", ["a", "b"]) for n in range(4)]
    comparisons = Comparisons.build(groups, [(n, 0, 1) for n in range(4)], (), [])
    judged = rival_verdicts(Answers(["first", None, "tie", "second"]), comparisons)
    np.testing.assert_array_equal(judged.outcome, [1, np.nan, 0.5, 0])
    assert judged.facts["unanswered"] == 1
