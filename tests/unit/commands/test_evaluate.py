"""`hybrid-dist evaluate` on vectors and runs made elsewhere, and invalid options."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid_dist.commands import evaluate
from hybrid_dist.config.schema import Eval
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.names import passage_names, query_names
from hybrid_dist.evaluation.task_specs import load_task
from hybrid_dist.reporting.evaluation_job import EvaluationJob, EvaluationOptions
from hybrid_dist.reporting.run_evaluation import Evaluation
from hybrid_dist.runtime import progress_bar
from hybrid_dist.training.run_folder import trained_languages
from tests.support import stored_reports
from tests.support.evaluation_problems import unit_vectors
from tests.support.small_models import write_model
from tests.support.vector_files import write_pairs


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    return write_pairs(tmp_path, 12)


@pytest.fixture
def vectors(tmp_path: Path, pairs: str) -> Path:
    folder = tmp_path / "vectors"
    folder.mkdir()
    task, rng = load_task(pairs), np.random.default_rng(1)
    for name, names in (("query", query_names(task)), ("corpus", passage_names(task))):
        (folder / f"{name}_ids.txt").write_text("\n".join(names) + "\n")
        array = "queries" if name == "query" else "corpus"
        np.save(folder / f"{array}.npy", unit_vectors(rng, len(names)))
    return folder


def report(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "pairs" / "report.json").read_text())
    return found


def test_figures_by_cut_vectors_are_those_of_vectors_cut_beforehand(
    pairs: str, vectors: Path, tmp_path: Path
) -> None:
    words = ["--task", pairs, "--groups", "few=de"]
    evaluate.main(
        ["--embeddings", str(vectors), *words, "--out", str(tmp_path / "both"), "--dims", "8,4"]
    )
    short = Path(shutil.copytree(vectors, tmp_path / "short"))
    for array in ("queries.npy", "corpus.npy"):
        whole = np.load(short / array)[:, :4].astype(np.float64)
        np.save(short / array, (whole / np.linalg.norm(whole, axis=1, keepdims=True)).astype("f4"))
    evaluate.main(["--embeddings", str(short), *words, "--out", str(tmp_path / "cut")])
    evaluate.main(["--embeddings", str(vectors), *words, "--out", str(tmp_path / "whole")])
    both, cut, whole = (report(tmp_path / name) for name in ("both", "cut", "whole"))
    assert list(both["dims"]) == ["4", "8"] and "dims" not in whole
    for name, value in both["dims"]["4"].items():
        assert value == cut[name], name
    others = {"model", "task", "counts", "examples", "settings", "timing", "made_from"}
    assert both["dims"]["4"].keys() == cut.keys() - others - {"id", "format"}
    for name in whole.keys() - {"id", "settings", "timing", "made_from"}:
        assert both[name] == whole[name], name
    for page in ("report.md", "report.html"):
        text = (tmp_path / "both/pairs" / page).read_text()
        assert text.count("(whole)") == 1 and "Dimensions" in text
        assert f"{both['dims']['4']['map']['multilingual']:.3f}" in text
        assert "(whole)" not in (tmp_path / "whole/pairs" / page).read_text()
    line = (tmp_path / "both/pairs/report.md").read_text().partition("| Dimensions")[2]
    assert [row.split(" |")[0] for row in line.splitlines()[2:5]] == ["| 4", "| 8", "| 48 (whole)"]


def test_a_coarse_pass_changes_nothing_but_the_settings(
    pairs: str, vectors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--embeddings", str(vectors), "--task", pairs, "--out"]
    evaluate.main([*words, str(tmp_path / "plain")])
    for coarse in ("fp16", "bf16"):
        evaluate.main([*words, str(tmp_path / coarse), "--coarse", coarse])
        assert (
            f"of the {coarse} scores could not decide which passage is ahead"
            in capsys.readouterr().err
        )
        plain, found = report(tmp_path / "plain"), report(tmp_path / coarse)
        assert found["settings"].pop("coarse pass").startswith(f"in {coarse}; ranks are those of")
        assert found["made_from"].pop("coarse") == coarse
        for name in plain.keys() - {"id", "timing"}:
            assert found[name] == plain[name], name


def test_vectors_then_the_run_that_they_gave(pairs: str, vectors: Path, tmp_path: Path) -> None:
    words = ["--embeddings", str(vectors), "--task", pairs, "--out", str(tmp_path / "one")]
    words += ["--groups", "few=de", "--ties", "trec_eval", "--save_run", "24"]
    evaluate.main(words)
    one = report(tmp_path / "one")
    assert list(one["groups"]) == ["few"]
    assert one["settings"]["ties"].startswith("as trec_eval")
    run = tmp_path / "one" / "pairs" / "run.trec"
    words = ["--run", str(run), "--task", pairs, "--out", str(tmp_path / "two")]
    evaluate.main([*words, "--ties", "trec_eval"])
    two = report(tmp_path / "two")
    assert (two["map"], two["bias"]) == (one["map"], one["bias"])
    assert two["model"] == str(run)


@pytest.fixture
def words(pairs: str, vectors: Path, tmp_path: Path) -> list[str]:
    return ["--embeddings", str(vectors), "--task", pairs, "--out", str(tmp_path / "out")]


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_the_same_evaluation_replaces_its_own_report(words: list[str], tmp_path: Path) -> None:
    """A job that was requeued starts the same command."""
    evaluate.main(words)
    first = report(tmp_path / "out")
    evaluate.main(words)
    assert report(tmp_path / "out")["id"] == first["id"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--ties", "trec_eval"], "ties was 'number', is 'trec_eval'"),
        (["--shards", "fp16"], "shards was 'fp32', is 'fp16'"),
        (["--save_run", "3"], "save-run was 0, is 3"),
        (["--groups", "few=de"], r"groups was \[\], is \['few=de'\]"),
    ],
)
def test_other_options_do_not_replace_a_report(
    words: list[str],
    more: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    evaluate.main(words)
    before = files(tmp_path / "out" / "pairs")
    capsys.readouterr()
    with pytest.raises(SystemExit):
        evaluate.main([*words, *more])
    error = capsys.readouterr().err
    assert re.search(rf"out/pairs: holds the report of another evaluation \(.*{message}", error)
    assert "choose another --out, or replace it with --overwrite" in error
    assert "vectors of" not in error, "it was refused before the work"
    assert files(tmp_path / "out" / "pairs") == before
    evaluate.main([*words, *more, "--overwrite"])
    assert files(tmp_path / "out" / "pairs") != before


def test_other_vectors_and_other_data_do_not_replace_a_report(
    words: list[str], vectors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate.main(words)
    queries = np.load(vectors / "queries.npy")
    np.save(vectors / "queries.npy", queries[::-1])
    with pytest.raises(SystemExit):
        evaluate.main(words)
    assert "(files was '" in capsys.readouterr().err
    evaluate.main([*words, "--overwrite"])
    text = (tmp_path / "pairs.jsonl").read_text()
    (tmp_path / "pairs.jsonl").write_text(text.replace("de asks 3", "de asks three"))
    with pytest.raises(SystemExit):
        evaluate.main(words)
    assert "(content of the task was '" in capsys.readouterr().err


def test_results_in_mteb_s_format_belong_to_an_evaluation(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "results"
    words = [*words, "--mteb-results", str(folder)]
    with pytest.raises(SystemExit):
        evaluate.main(words)
    assert "--mteb-results: MTEB's order of ties" in capsys.readouterr().err
    words += ["--ties", "trec_eval"]
    evaluate.main(words)
    content = json.loads((folder / "pairs.json").read_text())
    own, rows = content["hybrid_dist"], content["scores"]["test"]
    assert own["report"] == report(tmp_path / "out")["id"]
    assert [row["hf_subset"] for row in rows] == ["de", "en-de", "de-en", "en"]
    assert [row["languages"] for row in rows[:2]] == [["deu-Latn"], ["eng-Latn", "deu-Latn"]]
    for row, pair in zip(rows, ["de de", "de en", "en de", "en en"], strict=True):
        query, passage = pair.split()
        mean = report(tmp_path / "out")["ndcg_at_10_by_pair"][query][passage]
        assert row["ndcg_at_10"] == pytest.approx(mean, abs=1e-6)
    evaluate.main(words)
    other = [*words[:-4], "--mteb-results", str(folder), "--ties", "trec_eval", "--save_run", "3"]
    other[other.index("--out") + 1] = str(tmp_path / "other")
    capsys.readouterr()
    with pytest.raises(SystemExit):
        evaluate.main(other)
    error = capsys.readouterr().err
    assert f"{folder}/pairs.json: holds the results of another evaluation; choose an" in error
    assert "vectors of" not in error, "it was refused before the work"
    evaluate.main([*other, "--overwrite"])


def test_a_report_of_unknown_origin_is_not_replaced(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out" / "pairs"
    cases = {
        "report.md": ("x", "holds report.md, but no report.json that identifies"),
        "report.json": ("{", "holds a damaged report"),
    }
    for name, (content, message) in cases.items():
        folder.mkdir(parents=True)
        (folder / name).write_text(content)
        with pytest.raises(SystemExit):
            evaluate.main(words)
        assert message in capsys.readouterr().err
        shutil.rmtree(folder)
    stored_reports.write(folder / "report.json", stored_reports.report())  # as training writes it
    with pytest.raises(SystemExit):
        evaluate.main(words)
    assert "holds a report of a model that another command wrote" in capsys.readouterr().err


def test_a_report_that_a_stopped_swap_left_is_put_back_before_it_is_looked_at(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate.main(words)
    (tmp_path / "out" / "pairs").rename(tmp_path / "out" / ".pairs.before")
    with pytest.raises(SystemExit):
        evaluate.main([*words, "--shards", "fp16"])
    assert "shards was 'fp32'" in capsys.readouterr().err
    assert (tmp_path / "out" / "pairs" / "report.json").exists()


def test_a_run_inside_the_report_that_would_be_replaced_is_refused(
    words: list[str], pairs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate.main([*words, "--save_run", "3"])
    run = str(tmp_path / "out" / "pairs" / "run.trec")
    with pytest.raises(SystemExit):
        evaluate.main(["--run", run, "--task", pairs, "--out", words[-1], "--overwrite"])
    assert "run.trec belongs to the report that would be replaced" in capsys.readouterr().err


def test_a_place_for_no_report_is_refused_before_the_work(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(SystemExit):
        evaluate.main(words)
    error = capsys.readouterr().err
    assert "cannot write the report" in error and "vectors of" not in error
    (tmp_path / "out").unlink()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "pairs").write_text("a file")
    with pytest.raises(SystemExit):
        evaluate.main([*words, "--overwrite"])
    error = capsys.readouterr().err
    assert "is a file, but a report is a folder" in error and "vectors of" not in error


def test_ids_that_a_run_cannot_list_are_refused_before_the_work(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = (tmp_path / "pairs.jsonl").read_text()
    (tmp_path / "pairs.jsonl").write_text(text.replace('"uid": "03"', '"uid": "0 3"'))
    with pytest.raises(SystemExit):
        evaluate.main([*words, "--save_run", "3"])
    assert "ids contain white space" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give one of --model, --embeddings and --run; none was given"),
        ({"model": "m", "run": Path("r")}, "--model and --run was given"),
        ({"run": Path("r"), "task": ("pairs:x", "toy:y")}, "--run: belongs to one task"),
        ({"run": Path("r"), "save_run": 5}, "it is a run already"),
        ({"model": "m", "timeout_minutes": 0.0}, "--timeout-minutes: 0; give a number above 0"),
        ({"run": Path("r"), "query_prefix": "q"}, "--query-prefix: --run has no texts to embed"),
        ({"embeddings": Path("e"), "precision": "bf16"}, "--precision: --embeddings has no texts"),
        ({"run": Path("r"), "search": "faiss"}, "--search: --run is not searched"),
        ({"model": "m", "index": "IVF8,Flat", "search": "torch"}, "IVF8,Flat: only faiss has this"),
        ({"run": Path("r"), "debias": "mean"}, "--debias: --run has no vectors"),
        ({"model": "m", "debias": "mode"}, "'mode' is unknown; give none, mean"),
        ({"model": "m", "debias": "mean", "shards": "fp16"}, "--debias: works in fp32"),
        ({"run": Path("r"), "quantise": "int8"}, "--quantise: --run has no vectors"),
        ({"run": Path("r"), "coarse": "fp16"}, "--coarse: --run has no vectors"),
        ({"model": "m", "quantise": "int8", "coarse": "fp16"}, "--quantise: codes are ranked in"),
        ({"run": Path("r"), "dims": "64"}, "--dims: --run has no vectors"),
        ({"model": "m", "dims": "64", "shards": "fp16"}, "--dims: whole fp32 vectors are cut"),
        ({"model": "m", "dims": "4", "debias": "directions:4"}, "nothing of vectors of dim"),
        ({"model": "m", "dims": "64,0"}, "--dims: '0' is no number of dimensions"),
        ({"model": "m", "quantise": "int4"}, "--quantise: 'int4' is unknown; give none, int8"),
        (
            {"model": "m", "quantise": "int8", "index": "IVF8,Flat"},
            "--quantise: torch ranks",
        ),
        ({"model": "m", "quantise": "int8:9"}, "reports list the top 10 passages; give 10 or"),
        ({"model": "m", "quantise": "binary:50", "save_run": 60}, "the top 60 passages"),
        ({"model": "m", "save_run": -1}, "-1 is not a number of passages"),
    ],
)
def test_words_that_make_no_sense(given: dict[str, Any], message: str) -> None:
    options: dict[str, Any] = {"task": ("pairs:x",), "out": Path("out")} | given
    with pytest.raises(UserError, match=message):
        EvaluationOptions(**options)


def test_two_tasks_of_a_kind_have_reports_under_their_labels(
    pairs: str,
    toy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress_bar, "SECONDS_BETWEEN_LINES", 0.0)
    model = write_model(tmp_path / "model", toy / "model", seed=1)
    (tmp_path / "other").mkdir()
    tasks = (f"near={pairs}", f"far={write_pairs(tmp_path / 'other', 5)}")
    evaluate.main(["--model", str(model), "--task", *tasks, "--out", str(tmp_path / "out")])
    for label, spec, queries in (("near", tasks[0], 24), ("far", tasks[1], 10)):
        content = json.loads((tmp_path / "out" / label / "report.json").read_text())
        assert (content["task"], content["settings"]["task"]) == (label, spec)
        assert content["counts"]["queries"] == queries
    shown = capsys.readouterr().err
    assert f"far: report in {tmp_path}/out/far" in shown.splitlines()
    summary = shown.splitlines()[-1]
    assert summary.startswith("mean of 2 tasks: mAP ")
    assert summary.endswith(f"; {tmp_path}/out/summary.md")
    for done in ("embedding queries: 24 of 24", "embedding passages: 10 of 10", "searching: 24 of"):
        assert done in shown
    chosen = Evaluation.of(Eval(tasks=tasks, metric="far/map.multilingual"))
    assert chosen.metric == "far/map.multilingual"


def test_a_run_folder_is_no_trec_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"is a folder.*give --model {tmp_path}$"):
        EvaluationOptions(run=tmp_path, task=("pairs:x",), out=Path("out"))


def test_a_model_that_is_not_there_is_refused_before_its_tasks_are_read(tmp_path: Path) -> None:
    (tmp_path / "hybrid").mkdir()
    model = str(tmp_path / "hybrd")
    options = EvaluationOptions(model=model, task=("pairs:no/where",), out=Path("out"))
    with pytest.raises(UserError, match=r"^--model: .*no such folder; did you mean '.*/hybrid'\?"):
        EvaluationJob.load(options)


def test_what_a_run_was_trained_on_makes_seen_and_unseen(pairs: str, tmp_path: Path) -> None:
    assert trained_languages(tmp_path) is None
    (tmp_path / "environment.json").write_text(json.dumps({"training_languages": ["en", "fr"]}))
    assert trained_languages(tmp_path) == ["en", "fr"]
    for text in ("{", '{"training_languages": [1]}', '{"training_languages": "en"}'):
        (tmp_path / "environment.json").write_text(text)
        with pytest.raises(UserError, match=r"environment\.json: "):
            trained_languages(tmp_path)
    found = Evaluation.of(Eval(tasks=(pairs,), groups=("all=de,en",)), ["en", "fr"])
    groups = found.groups.within(found.tasks[0])
    assert groups == {"seen": ("en",), "unseen": ("de",), "all": ("de", "en")}


def test_a_wrong_group_is_refused_before_training(pairs: str) -> None:
    with pytest.raises(UserError, match="no task has queries in 'sw'"):
        Evaluation.of(Eval(tasks=(pairs,), groups=("few=sw",)))
