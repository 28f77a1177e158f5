"""Edits of a folder of files: small values that can be printed, kept in a list, and made again."""

import base64
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Tree = dict[str, bytes]
"""The files of a folder by their relative names."""


@dataclass(frozen=True)
class Edit:
    """One change of a folder.

    `splice` replaces the bytes `at:until` of a file by `put`. The others: `remove`, `folder` (a
    folder in place of the file), `loop` (a symbolic link to itself), `nowhere` (a link to nothing),
    `forbid` (no permission to read), `swap` and `copy` (with the file `other`).
    """

    do: str
    file: str
    at: int = 0
    until: int = 0
    put: bytes = b""
    other: str = ""

    def as_json(self) -> dict[str, Any]:
        if self.do == "splice":
            put = base64.b85encode(self.put).decode()
            return {"do": self.do, "file": self.file, "at": self.at, "until": self.until} | (
                {"put": put} if put else {}
            )
        return {"do": self.do, "file": self.file} | ({"other": self.other} if self.other else {})

    @classmethod
    def of_json(cls, fields: Mapping[str, Any]) -> "Edit":
        return cls(**{**fields, "put": base64.b85decode(fields.get("put", ""))})


def splice(file: str, old: bytes, new: bytes) -> Edit:
    """The shortest replacement that makes `new` of `old`."""
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    return Edit("splice", file, start, len(old) - end, new[start : len(new) - end])


def _common(one: bytes, other: bytes) -> int:
    """How many bytes both begin with."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def read_tree(folder: Path) -> Tree:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def write_tree(folder: Path, tree: Mapping[str, bytes]) -> None:
    for name, content in tree.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def apply(folder: Path, edits: Sequence[Edit]) -> None:
    """Make the edits, in order. One of a file that is gone by then does nothing."""
    for edit in edits:
        file = folder / edit.file
        if file.is_symlink() or not file.is_file():
            continue
        if edit.do == "splice":
            content = file.read_bytes()
            file.write_bytes(content[: edit.at] + edit.put + content[edit.until :])
        elif edit.do == "forbid":
            file.chmod(0)
        elif edit.do in ("swap", "copy"):
            _exchange(file, folder / edit.other, both=edit.do == "swap")
        else:
            file.unlink()
            if edit.do == "folder":
                file.mkdir()
            elif edit.do != "remove":
                file.symlink_to(file.name if edit.do == "loop" else "nowhere")


def _exchange(file: Path, other: Path, both: bool) -> None:
    if not other.is_file():
        return
    mine, theirs = file.read_bytes(), other.read_bytes()
    file.write_bytes(theirs)
    if both:
        other.write_bytes(mine)


def clear(folder: Path) -> None:
    """Empty a folder, whatever permissions its files have."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
