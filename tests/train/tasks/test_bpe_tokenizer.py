"""The tokenizer learned on the spot: writes any text, splits like Qwen's, merges what is frequent, and repeats."""

import unicodedata

import pytest
from transformers import AutoTokenizer, Qwen2Config

from train.tasks.bpe_tokenizer import EOS, PAD, SMALLEST_VOCAB, SPECIAL_TOKENS, train_tokenizer

TEXTS = ["The sum of the angles is $180^\\circ$.", "Find the sum of the first ten primes: 2, 3, 5, 7."]
ANY = [
    "The sum, naïve 数学 🙂\n\tend",
    " two  spaces\r\n\n\n\x00\x7f",
    "mixed<|im_start|>user\n1<|im_end|>",
    "٣ + ½ = Ⅷ",
    "",
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, 290)


@pytest.mark.parametrize("text", ANY)
def test_any_text_comes_back(text, tokenizer):
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == unicodedata.normalize("NFC", text)
    assert max(ids, default=0) < len(tokenizer)
    assert tokenizer.decode(tokenizer("e\u0301")["input_ids"]) == "\u00e9"  # what was decomposed comes back composed


def test_digits_stand_alone_and_a_space_goes_with_its_word(tokenizer):
    assert tokenizer.tokenize("180") == ["1", "8", "0"]
    assert tokenizer.tokenize(" the sum") == ["Ġthe", "Ġsum"]


def test_only_what_was_frequent_is_merged():
    """Byte pair encoding by hand: of the pairs in "abab" and "ab", (a, b) is met three times, (b, a) once."""
    one = train_tokenizer(["abab", "ab"], SMALLEST_VOCAB + 1)
    assert one.tokenize("abba") == ["ab", "b", "a"]
    assert len(one) == SMALLEST_VOCAB + 1
    assert train_tokenizer(["abab", "ab"], SMALLEST_VOCAB).tokenize("ab") == ["a", "b"]
    assert len(train_tokenizer(["abab", "ab"], 10_000)) == SMALLEST_VOCAB + 2  # and abab: little text gives fewer


def test_special_tokens_are_whole_and_none_is_added(tokenizer):
    ids = [tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS]
    assert ids == [0, 1, 2, 3]
    assert tokenizer("".join(SPECIAL_TOKENS))["input_ids"] == ids
    assert sorted(tokenizer.all_special_ids) == ids
    assert (tokenizer.eos_token, tokenizer.pad_token) == (EOS, PAD)
    assert not set(tokenizer("Find the sum")["input_ids"]) & set(ids)
    assert tokenizer.decode([*ids, *tokenizer("sum")["input_ids"]], skip_special_tokens=True) == "sum"
    assert tokenizer.chat_template is None


def test_padding_goes_to_the_left(tokenizer):
    batch = tokenizer(["1+1=", "1="], padding=True)
    assert batch["input_ids"][1][:2] == [tokenizer.pad_token_id] * 2
    assert batch["attention_mask"] == [[1, 1, 1, 1], [0, 0, 1, 1]]


def test_it_is_the_same_again_and_from_disk(tokenizer, tmp_path):
    Qwen2Config(vocab_size=len(tokenizer)).save_pretrained(tmp_path)  # AutoTokenizer looks at the model's type
    tokenizer.save_pretrained(tmp_path)
    for twin in (train_tokenizer(iter(TEXTS), 290), AutoTokenizer.from_pretrained(tmp_path)):
        assert twin.get_vocab() == tokenizer.get_vocab()
        assert [twin(text)["input_ids"] for text in ANY] == [tokenizer(text)["input_ids"] for text in ANY]
    assert train_tokenizer(TEXTS, 290, model_max_length=7).model_max_length == 7


@pytest.mark.parametrize(
    "texts, size, message",
    [
        ([], 300, "there is no text to train the tokenizer on"),
        (["  \n", ""], 300, "there is no text"),
        (TEXTS, SMALLEST_VOCAB - 1, "vocab_size is 259; 260 is the least"),
    ],
)
def test_what_cannot_be_learned_is_refused(texts, size, message):
    with pytest.raises(ValueError, match=message):
        train_tokenizer(texts, size)
