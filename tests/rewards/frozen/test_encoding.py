"""From texts and chat messages to token ids, and what must not be encoded in silence."""

import pytest
from chat_templates import FAMILIES, TURNS, bundled, chat
from tiny_models import CHATML, judge_model, tiny_model, tiny_tokenizer, word_tokenizer
from tokenizers.processors import TemplateProcessing

from rewards import EndoRM, FrozenBase, ImplicitReward, StepReward
from rewards.frozen.encoding import encode_prompt, encode_response, end_token_id, template_end, warn_of_split
from rewards.frozen.messages import say_once

USER = {"role": "user", "content": "Hi"}
CALL = {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


@pytest.fixture(autouse=True)
def _say_everything_anew():
    say_once.cache_clear()


def make(**settings):
    return EndoRM(FrozenBase(tiny_model()), tiny_tokenizer(), **settings)


def test_empty_response():
    assert len(make().token_rewards(["a"], [""])[0]) == 1  # the end token alone
    with pytest.raises(ValueError, match="Response 1 is empty.*append_eos=True"):
        make(append_eos=False).score(["a", "b"], ["x", ""])


def test_empty_prompt():
    with pytest.raises(ValueError, match="Prompt 0 has no tokens.*BOS"):
        make().score([""], ["x"])


def test_no_chat_template():
    rm = EndoRM(FrozenBase(tiny_model()), tiny_tokenizer(chat_template=None))
    with pytest.raises(ValueError, match="has no chat template.*Set tokenizer.chat_template"):
        rm.score([[{"role": "user", "content": "Hi"}]], ["x"])


def test_no_end_token():
    rm = make()
    rm.tokenizer.eos_token = None
    with pytest.raises(ValueError, match="no end token.*append_eos=False"):
        rm.score(["a"], ["b"])


def test_ids_of_another_tokenizer():
    rm, policy = make(), tiny_tokenizer(shift=11)
    ids = policy("hello")["input_ids"]
    with pytest.raises(ValueError, match="policy's tokenizer"):
        rm(prompts=["a"], completions=["hello"], completion_ids=[ids])


def test_a_single_text_instead_of_a_list():
    with pytest.raises(ValueError, match="Give lists"):
        make().score("a prompt", "a response")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_chat_ends_as_its_template_ends_it_and_a_text_as_its_tokenizer_does(name):
    family = FAMILIES[name]
    tokenizer = family.tokenizer()
    end, eos = (tokenizer.convert_tokens_to_ids(token) for token in (family.end, family.eos))
    assert template_end(tokenizer) == end
    answer = " No A" if name == "mistral" else "No A"  # its template writes the space
    whole = [*chat(family), {"role": "assistant", "content": "No A"}]
    written = tokenizer.apply_chat_template(whole, tokenize=True)["input_ids"]
    response = encode_response(tokenizer, answer, True, chat(family))
    assert response[-1] == end
    start = max(i for i in range(len(written)) if written[i : i + len(response)] == response)
    tail = tokenizer.decode(written[start + len(response) :])  # belongs to nobody's response
    assert tail.strip() == ""
    assert encode_response(tokenizer, answer, True, "a text")[-1] == eos
    assert encode_response(tokenizer, answer, True, chat(family), "eos")[-1] == eos
    assert encode_response(tokenizer, answer, False, chat(family)) == response[:-1]


def test_a_template_without_an_end_token_ends_with_the_tokenizers():
    plain = word_tokenizer("{% for m in messages %}{{ m.content }}\n{% endfor %}")
    assert template_end(plain) is None
    assert end_token_id(plain, [USER]) == plain.eos_token_id
    assert template_end(word_tokenizer(None)) is None
    fussy = word_tokenizer("{{ raise_exception('no') }}")
    assert template_end(fussy) is None
    silent = word_tokenizer("{% for m in messages %}<|im_start|>{% endfor %}")  # what it writes is no answer's end
    assert template_end(silent) is None


def test_the_end_token_decides_on_the_order_of_responses():
    """A base rates its two ends apart by what it has read, so that the convention has to be one."""
    base, tokenizer = FrozenBase(judge_model()), FAMILIES["qwen2.5"].tokenizer()
    base = FrozenBase(judge_model(vocab_size=len(tokenizer), initializer_range=0.5))
    texts = ["Yes", "No No", "A B A", "It is", "No", "B"]
    rows = []
    for end_token in ("template", "eos"):
        rm = EndoRM(base, tokenizer, reduce="mean", end_token=end_token)
        rewards = rm.score([TURNS] * len(texts), texts)
        ids = rm.response_ids(texts[0], TURNS)
        assert ids[-1] == tokenizer.convert_tokens_to_ids(
            {"template": "<|im_end|>", "eos": "<|endoftext|>"}[end_token]
        )
        (scores,) = base.score([rm.prompt_ids(TURNS)], [ids], rm.alphas)
        assert rewards[0] == pytest.approx(float(rm.values(scores, True).sum()), abs=1e-5)
        rows.append(sorted(range(len(texts)), key=rewards.__getitem__))
    assert rows[0] != rows[1]
    with pytest.raises(ValueError, match=r"end_token must be one of \('template', 'eos'\), got 'end'"):
        EndoRM(end_token="end")
    with pytest.raises(ValueError, match="end_token must be one of"):
        ImplicitReward(base, base, tokenizer, end_token="none")


def test_a_reward_per_step_counts_the_same_end_token():
    tokenizer = FAMILIES["qwen2.5"].tokenizer()
    inner = EndoRM(FrozenBase(judge_model(vocab_size=len(tokenizer))), tokenizer)
    (row,) = StepReward(inner, "line").per_token([TURNS], ["Yes"])
    assert len(row) == len(inner.response_ids("Yes", TURNS))
    assert float(row.sum()) == pytest.approx(inner.score([TURNS], ["Yes"])[0], abs=1e-5)


def test_parts_go_to_a_template_that_reads_them_as_they_are():
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    message = [{"role": "user", "content": parts}]
    joined = [{"role": "user", "content": "one two"}]
    reads = word_tokenizer(bundled("gemma3").replace("<start_of_turn>", "<|im_start|>"))
    direct = reads.apply_chat_template(message, add_generation_prompt=True)["input_ids"]
    assert encode_prompt(reads, message) == direct
    assert reads.decode(direct).count("onetwo") == 1  # it trims each part
    for template in (
        CHATML,
        bundled("qwen3"),
        bundled("qwen2_5"),
        "{% for m in messages %}{{ m | tojson }}{% endfor %}",
    ):
        tokenizer = word_tokenizer(template)
        right = tokenizer.apply_chat_template(joined, add_generation_prompt=True)["input_ids"]
        assert encode_prompt(tokenizer, message) == right


def test_a_template_that_reads_nothing_but_parts():
    reads = word_tokenizer("{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}")
    assert (
        encode_prompt(reads, [{"role": "user", "content": [{"type": "text", "text": "A"}]}]) == reads("A")["input_ids"]
    )
    with pytest.raises(ValueError, match="leaves out messages of role 'user'"):
        encode_prompt(reads, [{"role": "user", "content": "A"}])


def test_a_criterion_stays_behind_the_bos_of_a_text(caplog):
    tokenizer = FAMILIES["llama-3"].tokenizer()
    bos = tokenizer.bos_token
    right = tokenizer("Be kind.\n\nHi")["input_ids"]
    assert right.count(tokenizer.bos_token_id) == 1
    assert encode_prompt(tokenizer, "Hi", "Be kind.") == encode_prompt(tokenizer, f"{bos}Hi", "Be kind.") == right
    assert len(caplog.messages) == 1
    assert (
        encode_prompt(tokenizer, f"Hi {bos}") == tokenizer(f"Hi {bos}")["input_ids"]
    )  # not at the beginning: a text's own
    without = FAMILIES["qwen2.5"].tokenizer()
    assert encode_prompt(without, "<|im_start|>user") == without("<|im_start|>user")["input_ids"]


@pytest.mark.parametrize("arguments", [{"x": 1}, '{"x": 1}', '{"x":  1'])
@pytest.mark.parametrize("name", ["qwen2.5", "qwen3"])
def test_arguments_of_a_call_may_be_json_text(name, arguments):
    """As OpenAI has them; a template that would quote the text once more gets what it says."""
    call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
    prompt = [USER, {"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "content": "1"}]
    text = FAMILIES[name].tokenizer().decode(encode_prompt(FAMILIES[name].tokenizer(), prompt))
    broken = {"qwen2.5": r'"{\"x\":  1"', "qwen3": '{"x":  1'}[name]
    assert '"arguments": ' + (broken if arguments == '{"x":  1' else '{"x": 1}') + "}" in text
    assert call["function"]["arguments"] == arguments


def test_a_tokenizer_that_ends_every_text_leaves_something_to_answer(caplog):
    ends = FAMILIES["mistral"].tokenizer()
    bos, eos = (f"{token} " for token in (ends.bos_token, ends.eos_token))
    ids = [(token, ends.convert_tokens_to_ids(token)) for token in (ends.bos_token, ends.eos_token)]
    ends.backend_tokenizer.post_processor = TemplateProcessing(single=f"{bos}$A {eos}".strip(), special_tokens=ids)
    plain = FAMILIES["mistral"].tokenizer()
    assert ends("Hi")["input_ids"] == [*plain("Hi")["input_ids"], ends.eos_token_id]
    assert encode_prompt(ends, "Hi") == encode_prompt(ends, "Hi") == plain("Hi")["input_ids"]
    (said,) = caplog.messages
    assert "puts </s> after every text" in said
    assert "set add_eos_token=False" in said
    assert encode_prompt(ends, [USER]) == encode_prompt(plain, [USER])


@pytest.mark.parametrize(
    "family, prompt, settings, message",
    [
        (
            "qwen3",
            [USER, {"role": "assistant"}],
            {},
            r"Message 1 of a prompt \(role 'assistant'\) has no content and calls no",
        ),
        (
            "qwen3",
            [{"role": "user", "content": None}],
            {},
            "Message 0 .* has no content.* fill it in, or drop the row",
        ),
        ("qwen3", [{"role": "user", "content": 5}], {}, "Message 0 .*must be text or a list of parts of text, got 5"),
        ("qwen3", [{"content": "Hi"}], {}, "Message 0 of a prompt must be a dict with 'role' and 'content'"),
        ("qwen3", ["Hi"], {}, "Message 0 of a prompt must be a dict with 'role' and 'content'"),
        ("qwen3", [], {}, "A prompt has no messages"),
        (
            "qwen3",
            [{"role": "user", "content": [{"type": "image", "image": "x"}]}],
            {},
            "has a part of type 'image', and only text is read",
        ),
        ("qwen3", [USER, CALL], {}, "ends in a call of a tool.*add the tool's message, or drop the row"),
        (
            "llama-3",
            [USER, CALL, {"role": "tool", "content": "1"}],
            {},
            "shows no calls of tools.*write the call into",
        ),
        ("llama-3", [USER], {"tools": [TOOL]}, "shows no tools.*take the column tools out"),
        ("qwen3", [USER], {"tools": "add"}, r'tools is not JSON .*write it as \[\{"type": "function"'),
        ("qwen3", [USER], {"tools": '{"name": "f"}'}, "tools must be a list of JSON schemas.*rename a column"),
        (
            "qwen3",
            [USER],
            {"chat_template_kwargs": "no"},
            r'chat_template_kwargs is not JSON.*\{"enable_thinking": false\}',
        ),
        ("qwen3", [USER], {"chat_template_kwargs": [1]}, "must be a dict of a chat template's variables"),
        (
            "qwen3",
            [USER],
            {"chat_template_kwargs": {"add_generation_prompt": False}},
            "cannot set add_generation_prompt, which are the renderer's own: leave them out",
        ),
        ("qwen2.5", [USER, {"role": "developer", "content": "x"}], {}, "leaves out messages of role 'developer'"),
        (
            "gemma-2",
            [{"role": "system", "content": "x"}, USER],
            {},
            "System role not supported.*give none .system_prompt: null in a recipe, --template chat in an",
        ),
        (
            "mistral",
            [USER, USER],
            {},
            r"refuses a prompt of user, user \(Conversation roles must alternate.*correct the",
        ),
    ],
)
def test_a_prompt_that_cannot_be_read_is_refused_with_the_fix(family, prompt, settings, message):
    with pytest.raises(ValueError, match=message):
        encode_prompt(FAMILIES[family].tokenizer(), prompt, **settings)


def test_a_last_message_that_cannot_be_continued():
    trims = word_tokenizer("{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}")
    with pytest.raises(
        ValueError, match="(?s)refuses a prompt of user, assistant .*take the assistant's last message out"
    ):
        encode_prompt(trims, [USER, {"role": "assistant", "content": "Well"}])


def test_what_has_no_effect_on_a_text_is_said_once(caplog):
    for _ in range(2):
        encode_prompt(tiny_tokenizer(), "Hi", tools=[TOOL], chat_template_kwargs={"enable_thinking": False})
    (said,) = caplog.messages
    assert said.startswith("tools and chat_template_kwargs have no effect on prompts given as text")
    assert "give chat messages" in said


def test_continuing_the_assistants_words_is_said_once(caplog):
    prompt = [USER, {"role": "assistant", "content": "Well"}]
    right = tiny_tokenizer()("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nWell")["input_ids"]
    assert encode_prompt(tiny_tokenizer(), prompt) == encode_prompt(tiny_tokenizer(), prompt) == right
    (said,) = caplog.messages
    assert "responses continue it" in said
    assert "TRL's own GRPOTrainer would open a second turn" in said


@pytest.mark.parametrize("apart", [CALL, {"role": "assistant", "content": "4", "reasoning_content": "2 and 2"}])
def test_a_response_that_says_something_beside_its_content_has_no_known_tokens(apart):
    with pytest.raises(
        ValueError, match=r"has (tool_calls|reasoning_content).*as the text that the model wrote, or its"
    ):
        make().score([[USER]], [[apart]])


def test_texts_that_are_split_where_bpe_would_not_split_them(caplog):
    """`Yes` after a space is one token with its space: a prompt that ends in the space leaves the base another one."""
    tokenizer = word_tokenizer()
    rm = EndoRM(FrozenBase(judge_model()), tokenizer)
    assert tokenizer.tokenize("A Yes") == ["A", "ĠYes"]
    rm.score(["A"], [" Yes"])
    rm.score([[USER], "A"], ["Yes", " Yes No"])
    assert caplog.messages == []
    rm.score(["A ", "A"], ["Yes", " Yes"])
    rm.score(["A ", "A"], ["Yes", " Yes"])
    (said,) = caplog.messages
    assert said.startswith("1 of 2 prompts end in a space, which the tokenizer of")
    assert "Instead of 'A ' and 'Yes' give 'A' and ' Yes', or chat messages." in said


def test_sentencepiece_puts_the_space_itself(caplog):
    """A response without its space is then the right one."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    known = ["<unk>", "<eos>", "▁", "a", "b", "▁a", "▁b"]
    core = Tokenizer(models.BPE({t: i for i, t in enumerate(known)}, [("▁", "a"), ("▁", "b")], unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", unk_token="<unk>")
    warn_of_split(tokenizer, ["a", [USER]], ["b", "b"])
    assert caplog.messages == []
    warn_of_split(tokenizer, ["a "], ["b"])
    assert "Instead of 'a ' and 'b' give 'a' and ' b', or chat messages." in caplog.messages[0]
    core = tokenizer.backend_tokenizer
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])  # Llama 2's way
    core.pre_tokenizer = None
    say_once.cache_clear()
    warn_of_split(tokenizer, ["a "], ["b"])
    assert "Instead of 'a ' and 'b' give 'a' and 'b', or chat messages." in caplog.messages[1]
