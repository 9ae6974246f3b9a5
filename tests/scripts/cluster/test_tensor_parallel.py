"""Over how many GPUs a model can be spread."""

import json

import pytest

from scripts import load_script

module = load_script("tensor_parallel")


@pytest.mark.parametrize(
    "heads, kv_heads, gpus, sizes",
    [
        (28, 4, 8, [1, 2, 4]),  # Qwen2.5-7B; 7 divides 28, but 4 key-value heads cannot be shared by 7
        (12, 2, 8, [1, 2, 4, 6]),  # Qwen2.5-1.5B; each of 6 has a copy of one of the 2
        (32, 8, 8, [1, 2, 4, 8]),
        (14, 2, 8, [1, 2]),  # Qwen2.5-0.5B
        (7, 7, 3, [1]),
    ],
)
def test_sizes_that_divide_the_heads(heads, kv_heads, gpus, sizes):
    assert module.possible_sizes(heads, kv_heads, gpus) == sizes


@pytest.fixture
def model(tmp_path):
    config = {"model_type": "qwen2", "num_attention_heads": 28, "num_key_value_heads": 4, "hidden_size": 56}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return str(tmp_path)


def test_the_largest_is_chosen_and_idle_gpus_are_named(model, capsys):
    module.main([model, "8"])
    out, err = capsys.readouterr()
    assert out == "4\n"
    assert "the server uses 4, and 4 are idle" in err
    module.main([model, "2"])
    assert capsys.readouterr() == ("2\n", "")


def test_one_that_was_asked_for_is_checked(model, capsys):
    module.main([model, "4", "--exactly"])
    with pytest.raises(SystemExit):
        module.main([model, "8", "--exactly"])
    assert "give --tensor-parallel-size 1 or 2 or 4" in capsys.readouterr().err


def test_an_unknown_model_is_left_to_vllm(tmp_path, capsys):
    module.main([str(tmp_path / "nothing"), "8"])
    out, err = capsys.readouterr()
    assert out == "8\n"
    assert "not known here" in err
