"""Tools, environments and rollout functions of a recipe, as TRL's trainers take them."""

from dataclasses import dataclass, field
from typing import Any

from rewards import get_reward

PATHS = "dotted paths such as my_package.my_module.name, or path/to/file.py:name"


@dataclass
class TurnArguments:
    """What answers the policy between its turns. The code that is named here runs in the training."""

    tools: list[str] | None = field(
        default=None,
        metadata={
            "help": f"Functions that the policy may call, as {PATHS}. Each needs type hints and a docstring with "
            "its arguments, from which the chat template tells the policy what it can call."
        },
    )
    environment_factory: str | None = field(
        default=None,
        metadata={"help": f"Class of an environment whose methods are tools and which has reset(), as {PATHS}."},
    )
    rollout_func: str | None = field(
        default=None,
        metadata={
            "help": f"Function that makes whole rollouts, as {PATHS}; its env_mask says which tokens are the policy's."
        },
    )

    def load(self) -> dict[str, Any]:
        """The arguments of that name of TRL's trainers; empty without any.

        Raises:
            ValueError: a name that cannot be found, or that cannot be called.
        """
        given: dict[str, Any] = {}
        if self.tools:
            given["tools"] = [named(name, "tools") for name in self.tools]
        for what in ("environment_factory", "rollout_func"):
            if name := getattr(self, what):
                given[what] = named(name, what)
        return given


def named(name: str, what: str) -> Any:
    """The function or class of a name, for the field `what`.

    Raises:
        ValueError: there is none, or it cannot be called.
    """
    if not any(sign in name for sign in (".", ":")):
        raise ValueError(f"{what}: {name!r} names no module. Give {PATHS}.")
    try:
        found = get_reward(name)  # which finds anything by a path
    except ValueError as error:
        raise ValueError(f"{what}: {str(error.__cause__ or error)}. Give {PATHS}.") from error
    if not callable(found):
        raise ValueError(f"{what}: {name} is a {type(found).__name__}, which cannot be called.")
    return found
