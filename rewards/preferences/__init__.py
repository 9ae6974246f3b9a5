"""Preference benchmarks as data and arithmetic: rows become comparisons, scores outcomes, and outcomes tables.

No model runs here. `rm_bench`, `dsp` and `pairs` each have the same four things: `load` makes the comparisons,
`summary` gives one judge's scores with intervals, `differences` those of two judges on the same comparisons, and
`headline` the one figure by which settings are compared. `dsp` has `steering` too, what a prompt adds.
"""

from rewards.preferences.comparisons import Comparisons, Group, floors, outcomes, with_system

__all__ = ["Comparisons", "Group", "floors", "outcomes", "with_system"]
