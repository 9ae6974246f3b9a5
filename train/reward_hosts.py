"""Which model scores for which reward: the trainer's frozen base, the policy itself, or one of the reward's own."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from rewards import CrossTokenizer, FrozenBase, FrozenReward, JudgeReward, LocalJudge, ReferenceProbability
from rewards.frozen.messages import read_template_kwargs
from rewards.verifiable import ThinkFormat


def same_tokenizer(a: PreTrainedTokenizerBase | None, b: PreTrainedTokenizerBase) -> bool:
    """Whether ids mean the same tokens to both; a tokenizer that is not there is no other one."""
    return a is None or a.get_vocab() == b.get_vocab()


def lend_models(
    rewards: list,
    frozen_base: FrozenBase,
    policy: Callable[[], FrozenBase],
    tokenizer: PreTrainedTokenizerBase,
    eos_token_ids: list[int],
    prepare: Callable[[nn.Module], nn.Module],
    chat_template_kwargs: Mapping[str, Any] | str | None = None,
) -> None:
    """Give each reward that has no model the one that it needs, and tell the others what they have to know.

    Args:
        rewards: reward functions; those that ask no model are left alone.
        frozen_base, tokenizer: the trainer's.
        policy: makes the scorer of online rewards.
        eos_token_ids: ids that end a response of the policy.
        prepare: makes a model usable whose weights ZeRO-3 split as it was loaded.
        chat_template_kwargs: the run's, for the chat templates of judges; other rewards read the column `rendering`.
    """
    variables = read_template_kwargs(chat_template_kwargs)
    for reward in rewards:
        if isinstance(reward, JudgeReward) and reward.judge is None:
            reward.judge = LocalJudge(policy() if reward.online else frozen_base, tokenizer)
        if isinstance(reward, JudgeReward):
            reward.asked_judge().lend_variables(variables)
        if isinstance(reward, ThinkFormat) and reward.tokenizer is None:
            reward.tokenizer = tokenizer
        if not isinstance(reward, (FrozenReward, ReferenceProbability)):
            continue
        if reward.base is not None and reward.base.sharded:
            reward.base.model = prepare(reward.base.model)
        if reward.base is None:
            reward.tokenizer = tokenizer
            if not reward.online:
                reward.base = frozen_base
            elif isinstance(reward, ReferenceProbability):
                reward.base = policy()
        if isinstance(reward, FrozenReward):
            if same_tokenizer(reward.tokenizer, tokenizer):
                reward.eos_token_ids |= set(eos_token_ids)
            else:
                reward.across = CrossTokenizer(tokenizer, reward.tokenizer, eos_token_ids)
