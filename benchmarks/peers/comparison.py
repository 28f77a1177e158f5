"""The parts of the comparison: each runs its sides in turn, and keeps what they tell."""

import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from environments import OURS, Failed, Side
from largest import largest_batch
from processes import run_side
from sides import Spec
from sizes import Sizes
from workload import Workload, parallel_task

import hybrid_dist as hd

VECTOR_SIZE = 384
PARTS = "task.json"
FIGURES = ("monolingual", "cross_lingual", "multilingual")


class Results:
    """What was measured so far, in a file."""

    def __init__(self, file: Path, settings: dict[str, Any]) -> None:
        self._file = file
        kept = json.loads(file.read_text("utf-8")) if file.exists() else {}
        self.content: dict[str, Any] = {"sides": {}} | kept | settings

    def part(self, name: str) -> dict[str, Any]:
        """A part, begun anew: its results and errors are forgotten."""
        self.forget_errors(name)
        part: dict[str, Any] = {}
        self.content[name] = part
        return part

    def versions(self, side: Side, result: dict[str, Any]) -> None:
        if "versions" in result:
            self.side(side)["versions"] = result.pop("versions")
        self.save()

    def failed(self, side: Side, part: str, failed: Failed) -> None:
        """List an error once for each part."""
        print(f"  {side.name}: {failed}", flush=True)
        self.side(side).setdefault("errors", {})[part] = str(failed)
        self.save()

    def forget_errors(self, part: str) -> None:
        for side in self.content["sides"].values():
            errors = side.pop("errors", {})
            if kept := {name: why for name, why in errors.items() if not name.startswith(part)}:
                side["errors"] = kept

    def side(self, side: Side) -> dict[str, Any]:
        found: dict[str, Any] = self.content["sides"].setdefault(side.name, {})
        return found

    def save(self) -> None:
        self._file.write_text(json.dumps(self.content, indent=1) + "\n", "utf-8")


