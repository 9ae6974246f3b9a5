"""Token rewards from a model with another tokenizer than the policy's, mapped by the characters that tokens cover.

The teacher reads the response's text in tokens of its own. What a token of it earns is spread evenly over the
characters that the token covers, and a token of the policy gets the sum over its characters:

    r_i = sum over characters c of token i, sum over teacher tokens j that cover c, of r_j / |characters of j|

so that a response's sum is the teacher's. Its end token pays the policy's end token, if the response has one. Known
limits: within a teacher token credit is split evenly, and a policy token may be paid for characters that the teacher
judged together with later ones. A character belongs to the policy token that completes it: tokens that hold a part
of its bytes earn nothing before, nor do special tokens inside a response, which the teacher does not see. Bytes that
never become a character are U+FFFD to the teacher.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

logger = logging.getLogger(__name__)
PATIENCE = 16  # tokens that may pass without a whole character; one takes 4, bytes that make none must not pile up


class CrossTokenizer:
    """Between the tokens of a policy and those of the model that judges it. Says once that it is at work.

    Args:
        policy: the policy's tokenizer, a fast one.
        teacher: the judging model's tokenizer, a fast one with an end token.
        eos_token_ids: ids that end a response of the policy; default its tokenizer's end token.

    Raises:
        ValueError: a tokenizer that is not fast, or a teacher without end token.
    """

    def __init__(self, policy, teacher, eos_token_ids: Sequence[int] | None = None):
        for tokenizer in (policy, teacher):
            if not tokenizer.is_fast:
                raise ValueError(
                    f"The tokenizer of {tokenizer.name_or_path!r} is not a fast one, so its tokens have no known "
                    "place in a text: use a teacher with the policy's tokenizer, or convert it to a fast one."
                )
        if teacher.eos_token_id is None:
            raise ValueError(f"The teacher {teacher.name_or_path!r} has no end token: set its tokenizer.eos_token.")
        self.policy, self.teacher = policy, teacher
        self.eos_token_ids = {policy.eos_token_id} if eos_token_ids is None else set(eos_token_ids)
        logger.warning(
            "%s has another tokenizer than the policy: it reads responses re-tokenised, and its token rewards are "
            "mapped to the policy's tokens by characters.",
            teacher.name_or_path or "The reward's model",
        )

    def per_token(
        self,
        prompts: Sequence,
        completion_ids: Sequence[Sequence[int]],
        judge: Callable[[list, list[list[int]], list[bool]], list[Tensor]],
        end_ids: Sequence[int] | None = None,
    ) -> list[Tensor]:
        """Rewards of the policy's tokens, n of (T_i,) fp32 on the CPU, in the unit of `judge`.

        Args:
            prompts: n prompts, handed on to `judge`.
            completion_ids: n responses in the policy's tokens, none empty.
            judge: from prompts, responses in the teacher's tokens and whether each is complete to its token rewards.
            end_ids: n ids by which the teacher ends these responses; default its tokenizer's end token.
        """
        complete = [ids[-1] in self.eos_token_ids for ids in completion_ids]
        read = [characters(self.policy, ids[: len(ids) - end]) for ids, end in zip(completion_ids, complete)]
        texts = [text for text, _ in read]
        # a special token that the policy spells out is text, and ends no turn
        encoded = self.teacher(texts, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
        ends = [self.teacher.eos_token_id] * len(complete) if end_ids is None else end_ids
        ids = [[*row, *[i] * end] for row, i, end in zip(encoded["input_ids"], ends, complete, strict=True)]
        rows = [i for i, row in enumerate(ids) if row]  # cut off before its first character: nothing to judge
        judged = judge([prompts[i] for i in rows], [ids[i] for i in rows], [complete[i] for i in rows])
        result = [torch.zeros(len(row)) for row in completion_ids]
        for i, rewards in zip(rows, judged):
            counts, spans = read[i][1], encoded["offset_mapping"][i]
            if spans:
                result[i][: len(counts)] = spread(rewards[: len(spans)], torch.tensor(spans), counts)
            if complete[i]:
                result[i][-1] = rewards[-1]
        return result


def characters(tokenizer, ids: Sequence[int]) -> tuple[str, Tensor]:
    """The text of token ids without special tokens, and how many of its characters each token completes, (T,) int64.

    Decoded piece by piece, each after the piece before it, in time linear in the tokens: 2,000 take about 3 ms. (To
    encode the text again would be no help: a sampled text's tokens are often not those its tokenizer would choose.)
    """
    decode = partial(tokenizer.backend_tokenizer.decode, skip_special_tokens=True)
    pieces, begin, end, before = [""] * len(ids), 0, 0, ""  # ids[begin:end] is the piece before, decoded as `before`
    for i in range(len(ids)):
        text = decode(ids[begin : i + 1])
        # U+FFFD at the end: bytes that wait for the rest of their character
        if not text.endswith("\ufffd") or i + 1 - end >= PATIENCE or i + 1 == len(ids):
            pieces[i] = text[len(before) :]
            begin, end = end, i + 1
            before = decode(ids[begin:end])
    return "".join(pieces), torch.tensor([len(piece) for piece in pieces], dtype=torch.long)


def spread(rewards: Tensor, spans: Tensor, counts: Tensor) -> Tensor:
    """Rewards of one tokenizer's tokens on those of another over the same text, (T,) fp32; the sum is kept.

    Args:
        rewards: (S,) of the tokens that were judged.
        spans: (S, 2) int64, the characters [start, end) that each covers; spans may overlap, where tokens are parts of
            one character. One without a character (a space that its tokenizer adds) pays the character it stands at.
        counts: (T,) int64, characters of each token that is paid, one after the other; their sum is at least 1.
    """
    total = int(counts.sum())
    starts = spans[:, 0].clamp(max=total - 1)
    sizes = torch.maximum(spans[:, 1], starts + 1) - starts
    judged = torch.arange(len(sizes)).repeat_interleave(sizes)
    place = starts[judged] + torch.arange(len(judged)) - (sizes.cumsum(0) - sizes)[judged]
    share = (rewards.double() / sizes)[judged]
    paid = torch.arange(len(counts)).repeat_interleave(counts)  # who owns each character
    return torch.zeros(len(counts), dtype=torch.float64).index_add(0, paid[place], share).float()
