"""The mathematics of PPO as pure functions.

Shapes: B responses, padded on the right to T tokens; masks are 1 on tokens that count. Rewards, values, returns and KL
are in nats. GAE: Schulman et al., arXiv 1506.02438, eq. 16. PPO: Schulman et al., arXiv 1707.06347, eq. 7. KL
estimators: J. Schulman, "Approximating KL divergence" (2020).
"""

import torch
from torch import Tensor


def gae(
    rewards: Tensor, values: Tensor, last_values: Tensor, mask: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates and the returns that a critic learns.

    A mask may have holes, where tokens are not the policy's: the others are then consecutive steps.

    Args:
        rewards, values, mask: (B, T). Values are of the state before each token.
        last_values: (B,) value of the state after the last token of the mask; 0 where the response ends there.
        gamma: discount a token.
        lam: the lambda of GAE; 1 is Monte Carlo, 0 is one-step TD.

    Returns:
        advantages (B, T) and returns (B, T) = advantages + values, both 0 outside the mask.
    """
    own = mask.bool()
    order = (~own).int().argsort(dim=1, stable=True)  # a row's own tokens first, one after the other
    rewards, own_values, dense = (x.gather(1, order) for x in (rewards, values, mask))
    lengths = dense.sum(dim=1).long()
    rows, T = torch.arange(len(mask), device=mask.device), mask.shape[1]
    next_values = torch.cat([own_values[:, 1:], torch.zeros_like(own_values[:, :1])], dim=1)
    some = lengths > 0
    next_values[rows[some], lengths[some] - 1] = last_values[some].to(next_values)
    delta = (rewards + gamma * next_values - own_values) * dense
    # A_t = sum_{k >= t} (gamma lam)^(k-t) delta_k: a product with a triangular Toeplitz matrix, no loop over tokens
    steps = torch.arange(T, device=mask.device)
    distance = steps[:, None] - steps[None, :]
    decay = torch.where(distance >= 0, (gamma * lam) ** distance.clamp(min=0).to(delta.dtype), 0.0)
    advantages = torch.zeros_like(delta).scatter(1, order, delta @ decay) * mask
    return advantages, (advantages + values) * mask


def moments(x: Tensor, mask: Tensor, reduce_sum=lambda t: t) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and variance (population) of masked entries, over all processes if `reduce_sum` adds them up.

    Returns three scalars; mean and variance are 0 where nothing counts.
    """
    n, total = reduce_sum(torch.stack([mask.sum().to(x.dtype), (x * mask).sum()]))
    mean = total / n.clamp(min=1)
    variance = reduce_sum((((x - mean) * mask) ** 2).sum()) / n.clamp(min=1)
    return n, mean, variance


def whiten(x: Tensor, mask: Tensor, floor: float, reduce_sum=lambda t: t) -> tuple[Tensor, Tensor]:
    """(x - mean) / max(std, floor) on the mask, 0 elsewhere; and the std before the floor, a scalar.

    Without a floor a policy that has become nearly deterministic gets its last noise blown up to unit size, and its
    accuracy and reward fall together late in training.
    """
    _, mean, variance = moments(x, mask, reduce_sum)
    std = variance.sqrt()
    return (x - mean) / std.clamp(min=floor) * mask, std


def kl_k1(log_probs: Tensor, ref_log_probs: Tensor) -> Tensor:
    """log pi - log ref at sampled tokens: unbiased for KL(pi || ref), can be negative. Any shape, nats."""
    return log_probs - ref_log_probs


def kl_k3(log_probs: Tensor, ref_log_probs: Tensor) -> Tensor:
    """ref/pi - 1 - log(ref/pi) at sampled tokens: unbiased for KL(pi || ref), never negative. Any shape, nats."""
    log_ratio = ref_log_probs - log_probs
    return log_ratio.exp() - 1 - log_ratio


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip_range: float | None) -> tuple[Tensor, Tensor]:
    """Clipped squared error of a critic: 0.5 * max((v - R)^2, (clip(v) - R)^2), clip(v) within clip_range of old v.

    Args:
        values, old_values, returns: (N,).
        clip_range: in nats; None for the plain squared error.

    Returns:
        losses (N,), and 1.0 where the clip was active, (N,).
    """
    error = (values - returns) ** 2
    if clip_range is None:
        return 0.5 * error, torch.zeros_like(error)
    clipped = (old_values + (values - old_values).clamp(-clip_range, clip_range) - returns) ** 2
    return 0.5 * torch.maximum(error, clipped), (clipped > error).to(error.dtype)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor, reduce_sum=lambda t: t) -> Tensor:
    """1 - Var(returns - values) / Var(returns): 1 is a perfect critic, 0 one that knows only the mean. A scalar."""
    variance = moments(returns, mask, reduce_sum)[2]
    residual = moments(returns - values, mask, reduce_sum)[2]
    return torch.where(variance > 0, 1 - residual / torch.where(variance > 0, variance, 1.0), 0.0)


def repetition_rate(ids: Tensor, mask: Tensor, n: int = 4) -> Tensor:
    """Share of a response's n-grams that occurred in it before, (B,) in [0, 1]; 0 for fewer than n tokens.

    Args:
        ids, mask: (B, T) token ids, padded on the right.
    """
    if ids.shape[1] < n + 1:
        return torch.zeros(len(ids), device=ids.device)
    grams = ids.unfold(1, n, 1)  # (B, T-n+1, n)
    factors = torch.tensor([1_000_003**k for k in range(n)], device=ids.device)
    keys = (grams * factors).sum(-1)  # a 64-bit hash of each n-gram
    real = mask[:, n - 1 :].bool()
    # places outside the response get keys of their own, so that they repeat nothing
    own = -1 - torch.arange(keys.shape[1], device=ids.device)
    keys = torch.where(real, keys, own).sort(dim=1).values
    repeats = (keys[:, 1:] == keys[:, :-1]).sum(dim=1)
    return repeats / real.sum(dim=1).clamp(min=1)
