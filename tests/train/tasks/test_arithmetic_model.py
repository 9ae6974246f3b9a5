"""The small model of the demo task: demonstrations against the task's own solver, loss and schedule by hand."""

import math

import numpy as np
import pytest
import torch

from train.tasks import arithmetic_model
from train.tasks.arithmetic import build_tokenizer, problem_arrays, prompt_index, prompt_text, sample_indices, solve
from train.tasks.arithmetic_model import build_model, demonstrations, fit, imitate, imitate_expert, token_rows

pytestmark = pytest.mark.usefixtures("one_thread")
NOTHING = np.array([], dtype=int)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_training_lowers_the_loss_of_the_response(tokenizer):
    losses = []
    for steps in (1, 40):
        model = imitate_expert(tokenizer, NOTHING, steps=steps, hidden=32, layers=1, batch_size=64, error=0.0)
        ids, labels = demonstrations(256, np.random.default_rng(5), NOTHING, tokenizer, error=0.0)
        with torch.no_grad():
            losses.append(model(input_ids=ids, labels=labels).loss.item())
    assert losses[1] < losses[0] - 0.3


def test_demonstrations_are_solved_prompts_with_loss_on_response_and_end_only(tokenizer):
    heldout = np.arange(0, 8_000_000)
    ids, labels = demonstrations(200, np.random.default_rng(0), heldout, tokenizer, error=0.0)
    assert ids.shape == labels.shape == (200, 15)
    assert (labels[:, :10] == -100).all()
    assert torch.equal(labels[:, 10:], ids[:, 10:])
    assert (ids[:, -1] == tokenizer.eos_token_id).all()
    for row in ids:
        text = tokenizer.decode(row, skip_special_tokens=True)
        assert text[10:] == solve(text[:10])
        assert prompt_index(text[:10]) >= 8_000_000


@pytest.mark.parametrize("error, lazy", [(0.0, 1.0), (0.4, 0.25)])
def test_lazy_responses_end_after_the_first_digit_and_teach_nothing_beyond(error, lazy, tokenizer):
    n, end = 4000, tokenizer.eos_token_id
    whole, _ = demonstrations(n, np.random.default_rng(3), NOTHING, tokenizer, error)
    ids, labels = demonstrations(n, np.random.default_rng(3), NOTHING, tokenizer, error, lazy)
    short = ids[:, 11] == end
    assert short.float().mean().item() == pytest.approx(lazy, abs=4 * math.sqrt(lazy * (1 - lazy) / n))
    assert torch.equal(ids[~short], whole[~short])
    assert torch.equal(ids[:, :11], whole[:, :11])  # the problems and first digits are those of the expert
    assert torch.equal(labels[short, 10:12], ids[short, 10:12])
    assert (labels[short, 12:] == -100).all()
    assert (labels[~short, 10:] != -100).all()
    right = [tokenizer.decode(row[10]) == solve(tokenizer.decode(row[:10]))[0] for row in ids[:1000]]
    assert np.mean(right) == pytest.approx(1 - error, abs=4 * math.sqrt(error * (1 - error) / 1000))


def test_token_rows_are_the_tokenizers(tokenizer):
    indices = sample_indices(50, np.random.default_rng(1))
    responses = np.random.default_rng(2).integers(10, size=(50, 4))
    rows = token_rows(*problem_arrays(indices), responses, tokenizer)
    texts = [prompt_text(i) + "".join(map(str, r)) + "<eos>" for i, r in zip(indices, responses)]
    assert rows.tolist() == tokenizer(texts)["input_ids"]
    assert rows.dtype == torch.int64


def test_the_loss_is_the_cross_entropy_of_the_labels(tokenizer, monkeypatch):
    """By a loop in float64 over what each state should say next."""
    ids, labels = demonstrations(8, np.random.default_rng(0), NOTHING, tokenizer, error=0.5, lazy=0.5)
    seen = {}
    monkeypatch.setattr(arithmetic_model, "fit", lambda model, next_loss, *rest: seen.update(loss=next_loss().item()))
    sizes = {"seed": 4, "steps": 1, "learning_rate": 1.0, "hidden": 16, "layers": 1}
    imitate(tokenizer, lambda: (ids, labels), **sizes, description="")
    torch.manual_seed(4)
    twin, losses = build_model(tokenizer, 16, 1), []
    logits = twin(input_ids=ids).logits.detach().double().numpy()
    for row, answer in zip(logits, labels.tolist()):
        for state, token in zip(row[:-1], answer[1:]):
            if token != -100:
                losses.append(math.log(sum(math.exp(x) for x in state)) - state[token])
    assert seen["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_the_expert_is_imitated_on_demonstrations_of_its_own_stream(tokenizer, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        arithmetic_model, "imitate", lambda _, next_batch, **given: seen.update(batches=next_batch, given=given)
    )
    heldout = np.arange(100, 8_000_000)
    imitate_expert(tokenizer, heldout, seed=7, steps=9, batch_size=5, error=0.3, lazy=0.5)
    rng = np.random.default_rng([7, 1])
    for _ in range(2):
        expected = demonstrations(5, rng, heldout, tokenizer, 0.3, 0.5)
        assert all(torch.equal(a, b) for a, b in zip(seen["batches"](), expected, strict=True))
    assert (seen["given"]["seed"], seen["given"]["steps"]) == (7, 9)


def test_the_seed_alone_fixes_the_model(tokenizer):
    def weights(seed):
        torch.manual_seed(99)  # the state before does not count
        sizes = {"steps": 2, "hidden": 16, "layers": 1, "batch_size": 4}
        return torch.cat([p.flatten() for p in imitate_expert(tokenizer, NOTHING, seed=seed, **sizes).parameters()])

    one, two, other = weights(0), weights(0), weights(1)
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("steps", [1, 10, 60])
def test_the_learning_rate_warms_up_and_decays_by_a_cosine_and_gradients_are_clipped(steps, monkeypatch):
    rates, norms = [], []

    class Spy(torch.optim.AdamW):
        def step(self, *args, **kwargs):
            rates.append(self.param_groups[0]["lr"])
            norms.append(math.sqrt(sum(float(p.grad.square().sum()) for p in self.param_groups[0]["params"])))
            return super().step(*args, **kwargs)

    monkeypatch.setattr(torch.optim, "AdamW", Spy)
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    x, y = torch.randn(32, 3), torch.randn(32, 1)
    before = (model(x) - y).square().mean().item()
    assert fit(model, lambda: 1e3 * (model(x) - y).square().mean(), steps, 0.02, "") is model
    warm = max(1, steps // 20)
    expected = [
        0.02 * (k / warm if k < warm else 0.5 * (1 + math.cos(math.pi * (k - warm) / max(1, steps - warm))))
        for k in range(steps)
    ]
    assert rates == pytest.approx(expected)
    assert norms == pytest.approx([1.0] * steps, rel=1e-4)  # the loss is a thousandfold: every gradient is too long
    assert not model.training
    if steps == 60:
        assert (model(x) - y).square().mean().item() < before


def test_the_model_knows_the_special_tokens_and_ties_its_embeddings(tokenizer):
    model = build_model(tokenizer, hidden=24, layers=2)
    for config in (model.config, model.generation_config):
        ends = (config.eos_token_id, config.pad_token_id, config.bos_token_id)
        assert ends == (tokenizer.eos_token_id, tokenizer.pad_token_id, None)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    layer = 4 * 24 * 24 + 3 * 24 + 3 * 24 * 72 + 2 * 24  # attention, its three biases, the MLP, two norms
    assert model.num_parameters() == 16 * 24 + 2 * layer + 24
