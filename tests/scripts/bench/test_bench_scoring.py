"""The scoring benchmark: every rival in one run, in JSON, a table and a figure."""

import json

import pytest
import torch
from speed_tables import tables
from tiny_models import tiny_model, tiny_tokenizer

from scripts import load_script

FLAGS = ["--preset", "tiny", "--vocab_size", "512", "--batch", "3", "--prompt_tokens", "12", "--repeats", "2"]


@pytest.fixture
def script():
    module = load_script("bench_scoring")
    return module


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-4), ("bfloat16", 0.02)])
def test_all_rivals_at_mixed_lengths(script, dtype, tolerance, tmp_path, capsys):
    output = tmp_path / "new" / "scoring.json"
    script.main([*FLAGS, "--response_tokens", "3:20", "--dtype", dtype, "--output", str(output)])
    result = json.loads(output.read_text())
    everyone = {"ours", "limit", "blocked_limit", "naive", "per_response_loop", "trl_fused_head"}
    everyone |= {"products", "cut_cross_entropy", "liger"}
    assert set(result["seconds"]) | set(result["unavailable"]) == everyone
    assert not set(result["seconds"]) & set(result["unavailable"])
    assert result["settings"]["response_tokens"] == "3:20"
    assert 9 <= result["response_tokens"] <= 60
    assert result["summary"]["ours"]["over ours"] == 1
    for name, row in result["summary"].items():
        assert 0 < row["least"] <= row["median"] <= row["most"]
        assert result["tokens_per_second"][name] == pytest.approx(result["response_tokens"] / row["median"], abs=1)
        assert name in result["extra_memory_mib"]
    assert tables({"scoring.json": result}).count("not measured") == len(result["unavailable"])
    deviations = result["largest_deviation_nats"]
    assert set(deviations) == set(result["seconds"]) - {"products", "limit", "blocked_limit"}
    for name in ("ours", "naive", "trl_fused_head"):
        assert 0 < deviations[name] < tolerance, name
    assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    table = capsys.readouterr().out
    assert all(name in table for name in everyone)


def test_one_prompt_for_all_spares_backbone_tokens(script, tmp_path):
    output = tmp_path / "shared.json"
    script.main(
        [
            *FLAGS,
            "--prompt_tokens",
            "40",
            "--response_tokens",
            "5",
            "--responses_per_prompt",
            "3",
            "--output",
            str(output),
        ]
    )
    result = json.loads(output.read_text())
    assert result["settings"]["response_tokens"] == 5
    assert {"ours", "apart"} <= set(result["seconds"])
    assert result["backbone_tokens"] == {"ours": 40 + 3 * 5, "apart": 3 * 45}


@pytest.mark.parametrize("text", ["0", "9:3", "a", ":5", "3:4:5"])
def test_a_bad_range_is_refused(script, text):
    with pytest.raises(SystemExit):
        script.main([*FLAGS, "--response_tokens", text])


def test_the_gpu_is_chosen_where_there_is_one(script):
    with pytest.raises(SystemExit):
        script.main(["--device", "cuda" if torch.cuda.is_available() else "cpu"])


@pytest.mark.parametrize(("name", "n"), [("chat", 16), ("demo", 5), ("chat", 1)])
def test_named_lengths_are_evenly_spaced_in_their_distribution(script, name, n):
    quantiles = script.token_range(name)
    lengths = script.lengths_of(quantiles, n, torch.Generator())
    assert lengths == sorted(lengths)
    assert quantiles[0] <= lengths[0] <= lengths[-1] <= quantiles[-1]
    if n == 16:  # each lies in the middle of a sixteenth
        assert lengths == pytest.approx([(a + b) / 2 for a, b in zip(quantiles, quantiles[1:])], abs=0.5)


def test_a_model_with_weights_of_its_own_and_bf16(script, tmp_path):
    tiny_model("llama", max_position_embeddings=1024).save_pretrained(tmp_path / "m")
    tiny_tokenizer().save_pretrained(tmp_path / "m")
    output = tmp_path / "own.json"
    flags = ["--model", str(tmp_path / "m"), "--batch", "2", "--repeats", "1", "--response_tokens", "demo", "--bf16"]
    script.main([*flags, "--output", str(output)])
    result = json.loads(output.read_text())
    assert (result["settings"]["preset"], result["settings"]["vocab_size"]) == ("m", 97)
    off = result["largest_deviation_nats"]
    assert off["ours"] < 1e-4 < off["bf16_autocast"] < 1.0
    assert "| [m, 2 x (64 + demo)]" in tables({"own.json": result})
