"""The reward lens' page: its numbers against EndoRM and float64, its texts against the tokenizer, and that text from
models stays text."""

import html.parser
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import ROOT, VOCAB_SIZE, tiny_model, tiny_tokenizer
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from wrong_answers import WRONG_ANSWERS

from rewards import EndoRM, FrozenBase, TokenScores
from rewards.lens import COLORS, LensResponse, differences, lens_page, shown_values, token_texts, visible

HOSTILE = (
    "</style></span>\"'><script>document.title='owned'</script><img src=//x onerror=alert(1)>&lt;<!--\x00\x1b[31m"
)


class Page(html.parser.HTMLParser):
    """What a page is made of: tags, attributes, and the attributes and text of each token of each article."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.attributes, self.articles, self.inside = set(), set(), [], []
        self.lines, self.prompt = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.add(tag)
        self.attributes |= set(attrs)
        if tag == "article":
            self.articles.append([])
        if attrs.get("class", "").startswith("token "):
            self.articles[-1].append(attrs | {"text": ""})
        if attrs.get("class") == "own":
            self.lines.append([tuple(map(float, p.split(","))) for p in attrs["points"].split()])
        self.inside.append(attrs)

    def handle_data(self, data):
        if self.inside and self.inside[-1].get("class", "").startswith("token "):
            self.articles[-1][-1]["text"] += data
        if self.inside and self.inside[-1].get("id") == "prompt":
            self.prompt += data

    def handle_endtag(self, tag):
        self.inside.pop()

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.inside.pop()


def response(rewards, texts=None, **changes) -> LensResponse:
    n = len(rewards)
    columns = {"weights": [1.0] * n, "log_probs": [-1.0] * n, "q": [0.0] * n, "v": [1.0] * n, "v_next": [1.0] * n}
    return LensResponse(list(range(n)), texts or ["x"] * n, list(rewards), **(columns | changes))


def column(tokens, name) -> np.ndarray:
    return np.array([float(token[f"data-{name}"]) for token in tokens])


@pytest.mark.parametrize("form", ["reward", "logprob"])
@pytest.mark.parametrize("terminal", ["uniform", "zero", "bootstrap"])
@pytest.mark.parametrize("alpha", [0.7, 1.0])
def test_the_numbers_are_endorms_and_those_of_full_logits(form, terminal, alpha):
    model, tokenizer, prompt = tiny_model(), tiny_tokenizer(), "2+2="
    rm = EndoRM(FrozenBase(model), tokenizer, alpha=alpha, discount=0.9, floor=0.7, form=form, terminal=terminal)
    texts = ["It is 4.", "No"]
    ids = [[*tokenizer(text)["input_ids"], 2] for text in texts]
    scores = rm.base.score([tokenizer(prompt)["input_ids"]] * 2, ids, (alpha,))
    page = Page(lens_page(prompt, [LensResponse.from_scores(rm, i, s) for i, s in zip(ids, scores)], {}))
    assert page.prompt == prompt
    expected, totals = rm.token_rewards([prompt] * 2, texts), rm.score([prompt] * 2, texts)
    for tokens, i, text, rewards, total in zip(page.articles, ids, texts, expected, totals):
        assert [int(token["data-id"]) for token in tokens] == i
        assert "".join(token["text"] for token in tokens) == text + "<eos>"
        np.testing.assert_allclose(column(tokens, "reward"), rewards.numpy(), rtol=1e-6, atol=1e-6)
        weights = [max(0.9**h, 0.7) for h in range(len(i))]
        np.testing.assert_allclose(column(tokens, "weight"), weights, rtol=1e-6)
        np.testing.assert_allclose(column(tokens, "sum"), np.cumsum(weights * rewards.numpy()), rtol=1e-5)
        assert float(tokens[-1]["data-sum"]) == pytest.approx(total, abs=1e-4)
        with torch.no_grad():
            start = len(tokenizer(prompt)["input_ids"])
            logits = model.double()(torch.tensor([tokenizer(prompt)["input_ids"] + i])).logits[0, start - 1 :]
            model.float()
        taken = logits[range(len(i)), i]
        v = (alpha * torch.logsumexp(logits / alpha, -1)).numpy()
        v_next = v[1:].copy()
        if terminal != "bootstrap":
            v_next[-1] = alpha * math.log(VOCAB_SIZE) if terminal == "uniform" else 0
        truth = {"q": taken, "v": v[:-1], "v-next": v_next, "log-prob": taken - torch.logsumexp(logits[:-1], -1)}
        for name, values in truth.items():
            np.testing.assert_allclose(column(tokens, name), values, atol=1e-4)


def byte_level() -> PreTrainedTokenizerFast:
    """Byte-level BPE without merges: every byte is a token."""
    vocabulary = {c: i for i, c in enumerate(["<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    core = Tokenizer(models.BPE(vocabulary, []))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>")


def byte_fallback() -> PreTrainedTokenizerFast:
    """As SentencePiece models do it: a leading space is added and stripped, unknown characters are bytes."""
    pieces = ["<unk>", "<eos>", "▁", *"abcdefghijklmnopqrstuvwxyz"]
    vocabulary = {c: i for i, c in enumerate([*pieces, *(f"<0x{b:02X}>" for b in range(256))])}
    core = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(Regex(" "), "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", unk_token="<unk>")


@pytest.mark.parametrize("make", [byte_level, byte_fallback])
@pytest.mark.parametrize("text", ["ab cd", "日本", "a 🙂b\n", " x  y ", "é" * 5, "\ufffd\ufffda", "a\tb\r\n\x00"])
def test_texts_of_tokens_join_to_the_text(make, text):
    tokenizer = make()
    ids = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    texts = token_texts(tokenizer, ids)
    assert len(texts) == len(ids)
    assert texts[-1].endswith("<eos>")  # after U+FFFD, which an unfinished character decodes to, the end has both
    assert "".join(texts) == text + "<eos>"


@pytest.mark.parametrize("make", [byte_level, byte_fallback])
def test_a_character_of_several_tokens_shows_with_the_last(make):
    tokenizer = make()
    ids = tokenizer("a日b", add_special_tokens=False)["input_ids"]
    assert token_texts(tokenizer, ids)[-5:] == ["a", "", "", "日", "b"]
    cut_off = token_texts(tokenizer, ids[:-2])
    assert (cut_off[-2], set(cut_off[-1])) == ("", {"\ufffd"})
    page = Page(lens_page("p", [response([1.0, 2.0], ["", "日"])], {}))
    assert [token["text"] for token in page.articles[0]] == ["⋯", "日"]
    assert "no character by itself" in page.articles[0][0]["aria-label"]


def test_what_cannot_be_seen_is_made_visible():
    assert visible("a\n\tb") == "a⏎\n⇥\tb"
    assert visible("\x00\x1b\x7f\x85\u202e\u200b\u2028\ud800") == (
        "‹U+0000›‹U+001B›‹U+007F›‹U+0085›‹U+202E›‹U+200B›‹U+2028›‹U+D800›"
    )
    assert visible("naïve 日本 🙂 <b>") == "naïve 日本 🙂 <b>"
    assert lens_page("\ud800", [response([1.0], ["\udfff"])], {"model": "\udc80"}).encode("utf-8")


def test_text_from_models_is_text_wherever_it_stands():
    plain = Page(lens_page("p", [response([1.0, -1.0])], {"model": "m"}))
    page = Page(lens_page(HOSTILE, [response([1.0, -1.0], [HOSTILE, "x"])], {"model": HOSTILE, HOSTILE: 1}))
    assert page.tags == plain.tags
    assert page.attributes == plain.attributes
    assert page.prompt == page.articles[0][0]["text"] == visible(HOSTILE)
    assert not page.tags & {"script", "img", "link", "a", "iframe", "object", "form", "base"}
    assert not page.attributes & {"src", "href", "srcset", "action", "data", "background", "poster"}


def test_the_style_of_the_page_names_no_address_and_the_policy_allows_none():
    text = lens_page("p", [response([1.0])], {})
    assert "url(" not in text
    assert "@import" not in text
    assert "//" not in text
    assert "content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\"" in text


def shares(tokens) -> list[float]:
    """How strong the colour of each token is, 0 to 1; below 0 at the lower pole."""
    sizes = [float(t["style"].removeprefix("--share:").removesuffix("%")) / 100 for t in tokens]
    return [size if t["class"] == "token above" else -size for size, t in zip(sizes, tokens)]


def test_one_colour_scale_of_rewards_for_all_responses():
    rewards = [np.linspace(-3, 2, 40), np.array([0.5, -40.0])]
    limit = float(np.quantile(np.abs(np.concatenate(rewards)), 0.95))
    text = lens_page("p", [response(r.tolist()) for r in rewards], {}, "reward")
    assert f"≤ {-limit:.2f}" in text
    assert f"≥ +{limit:.2f}" in text
    assert COLORS["reward"][1] in text
    for tokens, values in zip(Page(text).articles, rewards):
        np.testing.assert_allclose(shares(tokens), np.clip(values / limit, -1, 1), atol=1e-4)


def test_one_colour_scale_of_log_probabilities_up_to_the_least_of_all_responses():
    log_probs = [[-0.5, 0.0, -8.0], [-2.0]]
    text = lens_page("p", [response([9.0] * len(x), log_probs=x) for x in log_probs], {})
    assert "≤ -8.00" in text
    assert "≥" not in text  # no probability is above 1
    assert COLORS["log_prob"][1] in text
    assert [shares(tokens) for tokens in Page(text).articles] == [[-0.0625, 0, -1], [-0.25]]


def test_likely_text_stays_pale():
    (tokens,) = Page(lens_page("p", [response([9.0] * 2, log_probs=[-0.1, -0.5])], {})).articles
    assert shares(tokens) == [-0.02, -0.1]


def test_nothing_in_a_scale_is_no_colour_and_infinity_is_the_strongest():
    (tokens,) = Page(lens_page("p", [response([0.0, 0.0])], {}, "reward")).articles
    assert shares(tokens) == [0, 0]
    (tokens,) = Page(lens_page("p", [response([0.0] * 2, log_probs=[-math.inf, -10.0])], {})).articles
    assert shares(tokens) == [-1, -1]


def test_a_difference_is_that_of_tokens_in_the_same_place():
    one = replace(response([0.0] * 5, log_probs=[-1.0, -1.0, -1.0, -9.0, -1.0]), ids=[5, 1, 2, 9, 7])
    two = replace(response([0.0] * 5, log_probs=[-2.0, -1.0, -0.5, -3.0, -1.5]), ids=[1, 2, 4, 6, 7])
    first, second = differences(one, two)  # 5 is more than the other has, then 1 2 in both, 9 for 4, 6 more, 7 in both
    np.testing.assert_equal(first, [math.nan, 1, 0, -8.5, 0.5])
    np.testing.assert_equal(second, [-1, 0, 8.5, math.nan, -0.5])
    text = lens_page("p", [one, two], {}, "difference")
    assert COLORS["difference"][1] in text
    found = [shares(tokens) for tokens in Page(text).articles]
    np.testing.assert_allclose(found, [[0, 1 / 8.5, 0, -1, 0.5 / 8.5], [-1 / 8.5, 0, 1, 0, -0.5 / 8.5]], atol=1e-4)


@pytest.mark.parametrize("responses", [1, 3])
def test_a_difference_takes_two_responses(responses):
    with pytest.raises(ValueError, match="compares two responses.*--compare"):
        lens_page("p", [response([1.0])] * responses, {}, "difference")


def test_a_colouring_that_there_is_not_is_named():
    with pytest.raises(ValueError, match="one of .*log_prob.*'blue'"):
        lens_page("p", [response([1.0])], {}, "blue")


@pytest.mark.parametrize("color", ["log_prob", "reward"])
def test_sums_are_those_of_the_rewards_whatever_colour_shows(color):
    text = lens_page("p", [response([1.0, 2.0]), response([-1.0])], {}, color)
    assert 'data-gap="4"' in text
    assert 'data-total="3"' in text
    assert "mean <b>+1.500 nats</b>" in text


def test_the_lines_are_the_running_sums_on_shared_axes():
    rewards, weights = [[1.0, -5.0, 2.0], [3.0]], [[1.0, 0.5, 0.25], [1.0]]
    responses = [response(r, weights=w) for r, w in zip(rewards, weights)]
    text = lens_page("p", responses, {})
    assert responses[0].running_sum == [1.0, -1.5, -1.0]
    first, second = Page(text).lines
    assert [x for x, _ in first] == [0, 200, 400, 600]
    assert [x for x, _ in second] == [0, 200]
    # 150 units from +3 down to -1.5
    assert [y for _, y in first] == pytest.approx([100, 100 * 2 / 3, 150, 100 * 4 / 3], abs=0.01)
    assert [y for _, y in second] == pytest.approx([100, 0], abs=0.01)
    assert 'data-gap="-4"' in text
    assert "B is preferred" in text
    assert "A and B tie" in lens_page("p", [responses[0]] * 2, {})
    assert "verdict" not in lens_page("p", responses[:1], {})


# ---------------------------------------------------------------------- what colour shows of an error


def test_a_wrong_word_is_the_outlier_by_log_probability_and_pale_by_reward_where_v_jumps():
    """Numbers as of real text: after a space V is 20 nats higher, and the wrong digit earns +3.6."""
    log_probs = torch.tensor([-0.5, -0.6, -0.1, -9.4, -0.4, -1.0])  # It is ␣ 9 . <end>
    v = torch.tensor([20.0, 18.0, 17.0, 38.0, 25.0, 22.0, 12.0])
    scores = TokenScores(log_probs, log_probs + v[:-1], {1.0: v}, math.exp(12))
    rm = EndoRM(FrozenBase(tiny_model()), byte_level())
    wrong = LensResponse.from_scores(rm, [1, 2, 3, 4, 5, 0], scores)
    assert wrong.rewards[2:4] == pytest.approx([-21.1, 3.6], abs=1e-5)
    (by_log_prob,) = Page(lens_page("p", [wrong], {})).articles
    assert np.argmin(shares(by_log_prob)) == 3
    assert sorted(shares(by_log_prob))[1] > -0.2  # nothing else is near
    (by_reward,) = Page(lens_page("p", [wrong], {}, "reward")).articles
    assert np.argmin(shares(by_reward)) == 2
    assert 0 < shares(by_reward)[3] < 0.25


@pytest.mark.slow
def test_a_real_models_colours_point_at_wrong_answers():
    """On the cases of rewards/README.md: the first token of the wrong answer among all tokens, the least first."""
    folder = ROOT / "outputs" / "SmolLM2-135M-Instruct"
    if not folder.is_dir():
        pytest.skip(f"no {folder.name}: python scripts/get_model.py --output outputs/{folder.name}")
    rm = EndoRM.from_pretrained(str(folder), device="cpu")
    ranks: dict[str, list[int]] = {color: [] for color in COLORS}
    for question, frame, right, wrong in WRONG_ANSWERS:
        prompt = [{"role": "user", "content": question}]
        ids = [rm.response_ids(frame.format(answer), prompt) for answer in (wrong, right)]
        scores = rm.base.score([rm.prompt_ids(prompt)] * 2, ids, (rm.alpha,))
        lenses = [LensResponse.from_scores(rm, i, s) for i, s in zip(ids, scores)]
        at = next(h for h, (one, other) in enumerate(zip(*ids)) if one != other)
        for color, found in ranks.items():
            values = np.array(shown_values(lenses, color)[0])
            found.append(1 + int((values < values[at]).sum()))
    first = {color: found.count(1) for color, found in ranks.items()}
    assert first["log_prob"] >= 15
    assert first["difference"] >= 17
    assert first["reward"] <= 13
    assert ranks["log_prob"][0] == 1  # "It is 9."
    assert np.mean(ranks["log_prob"]) < 2 < 3 < np.mean(ranks["reward"])


@pytest.mark.parametrize("responses", [[], [response([])], [response([1.0]), response([])]])
def test_nothing_to_show(responses):
    with pytest.raises(ValueError, match="at least one token"):
        lens_page("p", responses, {})
