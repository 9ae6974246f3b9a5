"""Trained reward models: any sequence classifier with one label (Skywork-Reward, GRM, or one of RewardTrainer)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from tqdm.auto import tqdm
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from rewards.frozen.batching import batches_by_tokens
from rewards.frozen.encoding import check_lists, encode_conversation, encode_text, response_text
from rewards.frozen.loading import default_device, whole_weights
from rewards.frozen.messages import Rendering, content_text, read_template_kwargs, with_variables


class TrainedReward:
    """A Bradley-Terry reward model as a reward function.

    Args:
        model: a sequence classifier with one label, e.g. from `AutoModelForSequenceClassification`. The linear head
            named `score`, where it has one, gives fp32 rewards whatever the weights' dtype from then on: bf16 knows
            only 0.06 apart at a reward of 10, and would make ties.
        tokenizer: its tokenizer.
        batch_tokens: padded tokens in one forward.
        append_eos: end a text (not chat messages, which the chat template ends) with the end token, as TRL's
            RewardTrainer does with texts.
        chat_template_kwargs: variables for the chat template, such as {"enable_thinking": False}; inside this
            project's trainers, over those of the run.
        progress: show a progress bar while scoring.

    Raises:
        ValueError: the model has not one label.
    """

    __name__ = "trained_reward"

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer,
        *,
        batch_tokens: int = 8192,
        append_eos: bool = False,
        chat_template_kwargs: Mapping[str, Any] | str | None = None,
        progress: bool = False,
    ):
        if model.config.num_labels != 1:
            raise ValueError(
                f"The classifier has {model.config.num_labels} labels, and a reward model has one. Choose a reward "
                "model, or write a function that makes one number of the labels and name it by its dotted path."
            )
        self.model, self.tokenizer = model.requires_grad_(False).eval(), tokenizer
        self.batch_tokens, self.append_eos, self.progress = batch_tokens, append_eos, progress
        self.chat_template_kwargs = read_template_kwargs(chat_template_kwargs)
        self._config = model.config.get_text_config()
        self._has_pad = self._config.pad_token_id is not None
        if isinstance(head := getattr(model, "score", None), nn.Linear):
            head.register_forward_hook(_in_fp32)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str,
        *,
        dtype: str | torch.dtype = "auto",
        device: str | torch.device | None = None,
        batch_tokens: int = 8192,
        trust_remote_code: bool = False,
        **settings,
    ) -> TrainedReward:
        """Load model and tokenizer from the hub or a folder (safetensors only).

        Args:
            dtype: "auto" (the checkpoint's), "float32", "bfloat16" or a torch dtype.
            device: default CUDA where there is one, else the CPU.
            batch_tokens: padded tokens in one forward.
            settings: those of `TrainedReward`.

        Raises:
            ValueError: the checkpoint has another number of labels, or no trained head at all.
        """
        with whole_weights():
            model, info = AutoModelForSequenceClassification.from_pretrained(
                name_or_path,
                num_labels=1,  # some reward models' configs do not say so
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=trust_remote_code,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        if info["mismatched_keys"]:
            name, (labels, *_), _ = sorted(info["mismatched_keys"])[0]
            raise ValueError(
                f"{name_or_path} is no reward model: its {name} is for {labels} labels, and a reward has one. Choose "
                "a sequence classifier with one label."
            )
        if info["missing_keys"]:
            raise ValueError(
                f"{name_or_path} lacks {', '.join(sorted(info['missing_keys'])[:3])}, which would be random: it is "
                "no trained reward model. Choose a sequence classifier with one label."
            )
        tokenizer = AutoTokenizer.from_pretrained(name_or_path, trust_remote_code=trust_remote_code)
        return cls(model.to(default_device(device)), tokenizer, batch_tokens=batch_tokens, **settings)

    @property
    def max_positions(self) -> int | None:
        return getattr(self._config, "max_position_embeddings", None)

    def tokens(self, prompt, response) -> int:
        """How many of the model's positions it takes to judge a response."""
        return len(self._encode(prompt, response))

    @torch.no_grad()
    def score(
        self, prompts: Sequence, responses: Sequence, rendering: Sequence[Rendering] | None = None
    ) -> list[float]:
        """The reward of each response, computed in fp32 from the last hidden state, in the model's own unit.

        Args:
            prompts: chat messages (rendered by the chat template, the response as the assistant's turn), or str, to
                which the response is appended as it stands.
            responses: str, or chat messages, with those of tools among them.
            rendering: how each prompt is rendered, as this project's trainers say it in a column of that name.

        Raises:
            ValueError: prompt and response beyond the model's positions, no chat template, no tokens, NaN; the message
                names the row.
        """
        check_lists(prompts, responses)
        renderings: Sequence[Rendering] = rendering or [{}] * len(prompts)
        ids = [self._encode(p, r, how) for p, r, how in zip(prompts, responses, renderings, strict=True)]
        positions = self.max_positions
        for i, row in enumerate(ids):
            if not row:
                raise ValueError(f"Row {i} has no tokens: drop it, or set append_eos=True.")
            if positions and len(row) > positions:
                raise ValueError(
                    f"Row {i} has {len(row)} tokens (prompt and response), but the model has {positions} positions. "
                    "Shorten the response, or drop the row."
                )
        rewards = torch.empty(len(ids))
        batches = batches_by_tokens([len(row) for row in ids], self.batch_tokens)
        with tqdm(total=len(ids), desc="reward model", unit="response", disable=not self.progress) as bar:
            for rows in batches:
                rewards[rows] = self._forward([ids[i] for i in rows])
                bar.update(len(rows))
        if bad := (~rewards.isfinite()).nonzero()[:8, 0].tolist():
            raise ValueError(
                f"The reward model gave NaN or infinite rewards for rows {bad}: check the checkpoint, or load it in "
                "bfloat16 or float32 instead of float16."
            )
        return rewards.tolist()

    def __call__(self, prompts, completions, completion_ids=None, rendering=None, **kwargs) -> list[float]:
        """TRL's reward-function interface. The completions' text is judged, with this model's own tokens."""
        return self.score(prompts, completions, rendering)

    def _encode(self, prompt, response, rendering: Rendering | None = None) -> list[int]:
        if isinstance(prompt, str):
            end = [self.tokenizer.eos_token_id] if self.append_eos else []
            return [*encode_text(self.tokenizer, prompt + response_text(response)), *end]
        turns = [{"role": "assistant", "content": response}] if isinstance(response, str) else [*response]
        turns = [{"role": "assistant", **turn} for turn in turns]
        if prompt and prompt[-1]["role"] == "assistant" and turns:  # the response goes on with that message
            prompt, begun = prompt[:-1], content_text(prompt[-1])
            turns = [{**turns[0], "content": begun + content_text(turns[0])}, *turns[1:]]
        how = with_variables(rendering, self.chat_template_kwargs)
        # what replaces the policy's own template is none of this model's
        return encode_conversation(self.tokenizer, [*prompt, *turns], **{**how, "chat_template": None})

    def _forward(self, rows: list[list[int]]) -> Tensor:
        """(B,) fp32 rewards of one batch of token ids, padded on the right, where absolute positions do not shift."""
        if not self._has_pad:
            # The classifier reads the last token that is not the padding token. The model names none, so any id will
            # do with which no row ends.
            self._config.pad_token_id = min(set(range(len(rows) + 1)) - {row[-1] for row in rows})
        ids = torch.full((len(rows), max(map(len, rows))), self._config.pad_token_id)
        mask = torch.zeros_like(ids)
        for k, row in enumerate(rows):
            ids[k, : len(row)] = torch.tensor(row)
            mask[k, : len(row)] = 1
        output = self.model(input_ids=ids.to(self.model.device), attention_mask=mask.to(self.model.device))
        return output.logits[:, 0].float().cpu()


def _in_fp32(head: nn.Linear, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Forward hook: the head's output once more, in fp32."""
    with torch.autocast(output.device.type, enabled=False):
        return linear(inputs[0].float(), head.weight.float(), None if head.bias is None else head.bias.float())
