"""The model card: metadata that the hub reads, examples that run, and loading without warnings."""

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard

from hybrid_dist.model import card
from hybrid_dist.model.embedder import TextEmbedder
from hybrid_dist.reporting.model_card import write_card
from hybrid_dist.reporting.report import figures
from hybrid_dist.tracking.report_json import read_report
from tests.support.launch import run
from tests.support.saved_models import finished_run, saved
from tests.support.stored_reports import write

TEXTS = ["who wrote Faust?", "Faust ist ein Drama von Goethe."]


@pytest.fixture(scope="module")
def finished(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = finished_run(toy, tmp_path_factory.mktemp("runs") / "hybrid")
    assert write_card(folder, folder / "model", folder / "eval")
    return folder


def written(folder: Path) -> str:
    return (folder / "model" / "README.md").read_text("utf-8")


def test_the_hub_reads_its_metadata(finished: Path) -> None:
    data: Any = ModelCard(written(finished)).data
    assert data.base_model == "xlm-roberta-base"
    assert data.language == ["de", "no", "pt", "qaa"], "Norwegian is no false"
    assert (data.library_name, data.pipeline_tag) == (
        "sentence-transformers",
        "sentence-similarity",
    )
    assert {"sentence-transformers", "hybrid_dist"} <= set(data.tags)
    assert data.license is None, "it is not known"
    report = read_report(finished / "eval/toy/report.json")
    values, results = figures(report), {each.metric_name: each for each in data.eval_results}
    assert data.model_name == "hybrid"
    for name, figure in {
        "mAP monolingual": "map.monolingual",
        "mAP cross-lingual": "map.cross_lingual",
        "nDCG@10 multilingual": "ndcg_at_10.multilingual",
        "Rank distance": "bias.rank_distance.mean",
        "Own language in the top 10, times its share": "bias.self_preference.mean",
    }.items():
        found = results[name]
        assert (found.task_type, found.dataset_type) == ("information-retrieval", "toy")
        assert found.metric_value == pytest.approx(values[figure], abs=1e-4)
        interval = pytest.approx(report["intervals"][figure], abs=1e-4)
        assert found.metric_args["interval_95"] == interval


def test_it_says_how_the_model_was_made_and_measured(finished: Path) -> None:
    text = written(finished)
    for line in (
        "| Pairs | 12,345 |",
        "| Sources | no.jsonl, de |",
        "| Mix of batches | 75% monolingual, 25% cross-lingual |",
        "| Query prefix | `Frage: ` |",
        "| Pooling | mean: the vector of a text is the mean of its tokens |",
        "| Languages | 4: de, no, pt-BR, qaa |",
        "### toy",
        "| Language bias | Measured | Without bias |",
        "eprint = {2408.10536}",
    ):
        assert f"{line}\n" in text or f"{line}," in text, line
    assert re.search(r"^\| nDCG@10 \| 0\.\d{3} \(0\.\d{3} to 0\.\d{3}\) \|", text, re.MULTILINE)
    assert "Not stated. Add `license:`" in text


def test_a_model_without_a_run_says_what_is_not_known(toy: Path, tmp_path: Path) -> None:
    saved(toy / "model", tmp_path / "model")
    text = written(tmp_path)
    assert "## Training\n\nNot recorded.\n" in text
    assert "No evaluation is recorded with this model." in text
    data = ModelCard(text).data.to_dict()
    assert data.keys() == {"library_name", "pipeline_tag", "tags"}


def test_figures_of_changed_vectors_are_not_the_models(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "hybrid"))
    report = read_report(folder / "eval/toy/report.json")
    settings = report["settings"] | {"debiasing": "mean"}
    write(folder / "eval/other/report.json", report | {"task": "other", "settings": settings})
    assert write_card(folder, folder / "model", folder / "eval")
    assert "### toy" in written(folder) and "### other" not in written(folder)


