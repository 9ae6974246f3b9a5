"""Fixtures of the tests of experiments: one thread, and stages that train nothing."""

import shutil

import pytest


@pytest.fixture(scope="module", autouse=True)
def _every_experiment_takes_one_thread(one_thread):
    """Their models are tiny."""


@pytest.fixture
def no_training(monkeypatch):
    """A function that lets a script's trainings give back the model they start from, and returns the flags of each."""

    def replace(script) -> list[dict]:
        runs = []

        def run(command, log):
            flags = dict(zip(command[command.index("--config") :: 2], command[command.index("--config") + 1 :: 2]))
            shutil.copytree(flags["--model_name_or_path"], flags["--output_dir"])
            runs.append(flags)

        monkeypatch.setattr(script, "run_stage", run)
        return runs

    return replace
