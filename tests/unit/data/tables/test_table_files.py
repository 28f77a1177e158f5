"""Which files a path names: globs, folders of shards, configurations and splits."""

from pathlib import Path

import pytest

from hybrid_dist.data.tables.table_files import find_tables
from hybrid_dist.errors import UserError
from tests.support.published_files import write


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        write(folder / name, "x")
    return folder


def names(*paths: Path | str, config: str | None = None, split: str | None = None) -> list[str]:
    return [name for _, name in find_tables([str(path) for path in paths], config, split)]


def test_shards_of_a_folder_come_in_order_and_other_files_do_not(tmp_path: Path) -> None:
    shards = ["part-00.jsonl", "part-01.jsonl.gz", "deep/part-02.jsonl"]
    others = ["README.md", ".cache/part.jsonl", ".hidden.jsonl", "dataset_info.json", "a.txt"]
    fill(tmp_path, *reversed(shards), *others)
    assert names(tmp_path) == ["deep/part-02.jsonl", "part-00.jsonl", "part-01.jsonl"]


def test_files_and_globs_are_named_once(tmp_path: Path) -> None:
    fill(tmp_path, "b.csv", "a.csv", "c.parquet")
    both = names(tmp_path / "b.csv", f"{tmp_path}/*.csv")
    assert both == ["b.csv", "a.csv"]
    assert names(tmp_path / "a.csv", tmp_path / "c.parquet") == ["a.csv", "c.parquet"]


def test_equal_names_of_two_folders_are_told_apart(tmp_path: Path) -> None:
    for lang in ("de", "en"):
        fill(tmp_path / lang, "a.csv", f"{lang}.csv")
    assert names(tmp_path / "de", tmp_path / "en/a.csv") == [
        f"{tmp_path}/de/a.csv",
        "de.csv",
        f"{tmp_path}/en/a.csv",
    ]


def test_several_formats_in_a_folder_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, "a.csv", "a.parquet")
    with pytest.raises(UserError, match=r"files of several formats, such as a.csv and a.parquet"):
        names(tmp_path)
    assert names(f"{tmp_path}/*.csv") == ["a.csv"]


@pytest.mark.parametrize("path", ["none.csv", "*.csv", ""])
def test_what_is_not_there_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        names(f"{tmp_path}/x/{path}" if path else "")
    with pytest.raises(UserError, match=rf"{tmp_path}: no table; expected files of jsonl"):
        names(tmp_path)


SPLIT = [
    "de/train-00000-of-00002.parquet",
    "de/train-00001-of-00002.parquet",
    "de/dev-00000-of-00001.parquet",
    "pt-BR/train-00000-of-00001.parquet",
]


@pytest.mark.parametrize(
    ("config", "split", "expected"),
    [
        ("de", "train", SPLIT[:2]),
        ("de", "validation", [SPLIT[2]]),
        ("de", "dev", [SPLIT[2]]),
        ("pt-BR", None, [SPLIT[3]]),
        (None, "train", [*SPLIT[:2], SPLIT[3]]),
        ("de", "train,dev", sorted(SPLIT[:3])),
        ("de", "all", sorted(SPLIT[:3])),
    ],
)
def test_names_tell_configuration_and_split(
    tmp_path: Path, config: str | None, split: str | None, expected: list[str]
) -> None:
    assert sorted(names(fill(tmp_path, *SPLIT), config=config, split=split)) == sorted(expected)


def test_a_split_has_to_be_chosen(tmp_path: Path) -> None:
    fill(tmp_path, *SPLIT)
    with pytest.raises(UserError, match=r"several splits; give the option split=NAME \(it has"):
        names(tmp_path)
    with pytest.raises(UserError, match=r"has no split 'trian'; did you mean 'train'"):
        names(tmp_path, split="trian")
    with pytest.raises(UserError, match=r"no file or folder is named after config 'fr'"):
        names(tmp_path, config="fr")


@pytest.mark.parametrize("path", ["train.csv", "*.csv"])
@pytest.mark.parametrize("options", [{"split": "train"}, {"config": "de"}])
def test_files_and_globs_have_no_configuration_and_no_split(
    tmp_path: Path, path: str, options: dict[str, str]
) -> None:
    fill(tmp_path, "train.csv")
    with pytest.raises(UserError) as refusal:
        names(tmp_path / path, **options)
    assert str(refusal.value) == (
        f"{tmp_path}/train.csv: config and split need a folder or hf://, not a file or glob"
    )
    assert names(tmp_path / path, split="all") == ["train.csv"]


