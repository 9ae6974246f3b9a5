"""Bars stand where their labels are, side by side by seed, and their whiskers end where the intervals do."""

import pytest
from matplotlib.figure import Figure

from rewards.reporting.bars import draw_bars

LABELS = ["base", "under\nteacher"]


def share(seed, label):
    value = 0.2 + 0.1 * seed + 0.3 * label
    return value, (value - 0.05, value + 0.02)


@pytest.mark.parametrize("seeds", [[7], [0, 4], [1, 2, 3]])
@pytest.mark.parametrize("titles", [["greedy"], ["sampled", "greedy"]])
def test_every_share_has_its_bar_and_interval(seeds, titles, tmp_path, monkeypatch):
    drawn, real = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (drawn.append(self), real(self, *a, **k)))
    panels = {title: {seed: [share(k, i) for i in range(2)] for k, seed in enumerate(seeds)} for title in titles}
    draw_bars(panels, LABELS, "accuracy", tmp_path / "bars.png")
    assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")
    assert [axis.get_title() for axis in drawn[0].axes] == titles
    for axis in drawn[0].axes:
        assert [text.get_text() for text in axis.get_xticklabels()] == LABELS
        assert axis.get_ylabel() == "accuracy"
        groups = [c for c in axis.containers if hasattr(c, "patches")]
        assert [c.get_label() for c in groups] == [f"seed {seed}" for seed in seeds]
        centres = [[bar.get_x() + bar.get_width() / 2 for bar in group] for group in groups]
        for label in range(2):
            row = [places[label] for places in centres]
            assert sum(row) / len(row) == pytest.approx(label)  # around their label
            assert all(b - a > groups[0][0].get_width() for a, b in zip(row, row[1:]))  # none covers another
            assert max(row) - min(row) + groups[0][0].get_width() < 1  # or reaches into the next label's
        for k, group in enumerate(groups):
            ends = [line[:, 1] for line in group.errorbar.lines[2][0].get_segments()]
            for label, (bar, (low, high)) in enumerate(zip(group, ends)):
                value, interval = share(k, label)
                assert bar.get_height() == pytest.approx(value)
                assert (low, high) == pytest.approx(interval)
    assert drawn[0].axes[-1].get_legend() is not None
