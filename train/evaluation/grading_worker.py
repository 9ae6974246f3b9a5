r"""What a grading process does: compare answers by `rewards.answers`, one request after the other, without a time-out.

Run as a script by `grading`, which ends it when its time is up. Requests and replies are lines of JSON on stdin and
stdout; an error ends it.
"""

from __future__ import annotations

import json
import signal
import sys
import types
from pathlib import Path

# The package `rewards` loads torch, which takes seconds and memory in every worker; its folder alone does here.
_rewards = types.ModuleType("rewards")
_rewards.__path__ = [str(Path(__file__).resolve().parents[2] / "rewards")]
sys.modules["rewards"] = _rewards

from rewards.answers import equivalent, is_right  # noqa: E402 - the stand-in has to be there first


def main() -> None:
    """Answer requests until stdin is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    functions = {f.__name__: f for f in (equivalent, is_right)}
    equivalent(r"\frac{1}{2}", "0.5")  # what sympy loads late is loaded before the clock runs
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        name, arguments, seconds = json.loads(line)
        # Should the parent be killed, nobody stops a hung worker: the kernel then does, after this much CPU time.
        signal.setitimer(signal.ITIMER_PROF, seconds + 5)
        print(json.dumps(functions[name](*arguments)), flush=True)
        signal.setitimer(signal.ITIMER_PROF, 0)


if __name__ == "__main__":
    main()
