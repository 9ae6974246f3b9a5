"""The benchmark of scaling on tiny shapes, in seconds."""

import json

import pytest
import torch

from scripts import load_script


@pytest.fixture(autouse=True)
def small_presets(monkeypatch):
    sizes = {"tiny": (32, 64, 2, 2, 1), "small": (64, 128, 2, 2, 1), "0.5b": (96, 192, 2, 2, 1)}
    for name, size in sizes.items():
        monkeypatch.setitem(load_script("bench_scaling").PRESETS, name, size)


def scale(output, **changes):
    """Run the script on tiny shapes and return its exit status."""
    flags = {"preset": "tiny", "vocabulary": 300, "batch": 2, "prompt_tokens": 3, "response_tokens": 5, "repeats": 2}
    flags |= {"dtype": "float32", "lengths": [4, 5, 8], "batches": [1, 2, 3], "vocabularies": [200, 300, 400]}
    argv = ["--output", str(output), "--presets", "tiny", "small", "0.5b"]
    for name, value in (flags | changes).items():
        argv += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return load_script("bench_scaling").main(argv)


@pytest.mark.slow
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


@pytest.mark.slow
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
