"""Beyond text: a model of noisy images improves them by its own frozen reward, without a label or a clean image.

    pip install -e '.[images]'
    python scripts/experiments/images/improve_images.py --output outputs/images

A small autoregressive model imitates digits in which a share of the pixels is noise. PPO (ppo.yaml beside this file)
trains it with EndoRM, by the same trainer as any language model. A classifier that has learned from other, clean
images says whether a drawn image shows the digit that was asked for. Writes results.json, results.md and images.png.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.svm import SVC
from tqdm import tqdm
from transformers import AutoModelForCausalLM

from rewards.reporting.intervals import student
from rewards.reporting.record import record
from rewards.reporting.stages import LAUNCH_ONE, run_stage
from rewards.reporting.tables import markdown_table, with_interval, write_between
from train.tasks.digit_images import (
    SIDE,
    add_noise,
    draw_images,
    image_tokenizer,
    imitate_images,
    split_digits,
    write_prompts,
)

SCRIPT = Path(__file__).resolve()
RESULTS, README, ROOT = SCRIPT.parent / "results", SCRIPT.with_name("README.md"), SCRIPT.parents[3]
RECIPE = SCRIPT.with_name("ppo.yaml")
SOURCES = {  # name of a row, which model, temperature
    "base": ("base", 1.0),
    "base, temperature 0.7": ("base", 0.7),
    "PPO with EndoRM": ("ppo", 1.0),
    "PPO with EndoRM, KL 0.01": ("loose", 1.0),
    "PPO with a random reward": ("random", 1.0),
}
TRAININGS = {  # folder: fields of the recipe
    "ppo": {"--rewards": '[{"name": "endorm"}]'},
    "loose": {"--rewards": '[{"name": "endorm"}]', "--kl_coef": "0.01"},
    "random": {"--rewards": '[{"name": "random"}]'},
}
DATA = ("clean images", "noisy images")
MEASURES = {"accuracy": ".3f", "distance": ".2f", "diversity": ".2f"}
SHOWN = 4  # images of each class in the picture


def measures(images: np.ndarray, classes: np.ndarray, judge: SVC, clean: np.ndarray, of: np.ndarray) -> dict:
    """What there is to know of drawn images.

    Args:
        images, classes: (n, 64) levels and (n,) the classes that were asked for.
        judge: the classifier.
        clean, of: images and their classes to compare with, none of which any model has seen.

    Returns:
        "accuracy": share whose class is right; "distance": levels a pixel to the nearest clean image of the class,
        means over images; "diversity": levels a pixel between two drawn images of a class, means over pairs.
    """
    distance, diversity = [], []
    for c in range(10):
        own, real = images[classes == c].astype(float), clean[of == c].astype(float)
        distance += np.abs(own[:, None] - real[None]).mean(-1).min(1).tolist()
        between = np.abs(own[:, None] - own[None]).mean(-1)
        diversity.append(between[~np.eye(len(own), dtype=bool)].mean())
    right = judge.predict(images) == classes
    return {"accuracy": right.mean(), "distance": np.mean(distance), "diversity": np.mean(diversity)}


def one_seed(seed: int, args: argparse.Namespace) -> tuple[list[dict], dict[str, np.ndarray]]:
    """Make a base, train it, and measure what each model draws; with the images of the picture."""
    folder, tokenizer = args.output.resolve() / f"seed{seed}", image_tokenizer()
    (images, labels), (clean, of) = split_digits()
    judge = SVC(gamma=0.001 * (16 / 15) ** 2, C=10).fit(clean, of)
    base = imitate_images(images, labels, noise=args.noise, seed=seed, steps=args.base_steps)
    base.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    write_prompts(folder / "prompts.jsonl", 1280)
    for name, fields in TRAININGS.items():
        command = [*LAUNCH_ONE, str(ROOT / "train/ppo_endorm.py"), "--config", str(RECIPE), "--seed", str(seed)]
        command += [word for field in fields.items() for word in field] + ["--max_steps", str(args.max_steps)]
        command += ["--model_name_or_path", str(folder / "base"), "--output_dir", str(folder / name)]
        run_stage([*command, "--dataset_name", str(folder / "prompts.jsonl")], folder / f"{name}.txt")
    classes = np.repeat(np.arange(10), args.n // 10)
    rng = np.random.default_rng([seed, 3])
    real = np.concatenate([rng.choice(images[labels == c], args.n // 10) for c in range(10)])
    drawn = dict(zip(DATA, (real, add_noise(real, args.noise, rng))))
    for name, (place, temperature) in SOURCES.items():
        model = AutoModelForCausalLM.from_pretrained(folder / place, dtype=torch.float32).eval()
        drawn[name] = draw_images(model, classes, seed, temperature)
    rows = [{"seed": seed, "name": n, **measures(x, classes, judge, clean, of)} for n, x in drawn.items()]
    each = args.n // 10
    shown = {n: x.reshape(10, each, -1)[:, :SHOWN] for n, x in drawn.items()}
    return rows, shown


def markdown(rows: list[dict]) -> str:
    """A row for each kind of image: means over seeds with 95 % intervals of Student's t."""
    table = []
    for name in dict.fromkeys(row["name"] for row in rows):
        cells = []
        for measure, form in MEASURES.items():
            values = [row[measure] for row in rows if row["name"] == name]
            cells.append(with_interval(*student(values), form) if len(values) > 1 else format(values[0], form))
        table.append([name, *cells])
    heads = ["images", "recognised", "levels to the nearest clean image", "levels between two of a class"]
    return markdown_table(heads, table)


