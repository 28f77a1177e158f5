"""What vouches for a checkpoint: manifest.json with checksums, its own included, and `latest`."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

from hybrid_dist.errors import UserError
from hybrid_dist.runtime.files import json_problem, write_atomically
from hybrid_dist.training.checkpoint.run_progress import Progress, problem

MANIFEST, LATEST = "manifest.json", "latest"
NAME = re.compile(r"step-[0-9]{6,12}")
LAYOUT, WITHOUT_CHECKSUM = 3, 2
"""Of the files of a checkpoint. Layout 2 is read too, so that no run is lost: its tensors are the
same, but its manifest has no checksum of its own, nor the metric of its best score."""
SHA256 = re.compile(r"[0-9a-f]{64}")
ADDED_IN_3 = {"metric", "higher_is_better"}


class DamagedError(Exception):
    """What is wrong with a checkpoint, in words that follow its name."""


@dataclass(frozen=True)
class Manifest:
    progress: Progress
    files: dict[str, str]
    """SHA-256 of every other file, by its path in the checkpoint."""


def write(folder: Path, manifest: Manifest) -> None:
    content: dict[str, Any] = {"layout": LAYOUT, **asdict(manifest)}
    content["checksum"] = _checksum(content)
    write_atomically(folder / MANIFEST, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read(folder: Path) -> Manifest:
    """The manifest of a checkpoint, every field of it checked."""
    content = _content(folder)
    layout, has_checksum = content.pop("layout", None), "checksum" in content
    if has_checksum and content.pop("checksum") != _checksum({"layout": layout, **content}):
        raise DamagedError(f"is damaged: {MANIFEST} is not what was written")
    if type(layout) is not int or layout not in (LAYOUT, WITHOUT_CHECKSUM):
        raise UserError(
            f"{folder}: was written by another version of hybrid_dist; go on with that "
            "version, or start another run.name"
        )
    if has_checksum != (layout == LAYOUT) or content.keys() != {"progress", "files"}:
        raise DamagedError(f"is damaged: {MANIFEST} has other fields than layout {layout} has")
    manifest = Manifest(_progress(content["progress"], layout), _files(content["files"]))
    named = folder.resolve().name
    if NAME.fullmatch(named) and step_of(folder.resolve()) != manifest.progress.step:
        raise DamagedError(
            f"is damaged: {MANIFEST} says step {manifest.progress.step}, and the folder's name "
            "another"
        )
    return manifest


def _content(folder: Path) -> dict[str, Any]:
    file = folder / MANIFEST
    try:
        if file.exists() and not file.is_file():
            raise _unread("not a file")
        content = json.loads(file.read_bytes().decode("utf-8"))
    except PermissionError as error:
        raise not_readable(file, error) from None
    except OSError as error:
        raise _unread(error.strerror or str(error)) from None
    except (ValueError, RecursionError) as error:
        raise _unread(json_problem(error)) from None
    if not isinstance(content, dict):
        raise _unread("not an object")
    return content


def _unread(why: str) -> DamagedError:
    return DamagedError(f"is no whole checkpoint (its {MANIFEST} cannot be read: {why})")


def not_readable(file: Path, error: OSError) -> UserError:
    """Refused, rather than passed over: the checkpoint may be whole, and its owner can help."""
    return UserError(
        f"{file}: cannot be read ({error.strerror}); get permission to read it, or name another "
        "checkpoint"
    )


def _progress(values: Any, layout: int) -> Progress:
    known = {field.name for field in fields(Progress)}
    wanted = known if layout == LAYOUT else known - ADDED_IN_3
    if not isinstance(values, dict) or values.keys() != wanted:
        raise DamagedError(f"is damaged: {MANIFEST} does not say where the run stood")
    progress = Progress(**values)
    if wrong := problem(progress):
        raise DamagedError(f"is damaged: {MANIFEST} says that {wrong}")
    return progress


def _files(values: Any) -> dict[str, str]:
    if not isinstance(values, dict) or not values or not all(map(_is_entry, values.items())):
        raise DamagedError(f"is damaged: {MANIFEST} does not list its files")
    return values


def _is_entry(entry: tuple[str, Any]) -> bool:
    name, checksum = PurePosixPath(entry[0]), entry[1]
    inside = bool(name.parts) and not name.is_absolute() and ".." not in name.parts
    return inside and isinstance(checksum, str) and SHA256.fullmatch(checksum) is not None


def _checksum(content: Any) -> str:
    """Of what a manifest says, however its JSON is laid out."""
    try:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    except RecursionError:
        return ""
    return hashlib.sha256(text.encode()).hexdigest()


def step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def name_of(step: int) -> str:
    return f"step-{step:06d}"


def write_latest(folder: Path, step: int) -> None:
    """Name a step in a folder of checkpoints: its folder, and a checksum of that name."""
    name = name_of(step)
    write_atomically(folder / LATEST, f"{name} {_of_name(name)}\n")


def latest_step(folder: Path) -> int | None:
    """The step that `latest` names; none where it names none or is damaged.

    A name alone is what was written along with layout 2.
    """
    try:
        words = (folder / LATEST).read_text(errors="replace").split()
    except OSError:
        return None
    if not words or not NAME.fullmatch(words[0]) or words[1:] not in ([], [_of_name(words[0])]):
        return None
    return step_of(Path(words[0]))


def _of_name(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]
