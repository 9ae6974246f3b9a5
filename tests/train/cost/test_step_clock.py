"""Seconds and passes of a step, on a clock that goes as the test says, and bytes counted tensor by tensor."""

from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_models import tiny_model
from torch import nn

from train.cost import step_clock
from train.cost.step_clock import GENERATION, StepClock, model_bytes


@pytest.fixture
def now(monkeypatch):
    """The time, which nothing moves but the test."""
    time = [100.0]
    monkeypatch.setattr(StepClock, "now", staticmethod(lambda: time[0]))
    return time


def owner(now, **seconds):
    """Something with a method a phase, each of which takes its seconds and gives back its arguments."""

    def takes(duration):
        def method(*args, **kwargs):
            now[0] += duration
            return args, kwargs

        return method

    return SimpleNamespace(**{name: takes(s) for name, s in seconds.items()})


class Network(nn.Module):
    """Reads all that it is given, and gives it back."""

    def __init__(self):
        super().__init__()
        self.embeddings = nn.Identity()

    def get_input_embeddings(self):
        return self.embeddings

    def forward(self, ids):
        return self.embeddings(ids)


def step(clock, number):
    clock.on_step_end(None, SimpleNamespace(global_step=number), None)


def test_seconds_and_passes_are_means_over_the_rollouts_after_the_warm_up(now):
    clock, made, network = StepClock(updates=2, warm_up=2), owner(now, generate=8, forward=1), Network()
    clock.time(made, "generate", GENERATION)
    clock.time(made, "forward", "critic")
    clock.count(network, "policy")
    for rollout, (calls, rest) in enumerate([(9, 500), (7, 300), (1, 4), (3, 2), (2, 6)]):
        made.generate()
        for _ in range(calls):
            made.forward()
            network(torch.zeros(4, 6))
        step(clock, 2 * rollout + 1)
        now[0] += rest
        step(clock, 2 * rollout + 2)
    made.forward()  # what comes after the last step is nobody's
    network(torch.zeros(4, 1))
    assert clock.results(responses=8) == {
        "seconds": {GENERATION: 8, "critic": 2, "whole": 14},
        "rollout_seconds": [13, 13, 16],
        "samples_per_second": round(8 / 14, 2),
        "passes": {"policy": 2 * 4 / 8},
        "tokens_read": {"policy": 2 * 4 * 6 / 8},
    }


def test_a_rollout_that_was_not_finished_does_not_count(now):
    clock, made = StepClock(updates=3, warm_up=0), owner(now, generate=1)
    clock.time(made, "generate", GENERATION)
    clock.on_train_begin(None, SimpleNamespace(global_step=0), None)  # without a warm-up it starts here
    for number in range(1, 9):
        made.generate()
        step(clock, number)
    assert clock.results(1)["rollout_seconds"] == [3, 3]
    assert clock.results(1)["seconds"] == {GENERATION: 3, "whole": 3}


def test_without_a_timed_rollout_there_is_no_result(now):
    clock = StepClock(updates=4, warm_up=1)
    for number in range(1, 8):
        step(clock, number)
    with pytest.raises(ValueError, match="No rollout was timed: train for at least 8 steps"):
        clock.results(1)
    step(clock, 8)
    now[0] += 1
    assert len(clock.rollouts) == 1


def test_a_phase_may_depend_on_arguments_and_on_what_runs(now):
    clock, made = StepClock(1), owner(now, score=2, forward=1)
    inner = made.forward
    made.rollout = lambda: (made.forward("a"), made.forward("b"), made.score())
    clock.time(made, "forward", lambda x: {"a": "first", "b": None}[x])
    clock.time(made, "score", "scoring", during="rollout")
    clock.time(made, "rollout", "rollout")
    made.score()  # outside of a rollout
    made.rollout()
    assert clock.seconds == {"first": 1, "scoring": 2, "rollout": 4}
    assert made.forward("a") == inner("a")
    assert made.score(1, x=2) == ((1,), {"x": 2})


def test_an_error_ends_its_phase(now):
    clock, made = StepClock(1), owner(now)

    def fails():
        now[0] += 3
        raise RuntimeError("out of memory")

    made.generate = fails
    clock.time(made, "generate", GENERATION)
    with pytest.raises(RuntimeError, match="out of memory"):
        made.generate()
    assert clock.seconds == {GENERATION: 3}
    network = Network()
    clock.count(network, "policy")
    network(torch.zeros(5, 1))  # generation is over, so this one counts
    assert clock.rows == {"policy": 5}


def test_rows_are_counted_outside_of_generation_and_apart_with_the_adapter_off():
    clock, made, ids = StepClock(1), SimpleNamespace(), torch.ones(3, 2, dtype=torch.long)
    model = get_peft_model(tiny_model(), LoraConfig(r=1, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    clock.count(model, "policy")
    made.generate = lambda: model(input_ids=ids)
    clock.time(made, "generate", GENERATION)
    with torch.no_grad():
        model(input_ids=ids)
        made.generate()
        model(ids[:1])  # by position
        with model.disable_adapter():
            model(input_ids=ids[:2])
        model(input_ids=ids[:2])
    assert clock.rows == {"policy": 3 + 1 + 2, "policy, adapter off": 2}
    assert clock.tokens == {"policy": 12, "policy, adapter off": 4}


def test_time_is_read_once_the_device_is_done(monkeypatch):
    order = []
    monkeypatch.setattr(step_clock, "synchronize", lambda: order.append("device"))
    monkeypatch.setattr(step_clock, "perf_counter", lambda: order.append("clock") or 5.0)
    assert StepClock.now() == 5.0
    assert order == ["device", "clock"]


def stepped(optimizer):
    for group in optimizer.param_groups:
        for p in group["params"]:
            p.grad = torch.ones_like(p)
    optimizer.step()
    return optimizer


@pytest.mark.parametrize(
    "make, copies, extra",
    [
        (lambda p: torch.optim.SGD(p, lr=0.1), 0, 0),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), 1, 0),
        (lambda p: torch.optim.AdamW(p), 2, 4),  # two moments, and a step in fp32 for each tensor
        (lambda p: torch.optim.AdamW(p, amsgrad=True), 3, 4),
    ],
)
def test_bytes_by_hand(make, copies, extra):
    trained, frozen = nn.Linear(5, 3), nn.Linear(7, 2, dtype=torch.bfloat16)
    both = nn.ModuleList([trained, frozen])
    optimizer = make(trained.parameters())
    assert model_bytes([both], [optimizer])["optimizer"] == 0  # as it stands: no step was taken
    found = model_bytes([both, trained], iter([stepped(optimizer)]))  # the shared weights count once
    trained_bytes, frozen_bytes = 4 * (5 * 3 + 3), 2 * (7 * 2 + 2)
    state = copies * trained_bytes + 2 * extra
    assert found == {
        "weights": trained_bytes + frozen_bytes,
        "gradients": trained_bytes,
        "optimizer": state,
        "all": 2 * trained_bytes + frozen_bytes + state,
    }


def test_tied_weights_count_once():
    tied, untied = (tiny_model(tie_word_embeddings=tie) for tie in (True, False))
    head = untied.get_output_embeddings().weight
    sizes = [model_bytes([model], [])["weights"] for model in (tied, untied)]
    assert sizes[1] - sizes[0] == head.numel() * 4
