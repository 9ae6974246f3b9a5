"""What runs and evaluations leave behind, read again: folders of a training and of `scripts/eval_math.py`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from train.evaluation.summary import paper_order
from train.evaluation.training_figure import series

_SAYS_NOTHING = re.compile(
    r"(model|base|policy|final|best|last|latest|checkpoint|output|adapter|lora|merged|weight|snapshot|saved?|hf)s?"
    r"([-_ ]?(model|checkpoint|adapter))?|((global_?)?step|checkpoint|ckpt|epoch|iter)?[-_]?[0-9.]+|[0-9a-f]{40}"
)


@dataclass
class Evaluation:
    """One model of an evaluation folder. `figures`: benchmark -> figure -> (problems,)."""

    role: str
    folder: str
    model: str
    facts: dict
    figures: dict[str, dict[str, np.ndarray]]

    @property
    def accuracy(self) -> str:
        """avg@n."""
        return next(iter(next(iter(self.figures.values()))))

    @property
    def majority(self) -> str | None:
        """majority@n, None for one sample."""
        return next((name for name in next(iter(self.figures.values())) if name.startswith("majority@")), None)

    @property
    def place(self) -> str:
        """Name or folder of the model's weights."""
        return self.facts["models"][self.model]

    @property
    def decoding(self) -> str:
        """Such as "16 samples, T = 0.6"."""
        s = self.facts["settings"]
        return f"{s['samples']} samples, T = {s['temperature']:g}" if s["temperature"] else "greedy"

    @property
    def name(self) -> str:
        """Role, else folder, and model."""
        return f"{self.role or self.folder}: {self.model}"


@dataclass
class Run:
    """A training run. `rows`: logged metrics, each with "step"; `best` the checkpoint kept as the best, if any."""

    name: str
    facts: dict
    rows: list[dict]
    watches: list[dict] | None
    best: str | None = None
    infinite: dict[str, list[int]] = field(default_factory=dict)  # metric -> steps at which it was no finite number

    def series(self, metric: str) -> tuple[list[int], list[float]]:
        """Steps at which a metric was logged as a finite number, and its values."""
        return series(self.rows, metric)

    @property
    def heldout(self) -> str | None:
        """The metric of held-out prompts: that of the best checkpoint, else an accuracy, else the first reward."""
        logged = dict.fromkeys(name for row in self.rows for name in row if name.startswith("eval_"))
        best = "eval_" + str(self.facts.get("recipe", {}).get("metric_for_best_model")).removeprefix("eval_")
        rewards = [n for n in logged if n.startswith("eval_rewards/") and n.endswith("/mean")]
        return next(iter([n for n in logged if n == best] + [n for n in rewards if "accuracy" in n] + rewards), None)


def model_name(place: str) -> str:
    """What a model is called in tables and folders: the end of its name on the hub, or of its folder. A folder whose
    name says nothing by itself (model, base, checkpoint-100) is called with the folder above, and a snapshot in the
    hub's cache as on the hub."""
    if not Path(place).is_dir():
        return Path(place).name
    path = Path(place).resolve()
    parts: list[str] = []
    for part in (path, *path.parents):
        if part.name.startswith("models--"):
            return part.name.rpartition("--")[2]
        parts.insert(0, part.name)
        if not _SAYS_NOTHING.fullmatch(part.name.lower()):
            break
    return "_".join(part for part in parts if part)


def read_evaluation(place: str, role: str = "") -> list[Evaluation]:
    """The models of a folder, or FOLDER@MODEL for one of them; with a role there has to be one.

    Raises:
        FileNotFoundError: no results.json there.
        ValueError: it is another script's, or damaged; several models for one role; no such model; a role's decoding
            is not what the role says.
    """
    folder, model = Path(place), None
    if not folder.is_dir() and "@" in place:
        folder, model = Path(place.rpartition("@")[0]), place.rpartition("@")[2]
    path = folder / "results.json"
    if not path.is_file():
        raise FileNotFoundError(f"{place}: no results.json in {folder}; give a folder that scripts/eval_math.py wrote")
    facts = json.loads(path.read_text(encoding="utf-8"))
    missing = {"per_problem", "problems", "results", "settings", "models"} - set(facts)
    if missing:
        raise ValueError(f"{path} has no {', '.join(sorted(missing))}: it is not a result of scripts/eval_math.py")
    labels = list(facts["per_problem"])
    if model is not None and model not in labels:
        raise ValueError(f"{folder} has no model {model!r}, but {', '.join(labels)}")
    if role and model is None and len(labels) > 1:
        raise ValueError(f"{folder} has several models: say {role}={folder}@ and one of {', '.join(labels)}")
    found = []
    for label in labels if model is None else [model]:
        columns = facts["per_problem"][label]
        figures = {b: {f: np.array(v, dtype=float) for f, v in columns[b].items()} for b in paper_order(list(columns))}
        for benchmark, values in figures.items():
            n = len(facts["problems"][benchmark])
            if any(v.shape != (n,) or np.isnan(v).any() for v in values.values()):
                raise ValueError(f"{path}: {label}, {benchmark} lacks numbers for its {n} problems; evaluate it again")
        found.append(Evaluation(role, str(folder), label, facts, figures))
    temperature = facts["settings"]["temperature"]
    if role == "greedy" and temperature:
        raise ValueError(f"greedy={place} was sampled at temperature {temperature:g}; evaluate with --temperature 0")
    if role in ("base", "low_temperature") and not temperature:
        raise ValueError(f"{role}={place} was decoded greedily; sample it, or give it as greedy={place}")
    return found


def read_run(folder: str | Path) -> Run:
    """A training run from run.json, metrics.jsonl, trainer_state.json and watches.jsonl, as far as they are there.

    Raises:
        FileNotFoundError: there is neither metrics.jsonl nor trainer_state.json.
        ValueError: a line is no JSON.
    """
    folder = Path(folder)
    facts, state = (
        json.loads((folder / name).read_text(encoding="utf-8")) if (folder / name).is_file() else {}
        for name in ("run.json", "trainer_state.json")
    )
    rows = _read_lines(folder / "metrics.jsonl")
    if rows is None and not state:
        raise FileNotFoundError(
            f"{folder} has no metrics.jsonl or trainer_state.json of a training, and no results.json of an evaluation"
        )
    rows = [row for row in (state.get("log_history", []) if rows is None else rows) if "step" in row]
    infinite: dict[str, list[int]] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, float) and not _finite(value):
                infinite.setdefault(name, []).append(row["step"])
    watches, best = _read_lines(folder / "watches.jsonl"), state.get("best_model_checkpoint")
    return Run(str(folder), facts, rows, watches, best, infinite)


def _read_lines(path: Path) -> list[dict] | None:
    if not path.is_file():
        return None
    rows = []
    # not splitlines(): a JSON string may hold other line separators than \n
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        try:
            rows += [json.loads(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number} is no JSON (was the run killed there?): delete it") from error
    return rows


def _finite(value) -> bool:
    return isinstance(value, (int, float)) and bool(np.isfinite(value))