def committed_table() -> str:
    """The README's table, from results/results.json."""
    return markdown(json.loads((RESULTS / "results.json").read_text(encoding="utf-8"))["rows"])


def draw(shown: dict[str, np.ndarray], path: Path) -> None:
    """A panel for each kind of image: classes from left to right, some images of each below one another."""
    figure = Figure(figsize=(10, 8.4))
    panels = figure.subplots(4, 2, squeeze=False).ravel()
    for panel, (name, images) in zip(panels, shown.items()):
        tiles = images.reshape(10, -1, SIDE, SIDE)
        tiles = np.pad(tiles, ((0, 0), (0, 0), (1, 0), (1, 0)), constant_values=0)
        picture = np.concatenate([np.concatenate(list(column), axis=0) for column in tiles], axis=1)
        panel.imshow(picture, cmap="gray_r", vmin=0, vmax=15, interpolation="nearest")
        panel.set_title(name)
        panel.set_axis_off()
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main(argv: list[str] | None = None) -> None:
    """Command line entry: every seed, then the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/images"), help="folder for models and results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of models, PPO and sampling")
    parser.add_argument("--noise", type=float, default=0.15, help="share of pixels that are drawn anew")
    parser.add_argument("--base_steps", type=int, default=1200, help="optimizer steps of the base")
    parser.add_argument("--max_steps", type=int, default=240, help="steps of PPO")
    parser.add_argument("--n", type=int, default=1000, help="images drawn of each model, a tenth of each class")
    parser.add_argument("--write_readme", action="store_true", help="only write the table of results/ to the README")
    args = parser.parse_args(argv)
    if args.write_readme:
        write_between(README, "results", committed_table())
        return
    start = time.perf_counter()
    settings = {k: v for k, v in vars(args).items() if k not in ("output", "write_readme")}
    made = record(settings, None if argv is None else [SCRIPT.relative_to(ROOT), *argv])
    torch.set_num_threads(1)
    rows: list[dict] = []
    for i, seed in enumerate(tqdm(args.seeds, desc="seeds")):
        found, shown = one_seed(seed, args)
        rows += found
        if i == 0:
            draw(shown, args.output / "images.png")
    results = {"rows": rows, "seconds": round(time.perf_counter() - start)} | made
    (args.output / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    text = markdown(rows)
    (args.output / "results.md").write_text(text, encoding="utf-8")
    print(f"{text}\nWrote results.json, results.md and images.png to {args.output} ({results['seconds']} s)")


if __name__ == "__main__":
    main()
