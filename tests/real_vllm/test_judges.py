"""The four judges behind a real vLLM server, beside the same model in this process."""

import json
import math
import urllib.request

import pytest
import torch
from on_vllm import missing
from tiny_models import ROOT
from transformers import AutoModelForCausalLM, AutoTokenizer

from rewards import FrozenBase, GenerativeVerifier, LocalJudge, PairwiseJudge, PointwiseJudge, Rubric
from rewards.judges.endpoint_judge import EndpointJudge

FOLDER = ROOT / "outputs/SmolLM2-135M-Instruct"
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing()),
    pytest.mark.skipif(
        not FOLDER.is_dir(),
        reason="no real model here: python scripts/get_model.py --output outputs/SmolLM2-135M-Instruct",
    ),
]
PROMPTS = ["What is 2 + 2?", "What is the capital of France?", "Name a prime number above 10.", "What is 7 * 8?"]
RESPONSES = ["4", "Berlin", "11 is prime, and it is above 10.", "The answer is \\boxed{56}."]
OTHERS = ["5", "Paris", "12", "54"]
CRITERIA = ["It is right.", {"criterion": "It is rude.", "weight": -1.0}]


@pytest.fixture(scope="module")
def local():
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    return LocalJudge(FrozenBase(model, 8192), AutoTokenizer.from_pretrained(FOLDER))


@pytest.fixture(scope="module")
def server(serve):
    return serve(str(FOLDER), "float32")


@pytest.fixture
def remote(server):
    return EndpointJudge(f"{server.url}/v1", "served", top_logprobs=200)


def note(record_property, name, value):
    record_property(name, value)
    print(f"\n  {name}: {value}", end="")


@pytest.mark.parametrize("form", ["prob", "logprob"])
def test_the_verifiers_probability(form, local, remote, record_property):
    ours, theirs = (GenerativeVerifier(j, form=form).score(PROMPTS, RESPONSES) for j in (local, remote))
    ours, theirs = ([math.exp(x) for x in xs] if form == "logprob" else xs for xs in (ours, theirs))
    note(record_property, "gap of P(Yes)", max(abs(a - b) for a, b in zip(ours, theirs, strict=True)))
    assert theirs == pytest.approx(ours, abs=1e-4)
    assert remote.unlisted == remote.failed == 0


def test_the_rubric(local, remote, record_property):
    ours, theirs = (Rubric(j, criteria=CRITERIA).score(PROMPTS, RESPONSES) for j in (local, remote))
    note(record_property, "gap of the rubric", max(abs(a - b) for a, b in zip(ours, theirs, strict=True)))
    assert theirs == pytest.approx(ours, abs=1e-4)


def test_pairwise_verdicts(local, remote):
    judges = [PairwiseJudge(j) for j in (local, remote)]
    ours, theirs = (j.compare(PROMPTS, RESPONSES, OTHERS) for j in judges)
    assert ours == theirs
    assert judges[0].position_bias == judges[1].position_bias
    group = [j.score_group(PROMPTS[0], [*RESPONSES[:2], OTHERS[0]]) for j in judges]
    assert group[0] == group[1]


def test_pointwise_marks(local, remote):
    judges = [PointwiseJudge(local.base.model, local.tokenizer), PointwiseJudge(remote)]
    ours, theirs = (j.score(PROMPTS, RESPONSES) for j in judges)
    assert ours == theirs
    assert judges[0].unparsable == judges[1].unparsable
    questions = [{"prompt": p, "response": r} for p, r in zip(PROMPTS, RESPONSES)]
    texts = [j.judge.write(j.template, questions, 24) for j in judges]
    assert texts[0] == texts[1]


def test_the_server_halves_nothing(server):
    """The checkpoint is in fp32, of which vLLM by itself would make half precision."""
    info = json.load(urllib.request.urlopen(f"{server.url}/server_info?config_format=json", timeout=60))
    assert info["vllm_config"]["model_config"]["dtype"].removeprefix("torch.") == "float32"
