"""What is sent to vLLM and what comes back, with a stand-in for it; colocate and server mode, LoRA, ZeRO-3."""

import json
import math

import pytest
import torch
from helpers import grpo, history, ppo, trained
from launching import launch_script
from peft import LoraConfig
from tiny_models import ROOT, tiny_model, tiny_tokenizer
from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer import grpo_trainer
from vllm_stand_in import Engine, put_in_place

from train.generation.vllm_engine import compute_dtype

EOS = [2, 4]  # the tokenizer's, and one that only the recipe or the model's generation config knows


@pytest.fixture
def engine(saved_model, monkeypatch):
    engine = Engine(saved_model)
    put_in_place(engine, monkeypatch.setattr)
    return engine


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [ppo, grpo])
@pytest.mark.parametrize("mode", ["server", "colocate"])
def test_training_is_the_same_as_with_transformers_own_generation(algorithm, mode, engine, saved_model, tmp_path):
    """Greedy responses, so that both make the same ones: then reward, loss, KL and weights are the same too."""
    settings = {"top_k": 1, "max_steps": 4, "whiten_floor": 0.1} if algorithm is ppo else {"top_k": 1, "max_steps": 4}
    vllm = {"use_vllm": True, "vllm_mode": mode, "vllm_enable_sleep_mode": mode == "colocate"}
    vllm["vllm_importance_sampling_correction"] = False  # which does not go with top_k
    plain = trained(algorithm(saved_model, tmp_path / "plain", **settings))
    ours = trained(algorithm(saved_model, tmp_path / "vllm", **settings, **vllm))
    for key in ("reward", "loss", "kl/k1", "entropy", "grad_norm"):
        assert history(ours, key) == pytest.approx(history(plain, key), abs=2e-4)
    # weights are sent once a rollout (and once more after a sleep), those of the moment
    assert all(set(sync) == set(engine.syncs[0]) for sync in engine.syncs)
    first, last = engine.syncs[0], engine.syncs[-1]
    base = dict(tiny_named(saved_model))
    assert all(torch.equal(first[name], base[name]) for name in first)
    assert any(not torch.equal(first[name], last[name]) for name in first)
    request = engine.requests[0]
    assert (request["temperature"], request["max_tokens"], request["logprobs"], request["top_k"]) == (1.0, 6, 0, 1)
    assert request["stop_token_ids"] == ours.eos_token_ids
    assert request["n"] == (4 if mode == "server" and algorithm is grpo else 1)
    texts = {tuple(p) for r in engine.requests for p in r["prompts"]}
    assert texts <= {tuple(tiny_tokenizer()(row["prompt"])["input_ids"]) for row in ours.train_dataset}


def tiny_named(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder).named_parameters()


def test_a_recipes_end_token_stops_vllm(engine, saved_model, tmp_path):
    """The checkpoint declares <eos> only; the recipe's chat prompts end with another token."""
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = "<|im_end|>"
    trainer = ppo(
        saved_model,
        tmp_path,
        trainer_kwargs={"processing_class": tokenizer},
        use_vllm=True,
        vllm_mode="server",
        generation_kwargs={"seed": 7},
    )
    trainer.train()
    assert set(EOS) == set(engine.requests[0]["stop_token_ids"])
    assert engine.requests[0]["seed"] == 7


@pytest.mark.slow
@pytest.mark.parametrize("algorithm,mode", [(ppo, "server"), (grpo, "colocate")])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_without_a_cut_the_ratio_is_one(algorithm, mode, temperature, engine, saved_model, tmp_path):
    """Both divide by the temperature, so the correction changes nothing: same rollouts, same gradients."""
    settings = {"use_vllm": True, "vllm_mode": mode, "temperature": temperature}
    ours = trained(algorithm(saved_model, tmp_path / "a", **settings))
    off = trained(algorithm(saved_model, tmp_path / "b", vllm_importance_sampling_correction=False, **settings))
    assert history(ours, "sampling/sampling_logp_difference/max") == pytest.approx([0], abs=1e-5)
    assert history(ours, "sampling/importance_sampling_ratio/min") == pytest.approx([1], abs=1e-4)
    assert history(ours, "reward") == history(off, "reward")
    assert history(ours, "grad_norm") == pytest.approx(history(off, "grad_norm"), rel=1e-3)
    assert min(history(ours, "grad_norm")) > 1e-3


