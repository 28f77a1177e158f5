"""Every published layout that the product reads, to train on and to evaluate on."""

import gzip
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from hybrid_dist.data.preparation import prepare
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.sources import SOURCES
from hybrid_dist.data.store.reader import Store
from hybrid_dist.evaluation.task_specs import load_task
from hybrid_dist.evaluation.tasks import Task, from_collection
from tests.fuzz import reference
from tests.fuzz.edits import Tree
from tests.fuzz.target import Target, Variants
from tests.fuzz.targets.pairs import held_to, rows_of
from tests.support import evaluation_sets, layout_rows, mteb_data
from tests.support.benchmark_files import own_benchmark
from tests.support.published_files import (
    HEADER,
    afriqa,
    json_lines,
    paragraph,
    squad_json,
    tsv,
    units_with_passages,
    write,
)


def squad(folder: Path) -> None:
    for lang, first, second in (
        ("en", "A mill grinds corn. It stands.", "Ada wrote a program."),
        ("de", "Eine Mühle mahlt Korn. Sie steht.", "Ada schrieb ein Programm."),
    ):
        parts = [
            paragraph(*first.split(" ", 3)[:1], first, q1=f"{lang} grinds?|{first.split()[1]}"),
            paragraph(second, q2=f"{lang} wrote?|Ada", q3=f"{lang} what?|{second.split()[-1]}"),
        ]
        write(folder / f"xquad.{lang}.json", squad_json(parts, indent=1 if lang == "de" else None))


def mlqa(folder: Path) -> None:
    text = "Ada wrote a program. A mill grinds."
    for lang in ("en", "de"):
        content = squad_json([paragraph(text, q1=f"{lang} who?|Ada", q2=f"{lang} what?|mill")])
        write(folder / f"test-context-en-question-{lang}.json.gz", content)


def lareqa(folder: Path) -> None:
    for lang in ("en", "de"):
        one = paragraph(f"{lang} A mill grinds.", "It stands.", q1=f"{lang}?|mill", q2="?|stands")
        two = paragraph("Ada wrote.", q3=f"{lang} who wrote?|Ada")
        write(folder / f"{lang}.json", squad_json([one, two], indent=2 if lang == "de" else None))


def squad_rows(folder: Path) -> None:
    rows = [
        {
            "id": f"q{n}",
            "context": "Ada wrote a program.",
            "question": f"who {n}?",
            "answers": {"text": ["Ada"], "answer_start": [0]},
        }
        for n in range(3)
    ]
    (folder / "xquad.en").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "xquad.en" / "validation.parquet")


def beir(folder: Path) -> None:
    for lang in ("en", "de"):
        json_lines(
            folder / lang / "corpus.jsonl",
            {"_id": "d1", "title": "Mills", "text": f"A mill grinds ({lang}).", "metadata": {}},
            {"_id": "d2", "title": "", "text": f"Ada wrote ({lang})."},
            {"_id": "d3", "title": "Rye", "text": f"Rye grows ({lang})."},
        )
        queries = [{"_id": str(n), "text": f"Query {n} ({lang})?"} for n in (1, 2, 3)]
        json_lines(folder / lang / "queries.jsonl", *queries)
        judged = [("1", "d1", 2), ("1", "d3", 1), ("2", "d2", 1), ("2", "d1", 0), ("3", "d3", 1)]
        tsv(folder / lang / "qrels" / "test.tsv", HEADER, *judged)


def miracl(folder: Path) -> None:
    for lang in ("sw", "bn"):
        stem = f"miracl-v1.0-{lang}-dev.tsv"
        inside = folder / f"miracl-v1.0-{lang}"
        tsv(inside / "topics" / f"topics.{stem}", ("7", f"Asked in {lang}?"), ("8", "Again?"))
        judged = (("7", "Q0", "1#0", 1), ("7", "Q0", "1#1", 0), ("8", "Q0", "1#1", 1))
        tsv(inside / "qrels" / f"qrels.{stem}", *judged)
        for number in range(2):
            document = {"docid": f"1#{number}", "title": "Mill", "text": f"Part {number} ({lang})."}
            json_lines(folder / f"miracl-corpus-v1.0-{lang}" / f"docs-{number}.jsonl.gz", document)


def miracl_rows(folder: Path) -> None:
    document = {"docid": "1#0", "title": "Mill", "text": "Told."}
    for number, lang in enumerate(("sw", "bn")):
        record = {
            "query_id": str(number),
            "query": "Asked?",
            "positive_passages": [document],
            "negative_passages": [document | {"docid": "1#1", "text": "Beside."}],
        }
        json_lines(folder / lang / "train.jsonl", record, record | {"query_id": "9"})


