"""What a model is called, from its name or its folder, and logs whose texts hold odd line separators."""

import pytest

from train.evaluation.folders import model_name, read_run


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("run/model", "run_model"),
        ("run/final", "run_final"),
        ("run/checkpoint-100", "run_checkpoint-100"),
        ("run/global_step_20/model", "run_global_step_20_model"),
        ("run/merged_model", "run_merged_model"),
        ("outputs/7b-ppo", "7b-ppo"),
        ("outputs/basement", "basement"),
        ("hub/models--Qwen--Qwen2.5-Math-7B/snapshots/" + "0a" * 20, "Qwen2.5-Math-7B"),
    ],
)
def test_a_folder_that_says_nothing_is_called_with_the_one_above(tmp_path, monkeypatch, folder, name):
    (tmp_path / "runs" / folder).mkdir(parents=True)
    assert model_name(str(tmp_path / "runs" / folder)) == model_name(f"{tmp_path}/runs/{folder}/") == name
    monkeypatch.chdir(tmp_path / "runs" / folder)
    assert model_name(".") == name


def test_a_name_on_the_hub_is_called_by_its_end():
    assert model_name("Qwen/Qwen2.5-Math-7B") == "Qwen2.5-Math-7B"


def test_lines_end_at_line_ends_alone(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "note": "a\u2028b"}\n{"step": 2}\n', encoding="utf-8")
    assert [row["step"] for row in read_run(tmp_path).rows] == [1, 2]
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step"', encoding="utf-8")
    with pytest.raises(ValueError, match="metrics.jsonl, line 2 is no JSON"):
        read_run(tmp_path)
