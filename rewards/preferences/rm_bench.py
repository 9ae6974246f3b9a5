"""RM-Bench (arXiv 2410.16184): is the right response preferred although the wrong one is better styled?

Each prompt has three right and three wrong responses: concise, detailed plain text, detailed Markdown. The nine
comparisons make a 3 x 3 matrix, row = style of the right one, column = style of the wrong one. As the benchmark's own
code defines:

    hard      mean of the upper-right triangle: the wrong response has the more elaborate style
    normal    mean of the diagonal
    easy      mean of the lower-left triangle
    a domain  mean of its hard, normal and easy; safety-refuse and safety-response are one domain, their rows pooled
    overall   mean of the four domains; hard, normal and easy are averaged over the four domains in the same way

Source: THU-KEG/RM-Bench, README and scripts/utils.py (`compute_accuracy`, and `split_dataset_by_domain`, which takes
every row whose domain starts with "safety"); "Overall" in THU-KEG/RM-Bench-Leaderboard. Some papers give the mean over
all samples instead without saying so. Both are here, by name.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path

import numpy as np

from rewards.preferences import bootstrap as statistics
from rewards.preferences.comparisons import Comparisons, Group, as_prompt
from rewards.preferences.rows import check_columns, load_rows
from rewards.reading.sources import SUFFIXES
from rewards.reading.table import Table

STYLES = ("concise", "detailed", "markdown")
DOMAINS = ("chat", "math", "code", "safety")
LEVELS = ("easy", "normal", "hard", "average")
COLUMNS = [f"{d}_average" for d in DOMAINS] + [f"{k}_{x}" for k in ("official", "pooled") for x in LEVELS]
SIZE = len(STYLES)


def load(
    name: str = "THU-KEG/RM-Bench",
    split: str = "train",
    config: str | None = None,
    chat: bool = True,
    limit: int | None = None,
) -> Comparisons:
    """The comparisons of RM-Bench, from the hub, a local file, or a folder of the benchmark's own files per domain.

    Rows without a domain take it from the beginning of the file's name, as in chat_filtered.json. In a folder every
    file whose name begins so is read; if it has none, there is nothing to read.

    Groups are in the order of DOMAINS; their responses are the three right ones, then the three wrong ones. Labels:
    "domain" (safety pooled), "subdomain" (as in the file), "chosen_style" and "rejected_style" (0, 1, 2 as in STYLES).

    Rows without three and three responses are left out. Where a whole domain lacks some responses (null), the cells
    that all its rows have are kept; where only some of its rows do, those rows are left out. Notes count all of it.

    Args:
        name, split, config, limit: as `load_rows` takes them.
        chat: prompts as chat messages, else as plain text.
    """
    table = Table(name, *read_rows(name, split, config)).limited(limit)
    rows, notes = table.rows(), table.notes
    by_domain: dict[str, list[dict]] = {domain: [] for domain in DOMAINS}
    malformed, foreign, repeated = [], [], 0
    for row in rows:
        domain = _domain(str(row["domain"]))
        if not (_three(row.get("chosen")) and _three(row.get("rejected")) and isinstance(row.get("prompt"), str)):
            malformed.append(row["id"])
        elif domain is None:
            foreign.append(str(row["domain"]))
        else:
            by_domain[domain].append(row)
            repeated += _repeats(row["chosen"]) or _repeats(row["rejected"])
    if malformed:
        notes.append(f"{len(malformed)} rows left out: no prompt or not three styles a side; first {malformed[0]!r}")
    if foreign:
        notes.append(f"{len(foreign)} rows of other domains left out: {', '.join(sorted(set(foreign)))}")
    if repeated:
        notes.append(f"{repeated} rows, kept, have the same text in two styles of one side")

    groups: list[Group] = []
    built: list[tuple] = []
    for domain, members in by_domain.items():
        complete = [row for row in members if len(_cells(row)) == SIZE**2]
        if 0 < len(complete) < len(members):
            notes.append(f"{len(members) - len(complete)} rows of {domain} lack a response and are left out")
        kept = complete or members
        cells = sorted(set.intersection(*map(_cells, kept))) if kept else []
        if kept and len(cells) < SIZE**2:
            notes.append(f"all {len(kept)} rows of {domain} lack responses; cells that exist: {_show(cells)}")
        for row in kept:
            built += [(len(groups), i, SIZE + j, domain, str(row["domain"]), i, j) for i, j in cells]
            groups.append(Group(str(row["id"]), as_prompt(row["prompt"], chat=chat), row["chosen"] + row["rejected"]))
    return Comparisons.build(groups, built, ("domain", "subdomain", "chosen_style", "rejected_style"), notes)


def read_rows(name: str, split: str = "train", config: str | None = None) -> tuple[list[dict], list[str]]:
    """Rows with a domain and an id each, and notes, from wherever `load` takes them."""
    rows: list[dict] = []
    places, notes = _places(name)
    for place in places:
        of_place, more = load_rows(place, split, config)
        check_columns(of_place, ["prompt", "chosen", "rejected"], place)
        file = Path(place).name
        domain = re.split(r"[_.]", file)[0] if _domain(file) else None
        unnamed = sum(row.get("domain") is None for row in of_place)
        if unnamed == len(of_place) and domain is None:
            check_columns(of_place, ["domain"], f"{place}, whose name begins with none of {', '.join(DOMAINS)},")
        if unnamed and domain:
            more.append(
                f"{unnamed} rows of {file} name no domain: read as {domain}, with which the file's name begins"
            )
        rows += [
            row | {"domain": row.get("domain") or domain, "id": row.get("id", f"{file}/{n}")}
            for n, row in enumerate(of_place)
        ]
        notes += more
    return rows, notes


def _places(name: str) -> tuple[list[str], list[str]]:
    """What to load: of a folder its files of domains. A note names the others.

    Raises:
        FileNotFoundError: a folder without such a file.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return [name], []
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name.lower().endswith(SUFFIXES)]
    others = ", ".join(path.name for path in files if not _domain(path.name))
    found = [str(path) for path in files if _domain(path.name)]
    if not found:
        raise FileNotFoundError(
            f"{folder} has no file whose name begins with one of {', '.join(DOMAINS)}, such as chat_filtered.json; "
            f"files found: {others or 'none'}. Name one of them by --data"
        )
    return found, [f"files of {folder.name} that are not of one domain, not read: {others}"] if others else []


