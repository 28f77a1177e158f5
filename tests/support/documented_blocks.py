"""The blocks of commands and of Python in the documentation, and how each is known to work.

A comment above a block, which no reader sees, marks it and those after it, up to the next comment
or heading:

    <!-- run by: tests/launched/test_tutorial.py -->    that test executes it
    <!-- needs: cluster -->    no test executes it, for it needs a cluster, gpu, download or account
    <!-- parsed -->            no test executes it; test_documented_commands checks its options
    <!-- synopsis -->          words in capitals stand for others
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.launch import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
    ROOT / "launchers/README.md",
]
RUN_BY, NEEDS, PARSED, SYNOPSIS = "run by", "needs", "parsed", "synopsis"
NEEDED = {"cluster", "gpu", "download", "account"}
PYTHON, SHELL = "python", "bash"
PROGRAMS = (
    *("accelerate", "bash", "cp", "git", "hf", "hybrid-dist", "make", "pip", "python", "python3"),
    *("sbatch", "scancel", "scontrol", "slurm/\\S+", "source", "srun", "tensorboard", "torchrun"),
)
COMMAND = re.compile(rf"(?:\w+=\S* )*(?:exec )?(?:{'|'.join(PROGRAMS)}) ")


@dataclass(frozen=True)
class Block:
    """Commands or Python of a page."""

    page: Path
    line: int
    language: str
    code: str
    mark: str
    """Empty where it has none."""

    @property
    def kind(self) -> str:
        return self.mark.partition(":")[0]

    @property
    def detail(self) -> str:
        return self.mark.partition(":")[2].strip()

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page that hold commands or Python; other blocks are data, such as YAML."""
    mark, fence = "", None
    lines = page.read_text("utf-8").splitlines()
    collected, start, indented = list[str](), 0, False
    for number, line in enumerate([*lines, ""], 1):
        fenced = line.lstrip()
        if fence is not None:
            if fenced.startswith("```"):
                yield from block(page, start, fence, collected, mark)
                fence = None
            else:
                collected.append(line)
        elif fenced.startswith("```") and not indented:
            fence, start, collected = fenced[3:], number + 1, []
        elif indented and (line.startswith("    ") or not line):
            collected.append(line[4:])
        elif indented:
            yield from block(page, start, "", collected, mark)
            indented = False
        if fence is None and not indented:
            if line.startswith("#"):
                mark = ""
            elif found := re.fullmatch(r" *<!-- (.*) -->", line):
                mark = found[1]
            elif line.startswith("    ") and not lines[number - 2]:
                indented, start, collected = True, number, [line[4:]]


def block(page: Path, line: int, language: str, code: list[str], mark: str) -> Iterator[Block]:
    """One block, if it holds commands or Python."""
    text = "\n".join(code).rstrip() + "\n"
    if language in (PYTHON, "pycon"):
        yield Block(page, line, PYTHON, text, mark)
    elif language == SHELL or any(COMMAND.match(f"{each.strip()} ") for each in code):
        yield Block(page, line, SHELL, text, mark)
