"""The record of a run: what was typed, which commit, which versions, and nothing of the machine's folders."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from rewards.reporting import record as module
from rewards.reporting.record import command_line, git_commit, record, versions


def test_files_from_elsewhere_appear_by_name_alone(monkeypatch):
    monkeypatch.setattr("sys.argv", ["scripts/x.py", "--seed_script", "../elsewhere/seed.py", "--output", "/a/b.json"])
    assert record()["command"] == "python scripts/x.py --seed_script seed.py --output b.json"
    assert "settings" not in record()
    assert record({"batch": 8, "output": Path("a/b")})["settings"] == {"batch": 8, "output": "a/b"}
    inside = Path(module.__file__).parent / "prompts"
    assert record({"prompts": inside})["settings"] == {"prompts": "rewards/reporting/prompts"}
    assert command_line(["scripts/y.py", 3]) == "python scripts/y.py 3"
    assert record(argv=["scripts/y.py"])["command"] == "python scripts/y.py"


def test_versions_are_those_that_are_installed(monkeypatch):
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["torch"] == version("torch")
    monkeypatch.setattr(module, "PACKAGES", ["numpy", "no-such-package"])
    assert versions().keys() == {"python", "numpy"}


def test_the_commit_is_that_of_the_checkout_and_names_changes(tmp_path, monkeypatch):
    here = tmp_path / "record.py"
    here.write_text("x")
    monkeypatch.setattr(module, "__file__", str(here))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_commit() is None  # no checkout
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    commit = git_commit()
    assert len(commit) == 40
    here.write_text("changed")
    assert git_commit() == f"{commit}+changes"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit() is None  # no git
