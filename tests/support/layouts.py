"""All layouts of collections, by name."""

from layouts_answers import ANSWERS
from layouts_chosen import CHOSEN
from layouts_worked import WORKED

LAYOUTS = WORKED | ANSWERS | CHOSEN