def test_figures_of_other_weights_are_not_the_models(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "hybrid"))
    report = read_report(folder / "eval/toy/report.json")
    checkpoint = {"made_from": {"model": str(folder / "checkpoints" / "step-000005")}}
    own = {"made_from": {"model": str(folder)}}
    for task, made_from in (("checkpoint", checkpoint), ("own", own), ("before", own)):
        write(folder / f"eval/{task}/report.json", report | {"task": task} | made_from)
    os.utime(folder / "eval/before/report.json", (0, 0))
    comparison = folder / "eval/comparison/report.json"
    comparison.parent.mkdir()
    comparison.write_text('{"runs": {}}')
    assert write_card(folder, folder / "model", folder / "eval")
    headings = re.findall("^### (.+)$", written(folder), re.MULTILINE)
    assert headings == ["own", "toy"]


def test_it_has_no_path_of_this_machine(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "hybrid"))
    config = (folder / "config.yaml").read_text("utf-8")
    start = str(tmp_path / "secret" / "xlmr")
    (folder / "config.yaml").write_text(config.replace("xlm-roberta-base", start), "utf-8")
    assert write_card(folder, folder / "model", folder / "eval")
    assert "trained from `xlmr`" in written(folder) and str(tmp_path) not in written(folder)
    assert "base_model" not in ModelCard(written(folder)).data.to_dict()


def test_a_card_that_someone_edited_stays(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "hybrid"))
    places = folder, folder / "model", folder / "eval"
    assert write_card(*places), "as it was written"
    edited = written(folder).replace("## Licence", "## License")
    (folder / "model/README.md").write_text(edited)
    assert not write_card(*places)
    assert written(folder) == edited and not card.is_unchanged(edited)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("pooling", ["mean", "cls", "last", "labse"])
def test_its_examples_give_the_models_vectors(pooling: str, toy: Path, tmp_path: Path) -> None:
    saved(toy / "model", tmp_path / "model", pooling)
    text = card.addressed(written(tmp_path), str(tmp_path / "model"))
    assert card.is_unchanged(text)
    examples = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(examples) == 3
    embedder = TextEmbedder.load(tmp_path / "model", "cpu")
    expected = embedder.encode_queries(TEXTS[:1]) @ embedder.encode_passages(TEXTS[1:]).T
    for example in examples:
        names: dict[str, Any] = {}
        exec(example, names)
        np.testing.assert_allclose(np.asarray(names["scores"]), expected, rtol=0, atol=1e-5)


def config_of(kind: str, toy: Path, folder: Path) -> Path:
    """The toy's tokenizer with a small config of another type."""
    from transformers import AutoConfig

    shutil.copytree(toy / "model", folder)
    sizes = AutoConfig.from_pretrained(folder).to_dict()
    kept = ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "pad_token_id"]
    kept += ["intermediate_size", "max_position_embeddings"]
    special = {f"{name}_token_id": 2 for name in ("bos", "cls", "eos", "sep")}
    settings = {name: sizes[name] for name in kept} | special
    AutoConfig.for_model(kind, **settings).save_pretrained(folder)
    return folder


LOAD = """\
import sys
from hybrid_dist import TextEmbedder
from sentence_transformers import SentenceTransformer
for folder in sys.argv[1:]:
    TextEmbedder.load(folder, "cpu").encode_queries(["bo"])
    SentenceTransformer(folder, device="cpu").encode(["bo"], prompt_name="query")
"""


def test_loading_prints_nothing(toy: Path, tmp_path: Path) -> None:
    """Neither about a pooler that mean pooling does not have, nor about anything else."""
    folders = []
    for kind, pooling in (
        ("xlm-roberta", "mean"),
        ("xlm-roberta", "labse"),
        ("bert", "cls"),
        ("modernbert", "mean"),
    ):
        folders.append(tmp_path / f"{kind}-{pooling}")
        saved(config_of(kind, toy, tmp_path / f"{kind}-{pooling}-config"), folders[-1], pooling)
    (tmp_path / "load.py").write_text(LOAD)
    done = run([sys.executable, str(tmp_path / "load.py"), *map(str, folders)])
    assert (done.code, done.output) == (0, "")
