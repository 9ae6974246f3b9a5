"""A merged adapter is the adapted model, as one plain model."""

import pytest
import torch
from helpers import ppo, trained
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts import load_script


@pytest.fixture(scope="module")
def script():
    module = load_script("merge_adapter")
    return module


def test_merged_logits_are_the_adapted_ones(script, saved_model, tmp_path):
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    trainer = trained(ppo(saved_model, tmp_path / "run", trainer_kwargs={"peft_config": lora}, max_steps=1))
    trainer.save_model()
    script.main(["--adapter", str(tmp_path / "run"), "--output", str(tmp_path / "merged")])
    ids = torch.tensor([[5, 6, 7, 8]])
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    with torch.no_grad():
        torch.testing.assert_close(merged(ids).logits, trainer.model.eval()(ids).logits, atol=1e-4, rtol=1e-4)
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").chat_template


def test_a_folder_without_an_adapter(script, saved_model, tmp_path, capsys):
    with pytest.raises(SystemExit):
        script.main(["--adapter", saved_model, "--output", str(tmp_path)])
    assert "holds no adapter" in capsys.readouterr().err
