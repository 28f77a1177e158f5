"""Public evaluation sets in their published shapes, with sentences of our own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.published_files import json_lines, paragraph, squad_json, tsv, write

WORDS = {
    "eng_Latn": ("mill", "rye", "loom"),
    "deu_Latn": ("Mühle", "Roggen", "Webstuhl"),
    "zho_Hans": ("磨坊", "黑麦", "织机"),
}


def belebele(folder: Path) -> None:
    """Three questions, two of them on one passage, in three variants; romanised Bengali has one."""
    for dialect, words in {**WORDS, "ben_Latn": ("kol",)}.items():
        rows = []
        for number, word in enumerate(words):
            link, question = f"https://en.wikinews.org/wiki/{number // 2}", number % 2 + 1
            row = {
                "link": link,
                "question_number": question,
                "flores_passage": f"{words[number // 2 * 2]} {dialect}.",
                "question": f"{word}?",
                **{f"mc_answer{choice}": f"{word} {choice}" for choice in range(1, 5)},
                "correct_answer_num": "1",
                "dialect": dialect,
                "ds": "2023-05-03",
            }
            rows.append(row)
        json_lines(folder / "data" / f"{dialect}.jsonl", *rows)


def flores(folder: Path) -> None:
    for code, words in WORDS.items():
        write(folder / "devtest" / f"{code}.devtest", "".join(f"{word}.\n" for word in words))
        write(folder / "dev" / f"{code}.dev", f"{words[0]}!\n")


def flores_plus(folder: Path) -> None:
    for code, words in WORDS.items():
        code = code.replace("zho", "cmn")
        write(folder / "devtest" / f"devtest.{code}", "".join(f"{word}.\n" for word in words))


def ntrex(folder: Path) -> None:
    codes = {"src.eng": "eng_Latn", "ref.deu": "deu_Latn", "ref.zho-CN": "zho_Hans"}
    for name, code in codes.items():
        lines = "".join(f"{word}.\n" for word in WORDS[code])
        write(folder / "NTREX-128" / f"newstest2019-{name}.txt", lines)
    write(folder / "NTREX-128" / "newstest2019-ref-2.spa.txt", "molino.\n")
    write(folder / "LANGUAGES.tsv", "deu German\n")


def bucc(folder: Path) -> None:
    """Of four German and three English sentences two are translations."""
    for split in ("sample", "training"):
        stem = folder / "de-en" / f"de-en.{split}"
        german = [(f"de-{n:09d}", f"{word} {split}.") for n, word in enumerate("ABCD", 1)]
        english = [(f"en-{n:09d}", f"{word} {split}!") for n, word in enumerate("AXC", 1)]
        tsv(stem.with_name(f"{stem.name}.de"), *german)
        tsv(stem.with_name(f"{stem.name}.en"), *english)
        gold = (german[0][0], english[0][0]), (german[2][0], english[2][0])
        tsv(stem.with_name(f"{stem.name}.gold"), *gold)


def mlqa(folder: Path) -> None:
    """Every language asks in every other one, as far as MLQA has them in both."""
    contexts = {"en": "Ada wrote a program.", "de": "Ada schrieb ein Programm."}
    for context, text in contexts.items():
        for question in contexts:
            asked = {"q1": f"{question} who?|Ada"}
            content = squad_json([paragraph(text, **asked)])
            name = f"test-context-{context}-question-{question}.json"
            write(folder / "test" / name, content)


def xor_tydi(file: Path) -> None:
    one = paragraph("Ada wrote a program.", ja="誰？|Ada", ko="누구?|Ada")
    for query in one["qas"]:
        query["lang"] = query["id"]
    write(file, squad_json([one]))


def afriqa_gold(folder: Path) -> None:
    def row(name: str, question: Any, context: str | None, title: str = "Ada") -> dict[str, Any]:
        return {
            "id": name,
            "question_lang": question,
            "question_translated": "who?",
            "title": title,
            "context": context,
            "answer_pivot": {"answer_start": [0], "text": ["Ada"]},
            "answer_lang": "Ada",
        }

    stem = "gold_span_passages.afriqa"
    rows = [row("0", "ninani?", "Ada wrote."), row("1", "cinshi?", "Ada wrote."), row("2", "", "x")]
    json_lines(folder / "bem" / f"{stem}.bem.en.test.json", *rows, row("3", "ni?", None))
    json_lines(folder / "bem" / f"{stem}.bem.en.train.json", row("0", "liti?", "Rye grows.", ""))
    json_lines(folder / "fon" / f"{stem}.fon.fr.test.json", row("0", "mɛ?", "Ada écrivit."))


def neuclir(folder: Path) -> None:
    for code in ("eng", "fas", "rus", "zho"):
        tsv(folder / "data" / f"news.{code}.tsv", ("101", f"{code} mills"), ("102", f"{code} rye"))
    for code, number in (("fas", 1), ("rus", 2), ("zho", 3)):
        judged = f"101 0 {code}-a {number}\n102 0 {code}-b 1\n102 0 {code}-a 0\n"
        write(folder / "data" / f"qrels.{code}.gains.txt", judged)
    judged = "101 0 fas-a 3\n101 0 rus-a 1\n102 0 zho-b 1\n"
    write(folder / "data" / "qrels.mlir.gains.txt", judged)
    for code in ("fas", "rus", "zho"):
        documents = [
            {"id": f"{code}-{n}", "title": code, "text": n, "url": "", "time": "", "cc_file": ""}
            for n in "abc"
        ]
        docs = folder.with_name("neuclir1")
        json_lines(docs / f"{code}-00000-of-00001.jsonl.gz", *documents)
        json_lines(docs / f"{code}_mt_eng-00000-of-00001.jsonl.gz", *documents)


def multi_eup(file: Path) -> None:
    head = "did,TEXT,DATE,LANGUAGE,NAME,title_EN,qid_EN,title_DE,qid_DE"
    titles = "Mills,E1,Mühlen,G1", "Rye,E2,,"
    rows = (
        f'd1,"Mr President,\nmills.",2021-01-01,EN,Ada,{titles[0]}',
        f"d2,Herr Präsident.,2021-01-01,DE,Bo,{titles[0]}",
        f"d3,Rye.,2021-01-02,EN,Ada,{titles[1]}",
    )
    write(file, "\n".join([head, *rows, ""]))


FILES: dict[str, Callable[[Path], object]] = {
    "data/belebele": belebele,
    "data/flores200_dataset": flores,
    "data/NTREX": ntrex,
    "data/bucc2018": bucc,
    "data/MLQA_V1/test": lambda path: mlqa(path.parent),
    "data/gp_squad_dev_data.json": xor_tydi,
    "data/gold_passages": afriqa_gold,
    "data/neuclir-bench": neuclir,
    "data/multi-eup.csv": multi_eup,
}
"""By the path in a documented command: what writes its files there."""
