"""The command line that makes a rehearsal model: no file is needed, and a missing one is named."""

import pytest
from transformers import AutoModelForCausalLM

from scripts import load_script

script = load_script("make_rehearsal_model")


def test_command_line_needs_no_text_file(tmp_path, capsys):
    script.main(["--output", str(tmp_path / "out"), "--vocab_size", "320", "--hidden_size", "16", "--layers", "1"])
    assert "vocabulary of 320" in capsys.readouterr().out
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").config.hidden_size == 16


def test_command_line_names_a_missing_file(tmp_path, capsys):
    with pytest.raises(SystemExit):
        script.main(["--output", str(tmp_path / "out"), "--text", str(tmp_path / "absent.jsonl")])
    assert "absent.jsonl does not exist" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
