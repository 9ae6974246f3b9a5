"""Every experiment's page holds the table that its script makes of the saved results."""

import pytest
from tiny_models import ROOT

from scripts import load_script

FOLDER = ROOT / "scripts/experiments"
SCRIPTS = sorted(p for p in FOLDER.rglob("*.py") if "def committed_table(" in p.read_text(encoding="utf-8"))


def test_every_experiment_has_a_script_that_makes_its_table():
    assert {p.parent.name for p in SCRIPTS} == {p.name for p in FOLDER.iterdir() if (p / "README.md").is_file()}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.parent.name)
def test_the_page_has_the_table_of_the_saved_results(path):
    page = (path.parent / "README.md").read_text(encoding="utf-8")
    between = page.split("<!-- results:begin -->")[1].split("<!-- results:end -->")[0]
    assert between.strip() == load_script(path.stem).committed_table().strip()
