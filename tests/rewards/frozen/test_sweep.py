"""EndoRM under many settings from one set of scores."""

import pytest
from tiny_models import tiny_model, tiny_tokenizer

from rewards import EndoRM, FrozenBase
from rewards.frozen.sweep import ScoredResponses, Setting, grid


@pytest.fixture
def base(saved_model):
    return EndoRM.from_pretrained(saved_model, device="cpu").base


SETTINGS = grid(
    alpha=(1.0, 0.5),
    discount=(1.0, 0.9),
    floor=(0.0, 0.5),
    form=("reward", "logprob"),
    reduce=("sum", "mean"),
    terminal=("uniform", "zero", "bootstrap"),
    end_token=(True, False),
)


def test_a_sweep_is_endorm_setting_by_setting():
    base, tokenizer = FrozenBase(tiny_model()), tiny_tokenizer()
    prompts, texts = ["a+b=", "x", "cde"], ["cd", "y", "efghij"]
    ids = [tokenizer(t)["input_ids"] + [2] for t in texts]
    scored = ScoredResponses(base.score([tokenizer(p)["input_ids"] for p in prompts], ids, (0.5, 1.0)))
    assert len(SETTINGS) == len(set(SETTINGS)) == 192
    for setting in SETTINGS:
        fields = {k: getattr(setting, k) for k in ("alpha", "discount", "floor", "form", "reduce", "terminal")}
        rm = EndoRM(base, tokenizer, append_eos=setting.end_token, **fields)
        assert scored.rewards(setting).tolist() == pytest.approx(rm.score(prompts, texts), abs=1e-4), setting
    assert str(Setting(discount=0.9, end_token=False)) == "discount 0.9, end_token False"


def test_what_a_sweep_cannot_do(saved_model):
    scored = ScoredResponses(FrozenBase(tiny_model()).score([[5]], [[2]]))
    assert scored.rewards(Setting(end_token=False)).isnan().all()
    with pytest.raises(ValueError, match="alpha 0.5"):
        scored.rewards(Setting(alpha=0.5))
