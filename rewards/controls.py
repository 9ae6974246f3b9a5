"""Controls: rewards that know nothing of right and wrong. A reward that does not beat them has taught nothing.

Random rewards and a mere format reward raise the maths accuracy of some base models (arXiv 2506.10947), so a gain
needs these beside it. In a recipe a name stands for the default settings; others are given by the dotted path to an
instance of one's own, such as `my_package.my_rewards.short` with `short = Length(scale=-1)` in that module.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence

from rewards.frozen.encoding import own_ids, response_text
from rewards.verifiable import boxed


class Random:
    """1 with a given probability, else 0, without units (arXiv 2506.10947 has 0.5).

    The draw depends on seed, training step, prompt and completion only, so a run repeats and neither batch nor number
    of processes matters. Equal completions of a prompt are told apart within a call, not between processes.

    Args:
        probability: of a 1.
        seed: another seed gives other draws.

    Raises:
        ValueError: a probability outside [0, 1].
    """

    __name__ = "random"

    def __init__(self, probability: float = 0.5, seed: int = 0):
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must lie in [0, 1], got {probability}.")
        self.probability, self.seed = probability, seed

    def __call__(self, prompts: Sequence, completions: Sequence, completion_ids=None, **columns) -> list[float]:
        """TRL's reward-function interface; the step is read from its `trainer_state`, and is 0 without one."""
        step = getattr(columns.get("trainer_state"), "global_step", 0)
        seen: Counter[str] = Counter()
        rewards = []
        for prompt, completion in zip(prompts, completion_ids or map(response_text, completions), strict=True):
            key = repr((self.seed, step, prompt, completion))
            # a str seeds by its SHA-512, the same in every process
            rewards.append(float(random.Random(f"{key} {seen[key]}").random() < self.probability))
            seen[key] += 1
        return rewards


class Constant:
    """The same for every completion. GRPO learns nothing from it but its KL term, PPO nothing but its KL penalty.

    Args:
        value: the reward, without units.
    """

    __name__ = "constant"

    def __init__(self, value: float = 1.0):
        self.value = float(value)

    def __call__(self, completions: Sequence, completion_ids=None, **columns) -> list[float]:
        """TRL's reward-function interface."""
        return [self.value] * len(completions)


class Length:
    """scale x the number of tokens, end token included: longer is better. A negative scale (or weight in the recipe)
    rewards short completions, whose end is the empty one.

    Args:
        scale: reward of one token.

    Raises (when called):
        ValueError: no token ids.
    """

    __name__ = "length"

    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def __call__(self, completions: Sequence, completion_ids=None, own_tokens=None, **columns) -> list[float]:
        """TRL's reward-function interface."""
        return [self.scale * len(ids) for ids in token_ids(completion_ids, self.__name__, own_tokens)]


class FormatOnly:
    r"""1 where a completion has the wanted form, else 0, whatever it says.

    Args:
        pattern: regular expression that has to be found in the text. Default: a closed ``\boxed{}`` that is not empty.

    Raises:
        re.error: a pattern that is no regular expression.
    """

    __name__ = "format_only"

    def __init__(self, pattern: str | None = None):
        self.pattern = None if pattern is None else re.compile(pattern)

    def __call__(self, completions: Sequence, completion_ids=None, **columns) -> list[float]:
        """TRL's reward-function interface."""
        if self.pattern is None:
            return boxed(completions)
        return [float(bool(self.pattern.search(response_text(completion)))) for completion in completions]


def token_ids(completion_ids, reward: str, own_tokens=None) -> list:
    """The completions' token ids, as a trainer gives them; of `own_tokens`, where given, only the policy's.

    Raises:
        ValueError: there are none.
    """
    if completion_ids is None:
        raise ValueError(f"The reward {reward} counts tokens: give completion_ids, as TRL's trainers do.")
    return own_ids(completion_ids, own_tokens)
