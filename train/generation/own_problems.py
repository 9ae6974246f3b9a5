"""Problems that the policy proposes itself, in place of the dataset's: `own_problems`.

Each rollout begins with proposals. The policy reads a few problems of the dataset as what it wrote before, and writes
one more; what counts of that is the first match of a regular expression. A draft without one, with another's problem
of the same rollout, or with one whose very text is held out, is drawn again, `TRIES` times in all; then the dataset's
own problem stays. With `dynamic_sampling` and a majority vote the policy learns on what it answers neither always
alike nor never, as in Self-Questioning Language Models (arXiv 2508.03682) and R-Zero (arXiv 2508.05004). Those train
the proposer too; here proposing earns nothing, and changes as the policy does.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence, Sized
from typing import Any

from accelerate.utils import gather_object

from train.generation.dynamic_sampling import DynamicSamplingMixin

HELP = (
    "Regular expression of a problem. With it the policy proposes the problems of each rollout, after examples from "
    "the dataset, e.g. '[A-Z][^?]{10,300}\\?'. Columns with answers are None then: use rewards that need none."
)
EXAMPLES_HELP = "Problems of the dataset that the policy reads before it proposes one."
REQUEST = "Write a question."
TRIES = 4  # of a proposal, until the dataset's problem stays
OF_RENDERING = ("tools", "chat_template_kwargs")  # columns that say how a prompt is shown, whatever it asks


def problem_of(prompt: str | list[dict]) -> str:
    """The problem of a prompt: the text, or that of a chat's last message."""
    return prompt if isinstance(prompt, str) else str(prompt[-1]["content"])


def request(examples: Sequence[str], chat: bool) -> str | list[dict]:
    """The prompt for a proposal: a chat in which the policy has written the examples, or a text that lists them."""
    if not chat:
        return "".join(f"{example}\n\n" for example in examples)
    turns = [({"role": "user", "content": REQUEST}, {"role": "assistant", "content": e}) for e in examples]
    return [message for turn in turns for message in turn] + [{"role": "user", "content": REQUEST}]


def with_problem(row: Mapping[str, Any], problem: str) -> dict[str, Any]:
    """A row of the dataset that asks another problem. What belonged to the old one, such as its answer, is None."""
    prompt: Any = row["prompt"]
    new = problem if isinstance(prompt, str) else [*prompt[:-1], {**prompt[-1], "content": problem}]
    return {key: value if key in OF_RENDERING else None for key, value in row.items()} | {"prompt": new}


class OwnProblemsMixin(DynamicSamplingMixin):
    """A `DynamicSamplingMixin` whose prompts, the first and the further ones, are the policy's own problems where
    `args.own_problems` says so."""

    _pattern: re.Pattern | None = None
    _heldout_problems: frozenset[str] = frozenset()
    _problems: set[str]  # of the rollout so far
    _drafted: Counter[str]  # what became of its drafts

    def propose_with(self, heldout) -> None:
        """Read the settings.

        Args:
            heldout: dataset whose problems are never proposed, or None.

        Raises:
            ValueError: no regular expression, no examples, a dataset without a length, tools that answer the policy.
        """
        if getattr(self.args, "own_problems", None) is None:
            return
        problem, examples = None, self.args.own_problems_examples
        try:
            pattern = re.compile(self.args.own_problems)
        except re.error as error:
            raise ValueError(f"own_problems is no regular expression ({error}): {self.args.own_problems!r}") from error
        if not isinstance(self.train_dataset, Sized):
            problem = "a dataset without a length: examples cannot be chosen by their number"
        elif not 0 < examples <= len(self.train_dataset):
            problem = f"own_problems_examples {examples}: give 1 to {len(self.train_dataset)}, the dataset's problems"
        elif self.tools or self.environment_factories is not None or self.rollout_func is not None:
            problem = "tools, environments or a rollout_func, which make the prompts"
        if problem:
            raise ValueError(f"own_problems with {problem}.")
        self._pattern = pattern
        self._heldout_problems = frozenset(
            problem_of(row["prompt"]) for row in (heldout if heldout is not None else ())
        )

    def _with_own_problems(self, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The rows of this process's responses with the policy's problems, the same one throughout a group."""
        size, first = self.num_generations or 1, self.accelerator.process_index * len(rows)
        groups = range(len(rows) * self.accelerator.num_processes // size)
        self._problems, self._drafted = set(), Counter()
        found = self._propose(groups, attempt=0)
        self._log_proposals(len(found) / len(groups))
        numbers = [(first + i) // size for i in range(len(rows))]
        return [with_problem(row, found[n]) if n in found else row for n, row in zip(numbers, rows)]

    def _other_prompts(self, groups: Sequence[int], attempt: int) -> dict[int, Mapping[str, Any]]:
        others = super()._other_prompts(groups, attempt)
        if self._pattern is None or not others:
            return others
        found = self._propose(list(others), attempt + 1)
        return {n: with_problem(row, found[n]) if n in found else row for n, row in others.items()}

    def _propose(self, groups: Sequence[int], attempt: int) -> dict[int, str]:
        """New problems for groups of all processes, the same on each of them; a group may go without."""
        found: dict[int, str] = {}
        lacking = list(groups)
        for trial in range(TRIES):
            for group, problem in self._drafts(lacking, attempt * TRIES + trial):
                if group in found:  # it was asked twice, to fill up the processes' shares
                    continue
                fate = self._fate(problem)
                self._drafted[fate] += 1
                if problem is not None and fate == "taken":
                    found[group] = problem
                    self._problems.add(problem)
            lacking = [group for group in lacking if group not in found]
            if not lacking:
                break
        return found

    def _fate(self, problem: str | None) -> str:
        if not problem:
            return "unreadable"
        if problem in self._heldout_problems:
            return "held_out"
        return "repeated" if problem in self._problems else "taken"

    def _drafts(self, groups: Sequence[int], number: int) -> list[tuple[int, str | None]]:
        """A draft for each of the groups, shared out among the processes: its problem, None where it has none."""
        assert self._pattern is not None
        share = -(-len(groups) // self.accelerator.num_processes)
        begin = self.accelerator.process_index * share
        mine = list(groups[begin : begin + share])
        mine += [groups[0]] * (share - len(mine))  # all generate as many, since some can only do it together
        prompts = [self._request(group, number) for group in mine]
        self._rows = None
        ids = self._generate_single_turn(self._tokenize_prompts(prompts)[0], None, {}, 1)[0]
        matches = [self._pattern.search(text) for text in self._tokenizer.batch_decode(ids, skip_special_tokens=True)]
        drafts = [(group, match and match[0].strip()) for group, match in zip(mine, matches)]
        return gather_object(drafts) if self.accelerator.num_processes > 1 else drafts

    def _request(self, group: int, number: int) -> str | list[dict]:
        """Asks for a problem of a group; examples depend on seed and step alone, as after a restart."""
        chosen = random.Random(f"{self.args.seed} {self.state.global_step} {number} {group}")
        dataset: Any = self.train_dataset
        rows = [dataset[i] for i in chosen.sample(range(len(dataset)), self.args.own_problems_examples)]
        return request([problem_of(row["prompt"]) for row in rows], not isinstance(rows[0]["prompt"], str))

    def _log_proposals(self, share: float) -> None:
        """The share of groups with a problem of the policy's, and what became of the drafts, before any further ones
        by dynamic sampling."""
        log, drafts = self._metrics["train"], sum(self._drafted.values())
        log["own_problems/groups"].append(share)
        for fate in ("unreadable", "held_out", "repeated"):
            log[f"own_problems/{fate}"].append(self._drafted[fate] / drafts)
