"""The command-line scripts as modules: they belong to no package, and a test calls their functions."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from tiny_models import ROOT, SHARED


def load_script(name: str) -> ModuleType:
    """The one script of that name, wherever under scripts/ it lies. What lies beside it can be imported by it."""
    (path,) = (ROOT / "scripts").rglob(f"{name}.py")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    return _module(path)


def published_loop() -> Callable:
    """The published way to score, seed_reward(model, tokenizer, prompt, response); skips a test where it is absent."""
    path = SHARED / "reference/seed_reward.py"
    if not path.exists():
        pytest.skip("needs the published plain loop over tokens, shared/reference beside the repository")
    return _module(path).seed_reward


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    return module
