"""Checkpoints that can be trusted: complete or not there, written on a signal, and never lost to a full disk."""

import hashlib
import json
import logging
import os
import pickle
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType, send_to_device
from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints
from trl import GRPOConfig, GRPOTrainer

from rewards.frozen.score_cache import model_fingerprint
from train.reward_mix import RewardMix

logger = logging.getLogger(__name__)

COMPLETE = "complete.json"  # written last, so that a folder with it holds everything
INTERRUPTED = "interrupted.json"  # in the run's folder: it was told to stop early, and resuming goes on with it
STATE_FILES = {".safetensors", ".bin", ".pt", ".pth", ".distcp"}  # suffixes of what a resumed run reads
# Those of the rollout cannot change within one; a resumed optimizer or critic would ignore new values of the rest.
SETTINGS = ["per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation", "num_generations"]
SETTINGS += ["num_iterations", "seed", "optim", "learning_rate", "weight_decay", "adam_beta1", "adam_beta2"]
SETTINGS += ["adam_epsilon", "critic_learning_rate", "critic_width"]
ADAPTER = {"lora_r": "r", "lora_alpha": "lora_alpha", "use_rslora": "use_rslora"}  # the recipe's names, and PEFT's
DATA = "train_dataset"  # the one fact whose change is only warned of


def has_ended(output_dir: str | Path) -> bool:
    """Whether a run's folder holds a training that came to its end, and not one that was told to stop early, which
    saves its weights and its state as well."""
    folder = Path(output_dir)
    return (folder / "trainer_state.json").is_file() and not (folder / INTERRUPTED).exists()  # the state comes last


def newest_complete(output_dir: str | Path) -> str | None:
    """The checkpoint of the highest step in a run's folder that was written to its end; None if there is none.

    A half-written one (no complete.json) is passed over, with a warning.
    """
    found = [(int(m[1]), p) for p in Path(output_dir).glob("*") if (m := re.fullmatch(r"checkpoint-(\d+)", p.name))]
    for _, path in sorted(found, reverse=True):
        if (path / COMPLETE).exists():
            return str(path)
        logger.warning("%s was never finished (no %s): passed over", path, COMPLETE)
    return None


def mark_complete(folder: str | Path, **facts) -> None:
    """Declare a checkpoint complete, with facts such as step and number of processes, and its files' sizes (bytes)."""
    folder = Path(folder)
    found = (p for p in sorted(folder.rglob("*")) if p.suffix in STATE_FILES)
    files = {str(p.relative_to(folder)): p.stat().st_size for p in found}
    temporary = folder / f"{COMPLETE}.tmp"
    temporary.write_text(json.dumps(facts | {"files": files}))
    temporary.rename(folder / COMPLETE)


