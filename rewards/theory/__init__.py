"""The theorems of arXiv 2506.23235 where they can be computed exactly: small token MDPs, float64, no network.

`token_mdp` has the dynamic programmes, `worst_case` the exact worst imitator, `constructions` the MDPs on which bounds
are attained, `bounds` the bounds and their arguments. `verify_theory.py` in
scripts/experiments/theory/ puts them together.
"""
