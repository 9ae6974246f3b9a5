"""Every experiment's page holds the table that its script makes of the saved results, and the index lists all."""

import re
import shutil

import pytest
from tiny_models import ROOT

from scripts import load_script

FOLDER = ROOT / "scripts/experiments"
SCRIPTS = sorted(p for p in FOLDER.rglob("*.py") if "def committed_table(" in p.read_text(encoding="utf-8"))


def test_every_experiment_has_a_script_that_makes_its_table():
    folders = {folder.name for folder in FOLDER.iterdir() if folder.is_dir() and folder.name[0] not in "._"}
    assert {path.parent.name for path in SCRIPTS} == folders


def test_the_index_lists_every_experiment():
    rows = [line for line in (FOLDER / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    linked = [re.search(r"\[(\w+)\]\((\w+)\) \|$", row) for row in rows[2:]]
    assert sorted(found.group(1) for found in linked) == sorted(path.parent.name for path in SCRIPTS)
    assert all(found.group(1) == found.group(2) for found in linked)


@pytest.mark.parametrize("page", sorted(FOLDER.rglob("*.md")), ids=lambda page: str(page.relative_to(FOLDER)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.parent.name)
def test_writing_the_page_again_changes_nothing_and_runs_nothing(path, monkeypatch, tmp_path):
    script, page = load_script(path.stem), (path.parent / "README.md").read_text(encoding="utf-8")
    for name in ("README", "RESULTS"):
        monkeypatch.setattr(script, name, tmp_path / getattr(script, name).name)
    (tmp_path / "README.md").write_text(page, encoding="utf-8")
    shutil.copytree(path.parent / "results", tmp_path / "results")
    monkeypatch.setattr("sys.argv", [path.name, "--write_readme"])
    script.main()
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == page


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.parent.name)
def test_the_page_has_the_table_of_the_saved_results(path):
    page = (path.parent / "README.md").read_text(encoding="utf-8")
    between = page.split("<!-- results:begin -->")[1].split("<!-- results:end -->")[0]
    assert between.strip() == load_script(path.stem).committed_table().strip()