def data_fingerprint(dataset) -> str | None:
    """Number of prompts and a hash of about a thousand of them, from first to last; None for a stream."""
    if not hasattr(dataset, "__len__"):
        return None
    prompts = [dataset[i].get("prompt", dataset[i]) for i in range(0, len(dataset), len(dataset) // 1000 + 1)]
    digest = hashlib.sha256(json.dumps(prompts, default=lambda _: "").encode()).hexdigest()
    return f"{len(dataset)} prompts with hash {digest[:12]}"


def run_facts(trainer) -> dict:
    """What a run has to share with a checkpoint that it resumes from, in JSON's types, by the recipe's names where
    there are such. What cannot be told, such as the files of a base that was never saved, is left out."""
    args, state = trainer.args, trainer.accelerator.state
    model = trainer.accelerator.unwrap_model(trainer.model)
    facts = {"algorithm": trainer._name, "processes": trainer.accelerator.num_processes, "sharding": "none"}
    if state.distributed_type == DistributedType.DEEPSPEED:
        facts["sharding"] = f"ZeRO-{state.deepspeed_plugin.zero_stage}"
    elif state.distributed_type == DistributedType.FSDP:
        facts["sharding"] = "FSDP"
    sizes = {name: getattr(p, "ds_numel", p.numel()) for name, p in model.named_parameters()}
    whole = sum(size for name, size in sizes.items() if "lora_" not in name)
    facts["model"] = f"a {model.config.model_type} of {whole:,} parameters"
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    names = hashlib.sha256(" ".join(trained).encode()).hexdigest()[:12]
    facts["what is trained"] = f"{sum(sizes[n] for n in trained):,} parameters, their names with hash {names},"
    base = trainer.frozen_base._lm.config
    commit = getattr(base, "_commit_hash", None)
    if commit or os.path.isdir(base._name_or_path):
        facts["frozen_base"] = f"weights with hash {model_fingerprint(base._name_or_path, commit)[:12]}"
    adapter = getattr(model, "peft_config", {}).get("default")
    facts["use_peft"] = adapter is not None
    facts |= {name: getattr(adapter, key) for name, key in ADAPTER.items() if hasattr(adapter, key)}
    facts |= {name: getattr(args, name) for name in SETTINGS if hasattr(args, name)}
    facts[DATA] = data_fingerprint(trainer.train_dataset)
    return json.loads(json.dumps(facts))


def check_resumable(folder: str | Path, run: dict) -> None:
    """Refuse a checkpoint from which a run would not go on as the one that wrote it.

    Args:
        folder: of the checkpoint.
        run: `run_facts` of the run that resumes; facts that the checkpoint does not tell are not compared. Other data
            are only warned of.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: it is not a complete checkpoint with an optimizer by a trainer of this project, its files have
            changed, or settings differ.
    """
    folder = Path(folder)
    instead = f"start from its weights with --model_name_or_path {folder}"
    if (folder / "adapter_config.json").exists():
        instead += " after scripts/merge_adapter.py"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"resume_from_checkpoint {folder} does not exist; give a folder, or `latest` (True in Python)."
        )
    if not (folder / COMPLETE).exists():
        if (folder / "trainer_state.json").exists() and not any(folder.glob("rollout_*.pt")):
            raise ValueError(
                f"{folder} was not written by this project's trainers (neither {COMPLETE} nor rollout_*.pt is there): "
                f"{instead}."
            )
        raise ValueError(f"{folder} was never finished (no {COMPLETE}); use `latest` for the newest complete one.")
    try:
        facts = json.loads((folder / COMPLETE).read_text())
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{folder / COMPLETE} is damaged ({error}): use an older checkpoint, or {instead}."
        ) from error
    for name, size in facts.get("files", {}).items():
        path = folder / name
        now = path.stat().st_size if path.exists() else None
        if now != size:
            said = "is missing" if now is None else f"is damaged: it has {now} bytes, and {size} when it was saved"
            raise ValueError(f"{path} {said}. Use an older checkpoint, or {instead}.")
    if not any(folder.glob("rng_state*.pth")):
        raise ValueError(f"{folder} was saved with save_only_model: it has no optimizer; {instead}.")
    differs = [k for k in run if facts.get(k, run[k]) != run[k]]
    words = {k: f"{k} is {run[k]} here and {facts[k]} in the checkpoint" for k in differs}
    if DATA in words:
        logger.warning("%s: a run resumed from %s reads other prompts than the one before", words.pop(DATA), folder)
    if words:
        raise ValueError(
            f"{folder} is of another run: {'; '.join(words.values())}. Resume with the checkpoint's values, or "
            f"{instead}."
        )


def checkpoint_bytes(model: torch.nn.Module, weights_only: bool = False) -> int:
    """Estimated size of a checkpoint: what is saved of the weights, and two fp32 Adam moments of what is trained."""
    trained = [p for p in model.parameters() if p.requires_grad]
    saved = trained if hasattr(model, "peft_config") else list(model.parameters())
    size = [getattr(p, "ds_numel", p.numel()) for p in trained]
    moments = 0 if weights_only else 8 * sum(size)
    return sum(getattr(p, "ds_numel", p.numel()) * p.element_size() for p in saved) + moments


def enough_space(folder: str | Path, needed: int) -> bool:
    """Whether `needed` bytes fit beside what is there; if not, an error is logged that says how much is missing."""
    free = shutil.disk_usage(folder).free
    if free >= needed:
        return True
    logger.error(
        "NOT saving a checkpoint: it takes about %.2f GB and %s has %.2f GB left. Older checkpoints stay. Free some "
        "space or lower save_total_limit; the next save tries again.",
        needed / 1e9,
        folder,
        free / 1e9,
    )
    return False


class StopOnRequest(TrainerCallback):
    """Save a checkpoint at the end of the current step and end the training normally (exit code 0) when told to.

    Any process may be told by SIGTERM or SIGUSR1, and all of them by a file `stop` in the run's folder, which works
    for any launcher on any number of machines. An empty file is a user's; one with words is a launcher's, which heard
    a signal while no process could. `interrupted.json` says which it was ("by": "user" or "signal"), since a job that
    its user stopped is not to go on by itself. All processes agree at each step's end, so that none saves alone.
    (The just-in-time checkpoint of transformers does not, and may save between backward and optimizer step.)
    """

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
    STOP_FILE = "stop"
    BY_SIGNAL, BY_USER = 1, 2  # the larger wins where processes were told by both

    def __init__(self, trainer):
        self.trainer, self.told, self._handlers = trainer, 0, {}

    def _on_signal(self, number, _frame):
        self.told = self.BY_SIGNAL
        logger.warning("%s received: saving at the end of this step, then ending", signal.Signals(number).name)

    def on_train_begin(self, args, state, control, **kwargs):
        self._handlers = {s: signal.signal(s, self._on_signal) for s in self.SIGNALS}
        if args.should_save:
            (Path(args.output_dir) / INTERRUPTED).unlink(missing_ok=True)

    def on_step_end(self, args, state, control, **kwargs):
        stop_file = Path(args.output_dir) / self.STOP_FILE
        told: int = self.told
        if args.should_save and stop_file.exists():  # also one from before the first step
            told = self.BY_SIGNAL if stop_file.read_text().strip() else self.BY_USER
            stop_file.unlink()
        accelerator = self.trainer.accelerator
        if accelerator.num_processes > 1:
            told = int(accelerator.gather(torch.tensor([told], device=accelerator.device)).max())
        if told and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True
            if args.should_save:
                Path(args.output_dir).mkdir(parents=True, exist_ok=True)
                facts = {"step": state.global_step, "of": state.max_steps, "time": time.time()}
                facts["by"] = "user" if told == self.BY_USER else "signal"
                (Path(args.output_dir) / INTERRUPTED).write_text(json.dumps(facts))
        return control

    def on_train_end(self, args, state, control, **kwargs):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)


