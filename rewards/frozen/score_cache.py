"""Per-token scores of a frozen base kept on disk, so that one forward serves every setting of the reward.

A cache is a folder of safetensors files. Each response is kept under a hash of its prompt's and its own token ids,
which hold all that tokenizer, template and data have to do with it; files of another model or other alphas are in a
folder of their own. What was written survives a kill, and what is there is never computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tqdm.auto import tqdm
from transformers.utils import (
    ADAPTER_CONFIG_NAME,
    ADAPTER_SAFE_WEIGHTS_NAME,
    CONFIG_NAME,
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
    cached_file,
)

from rewards.frozen.frozen_base import FrozenBase
from rewards.frozen.token_scores import TokenScores

FORMAT = 2  # 1 had fingerprints of samples of the weights
FRESH = 2e9  # ns: a file may change once more within its time stamp's grain while it is younger than this

_hashes: dict[tuple, str] = {}


def file_hash(path: str | Path) -> str:
    """SHA-256 of all bytes of a file, in hex.

    A file of the hub's cache has its SHA-256 as its name, and is not read. Any other is read once in a process while
    path, inode, size and time of change stay the same.
    """
    path = Path(path)
    blob = path.resolve()
    if path.is_symlink() and blob.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", blob.name):
        return blob.name
    stat = blob.stat()
    key = (blob, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    if key not in _hashes:
        with blob.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time_ns() - stat.st_mtime_ns < FRESH:
            return digest
        _hashes[key] = digest
    return _hashes[key]


def optional_file(name_or_path: str, name: str, revision: str | None = None) -> Path | None:
    """A file of a model on the hub or in a folder; None if there is none, or the hub cannot be asked."""
    quiet = {f"_raise_exceptions_for_{w}": False for w in ("gated_repo", "missing_entries", "connection_errors")}
    found = cached_file(name_or_path, name, revision=revision, **quiet)
    return Path(found) if found else None


def hash_files(paths: Iterable[Path]) -> str:
    """Hash of names and contents of files, wherever they lie."""
    paths = list(paths)
    with ThreadPoolExecutor() as pool:  # hashing leaves other threads free to run
        hashes = list(pool.map(file_hash, paths))
    return hashlib.sha256(json.dumps([(p.name, h) for p, h in zip(paths, hashes)]).encode()).hexdigest()


def model_fingerprint(name_or_path: str, revision: str | None = None) -> str:
    """Hash of all that decides a model's logits: every byte of its config and weights, of an adapter that lies beside
    them, and its own code if it has any. Where the folder lies, and what it is called, does not count.

    Weights are read but not loaded, and downloaded first where they are missing.

    Raises:
        OSError: no such model on the hub.
        ValueError: no config, no weights in safetensors files, or not all that their index names.
    """
    path = Path(cached_file(name_or_path, CONFIG_NAME, revision=revision) or name_or_path)
    if path.name != CONFIG_NAME:
        raise ValueError(f"{path} has no {CONFIG_NAME}: name a whole model (scripts/merge_adapter.py makes one).")
    config = json.loads(path.read_text(encoding="utf-8"))
    files = [path, *_weight_files(name_or_path, revision, config)]
    if optional_file(name_or_path, ADAPTER_CONFIG_NAME, revision):  # from_pretrained loads it too
        files += adapter_files(name_or_path, revision)
    if "auto_map" not in config:
        return hash_files(files)
    if path.parent.parent.name == "snapshots":  # the hub's cache has a model's code only once it was loaded
        return hash_files(files) + path.parent.name
    return hash_files([*files, *sorted(path.parent.glob("*.py"))])


def adapter_files(name_or_path: str, revision: str | None = None) -> list[Path]:
    """Config and weights of a LoRA adapter, in all files that it has.

    Raises:
        ValueError: no config, or no weights in safetensors files.
    """
    config, weights = (
        optional_file(name_or_path, name, revision) for name in (ADAPTER_CONFIG_NAME, ADAPTER_SAFE_WEIGHTS_NAME)
    )
    if config is None:
        raise ValueError(f"{name_or_path} has no {ADAPTER_CONFIG_NAME}: name the folder that PEFT saved.")
    files = sorted({*config.parent.glob("adapter*.safetensors*"), *([weights] if weights else [])})
    if not files:
        raise ValueError(
            f"The adapter {name_or_path} has no {ADAPTER_SAFE_WEIGHTS_NAME}: only weights in safetensors files are "
            "read. Save it again with PEFT's save_pretrained."
        )
    return [config, *files]


def _weight_files(name_or_path: str, revision: str | None, config: dict) -> list[Path]:
    """The safetensors files that `from_pretrained` reads, with their index if there is one."""
    names = [config.get("transformers_weights"), SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME]
    first = next((path for name in names if name and (path := optional_file(name_or_path, name, revision))), None)
    if first is None:
        raise ValueError(
            f"{name_or_path} has neither {SAFE_WEIGHTS_NAME} nor {SAFE_WEIGHTS_INDEX_NAME}: only weights in "
            "safetensors files are read. Load it with transformers and save_pretrained it, or name another model; a "
            "hub model that is not downloaded yet needs the hub (HF_HUB_OFFLINE unset)."
        )
    if not first.name.endswith(".index.json"):
        return [first]
    names = sorted(set(json.loads(first.read_text(encoding="utf-8"))["weight_map"].values()))
    parts = {name: optional_file(name_or_path, name, revision) for name in names}
    if missing := [name for name, part in parts.items() if part is None]:
        raise ValueError(
            f"{name_or_path} lacks {len(missing)} of the {len(names)} files that its {first.name} names, "
            f"{missing[0]} among them: copy or download them."
        )
    return [first, *(part for part in parts.values() if part is not None)]


class ScoreCache:
    """`TokenScores` of one model on disk.

    Args:
        folder: where the caches of all models lie.
        model: name or folder of the model; only its fingerprint and dtype matter.
        dtype: the weights' dtype, by name.
        alphas: at which soft values are kept; 1 is always among them, for the log-probabilities.
        part: responses in one file, which is also what a kill loses at most: minutes of a real model on one core.

    Raises:
        ValueError: the files in the folder are of another model than its name says.
    """

    def __init__(
        self,
        folder: str | Path,
        model: str,
        dtype: str = "auto",
        alphas: Sequence[float] = (1.0,),
        part: int = 64,
    ):
        self.alphas = tuple(sorted({1.0, *map(float, alphas)}))
        self.facts = {
            "format": FORMAT,
            "model": model_fingerprint(model),
            "dtype": str(dtype).removeprefix("torch."),
            "alphas": list(self.alphas),
        }
        key = hashlib.sha256(json.dumps(self.facts).encode()).hexdigest()[:16]
        self.folder, self.part = Path(folder) / key, part
        self.folder.mkdir(parents=True, exist_ok=True)
        self._facts_agree({**self.facts, "name": str(model)})
        self._known: dict[str, TokenScores] = {}
        for path in sorted(self.folder.glob("part-*.safetensors")):
            self._read(path)

    def __len__(self) -> int:
        return len(self._known)

    def score(
        self,
        base: Callable[[], FrozenBase],
        prompt_ids: Sequence[Sequence[int]],
        response_ids: Sequence[Sequence[int]],
        progress: bool = True,
        name: str = "per-token scores",
    ) -> list[TokenScores]:
        """Scores of each response at temperature 1, from the cache, and what it lacks from one forward of the base.

        Args:
            base: called for the frozen base if, and only if, something is missing.
            prompt_ids, response_ids: as `FrozenBase.score` takes them; the same prompt's responses share its forward.
            progress: show a progress bar, of the responses that the cache lacks, if there are any.
            name: of the bar.

        Returns:
            n `TokenScores` on the CPU, without hidden states.
        """
        keys = [_key(p, r) for p, r in zip(prompt_ids, response_ids, strict=True)]
        missing: dict[str, int] = {}
        for i, key in enumerate(keys):
            if key not in self._known:
                missing.setdefault(key, i)
        by_prompt: dict[tuple[int, ...], list[int]] = {}
        for i in missing.values():
            by_prompt.setdefault(tuple(prompt_ids[i]), []).append(i)
        parts: list[list[int]] = [[]]
        for rows in by_prompt.values():  # a prompt's responses are not split
            if len(parts[-1]) >= self.part:
                parts.append([])
            parts[-1].extend(rows)
        if missing:
            frozen = base()
            with tqdm(total=len(missing), desc=name, unit="response", disable=not progress) as bar:
                for rows in parts:
                    ids = [prompt_ids[i] for i in rows], [response_ids[i] for i in rows]
                    update = bar.update if progress else False
                    scores = frozen.score(*ids, self.alphas, share_prompts=True, progress=update)
                    self._write([keys[i] for i in rows], scores)
        return [self._known[key] for key in keys]

    def keep(
        self,
        prompt_ids: Sequence[Sequence[int]],
        response_ids: Sequence[Sequence[int]],
        scores: Sequence[TokenScores],
    ) -> None:
        """Keep scores that this model has given elsewhere, at the cache's alphas, as one part; those that are there
        already are not written again."""
        new = {}
        for prompt, response, score in zip(prompt_ids, response_ids, scores, strict=True):
            if (key := _key(prompt, response)) not in self._known:
                new[key] = score
        if new:
            self._write(list(new), list(new.values()))

    def _write(self, keys: list[str], scores: list[TokenScores]) -> None:
        tensors = {
            "lengths": torch.tensor([len(s.q) for s in scores]),
            "log_probs": torch.cat([s.log_probs for s in scores]),
            "q": torch.cat([s.q for s in scores]),
            **{f"v[{a}]": torch.cat([s.v[a] for s in scores]) for a in self.alphas},
        }
        # the number is taken before the file is there, so another process that writes now may have taken the same
        number = len(list(self.folder.glob("part-*.safetensors")))
        path = self.folder / f"part-{number:05d}-{os.getpid()}.safetensors"
        unfinished = path.with_suffix(f".{os.getpid()}")
        metadata = {"keys": json.dumps(keys), "vocab_size": str(scores[0].vocab_size)}
        save_file({name: t.cpu().contiguous() for name, t in tensors.items()}, unfinished, metadata)
        os.replace(unfinished, path)  # whole or not there
        self._read(path)

    def _read(self, path: Path) -> None:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
        lengths = tensors["lengths"].tolist()
        log_probs, q = (tensors[name].split(lengths) for name in ("log_probs", "q"))
        v = {a: tensors[f"v[{a}]"].split([n + 1 for n in lengths]) for a in self.alphas}
        for k, key in enumerate(json.loads(metadata["keys"])):
            values = {a: rows[k] for a, rows in v.items()}
            self._known[key] = TokenScores(log_probs[k], q[k], values, int(metadata["vocab_size"]))

    def _facts_agree(self, facts: dict) -> None:
        path = self.folder / "cache.json"
        if not path.exists():
            path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
            return
        found = json.loads(path.read_text(encoding="utf-8"))
        other = [name for name in self.facts if found.get(name) != self.facts[name]]
        if other:
            raise ValueError(
                f"{self.folder} was made with another {', '.join(other)} (of {found.get('name')}): its scores are not "
                "this model's. Move it away, or name another cache folder."
            )


def _key(prompt: Sequence[int], response: Sequence[int]) -> str:
    ids = np.array([len(prompt), *prompt, *response], dtype=np.int64)
    return hashlib.sha256(ids.tobytes()).hexdigest()
