"""The files of a table: named ones, globs, folders of shards, and data sets of the hub.

Of a folder, `config` and `split` choose files: by the list in its README.md, as on the hub, or
else by words of the files' names.
"""

import glob
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from hybrid_dist.data.blocks import path_exists
from hybrid_dist.data.sources.paths import MatchedFile, local, search
from hybrid_dist.data.tables.table_rows import KINDS, kind_of
from hybrid_dist.errors import UserError, nearest

PATTERN = rf"(?:[^./][^/]*/)*[^./][^/]*\.(?:{'|'.join(KINDS)})"
ABOUT_DATA = {
    *("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"),
    *("merlin_metadata.json", "dataset_metadata.json"),
}
"""Files beside the data that the library datasets and NeMo write."""
EXPECTED = f"files of {', '.join(KINDS)}"
ALL = "all"
"""The split that is every split."""
SPLITS = {
    word: split
    for split, words in {
        "train": ("train", "training"),
        "validation": ("validation", "valid", "val", "dev"),
        "test": ("test",),
    }.items()
    for word in words
}
FRONT = re.compile(r"---\s*\n(.*?)\n---\s*(\n|$)", re.DOTALL)
"""The YAML at the beginning of a README.md of the hub."""


class TableFile(NamedTuple):
    """A file, and the name that the uids of its rows begin with."""

    file: Path
    name: str


def find_tables(paths: Sequence[str], config: str | None, split: str | None) -> list[TableFile]:
    """The files that paths name, in a fixed order."""
    found: dict[Path, tuple[str, str]] = {}
    for path in expand(paths):
        for file, match in _of_path(path, config, split):
            found.setdefault(file, (match.string, path))
    kinds = {kind_of(file): file for file in found}
    if len(kinds) > 1 and any(Path(path).is_dir() or "://" in path for path in paths):
        names = " and ".join(file.name for file in list(kinds.values())[:2])
        raise UserError(
            f"{', '.join(paths)}: has files of several formats, such as {names}; name the files of "
            "one, as in 'FOLDER/*.parquet'"
        )
    counts = Counter(name for name, _ in found.values())
    return [
        TableFile(file, name if counts[name] == 1 else _longer(path, name))
        for file, (name, path) in found.items()
    ]


def expand(paths: Iterable[str]) -> Iterator[str]:
    """The paths, with those that globs stand for."""
    for path in paths:
        if path.startswith("hf://") or path_exists(path):
            yield path
            continue
        matches = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - absolute ones too
        if not matches:
            raise UserError(f"{path or 'an empty path'}: no such file or folder")
        yield from matches


def _longer(path: str, name: str) -> str:
    """The name of a file, where files of several paths have the same name."""
    return path if path.endswith(f"/{name}") else f"{path.rstrip('/')}/{name}"


def _of_path(path: str, config: str | None, split: str | None) -> list[MatchedFile]:
    place = local(path)
    if not place.is_dir() and (config is not None or split not in (None, ALL)):
        raise UserError(f"{path}: config and split need a folder or hf://, not a file or glob")
    found = [one for one in search([path], PATTERN) if one.file.name not in ABOUT_DATA]
    if found and place.is_dir():
        found = _chosen(path, place, found, config, split)
    if not found:
        raise UserError(f"{path}: no table; expected {EXPECTED}, plain or as .gz or .zst")
    return found


def _chosen(
    path: str, place: Path, found: list[MatchedFile], config: str | None, split: str | None
) -> list[MatchedFile]:
    """The files of a configuration and a split."""
    listed, folders = listed_splits(place), _listed_folders(place)
    known = [*listed, *folders]
    if not known:
        return _by_name(path, found, config, split)
    if config is None and "default" in known:
        config = "default"
    config = one_of(path, "config", config, known)
    if config in folders:
        below = place / folders[config]
        kept = [one for one in found if below in one.file.parents]
        chosen = _by_name(path, kept, None, split) if kept else []
    else:
        files = _by_list(path, place, listed[config], split)
        chosen = [one for one in found if one.file in files]
    if not chosen:
        raise UserError(f"{path}: README.md lists files for config {config}, and none is there")
    return chosen


