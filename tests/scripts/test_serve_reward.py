"""The command that serves a reward, and the function that verl calls."""

import json

import pytest
import uvicorn
from starlette.testclient import TestClient

from scripts import load_script

serve, verl = load_script("serve_reward"), load_script("verl_reward")


def test_the_reward_of_an_entry_is_served(monkeypatch):
    served = {}
    monkeypatch.setattr(uvicorn, "run", lambda app, **how: served.update(how, app=app))
    serve.main(["--reward", '{"name": "accuracy"}', "--port", "1234"])
    assert (served["host"], served["port"]) == ("127.0.0.1", 1234)
    with TestClient(served["app"]) as client:
        body = {"prompts": ["x"], "responses": ["\\boxed{2}"], "columns": {"solution": ["2"]}}
        assert client.post("/score", json=body).json() == {"rewards": [1.0]}


@pytest.mark.parametrize(
    "entry, said",
    [
        ("endorm", "needs JSON"),
        ("[]", "needs JSON"),
        ("{}", "needs JSON"),
        ('{"name": "endorn"}', "Unknown reward"),
        ('{"name": "majority_vote"}', "one by one"),
        ('{"name": "rubric", "online": true, "criteria": ["x"]}', "the policy that is trained, and here is none"),
        ('{"name": "accuracy", "colum": "x"}', "column"),
    ],
)
def test_what_cannot_be_served_is_said(entry, said):
    with pytest.raises(SystemExit, match=said):
        serve.read_reward(entry)


def test_as_verl_calls_it(monkeypatch):
    """Its 0.8 calls the function with these keywords, and adds `num_turns` to extra_info."""

    def lengths(prompts, completions, solution, **columns):
        return [len(c[0]["content"]) + len(p) + len(s) / 10 for p, c, s in zip(prompts, completions, solution)]

    from rewards.serving.app import make_app

    with TestClient(make_app(lengths, "lengths")) as client:
        post = lambda url, json, timeout: client.post(url, json=json)  # noqa: E731
        monkeypatch.setattr(verl.SESSION, "post", post)
        prompt = [{"role": "user", "content": "What is 2+2?"}]
        row = {"data_source": "x", "solution_str": "four", "ground_truth": "4"}
        extra = {"prompt": prompt, "num_turns": None, "rollout_reward_scores": {}}
        assert verl.compute_score(**row, extra_info=extra, url="/score") == pytest.approx(5.1)
        with pytest.raises(ValueError, match="extra_info has no 'prompt'"):
            verl.compute_score(**row, extra_info={"num_turns": None}, url="/score")
        with pytest.raises(ValueError, match="refuses the row.*characters"):
            verl.compute_score(**row | {"solution_str": "x" * 300_000}, extra_info=extra, url="/score")
    assert json.dumps(prompt)
