"""Verdicts in both orders, position bias, and win rates within a group."""

import logging

import pytest
import torch
from helpers import grpo, history, trained
from judge_server import saying, serving
from tiny_models import judge_model, tiny_model, tiny_tokenizer, word_tokenizer
from torch import nn
from trl import GRPOTrainer

from rewards import FrozenBase, PairwiseJudge
from rewards.judges.templates import FOLDER

A, B = (word_tokenizer()(letter)["input_ids"][0] for letter in "AB")


def question(prompt, first, second):
    text = (FOLDER / "pairwise.txt").read_text().strip()
    for name, value in (("prompt", prompt), ("response_a", first), ("response_b", second)):
        text = text.replace("{" + name + "}", value)
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def advantage_of_a(model, tokenizer, pairs):
    """Logit of A minus that of B for each pair in the order given, one question at a time."""
    differences = []
    for a, b in pairs:
        with torch.no_grad():
            logits = model(torch.tensor([tokenizer(question("Which?", a, b))["input_ids"]])).logits[0, -1]
        differences.append(float(logits[A] - logits[B]))
    return differences


def test_equals_full_logits_in_both_orders():
    model, tokenizer = judge_model(), word_tokenizer()
    first = ["one", "x", "Yes", "4", "ab", "Nothing at all.", "long " * 9, "same"]
    second = ["two", "yy", "No", "5 or 6", "{response_a}", "a", "b", "same"]
    forth, back = list(zip(first, second)), list(zip(second, first))
    # a random model always prefers one letter: a bias takes away what it gives that letter on average
    weight, model.lm_head = model.lm_head.weight, nn.Linear(*model.lm_head.weight.T.shape)
    model.lm_head.weight = weight
    model.lm_head.bias.data.zero_()
    model.lm_head.bias.data[B] = sum(advantage_of_a(model, tokenizer, forth + back)) / 16
    differences = advantage_of_a(model, tokenizer, forth + back)
    wins = [d > 0 for d in differences]
    assert min(map(abs, differences)) > 1e-3  # no verdict hangs on rounding
    expected = ["tie" if f == b else "first" if f else "second" for f, b in zip(wins[:8], wins[8:])]
    assert expected[-1] == "tie"
    assert set(expected) == {"first", "second", "tie"}
    for batch_tokens in (1, 16384):
        judge = PairwiseJudge(FrozenBase(model, batch_tokens=batch_tokens), tokenizer)
        assert judge.compare(["Which?"] * 8, first, second) == expected
        assert judge.base.forwards == (16 if batch_tokens == 1 else 2)
        assert judge.position_bias == pytest.approx(sum(wins) / 16)
        mirrored = {"first": "second", "second": "first", "tie": "tie"}
        assert judge.compare(["Which?"] * 8, second, first) == [mirrored[e] for e in expected]


def biased(letter):
    """A model that gives one letter the most, whatever it reads; None gives both the same."""
    model = judge_model()
    model.lm_head = nn.Linear(model.config.hidden_size, model.config.vocab_size)
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.lm_head.bias.zero_()
        if letter is not None:
            model.lm_head.bias[letter] = 5.0
    return PairwiseJudge(FrozenBase(model), word_tokenizer())


@pytest.mark.parametrize("letter,bias", [(A, 1.0), (B, 0.0), (None, 0.5)])
def test_a_judge_that_knows_only_the_position(letter, bias):
    judge = biased(letter)
    assert judge.position_bias is None
    assert judge.compare(["p", "q", "r"], ["a", "b", "c"], ["d", "e", "f"]) == ["tie"] * 3
    assert (judge.asked, judge.position_bias) == (6, bias)
    assert judge.score_group("p", ["a", "b", "c"]) == [0.5] * 3
    assert judge.asked == 12


def test_win_rates_within_the_group_of_each_prompt(monkeypatch):
    judge = biased(None)
    pairs = []

    def compare(prompts, first, second):  # the longer response wins
        pairs.extend(zip(prompts, first, second))
        return ["tie" if len(a) == len(b) else "first" if len(a) > len(b) else "second" for a, b in zip(first, second)]

    monkeypatch.setattr(judge, "compare", compare)
    prompts = ["p", "q", "p", "q", "p", "alone"]
    assert judge(prompts, ["a", "bb", "ccc", "dd", "e", "f"]) == [0.25, 0.5, 1.0, 0.5, 0.25, None]
    assert len(pairs) == 4
    assert {p for p, _, _ in pairs} == {"p", "q"}
    assert judge.score_group([{"role": "user", "content": "Hi"}], ["a", "bb"]) == [0.0, 1.0]


