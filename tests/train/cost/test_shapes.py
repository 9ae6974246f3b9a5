"""Shapes against published numbers of parameters, random weights that repeat, and the folder that a timer reads."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from train.cost.memory import shape_of
from train.cost.shapes import PRESETS, preset_config, random_model, write_inputs


@pytest.mark.parametrize(
    "preset, vocab, published, tied",
    [
        ("0.5b", 151936, 494_032_768, True),
        ("1.5b", 151936, 1_543_714_304, True),
        ("7b", 152064, 7_615_616_512, False),
    ],
)
def test_shapes_of_qwen_have_the_published_number_of_parameters(preset, vocab, published, tied):
    """Of the checkpoints on the hub; the smaller two tie their heads, which the presets do not."""
    config = preset_config(preset, vocab)
    assert shape_of(config).parameters == published + tied * vocab * config.hidden_size


def test_the_7b_shape_has_the_published_number_of_parameters_without_embeddings():
    shape = shape_of(preset_config("7b"))
    assert shape.linear_parameters == pytest.approx(6.5e9, rel=0.01)
    assert shape.parameters - 2 * 151936 * 3584 == pytest.approx(6.53e9, rel=0.001)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_models_that_can_be_made(preset):
    config = preset_config(preset, 64)
    assert config.hidden_size % config.num_attention_heads == 0
    assert config.num_attention_heads % config.num_key_value_heads == 0
    assert not config.tie_word_embeddings
    assert shape_of(config).vocab == 64


def test_random_weights_are_the_same_every_time_and_spread_as_the_config_says():
    torch.manual_seed(5)
    one = random_model("tiny", 128)
    torch.manual_seed(6)
    two = random_model("tiny", 128, dtype=torch.bfloat16)
    assert {p.dtype for p in one.parameters()} == {torch.float32}
    assert {p.dtype for p in two.parameters()} == {torch.bfloat16}
    again = random_model("tiny", 128)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))
    assert not one.training
    assert one.get_output_embeddings().weight.std().item() == pytest.approx(one.config.initializer_range, rel=0.05)
    assert not torch.equal(one.get_output_embeddings().weight, one.get_input_embeddings().weight)


def test_inputs_are_a_model_with_its_tokenizer_and_prompts_of_about_the_length(tmp_path):
    write_inputs(tmp_path, "tiny", 2048, prompt_tokens=32, dtype="bfloat16", prompts=20)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert model.dtype == torch.bfloat16
    assert model.config.vocab_size == 2048
    assert (model.config.hidden_size, model.config.num_hidden_layers) == (256, 2)
    rows = [json.loads(line)["prompt"] for line in (tmp_path / "prompts.jsonl").read_text().splitlines()]
    ids = tokenizer(rows)["input_ids"]
    assert len(set(rows)) == 20
    assert sum(map(len, ids)) / 20 == pytest.approx(32, rel=0.25)  # neighbours may merge, or make a token of bytes two
    assert not {i for row in ids for i in row} & set(tokenizer.all_special_ids)


def test_a_small_vocabulary_gets_a_tokenizer_that_fits(tmp_path):
    write_inputs(tmp_path, "tiny", 300, prompt_tokens=8, dtype="float32", prompts=30)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert len(tokenizer) <= 300
    rows = [json.loads(line)["prompt"] for line in (tmp_path / "prompts.jsonl").read_text().splitlines()]
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():  # every prompt has an embedding
        assert model(**tokenizer(rows, return_tensors="pt", padding=True)).logits.isfinite().all()
    with pytest.raises(ValueError, match="vocab_size is 200; 260 is the least"):
        write_inputs(tmp_path, "tiny", 200, prompt_tokens=8, dtype="float32", prompts=3)
