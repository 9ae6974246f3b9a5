"""The policy's prompts become token ids by the one renderer that everything else in this project uses.

TRL renders a batch of prompts by itself, with `chat_template_kwargs` of its config and the tools of the trainer. It
does not read the columns `tools` and `chat_template_kwargs` of a dataset, shows nothing (or Python's list) of contents
that are lists of parts where the template expects text, opens a second turn after a prompt that ends in a message of
the assistant's, and lets a text begin with two BOS tokens. TRL would have to render each row with its own settings, as
its SFTTrainer does.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rewards.frozen.encoding import encode_prompt
from rewards.frozen.messages import Rendering, rendering_of

if TYPE_CHECKING:
    from trl import GRPOTrainer as Base
else:
    Base = object


class RenderingMixin(Base):
    """For a `trl.GRPOTrainer`: prompts by `encode_prompt`, and the column `rendering` for reward functions."""

    _rows: Sequence[Mapping[str, Any]] | None = None  # of the dataset, one a response

    def _generate_and_score_completions(self, inputs):
        self._rows = inputs
        return super()._generate_and_score_completions(inputs)

    def _tokenize_prompts(self, prompts: list):
        ids = [
            encode_prompt(self._tokenizer, p, **how) for p, how in zip(prompts, self.renderings(prompts), strict=True)
        ]
        return ids, None, {}  # no images: only causal LMs of text are trained

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        inputs = [{**row, "rendering": how} for row, how in zip(inputs, self.renderings(prompts), strict=True)]
        return super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)

    def renderings(self, prompts: Sequence) -> list[Rendering]:
        """How each prompt of the current rollout is rendered: by its row, over the run's settings.

        Raises:
            ValueError: a row has tools in a column, and the trainer has tools too.
        """
        rows: Sequence[Mapping[str, Any]] = self._rows or ()
        if len(rows) != len(prompts):  # a rollout_func of the user's asks for other prompts
            rows = [{}] * len(prompts)
        result = []
        for i, row in enumerate(rows):
            how = rendering_of(row, self.chat_template_kwargs)
            if tools := self._tools_of(i):
                if how.get("tools"):
                    raise ValueError(
                        "The trainer has tools that it runs, and the dataset has a column tools, which are only "
                        "shown: leave out one of the two, or rename the column."
                    )
                how["tools"] = tools
            if self.chat_template is not None:
                how["chat_template"] = self.chat_template
            result.append(how)
        return result

    def _tools_of(self, i: int) -> list:
        if self.environment_factories is None:
            return self.tools
        names = getattr(self, "_batch_environments", ())  # there from the first rollout on
        return self._env_tools[names[i]] if i < len(names) else self.tools
