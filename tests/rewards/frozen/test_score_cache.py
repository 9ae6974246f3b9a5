"""A cache on disk gives what a forward gives, makes none for what it holds, survives a kill and knows its model."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_models import tiny_model, tiny_tokenizer

from rewards import EndoRM
from rewards.frozen import score_cache
from rewards.frozen.score_cache import ScoreCache, file_hash, model_fingerprint

PROMPTS = [[5, 6, 7], [5, 6, 7], [8, 9], [5, 6, 7], [8, 9]]


RESPONSES = [[10, 11, 2], [12, 2], [10, 11, 2], [10, 11, 2], [13, 14, 15, 2]]  # rows 0 and 3 are the same


@pytest.fixture
def base(saved_model):
    return EndoRM.from_pretrained(saved_model, device="cpu").base


def no_base():
    raise AssertionError("the model was asked for")


def test_the_cache_gives_what_a_forward_gives_and_then_needs_no_model(saved_model, base, tmp_path):
    cache = ScoreCache(tmp_path, saved_model, alphas=(0.5, 2), part=1)
    cached = cache.score(lambda: base, PROMPTS, RESPONSES)
    assert len(cache) == 4
    plain = base.score(PROMPTS, RESPONSES, (0.5, 1.0, 2.0))
    again = ScoreCache(tmp_path, saved_model, alphas=(2, 0.5)).score(no_base, PROMPTS[::-1], RESPONSES[::-1])[::-1]
    for a, b, c in zip(plain, cached, again):
        for x, y, z in [(a.q, b.q, c.q), (a.log_probs, b.log_probs, c.log_probs)] + [
            (a.v[alpha], b.v[alpha], c.v[alpha]) for alpha in (0.5, 1.0, 2.0)
        ]:
            torch.testing.assert_close(x, y, atol=1e-4, rtol=0)
            assert torch.equal(y, z)
        assert b.vocab_size == a.vocab_size


def test_killed_and_restarted_it_goes_on(saved_model, base, tmp_path, monkeypatch):
    cache = ScoreCache(tmp_path, saved_model, part=1)
    score, calls = base.score, []

    def dies(prompts, *args, **kwargs):
        calls.append(len(prompts))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return score(prompts, *args, **kwargs)

    monkeypatch.setattr(base, "score", dies)
    with pytest.raises(KeyboardInterrupt):
        cache.score(lambda: base, PROMPTS, RESPONSES)
    (cache.folder / "part-00001.12345").write_bytes(b"half a file")
    again = ScoreCache(tmp_path, saved_model, part=1)
    assert len(again) == 2  # those of the first prompt
    again.score(lambda: base, PROMPTS, RESPONSES)
    assert calls == [2, 2, 2]
    assert len(ScoreCache(tmp_path, saved_model)) == 4


def test_two_processes_that_write_at_once_both_keep_their_scores(saved_model, base, tmp_path, monkeypatch):
    first, second, save = ScoreCache(tmp_path, saved_model), ScoreCache(tmp_path, saved_model), score_cache.save_file
    scores = base.score(PROMPTS, RESPONSES)

    def another_writes_meanwhile(*args):
        monkeypatch.setattr(score_cache, "save_file", save)
        with monkeypatch.context() as other:
            other.setattr(score_cache.os, "getpid", lambda: 7)
            second.keep(PROMPTS[2:], RESPONSES[2:], scores[2:])
        save(*args)

    monkeypatch.setattr(score_cache, "save_file", another_writes_meanwhile)
    first.keep(PROMPTS[:2], RESPONSES[:2], scores[:2])
    assert len(ScoreCache(tmp_path, saved_model)) == 4


def test_scores_made_elsewhere_are_kept_once(saved_model, base, tmp_path):
    cache = ScoreCache(tmp_path, saved_model)
    scores = base.score(PROMPTS, RESPONSES)
    cache.keep(PROMPTS[:3], RESPONSES[:3], scores[:3])
    cache.keep(PROMPTS, RESPONSES, scores)
    cache.keep(PROMPTS, RESPONSES, scores)
    parts = sorted(cache.folder.glob("part-*"))
    assert [len(load_file(path)["lengths"]) for path in parts] == [3, 1]
    again = ScoreCache(tmp_path, saved_model).score(no_base, PROMPTS, RESPONSES)
    assert all(torch.equal(a.q, b.q) and torch.equal(a.v[1.0], b.v[1.0]) for a, b in zip(again, scores, strict=True))


def test_other_models_alphas_and_dtypes_keep_apart(saved_model, base, tmp_path):
    ScoreCache(tmp_path / "cache", saved_model).score(lambda: base, PROMPTS, RESPONSES)
    other = tmp_path / "other"
    tiny_model(seed=1, initializer_range=0.2).save_pretrained(other)
    tiny_tokenizer().save_pretrained(other)
    assert model_fingerprint(str(other)) != model_fingerprint(saved_model)
    assert len(ScoreCache(tmp_path / "cache", str(other))) == 0
    assert len(ScoreCache(tmp_path / "cache", saved_model, alphas=(3,))) == 0
    assert len(ScoreCache(tmp_path / "cache", saved_model, dtype="bfloat16")) == 0
    assert len(ScoreCache(tmp_path / "cache", saved_model)) == 4


def with_one_element_changed(source, target, name):
    """A copy of a model folder in which one element of one tensor is another."""
    shutil.copytree(source, target)
    for file in target.glob("*.safetensors"):
        tensors = load_file(file)
        if name in tensors:
            tensors[name].view(-1)[tensors[name].numel() // 3] += 1
            save_file(tensors, file, {"format": "pt"})


def test_one_element_of_any_tensor_makes_another_fingerprint(saved_model, tmp_path):
    names = list(load_file(Path(saved_model) / "model.safetensors"))
    assert len(names) > 20
    prints = {model_fingerprint(saved_model)}
    for i, name in enumerate(names):
        with_one_element_changed(saved_model, tmp_path / str(i), name)
        prints.add(model_fingerprint(str(tmp_path / str(i))))
    assert len(prints) == len(names) + 1


def test_a_part_of_sharded_weights_counts_and_must_be_there(tmp_path):
    folder = tmp_path / "sharded"
    model = tiny_model()
    model.save_pretrained(folder, max_shard_size="20KB")
    parts = sorted(folder.glob("model-*.safetensors"))
    assert len(parts) > 2
    prints = {model_fingerprint(str(folder))}
    for i, part in enumerate(parts):
        with_one_element_changed(folder, tmp_path / str(i), list(load_file(part))[-1])
        prints.add(model_fingerprint(str(tmp_path / str(i))))
    assert len(prints) == len(parts) + 1
    parts[1].unlink()
    with pytest.raises(ValueError, match=rf"lacks 1 of the {len(parts)} files .* {parts[1].name} among them: copy"):
        model_fingerprint(str(folder))


def test_the_same_model_elsewhere_has_the_same_fingerprint(saved_model, tmp_path):
    shutil.copytree(saved_model, tmp_path / "copy")
    (tmp_path / "copy").rename(tmp_path / "moved")
    (tmp_path / "moved/README.md").write_text("read me")
    assert model_fingerprint(str(tmp_path / "moved")) == model_fingerprint(saved_model)


def test_config_code_and_an_adapter_beside_the_weights_count(saved_model, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(saved_model, folder)
    (folder / "modeling_own.py").write_text("x = 1")
    prints = [model_fingerprint(str(folder))]
    assert prints == [model_fingerprint(saved_model)]  # nothing runs code that the config does not name
    config = json.loads((folder / "config.json").read_text())
    for name, text in [
        ("config.json", json.dumps(config | {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}})),
        ("config.json", json.dumps(config | {"auto_map": {"AutoModelForCausalLM": "modeling_own.Own"}})),
        ("modeling_own.py", "x = 2"),
    ]:
        (folder / name).write_text(text)
        prints.append(model_fingerprint(str(folder)))
    get_peft_model(tiny_model(), LoraConfig(target_modules=["q_proj"])).save_pretrained(folder)
    prints.append(model_fingerprint(str(folder)))
    with_one_element_changed(folder, tmp_path / "other", next(iter(load_file(folder / "adapter_model.safetensors"))))
    prints.append(model_fingerprint(str(tmp_path / "other")))
    assert len(set(prints)) == len(prints)


def test_weights_in_other_files_are_an_error_that_says_so(saved_model, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(saved_model, folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"weights")
    with pytest.raises(
        ValueError, match="neither model.safetensors nor .* only weights in safetensors files are read"
    ):
        ScoreCache(tmp_path, str(folder))
    with pytest.raises(ValueError, match="has no config.json: name a whole model"):
        model_fingerprint(str(tmp_path))


def test_a_files_hash_is_its_sha256_also_as_the_hub_names_it(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4's own example
    assert file_hash(path) == known
    path.write_bytes(b"abd")  # in the same instant, with the same size
    assert file_hash(path) == hashlib.sha256(b"abd").hexdigest()
    blobs, snapshot = tmp_path / "models--a--b/blobs", tmp_path / "models--a--b/snapshots/0"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for name, expected in ((known, known), ("1" * 40, hashlib.sha256(b"no read").hexdigest())):
        (blobs / name).write_bytes(b"no read")
        (snapshot / name).symlink_to(blobs / name)
        assert file_hash(snapshot / name) == expected


def test_a_hub_model_has_the_fingerprint_of_its_copy_and_none_without_its_weights(saved_model, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    commit, repo = "a" * 40, tmp_path / "models--own--model"
    snapshot = repo / "snapshots" / commit
    for folder in (snapshot, repo / "blobs", repo / "refs"):
        folder.mkdir(parents=True)
    (repo / "refs/main").write_text(commit)

    def download(name, blob):
        shutil.copy(Path(saved_model) / name, repo / "blobs" / blob)
        (snapshot / name).symlink_to(repo / "blobs" / blob)

    download("config.json", "b" * 40)
    with pytest.raises(ValueError, match="own/model has neither model.safetensors nor .*HF_HUB_OFFLINE unset"):
        model_fingerprint("own/model")
    download("model.safetensors", hashlib.sha256((Path(saved_model) / "model.safetensors").read_bytes()).hexdigest())
    assert model_fingerprint("own/model") == model_fingerprint(saved_model)


def test_a_file_is_read_once_until_it_changes(tmp_path, monkeypatch):
    read = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, name: read.append(file.name) or digest(file, name))
    monkeypatch.setattr(score_cache, "FRESH", -1e18)  # as if every file were old
    path = tmp_path / "file"
    for content in (b"abc", b"abcd"):
        path.write_bytes(content)
        assert [file_hash(path) for _ in range(3)] == [hashlib.sha256(content).hexdigest()] * 3
    assert len(read) == 2


def test_a_cache_of_the_former_format_is_not_read(saved_model, base, tmp_path, monkeypatch):
    monkeypatch.setattr(score_cache, "FORMAT", 1)
    ScoreCache(tmp_path, saved_model).score(lambda: base, PROMPTS, RESPONSES)
    monkeypatch.undo()
    assert len(ScoreCache(tmp_path, saved_model)) == 0


def test_a_folder_that_was_renamed_onto_another_model_is_refused(saved_model, tmp_path):
    cache = ScoreCache(tmp_path, saved_model)
    facts = json.loads((cache.folder / "cache.json").read_text())
    (cache.folder / "cache.json").write_text(json.dumps(facts | {"model": "another", "name": "b/c"}))
    with pytest.raises(ValueError, match="was made with another model"):
        ScoreCache(tmp_path, saved_model)