@pytest.mark.parametrize("how", [{"top_k": 3}, {"top_p": 0.3}, {"min_p": 0.5}, {}])
def test_the_stand_ins_log_probs_are_those_after_a_cut(how, saved_model):
    """As vLLM's: each kept token's share of what is kept, at the temperature asked for."""
    torch.manual_seed(0)
    engine, prompt, temperature = Engine(saved_model), [5, 6, 7], 0.7
    ids, log_probs = engine.answer(prompt, 1, 6, [4], temperature=temperature, **({"top_k": 0} | how))[0]
    for i, token in enumerate(ids):
        with torch.no_grad():
            logits = engine.model(torch.tensor([prompt + ids[:i]])).logits[0, -1].tolist()
        p = sorted((math.exp(x / temperature) for x in logits), reverse=True)
        total, kept = sum(p), len(p)
        if "top_k" in how:
            kept = how["top_k"]
        elif "top_p" in how:
            kept = next(n for n in range(1, len(p) + 1) if sum(p[:n]) >= how["top_p"] * total)
        elif "min_p" in how:
            kept = sum(x >= how["min_p"] * p[0] for x in p)
        assert (kept < len(p)) == bool(how)
        assert log_probs[i] == pytest.approx(logits[token] / temperature - math.log(sum(p[:kept])), abs=1e-4)


def test_a_cut_would_take_the_gradient_away(engine, saved_model, tmp_path, monkeypatch):
    """Why it is refused. Greedy by top_k, vLLM's log-probs are 0 and the ratio is the response's probability."""
    monkeypatch.setattr("train.grpo_trainer.check_vllm", lambda *_: None)
    settings = {"use_vllm": True, "vllm_mode": "server", "top_k": 1, "max_steps": 1}
    ours = trained(grpo(saved_model, tmp_path / "a", **settings))
    model, limit = Engine(saved_model).model, ours.max_completion_length
    totals, lengths = [], []
    for prompt in engine.requests[0]["prompts"]:
        row, total = list(prompt), 0.0
        while len(row) < len(prompt) + limit and (len(row) == len(prompt) or row[-1] not in ours.eos_token_ids):
            with torch.no_grad():
                best = model(torch.tensor([row])).logits[0, -1].double().log_softmax(-1).max(-1)
            total, row = total + float(best.values), [*row, int(best.indices)]
        totals.append(total)
        lengths.append(len(row) - len(prompt))
    difference = history(ours, "sampling/sampling_logp_difference/mean")
    assert difference == pytest.approx([-sum(totals) / sum(lengths)], rel=1e-3)
    ratio = sum(math.exp(t) for t in totals) / len(totals)
    assert history(ours, "sampling/importance_sampling_ratio/mean") == pytest.approx([ratio], rel=1e-3)
    assert ratio < 0.5


def test_the_trainers_refuse_a_cut(engine, saved_model, tmp_path):
    for algorithm in (ppo, grpo):
        with pytest.raises(ValueError, match="use_vllm with top_p: 0.9: .*Leave them out"):
            algorithm(saved_model, tmp_path, use_vllm=True, vllm_mode="server", top_p=0.9)


@pytest.mark.slow
def test_the_gap_between_vllm_and_the_trainer_is_logged_and_corrected(engine, saved_model, tmp_path):
    engine.gap = 0.1
    settings = {"use_vllm": True, "vllm_mode": "server", "max_steps": 1, "optim": "sgd"}
    ours = trained(ppo(saved_model, tmp_path / "a", vllm_importance_sampling_mode="token_truncate", **settings))
    assert history(ours, "sampling/sampling_logp_difference/mean") == pytest.approx([0.1], abs=1e-4)
    assert history(ours, "sampling/importance_sampling_ratio/mean") == pytest.approx([math.exp(0.1)], rel=1e-3)
    off = trained(ppo(saved_model, tmp_path / "b", vllm_importance_sampling_correction=False, **settings))
    assert history(off, "sampling/importance_sampling_ratio/mean") == []
    # the same rollout, each token's loss times the ratio
    assert history(ours, "reward") == pytest.approx(history(off, "reward"))
    assert history(ours, "grad_norm") == pytest.approx(
        [math.exp(0.1) * x for x in history(off, "grad_norm")], rel=1e-3
    )