def front_matter(place: Path) -> dict[str, Any]:
    """The YAML at the beginning of a data set's README.md; empty if there is none to read."""
    readme = place / "README.md"
    front = FRONT.match(readme.read_text("utf-8", errors="replace")) if readme.is_file() else None
    try:
        content = yaml.safe_load(front[1]) if front else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def listed_splits(place: Path) -> dict[str, dict[str, list[str]]]:
    """By configuration and split, the patterns of files in a data set's README.md."""
    listed = {name: dict(_splits(config)) for name, config in _configs(place).items()}
    return {name: splits for name, splits in listed.items() if splits}


def _listed_folders(place: Path) -> dict[str, str]:
    """By configuration, the folder of all its files, where README.md names no patterns."""
    return {
        name: str(config["data_dir"])
        for name, config in _configs(place).items()
        if config.get("data_dir") is not None and config.get("data_files") is None
    }


def _configs(place: Path) -> dict[str, dict[str, Any]]:
    configs = front_matter(place).get("configs")
    given = [c for c in configs if isinstance(c, dict)] if isinstance(configs, list) else []
    return {str(config.get("config_name", "default")): config for config in given}


def _splits(config: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    files = config.get("data_files")
    if isinstance(files, str) or (
        isinstance(files, list) and all(isinstance(one, str) for one in files)
    ):
        files = {"train": files}
    if isinstance(files, list):
        entries = [one for one in files if isinstance(one, dict)]
        files = {str(one.get("split", "train")): one.get("path") for one in entries}
    below = "" if config.get("data_dir") is None else f"{config['data_dir']}/"
    for split, patterns in files.items() if isinstance(files, dict) else ():
        each = patterns if isinstance(patterns, list) else [patterns]
        yield str(split), [f"{below}{one}" for one in each if isinstance(one, str)]


def _by_list(
    path: str, place: Path, chosen: Mapping[str, list[str]], split: str | None
) -> set[Path]:
    split = ",".join(chosen) if split == ALL else split
    if split is None and len(chosen) > 1:
        one_of(path, "split", None, chosen)
    splits = [
        one_of(path, "split", one, chosen) for one in (split or next(iter(chosen))).split(",")
    ]
    return {file for one in splits for file in matching(place, chosen[one])}


def matching(place: Path, patterns: Iterable[str]) -> Iterator[Path]:
    """The files below a folder that the patterns of a list name."""
    for pattern in patterns:
        try:
            yield from place.glob(pattern)
        except (ValueError, NotImplementedError):  # an address, or a path out of the folder
            continue


def one_of(path: str, option: str, name: str | None, known: Iterable[str]) -> str:
    """The given name, or the only one."""
    names = list(known)
    if name is None and len(names) == 1:
        return names[0]
    shown = ", ".join(names[:40]) + (", ..." if len(names) > 40 else "")
    if name is None:
        raise UserError(
            f"{path}: has several {option}s; give the option {option}=NAME (it has {shown})"
        )
    if name not in names:
        close = nearest(name, names)
        raise UserError(f"{path}: has no {option} {name!r}{close} (it has {shown or 'none'})")
    return name


def _by_name(
    path: str, found: list[MatchedFile], config: str | None, split: str | None
) -> list[MatchedFile]:
    words = [_words(one.match.string) for one in found]
    if config is not None:
        wanted = f" {' '.join(re.findall('[A-Za-z0-9]+', config))} "
        kept = [number for number, some in enumerate(words) if wanted in f" {' '.join(some)} "]
        if not kept:
            raise UserError(f"{path}: no file or folder is named after config {config!r}")
        found, words = [found[n] for n in kept], [words[n] for n in kept]
    splits = [next((SPLITS[w] for w in reversed(some) if w in SPLITS), None) for some in words]
    known = list(dict.fromkeys(one for one in splits if one is not None))
    if split == ALL:
        return found
    if split is None:
        if len(known) > 1:
            one_of(path, "split", None, known)
        if known and None in splits:
            other = found[splits.index(None)].match.string
            raise UserError(
                f"{path}: has files of the split {known[0]}, and files without a split in their "
                f"names, such as {other}; give the option split={known[0]} or split={ALL}, or name "
                "the files"
            )
        return found
    chosen = {one_of(path, "split", SPLITS.get(one, one), known) for one in split.split(",")}
    return [one for one, of in zip(found, splits, strict=True) if of in chosen]


def _words(name: str) -> list[str]:
    return re.findall("[A-Za-z0-9]+", name)
