"""Known exponents come back from synthetic data, and a narrower vocabulary is the same model's."""

import pytest
import torch
from scaling_fits import (
    Point,
    bytes_a_logit,
    draw,
    narrow_vocabulary,
    scoring_bytes,
    scoring_flops,
    summarise,
)
from tiny_models import tiny_model

from rewards import FrozenBase
from train.cost.memory import shape_of
from train.cost.shapes import preset_config
from train.cost.stopwatch import MIB

SHAPE = shape_of(preset_config("tiny", 1000))


def rows(axis, values, seconds=lambda x: 1.0, mib=lambda x: 1.0):
    at = {"preset": "tiny", "vocabulary": 1000, "batch": 4, "response_tokens": 256, "weights": 0}
    key = "weights" if axis == "preset" else axis
    made = []
    for i, x in enumerate(values):
        noise = 1 + 0.02 * (-1) ** i
        times = [seconds(x) * noise * k for k in (0.9, 1.0, 5.0)]
        flops = {"backbone": 3 * x, "attention": 0, "head": 2 * x}
        made.append(at | {key: x, "seconds": times, "flops": flops, "extra_mib": mib(x), "counted_mib": x**0.5})
    return made


@pytest.mark.parametrize("axis", ["response_tokens", "batch", "vocabulary", "preset"])
@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_known_exponents_are_recovered_within_their_intervals(axis, exponent):
    found = summarise(axis, rows(axis, [1, 2, 4, 8, 16, 32], lambda x: 0.01 * x**exponent, lambda x: 3 * x**0.7))
    low, high = found["time"]["ci95"]
    assert low < exponent < high
    assert found["time"]["exponent"] == pytest.approx(exponent, abs=0.02)
    assert found["time"]["expected"] == pytest.approx(1.0)
    assert found["memory"]["exponent"] == pytest.approx(0.7)
    assert found["memory"]["expected"] == pytest.approx(0.5)


def test_memory_that_the_system_does_not_tell_is_left_out(tmp_path):
    found = summarise("batch", rows("batch", [1, 2, 4], mib=lambda x: None))
    assert found["memory"] is None
    draw({"batch": found}, tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 5000


@pytest.mark.parametrize("logit_bytes", [0.0, 4.0])
def test_logits_in_memory_are_told_from_what_tokens_need(logit_bytes):
    points = [(n, v) for n in (64, 128, 256, 512) for v in (32768, 65536, 131072)]
    made = []
    for n, v in points:
        counted = 0.02 * n
        mib = 5 + 1.5 * counted + logit_bytes * 4 * (n + 1) * v / MIB + 0.1 * (-1) ** len(made)
        made.append({"batch": 4, "response_tokens": n, "vocabulary": v, "extra_mib": mib, "counted_mib": counted})
    found = bytes_a_logit(made)
    low, high = found["ci95"]
    assert low < logit_bytes < high
    assert found["slope"] == pytest.approx(logit_bytes, abs=0.01)
    assert found["measured over counted"] == pytest.approx(1.5, abs=0.1)


def test_work_is_linear_in_the_batch_and_a_little_more_in_length():
    flops = {
        (b, n): sum(scoring_flops(SHAPE, Point("tiny", 1000, b, n), 64).values()) for b in (1, 2) for n in (256, 512)
    }
    assert flops[2, 256] == 2 * flops[1, 256]
    assert flops[1, 512] > 512 / 320 * flops[1, 256]


def test_the_bytes_that_must_be_stop_growing_at_the_forwards_budget():
    def counted(batch, vocabulary=1000):
        shape = shape_of(preset_config("tiny", vocabulary))
        return scoring_bytes(shape, Point("tiny", vocabulary, batch, 192), 64, 4, 1024, "cpu")

    assert counted(4) == 4 * counted(1)
    assert counted(400) == counted(4)
    assert counted(4, 100000) == counted(4, 50000)


def test_a_narrower_vocabulary_is_the_same_model_with_fewer_logits():
    model = tiny_model()
    before = model.lm_head.weight.clone()
    narrow = narrow_vocabulary(model, 50)
    prompts, responses = [[3, 4, 5], [6]], [[7, 8, 9], [10, 11]]
    wide, cut = FrozenBase(model).score(prompts, responses), FrozenBase(narrow).score(prompts, responses)
    ids = torch.tensor([[3, 4, 5, 7, 8, 9]])
    with torch.no_grad():
        logits = model(ids).logits[0, 2:, :50]
    torch.testing.assert_close(cut[0].v[1.0], torch.logsumexp(logits, -1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(cut[0].q, wide[0].q)
    assert cut[0].vocab_size == 50
    assert wide[0].vocab_size == len(model.lm_head.weight) == 97
    assert narrow.lm_head.weight.data_ptr() == model.lm_head.weight.data_ptr()
    assert torch.equal(before, model.lm_head.weight)
