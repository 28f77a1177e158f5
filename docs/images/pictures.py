"""Draws the pictures of docs/images again, each from what a command wrote.

    python docs/images/pictures.py                       # all; the studies take hours
    python docs/images/pictures.py report-scripts.png    # some
    python docs/images/pictures.py --list                # which command makes which

A command whose output is there already is not run again. The commands need the model and the data
that docs/results.md and examples/debias-e5 name, with HYBRID_DIST_E5 and HYBRID_DIST_DATA set.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

IMAGES = Path(__file__).resolve().parent
ROOT = IMAGES.parents[1]
EXAMPLE = "examples/debias-e5"
BIAS = "hybrid-dist bias --task xquad_r:lareqa/xquad-r --debias mean"


@dataclass(frozen=True)
class Picture:
    """A picture and where it is from."""

    name: str
    source: str
    """What the command writes, in the repository."""
    command: str
    folder: str = "."
    """Where the command is given."""

    def draw(self) -> None:
        source = ROOT / self.source
        if not source.is_file():
            print(f"{self.name}: {self.command}", flush=True)
            subprocess.run(["bash", "-euc", self.command], cwd=ROOT / self.folder, check=True)
        shutil.copyfile(source, IMAGES / self.name)


def study(name: str, plot: str) -> Picture:
    """The first plot of a study's main task."""
    return Picture(
        f"results-{name}.png",
        f"runs/studies/{name}/xquad_r-1-{plot}.png",
        f"hybrid-dist study configs/studies/{name}.yaml --jobs 2",
    )


def debias(name: str, when: str, model: str, first: str = "") -> Picture:
    """The languages of the first ten results, before or after the example's training."""
    return Picture(
        name,
        f"{EXAMPLE}/results/{when}/as-is/xquad_r/language_share.png",
        f"{first}{BIAS} {model} --out results/{when}",
        EXAMPLE,
    )


E5 = '"${HYBRID_DIST_E5:-intfloat/multilingual-e5-small}"'
PREFIXES = '--query-prefix "query: " --passage-prefix "passage: "'
TRAIN = (
    f"hybrid-dist train --config config.yaml --model.name_or_path {E5}"
    f" && hybrid-dist average runs/debias-e5 {E5} --out models/e5-hybrid"
)
PICTURES = (
    debias("debias-before.png", "before", f"--model {E5} {PREFIXES}"),
    debias("debias-after.png", "after", "--model models/e5-hybrid", f"{TRAIN} && "),
    study("strategies-small", "bars"),
    study("ratio-small", "line"),
    study("imbalance-small", "line"),
    study("signals-small", "bars"),
    Picture("peers.png", "runs/peers/plot.png", "make bench"),
    Picture(
        "report-scripts.png",
        "runs/report-scripts.png",
        "mkdir -p runs && python docs/images/report_scripts.py runs/report-scripts.png",
    ),
)


def main() -> None:
    names = sys.argv[1:]
    if names == ["--list"]:
        for picture in PICTURES:
            print(f"{picture.name}\n  {picture.command}\n  {picture.source}")
        return
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    known = {picture.name: picture for picture in PICTURES}
    if unknown := set(names) - known.keys():
        raise SystemExit(f"{', '.join(sorted(unknown))}: none of {', '.join(known)}")
    for name in names or known:
        known[name].draw()


if __name__ == "__main__":
    main()