def mmarco(folder: Path) -> None:
    inside = folder / "google"
    for name in ("german", "french"):
        texts = [(n, f"{name} passage {n}") for n in range(4)]
        tsv(inside / "collections" / f"{name}_collection.tsv", *texts)
        queries = inside / "queries"
        train = ((20, "b?"), (10, f"{name}?"))
        tsv(queries / "train" / f"{name}_queries.train.tsv", *train)
        tsv(queries / "dev" / f"{name}_queries.dev.small.tsv", (30, f"{name} dev?"))
    tsv(folder / "triples.train.ids.small.tsv", (10, 2, 0), (10, 2, 3), (20, 1, 3))
    tsv(folder / "qrels.train.tsv", (10, 0, 2, 1), (20, 0, 1, 1))
    tsv(folder / "qrels.dev.small.tsv", (30, 0, 3, 1))


def mmarco_packed(folder: Path) -> None:
    mmarco(folder)
    for number, file in enumerate([*folder.rglob("*_*.tsv")]):
        suffix = (".gz", ".zst")[number % 2]
        packed = gzip.compress(file.read_bytes(), mtime=0)
        if suffix == ".zst":
            packed = pa.compress(file.read_bytes(), codec="zstd", asbytes=True)
        file.with_name(f"{file.name}{suffix}").write_bytes(packed)
        file.unlink()


def tatoeba(folder: Path) -> None:
    write(folder / "tatoeba.afr-eng.afr", "Een.\nTwee.\nDrie.\n")
    write(folder / "tatoeba.afr-eng.eng", "One.\nTwo.\nThree.\n")
    (folder / "tatoeba.cmn-eng.cmn.gz").write_bytes(gzip.compress("一。\n二。\n".encode(), mtime=0))
    (folder / "tatoeba.cmn-eng.eng.gz").write_bytes(gzip.compress(b"One.\nTwo.\n", mtime=0))


def units(folder: Path) -> None:
    json_lines(
        folder / "pairs.jsonl",
        {"unit": "mill#0", "lang": "en", "query": "grind", "passage_id": "en:mill", "n": 2},
        {"unit": "mill#0", "lang": "pt_BR", "query": "moer", "passage_id": "pt:mill"},
        {"unit": "mill#1", "lang": "en", "query": "stop", "passage_id": "en:mill"},
    )
    json_lines(
        folder / "passages.jsonl",
        {"_id": "en:mill", "lang": "en", "text": "mill: grinds.", "code": ["mill -g", "mill -s"]},
        {"_id": "pt:mill", "lang": "pt_BR", "text": "mill: mói.", "code": ["mill -g"]},
        {"_id": "en:rye", "lang": "en", "text": "rye: grows.", "code": ["rye"]},
    )


def sections(folder: Path) -> None:
    units_with_passages(folder / "sections.jsonl")


def mkqa(folder: Path) -> None:
    answer = {"type": "entity", "entity": "Q1", "text": "Ada", "aliases": ["Ada L."]}
    records = [
        {
            "query": "who wrote it",
            "queries": {"en": f"who {number}", "zh_cn": "谁写的"},
            "answers": {"en": [answer], "zh_cn": [answer]},
            "example_id": number,
        }
        for number in (563260143484355911, 2)
    ]
    json_lines(folder / "mkqa.jsonl", *records)


def nemo(folder: Path) -> None:
    layout_rows.nemo(folder / "train.json")


def flagembedding(folder: Path) -> None:
    json_lines(folder / "train.jsonl", *layout_rows.ROWS["flagembedding"])


def tevatron(folder: Path) -> None:
    json_lines(folder / "train.jsonl.gz", *layout_rows.ROWS["tevatron"])


def xor_tydi(folder: Path) -> None:
    evaluation_sets.xor_tydi(folder / "gp_squad_dev_data.json")


def neuclir(folder: Path) -> None:
    evaluation_sets.neuclir(folder / "bench")


def multi_eup(folder: Path) -> None:
    evaluation_sets.multi_eup(folder / "multi-eup.csv")


