"""What the grader accepts on real benchmarks, and whether hostile text can hang it.

    python scripts/check_grading.py --data FOLDER --output outputs/check_grading.json
    python scripts/check_grading.py --benchmarks mine=my_problems.jsonl

FOLDER holds files such as math500.jsonl. Prints, for each benchmark, the share of right answers that are accepted (in
a box, in a formula without a box, alone, at the end of a sentence, and of whole solutions), then the share of other
problems' answers that are accepted, all of those listed whose text differs; then how often the reward `accuracy` and
evaluation differ on solutions that were cut, changed and boxed anew; then 1,000 hostile strings.
"""

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rewards.preferences.rows import load_rows
from rewards.reporting.record import record
from rewards.reporting.tables import markdown_table, percent
from rewards.verifiable import Accuracy
from train.evaluation.grading import SECONDS, Graders
from train.evaluation.problems import PAPER, load_benchmark


def hostile(n: int, seed: int = 0) -> Iterator[tuple[str, str]]:
    """(kind, response) of n strings that broke graders before, or might."""
    rng = random.Random(seed)
    kinds = {
        "nested braces": lambda: r"\boxed{" + "{" * (d := rng.randint(1, 300)) + "5" + "}" * d + "}",
        "nested roots": lambda: r"\boxed{" + r"\sqrt{" * (d := rng.randint(1, 60)) + "2" + "}" * d + "}",
        "nested boxes": lambda: r"\boxed{" * rng.randint(2, 2000) + "5" + "}" * rng.randint(0, 2000),
        "unbalanced": lambda: "".join(rng.choices([r"\boxed{", "{", "}", "$", r"\frac", "5", r"\left(", "^"], k=200)),
        "empty": lambda: rng.choice(
            ["", " ", "\n", r"\boxed{}", r"\boxed{ }", "$$", r"\boxed", "\x00", r"\boxed{\,}"]
        ),
        "unicode": lambda: r"\boxed{" + "".join(chr(rng.randrange(32, 0xD7FF)) for _ in range(60)) + "}",
        "astral": lambda: "".join(chr(rng.randrange(0x1F300, 0x1FAFF)) for _ in range(60)) + " 5\u202e\u0665²",
        "ascii": lambda: r"\boxed{" + "".join(chr(rng.randrange(32, 127)) for _ in range(40)) + "}",
        "many digits": lambda: r"\boxed{" + "7" * rng.randint(5000, 50000) + "}",
        "small power": lambda: rf"\boxed{{{rng.randint(2, 99)}^{{{rng.randint(2, 9999)}}}}}",
    }
    slow = {
        "giant power": lambda: rf"\boxed{{{rng.randint(2, 99)}^{{{rng.randint(2, 99)}^{{{rng.randint(9, 99)}^9}}}}}}",
        "factorial": lambda: rf"\boxed{{{rng.randint(10**6, 10**9)}!}}",
        "expansion": lambda: rf"\boxed{{(x+1)^{{{rng.randint(10**5, 10**7)}}}}}",
        "deep braces": lambda: r"\boxed{" + "{" * 5000 + "5" + "}" * 5000 + "}",
        "1 MB": lambda: rng.choice(["a", "$", r"\boxed{", "{", "1+", "\\", "9", "é", "x^"]) * 2**20,
        "1 MB box": lambda: r"\boxed{" + rng.choice(["a", "9", " ", "é"]) * 2**20 + "}",
    }
    for i in range(n):  # one in fifty is of a kind that may take all the time it is given
        kind, make = rng.choice(list((slow if i % 50 == 0 else kinds).items()))
        yield kind, make()


def solutions_of(spec: str, data: str | None) -> dict[str, str]:
    """The worked solutions of a benchmark's file, by id; none where it is no file or has none."""
    name, _, place = spec.partition("=")
    files = [Path(place)] if place else sorted(Path(data or ".").glob(f"{name}.json*"))
    rows = load_rows(str(files[0]))[0] if files and files[0].is_file() else []
    return {str(row["id"]): row["solution"] for row in rows if "id" in row and isinstance(row.get("solution"), str)}


def corrupted(texts: list[str], golds: list[str], n: int, seed: int = 0) -> Iterator[tuple[str, str]]:
    """n pairs of a response and a gold answer: solutions that were cut, changed and boxed anew.

    Args:
        texts, golds: solutions (or answers) and the gold answer of each.
    """
    rng = random.Random(seed)
    marks = ["{", "}", "\\", "$", r"\boxed{", "^", "!", "%", " ", ".", ",", "_8", r"\frac", "(", "π", "²"]
    for _ in range(n):
        i, other = rng.randrange(len(texts)), rng.randrange(len(texts))
        text, gold, wrong = texts[i], golds[i], golds[other]
        cut = rng.randrange(len(text) + 1)
        yield (
            rng.choice(
                [
                    text,
                    text[:cut],
                    text[cut:],
                    text[:cut] + rng.choice(marks) + text[cut:],
                    text[:cut] + text[cut + rng.randint(1, 4) :],
                    text.replace(r"\boxed", ""),
                    text + rf" \boxed{{{wrong}}}",
                    text + r" so \boxed{",
                    f"The answer is {wrong}.",
                    rf"\fbox{{{gold}}}" + " tail" * rng.randint(0, 2000),
                    rf"\boxed{{{gold}}} and \boxed{{{wrong}}}",
                    rf"\boxed {gold}$ {wrong}",
                ]
            ),
            rng.choice([gold, gold, wrong]),
        )


