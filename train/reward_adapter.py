"""One interface for rewards that judge a response by one number, and those that judge each of its tokens or turns."""

import torch
from torch import Tensor, nn
from trl.trainer.utils import get_callable_name, is_async_callable

from rewards.steps import turns


class TokenReward:
    """A reward function whose per-token lists are kept in `rows`, while TRL sees (and logs) their sums.

    Args:
        func: a reward function of TRL. For each response it may return a number (in any unit), a list or tensor of
            one number per token, or None where it does not apply.
        dense: ask for token rewards (`func.per_token`) where the function has both.

    A list may have numbers on tokens that are not the policy's (see the column `own_tokens`); these do not count. Of a
    function with the attribute `per_turn = True` a list has one number a turn, which goes on the turn's last own
    token. A turn is what the policy wrote between two parts by a tool or an environment.

    Raises (when called):
        ValueError: NaN or infinite rewards, which TRL would take for "does not apply".
    """

    def __init__(self, func, dense: bool):
        self.func, self.__name__ = func, get_callable_name(func)
        self._call = func.per_token if dense and hasattr(func, "per_token") else func
        self.rows: list = []
        self._per_turn = bool(getattr(func, "per_turn", False))

    def __call__(self, **kwargs) -> list[float | None]:
        own = kwargs.get("own_tokens")
        self.rows = [r if r is None else torch.as_tensor(r, dtype=torch.float32) for r in self._call(**kwargs)]
        given = [row.reshape(-1) for row in self.rows if row is not None]
        if given and not bool(torch.cat(given).isfinite().all()):
            i = next(i for i, row in enumerate(self.rows) if row is not None and not bool(row.isfinite().all()))
            raise ValueError(
                f"Reward {self.__name__!r} returned {self.rows[i].tolist()} for response {i}: return finite numbers, "
                "or None where the reward does not apply."
            )
        if own is not None and not self._per_turn:
            self.rows = [
                r if r is None or r.ndim == 0 or len(r) != len(mask) else r * torch.as_tensor(mask, dtype=r.dtype)
                for r, mask in zip(self.rows, own)
            ]
        return [r if r is None else r.sum().item() for r in self.rows]

    @property
    def per_token(self) -> bool:
        """Whether the last call gave token rewards for any response."""
        return any(row is not None and row.ndim > 0 for row in self.rows)

    def token_rows(self, own: list[Tensor]) -> list[Tensor]:
        """The last call's rewards as one (T_i,) tensor per response, NaN on tokens that are not the policy's and where
        the reward does not apply. A number goes on the last own token.

        Args:
            own: (T_i,) bool a response, true on the policy's own tokens.

        Raises:
            ValueError: a list of another length than its response.
        """
        rows = []
        for row, mask in zip(self.rows, own):
            if row is None:
                row = torch.full(mask.shape, torch.nan)
            elif row.ndim == 0:
                row = torch.zeros(mask.shape).index_fill(0, mask.nonzero()[-1:, 0], float(row))
            elif self._per_turn:
                row = self._on_turns(row, mask)
            if len(row) != len(mask):
                raise ValueError(
                    f"Reward {self.__name__!r} returned {len(row)} token rewards for a response of {len(mask)} "
                    "tokens: return one per token of completion_ids, or one number."
                )
            rows.append(row.masked_fill(~mask, torch.nan))
        return rows

    def _on_turns(self, row: Tensor, own: Tensor) -> Tensor:
        """(T,): each turn's reward on the last of its own tokens."""
        numbers = turns(own)
        count = int(numbers[-1]) + 1
        if len(row) != count:
            raise ValueError(
                f"Reward {self.__name__!r} returned {len(row)} turn rewards for a response of {count} turns: return "
                "one for each turn of the policy's own (column own_tokens), or one number."
            )
        last = numbers.diff(append=numbers[-1:] + 1).bool()
        return torch.zeros(own.shape).index_copy(0, own.nonzero()[:, 0][last], row)


def wrap_rewards(funcs: list, dense: bool) -> list:
    """Wrap what is a plain function; models, names of models and async functions stay with TRL."""
    plain = [callable(f) and not isinstance(f, nn.Module) and not is_async_callable(f) for f in funcs]
    return [TokenReward(f, dense) if p else f for f, p in zip(funcs, plain)]