def _domain(name: str) -> str | None:
    return next((domain for domain in DOMAINS if name.startswith(domain)), None)


def summary(comparisons: Comparisons, outcome: np.ndarray, draws: int = 10_000, seed: int = 0) -> dict:
    """All of RM-Bench's figures for one judge.

    Args:
        outcome: (n,) as `outcomes` makes it.
        draws, seed: of the bootstrap.

    Returns:
        "scores": name -> {"value", "low", "high"} in 0..1, None where a cell that the score needs does not exist.
        Names are KIND_LEVEL with a level of LEVELS and as kind a domain, "official" (mean of the four domains),
        "macro" (mean of the complete domains, listed in "complete_domains") or "pooled" (all rows in one matrix).
        "matrices": the 3 x 3 cells of each domain and "pooled", None where there is none. "missing": why scores are
        None. "counts", "counts_by_domain": won, tied, lost, not scored. "notes": those of the comparisons.
    """
    layout = _layout(comparisons)
    wins, scored = (
        np.bincount(layout.cell, weights=counted, minlength=layout.cells)[None]
        for counted in (outcome == 1, ~np.isnan(outcome))
    )
    cells, pooled = _matrices(wins, scored)
    matrices = dict(zip((*DOMAINS, "pooled"), (*cells[0], pooled[0]), strict=True))
    incomplete = [d for d in DOMAINS if np.isnan(matrices[d]).any()]
    return {
        "scores": statistics.estimates(layout, outcome, draws, seed),
        "matrices": {
            name: [[None if x != x else x for x in row] for row in m.tolist()] for name, m in matrices.items()
        },
        "complete_domains": [d for d in DOMAINS if d not in incomplete],
        "missing": [_why(d, matrices[d], d in comparisons.labels["domain"]) for d in incomplete],
        "counts": statistics.count(outcome),
        "counts_by_domain": statistics.count_by(outcome, comparisons.labels["domain"]),
        "notes": comparisons.notes,
    }


def differences(
    comparisons: Comparisons, first: np.ndarray, second: np.ndarray, draws: int = 10_000, seed: int = 0
) -> dict[str, dict]:
    """The first judge's scores minus the second's with paired intervals, on what both have scored."""
    return statistics.differences(_layout(comparisons), first, second, draws, seed)


def columns(judges: Mapping[str, Mapping]) -> list[str]:
    """Those of COLUMNS that a table shows: of the domains that are there, and averages that some judge has.

    Args:
        judges: label -> `summary` of the same comparisons.
    """
    there = {f"{domain}_average" for summary in judges.values() for domain in summary["counts_by_domain"]}
    return [c for c in COLUMNS if c in there or any(s["scores"][c]["value"] is not None for s in judges.values())]


