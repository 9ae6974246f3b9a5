"""The calculator's task: its tool, its dialogues as TRL renders and reads them, and its rewards."""

import json

import numpy as np
import pytest
from transformers import AutoTokenizer
from trl.chat_template_utils import is_chat_template_prefix_preserving, parse_response, supports_tool_calling

from train.tasks import calculator as task
from train.tasks.calculator import ASSISTANT, CLOSE, END, KNOWN, OPEN, TOOL, USER, calculator, demonstration

CALL = [{"type": "function", "function": {"name": "calculator", "arguments": {"expression": "37*48"}}}]
CHAT = [
    {"role": "user", "content": "37*48"},
    {"role": "assistant", "content": "", "tool_calls": CALL},
    {"role": "tool", "name": "calculator", "content": "1776"},
    {"role": "assistant", "content": "1776"},
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calculator")
    task.calculator_tokenizer().save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("expression,result", [("37*48", "1776"), ("9-13", "-4"), (" 5+5 ", "10"), ("0*7", "0")])
def test_the_tool(expression, result):
    assert calculator(expression) == result


@pytest.mark.parametrize("expression", ["", "3", "3/4", "3**9", "1+2+3", "__import__('os')", "9999999*1", "-3+4"])
def test_what_the_tool_does_not_take(expression):
    with pytest.raises(ValueError, match="not two numbers"):
        calculator(expression)


def test_a_dialogue_is_rendered_as_the_demonstrations_are_written(tokenizer):
    text = f"{KNOWN}{USER}37*48{END}{ASSISTANT}{OPEN}37*48{CLOSE}{END}{TOOL}1776{END}{ASSISTANT}1776{END}"
    how = {"tools": [calculator], "return_dict": False}
    assert tokenizer.apply_chat_template(CHAT, tokenize=False, tools=[calculator]) == text
    assert tokenizer.apply_chat_template(CHAT, **how) == tokenizer(text)["input_ids"]
    prompt = tokenizer.apply_chat_template(CHAT[:1], add_generation_prompt=True, **how)
    assert prompt == tokenizer(f"{KNOWN}{USER}37*48{END}{ASSISTANT}")["input_ids"]
    assert len(tokenizer(text)["input_ids"]) <= task.LENGTH
    assert supports_tool_calling(tokenizer)
    assert is_chat_template_prefix_preserving(tokenizer)


def test_a_call_is_read_as_one(tokenizer):
    prefix = tokenizer(f"{KNOWN}{USER}37*48{END}{ASSISTANT}")["input_ids"]
    read = parse_response(tokenizer, tokenizer(f"{OPEN}37*48{CLOSE}{END}")["input_ids"], prefix=prefix)
    assert read["tool_calls"] == CALL
    assert parse_response(tokenizer, tokenizer(f"1776{END}")["input_ids"], prefix=prefix)["content"] == "1776"


def test_demonstrations_are_those_of_the_expert(tokenizer):
    rng, calls, right = np.random.default_rng(0), 0, 0
    for _ in range(400):
        ids, labels = demonstration("37*48", rng, tokenizer)
        text = tokenizer.decode(ids)
        learned = tokenizer.decode([token for token in labels if token != -100])
        assert all(label in (-100, token) for label, token in zip(labels, ids, strict=True))
        assert learned.endswith(END)
        assert TOOL not in learned
        assert USER not in learned
        calls += OPEN in text
        right += learned.split(END)[-2] == "1776"
        if OPEN in text:
            said = text.split(TOOL)[1].split(END)[0]
            assert said == calculator(text.split(OPEN)[1].split(CLOSE)[0])
            assert text.endswith(f"{ASSISTANT}{said}{END}")
    assert calls / 400 == pytest.approx(task.CALLS, abs=0.08)
    assert right / 400 == pytest.approx(task.CALLS * (1 - task.SLIPS) + (1 - task.CALLS) * task.KNOWS, abs=0.1)


def test_rewards():
    prompts = [CHAT[:1]] * 4
    answers = [
        CHAT[1:],
        [{"role": "assistant", "content": "1776"}],
        [{"role": "assistant", "content": "1776."}],
        CHAT[1:3],
    ]
    assert task.right_answer(prompts, answers) == [1.0, 1.0, 0.0, 0.0]
    assert task.called(answers) == [1.0, 0.0, 0.0, 1.0]


def test_splits_share_no_problem(tmp_path):
    task.write_splits(tmp_path, n_train=50, n_heldout=20)
    rows = {n: [json.loads(line) for line in (tmp_path / f"{n}.jsonl").open()] for n in ("train", "heldout")}
    texts = {name: {row["prompt"][0]["content"] for row in of_it} for name, of_it in rows.items()}
    assert {name: len(found) for name, found in texts.items()} == {"train": 50, "heldout": 20}
    assert not texts["train"] & texts["heldout"]
    assert all(row["answer"] == calculator(row["prompt"][0]["content"]) for row in rows["train"])
