"""Greedy generation for judges, against plain transformers one row at a time."""

import pytest
import torch
from tiny_models import judge_model, word_tokenizer
from transformers import AddedToken, GenerationConfig

from rewards import PointwiseJudge
from rewards.judges.generation import generate_greedily


@pytest.mark.parametrize("architecture", ["qwen2", "gemma2"])
def test_batched_generation_is_greedy_and_equals_one_row_at_a_time(architecture):
    model, tokenizer = judge_model(architecture), word_tokenizer()
    # a checkpoint's sampling settings must not reach a judge
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=5.0, top_k=3, repetition_penalty=3.0, eos_token_id=[7, 9]
    )
    assert tokenizer.convert_ids_to_tokens([2, 4]) == ["<eos>", "<|im_end|>"]  # the latter ends answers in a chat
    prompts = [tokenizer(text)["input_ids"] for text in ("Hello there", "x", "What is 2+2? " * 5, "No")]
    expected = []
    for ids in prompts:
        row = list(ids)
        with torch.no_grad():
            while len(row) < len(ids) + 6 and (row[-1] not in (2, 4, 7, 9) or len(row) == len(ids)):
                row.append(int(model(torch.tensor([row])).logits[0, -1].argmax()))
        expected.append(tokenizer.decode(row[len(ids) :], skip_special_tokens=True))
    for batch_tokens in (1, 200, 16384):
        assert generate_greedily(model, tokenizer, prompts, 6, batch_tokens) == expected
    assert len(set(expected)) > 1


def test_an_answer_ends_where_the_chat_template_ends_it():
    model, tokenizer = judge_model(), word_tokenizer()
    prompt = tokenizer("Hello there")["input_ids"]
    going_on = tokenizer(generate_greedily(model, tokenizer, [prompt], 6)[0])["input_ids"]
    assert len(going_on) > 2
    # the same weights, with another chat template that ends answers by the second token of this one
    mark = tokenizer.convert_ids_to_tokens(going_on[1])
    tokenizer.add_tokens([AddedToken(mark, special=True)], special_tokens=True)
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}" + mark + "{% endfor %}"
    assert generate_greedily(model, tokenizer, [prompt], 6) == [tokenizer.decode(going_on[:1])]


def test_too_long_for_prompt_and_answer():
    judge = PointwiseJudge(judge_model(), word_tokenizer())
    with pytest.raises(ValueError, match="Row 1: .*1024 positions.*max_new_tokens"):
        judge.score(["a", "a"], ["b", "b" * 600])