@pytest.mark.slow
def test_sending_a_merged_adapter_leaves_the_frozen_base_as_it_was(engine, tmp_path):
    """In bf16 merging and taking out again is not exact; the frozen base is these weights."""
    folder = tmp_path / "bf16"
    tiny_model(initializer_range=0.2).to(torch.bfloat16).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    engine.model.to(torch.bfloat16)
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    settings = {"use_vllm": True, "vllm_mode": "server", "max_steps": 4, "bf16": True}
    settings["model_init_kwargs"] = {"dtype": "bfloat16"}
    trainer = ppo(str(folder), tmp_path / "run", trainer_kwargs={"peft_config": lora}, **settings)
    before = {n: p.detach().clone() for n, p in trainer.model.named_parameters() if "lora_" not in n}
    layer = trainer.model.base_model.model.model.layers[0].mlp.up_proj
    delta = layer.get_delta_weight("default").detach()
    trainer.train()
    after = dict(trainer.model.named_parameters())
    assert [n for n in before if not torch.equal(before[n], after[n])] == []
    sent = engine.syncs[0]["model.layers.0.mlp.up_proj.weight"]
    base = before["base_model.model.model.layers.0.mlp.up_proj.base_layer.weight"]
    torch.testing.assert_close(sent, (base + delta).bfloat16(), atol=2e-3, rtol=0.02)
    assert not any("lora" in name for name in engine.syncs[0])
    # and it would not have been so by itself
    trainer.model.merge_adapter()
    trainer.model.unmerge_adapter()
    assert not torch.equal(layer.base_layer.weight, base)


@pytest.mark.slow
def test_zero3_sends_whole_weights(saved_model, tmp_path):
    data = tmp_path / "prompts.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"{i}+{i}="}) + "\n" for i in range(32)))
    record = tmp_path / "record.json"
    fields = {
        "model_name_or_path": saved_model,
        "dataset_name": data,
        "prompt_format": "text",
        "max_steps": 3,
        "use_vllm": True,
        "vllm_mode": "server",
        "use_cpu": True,
        "bf16": False,
        "dtype": "float32",
        "frozen_dtype": "float32",
        "eos_token": "<|im_end|>",
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "steps_per_generation": 1,
        "max_completion_length": 6,
        "learning_rate": 1e-2,
        "report_to": "none",
    }
    stand_in = [str(ROOT / "tests/support/vllm_stand_in.py"), saved_model, str(record)]
    config = ["--config_file", "configs/accelerate/cpu_zero3.yaml"]
    recipe = "configs/math/ppo_qwen2.5_math_7b.yaml"
    launch_script([*stand_in, "train/ppo_endorm.py"], recipe, tmp_path / "run", config, **fields)
    sent = json.loads(record.read_text())
    whole = {name: list(p.shape) for name, p in tiny_named(saved_model)}
    assert sent["shapes"] == [whole] * 3
    sums = {name: float(p.double().sum()) for name, p in tiny_named(saved_model)}
    assert sent["sums"][0] == pytest.approx(sums, abs=1e-4)
    assert sent["sums"][2] != pytest.approx(sums, abs=1e-4)
    assert all(len(r["prompts"]) == 4 for r in sent["requests"])  # of both processes
    assert set(sent["requests"][0]["stop_token_ids"]) == set(EOS)


@pytest.mark.parametrize("bf16,dtype,given", [(False, "float32", "float32"), (True, "float32", "bfloat16")])
def test_vllm_computes_in_the_trainers_dtype(bf16, dtype, given, engine, saved_model, tmp_path):
    """By itself it would read the checkpoint's, and make half precision of fp32."""
    settings = {"use_vllm": True, "vllm_mode": "colocate", "bf16": bf16, "model_init_kwargs": {"dtype": dtype}}
    grpo(saved_model, tmp_path, **settings)
    assert (engine.settings["dtype"], engine.settings["enforce_eager"]) == (given, True)


def test_the_weights_dtype_counts_without_autocast():
    model = tiny_model().to(torch.bfloat16)
    assert compute_dtype(model, "no") == "bfloat16"
    assert compute_dtype(model.float(), "no") == "float32"
    assert compute_dtype(model, "fp16") == "float16"


def test_a_server_in_another_dtype_is_warned_of(engine, saved_model, tmp_path, caplog):
    grpo(saved_model, tmp_path, use_vllm=True, vllm_mode="server")
    assert caplog.text == ""
    engine.model.to(torch.bfloat16)
    grpo(saved_model, tmp_path, use_vllm=True, vllm_mode="server")
    assert "start the server with --dtype float32" in caplog.text


def test_trls_own_trainers_keep_trls_own_backend(engine, saved_model, tmp_path):
    grpo(saved_model, tmp_path, use_vllm=True, vllm_mode="server")
    assert grpo_trainer.VLLMGeneration is VLLMGeneration
