"""The blocked head statistics against torch's own logsumexp in double precision."""

import pytest
import torch

from rewards.frozen.lm_head import LogitRule, head_statistics


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("block", [(4096, 4096), (7, 13), (1, 1)])
@pytest.mark.parametrize("rule", [LogitRule(), LogitRule(scale=0.3), LogitRule(scale=2.0, cap=4.0)])
def test_equals_logsumexp(block, rule, bias):
    torch.manual_seed(0)
    states, weight, actions = torch.randn(20, 8), torch.randn(31, 8), torch.randint(31, (20,))
    b = torch.randn(31) if bias else None
    result = head_statistics(states, weight, b, actions, (1.0, 0.7, 2.0, 0.7), rule, block)
    logits = rule(states.double() @ weight.double().T + (b.double() if bias else 0.0))
    torch.testing.assert_close(result.q.double(), logits.gather(1, actions[:, None])[:, 0], atol=1e-5, rtol=0)
    assert set(result.log_z) == {1.0, 0.7, 2.0}
    for t, log_z in result.log_z.items():
        torch.testing.assert_close(log_z.double(), torch.logsumexp(logits / t, dim=1), atol=1e-5, rtol=1e-6)


def test_a_later_logit_that_is_much_higher_does_not_overflow():
    weight = torch.zeros(30, 1)
    weight[3], weight[25] = -200.0, 300.0  # the first block knows nothing of the logit of 300
    states = torch.tensor([[1.0], [-1.0], [0.0]])
    result = head_statistics(states, weight, None, torch.tensor([25, 3, 0]), (1.0, 0.5), LogitRule(), (2, 10))
    for t in (1.0, 0.5):
        torch.testing.assert_close(result.log_z[t], torch.logsumexp(states * weight.T / t, dim=1))
    assert result.log_probs(1.0).tolist() == pytest.approx([0.0, 0.0, -torch.log(torch.tensor(30.0)).item()])


@pytest.mark.parametrize("level", [-120.0, -103.0, -40.0, 40.0, 87.0, 120.0])
@pytest.mark.parametrize("temperatures", [(1.0,), (1.0, 0.1)])
def test_logits_of_any_level_are_summed_exactly(level, temperatures):
    torch.manual_seed(0)
    states, weight = torch.randn(9, 8), torch.randn(31, 8)
    bias = torch.full((31,), level)
    result = head_statistics(
        states, weight, bias, torch.zeros(9, dtype=torch.long), temperatures, LogitRule(), (4, 10)
    )
    logits = states.double() @ weight.double().T + level
    for t in temperatures:
        torch.testing.assert_close(result.log_z[t].double(), torch.logsumexp(logits / t, dim=1), atol=0, rtol=1e-6)


def test_one_state_in_half_precision_gives_full_precision_logits():
    states, weight = torch.randn(1, 64).bfloat16(), torch.randn(50, 64).bfloat16()
    result = head_statistics(states, weight, None, torch.tensor([7]), (1.0,), LogitRule())
    exact = states.double() @ weight.double().T
    assert result.q.item() == pytest.approx(exact[0, 7].item(), abs=1e-5)
    assert result.log_z[1.0].item() == pytest.approx(torch.logsumexp(exact, 1).item(), abs=1e-5)
