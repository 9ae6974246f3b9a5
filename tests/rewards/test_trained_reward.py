"""Trained reward models against one unpadded row at a time of plain transformers."""

import pytest
import torch
from helpers import grpo, history, trained
from tiny_models import tiny_config, tiny_model, tiny_tokenizer
from transformers import AutoModelForSequenceClassification
from transformers.models.bert import BertConfig
from trl import GRPOTrainer

from rewards import TrainedReward

CHAT = [{"role": "user", "content": "Hi"}]
PROMPTS = ["ab", CHAT, "c", CHAT]
RESPONSES = ["d", "efghij", [{"role": "assistant", "content": "klm nop"}], [{"role": "assistant", "content": "Q"}]]
# chat messages become the whole conversation, texts are joined
TEXTS = [
    "abd",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nefghij<|im_end|>\n",
    "cklm nop",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nQ<|im_end|>\n",
]


def classifier(architecture="qwen2", **changes):
    torch.manual_seed(0)
    config = tiny_config(architecture, **changes)
    config.num_labels = changes.get("num_labels", 1)
    return AutoModelForSequenceClassification.from_config(config).eval()


def bert():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = BertConfig(vocab_size=97, num_labels=1, max_position_embeddings=64, initializer_range=0.5, **sizes)
    return AutoModelForSequenceClassification.from_config(config).eval()


def one_by_one(model, texts, tokenizer, ends=()):
    with torch.no_grad():
        return [float(model(torch.tensor([tokenizer(t)["input_ids"] + list(ends)])).logits[0, 0]) for t in texts]


@pytest.mark.parametrize("architecture", ["qwen2", "llama", "gemma2", "gpt2", "bert"])
@pytest.mark.parametrize("pad", [0, 2, None])
def test_equals_one_row_at_a_time(architecture, pad):
    """Whether the model names a padding token, names its end token as one, or none at all."""
    model, tokenizer = bert() if architecture == "bert" else classifier(architecture), tiny_tokenizer()
    model.config.pad_token_id = pad
    truth = one_by_one(model, TEXTS, tokenizer)
    for batch_tokens in (1, 100, 16384):
        reward = TrainedReward(model, tokenizer, batch_tokens=batch_tokens)
        assert reward.score(PROMPTS, RESPONSES) == pytest.approx(truth, abs=1e-4)
    assert max(truth) - min(truth) > 0.1


@pytest.mark.parametrize("pad", [0, None])
def test_end_token(pad):
    model, tokenizer = classifier(), tiny_tokenizer()
    model.config.pad_token_id = pad
    truth = one_by_one(model, ["abc", "defghi"], tokenizer, [2])
    ours = TrainedReward(model, tokenizer, append_eos=True).score(["a", "def"], ["bc", "ghi"])
    assert ours == pytest.approx(truth, abs=1e-4)


def test_rewards_of_a_bf16_model_are_fp32():
    model, tokenizer = classifier().to(torch.bfloat16), tiny_tokenizer()
    head = model.score.weight.float()
    with torch.no_grad():
        states = model.model(torch.tensor([tokenizer("abd")["input_ids"]])).last_hidden_state[0, -1]
        truth = float(states.float() @ head[0])
    (ours,) = TrainedReward(model, tokenizer).score(["ab"], ["d"])
    assert ours == pytest.approx(truth, abs=1e-5)
    assert ours != float(torch.tensor(ours).bfloat16())


def test_two_labels_are_refused(tmp_path):
    model = classifier(num_labels=2)
    with pytest.raises(ValueError, match="has 2 labels, and a reward model has one"):
        TrainedReward(model, tiny_tokenizer())
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="score.weight is for 2 labels"):
        TrainedReward.from_pretrained(str(tmp_path))


def test_a_language_model_is_no_reward_model(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="lacks score.weight, which would be random"):
        TrainedReward.from_pretrained(str(tmp_path))


def test_bad_rows():
    model = classifier()
    reward = TrainedReward(model, tiny_tokenizer())
    with pytest.raises(ValueError, match="Row 1 has 65 tokens .*64 positions. Shorten the response"):
        reward.score(["a", "a"], ["b", "b" * 64])
    with pytest.raises(ValueError, match="Row 0 has no tokens"):
        reward.score([""], [""])
    with pytest.raises(ValueError, match="has no chat template"):
        TrainedReward(model, tiny_tokenizer(chat_template=None)).score([CHAT], ["a"])
    with pytest.raises(ValueError, match="Give lists"):
        reward.score("a", "b")
    assert reward.score([], []) == []
    with torch.no_grad():
        model.model.embed_tokens.weight[tiny_tokenizer()("x")["input_ids"][0]] = float("nan")
    with pytest.raises(ValueError, match=r"NaN or infinite rewards for rows \[1\]"):
        reward.score(["a", "b"], ["b", "x"])


def test_from_pretrained_in_an_unmodified_trl_trainer(saved_model, tmp_path):
    model = classifier()
    del model.config.id2label, model.config.label2id  # a config that does not say how many labels there are
    model.save_pretrained(tmp_path / "rm")
    tiny_tokenizer().save_pretrained(tmp_path / "rm")
    reward = TrainedReward.from_pretrained(str(tmp_path / "rm"), device="cpu")
    seen = []

    def watch(prompts, completions, **_):
        seen.extend(zip(prompts, completions))
        return [0.0] * len(prompts)

    trainer = trained(grpo(saved_model, tmp_path, cls=GRPOTrainer, rewards=[reward, watch], max_steps=1))
    truth = one_by_one(model, [p + c for p, c in seen], reward.tokenizer)
    assert history(trainer, "rewards/trained_reward/mean")[0] == pytest.approx(sum(truth) / len(truth), rel=1e-3)
