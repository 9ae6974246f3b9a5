"""Rows for the rewards that read a reference answer: with a box, without one, and with one that is never closed."""

PROMPTS = ["1+1=", "2*3=", "1+1="]
COMPLETIONS = [r"so \boxed{7} and \boxed{1}.", "none", r"\fbox {3"]
SOLUTIONS = [r"It is \boxed{12}.", "6", "12"]