def headline(
    views: Mapping[str, Comparisons],
    outcomes: Mapping[str, np.ndarray],
    draws: int = 10_000,
    seed: int = 0,
    minus: Mapping[str, np.ndarray] | None = None,
) -> dict[str, float | None]:
    """One figure with its interval: the official average where all four domains are there, else the pooled one.

    Args:
        views, outcomes: view -> its comparisons, and one judge's outcomes on them; here there is one view.
        minus: another judge's outcomes, whose figure is subtracted, paired.
    """
    ((view, comparisons),) = views.items()

    def value(scores: list[dict[str, np.ndarray]]) -> np.ndarray:
        official, pooled = scores[0]["official_average"], scores[0]["pooled_average"]
        return pooled if np.isnan(official[0]) else official

    subtracted = None if minus is None else [minus[view]]
    return statistics.figure(_layout(comparisons), [outcomes[view]], value, draws, seed, minus=subtracted)


def panels(matrices: dict[str, list[list[float | None]]], judge: str) -> dict[str, tuple]:
    """`report.heatmaps` of one judge's matrices as `summary` gives them, without those that hold nothing."""
    right, wrong = [f"right {s}" for s in STYLES], [f"wrong {s}" for s in STYLES]
    filled = {name: m for name, m in matrices.items() if any(x is not None for row in m for x in row)}
    return {f"{name}, {judge}": (matrix, right, wrong) for name, matrix in filled.items()}


def _layout(comparisons: Comparisons) -> statistics.Layout:
    labels = comparisons.labels
    domain = np.array([DOMAINS.index(d) for d in labels["domain"].tolist()])
    cell = (domain * SIZE + labels["chosen_style"]) * SIZE + labels["rejected_style"]
    return statistics.Layout(comparisons.units[comparisons.group], cell, len(DOMAINS) * SIZE**2, _scores)


def _matrices(wins: np.ndarray, scored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Accuracies from (rows, 36) counts: (rows, 4, 3, 3) by domain and (rows, 3, 3) over all rows of the file.

    A pooled cell is NaN where a domain of the file lacks it: the nine cells would not be of the same prompts.
    """
    shape = (len(wins), len(DOMAINS), SIZE, SIZE)
    wins, scored = wins.reshape(shape), scored.reshape(shape)
    pooled = statistics.share(wins.sum(axis=1), scored.sum(axis=1))
    present = scored[0].any(axis=(1, 2), keepdims=True)
    pooled[:, (present & (scored[0] == 0)).any(axis=0)] = np.nan
    return statistics.share(wins, scored), pooled


def _scores(wins: np.ndarray, scored: np.ndarray) -> dict[str, np.ndarray]:
    cells, pooled = _matrices(wins, scored)
    domains = _levels(cells)
    complete = ~np.isnan(cells[0]).any(axis=(1, 2))
    result = {f"{d}_{x}": domains[x][:, k] for k, d in enumerate(DOMAINS) for x in LEVELS}
    result |= {f"official_{x}": domains[x].mean(axis=1) for x in LEVELS}
    nothing = np.full(len(wins), np.nan)
    result |= {f"macro_{x}": domains[x][:, complete].mean(axis=1) if complete.any() else nothing for x in LEVELS}
    return result | {f"pooled_{x}": values for x, values in _levels(pooled).items()}


def _levels(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """easy, normal, hard and their mean from (..., 3, 3) accuracies."""
    upper, diagonal = np.triu_indices(SIZE, 1), np.diag_indices(SIZE)
    hard, normal, easy = (matrix[..., i, j].mean(axis=-1) for i, j in (upper, diagonal, upper[::-1]))
    return {"easy": easy, "normal": normal, "hard": hard, "average": (easy + normal + hard) / 3}


def _why(domain: str, matrix: np.ndarray, present: bool) -> str:
    if not present:
        return f"{domain}: no rows; the official scores are means over all four domains"
    absent = _show((i, j) for i, j in np.argwhere(np.isnan(matrix)).tolist())
    return f"{domain}: no scored comparison of {absent}; a {domain}, official or pooled score that needs one is None"


def _show(cells: Iterable[tuple[int, int]]) -> str:
    return ", ".join(f"{STYLES[i]}-{STYLES[j]}" for i, j in cells)


def _three(texts) -> bool:
    return isinstance(texts, list) and len(texts) == SIZE and all(t is None or isinstance(t, str) for t in texts)


def _repeats(texts: list[str | None]) -> bool:
    present = [text for text in texts if text is not None]
    return len(set(present)) < len(present)


def _cells(row: dict) -> set[tuple[int, int]]:
    """Pairs of styles of which the row has both responses."""
    present = [[k for k, text in enumerate(row[side]) if text is not None] for side in ("chosen", "rejected")]
    return set(product(present[0], present[1]))
