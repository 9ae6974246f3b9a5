"""The demo task: solver, noisy expert, scoring, tokenizer and splits."""

import json
import re

import numpy as np
import pytest
from scipy.stats import chisquare
from transformers import AutoTokenizer, Qwen2Config

from train.tasks import arithmetic as demo_task
from train.tasks.arithmetic import (
    EXPERT_ERROR,
    N_PROBLEMS,
    build_tokenizer,
    chain_responses,
    demo_accuracy,
    expert_response,
    is_correct,
    problem_arrays,
    prompt_index,
    prompt_text,
    sample_indices,
    solve,
    split_indices,
    write_splits,
)


def python_chain(prompt):
    """The running results by Python's own arithmetic, one operation at a time."""
    first, *steps = re.findall(r"^\d|[-+*]\d", prompt)
    results, value = "", first
    for step in steps:
        value = str(eval(value + step) % 10)
        results += value
    return results


def test_solver_agrees_with_python_step_by_step():
    assert solve("7+5-3+8*2=") == "2974"
    assert solve("0-1*9-9+0=") == "9122"
    prompts = [prompt_text(i) for i in sample_indices(500, np.random.default_rng(0))]
    assert [solve(p) for p in prompts] == [python_chain(p) for p in prompts]


def test_prompts_are_numbered_one_to_one():
    for index in (0, 1, 4_567_890, N_PROBLEMS - 1):
        assert prompt_index(prompt_text(index)) == index
    with pytest.raises(ValueError, match="out of bounds|invalid entry"):
        prompt_text(N_PROBLEMS)


@pytest.mark.parametrize("text", ["", "7+5-3+8*2", "7+5-3+8=", "7+5-3+8/2=", "17+5-3+8*2=", " 7+5-3+8*2="])
def test_text_that_is_no_prompt_is_refused(text):
    with pytest.raises(ValueError, match="not a demo prompt"):
        solve(text)


def test_expert_errs_at_its_rate_uniformly_and_goes_on_from_what_it_wrote():
    rng = np.random.default_rng(0)
    digits, operators = problem_arrays(sample_indices(40_000, rng))
    written = chain_responses(digits, operators, error=EXPERT_ERROR, rng=rng)
    value, slips = digits[:, 0], []
    for step in range(4):
        right = digits[:, step + 1]
        expected = np.select(
            [operators[:, step] == k for k in range(3)], [value + right, value - right, value * right]
        )
        slips.append((written[:, step] - expected) % 10)
        value = written[:, step]
    slips = np.stack(slips, axis=1)
    # Four standard errors of a proportion of 0.15 over 40,000 steps are 0.007.
    assert (slips != 0).mean(axis=0) == pytest.approx([0.15] * 4, abs=0.007)
    assert chisquare(np.bincount(slips[slips != 0], minlength=10)[1:]).pvalue > 0.001


def test_expert_response_is_seeded_and_obeys_the_error_rate():
    prompt = "7+5-3+8*2="
    one, two = (
        [expert_response(prompt, rng) for _ in range(50)]
        for rng in (np.random.default_rng(3), np.random.default_rng(3))
    )
    assert one == two
    assert len(set(one)) > 5
    assert all(re.fullmatch("[0-9]{4}", r) for r in one)
    assert expert_response(prompt, np.random.default_rng(0), error=0.0) == "2974"
    assert expert_response(prompt, np.random.default_rng(0), error=1.0)[0] != "2"


def test_noise_without_a_generator_is_refused():
    with pytest.raises(ValueError, match="needs an rng"):
        chain_responses(*problem_arrays(np.arange(3)), error=0.15)


@pytest.mark.parametrize(
    "response, right",
    [
        ("2974", True),
        ("0004", True),  # only the answer is judged, as in final-answer scoring
        ("2975", False),
        ("", False),
        ("4", False),
        ("974", False),
        ("29744", False),
        ("2974=", False),
        ("2974\n", False),
        ("297٤", False),
    ],
)
def test_is_correct_wants_the_answer_and_exactly_four_digits(response, right):
    assert is_correct("7+5-3+8*2=", response) is right


def test_reward_function_scores_each_pair_in_trl_style():
    prompts = ["7+5-3+8*2=", "0-1*9-9+0=", "7+5-3+8*2="]
    rewards = demo_accuracy(prompts=prompts, completions=["2974", "2974", "29"], completion_ids=[[1]] * 3)
    assert rewards == [1.0, 0.0, 0.0]
    assert demo_accuracy.__name__ == "demo_accuracy"
    with pytest.raises(ValueError, match="zip"):
        demo_accuracy(prompts=prompts, completions=["2974"])


def test_tokenizer_round_trip_also_after_loading_it_next_to_a_qwen2_model(tmp_path):
    # AutoTokenizer picks the class by the model's type, so the model config has to be in the folder.
    Qwen2Config(vocab_size=16).save_pretrained(tmp_path)
    build_tokenizer().save_pretrained(tmp_path)
    for tokenizer in (build_tokenizer(), AutoTokenizer.from_pretrained(tmp_path)):
        text = "7+5--3+8**2=2974"
        ids = tokenizer(text)["input_ids"]
        assert len(ids) == len(text)
        assert tokenizer.decode(ids) == text
        assert (
            tokenizer.decode([*ids, tokenizer.eos_token_id, tokenizer.pad_token_id], skip_special_tokens=True) == text
        )
        assert sorted([0, 1, *tokenizer("0123456789+-*=")["input_ids"]]) == list(range(16))
        assert (tokenizer.pad_token_id, tokenizer.eos_token_id, len(tokenizer)) == (0, 1, 16)
        batch = tokenizer(["1+1=", "1="], padding=True)
        assert batch["input_ids"][1][:2] == [0, 0]
        assert batch["attention_mask"][1] == [0, 0, 1, 1]


def test_excluded_problems_are_never_drawn_and_the_rest_are_uniform(monkeypatch):
    monkeypatch.setattr(demo_task, "N_PROBLEMS", 12)
    exclude = np.array([0, 3, 4, 11])
    drawn = sample_indices(8000, np.random.default_rng(0), exclude=exclude)
    counts = np.bincount(drawn, minlength=12)
    assert counts[exclude].sum() == 0
    assert len(counts) == 12
    assert chisquare(np.delete(counts, exclude)).pvalue > 0.001


def test_splits_are_disjoint_and_fixed_by_the_seed(tmp_path):
    heldout = write_splits(tmp_path / "a", n_train=300, n_heldout=50, seed=1)
    write_splits(tmp_path / "b", n_train=300, n_heldout=50, seed=1)
    write_splits(tmp_path / "c", n_train=300, n_heldout=50, seed=2)
    text = {d: [(tmp_path / d / f"{s}.jsonl").read_text() for s in ("train", "heldout")] for d in "abc"}
    assert text["a"] == text["b"]
    assert text["a"][0] != text["c"][0]
    train, held = ([json.loads(line)["prompt"] for line in part.splitlines()] for part in text["a"])
    assert (len(set(train)), len(set(held))) == (300, 50)
    assert not set(train) & set(held)
    assert sorted(map(prompt_index, held)) == heldout.tolist()


def test_more_prompts_than_problems_is_an_error():
    with pytest.raises(ValueError, match="larger sample"):
        split_indices(N_PROBLEMS, 1, seed=0)
