"""Locating a source's files in folders, as single files, or on the Hugging Face hub."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hybrid_dist.data.blocks import path_exists
from hybrid_dist.errors import UserError

HUB = re.compile(r"hf://(datasets/)?(?P<repo>[^/@]+/[^/@]+)(@(?P<revision>[^/]+))?(/(?P<path>.+))?")
COMPRESSED = (".gz", ".zst")


class MatchedFile(NamedTuple):
    """A file, and the match of its name with a pattern."""

    file: Path
    match: re.Match[str]


def find(paths: Sequence[str], pattern: str, expected: str) -> list[MatchedFile]:
    """The files below the paths whose relative names match a pattern, in a fixed order.

    Names are matched without `.gz` and `.zst`. `expected`: what a UserError says if there is none.
    """
    matches = list(search(paths, pattern))
    if not matches:
        raise UserError(f"{', '.join(paths)}: no file of this layout; expected {expected}")
    return matches


def search(paths: Iterable[str], pattern: str) -> Iterator[MatchedFile]:
    """As `find`, but there may be no file."""
    for path in paths:
        place = local(path)
        files = [place] if place.is_file() else sorted(place.rglob("*"))
        names: dict[str, Path] = {}
        for file in files:
            relative = file.name if place.is_file() else file.relative_to(place).as_posix()
            name = without_compression(relative)
            match = re.fullmatch(pattern, name)
            if match is not None and file.is_symlink() and not file.exists():
                raise UserError(
                    f"{file}: is a link to nothing; copy the data again, links followed"
                )
            if match is None or not file.is_file():
                continue
            if name in names:
                raise UserError(f"{file}: stands beside {names[name].name}; keep one of the two")
            names[name] = file
            yield MatchedFile(file, match)


def without_compression(name: str) -> str:
    """A file's name without the suffix that says how it is compressed."""
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    return name


def local(path: str) -> Path:
    """A folder or file on this machine; data on the hub is downloaded first."""
    if path.startswith("hf://"):
        return _download(path)
    if not path_exists(path):
        raise UserError(f"{path or 'an empty path'}: no such file or folder")
    return Path(path)


def _download(path: str) -> Path:
    """The folder of a data set's published files, from the hub's cache or the network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    match = HUB.fullmatch(path)
    if match is None:
        raise UserError(f"{path}: expected hf://OWNER/NAME, and if need be @REVISION and /FOLDER")
    inside = (match["path"] or "").strip("/")
    try:
        folder = snapshot_download(
            match["repo"],
            repo_type="dataset",
            revision=match["revision"],
            allow_patterns=[inside, f"{inside}/*"] if inside else None,
        )
    except LocalEntryNotFoundError:
        raise UserError(
            f"{path}: is not in the hub's cache, and the hub cannot be reached; fetch it where "
            f"there is a network (hf download --repo-type dataset {match['repo']}) or name a folder"
        ) from None
    except (HfHubHTTPError, HFValidationError) as error:
        raise UserError(f"{path}: the hub refuses it ({str(error).splitlines()[0]})") from None
    place = Path(folder) / inside
    if not place.exists():
        raise UserError(f"{path}: the data set {match['repo']} has no {inside!r}")
    return place
