"""Rewards: everything that judges a response. Nothing here knows of training.

`REWARDS` is the whole registry: a name and where to find it. A name that is not in it is a dotted path, or a file
and a function in it.
"""

import os
import sys
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType

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
    "think_format": "rewards.verifiable.ThinkFormat",
    "right_verdict": "rewards.right_verdict.right_verdict",
    "unit_tests": "rewards.unit_tests.UnitTests",
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
    """The reward function, or the class of one, behind a name.

    Args:
        name: a registered name; a dotted path such as `my_package.my_function`, which is looked up where Python is
            installed and in the current folder; or a file and a name in it, `path/to/file.py:my_function`.

    Raises:
        ValueError: unknown name, or a path that cannot be imported; the message lists the registered names.
    """
    known = (
        f"Registered rewards: {', '.join(sorted(REWARDS))}; anything else is a dotted path package.module.function or "
        "a file, path/to/file.py:function."
    )
    path = REWARDS.get(name, name)
    file, colon, attribute = path.rpartition(":")
    if colon:
        return _find(name, known, lambda: _module_of_file(Path(file)), attribute)
    module_name, _, attribute = path.rpartition(".")
    if not module_name:
        raise ValueError(f"Unknown reward {name!r}. {known}")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that it hides nothing that is installed
    return _find(name, known, lambda: import_module(module_name), attribute)


def _find(name: str, known: str, load: Callable[[], ModuleType], attribute: str):
    try:
        return getattr(load(), attribute)
    except (ImportError, AttributeError, FileNotFoundError) as error:
        raise ValueError(f"Cannot import reward {name!r}: {error}. {known}") from error


def _module_of_file(path: Path) -> ModuleType:
    """The module of a Python file, read once; what lies beside it can be imported by it."""
    path = path.expanduser().resolve()
    module_name = f"reward_file_{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    if path.suffix != ".py" or not path.is_file():
        raise FileNotFoundError(f"there is no Python file {path}")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    loader = SourceFileLoader(module_name, str(path))
    module = sys.modules[module_name] = module_from_spec(ModuleSpec(module_name, loader, origin=str(path)))
    with ExitStack() as unless_it_is_read:  # half a module must not be found by the next who asks
        unless_it_is_read.callback(sys.modules.pop, module_name)
        loader.exec_module(module)
        unless_it_is_read.pop_all()
    return module


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
