"""What the rewards by generative judges share: their judge, local or behind an endpoint, and its metrics."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import PreTrainedModel

from rewards.frozen.frozen_base import FrozenBase
from rewards.frozen.loading import load_causal_lm
from rewards.judges.endpoint_judge import EndpointJudge
from rewards.judges.judge import Judge, LocalJudge
from rewards.judges.templates import Template

ENDPOINT_SETTINGS = frozenset(inspect.signature(EndpointJudge).parameters) - {"url", "model", "chat_template_kwargs"}


class JudgeReward:
    """A reward by a generative judge.

    Attributes:
        judge: who is asked. None inside this project's trainers, which lend their frozen base to who has none, or the
            policy as it stands to who is `online`.
        online: whether the policy judges itself (Self-Rewarding Language Models, arXiv 2401.10020).
    """

    judge: Judge | None
    online: bool = False
    __name__: str

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str,
        *,
        endpoint: str | None = None,
        dtype: str | torch.dtype = "auto",
        device: str | torch.device | None = None,
        batch_tokens: int = 8192,
        trust_remote_code: bool = False,
        chat_template_kwargs: Mapping[str, Any] | str | None = None,
        **settings,
    ) -> Self:
        """A judge loaded into this process (see `load_causal_lm`), or with `endpoint` the one of that name which a
        server has.

        Args:
            endpoint: address of an OpenAI-compatible server, e.g. http://localhost:8000/v1; with it, the settings of
                `EndpointJudge` in place of the following four.
            batch_tokens: padded tokens in one batch.
            chat_template_kwargs: variables for the judge's chat template, over `enable_thinking: false`. Without them
                a training lends those of its run, but for that one.
            settings: those of the class.

        Raises:
            ValueError: settings of an endpoint without one, or of a model in this process with one.
        """
        make: Callable[..., Self] = cls  # a subclass says what it takes
        of_endpoint = {key: settings.pop(key) for key in ENDPOINT_SETTINGS & settings.keys()}
        if endpoint is not None:
            if (dtype, device, batch_tokens, trust_remote_code) != ("auto", None, 8192, False):
                raise ValueError(
                    "dtype, device, batch_tokens and trust_remote_code are the server's business: leave them out of "
                    "a judge with an endpoint."
                )
            of_endpoint["chat_template_kwargs"] = chat_template_kwargs
            return make(EndpointJudge(endpoint, name_or_path, **of_endpoint), **settings)
        if of_endpoint:
            raise ValueError(
                f"{', '.join(sorted(of_endpoint))}: only for a judge behind an endpoint. Add endpoint: "
                "http://HOST:8000/v1, or leave that out."
            )
        model, tokenizer = load_causal_lm(name_or_path, dtype, device, trust_remote_code)
        return make(LocalJudge(model, tokenizer, batch_tokens, chat_template_kwargs), **settings)

    @property
    def base(self) -> FrozenBase | None:
        return self.asked_judge().base

    @property
    def tokenizer(self):
        return self.asked_judge().tokenizer

    @property
    def max_positions(self) -> int | None:
        return self.asked_judge().max_positions

    def asked_judge(self) -> Judge:
        """The judge.

        Raises:
            ValueError: there is none.
        """
        if self.judge is None:
            raise ValueError(
                f"This {type(self).__name__} has no judge: build it with from_pretrained(name_or_path), give it an "
                "EndpointJudge, or give it to this project's trainers, which lend it their frozen base or, with "
                "online, the policy."
            )
        return self.judge

    def question_tokens(self, template: Template, **question) -> int:
        """How many tokens a question to a judge in this process has.

        Raises:
            ValueError: there is no judge, or it is behind an endpoint.
        """
        judge = self.asked_judge()
        if not isinstance(judge, LocalJudge):
            raise ValueError(f"The tokens of {type(judge).__name__} are not known here: use a model in this process.")
        return len(judge.encode(template, **question))

    def log_judge(self, log_metric) -> None:
        """Hand the judge's metrics to the trainer, if there is one that has metrics."""
        metrics = self.asked_judge().take_metrics()
        for key, value in metrics.items() if log_metric is not None else ():
            log_metric(f"{self.__name__}/{key}", value)


def as_judge(
    model: Judge | FrozenBase | PreTrainedModel | None, tokenizer, batch_tokens: int = 8192, online: bool = False
) -> Judge | None:
    """A judge as it is, a model with its tokenizer as a `LocalJudge`, None as None.

    Raises:
        ValueError: a model of its own for a reward that is `online`.
    """
    if online and model is not None:
        raise ValueError(
            "online means that the policy judges itself: leave model and endpoint out, or leave online out for a "
            "judge that does not move."
        )
    return model if model is None or isinstance(model, Judge) else LocalJudge(model, tokenizer, batch_tokens)


def first_answer(log_probs: Tensor, normalise: bool) -> Tensor:
    """Log-probability of the first of two answers, (N,): over the whole vocabulary, or among the two.

    Args:
        log_probs: (N, 2) as `Judge.log_probs` gives them.
    """
    return logsigmoid(log_probs[:, 0] - log_probs[:, 1]) if normalise else log_probs[:, 0]


def none_for_nan(values: list[float]) -> list[float | None]:
    """None, which TRL takes for "does not apply", where a judge gave nothing."""
    return [None if value != value else value for value in values]
