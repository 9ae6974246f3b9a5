"""Groups of completions whose answers are known to be equal or not, written in many ways."""

import random

# every line is one answer
WRITTEN = [
    ["1/2", "0.5", r"\frac{1}{2}", r"\frac12", r"\dfrac{1}{2}"],
    ["3", "3.0", r"\frac{9}{3}"],
    ["-7", r"-\frac{14}{2}", "-7.0"],
    [r"2\sqrt{2}", r"\sqrt{8}"],
    ["x+1", "1+x"],
    ["1000", "1,000", "10^3"],
    [r"\{1, 2\}", r"\{2,1\}"],
    [r"\text{east}"],
]
NO_ANSWER = ["", "I cannot tell", r"\boxed{}", r"\boxed{3} or \boxed{4"]


def random_groups(n: int = 1000, seed: int = 0):
    """(prompts, completions, groups, labels), one of each a row, and a group's rows in one piece. A label is the line
    of WRITTEN, None without an answer. Groups of 1 to 12; prompts and completions are text or chat messages."""
    draw = random.Random(seed)
    rows = []
    for group in range(n):
        prompt = f"problem {group}"
        if group % 3 == 0:
            prompt = [{"role": "user", "content": f"problem {group - group % 2}, {group % 2}"}]
        known = draw.sample(range(len(WRITTEN)), draw.randint(1, 4))
        for _ in range(draw.randint(1, 12)):
            label = None if draw.random() < 0.15 else draw.choice(known)
            if label is None:
                text = draw.choice(NO_ANSWER)
            else:
                text = draw.choice([r"So \boxed{%s}.", "The answer is $%s$."]) % draw.choice(WRITTEN[label])
            rows.append(
                (prompt, [{"role": "assistant", "content": text}] if draw.random() < 0.3 else text, group, label)
            )
    return tuple(list(column) for column in zip(*rows))


def splits(prompts: list) -> dict[str, tuple[slice, slice]]:
    """Two ways to share the rows between two processes: a cut through a group, not in the middle; and in turns."""
    cut = next(i for i in range(len(prompts) // 3, len(prompts)) if prompts[i - 1] == prompts[i])
    return {"cut": (slice(cut), slice(cut, None)), "turns": (slice(0, None, 2), slice(1, None, 2))}


def brute_force(groups, labels):
    """Both rewards by counting, from labels that are known and not from what is written."""
    rows = {group: [label for g, label in zip(groups, labels) if g == group] for group in set(groups)}
    votes, shares = [], []
    for group, label in zip(groups, labels):
        answers = [a for a in rows[group] if a is not None]
        most = max((answers.count(a) for a in answers), default=0)
        first = next((a for a in answers if answers.count(a) == most), "none")
        votes.append(1.0 if label == first else 0.0)
        shares.append(answers.count(label) / len(rows[group]))
    return {"majority_vote": votes, "cluster_share": shares}
