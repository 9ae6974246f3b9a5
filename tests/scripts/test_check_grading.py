"""The check of the grader runs on a file of one's own, and would show what it refuses."""

import json

import pytest

from scripts import load_script


@pytest.mark.slow
@pytest.mark.parametrize("ids", [True, False])
def test_a_file_by_name(ids, tmp_path, capsys):
    rows = [{"problem": f"{i}+{i}?", "answer": str(2 * i), "solution": rf"It is \boxed{{{2 * i}}}."} for i in range(5)]
    if ids:
        rows = [{"id": f"sum/{i}", **row} for i, row in enumerate(rows)]
    file = tmp_path / "sums.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = tmp_path / "report.json"
    arguments = ["--benchmarks", f"mine={file}", "--pairs", "30", "--hostile", "5", "--workers", "1"]
    load_script("check_grading").main([*arguments, "--output", str(output)])
    report = json.loads(output.read_text())["benchmarks"]["mine"]
    assert report["problems"] == 5
    assert report["reward and evaluation differ"] == []
    assert {form: report[form] for form in report["refused"]} == dict.fromkeys(report["refused"], 1.0)
    assert ("solution" in report["refused"]) is ids
    assert "mine: reward and evaluation differ on 0 of 30" in capsys.readouterr().out
