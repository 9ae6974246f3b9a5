"""Files, folders, saved datasets and the hub: which rows, and what is said where there are none."""

import json

import datasets
import pytest
from datasets import Dataset, DatasetDict

from rewards.reading import sources
from rewards.reading.sources import load_table

ROW = {"problem": "a", "answer": 5}
LINE = json.dumps(ROW) + "\n"
CONFIGS = """---
configs:
- config_name: main
  data_files: [{split: train, path: data/a.jsonl}]
- config_name: socratic
  data_files: [{split: test, path: data/b.csv}]
---
"""


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return str(folder)


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet", "csv", "tsv"])
def test_a_file_is_any_split(tmp_path, kind):
    place = tmp_path / f"rows.{kind}"
    data = Dataset.from_list([ROW] * 10)
    if kind in ("json", "jsonl"):
        data.to_json(place, lines=kind == "jsonl")
    elif kind == "parquet":
        data.to_parquet(place)
    else:
        data.to_csv(place, sep={"csv": ",", "tsv": "\t"}[kind])
    answer = "5" if kind in ("csv", "tsv") else 5
    for split, size in (("train", 10), ("test", 10), ("train[:20%]", 2), ("x[8:]", 2)):
        table = load_table(str(place), split)
        assert table.rows() == [ROW | {"answer": answer}] * size
    assert "configuration main is not used" in load_table(str(place), config="main").notes[-1]
    with pytest.raises(ValueError, match="split 'train.:2' cannot be read"):
        load_table(str(place), "train[:2")


def test_folders_by_the_names_of_files(tmp_path):
    place = write(
        tmp_path, {"train.jsonl": LINE, "test.jsonl": LINE * 2, "more.jsonl": LINE, "README.md": "---\n---\n"}
    )
    assert len(load_table(place)) == 1
    table = load_table(place, "train+test[1:]")
    assert len(table) == 2
    assert table.notes == [f"{place}: files whose names tell no split are not read: more.jsonl"]
    with pytest.raises(ValueError, match="no split 'validation', but train, test. Choose with --split"):
        load_table(place, "validation", choose="--split")


def test_a_folder_of_one_problem_a_file(tmp_path):
    names = [f"train/{kind}/{i}.json" for kind in ("algebra", "geometry") for i in "12"]
    files = {name: json.dumps(ROW | {"name": name}, indent=1) for name in names}
    assert len(load_table(write(tmp_path, files | {"test/algebra/1.json": json.dumps(ROW)}))) == 4


def test_numbers_of_several_files_stay_as_they_are(tmp_path):
    place = write(tmp_path, {"a.jsonl": LINE, "b.jsonl": '{"problem": "b", "answer": "x"}\n{"answer": 2.5}\n'})
    assert load_table(place).column("answer") == [5, "x", 2.5]
    for name, answer in (("a", 5), ("b", "x")):
        (tmp_path / f"{name}.jsonl").unlink()
        Dataset.from_list([{"answer": answer}]).to_parquet(tmp_path / f"{name}.parquet")
    with pytest.raises(ValueError, match="a.parquet, .*b.parquet do not have the same columns"):
        load_table(place)


def test_configurations_are_named(tmp_path):
    place = write(tmp_path, {"README.md": CONFIGS, "data/a.jsonl": LINE, "data/b.csv": "problem,answer\na,5\n"})
    assert load_table(place, "train", "main").rows() == [ROW]
    for config, message in ((None, "available configs: "), ("x", "not found. Available: ")):
        with pytest.raises(ValueError, match=rf"{message}\['main', 'socratic'\]. Choose with --config"):
            load_table(place, "train", config, "--config")
    with pytest.raises(ValueError, match="no split 'test', but train"):
        load_table(place, "test", "main")


def test_what_save_to_disk_wrote(tmp_path):
    data = Dataset.from_list([ROW] * 3)
    data.save_to_disk(tmp_path / "one")
    DatasetDict({"train": data}).save_to_disk(tmp_path / "several")
    assert len(load_table(str(tmp_path / "one"), "train[:2]")) == 2
    assert len(load_table(str(tmp_path / "several"))) == 3
    with pytest.raises(ValueError, match=r"split 'test' cannot be read.*\['train'\]"):
        load_table(str(tmp_path / "several"), "test")


@pytest.mark.parametrize(
    ("files", "name", "error", "message"),
    [
        ({}, "absent.jsonl", FileNotFoundError, "absent.jsonl is no file in .*correct the path"),
        ({"a.txt": "x"}, "a.txt", ValueError, "none of .jsonl, .json, .csv.*convert it"),
        ({"a.txt": "x"}, ".", ValueError, "the folder .* holds none of .jsonl"),
        ({"a.csv": "x\n1\n", "b.jsonl": LINE}, ".", ValueError, "holds CSV and JSON files; keep one kind"),
        ({"a.csv": "problem\n"}, "a.csv", ValueError, "has no rows; name another file or split"),
        ({"a.json": "[]"}, "a.json", ValueError, "has no rows"),
        ({"a.parquet": "x"}, "a.parquet", ValueError, "a.parquet is not Parquet.*download the file again"),
        ({"a.parquet": ""}, "a.parquet", ValueError, "a.parquet is empty"),
        ({"a.parquet": "version https://git-lfs"}, "a.parquet", ValueError, "git lfs pull"),
    ],
)
def test_bad_places_are_refused_with_the_fix(tmp_path, files, name, error, message):
    write(tmp_path, files)
    with pytest.raises(error, match=message):
        load_table(f"{tmp_path}/{name}")


def test_the_hub_says_what_it_has(monkeypatch):
    def load_dataset(name, config, split):
        if split == "train":
            return Dataset.from_list([ROW])
        raise ConnectionError("no") if split == "x" else ValueError("Unknown split. Should be one of ['train'].")

    monkeypatch.setattr(sources, "load_dataset", load_dataset)
    assert load_table("some/set").rows() == [ROW]
    with pytest.raises(ValueError, match=r"some/set: Unknown split.*\['train'\]. Choose with --split"):
        load_table("some/set", "test", choose="--split")
    with pytest.raises(ConnectionError, match="no file or folder of this name in .*; local files end in .jsonl"):
        load_table("some/set", "x")


def test_an_address_is_read_as_a_file(tmp_path, monkeypatch):
    class Manager:
        def download(self, address):
            (tmp_path / "copy").write_text(LINE)
            return str(tmp_path / "copy")

    monkeypatch.setattr(datasets, "DownloadManager", Manager)
    assert load_table("https://a.b/rows.jsonl?download=true").rows() == [ROW]