class Layouts(Target):
    name = "layouts"
    variants: ClassVar[Variants] = {
        "squad": squad, "mlqa": mlqa, "lareqa": lareqa, "squad_rows": squad_rows, "beir": beir,
        "afriqa": afriqa, "miracl": miracl, "miracl_rows": miracl_rows, "mmarco": mmarco,
        "mmarco_packed": mmarco_packed, "tatoeba": tatoeba, "units": units, "sections": sections,
        "mkqa": mkqa, "nemo": nemo, "webfaq": layout_rows.webfaq, "mteb": mteb_data.write_subsets,
        "mteb_single": mteb_data.write_single, "flagembedding": flagembedding,
        "tevatron": tevatron, "belebele": evaluation_sets.belebele,
        "flores": evaluation_sets.flores, "ntrex": evaluation_sets.ntrex,
        "bucc": evaluation_sets.bucc, "xor_tydi": xor_tydi, "neuclir": neuclir,
        "afriqa_gold": evaluation_sets.afriqa_gold, "multi_eup": multi_eup,
    }  # fmt: skip
    outputs = ("out/store",)
    sources: Mapping[str, str] = {
        "mlqa": "squad", "squad_rows": "squad", "afriqa": "beir", "miracl_rows": "miracl",
        "mmarco_packed": "mmarco", "sections": "units", "mkqa": "units",
        "webfaq": "mteb", "mteb": "mteb", "mteb_single": "mteb",
        "xor_tydi": "squad", "afriqa_gold": "afriqa",
    }  # fmt: skip
    options: Mapping[str, dict[str, str]] = {
        "units": {"fields": "text,code"},
        "webfaq": {"subset": "deu,eng"},
        "mteb": {"subset": "all"},
        "xor_tydi": {"language": "en"},
        **{name: {"lang": "en"} for name in ("nemo", "flagembedding", "tevatron")},
    }
    one_way: Mapping[str, str] = {
        "miracl_rows": "pairs",
        **dict.fromkeys((
            "afriqa", "mteb", "mteb_single", "belebele", "flores", "ntrex", "bucc", "xor_tydi",
            "neuclir", "afriqa_gold", "multi_eup",
        ), "collection"),
    }  # fmt: skip
    """Layouts that are for training only, or for evaluation only."""

    def act(self, variant: str, folder: Path, out: Path) -> Any:
        source = SOURCES[self.sources.get(variant, variant)]
        options = self.options.get(variant, {})
        path = folder / "google" if variant.startswith("mmarco") else folder
        way = self.one_way.get(variant, "both")
        found: list[Any] = []
        if way != "pairs":
            assert source.collection is not None
            read = source.collection([str(path)], Reading(options=options))
            found.append(answers(from_collection(source.name, str(path), read)))
        if way != "collection":
            usual = {"split": "dev"} if source.name == "miracl" and variant == "miracl" else {}
            prepare(source, [str(path)], out / "store", Reading(options={**options, **usual}))
            found.append(rows_of(Store(out / "store")))
        return found


def answers(task: Task) -> dict[str, Any]:
    """The content of a task: texts, and the relevant passages of every query with their grades."""
    queries = zip(task.query_ids, task.query_texts, task.query_language, strict=True)
    numbered = zip(task.passage_ids, task.passage_texts, task.passage_language, strict=True)
    passages = [(task.languages[code], name, text) for name, text, code in numbered]
    right = {}
    starts = task.relevant_starts.tolist()
    for (name, text, code), (low, high) in zip(queries, pairwise(starts), strict=True):
        grades = zip(task.relevant[low:high].tolist(), task.grades[low:high].tolist(), strict=True)
        found = {passages[number][:2]: grade for number, grade in grades}
        right[task.languages[code], name] = text, found
    return {"queries": right, "passages": sorted(passages)}


class Benchmarks(Target):
    """A benchmark in one YAML file with its tables."""

    name = "benchmarks"
    variants: ClassVar[Variants] = {"own": own_benchmark}

    def act(self, variant: str, folder: Path, out: Path) -> Any:
        return answers(load_task(f"own={folder}/own.yaml"))


class Qrels(Target):
    """Judgements of BEIR and of MIRACL: read as the rules say."""

    name = "qrels"
    variants: ClassVar[Variants] = {"beir": beir, "miracl": miracl}

    def among(self, variant: str, tree: Tree) -> Sequence[str]:
        return [name for name in tree if "qrels" in name]

    def act(self, variant: str, folder: Path, out: Path) -> Any:
        source = SOURCES[variant]
        assert source.collection is not None
        options = {"parallel": "no"} if variant == "beir" else {}
        read = source.collection([str(folder)], Reading(options=options))
        queries = answers(from_collection(variant, str(folder), read))["queries"]
        return {query: right for query, (_, right) in queries.items()}

    def accepted(self, variant: str, folder: Path, value: Any, good: Any) -> str | None:
        return held_to(lambda: self._expected(variant, folder), value)

    def _expected(self, variant: str, folder: Path) -> Any:
        langs = ("en", "de") if variant == "beir" else ("sw", "bn")
        queries, documents = ("123", ["d1", "d2", "d3"])
        if variant == "miracl":
            queries, documents = "78", ["1#0", "1#1"]
        right = {}
        for lang in langs:
            file = folder / lang / "qrels" / "test.tsv"
            if variant == "miracl":
                inside = folder / f"miracl-v1.0-{lang}"
                file = inside / "qrels" / f"qrels.miracl-v1.0-{lang}-dev.tsv"
            if file.is_dir() or not (file.is_symlink() or file.exists()):
                continue  # no such language
            judged = reference.judgements(file)
            for name, found in reference.right_answers(judged, documents, [*queries]).items():
                right[lang, f"{lang}:{name}"] = {(lang, d): grade for d, grade in found.items()}
        return right
