"""The load of the sandbox in small: every verdict is right and nothing is left."""

import json
import shutil
import subprocess
import sys

import pytest

from scripts import load_script

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="needs bubblewrap: apt-get install bubblewrap"),
]


def test_verdicts_and_residue(tmp_path, monkeypatch):
    script = load_script("bench_sandbox")
    monkeypatch.setattr(script, "EVERY", 5)
    monkeypatch.setattr(script, "harmless", lambda *_: 10.0)
    monkeypatch.setattr(script, "without_sandbox", lambda *_: 25.0)
    script.main(["--grades", "15", "--workers", "4", "--output", str(tmp_path / "out.json")])
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["wrong verdicts"] == []
    assert all(n <= 0 for n in result["left"].values())
    assert result["programs"] == 30
    assert result["a sandboxed program costs, in programs of Python alone"] == 2.5


def test_a_wrong_verdict_and_what_is_left_are_seen(monkeypatch):
    script = load_script("bench_sandbox")
    monkeypatch.setitem(script.PROGRAMS, "right", ("def f(x):\n    return x", 1.0))
    monkeypatch.setattr(script, "harmless", lambda *_: 1.0)
    monkeypatch.setattr(script, "without_sandbox", lambda *_: 1.0)
    with pytest.raises(SystemExit):
        script.main(["--grades", "1"])
    before = script.residue()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with child:
        assert script.residue()["processes"] == before["processes"] + 1
        child.kill()
        child.stdin.close()
