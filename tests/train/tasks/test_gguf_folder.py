"""The folder of a GGUF file: weights, a tokenizer that splits digits, chat template, end tokens."""

import pytest
import torch
from safetensors.torch import load_file
from tiny_gguf import SYSTEM, TOKENS, tiny_llama, write_gguf
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from train.tasks.gguf_folder import write_folder

IDS = torch.arange(24).reshape(2, 12) * 11


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a model that is stored as SmolLM2 is, and beside it `model.gguf`."""
    output = tmp_path_factory.mktemp("gguf")
    write_folder(write_gguf(output / "model.gguf", tiny_llama(), quantised=True), output / "folder")
    return output / "folder"


@pytest.mark.parametrize("tied", [True, False])
def test_unquantised_weights_come_back_as_they_were(tied, tmp_path):
    model = tiny_llama(tie_word_embeddings=tied)
    written = write_folder(write_gguf(tmp_path / "model.gguf", model), tmp_path / "folder")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "folder")
    assert loaded.config.tie_word_embeddings is tied
    assert written == loaded.num_parameters() == model.num_parameters()
    with torch.no_grad():
        assert torch.equal(loaded(IDS).logits, model(IDS).logits)


def test_quantised_weights_are_those_that_transformers_reads(folder):
    peer = AutoModelForCausalLM.from_pretrained(folder.parent, gguf_file="model.gguf", dtype=torch.float32)
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert loaded.dtype == torch.float32
    ours, theirs = loaded.state_dict(), peer.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    with torch.no_grad():
        torch.testing.assert_close(loaded(IDS).logits, peer(IDS).logits)
    stored = load_file(folder / "model.safetensors")
    block = stored["model.layers.0.mlp.up_proj.weight"][0, :32]
    assert len(torch.unique(block)) <= 16  # of 4 bits


def test_tokenizer_round_trips_and_splits_digits_before_it_merges(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text in ("a  12\n 7", "Ouagadougou é 東京 🙂\n\tend", "<|im_start|>x<|im_end|>"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    # without the split the second space would go to the digits, and 1 and 2 would merge
    assert tokenizer.tokenize("a  12") == ["a", "ĠĠ", "1", "2"]
    assert tokenizer.tokenize("cap") == ["cap"]
    assert tokenizer.tokenize("<|im_end|>") == ["<|im_end|>"]
    assert len(tokenizer) == len(TOKENS)


def test_special_tokens_and_chat_template(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for ids in (
        tokenizer,
        AutoModelForCausalLM.from_pretrained(folder).config,
        GenerationConfig.from_pretrained(folder),
    ):
        assert (ids.bos_token_id, ids.eos_token_id, ids.pad_token_id) == (1, 2, 2)
    assert tokenizer.unk_token == "<|endoftext|>"
    assert tokenizer.model_max_length == 64
    user = [{"role": "user", "content": "1+1?"}]
    rendered = tokenizer.apply_chat_template(user, tokenize=False, add_generation_prompt=True)
    assert rendered == SYSTEM + "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n"
    brief = [{"role": "system", "content": "Brief."}, *user]
    assert tokenizer.apply_chat_template(brief, tokenize=False).startswith("<|im_start|>system\nBrief.<|im_end|>")


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"arch": "gemma"}, "general.architecture is 'gemma'; only 'llama'"),
        ({"tokenizer": "llama"}, "tokenizer.ggml.model is 'llama'; only 'gpt2'"),
        ({"pre": "qwen2"}, "tokenizer.ggml.pre is 'qwen2'; only 'smollm'"),
    ],
)
def test_another_kind_of_file_is_refused(fields, message, tmp_path):
    path = write_gguf(tmp_path / "model.gguf", tiny_llama(), **fields)
    with pytest.raises(ValueError, match=message):
        write_folder(path, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_a_tensor_that_is_not_known_is_refused(tmp_path):
    model = tiny_llama(attention_bias=True)
    path = write_gguf(tmp_path / "model.gguf", model)
    with pytest.raises(ValueError, match="blk.0.attn_q.bias is none of a Llama model"):
        write_folder(path, tmp_path / "folder")
