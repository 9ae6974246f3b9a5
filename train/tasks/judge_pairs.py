"""A task that trains a judge: which of two answers to "What is the capital of Peru?" is right?

A row of its files holds a chat and `winner`, "A" or "B", the verdict that the reward `right_verdict` pays for. The
chat has one worked example and the pair to judge, and begins the answer, which goes on " Lima. Verdict: [[A]]": a
reason, then the verdict. One response names the country's capital, the other that of another country on the same side
of the split.

    python -m train.tasks.judge_pairs --output outputs/judge_pairs/data

Beside them stands `template.json`, by which a judge that was trained on these rows judges responses for the reward
`pairwise_judge`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from train.tasks.capitals import CAPITALS, question_of, split_countries

INSTRUCTION = "Which response is right? Write the right capital in one sentence, and then the verdict."
EXAMPLE = ("Japan", "Seoul", "Tokyo", "B")  # country, the capitals that A and B name, who is right; asked of nobody


def sentence(country: str, capital: str) -> str:
    """A response, e.g. ``The capital of Peru is Lima.``."""
    return f"The capital of {country} is {capital}."


def pair_prompt(country: str, first: str, second: str) -> list[dict]:
    """The chat that asks which of two capitals is right. Its last message is the beginning of the answer."""
    shown, a, b, winner = EXAMPLE
    return [
        {"role": "system", "content": INSTRUCTION},
        {"role": "user", "content": _asked(shown, a, b)},
        {"role": "assistant", "content": _judged(shown, a if winner == "A" else b, winner)},
        {"role": "user", "content": _asked(country, first, second)},
        {"role": "assistant", "content": f"The capital of {country} is"},
    ]


def judge_template() -> list[dict]:
    """`pair_prompt` as the template of a `pairwise_judge` (`rewards.judges.templates`), which knows no country: the
    answer begins one word earlier."""
    *shown, _, _ = pair_prompt("", "", "")
    asked = "\n".join(["{prompt}", "{response_a} Verdict: [[A]]", "{response_b} Verdict: [[B]]"])
    return [*shown, {"role": "user", "content": asked}, {"role": "assistant", "content": "The capital of"}]


def _judged(country: str, capital: str, verdict: str) -> str:
    return f"{sentence(country, capital)} Verdict: [[{verdict}]]"


def _asked(country: str, first: str, second: str) -> str:
    # a response stands before the verdict for it, as in the answer: a small model copies what followed once before
    return "\n".join([question_of(country), _judged(country, first, "A"), _judged(country, second, "B")])


def pair_rows(countries: Sequence[str], rng: np.random.Generator) -> list[dict]:
    """Two rows a country, one pair in both orders: a judge that always says the same is right in half of them.

    Args:
        countries: those asked for; the wrong capital is another one's of them.
        rng: draws wrong capitals.

    Returns:
        rows with "prompt", "winner" "A" and then "B", and "country", "right", "wrong".

    Raises:
        ValueError: fewer than two countries.
    """
    if len(countries) < 2:
        raise ValueError(f"{len(countries)} countries make no pair: leave at least two on each side of the split.")
    rows = []
    for i, country in enumerate(countries):
        other = countries[(i + int(rng.integers(1, len(countries)))) % len(countries)]
        right, wrong = CAPITALS[country][0], CAPITALS[other][0]
        for winner, shown in (("A", (right, wrong)), ("B", (wrong, right))):
            row = {"prompt": pair_prompt(country, *shown), "winner": winner, "country": country}
            rows.append(row | {"right": right, "wrong": wrong})
    return rows


def write_splits(data_dir: str | Path, n_heldout: int = 64, seed: int = 0) -> tuple[Path, Path]:
    """Write ``train.jsonl``, ``heldout.jsonl`` and ``template.json`` into ``data_dir``, made if absent, and return the
    paths of the first two.

    Countries are split as for the questions of `capitals`; the example's is left out. See `pair_rows` for the rows.
    """
    folder = Path(data_dir)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    paths = []
    for name, countries in zip(("train", "heldout"), split_countries(n_heldout, seed), strict=True):
        asked = [country for country in countries if country != EXAMPLE[0]]
        rows = pair_rows(asked, rng)
        paths.append(folder / f"{name}.jsonl")
        paths[-1].write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    template = json.dumps(judge_template(), ensure_ascii=False, indent=1)
    (folder / "template.json").write_text(template + "\n", encoding="utf-8")
    return paths[0], paths[1]


def main(argv: list[str] | None = None) -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/judge_pairs/data"), help="folder of the files")
    parser.add_argument("--seed", type=int, default=0, help="which countries are held out")
    args = parser.parse_args(argv)
    sizes = [sum(1 for _ in path.open(encoding="utf-8")) for path in write_splits(args.output, seed=args.seed)]
    print(f"{args.output}: {sizes[0]} pairs to train on, {sizes[1]} held out")


if __name__ == "__main__":
    main()
