"""Rewards of a model with another tokenizer: what each of the policy's tokens gets, by hand and by brute force."""

import logging
import random
from itertools import accumulate

import pytest
import torch
from tiny_models import judge_model, tiny_tokenizer, word_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rewards import CrossTokenizer, EndoRM, FrozenBase
from rewards.frozen.cross_tokenizer import characters, spread
from rewards.frozen.frozen_reward import end_token_ids

EMOJI = "No 😀 naïve 汉字 Yes"


CHAT = [{"role": "user", "content": "a or b?"}]


def byte_fallback_tokenizer():
    """SentencePiece's manner: a word's space before it, other characters as <0xNN>."""
    known = ["<unk>", "<eos>", *(f"<0x{i:02X}>" for i in range(256)), "▁", "a", "b", "▁a", "▁b"]
    merges = [("▁", "a"), ("▁", "b")]
    core = Tokenizer(models.BPE({t: i for i, t in enumerate(known)}, merges, byte_fallback=True, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    core.decoder = decoders.Sequence(steps)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", unk_token="<unk>")


@pytest.fixture(scope="module")
def base():
    return FrozenBase(judge_model())


def crossed(base, policy, **settings):
    """EndoRM of `base` with `word_tokenizer`, for ids of the policy's tokenizer."""
    rm = EndoRM(base, word_tokenizer(), **settings)
    rm.across = CrossTokenizer(policy, rm.tokenizer, end_token_ids(None, policy))
    return rm


@pytest.mark.parametrize(
    "spans, counts, expected",
    [
        ([(0, 2), (2, 3)], [1, 1, 1], [2.0, 2.0, 9.0]),  # a token of two characters pays two tokens
        ([(0, 1), (1, 3)], [2, 1], [4.0 + 4.5, 4.5]),  # a token gets from two
        ([(0, 3), (3, 4)], [1, 0, 3], [4 / 3, 0.0, 8 / 3 + 9.0]),  # nothing for part of a character
        ([(0, 1), (0, 1)], [1], [13.0]),  # two tokens are parts of one character
        ([(0, 0), (0, 2)], [1, 1], [4.0 + 4.5, 4.5]),  # a space before all, of the tokenizer's own
        ([(0, 2), (2, 2)], [1, 1], [2.0, 2.0 + 9.0]),  # an empty span at the end
    ],
)
def test_spread_by_hand(spans, counts, expected):
    got = spread(torch.tensor([4.0, 9.0]), torch.tensor(spans), torch.tensor(counts))
    assert got.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("make", [word_tokenizer, byte_fallback_tokenizer])
@pytest.mark.parametrize("text", ["a b a", "", "a😀 b", "汉a字", "👨‍👩‍👧"])
def test_characters_against_decoding_every_prefix(make, text):
    tokenizer = make()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    got, counts = characters(tokenizer, ids)
    assert got == tokenizer.decode(ids) == text
    # whole characters so far: bytes that wait for the rest are decoded as U+FFFD, by some with all bytes before them
    whole = accumulate((len(tokenizer.decode(ids[: i + 1]).rstrip("\ufffd")) for i in range(len(ids))), max)
    assert counts.cumsum(0).tolist() == list(whole)


def test_bytes_that_never_become_a_character_and_special_tokens():
    tokenizer = word_tokenizer()
    ff, y = tokenizer.convert_tokens_to_ids(["ÿ", "Yes"])  # byte 0xFF in the byte-level alphabet, and a word
    text, counts = characters(tokenizer, [ff, y, tokenizer.pad_token_id, ff])
    assert (text, counts.tolist()) == ("\ufffdYes\ufffd", [0, 4, 0, 1])
    text, counts = characters(tokenizer, [ff] * 3000)  # held back for a while only: no quadratic cost
    assert (len(text), int(counts.sum()), int(counts.max())) == (3000, 3000, 16)
    rng, ids = random.Random(0), range(len(tokenizer))
    for _ in range(200):  # any ids: the text is as decoded, but for long runs of broken bytes
        sampled = rng.choices(ids, k=30)
        text, counts = characters(tokenizer, sampled)
        assert (text, len(text)) == (tokenizer.decode(sampled, skip_special_tokens=True), int(counts.sum()))


def test_equal_tokenizers_give_the_plain_rewards(base):
    plain, tokenizer = EndoRM(base, word_tokenizer(), discount=0.9), word_tokenizer()
    texts = ["Yes No", "A B A", " No"]
    end_of_chat = tokenizer.convert_tokens_to_ids("<|im_end|>")
    complete = [
        tokenizer(t)["input_ids"] + [end] for t, end in zip(texts, [*[tokenizer.eos_token_id] * 2, end_of_chat])
    ]
    ids = complete + [row[:-1] for row in complete]  # and cut off: the last V is the teacher's own
    prompts, texts = ["one", "two", CHAT] * 2, texts * 2
    expected = plain.per_token(prompts, texts, ids)
    got = crossed(base, tokenizer, discount=0.9).per_token(prompts, texts, ids)
    for a, b in zip(got, expected):
        assert torch.allclose(a, b, atol=1e-5)


def test_characters_apart_where_the_policy_reads_one_at_a_time(base):
    """The policy writes characters, the teacher words: a word's reward is shared evenly by its letters."""
    policy, teacher = tiny_tokenizer(), word_tokenizer()
    ids = policy("Yes A")["input_ids"] + [policy.eos_token_id]
    words = EndoRM(base, teacher).token_rewards(["q"], ["Yes A"])[0]
    assert teacher.convert_ids_to_tokens(teacher("Yes A")["input_ids"]) == ["Yes", "ĠA"]
    got = crossed(base, policy).per_token(["q"], ["Yes A"], [ids])[0]
    expected = [words[0] / 3] * 3 + [words[1] / 2] * 2 + [words[2]]
    assert got.tolist() == pytest.approx([float(x) for x in expected], abs=1e-5)


def test_sums_are_the_teachers_own(base):
    """Also of texts whose characters are split over the policy's and the teacher's tokens, and chat prompts."""
    policy = byte_fallback_tokenizer()
    texts = ["a😀 b a", "汉字", "b", EMOJI]
    ids = [policy(t, add_special_tokens=False)["input_ids"] for t in texts]
    read = [policy.decode(row) for row in ids]
    ids = [row + [policy.eos_token_id] for row in ids]
    prompts = ["q", CHAT, "😀", "long " * 20]
    rm = crossed(base, policy)
    rows = rm.per_token(prompts, read, ids)
    assert [len(r) for r in rows] == [len(i) for i in ids]
    expected = rm.score(prompts, read)
    assert [float(r.sum()) for r in rows] == pytest.approx(expected, abs=1e-4)
    assert rm(prompts, read, ids) == pytest.approx(expected, abs=1e-4)
    assert [float(r[-1]) for r in rows] == [float(t[-1]) for t in rm.token_rewards(prompts, read)]


def test_empty_and_cut_off_responses(base):
    policy = byte_fallback_tokenizer()
    rm, end, part = crossed(base, policy), policy.eos_token_id, policy.convert_tokens_to_ids("<0xF0>")
    ids = policy("a b", add_special_tokens=False)["input_ids"]
    empty, cut, broken, nothing = rm.per_token(["q"] * 4, [""] * 4, [[end], ids, [*ids, part], [0]])
    teacher = EndoRM(base, word_tokenizer())
    assert float(empty) == pytest.approx(teacher.score(["q"], [""])[0], abs=1e-5)
    cut_ids = teacher.tokenizer("a b")["input_ids"]
    assert float(cut.sum()) == pytest.approx(teacher(["q"], ["a b"], [cut_ids])[0], abs=1e-5)
    assert float(cut.sum()) != pytest.approx(teacher.score(["q"], ["a b"])[0], abs=1e-2)  # not terminal
    assert len(broken) == len(ids) + 1
    assert float(broken[-1]) != 0  # the teacher reads U+FFFD
    assert nothing.tolist() == [0.0]  # special tokens alone


def test_neither_padding_nor_batch_changes_a_row(base):
    policy = tiny_tokenizer()
    texts = ["Yes", "a long response of many words, No", "B"]
    ids = [policy(t)["input_ids"] + [policy.eos_token_id] * (t != "B") for t in texts]
    together = crossed(base, policy).per_token(["p", "a longer prompt", "q"], texts, ids)
    alone = crossed(FrozenBase(base.model, batch_tokens=1), policy)
    for prompt, text, row, expected in zip(["p", "a longer prompt", "q"], texts, ids, together):
        assert torch.allclose(alone.per_token([prompt], [text], [row])[0], expected, atol=1e-4)


def test_an_end_token_that_is_spelt_out_is_text(base):
    policy = byte_fallback_tokenizer()
    ids = policy("a", add_special_tokens=False)["input_ids"]
    spelt = [policy.convert_tokens_to_ids(f"<0x{byte:02X}>") for byte in b"<eos>"]
    rm, seen = crossed(base, policy), []
    rm.across.per_token(["q"], [ids + spelt], lambda p, r, c: seen.extend(r) or [torch.zeros(len(r[0]))])
    assert rm.tokenizer.eos_token_id not in seen[0]
    assert rm.tokenizer.decode(seen[0]) == "a<eos>"


def test_it_says_so_once_and_refuses_what_it_cannot_map(base, caplog):
    with caplog.at_level(logging.WARNING):
        rm = crossed(base, tiny_tokenizer())
        rm(["p"], ["A"], [[5, 2]])
        rm(["p"], ["A"], [[5, 2]])
    assert caplog.text.count("reads responses re-tokenised") == 1
    teacher = word_tokenizer()
    teacher.eos_token = None
    with pytest.raises(ValueError, match="no end token: set its tokenizer.eos_token"):
        CrossTokenizer(tiny_tokenizer(), teacher)
