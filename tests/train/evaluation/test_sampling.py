"""Samples: what is drawn, what a restart keeps, what it refuses."""

import json
import shutil
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from train.evaluation.sampling import Decoding, TransformersSampler, VLLMSampler, cut, end_ids, fingerprint, sample

IDS = ["a", "b", "c", "d", "e"]
PROMPTS = [[{"role": "user", "content": f"What is {n} + {n * n}?"}] for n in range(5)]
HOW = Decoding(samples=3, temperature=1.0, top_p=0.9, max_tokens=8, seed=1, batch_size=4)


class Killed(Exception):
    pass


def loader(model, calls=None):
    """A sampler that dies before its n-th batch, as if killed."""

    def load():
        sampler, left = TransformersSampler(model, device="cpu"), [calls]

        def draw(*args):
            if left[0] == 0:
                raise Killed
            left[0] = None if left[0] is None else left[0] - 1
            return sampler(*args)

        draw.tokenizer, draw.ends = sampler.tokenizer, sampler.ends
        return draw

    return load


def run(path, model, how=HOW, calls=None, **settings):
    return sample(path, model, IDS, PROMPTS, how, loader(model, calls), progress=False, **settings)


def test_a_restart_ends_at_the_same_file(rehearsal, tmp_path):
    whole, cut_off = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    rows = run(whole, rehearsal)
    assert [(r["id"], r["sample"]) for r in rows] == [(i, s) for i in IDS for s in range(3)]
    assert len({tuple(r["token_ids"]) for r in rows}) > 10  # samples differ
    with pytest.raises(Killed):
        run(cut_off, rehearsal, calls=2)
    kept = cut_off.read_bytes()
    assert whole.read_bytes().startswith(kept)
    assert kept.count(b"\n") == 8
    for damage in (b"", b'{"id": "x', whole.read_bytes()[len(kept) :][:40], whole.read_bytes()[len(kept) :][:-30]):
        cut_off.write_bytes(kept + damage)
        assert run(cut_off, rehearsal) == rows
        assert cut_off.read_bytes() == whole.read_bytes()


def test_complete_samples_load_no_model(rehearsal, tmp_path):
    rows = run(tmp_path / "s.jsonl", rehearsal)
    assert run(tmp_path / "s.jsonl", rehearsal, calls=0) == rows
    assert sample(tmp_path / "s.jsonl", rehearsal, IDS, PROMPTS, HOW, None, progress=False) == rows


def test_other_settings_are_refused_by_name(rehearsal, saved_model, tmp_path):
    run(tmp_path / "s.jsonl", rehearsal, dtype="auto")
    how = Decoding(samples=3, temperature=0.5, top_p=0.9, max_tokens=8, seed=2, batch_size=4)
    with pytest.raises(ValueError, match=r"seed 1 -> 2; temperature 1.0 -> 0.5\. Use the old"):
        run(tmp_path / "s.jsonl", rehearsal, how, dtype="auto")
    with pytest.raises(ValueError, match="dtype 'auto' -> 'float32'"):
        run(tmp_path / "s.jsonl", rehearsal, dtype="float32")
    with pytest.raises(ValueError, match="model .*; prompts "):
        run(tmp_path / "s.jsonl", saved_model, dtype="auto")


def test_greedy_is_the_argmax_whatever_the_batch(rehearsal, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(rehearsal).eval()
    tokenizer = AutoTokenizer.from_pretrained(rehearsal)
    rows = run(tmp_path / "s.jsonl", rehearsal, Decoding(max_tokens=6, batch_size=2))
    for row, prompt in zip(rows, PROMPTS):
        ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]
        for token in row["token_ids"]:
            with torch.no_grad():
                assert token == model(torch.tensor([ids])).logits[0, -1].argmax()
            ids = [*ids, token]
        ended = row["token_ids"][-1] in end_ids(tokenizer, model.generation_config)
        assert row["finished"] == ended
        assert ended or len(row["token_ids"]) == 6


def test_samples_follow_the_models_distribution(rehearsal):
    sampler = TransformersSampler(rehearsal, device="cpu")
    with torch.no_grad():
        probabilities = (sampler.model(torch.tensor([[5, 6]])).logits[0, -1] / 0.7).softmax(-1)
    how = Decoding(samples=1, temperature=0.7, max_tokens=1, batch_size=4000)
    drawn = sampler([[5, 6]] * 4000, [3] * 4000, how)
    counts = torch.bincount(torch.tensor(drawn).flatten(), minlength=len(probabilities))
    assert (counts / 4000 - probabilities).abs().sum() / 2 < 0.15  # total variation; the noise of 4000 draws is 0.1


def test_an_answer_ends_where_the_chat_template_ends_it(rehearsal):
    tokenizer = AutoTokenizer.from_pretrained(rehearsal)
    mark = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tokenizer.eos_token_id != mark
    assert end_ids(tokenizer, GenerationConfig(eos_token_id=[3, 4])) == {3, 4, tokenizer.eos_token_id, mark}
    assert cut([7, mark, 7, mark], {mark}) == [7, mark]


