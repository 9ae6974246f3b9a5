"""Rewards: everything that judges a response. Nothing here knows of training.

`REWARDS` is the whole registry: a name and where to find it. A name that is not in it is imported as a dotted path.
"""

from importlib import import_module

from rewards.endorm import EndoRM
from rewards.frozen.cross_tokenizer import CrossTokenizer
from rewards.frozen.frozen_base import FrozenBase
from rewards.frozen.frozen_reward import FrozenReward
from rewards.frozen.token_scores import TokenScores
from rewards.generative_verifier import GenerativeVerifier
from rewards.implicit_reward import ImplicitReward
from rewards.judges.endpoint_judge import EndpointJudge, JudgeUnavailable
from rewards.judges.judge import Judge, LocalJudge
from rewards.judges.judge_reward import JudgeReward
from rewards.pairwise_judge import PairwiseJudge
from rewards.pointwise_judge import PointwiseJudge
from rewards.reference_probability import ReferenceProbability
from rewards.rubric import Rubric
from rewards.shaping import Shaping
from rewards.steps import StepReward
from rewards.trained_reward import TrainedReward
from rewards.trl_reward_model import PPORewardModel

REWARDS = {
    "endorm": "rewards.endorm.EndoRM",
    "generative_verifier": "rewards.generative_verifier.GenerativeVerifier",
    "pointwise_judge": "rewards.pointwise_judge.PointwiseJudge",
    "pairwise_judge": "rewards.pairwise_judge.PairwiseJudge",
    "rubric": "rewards.rubric.Rubric",
    "trained_reward": "rewards.trained_reward.TrainedReward",
    "implicit_reward": "rewards.implicit_reward.ImplicitReward",
    "self_certainty": "rewards.self_certainty.SelfCertainty",
    "negative_entropy": "rewards.negative_entropy.NegativeEntropy",
    "mean_log_likelihood": "rewards.likelihood.MeanLogLikelihood",
    "sequence_log_likelihood": "rewards.likelihood.SequenceLogLikelihood",
    "rlpr": "rewards.rlpr.RLPR",
    "verifree": "rewards.verifree.VeriFree",
    "accuracy": "rewards.verifiable.Accuracy",
    "reasoning_accuracy": "rewards.verifiable.ReasoningAccuracy",
    "exact_numeric": "rewards.verifiable.ExactNumeric",
    "boxed": "rewards.verifiable.boxed",
    "think_format": "rewards.verifiable.think_format",
    "majority_vote": "rewards.majority_vote.MajorityVote",
    "cluster_share": "rewards.cluster_share.ClusterShare",
    "cosine_length": "rewards.length_penalties.CosineLength",
    "repetition_penalty": "rewards.length_penalties.RepetitionPenalty",
    "overlong": "rewards.length_penalties.Overlong",
    "random": "rewards.controls.Random",
    "constant": "rewards.controls.Constant",
    "length": "rewards.controls.Length",
    "format_only": "rewards.controls.FormatOnly",
}


def get_reward(name: str):
    """The reward function (or the class of one) behind a registered name or a dotted path such as `my_package.my_fn`.

    Raises:
        ValueError: unknown name, or a path that cannot be imported; the message lists the registered names.
    """
    path = REWARDS.get(name, name)
    module_name, _, attribute = path.rpartition(".")
    known = (
        f"Registered rewards: {', '.join(sorted(REWARDS))}; anything else is a dotted path package.module.function."
    )
    if not module_name:
        raise ValueError(f"Unknown reward {name!r}. {known}")
    try:
        return getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"Cannot import reward {name!r}: {error}. {known}") from error


__all__ = [
    "REWARDS",
    "CrossTokenizer",
    "EndoRM",
    "EndpointJudge",
    "FrozenBase",
    "FrozenReward",
    "GenerativeVerifier",
    "ImplicitReward",
    "Judge",
    "JudgeReward",
    "JudgeUnavailable",
    "LocalJudge",
    "PPORewardModel",
    "PairwiseJudge",
    "PointwiseJudge",
    "ReferenceProbability",
    "Rubric",
    "Shaping",
    "StepReward",
    "TokenScores",
    "TrainedReward",
    "get_reward",
]