class Comparison:
    """Sides with the Python of each, and what they are given."""

    def __init__(
        self, pythons: dict[Side, str], sizes: Sizes, load: Workload, task: str, results: Results
    ) -> None:
        self.pythons, self.sizes, self.load, self.results = pythons, sizes, load, results
        self.whole = task
        self.task, self.parts = parallel_task(task, sizes.queries)
        self.training = [side for side in pythons if side.trains]
        self._count = 0

    def speed(self) -> None:
        """Start-up, steps, memory and encoding."""
        pairs = self.load.batches(self.sizes.batch, self.sizes.steps)
        queries, passages = (
            list(self.parts[name].values())[: self.sizes.encoded] for name in ("queries", "corpus")
        )
        texts = self.load.texts("some", queries, passages)
        spec = self._spec(pairs, texts=texts, steps=self.sizes.steps)
        self._turns("speed", self.sizes.turns, spec)

    def chunks(self) -> None:
        """Larger batches in chunks."""
        size, steps = self.sizes.large_batch, self.sizes.large_steps
        pairs = self.load.batches(size, steps)
        spec = self._spec(pairs, size=size, chunk=self.sizes.chunk, steps=steps)
        self._turns("chunks", self.sizes.large_turns, spec)

    def largest(self) -> None:
        """The largest batches. Memory does not depend on who else uses the cores: one turn."""
        part = self.results.part("largest")
        for side in self.training:
            for name, chunk in (("at once", 0), ("in chunks", self.sizes.chunk)):
                print(f"  {side.name}, {name}", flush=True)

                def tried(size: int, side: Side = side, chunk: int = chunk) -> dict[str, Any]:
                    spec = self._spec(self.load.batches(size, 2), size=size, chunk=chunk, steps=2)
                    try:
                        return self._run(side, spec, limit_gib=self.sizes.limit_gib)
                    finally:
                        shutil.rmtree(spec.out)

                try:
                    found = largest_batch(tried, self.sizes, bool(chunk))
                except Failed as failed:
                    self.results.failed(side, f"largest batch {name}", failed)
                    continue
                part.setdefault(side.name, {})[name] = found
                self.results.save()

    def quality(self) -> None:
        """Retrieval before and after equal time of training."""
        part = self.results.part("quality")
        part["start"] = self._figures(self._vectors_of_start())
        pairs = self.load.batches(self.sizes.batch, self.sizes.longest)
        spec = self._spec(
            pairs,
            texts=self._texts(),
            steps=self.sizes.longest,
            seconds=self.sizes.seconds,
            vectors=True,
        )

        def keep(side: Side, result: dict[str, Any], out: Path) -> None:
            steps = result["step_s"]
            figures = {"steps": len(steps), "seconds": sum(steps), "encode_s": result["encode_s"]}
            part[side.name] = figures | self._figures(out)

        self._turn("quality", self.training, spec, keep)

    def evaluation(self) -> None:
        """Random vectors for the whole task, and a model from start to figures on a part of it."""
        part = self.results.part("evaluation")
        part_of_task = self.load.folder / "part"
        part_of_task.mkdir()
        (part_of_task / PARTS).write_text(json.dumps(self.parts), "utf-8")
        sides = [side for side in self.pythons if side == OURS or not side.trains]
        for what, folder in (("vectors", self._random_vectors()), ("model", part_of_task)):
            spec = self._spec(folder, texts=str(folder / PARTS), steps=0)
            taken = part.setdefault(what, {})
            for _ in range(self.sizes.large_turns):
                self._turn(f"evaluation of {what}", sides, spec, _listing(taken), (what,))

    def _random_vectors(self) -> Path:
        """A folder with vectors for all queries and passages, and what they are judged by."""
        folder = self.load.folder / "random"
        folder.mkdir()
        task, parts = parallel_task(self.whole, sys.maxsize)
        (folder / PARTS).write_text(json.dumps(parts), "utf-8")
        numbers = np.random.default_rng(1)
        for name, count in (("queries", len(task.query_ids)), ("passages", len(task.passage_ids))):
            vectors = numbers.standard_normal((count, VECTOR_SIZE), dtype=np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            np.save(folder / f"{name}.npy", vectors)
        np.savez(
            folder / "task.npz",
            starts=task.relevant_starts,
            relevant=task.relevant,
            query_language=task.query_language,
            passage_language=task.passage_language,
        )
        return folder

    # --- one process

    def _turns(self, name: str, turns: int, spec: Spec) -> None:
        part = self.results.part(name)
        for turn in range(turns):
            first = turn % len(self.training)
            sides = [*self.training[first:], *self.training[:first]]
            self._turn(name, sides, spec, _listing(part))

    def _turn(
        self,
        name: str,
        sides: Iterable[Side],
        spec: Spec,
        keep: Callable[[Side, dict[str, Any], Path], None],
        arguments: tuple[str, ...] = (),
    ) -> None:
        """One process of each side; errors are noted."""
        for side in sides:
            own = replace(spec, out=self._out())
            try:
                result = self._run(side, own, arguments)
            except Failed as failed:
                self.results.failed(side, name, failed)
                continue
            keep(side, result, Path(own.out))
            self.results.save()
            print(f"  {side.name}: {result['wall_s']:.0f} s", flush=True)
            shutil.rmtree(own.out)

    def _run(
        self, side: Side, spec: Spec, arguments: tuple[str, ...] = (), limit_gib: float = 0.0
    ) -> dict[str, Any]:
        own = replace(spec, task=self.load.for_us()) if side == OURS else spec
        result = run_side(self.pythons[side], side.program, own, arguments, limit_gib)
        self.results.versions(side, result)
        return result

    def _spec(self, pairs: Path, **values: Any) -> Spec:
        given = {"size": self.sizes.batch, "tokens": self.sizes.tokens} | values
        return Spec(0.0, self.load.model, str(pairs), self._out(), **given)

    def _out(self) -> str:
        self._count += 1
        return str(self.load.folder / f"out-{self._count}")

    def _texts(self) -> str:
        return self.load.texts(
            "all", *(list(self.parts[n].values()) for n in ("queries", "corpus"))
        )

    def _vectors_of_start(self) -> Path:
        """A folder with the vectors of the model that training starts from."""
        spec = self._spec(self.load.folder, texts=self._texts(), steps=0, vectors=True)
        self._run(OURS, spec)
        return Path(spec.out)

    def _figures(self, folder: Path) -> dict[str, float]:
        vectors = (np.load(folder / f"{name}.npy") for name in ("queries", "passages"))
        report = hd.evaluate(self.task, *vectors)
        figures = {name: float(getattr(report.map, name)) for name in FIGURES}
        return figures | {"rank_distance": report.to_dict()["bias"]["rank_distance"]["mean"]}


def _listing(part: dict[str, Any]) -> Callable[[Side, dict[str, Any], Path], None]:
    """Keeps the results of each side in a list."""

    def keep(side: Side, result: dict[str, Any], out: Path) -> None:
        part.setdefault(side.name, []).append(result)

    return keep


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = Path("/proc/cpuinfo").read_text("utf-8")
    model = cpu.partition("model name")[2].partition("\n")[0].strip("\t :")
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "torch": version("torch"),
        "load": os.getloadavg()[0],
    }
