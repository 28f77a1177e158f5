"""hybrid_dist beside sentence-transformers, FlagEmbedding, Tevatron, PyLate and MTEB.

Every side trains the same weights on the same batches, with AdamW, the same learning rate, loss
temperature and longest texts, in fp32, through its own trainer, in a process of its own. Sides take
turns. A side that cannot be installed or run is listed with its error.

  speed       start-up, time of a step, peak memory, and encoding
  chunks      steps of large batches in chunks (GradCache and the like), and peak memory
  largest     the largest batch within a limit of memory, at once and in chunks
  quality     retrieval after equal time of training, by our evaluator
  evaluation  given vectors, and a model from start to figures, beside MTEB

    python benchmarks/peers/run.py --model models/e5-small

Pairs are those of HYBRID_DIST_DATA/tldr and questions those of HYBRID_DIST_DATA/xquad-r in five
languages, unless --pairs and --task name others. --quick runs everything with invented pairs, a
model of random weights and tiny sizes. Results go to --out: results.json, which keeps the parts
that ran before, table.md and plot.png.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import report
from comparison import Comparison, Results, machine
from environments import OURS, PEERS, Failed, Side, python_of
from inputs import given
from measuring import Missing
from sizes import FULL, QUICK
from workload import Workload

PARTS = ("speed", "chunks", "largest", "quality", "evaluation")


def main() -> None:
    options = parsed()
    sizes = QUICK if options.quick else FULL
    options.out.mkdir(parents=True, exist_ok=True)
    results = Results(
        options.out / "results.json", {"sizes": sizes.content(), "machine": machine()}
    )
    pythons = environments(options, results)
    with tempfile.TemporaryDirectory(dir=options.scratch) as made:
        model, pairs, task = given(options, Path(made))
        prefixes = tuple(options.prefixes)
        load = Workload.of(Path(made) / "work", model, [pairs], prefixes, sizes.tokens)
        comparison = Comparison(pythons, sizes, load, task, results)
        for part in options.parts:
            print(f"== {part}", flush=True)
            getattr(comparison, part)()
    results.save()
    table = report.markdown(results.content)
    (options.out / "table.md").write_text(table, "utf-8")
    report.plot(results.content, options.out / "plot.png")
    print(table)


def environments(options: argparse.Namespace, results: Results) -> dict[Side, str]:
    """The Python of each side that could be installed."""
    pythons = {OURS: sys.executable}
    results.forget_errors("installation")
    for side in PEERS:
        if options.only and side.name not in options.only:
            continue
        try:
            own = options.installed
            pip_args = options.pip_args.split()
            pythons[side] = (
                sys.executable if own else python_of(side, options.folder.resolve(), pip_args)
            )
        except Failed as failed:
            results.failed(side, "installation", failed)
    return pythons


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, metavar="PART")
    parser.add_argument("--model", help="a folder that sentence-transformers loads")
    parser.add_argument("--pairs", help="a store or pair files to train on")
    parser.add_argument("--task", help="an evaluation task, NAME:PATH")
    parser.add_argument("--prefixes", nargs=2, default=("query: ", "passage: "), metavar="PREFIX")
    names = [side.name for side in PEERS]
    parser.add_argument("--only", nargs="+", choices=names, help="these peers", metavar="PEER")
    parser.add_argument("--installed", action="store_true", help="peers are in this environment")
    parser.add_argument("--folder", type=Path, default=Path(".venv-peers"), help="of environments")
    parser.add_argument("--pip-args", default="", help="options of pip, in one string")
    parser.add_argument("--out", type=Path, default=Path("runs/peers"))
    parser.add_argument("--scratch", type=Path, help="where temporary files go")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether everything runs")
    options = parser.parse_args()
    if not options.model and not options.quick:
        parser.error("--model: name a folder (examples/e5_small_4bit.py writes one), or --quick")
    return options


if __name__ == "__main__":
    try:
        main()
    except Missing as missing:
        sys.exit(str(missing))
