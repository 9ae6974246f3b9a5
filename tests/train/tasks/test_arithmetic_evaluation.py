"""Completions against decoding token by token, lengths by hand, and rows against Wilson's formula."""

import json
import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, norm

from train.tasks.arithmetic import build_tokenizer, solve
from train.tasks.arithmetic_evaluation import TEMPERATURES, complete, evaluate, read_prompts
from train.tasks.arithmetic_model import build_model

pytestmark = pytest.mark.usefixtures("one_thread")
PROMPTS = ["7+5-3+8*2=", "0-1*9-9+0=", "1+1=", "9", "3*3-"]


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(1)
    return build_model(tokenizer, hidden=16, layers=2).eval()


class ScriptedModel:
    """Stands in for a model: ``generate`` appends the given rows of token ids."""

    device = torch.device("cpu")

    def __init__(self, rows):
        self.rows = torch.tensor(rows)

    def generate(self, input_ids, **kwargs):
        self.kwargs = kwargs
        return torch.cat([input_ids, self.rows], dim=1)


def test_lengths_count_the_end_token_and_sampling_is_not_cut(tokenizer):
    digit = tokenizer.convert_tokens_to_ids("3")
    model = ScriptedModel([[digit, digit, 1, 0], [1, 0, 0, 0], [digit] * 4])
    texts, lengths = complete(model, tokenizer, ["7+5-3+8*2="] * 3, temperature=0.3)
    assert texts == ["33", "", "3333"]
    assert lengths == [3, 1, 4]
    assert (model.kwargs["temperature"], model.kwargs["top_k"], model.kwargs["top_p"]) == (0.3, 0, 1.0)
    complete(model, tokenizer, ["7+5-3+8*2="] * 3, temperature=0.0)
    assert model.kwargs["do_sample"] is False


@pytest.mark.parametrize("batch_size", [1, 2, 1000])
def test_greedy_completions_are_those_of_one_token_after_the_other(batch_size, model, tokenizer):
    expected, lengths = [], []
    for prompt in PROMPTS:
        ids, start = tokenizer(prompt)["input_ids"], len(prompt)
        while len(ids) - start < 6 and tokenizer.eos_token_id not in ids[start:]:
            with torch.no_grad():
                ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        lengths.append(len(ids) - start)
        expected.append(tokenizer.decode(ids[start:], skip_special_tokens=True))
    assert complete(model, tokenizer, PROMPTS, 0.0, batch_size, max_new_tokens=6) == (expected, lengths)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_samples_follow_the_models_own_distribution(temperature, model, tokenizer):
    n, vocabulary = 2000, [*map(tokenizer.decode, range(16))]
    with torch.no_grad():
        logits = model(**tokenizer(PROMPTS[:1], return_tensors="pt")).logits[0, -1].double()
    expected = n * (logits / temperature).softmax(0).numpy()
    torch.manual_seed(0)
    texts, lengths = complete(model, tokenizer, PROMPTS[:1] * n, temperature, max_new_tokens=1)
    assert lengths == [1] * n
    digits = list(range(2, 16))  # padding and the end token are no text: they are one class
    counts = np.array([texts.count(""), *(texts.count(vocabulary[i]) for i in digits)])
    assert chisquare(counts, [expected[:2].sum(), *expected[digits]]).pvalue > 0.001


@pytest.mark.parametrize("wrong", [0, 1, 4])
@pytest.mark.parametrize("decoding", TEMPERATURES)
def test_a_row_is_accuracy_with_wilsons_interval(decoding, wrong, tokenizer):
    prompts = (PROMPTS[:2] * 2)[:4]
    texts = [solve(p) for p in prompts]
    texts = ["12345678"[: 4 + i] if i < wrong else text for i, text in enumerate(texts)]
    if wrong:
        texts[0] = "0" if solve(prompts[0])[-1] != "0" else "1"  # too short, and whatever it says not right
    ids = [[*tokenizer(text)["input_ids"], 1] for text in texts]
    width = max(map(len, ids))
    scripted = ScriptedModel([row + [0] * (width - len(row)) for row in ids])
    right = sum(len(t) == 4 and t[-1] == solve(p)[-1] for p, t in zip(prompts, texts))
    row = evaluate("m", scripted, tokenizer, prompts, decoding, seed=0)
    p, n, z = right / 4, 4, norm.ppf(0.975)
    centre, half = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    ends = [max(0.0, (centre - half) / (1 + z**2 / n)), min(1.0, (centre + half) / (1 + z**2 / n))]
    assert row.pop("ci95") == pytest.approx(ends, abs=1e-9)
    assert row.pop("mean_tokens") == pytest.approx(np.mean([len(t) + 1 for t in texts]))
    assert row == {"name": "m", "decoding": decoding, "temperature": TEMPERATURES[decoding], "accuracy": p, "n": 4}
    assert scripted.kwargs["do_sample"] is (decoding != "greedy")


def test_the_seed_fixes_a_sampled_row(model, tokenizer):
    one, two, other = (evaluate("m", model, tokenizer, PROMPTS[:2] * 20, "sampled", s) for s in (3, 3, 4))
    assert one == two
    assert one["mean_tokens"] != other["mean_tokens"]


def test_reading_prompts_takes_the_first_n_and_refuses_none(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps({"prompt": p}) + "\n" for p in "abc"))
    assert read_prompts(path, 2) == ["a", "b"]
    assert read_prompts(path, 9) == read_prompts(path, None) == ["a", "b", "c"]
    with pytest.raises(SystemExit, match="no prompts"):
        read_prompts(path, 0)
    with pytest.raises(SystemExit, match="--n is -1"):
        read_prompts(path, -1)