def disagreements(pairs: list[tuple[str, str]], graders: Graders) -> list[list]:
    """The pairs on which the reward `accuracy`, in this process, and evaluation, in others, differ."""
    texts, golds = [text for text, _ in pairs], [[gold] for _, gold in pairs]
    names = {1.0: "right", 0.0: "wrong", None: "ungraded"}
    rewards = [names[reward] for reward in Accuracy("gold")(completions=texts, gold=golds)]
    grades = graders.grade(texts, golds)
    return [[*pair, r, g.verdict, g.reason] for pair, r, g in zip(pairs, rewards, grades) if r != g.verdict]


def check_benchmark(spec: str, data: str | None, graders: Graders, shuffles: int, pairs: int) -> dict:
    """Shares of right and of other problems' answers accepted, with the answers that decide it."""
    _, problems, _ = load_benchmark(spec, data)
    golds = [p.golds for p in problems]
    first = [g[0] for g in golds]
    forms = {
        "boxed": [rf"Thus we get $\boxed{{{a}}}$." for a in first],
        "without a box": [f"Therefore, the final answer is ${a}$." for a in first],
        "alone": first,
        "in a sentence": [f"So the answer is {a}." for a in first],
    }
    solutions = solutions_of(spec, data)
    if all(p.id in solutions for p in problems):
        forms["solution"] = [solutions[p.id] for p in problems]
    report = {"problems": len(problems), "refused": {}}
    for form, texts in forms.items():
        grades = graders.grade(texts, golds)
        report[form] = sum(g.verdict == "right" for g in grades) / len(grades)
        report["refused"][form] = [
            [p.id, p.golds[0], g.answer, g.verdict] for p, g in zip(problems, grades) if g.verdict != "right"
        ]
    made = list(corrupted(forms.get("solution", forms["boxed"]), first, pairs))
    report |= {"pairs": len(made), "reward and evaluation differ": disagreements(made, graders)}
    report["shuffled"], report["accepted though shuffled"] = [], []
    for seed in range(shuffles):
        others = random.Random(seed).sample(first, len(first))
        grades = graders.grade([rf"\boxed{{{a}}}" for a in others], golds)
        taken = [(a, g[0]) for a, g, grade in zip(others, golds, grades) if grade.verdict == "right"]
        report["shuffled"].append(len(taken) / len(problems))
        report.setdefault("shuffled and ungraded", []).append(sum(g.verdict == "ungraded" for g in grades))
        report["accepted though shuffled"] += [list(pair) for pair in taken if pair[0] != pair[1]]
        report.setdefault("same text", []).append(sum(a == g for a, g in taken) / len(problems))
    return report


def main(argv: list[str] | None = None) -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of benchmark files; without one they are read from the hub")
    parser.add_argument("--benchmarks", nargs="+", default=list(PAPER), help="names, or NAME=FILE")
    parser.add_argument("--shuffles", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=2000, help="changed solutions of each benchmark")
    parser.add_argument("--hostile", type=int, default=1000, help="strings")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for one answer")
    parser.add_argument("--output", help="JSON file for all of it")
    args = parser.parse_args(argv)
    start = time.perf_counter()
    with Graders(args.workers, args.seconds) as graders:
        reports = {
            spec.partition("=")[0]: check_benchmark(spec, args.data, graders, args.shuffles, args.pairs)
            for spec in args.benchmarks
        }
        total = sum(r["problems"] for r in reports.values())
        columns = ("boxed", "without a box", "alone", "in a sentence", "solution")
        rows = []
        for name, r in reports.items():
            shuffled, same = (sum(r[key]) / args.shuffles for key in ("shuffled", "same text"))
            rows.append([name, r["problems"], *(percent(r.get(c)) for c in columns), percent(shuffled), percent(same)])
        print(markdown_table(["accepted, %", "problems", *columns, "shuffled", "of them the same text"], rows))
        pooled = sum(sum(r["shuffled"]) / args.shuffles * r["problems"] for r in reports.values()) / total
        print(f"Shuffled, all {total} problems: {percent(pooled)} % accepted. Those with another text (answer, gold):")
        for name, r in reports.items():
            for answer, gold in r["accepted though shuffled"]:
                print(f"  {name}: {answer!r} for {gold!r}")
        for name, r in reports.items():
            differ = r["reward and evaluation differ"]
            print(f"{name}: reward and evaluation differ on {len(differ)} of {r['pairs']} changed solutions")
            for line in differ:
                print(f"  {line}")
        for name, r in reports.items():
            for form, refused in r["refused"].items():
                for line in refused:
                    print(f"  refused, {name}, {form}: {line}")
        graded, verdicts, replaced = [], Counter(), graders.replaced
        for kind, text in hostile(args.hostile):
            graders.ask("equivalent", "1", "1")  # a worker that had to be replaced has started
            begin = time.perf_counter()
            grade = graders.grade([text], [["5"]])[0]
            graded.append((time.perf_counter() - begin, kind, grade.verdict, grade.reason))
            verdicts[f"{kind}: {grade.verdict} {grade.reason}".strip()] += 1
    slowest = max(graded, default=(0.0, ""))
    facts = {"strings": len(graded), "slowest_seconds": slowest[0], "workers_replaced": graders.replaced - replaced}
    print(f"Hostile: {facts}, slowest {slowest[1]!r}")
    print("\n".join(f"  {n:4d} {what}" for what, n in sorted(verdicts.items())))
    print(f"{time.perf_counter() - start:.0f} s")
    if args.output:
        made = record(vars(args), argv if argv is None else ["scripts/check_grading.py", *argv])
        report = made | {
            "benchmarks": reports,
            "pooled_shuffled": pooled,
            "hostile": facts | {"verdicts": dict(verdicts)},
        }
        Path(args.output).parent.mkdir(parents=True, exist_ok=True)
        Path(args.output).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
