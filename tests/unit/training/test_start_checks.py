"""What the start of a run warns of."""

import json
from pathlib import Path

from hybrid_dist.config.schema import Batching, Config, Data, Eval, Model, Run
from hybrid_dist.config.sources import Mix
from hybrid_dist.reporting.run_evaluation import load_evaluation
from hybrid_dist.training.inputs import load_inputs
from hybrid_dist.training.start_checks import language_warnings, warnings


def pairs(file: Path, text: str, *languages: str) -> str:
    rows = [
        {"uid": str(n), "lang": lang, "query": f"{text} {n}", "passage": f"{text} {n} {lang}"}
        for n in range(8)
        for lang in languages
    ]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return str(file)


def test_the_start_names_languages_and_texts_that_training_lacks(toy: Path, tmp_path: Path) -> None:
    config = Config(
        run=Run(dir=str(tmp_path), name="run"),
        model=Model(name_or_path=str(toy / "model"), init="scratch", max_passage_tokens=64),
        data=Data(
            train=(pairs(tmp_path / "train.jsonl", "\u0643\u062a\u0627\u0628", "ar", "sw"),),
            dev=(pairs(tmp_path / "dev.jsonl", "a", "ar", "de"),),
        ),
        batching=Batching(size=4, mix=Mix(monolingual=1)),
        eval=Eval(tasks=(f"pairs:{pairs(tmp_path / 'test.jsonl', 'b', 'fr', 'ar')}",)),
    )
    lines = list(warnings(load_inputs(config, load_evaluation)))
    assert lines[:3] == [
        "data.dev: no training pairs in de",
        "pairs: no training pairs in fr",
        "trained on and never evaluated: sw",
    ]
    assert lines[3].startswith(f"{tmp_path / 'train.jsonl'}: many tokens are unknown to the ")
    assert len(lines) == 4


def test_regions_and_scripts_are_of_one_language() -> None:
    assert list(language_warnings(["zh", "pt-BR"], {"x": ["zh-Hans", "pt"]})) == []
    assert list(language_warnings(["zh"], {"x": ["yue"]})) == [
        "x: no training pairs in yue",
        "trained on and never evaluated: zh",
    ]
    assert list(language_warnings(["zh"], {})) == []
