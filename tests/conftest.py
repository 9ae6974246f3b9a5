"""Fixtures: folders of tiny models and of a few problems, made once for all tests."""

import gc
import json
import sys

import preloaded
import pytest
import torch
from launching import python
from tiny_models import PROBLEMS, judge_model, tiny_model, tiny_tokenizer, word_tokenizer

from rewards.reporting import stages
from train.tasks.rehearsal_model import make_rehearsal_model


def pytest_collection_finish():
    """A training ends with gc.collect(), which is most of its cost here: it searches all that was ever imported. What
    is there before the first test is never searched again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def one_thread():
    """Tiny tensors on busy cores: several threads would only wait for each other. Restored for the other modules."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def copies(monkeypatch):
    """Every Python that the code under test starts, and those that they start, are copies of a preloaded one."""
    monkeypatch.setattr(sys, "executable", python())
    for name, value in (preloaded.variables() | {preloaded.CHILDREN: python()}).items():
        monkeypatch.setenv(name, value)
    launches = (stages.LAUNCH, stages.LAUNCH_ONE)
    before = [list(words) for words in launches]
    for words in launches:
        words[0] = python()
    yield
    for words, old in zip(launches, before):
        words[:] = old


@pytest.fixture(scope="session")
def saved_judge(tmp_path_factory) -> str:
    """Folder of a tiny Qwen2 with `word_tokenizer`, as `from_pretrained` reads it."""
    folder = tmp_path_factory.mktemp("tiny_judge")
    judge_model().save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory) -> str:
    """Folder of a tiny Qwen2 with tokenizer and chat template, as `from_pretrained` reads it."""
    folder = tmp_path_factory.mktemp("tiny_qwen2")
    tiny_model(initializer_range=0.2).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def rehearsal(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("rehearsal")
    texts = [f"{row['problem']} {row['solution']}" for row in PROBLEMS]
    make_rehearsal_model(texts, folder, vocab_size=320, hidden_size=32)
    return str(folder)


@pytest.fixture(scope="session")
def problems(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("data") / "problems.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in PROBLEMS))
    return str(path)
