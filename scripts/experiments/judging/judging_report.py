"""What the judges of the demo show: accuracies with bootstrap intervals, two tables and a figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from rewards.reporting.intervals import bootstrap_mean
from rewards.reporting.tables import markdown_table, with_interval


def share_beaten(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the other D - 1 responses that each of D ``scores (..., D)`` is above, and equal to.

    The first is the accuracy of a judge that should prefer that response, with ties as losses; the second its ties.
    Both have the shape of ``scores``.
    """
    others = scores.shape[-1] - 1
    above = (scores[..., :, None] > scores[..., None, :]).sum(-1)
    equal = (scores[..., :, None] == scores[..., None, :]).sum(-1) - 1
    return above / others, equal / others


def domain_cells(outcomes: Mapping[str, tuple[np.ndarray, np.ndarray]], columns: Sequence[str]) -> list[dict]:
    """Accuracy, its interval over questions, and ties, of every judge in every column.

    ``outcomes`` holds for each judge what :func:`share_beaten` returns, two arrays ``(questions, columns)``.
    """
    cells = []
    for row, (wins, ties) in outcomes.items():
        for column, accuracy, interval, tied in zip(columns, *bootstrap_mean(wins), ties.mean(0), strict=True):
            numbers = {"accuracy": float(accuracy), "ci95": interval.tolist(), "ties": float(tied)}
            cells.append({"row": row, "column": column, **numbers})
    return cells


def column_winners(wins: Mapping[str, np.ndarray], columns: Sequence[str]) -> dict[str, dict]:
    """For every column the row with the largest mean, and how far the row of the column's own name is above the best
    other row, with its paired interval over questions; ``wins`` holds ``(questions, columns)`` for every row."""
    found = {}
    for i, column in enumerate(columns):
        mean = {row: values[:, i].mean() for row, values in wins.items()}
        rival = max((row for row in mean if row != column), key=mean.get)
        margin, interval = bootstrap_mean(wins[column][:, i] - wins[rival][:, i])
        found[column] = {
            "largest": column if mean[column] > mean[rival] else rival,
            "rival": rival,
            "above_rival": {"difference": float(margin), "ci95": interval.tolist()},
        }
    return found


def judgement(margins: np.ndarray, reference: np.ndarray | None = None) -> dict:
    """Accuracy of a judge by its ``margins (n,)``, score of the right minus score of the wrong response, with interval
    and ties (losses); and how far a ``reference`` judge of the same pairs is above it, with the paired interval."""
    right = (margins > 0).astype(float)
    accuracy, interval = bootstrap_mean(right)
    row = {"accuracy": float(accuracy), "ci95": interval.tolist(), "ties": float((margins == 0).mean())}
    if reference is not None:
        above, interval = bootstrap_mean((reference > 0) - right)
        row["endorm_above"] = {"difference": float(above), "ci95": interval.tolist()}
    return row


def labels_worth(free: dict, trained: Sequence[dict]) -> dict[str, int | None]:
    """By start of the trained reward models, the smallest number of labels whose accuracy is not below the ``free``
    judge's; None where every number tried is below."""
    starts = dict.fromkeys(row["start"] for row in trained)
    enough = [row for row in trained if row["accuracy"] >= free["accuracy"]]
    return {start: min((r["labels"] for r in enough if r["start"] == start), default=None) for start in starts}


def draw(results: dict, path: Path) -> None:
    """The table of domains as a heatmap, and accuracy by number of labels with 95% intervals, as a PNG."""
    steering, trained = results["steering"], results["labels"]["bradley_terry"]
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows, columns = list(steering["length_correlation"]), list(steering["winners"])
    cells = {(cell["row"], cell["column"]): cell["accuracy"] for cell in steering["cells"]}
    grid = np.array([[cells[row, column] for column in columns] for row in rows])
    left.imshow(grid, vmin=0, vmax=1, cmap="RdYlGn", aspect="auto")
    for (i, j), value in np.ndenumerate(grid):
        left.text(j, i, f"{value:.2f}", ha="center", va="center", weight="bold" if i == j else "normal")
    left.set_xticks(range(len(columns)), columns, fontsize=8)
    left.set_yticks(range(len(rows)), rows, fontsize=8)
    left.set(xlabel="domain of the response", ylabel="system line of the judge", title="Does a prompt steer it?")
    for start in results["labels"]["worth"]:
        curve = [row for row in trained if row["start"] == start]
        accuracy, interval = np.array([row["accuracy"] for row in curve]), np.array([row["ci95"] for row in curve]).T
        bars = {"yerr": np.abs(interval - accuracy), "capsize": 3, "marker": "o"}
        right.errorbar([row["labels"] for row in curve], accuracy, label=f"Bradley-Terry, {start}", **bars)
    free = results["labels"]["endorm"][0]
    right.axhline(free["accuracy"], color="tab:green", label="EndoRM, no label")
    right.axhspan(*free["ci95"], color="tab:green", alpha=0.2)
    right.axhline(0.5, color="grey", ls=":", label="chance")
    ticks = sorted({row["labels"] for row in trained})
    right.set_xscale("log")
    right.set_xticks(ticks, [f"{k:,}" for k in ticks])
    right.minorticks_off()
    right.set(xlabel="labelled pairs", ylabel="accuracy", ylim=(0.4, 1.03), title="How many labels is it worth?")
    right.legend(fontsize=8)
    figure.savefig(path, dpi=100)


