"""Every rival gives the numbers of a plain float64 computation, and one that cannot run here says why."""

import math

import pytest
import scoring_rivals
import torch
from scoring_rivals import deviation, exact, rivals
from tiny_models import tiny_model, tiny_tokenizer

from scripts import published_loop

LENGTHS = [(5, 9), (3, 1), (7, 17), (5, 2)]  # ragged, and one response of a single token
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def batch():
    draw = torch.Generator().manual_seed(0)
    ids = [torch.randint(97, (p + r,), generator=draw).tolist() for p, r in LENGTHS]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = [x[:p] for x, (p, _) in zip(ids, LENGTHS)], [x[p:] for x, (p, _) in zip(ids, LENGTHS)]
    return tiny_model().to(device), *rows


@pytest.fixture(scope="module")
def expected(batch):
    """One token at a time, from logits in fp32 that are summed in float64."""
    model, prompts, responses = batch
    found = {"rewards": [], "log-probs": [], "sums of rewards": []}
    for p, r in zip(prompts, responses):
        with torch.no_grad():
            logits = model(torch.tensor([p + r], device=model.device)).logits[0].double().cpu()
        q = torch.stack([logits[len(p) - 1 + h, a] for h, a in enumerate(r)])
        v = torch.stack([logits[len(p) - 1 + h].exp().sum().log() for h in range(len(r) + 1)])
        found["log-probs"].append(q - v[:-1])
        v[-1] = math.log(logits.shape[-1])
        found["rewards"].append(q - v[1:])
        found["sums of rewards"].append((q - v[1:]).sum())
    return found


@pytest.mark.parametrize(
    "name",
    [
        *("ours", "apart", "naive", "per_response_loop", "trl_fused_head", "cut_cross_entropy", "liger"),
        *("products", "limit", "blocked_limit", "bf16_autocast", "bf16_weights"),
    ],
)
def test_gives_the_numbers_of_a_plain_computation(name, batch, expected):
    found, absent = rivals(*batch, share_prompts=True, bf16=True)
    if name in absent:
        pytest.skip(f"{name} {absent[name]}")
    given = found[name].run()
    if found[name].gives == "nothing":
        assert given is None
        return
    assert [torch.as_tensor(x).numel() for x in given] == [
        torch.as_tensor(x).numel() for x in expected[found[name].gives]
    ]
    off = deviation([torch.as_tensor(x).cpu() for x in given], expected[found[name].gives])
    assert 1e-4 < off < 1.0 if name.startswith("bf16") else off < 1e-4


def test_the_loop_is_the_published_one():
    """With the published loop's own tokens: no end token, discount 0.95."""
    seed_reward = published_loop()
    model, tokenizer = tiny_model(), tiny_tokenizer()
    texts = [("What is 2+2?", "It is 4, I think."), ("Hi", "Hello")]
    prompts, responses = ([tokenizer(text)["input_ids"] for text in side] for side in zip(*texts))
    given = scoring_rivals.per_response_loop(model, prompts, responses, discount=0.95)
    assert given == pytest.approx([seed_reward(model, tokenizer, p, r) for p, r in texts], abs=1e-4)


@pytest.mark.parametrize("discount, floor", [(0.9, 0.0), (0.5, 0.2)])
def test_the_loop_discounts_down_to_the_floor(discount, floor, batch, expected):
    given = scoring_rivals.per_response_loop(*batch, discount, floor)
    for total, rewards in zip(given, expected["rewards"], strict=True):
        weights = [max(discount**h, floor) for h in range(len(rewards))]
        assert total == pytest.approx(sum(w * float(r) for w, r in zip(weights, rewards)), abs=1e-4)


def test_float64_agrees_with_the_plain_computation_and_beyond(batch, expected):
    found = exact(*batch)
    assert all(x.dtype == torch.float64 for rows in found.values() for x in rows)
    for name, rows in found.items():
        assert deviation([x.cpu() for x in rows], expected[name]) < 1e-4
    doubled = rivals(batch[0].double(), *batch[1:])[0]["trl_fused_head"].run()
    batch[0].float()
    assert deviation(doubled, [x[:] for x in found["log-probs"]]) < 1e-4


def test_those_that_cannot_run_say_why(batch, monkeypatch):
    found, absent = rivals(*batch)
    assert "pip install" in absent.get("cut_cross_entropy", "pip install")
    if not torch.cuda.is_available():
        assert absent["liger"] == "needs a GPU"
    assert not set(found) & set(absent)
    monkeypatch.setattr(scoring_rivals.importlib.util, "find_spec", lambda name: None)
    assert rivals(*batch)[1]["cut_cross_entropy"] == "not installed: pip install 'endorm[bench]'"


@pytest.mark.parametrize("with_lse", [True, False])
def test_cut_cross_entropy_with_and_without_return_lse(with_lse, batch, expected, monkeypatch):
    """Both interfaces that the package has had, by a stand-in with plain logits."""

    def old(e, c, targets, reduction, impl):
        assert (reduction, impl) == ("none", "cce" if e.is_cuda else "torch_compile")
        return torch.nn.functional.cross_entropy(e @ c.T, targets, reduction=reduction)

    def new(e, c, targets, reduction, impl, return_lse=False):
        return old(e, c, targets, reduction, impl), (e @ c.T).logsumexp(dim=1)

    package = type("package", (), {"linear_cross_entropy": staticmethod(new if with_lse else old)})
    monkeypatch.setitem(__import__("sys").modules, "cut_cross_entropy", package)
    given = scoring_rivals.cut_cross_entropy(*batch)
    assert deviation([x.cpu() for x in given], expected["rewards"]) < 1e-4
