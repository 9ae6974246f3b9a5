"""The rehearsal model: loads like any other, writes any text, repeats exactly, refuses what cannot work."""

import gzip
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts import load_script

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ["The sum of the angles is $180^\\circ$.", "Find the sum of the first ten primes: 2, 3, 5, 7."]


script = load_script("make_rehearsal_model")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    output = tmp_path_factory.mktemp("rehearsal")
    script.make_rehearsal_model(TEXTS, output, vocab_size=290, hidden_size=32, layers=1)
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


def test_tokenizer_writes_any_text_and_splits_like_qwen(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "The sum, naïve 数学 🙂\n\tend"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.tokenize("180") == ["1", "8", "0"]
    assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]


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


def test_the_seed_fixes_the_files_and_leaves_the_random_state(folder, tmp_path):
    sizes = {"vocab_size": 290, "hidden_size": 32, "layers": 1}
    torch.manual_seed(123)
    state = torch.get_rng_state()
    script.make_rehearsal_model(iter(TEXTS), tmp_path / "same", **sizes)
    assert torch.equal(torch.get_rng_state(), state)
    script.make_rehearsal_model(TEXTS, tmp_path / "other", **sizes, seed=1)
    for name in ("tokenizer.json", "model.safetensors"):
        assert (tmp_path / "same" / name).read_bytes() == (folder / name).read_bytes()
    assert (tmp_path / "other" / "model.safetensors").read_bytes() != (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "texts, sizes, message",
    [
        ([], {}, "no text"),
        (["  \n"], {}, "no text"),
        (TEXTS, {"vocab_size": 200}, "260 is the least"),
        (TEXTS, {"heads": 3}, "multiple of 2 x heads"),
        (TEXTS, {"kv_heads": 3}, "heads of kv_heads"),
    ],
)
def test_impossible_models_are_refused(texts, sizes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        script.make_rehearsal_model(texts, tmp_path, **sizes)


def test_text_files(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    assert list(script.read_texts(tmp_path / "a.txt", ["problem"])) == ["one\n", "two\n"]
    rows = [{"problem": "p", "solution": "s", "level": 1}, {"problem": "q", "solution": None}]
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write("\n".join(json.dumps(row) for row in rows))
    assert list(script.read_texts(tmp_path / "b.jsonl.gz", ["problem", "solution"])) == ["p", "s", "q"]
    with pytest.raises(ValueError, match="no text in question; set --text_field from level, problem, solution"):
        list(script.read_texts(tmp_path / "b.jsonl.gz", ["question"]))


def test_command_line_needs_no_text_file(tmp_path, capsys):
    script.main(["--output", str(tmp_path / "out"), "--vocab_size", "320", "--hidden_size", "16", "--layers", "1"])
    assert "vocabulary of 320" in capsys.readouterr().out
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").config.hidden_size == 16


def test_command_line_names_a_missing_file(tmp_path, capsys):
    with pytest.raises(SystemExit):
        script.main(["--output", str(tmp_path / "out"), "--text", str(tmp_path / "absent.jsonl")])
    assert "absent.jsonl does not exist" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
