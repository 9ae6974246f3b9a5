"""Groups without a spread are drawn again, with other prompts: dynamic sampling (DAPO, arXiv 2503.14476, section 3.2).

Where all responses to a prompt have the same reward, GRPO's advantages are 0 and the group teaches nothing. With a
reward of few values that is most of a rollout, at first because nothing is right and at last because everything is.
So before a rollout is scored by any model, the rewards that ask none are computed, and groups in which their weighted
sum is the same for all responses give way to groups of other prompts, up to so many times. What still has no spread
then stays.

The other prompts depend on the seed and the step alone, so that a run which goes on after a kill draws the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from trl.chat_template_utils import parse_response
from trl.data_utils import is_conversational
from trl.trainer.utils import is_async_callable

from rewards import FrozenReward, JudgeReward, ReferenceProbability, StepReward, TrainedReward
from train.rollout import PromptMixin

if TYPE_CHECKING:
    from train.reward_mix import RewardMix

HELP = (
    "Most times that groups whose rewards are all equal are drawn again, with other prompts (DAPO); 0: never. "
    "Judged by the rewards that ask no model, such as accuracy."
)
MODELS = (FrozenReward, JudgeReward, ReferenceProbability, StepReward, TrainedReward, nn.Module)


def asks_no_model(reward: Any) -> bool:
    """Whether a reward function can be called twice on a response at next to no cost."""
    return not isinstance(reward, MODELS) and not is_async_callable(reward)


def without_spread(totals: Tensor, group_size: int) -> Tensor:
    """(groups,) bool: whether all rewards of a group are the same, where NaN (no reward) is like 0.

    Args:
        totals: (N,) rewards, group by group.
    """
    groups = totals.nan_to_num(0.0).view(-1, group_size)
    return (groups == groups[:, :1]).all(dim=1)


@dataclass
class Draws:
    """Rows of the dataset, with a response each: its ids, vLLM's log-probs of them or None, and its reward."""

    rows: list[Mapping[str, Any]]
    ids: list[list[int]]
    log_probs: list[list[float]] | None
    totals: Tensor

    def replace(self, i: int, others: Draws, k: int) -> None:
        """Put row `k` of `others` in place of row `i`."""
        self.rows[i], self.ids[i], self.totals[i] = others.rows[k], others.ids[k], others.totals[k]
        if self.log_probs is not None and others.log_probs is not None:
            self.log_probs[i] = others.log_probs[k]


