r"""The one grader: what a response's final answer is, and which answers are equal.

`accuracy`, majority vote, clusters and evaluation all use it. It keeps no clock, works in any thread, and gives the
same verdict on a busy machine.

The answer of a text:

- The last ``\boxed{...}`` or ``\fbox{...}`` (``\boxed 5`` too). A last box that never closes (a response that was cut
  off in it) or is empty is no answer, whatever was boxed before: a response that begins another box has taken the
  earlier answer back.
- Boxes with nothing but ",", ";", "and", "or" or a space between them are one list: ``1,2`` of
  ``\boxed{1} and \boxed{2}``. All of a gold answer with several parts has to be there, and nothing else, in any order.
  Of a reference solution with such boxes the last alone is right too, as MATH's own grader has it.
- In a reference solution what follows ``####`` in the last line (GSM8K) goes before any box.
- Without any box, what follows the last "answer is", "answer:" and the like; without that, the last formula or number.
  A full stop, comma or reason after it is no part of it. How much text follows does not matter.

Two answers are equal if their tidied texts are, or else the values that math-verify reads, part by part:

- Rational numbers exactly, whatever their size, irrational ones to 1,000 digits, expressions with variables by their
  values at several points, equations and inequalities up to a factor, sets of real numbers as sets.
- A decimal is the number that is written: 0.333 is not 1/3. `tolerance` allows for rounding.
- A per cent sign may be a unit or a factor: 50 % is 50 and 1/2. Units and the degree sign are not compared.
- 2516_8 is a number in base 8. Without a base, the other's digits are taken in the same one.
- 1,000 is a number and 1,22 a list, or 1.22 where the other is written with a decimal point.
- ``(1,2)`` is an open interval or a pair, whose order matters; ``1,2`` may stand for it in that order, ``\{1,2\}`` and
  ``[1,2]`` not. Without brackets the order of a list does not matter.
- ``x=5`` is 5. Words are compared as words, without regard to case.
- What would need a number of over 200,000 bits, or has over 1,000 characters, is compared as a text only. Sums,
  products, integrals and limits are not computed: they are equal if they are written alike.
"""

from rewards.answers.boxes import box_start, boxed_answer, has_box, last_boxed
from rewards.answers.clusters import answer_reader, cluster_answers, equivalent, extract_answer
from rewards.answers.equality import matches
from rewards.answers.grading import final_answer, gold_answer, gold_answers, is_right, marked_answer

__all__ = [
    "answer_reader",
    "box_start",
    "boxed_answer",
    "cluster_answers",
    "equivalent",
    "extract_answer",
    "final_answer",
    "gold_answer",
    "gold_answers",
    "has_box",
    "is_right",
    "last_boxed",
    "marked_answer",
    "matches",
]