def checkpoint_folder(output_dir: str | Path, step: int) -> Path:
    """Where transformers writes the checkpoint of a step."""
    return Path(output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{step}"


class CheckpointMixin(GRPOTrainer):
    """What `EndoGRPOTrainer` adds to the checkpoints of transformers."""

    args: GRPOConfig
    model: torch.nn.Module
    mix: RewardMix | None
    _sampler: Any = None

    def train(self, resume_from_checkpoint: str | bool | None = None, *args, **kwargs):
        """As in transformers, where True is the newest complete checkpoint in output_dir.

        Raises:
            FileNotFoundError: the checkpoint does not exist, or with True there is none.
            ValueError: a checkpoint that this run would not go on from as the one that wrote it (`check_resumable`).
        """
        self._facts = run_facts(self)
        if resume_from_checkpoint is True:
            newest = newest_complete(self.args.output_dir or ".")
            if newest is None:
                raise FileNotFoundError(
                    f"{self.args.output_dir} has no complete checkpoint: leave resume_from_checkpoint out to start "
                    "afresh."
                )
            resume_from_checkpoint = str(newest)
        if resume_from_checkpoint:
            check_resumable(resume_from_checkpoint, self._facts)
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _get_train_sampler(self, dataset=None):
        self._sampler = super()._get_train_sampler(dataset)
        return self._sampler

    def _run_epoch(self, *args, **kwargs):
        """As in transformers, which takes one step too many where a run resumes from its last step within an epoch, as
        one does that was killed after its last checkpoint. TRL's sampler draws a new order each time that it is asked,
        and so gives a run that resumes in its second epoch the order of the first."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        if (generator := getattr(self._sampler, "generator", None)) is not None:
            generator.manual_seed(self._sampler.seed)
            for _ in range(kwargs["epoch"]):  # the orders that have been
                torch.randperm(self._sampler.num_samples, generator=generator)
        super()._run_epoch(*args, **kwargs)

    def _save_checkpoint(self, model, trial):
        output_dir = self._get_output_dir(trial=trial)
        if not self.agree(not self.args.should_save or self._has_space(output_dir)):
            return
        folder = checkpoint_folder(output_dir, self.state.global_step)
        if self.args.should_save:
            (folder / COMPLETE).unlink(missing_ok=True)  # of an earlier run through the same step
        limit, self.args.save_total_limit = self.args.save_total_limit, None  # delete old ones only after this one
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        # A rollout serves several updates: a checkpoint in the middle of them keeps it.
        rollout: dict = {"step": self._step, "buffered_inputs": self._buffered_inputs}
        if self.mix is not None:
            rollout["shaping"] = self.mix.state_dict()
        if not self.args.save_only_model:
            torch.save(rollout, folder / f"rollout_{self.accelerator.process_index}.pt")
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            mark_complete(folder, step=self.state.global_step, **self._facts)
            best = self.state.best_model_checkpoint
            rotate_checkpoints(output_dir, save_total_limit=limit, best_model_checkpoint=best, use_mtime=True)

    def _has_space(self, output_dir: str) -> bool:
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        model = self.accelerator.unwrap_model(self.model)
        return enough_space(output_dir, checkpoint_bytes(model, self.args.save_only_model))

    def agree(self, fine: bool) -> bool:
        """Whether it is fine with every process."""
        against = torch.tensor(int(not fine), device=self.accelerator.device)
        return int(self.accelerator.reduce(against, reduction="sum")) == 0

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        path = Path(checkpoint) / f"rollout_{self.accelerator.process_index}.pt"
        try:
            rollout = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{path} is missing: put the checkpoint where all processes can read it, and resume with as many of "
                "them as wrote it."
            ) from error
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise ValueError(f"{path} is damaged: use an older checkpoint ({error}).") from error
        self._step = rollout["step"]
        if self.mix is not None:
            self.mix.load_state_dict(rollout.get("shaping", {}))
        self._buffered_inputs = send_to_device(rollout["buffered_inputs"], self.accelerator.device)
