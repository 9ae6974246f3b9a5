"""Greedy generation in batches of similar length, for judges that write their verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from tqdm.auto import tqdm
from transformers import GenerationConfig, PreTrainedModel

from rewards.frozen.batching import batches_by_tokens
from rewards.frozen.encoding import template_end


@torch.no_grad()
def generate_greedily(
    model: PreTrainedModel,
    tokenizer,
    prompt_ids: Sequence[Sequence[int]],
    max_new_tokens: int,
    batch_tokens: int = 8192,
    progress: bool = False,
) -> list[str]:
    """What a causal LM writes after each prompt, taking the most likely token each time.

    Args:
        prompt_ids: unpadded lists of token ids, none empty; padded on the left here.
        max_new_tokens: the most tokens of an answer. It ends at the tokenizer's end token, the one by which its chat
            template ends an answer, or one of the model's generation config, whose sampling settings and penalties do
            not apply.
        batch_tokens: padded tokens, answers included, in one batch.

    Returns:
        The answers' texts without special tokens, in the order of the prompts.

    Raises:
        ValueError: prompt and answer would not fit into the model's positions.
    """
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for i, ids in enumerate(prompt_ids):
        if positions and len(ids) + max_new_tokens > positions:
            raise ValueError(
                f"Row {i}: the judge's prompt has {len(ids)} tokens and its answer may have {max_new_tokens}, but the "
                f"model has {positions} positions. Drop the row, shorten its response, or lower max_new_tokens "
                "or reason_tokens."
            )
    declared = model.generation_config.eos_token_id
    declared = declared if isinstance(declared, list) else [declared]
    ends = {tokenizer.eos_token_id, template_end(tokenizer), *declared} - {None}
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ends, default=0)
    greedy = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        temperature=1.0,
        top_p=1.0,
        top_k=50,  # the neutral values of what a generation config often sets
        eos_token_id=sorted(ends) or None,
        pad_token_id=pad,
    )
    texts = [""] * len(prompt_ids)
    # as few as can be: each batch decodes all the new tokens one by one
    lengths = [len(ids) + max_new_tokens for ids in prompt_ids]
    batches = batches_by_tokens(lengths, batch_tokens, forward_tokens=batch_tokens)
    for rows in tqdm(batches, desc="judge", unit="batch", disable=not progress):
        width = max(len(prompt_ids[i]) for i in rows)
        padded = torch.full((len(rows), width), pad)
        mask = torch.zeros_like(padded)
        for k, i in enumerate(rows):
            padded[k, width - len(prompt_ids[i]) :] = torch.tensor(prompt_ids[i])
            mask[k, width - len(prompt_ids[i]) :] = 1
        out = cast(Any, model).generate(  # transformers gives it to causal LMs alone
            input_ids=padded.to(model.device), attention_mask=mask.to(model.device), generation_config=greedy
        )
        answers = tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
        for i, answer in zip(rows, answers):
            texts[i] = answer
    return texts
