"""The rehearsal model loads like any other, repeats exactly and refuses what cannot work; the texts it is made of."""

import gzip
import json

import pytest
import torch
from tiny_models import CHATML, ROOT
from transformers import AutoModelForCausalLM, AutoTokenizer

from train.tasks.rehearsal_model import make_rehearsal_model, project_texts, read_texts

TEXTS = ["The sum of the angles is $180^\\circ$.", "Find the sum of the first ten primes: 2, 3, 5, 7."]
SIZES = {"vocab_size": 290, "hidden_size": 32, "layers": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    output = tmp_path_factory.mktemp("rehearsal")
    make_rehearsal_model(TEXTS, output, **SIZES)
    return output


def test_saved_model_generates_and_ends_like_a_base_model(folder):
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    assert len(tokenizer) <= 290
    assert model.config.vocab_size == 320
    assert model.get_input_embeddings().weight is not model.get_output_embeddings().weight
    assert tokenizer.eos_token == "<|endoftext|>"
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    for config in (model.config, model.generation_config):
        assert (config.eos_token_id, config.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)
    prompt = tokenizer(["Find the sum"], return_tensors="pt")
    assert model.generate(**prompt, max_new_tokens=4, min_new_tokens=4, do_sample=False).shape[1] == (
        prompt["input_ids"].shape[1] + 4
    )
    assert list(folder.glob("*.safetensors"))


def test_the_model_has_the_sizes_that_were_asked_for_and_is_the_one_that_was_saved(tmp_path):
    sizes = {"hidden_size": 24, "layers": 3, "heads": 6, "kv_heads": 3, "max_position_embeddings": 77}
    model = make_rehearsal_model(TEXTS, tmp_path, vocab_size=270, **sizes)
    config, head = model.config, 24 // 6
    assert config.vocab_size == 320  # the next multiple of 64
    mlp, attention = 3 * 24 * 96, 2 * 24 * 24 + 2 * 24 * 3 * head
    others = 2 * 24 + 24 + 2 * 3 * head  # two norms, the biases of queries, keys and values
    assert model.num_parameters() == 2 * 320 * 24 + 3 * (mlp + attention + others) + 24
    assert config.max_position_embeddings == AutoTokenizer.from_pretrained(tmp_path).model_max_length == 77
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(loaded[name], weight) for name, weight in model.state_dict().items())
    assert {weight.dtype for weight in loaded.values()} == {torch.float32}


def test_chat_template_is_chatml_without_a_system_prompt_of_its_own(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    messages = [{"role": "user", "content": "1+1?"}]
    user = "<|im_start|>user\n1+1?<|im_end|>\n"
    assert tokenizer.apply_chat_template(messages, tokenize=False) == user
    system = [{"role": "system", "content": "Be brief."}]
    rendered = tokenizer.apply_chat_template(system + messages, tokenize=False, add_generation_prompt=True)
    assert rendered == "<|im_start|>system\nBe brief.<|im_end|>\n" + user + "<|im_start|>assistant\n"
    ids = tokenizer(rendered)["input_ids"]
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_start|>")) == 3
    turns = [*system, *messages, {"role": "assistant", "content": " 2\n"}, *messages]
    expected = tokenizer.apply_chat_template(turns, chat_template=CHATML, tokenize=False, add_generation_prompt=True)
    assert tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True) == expected


def test_the_seed_fixes_the_files_and_leaves_the_random_state(folder, tmp_path):
    torch.manual_seed(123)
    state = torch.get_rng_state()
    make_rehearsal_model(iter(TEXTS), tmp_path / "same", **SIZES)
    assert torch.equal(torch.get_rng_state(), state)
    make_rehearsal_model(TEXTS, tmp_path / "other", **SIZES, seed=1)
    for name in ("tokenizer.json", "model.safetensors"):
        assert (tmp_path / "same" / name).read_bytes() == (folder / name).read_bytes()
    assert (tmp_path / "other" / "model.safetensors").read_bytes() != (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "texts, sizes, message",
    [
        ([], {}, "no text"),
        (TEXTS, {"vocab_size": 200}, "260 is the least"),
        (TEXTS, {"heads": 3}, "multiple of 2 x heads"),
        (TEXTS, {"heads": 0}, "multiple of 2 x heads"),
        (TEXTS, {"heads": 64}, "multiple of 2 x heads"),  # a head of one entry cannot be rotated
        (TEXTS, {"kv_heads": 3}, "heads of kv_heads"),
        (TEXTS, {"kv_heads": 0}, "heads of kv_heads"),
    ],
)
def test_impossible_models_are_refused(texts, sizes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        make_rehearsal_model(texts, tmp_path / "out", **sizes)
    assert not (tmp_path / "out").exists()


ROWS = [{"problem": "p", "solution": "s", "level": 1}, {"problem": "q", "solution": None}]


@pytest.mark.parametrize("name, opener", [("b.jsonl.gz", gzip.open), ("b.jsonl", open)])
def test_fields_of_json_lines(name, opener, tmp_path):
    with opener(tmp_path / name, "wt") as file:
        file.write("\n\n".join(json.dumps(row) for row in ROWS))
    assert list(read_texts(tmp_path / name, ["problem", "solution"])) == ["p", "s", "q"]
    assert list(read_texts(tmp_path / name, ["solution", "problem"])) == ["s", "p", "q"]
    with pytest.raises(ValueError, match="no text in question; set --text_field from level, problem, solution"):
        list(read_texts(tmp_path / name, ["question"]))
    with pytest.raises(ValueError, match="no text in level; set"):  # a number is no text
        list(read_texts(tmp_path / name, ["problem", "level"]))


@pytest.mark.parametrize("name, opener", [("a.txt.gz", gzip.open), ("a.txt", open)])
def test_lines_of_text(name, opener, tmp_path):
    with opener(tmp_path / name, "wt", encoding="utf-8") as file:
        file.write("one\nzwölf\n{")
    assert list(read_texts(tmp_path / name, ["problem"])) == ["one\n", "zwölf\n", "{"]


def test_rows_and_files_that_are_no_such_thing_are_named(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"problem": "p"}\n["q"]\n')
    with pytest.raises(ValueError, match="rows.jsonl, line 2: expected a JSON object"):
        list(read_texts(tmp_path / "rows.jsonl", ["problem"]))
    with pytest.raises(FileNotFoundError, match="absent.txt does not exist: give --text"):
        list(read_texts(tmp_path / "absent.txt", ["problem"]))
    (tmp_path / "cut.jsonl").write_text('{"problem": "p"}\n{"problem": "q')
    with pytest.raises(ValueError, match="cut.jsonl, line 2: this is no JSON"):
        list(read_texts(tmp_path / "cut.jsonl", ["problem"]))


def test_the_projects_own_texts_are_its_readme_and_source():
    texts = [text for text in project_texts() if text]
    assert texts[0] == (ROOT / "README.md").read_text(encoding="utf-8")
    assert (ROOT / "train/tasks/rehearsal_model.py").read_text(encoding="utf-8") in texts
    assert len(texts) == len(set(texts))
