"""A tree of rows against tries and rows read one by one: nodes, states, gradients, and which models may read one."""

import pytest
import torch
from memories import MODELS, SIZES
from tiny_models import VOCAB_SIZE, tiny_model
from transformers import AutoConfig, AutoModelForCausalLM

from rewards.frozen.prefix_tree import can_branch, prefix_tree, reads_trees

ROWS = [[5, 6, 7, 8, 9], [5, 6, 7, 8], [3], [5, 6, 11, 12, 13, 14], [5, 6, 7, 8, 9], [5, 6, 11, 12, 20], [3, 5, 6, 7]]


def padded(rows, side):
    """(B, L) ids and mask; "both" is padded on the left by one more than a row's place."""
    width = max(map(len, rows)) + len(rows)
    ids, mask = torch.full((2, len(rows), width), 0).unbind()
    for i, row in enumerate(rows):
        start = {"left": width - len(row), "right": 0, "both": i}[side]
        ids[i, start : start + len(row)] = torch.tensor(row)
        mask[i, start : start + len(row)] = 1
    return ids, mask


@pytest.mark.parametrize("side", ["left", "right", "both"])
@pytest.mark.parametrize("seed", range(4))
def test_nodes_are_the_distinct_beginnings_and_see_their_own(side, seed):
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 9, (12,), generator=draw).tolist()
    rows = ROWS if seed == 0 else [torch.randint(1, 4, (n,), generator=draw).tolist() for n in lengths]
    ids, mask = padded(rows, side)
    tree = prefix_tree(ids, mask)
    beginnings = {tuple(row[: k + 1]) for row in rows for k in range(len(row))}
    assert len(tree.ids) == len(beginnings)
    found = {}  # node -> the beginning that it stands for
    for row, real, places in zip(rows, mask.bool(), tree.place):
        for k, node in enumerate(places[real].tolist()):
            assert found.setdefault(node, tuple(row[: k + 1])) == tuple(row[: k + 1])
    assert set(found.values()) == beginnings
    for node, beginning in found.items():
        assert (tree.ids[node], tree.positions[node]) == (beginning[-1], len(beginning) - 1)
        seen = {found[other] for other in tree.mask[node].nonzero()[:, 0].tolist()}
        assert seen == {beginning[: k + 1] for k in range(len(beginning))}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(
    "architecture", ["llama", "qwen2", "granite", "cohere", "gpt2", "gpt_neox", "phi", "opt", "mixtral"]
)
def test_states_and_gradients_are_those_of_rows_read_one_by_one(architecture, attention):
    torch.manual_seed(0)
    sizes = SIZES | {"intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    changes = {"opt": {"ffn_dim": 48, "word_embed_proj_dim": 32}, "gpt2": {"n_head": 4}}.get(architecture, {})
    config = AutoConfig.for_model(architecture, **(sizes | changes))
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
    assert can_branch(model)
    ids, mask = padded(ROWS, "left")
    weights = torch.randn(len(ROWS), ids.shape[1], config.hidden_size) * mask[..., None]

    tree = prefix_tree(ids, mask)
    together = tree.rows(model.base_model(**tree.inputs(model), use_cache=False).last_hidden_state)
    (together * weights).sum().backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    for i, row in enumerate(ROWS):
        alone = model.base_model(input_ids=torch.tensor([row]), use_cache=False).last_hidden_state[0]
        torch.testing.assert_close(together[i, -len(row) :], alone, atol=1e-4, rtol=0)
        (alone * weights[i, -len(row) :]).sum().backward()
    for name, p in model.named_parameters():
        if p.grad is not None:
            assert (found[name] - p.grad).norm() <= 1e-4 * p.grad.norm() + 1e-4, name


@pytest.mark.parametrize("architecture", MODELS)
def test_no_model_reads_a_tree_that_remembers_in_another_way(architecture):
    """Recurrences, windows and positions of a mask's own: none of these layers sees what a tree's mask says."""
    changes, _ = MODELS[architecture]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **(SIZES | changes))).eval()
    assert not can_branch(model)


def test_local_attention_that_no_cache_tells_of():
    sizes = {"vocab_size": VOCAB_SIZE, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "window_size": 8}
    config = AutoConfig.for_model("gpt_neo", **sizes, attention_types=[[["global", "local"], 1]])
    assert not can_branch(AutoModelForCausalLM.from_config(config))


@pytest.mark.parametrize("fault", ["positions", "mask", "error"])
def test_a_model_that_gets_trees_wrong_is_found_out(fault):
    model = tiny_model("llama")
    ids = torch.tensor([[5, 6, 7, 8, 9, 10], [5, 6, 7, 11, 12, 13]])
    states = model.base_model(ids).last_hidden_state
    assert reads_trees(model, ids, states)
    real = model.base_model.forward

    def forward(input_ids, position_ids=None, attention_mask=None, **kwargs):
        if attention_mask is not None and fault == "error":
            raise RuntimeError("a mask of two dimensions is expected")
        given = {"positions": {"attention_mask": attention_mask}, "mask": {"position_ids": position_ids}}
        return real(input_ids=input_ids, **given.get(fault, {}), **kwargs)

    model.base_model.forward = forward
    assert not reads_trees(model, ids, states)


def test_rows_that_share_little_make_no_tree():
    ids = torch.arange(64).view(4, 16)
    assert prefix_tree(ids, torch.ones_like(ids), hidden_size=64) is None
    ids[:, :10] = 7
    assert len(prefix_tree(ids, torch.ones_like(ids), hidden_size=64).ids) == 10 + 4 * 6
    # the same shares, but so many tokens beside so few hidden numbers that attention to all of them costs more
    long = ids.repeat_interleave(40, dim=1)
    assert prefix_tree(long, torch.ones_like(long), hidden_size=8) is None
