"""Images as tokens and back."""

import json
import sys

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from train.tasks import digit_images
from train.tasks.arithmetic_model import build_model
from train.tasks.digit_images import LENGTH, LEVELS, PIXELS, add_noise, draw_images, image_tokenizer, token_rows


def test_the_two_halves_are_all_images_once():
    pytest.importorskip("sklearn", reason="needs scikit-learn: pip install -e '.[images]'")
    (a, of_a), (b, of_b) = digit_images.split_digits()
    images, classes = digit_images.read_digits()
    assert abs(len(a) - len(b)) <= 1
    assert sorted(map(tuple, np.vstack([a, b]))) == sorted(map(tuple, images))
    assert (np.bincount(np.concatenate([of_a, of_b])) == np.bincount(classes)).all()
    assert images.min() == 0
    assert images.max() == len(LEVELS) - 1


def test_without_scikit_learn_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match="'.\\[images\\]'"):
        digit_images.read_digits()


def test_noise_spoils_its_share_and_nothing_else():
    images = np.full((200, PIXELS), 3)
    assert (add_noise(images, 0.0, np.random.default_rng(0)) == images).all()
    changed = (add_noise(images, 0.4, np.random.default_rng(0)) != images).mean()
    assert changed == pytest.approx(0.4 * 15 / 16, abs=0.01)  # one level in 16 is drawn as it was
    assert (images == 3).all()


def test_a_row_of_tokens_is_its_text(tmp_path):
    images = np.arange(2 * PIXELS).reshape(2, PIXELS) % 16
    rows = token_rows(images, np.array([7, 0]), image_tokenizer())
    assert rows.shape == (2, LENGTH)
    image_tokenizer().save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "7" + "".join(LEVELS[i] for i in images[0])
    assert loaded.decode(rows[0], skip_special_tokens=True) == text
    assert loaded(text)["input_ids"] == rows[0].tolist()


@pytest.mark.parametrize("written", ["f", "9"])
def test_what_a_model_draws(written, monkeypatch):
    """A model that knows one token only: a level, or something that is none."""
    tokenizer = image_tokenizer()
    token = tokenizer.convert_tokens_to_ids(written)
    model = build_model(tokenizer, 16, 1, positions=LENGTH).eval()
    forward = model.forward

    def always(*args, **kwargs):
        out = forward(*args, **kwargs)
        out.logits = torch.full_like(out.logits, -1e9)
        out.logits[..., token] = 0.0
        return out

    monkeypatch.setattr(model, "forward", always)
    images = draw_images(model, np.array([1, 2]), seed=0)
    assert images.shape == (2, PIXELS)
    assert (images == (LEVELS.index("f") if written == "f" else -1)).all()


def test_prompts_are_of_all_classes_alike(tmp_path):
    digit_images.write_prompts(tmp_path / "folder" / "prompts.jsonl", 30)
    prompts = [json.loads(line)["prompt"] for line in (tmp_path / "folder" / "prompts.jsonl").open()]
    assert sorted(prompts) == sorted("0123456789" * 3)


@pytest.mark.slow
def test_a_short_training_learns_something(one_thread):
    images = np.tile(np.arange(PIXELS) % 4, (40, 1))
    classes = np.arange(40) % 10
    sizes = {"noise": 0.0, "seed": 0, "steps": 120, "batch_size": 16, "hidden": 32, "layers": 1}
    model = digit_images.imitate_images(images, classes, **sizes)
    drawn = draw_images(model, classes, seed=0)
    assert (drawn == images).mean() > 0.5  # 1 in 16 by chance
