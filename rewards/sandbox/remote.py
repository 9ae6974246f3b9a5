"""Programs run by another machine, which has a sandbox of its own."""

from __future__ import annotations

import requests

from rewards.sandbox.bubblewrap import Outcome


class RemoteRunner:
    """Asks a server to run programs: POST {"program", "test", "stdin"} -> {"passed": bool, "output": text}.

    Args:
        url: of the server.
        timeout_s: of one program, on the clock.
    """

    def __init__(self, url: str, timeout_s: float = 120.0):
        self.url, self.timeout_s = url, timeout_s

    def run(self, program: str, test: str | None = None, stdin: str = "") -> Outcome:
        """As `Bubblewrap.run`.

        Raises:
            RuntimeError: the server did not answer, or not in this form; that says nothing of the program.
        """
        body = {"program": program, "test": test, "stdin": stdin}
        try:
            answer = requests.post(self.url, json=body, timeout=self.timeout_s)
            answer.raise_for_status()
            found = answer.json()
            return Outcome(bool(found["passed"]), str(found.get("output", "")))
        except (requests.RequestException, ValueError, KeyError, TypeError) as error:
            raise RuntimeError(f"the runner at {self.url} gave no verdict: {error}") from error