def test_a_split_beside_files_of_none_has_to_be_chosen(tmp_path: Path) -> None:
    fill(tmp_path, "mills.jsonl", "mills_test.jsonl")
    with pytest.raises(UserError) as refusal:
        names(tmp_path)
    assert str(refusal.value) == (
        f"{tmp_path}: has files of the split test, and files without a split in their names, such "
        "as mills.jsonl; give the option split=test or split=all, or name the files"
    )
    assert names(tmp_path, split="test") == ["mills_test.jsonl"]
    assert names(tmp_path, split="all") == ["mills.jsonl", "mills_test.jsonl"]


def test_a_folder_without_splits_says_so(tmp_path: Path) -> None:
    fill(tmp_path, "mills.csv")
    with pytest.raises(UserError, match=r"has no split 'train' \(it has none\)"):
        names(tmp_path, split="train")


README = """---
license: cc0
configs:
- config_name: deu
  data_files:
  - split: train
    path: data/deu-*.jsonl
  - split: test
    path: [data/held/deu.jsonl]
- config_name: fra
  data_files: data/fra-*.jsonl
---
# Data
"""


@pytest.mark.parametrize(
    ("config", "split", "expected"),
    [
        ("deu", "train", ["data/deu-0.jsonl", "data/deu-1.jsonl"]),
        ("deu", "test", ["data/held/deu.jsonl"]),
        ("deu", "train,test", ["data/deu-0.jsonl", "data/deu-1.jsonl", "data/held/deu.jsonl"]),
        ("deu", "all", ["data/deu-0.jsonl", "data/deu-1.jsonl", "data/held/deu.jsonl"]),
        ("fra", None, ["data/fra-0.jsonl"]),
    ],
)
def test_the_hubs_list_tells_configuration_and_split(
    tmp_path: Path, config: str, split: str | None, expected: list[str]
) -> None:
    fill(tmp_path, *(f"data/{n}.jsonl" for n in ("deu-0", "deu-1", "fra-0", "held/deu", "x")))
    write(tmp_path / "README.md", README)
    assert names(tmp_path, config=config, split=split) == expected


def test_the_hubs_list_is_named_in_errors(tmp_path: Path) -> None:
    fill(tmp_path, "data/deu-0.jsonl")
    write(tmp_path / "README.md", README)
    for config, split, message in (
        (None, None, r"has several configs; give the option config=NAME \(it has deu, fra\)"),
        ("deu", None, r"has several splits; give the option split=NAME \(it has train, test\)"),
        ("de", None, r"has no config 'de'; did you mean 'deu'\? \(it has deu, fra\)"),
        ("fra", None, f"{tmp_path}: README.md lists files for config fra, and none is there"),
    ):
        with pytest.raises(UserError, match=message):
            names(tmp_path, config=config, split=split)


FOLDERS = """---
configs:
- config_name: german
  data_dir: de
- config_name: french
  data_dir: ./fr/
  data_files: null
- config_name: year
  data_dir: 2024
- config_name: both
  data_dir: fr
  data_files: test-*.jsonl
---
"""


def test_a_listed_folder_is_a_configuration(tmp_path: Path) -> None:
    fill(tmp_path, "de/part.jsonl", "fr/train-0.jsonl", "fr/test-0.jsonl")
    write(tmp_path / "README.md", FOLDERS)
    with pytest.raises(UserError, match=r"give the option config=NAME \(it has both, german, "):
        names(tmp_path)
    with pytest.raises(UserError, match=r"several splits; .* \(it has test, train\)"):
        names(tmp_path, config="french")
    assert names(tmp_path, config="german") == ["de/part.jsonl"]
    assert names(tmp_path, config="french", split="train") == ["fr/train-0.jsonl"]
    assert names(tmp_path, config="both") == ["fr/test-0.jsonl"]
    fill(tmp_path, "2024/a.jsonl")
    assert names(tmp_path, config="year") == ["2024/a.jsonl"]
    (tmp_path / "de/part.jsonl").unlink()
    with pytest.raises(UserError, match=r"README.md lists files for config german, and none is"):
        names(tmp_path, config="german")


@pytest.mark.parametrize(
    "readme", ["", "---\nconfigs: [\n---\n", "---\nconfigs: 7\n---\n", "# x\n"]
)
def test_a_readme_without_a_list_changes_nothing(tmp_path: Path, readme: str) -> None:
    fill(tmp_path, "a.jsonl")
    (tmp_path / "README.md").write_text(readme)
    assert names(tmp_path) == ["a.jsonl"]


def test_a_data_set_of_the_hub_reads_as_its_files_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    stored = tmp_path / "datasets--mills--pairs"
    write(stored / "refs" / "main", "c0ffee")
    fill(stored / "snapshots" / "c0ffee", "data/deu-0.jsonl", "data/held/deu.jsonl")
    write(stored / "snapshots" / "c0ffee" / "README.md", README)
    chosen = names("hf://mills/pairs", config="deu", split="test")
    assert chosen == ["data/held/deu.jsonl"]
    assert names("hf://mills/pairs/data/held") == ["deu.jsonl"]