class DynamicSamplingMixin(PromptMixin):
    """A `PromptMixin` with `args.dynamic_sampling`; `screen_with` says by which rewards."""

    args: Any
    model: nn.Module
    mix: RewardMix | None
    _weights: Tensor
    _screens: Sequence[int] = ()
    _group_size = 1
    _drawn: tuple[list, list | None] | None = None  # ids and log-probs that the next generation gives back

    def screen_with(self, reward_funcs: Sequence) -> None:
        """Find the rewards that ask no model.

        Raises:
            ValueError: there is none, or tries below 0, groups of one, a dataset without a length, tools that answer
                the policy.
        """
        if not getattr(self.args, "dynamic_sampling", 0):
            return
        weights, self._group_size = self.reward_weights.tolist(), self.num_generations or 1
        annealed = [bool(shaping.anneal) for shaping in self.mix.shapings] if self.mix is not None else []
        learned = [weight != 0 or any(annealed[i : i + 1]) for i, weight in enumerate(weights)]
        self._screens = [i for i, f in enumerate(reward_funcs) if asks_no_model(f) and learned[i]]
        problem = None
        if not self._screens:
            problem = "no reward that asks no model, such as accuracy. Others are hardly ever equal in a group"
        elif self.args.dynamic_sampling < 0:
            problem = f"{self.args.dynamic_sampling} tries: give 0 or more"
        elif self._group_size < 2:
            problem = "num_generations 1: a group of one has no spread"
        elif not isinstance(self.train_dataset, Sized):
            problem = "a dataset without a length: other prompts cannot be chosen by their number"
        elif self.tools or self.environment_factories is not None or self.rollout_func is not None:
            problem = "tools, environments or a rollout_func: what they do would be done twice"
        if problem:
            raise ValueError(f"dynamic_sampling with {problem}. Leave dynamic_sampling out.")
        # here and not by a method of the class, so that a training without it does not come by
        generate = self._generate_single_turn
        self._generate_single_turn = partial(self._drawn_or_new, generate)  # type: ignore[method-assign]

    def _drawn_or_new(self, generate: Callable, *args, **kwargs):
        """TRL's `_generate_single_turn`, or the responses that wait."""
        if self._drawn is not None:
            drawn, self._drawn = self._drawn, None
            return drawn
        return generate(*args, **kwargs)

    def _with_spread(self, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The rows of this process's responses, some of them replaced; the responses wait in `_drawn`."""
        self._weights = self._weights_now()
        if not any(self._weights[i] for i in self._screens):
            return list(rows)  # annealed, and not learned from as yet: no group could have a spread
        size, first = self._group_size, self.accelerator.process_index * len(rows)
        kept = self._draw(rows)
        lacking = self._lacking(kept.totals)
        spread, drawn = 1 - float(lacking.float().mean()), len(lacking)
        for attempt in range(self.args.dynamic_sampling):
            others = self._other_prompts(lacking.nonzero()[:, 0].tolist(), attempt)
            if not others:
                break
            drawn += len(others)
            mine = [i for i in range(len(rows)) if (first + i) // size in others]
            asked = mine or list(range(min(size, len(rows))))  # some can generate only together with the others
            if self.use_vllm and self.accelerator.num_processes > 1:
                asked = list(range(len(rows)))  # TRL deals vLLM's responses out in equal shares
            new = self._draw([others.get((first + i) // size, rows[i]) for i in asked])
            places = {i: k for k, i in enumerate(asked)}
            totals = kept.totals.clone()
            for i in mine:
                totals[i] = new.totals[places[i]]
            better = lacking & ~self._lacking(totals)
            for i in mine:
                if better[(first + i) // size]:
                    kept.replace(i, new, places[i])
            lacking &= ~better
        self._drawn = (kept.ids, kept.log_probs)
        self._note("groups_with_spread_at_first", spread)
        self._note("groups_with_spread", 1 - float(lacking.float().mean()))
        self._note("responses_drawn", drawn * size)
        return kept.rows

    def _weights_now(self) -> Tensor:
        """(F,) weights at this step; `reward_weights` are those of the last rollout, where one is annealed."""
        weights = self.reward_weights.clone()
        if self.mix is not None:
            now = self.mix.weights(self.state.global_step)
            weights[: len(now)] = now.to(weights.device)
        return weights

    def _draw(self, rows: Sequence[Mapping[str, Any]]) -> Draws:
        """One response for each row, and what the rewards that ask no model give for it."""
        self._rows, prompts = rows, [row["prompt"] for row in rows]
        prompt_ids = self._tokenize_prompts(prompts)[0]
        ids, log_probs = self._generate_single_turn(prompt_ids, None, {}, self.num_generations)
        completions: list = self._tokenizer.batch_decode(ids, skip_special_tokens=True)
        if is_conversational({"prompt": prompts[0]}):
            parses = any(getattr(self._tokenizer, f"response_{what}", None) for what in ("template", "schema"))
            messages: list = [{"role": "assistant", "content": text} for text in completions]
            if parses:  # as TRL does, which then tells thoughts from the answer
                messages = [parse_response(self._tokenizer, r, prefix=p) for p, r in zip(prompt_ids, ids)]
            completions = [[message] for message in messages]
        own = [key for key in rows[0] if key not in ("prompt", "completion", "completion_ids")]
        columns: dict[str, Any] = {key: [row[key] for row in rows] for key in own}
        columns |= {"rendering": self.renderings(prompts), "trainer_state": self.state}
        columns |= {"log_extra": lambda *_: None, "log_metric": lambda *_: None}  # the rollout's own call logs
        totals = torch.zeros(len(rows), device=self.accelerator.device)
        for i in self._screens:
            function = cast(Callable, self.reward_funcs[i])
            values = function(prompts=prompts, completions=completions, completion_ids=ids, **columns)
            numbers = torch.tensor([0.0 if v is None else float(v) for v in values], device=totals.device)
            totals += self._weights[i].to(totals.device) * numbers.nan_to_num(0.0)
        return Draws(list(rows), list(ids), log_probs and list(log_probs), totals)

    def _lacking(self, totals: Tensor) -> Tensor:
        """(groups,) of all processes: which have no spread."""
        return without_spread(self.accelerator.gather(totals), self._group_size)

    def _other_prompts(self, groups: Sequence[int], attempt: int) -> dict[int, Mapping[str, Any]]:
        """Rows of the dataset for groups of all processes: the same on each of them, and after a restart."""
        # 7919, a prime, is more than anybody's tries: no step shares its numbers with the next one's
        generator = torch.Generator().manual_seed(self.args.seed + 7919 * self.state.global_step + attempt)
        dataset: Any = self.train_dataset
        order = torch.randperm(len(dataset), generator=generator)[: len(groups)].tolist()
        return {group: dataset[i] for group, i in zip(groups, order)}

    def _note(self, name: str, value: float) -> None:
        self._metrics["train"][f"dynamic_sampling/{name}"].append(value)
