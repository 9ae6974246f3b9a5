"""PPO's mathematics against loops written out by hand, and its invariances."""

import math

import pytest
import torch

from train.ppo_math import (
    explained_variance,
    gae,
    kl_k1,
    kl_k3,
    moments,
    repetition_rate,
    value_loss,
    whiten,
)


def ragged(lengths, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(len(lengths), width)
    for row, n in enumerate(lengths):
        mask[row, :n] = 1
    return mask, *(torch.randn(len(lengths), width, generator=generator) for _ in range(2))


@pytest.mark.parametrize("gamma,lam", [(1.0, 1.0), (1.0, 0.95), (0.9, 0.5), (0.99, 0.0), (0.0, 0.0)])
def test_gae_equals_the_backward_recursion(gamma, lam):
    lengths = [5, 1, 3, 0]
    mask, rewards, values = ragged(lengths, 6)
    last = torch.tensor([0.0, 2.0, -1.0, 3.0])
    advantages, returns = gae(rewards, values, last, mask, gamma, lam)
    for row, n in enumerate(lengths):
        running = 0.0
        for t in reversed(range(n)):
            following = values[row, t + 1] if t + 1 < n else last[row]
            running = rewards[row, t] + gamma * following - values[row, t] + gamma * lam * running
            assert float(advantages[row, t]) == pytest.approx(float(running), abs=1e-5)
            assert float(returns[row, t]) == pytest.approx(float(running + values[row, t]), abs=1e-5)
        assert not advantages[row, n:].any()
        assert not returns[row, n:].any()


def test_gae_is_blind_to_what_lies_in_the_padding():
    mask, rewards, values = ragged([4, 2], 6)
    last = torch.zeros(2)
    clean = gae(rewards * mask, values * mask, last, mask, 0.9, 0.9)
    dirty = gae(rewards * mask + 7 * (1 - mask), values * mask + 9 * (1 - mask), last, mask, 0.9, 0.9)
    torch.testing.assert_close(clean, dirty)


def test_a_potential_changes_no_advantage():
    """Rewards shaped by V(s) - V(s') with a critic that knows V: the Q - V form has log-probs' own advantages."""
    mask, log_probs, baseline = ragged([5, 3], 5)
    v = torch.randn(2, 6) * 10
    v[0, 5], v[1, 3] = 0.0, 0.0  # after the end
    shaped = log_probs + v[:, :5] - v[:, 1:]
    plain, _ = gae(log_probs, baseline, torch.zeros(2), mask, 1.0, 0.95)
    with_v, _ = gae(shaped, baseline + v[:, :5], torch.zeros(2), mask, 1.0, 0.95)
    torch.testing.assert_close(plain, with_v, atol=1e-4, rtol=1e-4)


def test_whitening():
    mask, x, _ = ragged([5, 3, 4], 6)
    white, std = whiten(x, mask, floor=1e-3)
    inside = white[mask.bool()]
    assert float(inside.mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(inside.std(unbiased=False)) == pytest.approx(1.0, abs=1e-5)
    assert not white[~mask.bool()].any()
    assert float(std) == pytest.approx(float(x[mask.bool()].std(unbiased=False)), abs=1e-6)


def test_whitening_does_not_blow_up_noise():
    mask = torch.ones(2, 3)
    noise = torch.tensor([[1.0, 1.001, 0.999], [1.0, 1.0, 1.0]])
    assert whiten(noise, mask, floor=0.1)[0].abs().max() < 0.02
    assert whiten(noise, mask, floor=1e-9)[0].abs().max() > 1.0
    equal, std = whiten(torch.full((2, 3), 4.2), mask, floor=0.1)
    assert equal.abs().max() < 1e-4
    assert float(std) < 1e-5


def test_moments_are_the_same_for_any_split_over_processes():
    mask, x, _ = ragged([5, 3, 4, 1], 6)
    whole = moments(x, mask)
    parts = [(x[:1], mask[:1]), (x[1:], mask[1:])]

    # each "process" sees its own part; the sum over both is what every one of them gets
    sums = [torch.stack([m.sum(), (p * m).sum()]) for p, m in parts]
    mean = sum(sums)[1] / sum(sums)[0]
    squares = sum((((p - mean) * m) ** 2).sum() for p, m in parts)
    answers = iter([sum(sums), squares])
    torch.testing.assert_close(moments(*parts[0], lambda _: next(answers)), whole)


def test_kl_estimators():
    torch.manual_seed(0)
    p, q = torch.randn(2, 7).log_softmax(-1)
    actions = torch.distributions.Categorical(logits=p).sample((200_000,))
    exact = float((p.exp() * (p - q)).sum())
    k1, k3 = kl_k1(p[actions], q[actions]), kl_k3(p[actions], q[actions])
    assert float(k1.mean()) == pytest.approx(exact, abs=0.02)
    assert float(k3.mean()) == pytest.approx(exact, abs=0.02)
    assert float(k3.min()) >= 0
    assert not kl_k3(p, p).any()


def test_value_loss_is_the_larger_of_clipped_and_unclipped():
    values = torch.tensor([1.0, 3.0, -2.0, 0.1])
    old, returns = torch.zeros(4), torch.tensor([2.0, 4.0, -1.0, 0.0])
    loss, clipped = value_loss(values, old, returns, 0.5)
    assert loss.tolist() == pytest.approx([0.5 * 1.5**2, 0.5 * 3.5**2, 0.5, 0.5 * 0.01])
    assert clipped.tolist() == [1.0, 1.0, 0.0, 0.0]
    assert value_loss(values, old, returns, None)[0].tolist() == pytest.approx([0.5, 0.5, 0.5, 0.005])


def test_explained_variance():
    mask, returns, noise = ragged([5, 4], 6)
    assert float(explained_variance(returns, returns, mask)) == pytest.approx(1.0)
    assert float(explained_variance(torch.zeros_like(returns), returns, mask)) == pytest.approx(0.0, abs=1e-6)
    assert float(explained_variance(noise, torch.ones_like(returns), mask)) == 0.0  # no variance to explain


def test_repetition_rate_equals_counting():
    torch.manual_seed(0)
    lengths = [30, 12, 3, 4, 0, 25]
    mask, _, _ = ragged(lengths, 30)
    ids = torch.randint(0, 3, (6, 30))
    ids[5] = 7  # one token over and over
    rates = repetition_rate(ids, mask, n=4)
    for row, n in enumerate(lengths):
        grams = [tuple(ids[row, i : i + 4].tolist()) for i in range(n - 3)]
        expected = 1 - len(set(grams)) / len(grams) if grams else 0.0
        assert float(rates[row]) == pytest.approx(expected, abs=1e-6)
    assert math.isclose(float(rates[5]), 21 / 22, rel_tol=1e-6)
    assert repetition_rate(ids[:, :3], mask[:, :3]).tolist() == [0.0] * 6