def test_an_adapter_is_merged_and_known_by_its_weights(rehearsal, tmp_path):
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(rehearsal), LoraConfig(target_modules=["q_proj"]))
    prints = []
    for scale in (0.0, 3.0):
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=scale, generator=torch.Generator().manual_seed(0))
        model.save_pretrained(tmp_path / str(scale))
        AutoTokenizer.from_pretrained(rehearsal).save_pretrained(tmp_path / str(scale))
        prints.append(fingerprint(str(tmp_path / str(scale))))
    assert prints[0] != prints[1]
    how = Decoding(max_tokens=8)
    base, same, other = (
        TransformersSampler(str(m), device="cpu")([[5, 6, 7]], [0], how)
        for m in (rehearsal, tmp_path / "0.0", tmp_path / "3.0")
    )
    assert base == same != other
    with pytest.raises(ValueError, match="merge_adapter"):
        VLLMSampler(str(tmp_path / "0.0"))


def changed(path):
    """Change a file in a way that keeps it readable."""
    if path.suffix == ".safetensors":
        tensors = load_file(path)
        name = sorted(tensors)[0]
        tensors[name].view(-1)[-1] += 1
        save_file(tensors, path, {"format": "pt"})
    else:
        path.write_text(path.read_text() + "\n")


def test_the_fingerprint_counts_all_that_makes_texts(rehearsal, tmp_path):
    shutil.copytree(rehearsal, tmp_path / "copy")
    prints = {fingerprint(rehearsal), fingerprint(str(tmp_path / "copy"))}
    assert len(prints) == 1
    names = ["generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json"]
    for name in [*names, "model.safetensors"]:
        changed(tmp_path / "copy" / name)
        prints.add(fingerprint(str(tmp_path / "copy")))
    assert len(prints) == 1 + len(names) + 1
    (tmp_path / "copy/README.md").write_text("read me")
    assert fingerprint(str(tmp_path / "copy")) in prints


def test_the_fingerprint_of_an_adapter_counts_all_of_its_files_and_its_base(rehearsal, tmp_path):
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    shutil.copytree(rehearsal, base)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(target_modules=["q_proj"]))
    model.save_pretrained(adapter)
    AutoTokenizer.from_pretrained(base).save_pretrained(adapter)
    prints = [fingerprint(str(adapter))]
    weights = adapter / "adapter_model.safetensors"
    shutil.copy(weights, adapter / "adapter_model-00002-of-00002.safetensors")
    prints.append(fingerprint(str(adapter)))
    for path in (
        weights,
        adapter / "adapter_model-00002-of-00002.safetensors",
        adapter / "adapter_config.json",
        adapter / "tokenizer.json",
        base / "model.safetensors",
        base / "generation_config.json",
    ):
        changed(path)
        prints.append(fingerprint(str(adapter)))
    assert len(set(prints)) == len(prints)
    for path in adapter.glob("*.safetensors"):
        path.unlink()
    (adapter / "adapter_model.bin").write_bytes(b"weights")
    with pytest.raises(ValueError, match="has no adapter_model.safetensors: only weights in safetensors"):
        fingerprint(str(adapter))


def test_a_response_that_cannot_fit_is_an_error(saved_model):
    with pytest.raises(ValueError, match="64 positions: lower max_tokens to 61"):
        TransformersSampler(saved_model, device="cpu")([[5, 6, 7]], [0], Decoding(max_tokens=62))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"samples": 2}, "greedy"), ({"top_p": 0.0}, "top_p"), ({"max_tokens": 0}, "1 or more")],
)
def test_decoding_that_cannot_work(change, message):
    with pytest.raises(ValueError, match=message):
        Decoding(**change)


def test_vllm_gets_a_seed_for_each_response(rehearsal, tmp_path, monkeypatch):
    seen = []

    class LLM:
        def __init__(self, model, dtype, trust_remote_code):
            assert dtype == "float32"  # the checkpoint's, not what vLLM makes of "auto"
            self.sampler = TransformersSampler(model, device="cpu")

        def generate(self, prompts, params):
            seen.extend(params)
            ids = [p["prompt_token_ids"] for p in prompts]
            drawn = self.sampler(ids, [p.seed for p in params], HOW)
            return [SimpleNamespace(outputs=[SimpleNamespace(token_ids=tuple(row))]) for row in drawn]

    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SimpleNamespace
    monkeypatch.setitem(sys.modules, "vllm", module)
    rows = sample(tmp_path / "v.jsonl", rehearsal, IDS, PROMPTS, HOW, lambda: VLLMSampler(rehearsal), False)
    assert rows == run(tmp_path / "t.jsonl", rehearsal)
    assert len({p.seed for p in seen}) == 15
    assert {(p.temperature, p.top_p, p.max_tokens) for p in seen} == {(1.0, 0.9, 8)}
    assert all(AutoTokenizer.from_pretrained(rehearsal).eos_token_id in p.stop_token_ids for p in seen)


def test_without_vllm_the_error_names_the_fix(rehearsal, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ImportError, match=r"pip install -e .\[vllm\]"):
        VLLMSampler(rehearsal)


def test_settings_are_plain_json(rehearsal, tmp_path):
    run(tmp_path / "s.jsonl", rehearsal, backend="transformers")
    settings = json.loads((tmp_path / "s.settings.json").read_text())
    assert settings["samples"] == 3
    assert settings["backend"] == "transformers"
