"""The load of a served reward in small: every client has the score of a call."""

import json
import socket

import pytest

from scripts import load_script


@pytest.mark.slow
def test_every_client_has_its_own_score(saved_model, tmp_path, monkeypatch):
    pytest.importorskip("fastapi", reason="needs fastapi: pip install -e '.[serve]'")
    script = load_script("bench_serving")
    short = [(f"{i}", "ab" * (i % 7 + 1)) for i in range(120)]  # the tiny model has 64 positions
    monkeypatch.setattr(script, "rows", lambda count: short)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    size = ["--requests", "120", "--clients", "8", "--port", str(port), "--output", str(tmp_path / "out.json")]
    script.main(["--model", saved_model, *size])
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["largest difference to EndoRM.score, nats"] <= 1e-4
    assert result["nonsense"] == result["nonsense with a status of 4xx"]
    assert result["calls of the reward"] < 120  # requests that came together were scored together


def test_the_rows_are_all_different():
    rows = load_script("bench_serving").rows(200)
    assert len(set(rows)) == 200