def markdown(results: dict) -> str:
    """Both experiments of one seed as Markdown tables, with sentences on what they show."""
    return f"{_domains_markdown(results['steering'])}\n{_labels_markdown(results['labels'])}"


def over_seeds(results: Sequence[dict]) -> str:
    """The main figures of several seeds as one Markdown table, a column for each seed."""
    columns = []
    for run in results:
        steering, labels = run["steering"], run["labels"]
        diagonal = [cell["accuracy"] for cell in steering["cells"] if cell["row"] == cell["column"]]
        rivals = [row for row in labels["bradley_terry"] if row["start"] == "from the noisy expert"]
        column = {
            "columns that their own system line wins": f"{steering['diagonal_wins']} of {len(steering['winners'])}",
            "smallest and largest accuracy on the diagonal": f"{min(diagonal):.3f}, {max(diagonal):.3f}",
            f"EndoRM on {labels['problems']:,} pairs, no label": f"**{_shown(labels['endorm'][0])}**",
        }
        named = {f"Bradley-Terry from the same LM, {row['labels']:,} labels": _shown(row) for row in rivals}
        columns.append(column | named)
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    return markdown_table(["", *(f"seed {run['seed']}" for run in results)], rows)


def _domains_markdown(steering: dict) -> str:
    columns, cells, ties = list(steering["winners"]), {}, {}
    for cell in steering["cells"]:
        row, shown = cell["row"], _shown(cell)
        cells.setdefault(row, []).append(f"**{shown}**" if row == cell["column"] else shown)
        judge = "EndoRM" if row in steering["length_correlation"] else row
        ties[judge] = max(cell["ties"], ties.get(judge, 0.0))
    most_ties = ", ".join(f"{judge} {share:.3f}" for judge, share in ties.items())
    correlation = ", ".join(f"{row} {r:.2f}" for row, r in steering["length_correlation"].items())
    table = markdown_table(["judge", *columns], [[row, *shown] for row, shown in cells.items()])
    return (
        f"Does a prompt steer the reward? Accuracy on {steering['questions']} held-out questions of preferring "
        "the response of the column's domain to those of the other three, by EndoRM under the row's system line "
        f"(95 % interval; ties are losses)\n\n{table}\n"
        f"The diagonal is the largest entry of {steering['diagonal_wins']} of {len(columns)} columns and of "
        f"{steering['diagonal_largest_in_row']} of {len(columns)} rows. Most ties in a cell: {most_ties}. "
        f"Correlation of EndoRM's reward with the number of words: {correlation}.\n"
    )


def _labels_markdown(labels: dict) -> str:
    def line(name: str, row: dict, k: int = 0) -> list[str]:
        above = _shown(row["endorm_above"], "difference") if "endorm_above" in row else ""
        accuracy = f"**{_shown(row)}**" if row.get("primary", False) else _shown(row)
        return [name, f"{k:,}", accuracy, f"{row['ties']:.3f}", above]

    rows = []
    for row in labels["endorm"]:
        mark = " (primary)" if row["primary"] else ""
        rows.append(line(f"EndoRM, {row['form']}, discount {row['discount']:g}{mark}", row))
    rows += [line(f"Bradley-Terry, {row['start']}", row, row["labels"]) for row in labels["bradley_terry"]]
    rows.append(line("length only", labels["length_only"]))
    most = max(row["labels"] for row in labels["bradley_terry"])
    worth = ", ".join(f"{start} {f'{k:,}' if k else f'more than {most:,}'}" for start, k in labels["worth"].items())
    table = markdown_table(["judge", "labels", "accuracy", "ties", "EndoRM (primary) is above by"], rows)
    return (
        f"How many labels is it worth? Accuracy on a right and a wrong response to each of {labels['problems']} "
        f"held-out problems (95 % interval; ties are losses)\n\n{table}\n"
        f"Labels a Bradley-Terry reward model of the same size needs to judge as well: {worth}. EndoRM saw no "
        f"label, but its model read {labels['demonstrations']:,} demonstrations of an expert that is right in "
        f"{labels['expert_right']:.3f} of its responses.\n"
    )


def _shown(row: dict, key: str = "accuracy") -> str:
    return with_interval(row[key], *row["ci95"])
