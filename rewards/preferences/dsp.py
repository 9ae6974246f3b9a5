"""DSP, domain-specific preferences (arXiv 2309.03126): does a prompt steer the judge?

Each query has five responses: of four domains and `normal`, the original one. The official pairing prefers a domain's
response over each of the other four (Linear95/DSP, reward_datasets.py, `--to_pairs`): 4 x 661 = 2,644 comparisons a
domain in the test file. The paper on EndoRM (arXiv 2506.23235) judges all of them under four system prompts and shows
a 4 x 4 table, row = domain of the system prompt, column = test domain. The wording of those prompts is unknown: the
ones in prompts/ are ours, so the shape of the table can be compared with the published one, its numbers hardly.

`normal` is half as long as the others (57 words against 121 to 126), so a judge of length gains or loses on a quarter
of the comparisons. Accuracy is therefore given without `normal`, and on pairs of about equal length, as well.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rewards.preferences import bootstrap as statistics
from rewards.preferences.comparisons import Comparisons, Group, as_prompt, length_scores
from rewards.preferences.rows import check_columns, load_rows
from rewards.reporting.tables import markdown_table, percent

TEST_FILE = (
    "https://raw.githubusercontent.com/Linear95/DSP/850e84fef7688fd25f667d079e0c1276e42eb57f/"
    "data/domain_specific_preference.test.json"
)
DOMAINS = ("academy", "business", "literature", "entertainment")  # in the order of the paper's table
NORMAL = "normal"
VARIANTS = ("", "_without_normal", "_length_matched")
COLUMNS = [*DOMAINS, *(f"average{v}" for v in VARIANTS)]
PROMPTS = Path(__file__).parent / "prompts"


def load(
    name: str = TEST_FILE, split: str = "train", config: str | None = None, chat: bool = True, limit: int | None = None
) -> Comparisons:
    """The official comparisons, from the published file or a local one (columns `query`, `responses`, `id` if any).

    Labels: "domain", the test domain, whose response is preferred, and "opponent". Rows that lack a query or a
    response are left out and counted; an empty response is kept, as in the official pairing.

    Args:
        name, split, config, limit: as `load_rows` takes them.
        chat: prompts as chat messages, else as plain text; no system prompt yet, see `with_system`.
    """
    rows, notes = load_rows(name, split, config, limit)
    check_columns(rows, ["query", "responses"], name)
    kinds = (*DOMAINS, NORMAL)
    groups: list[Group] = []
    built: list[tuple] = []
    for n, row in enumerate(rows):
        given = row.get("responses")
        texts = [given.get(kind) if isinstance(given, dict) else None for kind in kinds]
        if not (isinstance(row.get("query"), str) and all(isinstance(text, str) for text in texts)):
            continue
        g = len(groups)
        built += [(g, i, j, kinds[i], kinds[j]) for i in range(len(DOMAINS)) for j in range(len(kinds)) if i != j]
        groups.append(Group(str(row.get("id", n)), as_prompt(row["query"], chat=chat), texts))
    if len(groups) < len(rows):
        notes.append(f"{len(rows) - len(groups)} rows without a query and five responses left out")
    return Comparisons.build(groups, built, ("domain", "opponent"), notes)


def system_prompts(folder: str | Path = PROMPTS) -> dict[str, str]:
    """Domain -> system prompt, from the files dsp_DOMAIN.txt of a folder; the default ones are our own wording."""
    files = {domain: Path(folder) / f"dsp_{domain}.txt" for domain in DOMAINS}
    absent = [str(file) for file in files.values() if not file.is_file()]
    if absent:
        raise FileNotFoundError(f"no {', '.join(absent)}: put one file per domain there")
    return {domain: file.read_text(encoding="utf-8").strip() for domain, file in files.items()}


def summary(
    comparisons: Comparisons,
    outcome: np.ndarray,
    max_length_ratio: float = 1.25,
    lengths: list[list[float]] | None = None,
    draws: int = 10_000,
    seed: int = 0,
) -> dict:
    """Accuracy per test domain of one judge under one system prompt: one row of the table.

    Args:
        comparisons: these, or any others with the labels "domain" and "opponent".
        outcome: (n,) as `outcomes` makes it.
        max_length_ratio: pairs are length-matched where the longer response is at most so many times the shorter.
        lengths: of all responses; default in characters, `length_scores(groups, tokenizer)` for tokens.
        draws, seed: of the bootstrap.

    Returns:
        "scores": DOMAIN, DOMAIN_without_normal, DOMAIN_length_matched and the averages over domains, each {"value",
        "low", "high"} in 0..1, None where there is no such pair. "counts", "counts_by_domain", "length_matched"
        (comparisons per domain), "max_length_ratio", "notes".
    """
    layout = _layout(comparisons, max_length_ratio, lengths)
    domain, matched = comparisons.labels["domain"], _matched(comparisons, max_length_ratio, lengths)
    return {
        "scores": statistics.estimates(layout, outcome, draws, seed),
        "counts": statistics.count(outcome),
        "counts_by_domain": statistics.count_by(outcome, domain),
        "length_matched": {name: int(matched[domain == name].sum()) for name in _domains(comparisons)},
        "max_length_ratio": max_length_ratio,
        "notes": comparisons.notes,
    }


def differences(
    comparisons: Comparisons,
    first: np.ndarray,
    second: np.ndarray,
    max_length_ratio: float = 1.25,
    lengths: list[list[float]] | None = None,
    draws: int = 10_000,
    seed: int = 0,
) -> dict[str, dict]:
    """The first outcomes' scores minus the second's with paired intervals: two judges, or two system prompts."""
    return statistics.differences(_layout(comparisons, max_length_ratio, lengths), first, second, draws, seed)


def table(summaries: Mapping[str, Mapping], variant: str = "") -> dict:
    """The table of system prompts against test domains.

    Args:
        summaries: domain of the system prompt -> `summary` of the outcomes under it.
        variant: one of VARIANTS.

    Returns:
        "rows", "columns" (test domains that have a row too), "accuracy" (rows x columns, in 0..1 or None), "winners"
        (the row with the highest accuracy of each column, None for a tie) and "diagonal_wins": in how many columns the
        domain's own prompt wins.
    """
    rows = list(summaries)
    columns = [row for row in rows if f"{row}{variant}" in next(iter(summaries.values()))["scores"]]
    accuracy = [[summaries[row]["scores"][f"{column}{variant}"]["value"] for column in columns] for row in rows]
    winners = []
    for values in zip(*accuracy, strict=True):
        best = max((value for value in values if value is not None), default=None)
        winners.append(rows[values.index(best)] if best is not None and values.count(best) == 1 else None)
    wins = sum(winner == column for winner, column in zip(winners, columns, strict=True))
    return {"rows": rows, "columns": columns, "accuracy": accuracy, "winners": winners, "diagonal_wins": wins}


def table_page(table: Mapping) -> str:
    """What `table` gives, as Markdown, with a sentence on how many columns their own prompts win."""
    rows = [[row, *map(percent, values)] for row, values in zip(table["rows"], table["accuracy"])]
    wins = f"A domain's own prompt wins {table['diagonal_wins']} of {len(table['columns'])} columns."
    return f"{markdown_table(['prompt', *table['columns']], rows)}\n{wins}\n"


def headline(
    views: Mapping[str, Comparisons],
    outcomes: Mapping[str, np.ndarray],
    draws: int = 10_000,
    seed: int = 0,
    minus: Mapping[str, np.ndarray] | None = None,
) -> dict[str, float | None]:
    """Mean accuracy of each domain under its own prompt, the table's diagonal, with its interval.

    Args:
        views, outcomes: domain of the system prompt -> the same comparisons under it, and one judge's outcomes there.
        minus: another judge's outcomes, whose figure is subtracted, paired.
    """
    return _figure(views, outcomes, _diagonal, draws, seed, minus)


def steering(
    views: Mapping[str, Comparisons], outcomes: Mapping[str, np.ndarray], draws: int = 10_000, seed: int = 0
) -> dict[str, float | None]:
    """What a domain's own prompt adds: the mean of the table's diagonal less that of its other cells, which is 0 for a
    judge that does not read the prompt, with its interval. Arguments as of `headline`."""

    def value(scores: list[dict[str, np.ndarray]]) -> np.ndarray:
        total = np.sum([of_view[domain] for of_view in scores for domain in DOMAINS], axis=0)
        others = len(DOMAINS) * (len(DOMAINS) - 1)
        return _diagonal(scores) - (total - len(DOMAINS) * _diagonal(scores)) / others

    return _figure(views, outcomes, value, draws, seed)


def _diagonal(scores: list[dict[str, np.ndarray]]) -> np.ndarray:
    return np.mean([of_view[domain] for domain, of_view in zip(DOMAINS, scores, strict=True)], axis=0)


def _figure(views, outcomes, value, draws: int, seed: int, minus=None) -> dict[str, float | None]:
    layout = _layout(views[DOMAINS[0]], max_length_ratio=1.25, lengths=None)
    subtracted = None if minus is None else [minus[domain] for domain in DOMAINS]
    return statistics.figure(layout, [outcomes[domain] for domain in DOMAINS], value, draws, seed, minus=subtracted)


def _domains(comparisons: Comparisons) -> list[str]:
    return list(dict.fromkeys(comparisons.labels["domain"].tolist()))


def _matched(comparisons: Comparisons, max_length_ratio: float, lengths: list[list[float]] | None) -> np.ndarray:
    if max_length_ratio < 1:
        raise ValueError(f"max_length_ratio is {max_length_ratio}; longer by shorter is 1 or more, for example 1.25")
    better, worse = comparisons.gather(length_scores(comparisons.groups) if lengths is None else lengths)
    return np.maximum(better, worse) <= max_length_ratio * np.minimum(better, worse)


def _layout(comparisons: Comparisons, max_length_ratio: float, lengths: list[list[float]] | None) -> statistics.Layout:
    """Cells: domain x (opponent is normal) x (length-matched)."""
    names = _domains(comparisons)
    domain = np.array([names.index(name) for name in comparisons.labels["domain"].tolist()])
    is_normal = comparisons.labels["opponent"] == NORMAL
    cell = (domain * 2 + is_normal) * 2 + _matched(comparisons, max_length_ratio, lengths)

    def scores(wins: np.ndarray, scored: np.ndarray) -> dict[str, np.ndarray]:
        wins, scored = (counts.reshape(-1, len(names), 2, 2) for counts in (wins, scored))
        parts = np.s_[:, :, :, :], np.s_[:, :, :1, :], np.s_[:, :, :, 1:]  # all, opponent not normal, length-matched
        result: dict[str, np.ndarray] = {}
        for variant, part in zip(VARIANTS, parts, strict=True):
            accuracy = statistics.share(wins[part].sum(axis=(2, 3)), scored[part].sum(axis=(2, 3)))
            result |= {f"{name}{variant}": accuracy[:, k] for k, name in enumerate(names)}
            result[f"average{variant}"] = accuracy.mean(axis=1)
        return result

    return statistics.Layout(comparisons.units[comparisons.group], cell, len(names) * 4, scores)
