"""The command lines of scaling, cost and speed tables, in seconds."""

import json
import subprocess

import pytest
import torch
from tiny_models import ROOT

from scripts import load_script


def script(name):
    module = load_script(name)
    return module


@pytest.fixture(autouse=True)
def small_presets(monkeypatch):
    sizes = {"tiny": (32, 64, 2, 2, 1), "small": (64, 128, 2, 2, 1), "0.5b": (96, 192, 2, 2, 1)}
    for name, size in sizes.items():
        monkeypatch.setitem(script("bench_scaling").PRESETS, name, size)


def scale(output, **changes):
    """Run the script on tiny shapes and return its exit status."""
    flags = {"preset": "tiny", "vocabulary": 300, "batch": 2, "prompt_tokens": 3, "response_tokens": 5, "repeats": 2}
    flags |= {"dtype": "float32", "lengths": [4, 5, 8], "batches": [1, 2, 3], "vocabularies": [200, 300, 400]}
    argv = ["--output", str(output), "--presets", "tiny", "small", "0.5b"]
    for name, value in (flags | changes).items():
        argv += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return script("bench_scaling").main(argv)


def test_scaling_writes_every_point_with_fits_and_a_figure(tmp_path, capsys):
    path = tmp_path / "new" / "scaling.json"
    scale(path)
    result = json.loads(path.read_text())
    assert result["kind"] == "scaling"
    assert set(result["axes"]) == {"response_tokens", "batch", "vocabulary", "preset"}
    assert len(result["points"]) == 9  # 12 on four axes, the centre once
    assert all(len(point["seconds"]) == 2 and sum(point["flops"].values()) > 0 for point in result["points"])
    assert result["axes"]["vocabulary"]["x"] == [200, 300, 400]
    assert 0 < result["axes"]["vocabulary"]["time"]["expected"] < 1
    assert path.with_suffix(".png").stat().st_size > 10_000
    assert "vocabulary" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="the memory of the process is counted without a GPU")
def test_scaling_fails_where_logits_of_all_states_exist(tmp_path, capsys, monkeypatch):
    def naive(self, prompts, responses):
        ids = torch.tensor([p + r for p, r in zip(prompts, responses)])
        with torch.no_grad():
            self._lm(ids, use_cache=False).logits.exp().sum()
        return []

    monkeypatch.setattr("rewards.FrozenBase.score", naive)
    wide = {"vocabulary": 20000, "vocabularies": [10000, 20000, 30000], "lengths": [32, 64, 128], "batch": 4}
    assert scale(tmp_path / "x.json", repeats=1, **wide) == 1
    assert "GROWS" in capsys.readouterr().out


def test_scaling_wants_three_values_along_every_axis(tmp_path, capsys):
    with pytest.raises(SystemExit):
        scale(tmp_path / "x.json", batches=[1, 2, 2])
    assert "three values along batch" in capsys.readouterr().err


@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
def test_cost_shows_arithmetic_and_says_that_speeds_are_assumed(algorithm, tmp_path, capsys):
    path = tmp_path / "cost.json"
    recipe = ROOT / "configs" / "math" / f"{algorithm}_qwen2.5_math_7b.yaml"
    script("estimate_cost").main(
        ["--config", str(recipe), "--preset", "7b", "--measured", str(tmp_path), "--output", str(path)]
    )
    result, text = json.loads(path.read_text()), capsys.readouterr().out
    assert result["kind"] == "cost"
    assert set(result["estimates"]) == {"8", "64"}
    assert result["estimates"]["64"]["gpu_hours"]["central"] > 1
    assert "ALL efficiencies below are assumptions" in text
    assert "PFLOP / (989 TFLOP/s x 0.40)" in text
    assert path.with_suffix(".md").read_text().strip() == text.strip()


def test_the_readme_has_the_table_that_the_results_give():
    assert script("bench_table").main(["--check"]) == 0


def scoring(ratio):
    times = {"median": 1.0, "least": 1.0, "most": 1.0}
    summary = {"ours": times | {"over ours": 1.0}, "limit": times | {"over ours": ratio}}
    return {"kind": "scoring", "command": "python x.py", "device": "d", "settings": {}, "summary": summary}


def test_the_table_is_rewritten_checked_and_compared(tmp_path, capsys):
    module, results, readme = script("bench_table"), tmp_path / "results", tmp_path / "README.md"
    results.mkdir()
    (last := tmp_path / "last").mkdir()
    readme.write_text("top\n<!-- speed:begin -->\n<!-- speed:end -->\nend\n")
    (results / "a.json").write_text(json.dumps(scoring(1.0)))
    (last / "a.json").write_text(json.dumps(scoring(1.02)))
    where = ["--results", str(results), "--readme", str(readme), "--against", str(last)]
    assert module.main([*where, "--check"]) == 1
    assert module.main(where) == 0
    assert module.main([*where, "--check"]) == 0
    assert "| 1.000 (1.000 to 1.000) | 1.00 |" in readme.read_text()
    (results / "a.json").write_text(json.dumps(scoring(0.9)))
    assert module.main(where) == 1
    assert "SLOWER  a.json: ours / limit" in capsys.readouterr().out


def test_the_last_results_may_be_those_of_a_commit(tmp_path, capsys):
    results = tmp_path / "results"
    results.mkdir()
    (results / "a.json").write_text(json.dumps(scoring(1.0)))
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    (results / "a.json").write_text(json.dumps(scoring(0.8)))
    (tmp_path / "README.md").write_text("<!-- speed:begin --><!-- speed:end -->")
    where = ["--results", str(results), "--readme", str(tmp_path / "README.md")]
    assert script("bench_table").main(where) == 1
    assert "1.000 -> 1.250 (+25.0%)" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no folder"):
        script("bench_table").main([*where, "--against", "no-such-commit"])
