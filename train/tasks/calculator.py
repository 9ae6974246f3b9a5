"""A task of two turns: "37*48" is answered at once, or after a call of a calculator.

The base imitates an expert who calls the tool every other time, sometimes with a slip in the expression, and otherwise
guesses. Whoever calls it and copies what it says is right. The chat template is of this file, with calls as TRL reads
them off the models of Qwen: JSON between <tool_call> and </tool_call>, here in few tokens.
"""

import json
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen2ForCausalLM, Qwen2Tokenizer

from rewards.frozen.encoding import response_text
from train.tasks.arithmetic import PAD_TOKEN
from train.tasks.arithmetic_model import build_model, fit

CHARACTERS = "0123456789+-*"
USER, ASSISTANT, TOOL, END = "<|im_start|>user\n", "<|im_start|>assistant\n", "<|im_start|>tool\n", "<|im_end|>"
OPEN, CLOSE = '<tool_call>{"name": "calculator", "arguments": {"expression": "', '"}}</tool_call>'
KNOWN = "<tool>calculator</tool>"  # how the chat template tells which tools there are
PIECES = (KNOWN, USER, ASSISTANT, TOOL, OPEN, CLOSE)  # one token each
LENGTH = 40  # tokens of the longest dialogue, and some
TEMPLATE = (
    "{%- for tool in tools or [] -%}<tool>{{ tool['function']['name'] }}</tool>{%- endfor -%}"
    "{%- for m in messages -%}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
    "{%- for call in m['tool_calls'] or [] -%}"
    '<tool_call>{"name": "{{ call[\'function\'][\'name\'] }}", "arguments": '
    "{{ call['function']['arguments'] | tojson }}}</tool_call>{%- endfor -%}<|im_end|>{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
RESPONSE_TEMPLATE = {  # how transformers reads a response
    "defaults": {"role": "assistant"},
    "start_anchor": ASSISTANT,
    "fields": {
        "tool_calls": {
            "open": "<tool_call>",
            "close_pattern": r"</tool_call>\s*",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"close_pattern": r"<\|im_end\|>\s*", "content": "text"},
    },
}
CALLS, SLIPS, KNOWS = 0.5, 0.15, 0.1  # how often the expert calls, writes a wrong digit into a call, knows the answer


def calculator(expression: str) -> str:
    """Compute an expression.

    Args:
        expression: two whole numbers with +, - or * between them, such as 37*48.
    """
    found = re.fullmatch(r"(\d{1,6})([-+*])(\d{1,6})", expression.strip())
    if found is None:
        raise ValueError(f"not two numbers with +, - or * between them: {expression[:40]!r}")
    a, b = int(found[1]), int(found[3])
    return str({"+": a + b, "-": a - b, "*": a * b}[found[2]])


def right_answer(prompts: list, completions: list, **kwargs) -> list[float]:
    """TRL reward function: 1.0 where the last thing that the policy says is the result and nothing else, else 0.0."""
    wanted = [calculator(prompt[-1]["content"]) for prompt in prompts]
    return [float(response_text(c[-1:]).strip() == w) for c, w in zip(completions, wanted, strict=True)]


def called(completions: list, **kwargs) -> list[float]:
    """TRL reward function, to be logged: 1.0 where the tool was called."""
    return [float(any(m["role"] == "tool" for m in completion)) for completion in completions]


def calculator_tokenizer() -> Qwen2Tokenizer:
    """A tokenizer of 21 tokens: padding, the end of a turn, digits and operators, and the pieces of a dialogue."""
    tokenizer = Qwen2Tokenizer(
        vocab={token: i for i, token in enumerate([PAD_TOKEN, END, *CHARACTERS])},
        merges=[],
        unk_token=None,  # type: ignore[arg-type]
        pad_token=PAD_TOKEN,
        eos_token=END,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=LENGTH,
    )
    tokenizer.add_tokens(list(PIECES))
    tokenizer.chat_template = TEMPLATE
    tokenizer.response_template = RESPONSE_TEMPLATE
    return tokenizer


def problem(rng: np.random.Generator) -> str:
    """An expression of two numbers of two digits."""
    a, b = rng.integers(10, 100, size=2)
    return f"{a}{CHARACTERS[10 + rng.integers(3)]}{b}"


def expert_turns(expression: str, rng: np.random.Generator) -> list[tuple[str, bool]]:
    """What the expert writes, and what the tool says: texts, and whether each is the expert's own."""
    if rng.random() < CALLS:
        written = list(expression)
        if rng.random() < SLIPS:
            written[int(rng.choice([0, 1, 3, 4]))] = str(rng.integers(1, 10))
        said = calculator("".join(written))
        return [
            (f"{OPEN}{''.join(written)}{CLOSE}{END}", True),
            (f"{TOOL}{said}{END}{ASSISTANT}", False),
            (f"{said}{END}", True),
        ]
    guess = calculator(expression) if rng.random() < KNOWS else str(rng.integers(-89, 9802))
    return [(f"{guess}{END}", True)]


def demonstration(expression: str, rng: np.random.Generator, tokenizer: Qwen2Tokenizer) -> tuple[list[int], list[int]]:
    """Token ids of a dialogue, and labels that are -100 on what is not the expert's."""
    ids = tokenizer(f"{KNOWN}{USER}{expression}{END}{ASSISTANT}")["input_ids"]
    labels = [-100] * len(ids)
    for text, learned in expert_turns(expression, rng):
        new = tokenizer(text)["input_ids"]
        ids, labels = ids + new, labels + (new if learned else [-100] * len(new))
    return ids, labels


def imitate_calculator(seed: int, steps: int = 600, batch_size: int = 64, hidden: int = 64) -> Qwen2ForCausalLM:
    """A model that imitates the expert, on problems of whatever numbers."""
    tokenizer, rng = calculator_tokenizer(), np.random.default_rng([seed, 4])
    torch.manual_seed(seed)
    model = build_model(tokenizer, hidden, 2, positions=LENGTH)

    def next_loss() -> Tensor:
        rows = [demonstration(problem(rng), rng, tokenizer) for _ in range(batch_size)]
        width = max(len(ids) for ids, _ in rows)
        tokens = torch.tensor([ids + [tokenizer.pad_token_id] * (width - len(ids)) for ids, _ in rows])
        labels = torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in rows])
        return model(input_ids=tokens, labels=labels, use_cache=False).loss

    fit(model, next_loss, steps, 3e-3, "calculator")
    return model


def write_splits(folder: Path, n_train: int = 2048, n_heldout: int = 256, seed: int = 0) -> None:
    """Write train.jsonl and heldout.jsonl, chats of one problem each; no held-out problem is one of training."""
    rng, seen = np.random.default_rng(seed), dict[str, None]()
    while len(seen) < n_train + n_heldout:
        seen[problem(rng)] = None
    problems = list(seen)
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("heldout", problems[:n_heldout]), ("train", problems[n_heldout:])):
        chats = ({"prompt": [{"role": "user", "content": text}], "answer": calculator(text)} for text in rows)
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats), encoding="utf-8")
