"""The order of the house: names, imports, sizes, docstrings, pages. A change that breaks one of them is seen here."""

import ast
import hashlib
import re
import statistics
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from tiny_models import ROOT

SOURCE = [path for part in ("rewards", "train", "scripts") for path in sorted((ROOT / part).rglob("*.py"))]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PAGES = [ROOT / "README.md"]
PAGES += [page for part in ("rewards", "train", "scripts", "configs", "tests") for page in (ROOT / part).rglob("*.md")]
ENTRIES = ("ppo_endorm", "grpo_endorm")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, inside functions too. A name from a package counts as well."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: import by the full name"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_no_file_or_folder_hides_a_library():
    """Python looks for modules in the folder of the running script before it looks at the libraries."""
    ours = {"rewards", "train", "scripts", "tests"}
    libraries = (set(packages_distributions()) | set(sys.stdlib_module_names)) - ours
    folders = {ROOT / "train", ROOT / "train/evaluation", *(path.parent for path in (ROOT / "scripts").rglob("*.py"))}
    for folder in folders:
        names = {path.stem for path in folder.iterdir() if path.is_dir() or path.suffix == ".py"} - {"__init__"}
        assert not names & libraries, f"{name_of(folder)}: also the names of libraries: {names & libraries}"


def test_imports_go_one_way():
    """scripts -> train -> rewards -> rewards/reporting, nothing back."""
    scripts = {path.stem for path in (ROOT / "scripts").rglob("*.py")}
    barred = {"rewards/reporting": {"train", "scripts"}, "rewards": {"train", "scripts"}, "train": {"scripts"}}
    for folder, above in barred.items():
        for path in (ROOT / folder).rglob("*.py"):
            found = imported(path)
            if folder == "rewards/reporting":
                inside = {name for name in found if name.split(".")[0] == "rewards"}
                assert all(name.startswith("rewards.reporting") for name in inside), name_of(path)
            tops = {name.split(".")[0] for name in found}
            assert not tops & (above | scripts), f"{name_of(path)} imports {tops & (above | scripts)}"


@pytest.mark.parametrize("path", [*SOURCE, *TESTS], ids=name_of)
def test_files_and_functions_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 400
    for node in ast.walk(tree(path)):
        if isinstance(node, FUNCTIONS):
            assert node.end_lineno - node.lineno < 80, f"{node.name} has {node.end_lineno - node.lineno + 1} lines"


def test_half_of_the_files_fit_on_two_screens():
    paths = [*SOURCE, *(ROOT / "tests").rglob("*.py")]
    assert statistics.median(len(path.read_text(encoding="utf-8").splitlines()) for path in paths) <= 120


def test_nine_of_ten_public_functions_have_a_docstring():
    found = {}
    for path in SOURCE:
        outer = [tree(path), *(n for n in ast.walk(tree(path)) if isinstance(n, ast.ClassDef) and n.name[0] != "_")]
        for node in (n for scope in outer for n in scope.body if isinstance(n, FUNCTIONS) and n.name[0] != "_"):
            found[f"{name_of(path)}:{node.lineno} {node.name}"] = ast.get_docstring(node) is not None
    without = [name for name, documented in found.items() if not documented]
    assert len(without) <= 0.1 * len(found), "\n".join(without)


def test_train_holds_what_runs_inside_a_training():
    """At most 24 files on its top level, and the two entry scripts reach all of them by imports."""
    files = {path.stem: path for path in (ROOT / "train").glob("*.py") if path.stem != "__init__"}
    reached, waiting = set(), {f"train.{name}" for name in ENTRIES}
    while waiting:
        module = waiting.pop()
        path = ROOT / f"{module.replace('.', '/')}.py"
        if module not in reached and path.is_file():
            reached.add(module)
            waiting |= {name for name in imported(path) if name.split(".")[0] == "train"}
    unreached = sorted(name for name in files if f"train.{name}" not in reached)
    assert not unreached, f"not reached by {' and '.join(ENTRIES)}: {unreached}"
    assert len(files) <= 24, sorted(files)


def test_the_readme_is_one_that_is_read():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 180
    wide = [line for line in lines if len(line) > 160 and not line.startswith("|")]
    assert not wide, wide


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_between_pages_lead_somewhere(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:|#", target)]
    missing = [target for target in targets if not (page.parent / target.split("#")[0]).exists()]
    assert not missing, missing


def test_every_room_has_a_page():
    rooms = [ROOT / name for name in ("rewards", "train", "train/evaluation", "scripts", "configs", "tests")]
    rooms += [ROOT / "scripts/bench", ROOT / "scripts/experiments"]
    rooms += [path for path in (ROOT / "scripts/experiments").iterdir() if path.is_dir() and path.name[0] not in "_."]
    assert not [name_of(room) for room in rooms if not (room / "README.md").is_file()]


def test_every_command_is_in_the_table_of_commands():
    text = (ROOT / "scripts/README.md").read_text(encoding="utf-8")
    commands = [path for path in (ROOT / "scripts").iterdir() if path.suffix in (".py", ".sh")]
    commands += [path for path in (ROOT / "scripts/cluster").iterdir() if path.is_file()]
    assert not [name_of(path) for path in commands if path.name not in text]


def test_no_result_is_stored_twice():
    seen: dict[str, Path] = {}
    for path in sorted(p for p in (ROOT / "scripts").rglob("*") if "results" in p.parts and p.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        assert content not in seen, f"{name_of(path)} and {name_of(seen[content])} are equal"
        seen[content] = path
