"""Small files that a kill must not leave half written."""

from pathlib import Path


def write_whole(file: Path, text: str) -> None:
    """The old content or the new, whenever the process is killed."""
    draft = file.with_name(f"{file.name}.tmp")
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)