def test_reasons_first_and_a_written_verdict_in_both_orders(monkeypatch, caplog):
    model, tokenizer = judge_model(), word_tokenizer()
    judge = PairwiseJudge(model, tokenizer, reason_tokens=60)
    assert judge.template.text == (FOLDER / "pairwise_reasons.txt").read_text().rstrip()
    assert judge.budget == judge.tokens("p", "a", "b") - judge.question_tokens(
        judge.template, prompt="p", response_a="a", response_b="b"
    )
    said = {  # by what is shown first
        "GOOD": "It is right. [[A]]",
        "bad": "It is wrong. [[B]]",
        "vain": "I come first. [[A]]",
        "equal": "Both say so. [[tie]]",
        "vague": "perhaps [[B]], or",
    }

    def generate(input_ids, attention_mask, generation_config):
        assert generation_config.max_new_tokens == 60 + 32
        shown = [text.split("### Response A\n")[1].split("\n")[0] for text in tokenizer.batch_decode(input_ids)]
        new = tokenizer([said[x] + "<eos>" for x in shown], padding=True, padding_side="right", return_tensors="pt")
        return torch.cat([input_ids, new["input_ids"]], dim=1)

    monkeypatch.setattr(model, "generate", generate)
    first, second = ["GOOD", "bad", "vain", "equal", "GOOD"], ["bad", "GOOD", "vain", "equal", "equal"]
    assert judge.position_bias is None
    assert judge.compare(["p"] * 5, first, second) == ["first", "second", "tie", "tie", "tie"]
    assert (judge.asked, judge.unparsable, judge.position_bias) == (10, 0, (3 + 2 + 1.5) / 10)
    logged = {}
    with caplog.at_level(logging.WARNING):
        assert judge(["p"] * 3, ["GOOD", "vague", "bad"], log_metric=logged.__setitem__) == [1.0, None, 0.0]
    assert logged["pairwise_judge/unparsable"] == pytest.approx(2 / 6)
    assert "1 of 3 answers have no verdict, e.g. 'perhaps [[B]], or'" in caplog.text
    assert (judge.asked, judge.unparsable, judge.position_bias) == (16, 2, pytest.approx((6.5 + 2) / 14))
    assert logged["pairwise_judge/position_bias"] == judge.position_bias


def test_verdicts_after_reasons_from_a_server(monkeypatch):
    """Of the pairs the longer response wins, but for one without verdict, one without answer, and a tie."""

    def answer(body):
        text = body["messages"][0]["content"]
        first, second = (text.split(f"### Response {x}\n")[1].split("\n")[0] for x in "AB")
        if "odd" in text:
            return 400, "no", {}
        if "vague" in first:
            return saying("It could be [[A]], but")
        if "even" in (first, second):
            return saying("<think>[[A]]?</think>Both say it. Verdict: [[tie]]")
        return saying(f"One is longer.\nVerdict: [[{'A' if len(first) > len(second) else 'B'}]]")

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    logged = {}
    pairs = ["yes", "yes, it is", "vague", "odd", "even"], ["it is so", "no", "x", "y", "z"]
    with serving(answer) as server:
        thinking = {"chat_template_kwargs": {"enable_thinking": True}}
        judge = PairwiseJudge.from_pretrained(
            "m", endpoint=server.url, on_failure="none", reason_tokens=100, **thinking, backoff_s=0.0
        )
        judge.asked_judge().lend_variables({"enable_thinking": False})
        assert judge.compare(["p"] * 5, *pairs) == ["second", "first", None, None, "tie"]
        assert (judge.asked, judge.unparsable, judge.position_bias) == (8, 1, pytest.approx(3 / 7))
        won = judge(["p", "p", "q", "q"], ["longer", "long", "vague", "x"], log_metric=logged.__setitem__)
    assert won == [1.0, 0.0, None, None]
    assert logged["pairwise_judge/unparsable"] == 1 / 4
    assert {body["max_tokens"] for *_, body in server.requests} == {132}
    assert all(body["chat_template_kwargs"] == {"enable_thinking": True} for *_, body in server.requests)


def test_logits_by_default(monkeypatch):
    judge, logged = biased(A), {}
    monkeypatch.setattr(judge.judge, "write", None)
    judge(["p", "p"], ["a", "b"], log_metric=logged.__setitem__)
    assert logged == {"pairwise_judge/position_bias": 1.0}
    assert (judge.budget, judge.template.text) == (1, (FOLDER / "pairwise.txt").read_text().rstrip())


def test_refused():
    with pytest.raises(ValueError, match="'A' and 'BC' are not one token each"):
        PairwiseJudge(FrozenBase(tiny_model()), tiny_tokenizer(), answers=("A", "BC")).compare(["a"], ["b"], ["c"])
    judge = PairwiseJudge(FrozenBase(judge_model()), word_tokenizer())
    with pytest.raises(ValueError, match="1 prompts but 2 responses"):
        judge.compare(["p"], ["a"], ["b", "c"])
    assert judge.compare([], [], []) == []
    assert not hasattr(judge, "score")


def test_as_a_group_reward_in_an_unmodified_trl_trainer(saved_model, saved_judge, tmp_path):
    judge = PairwiseJudge.from_pretrained(saved_judge, device="cpu")
    trainer = trained(grpo(saved_model, tmp_path, cls=GRPOTrainer, rewards=[judge], max_steps=1))
    assert history(trainer, "rewards/pairwise_judge/mean") == pytest.approx(
        [0.5]
    )  # a tournament shares out its points
    assert 0 <= history(trainer, "pairwise_judge/position_bias")[0] <= 1
