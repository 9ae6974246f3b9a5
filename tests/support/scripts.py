"""The command-line scripts as modules: they belong to no package, and a test calls their functions."""

import importlib.util
import sys
from types import ModuleType

from tiny_models import ROOT


def load_script(name: str) -> ModuleType:
    """The one script of that name, wherever under scripts/ it lies. What lies beside it can be imported by it."""
    (path,) = (ROOT / "scripts").rglob(f"{name}.py")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    return module
