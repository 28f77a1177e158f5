"""Reports: from a task to the files."""

import base64
import errno
import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.evaluator import ScoringOptions
from hybrid_dist.evaluation.groups import LanguageGroups
from hybrid_dist.evaluation.per_query import PerQuery
from hybrid_dist.evaluation.quantisation import Quantisation
from hybrid_dist.reporting import html, plots
from hybrid_dist.reporting.evaluation_report import ReportOptions, evaluate_task
from hybrid_dist.reporting.report import figures
from hybrid_dist.reporting.report_folder import NAMES
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.tracking.report_json import read_report
from tests.support.evaluation_problems import (
    GivenEmbedder,
    given_embedder,
    make_task,
    parallel_task,
    unit_vectors,
)


def test_the_report_and_its_files(tmp_path: Path) -> None:
    task = parallel_task(languages=3, per_language=30)
    messages: list[str] = []
    out = tmp_path / "eval" / "toy"
    embedder = given_embedder(task)
    report = evaluate_task(
        task, embedder, Ranks(), out, messages.append, ReportOptions({"model.pooling": "mean"})
    )
    assert json.loads((out / "report.json").read_text("utf-8")) == report
    assert sorted(file.name for file in out.iterdir()) == [
        "jaccard_by_pair.png",
        "language_share.png",
        "map_by_pair.png",
        "rank_distance.png",
        "report.html",
        "report.json",
        "report.md",
        "scores.npz",
    ]
    assert (report["task"], report["model"]) == ("toy", embedder.name)
    assert report["counts"]["queries"] == report["counts"]["passages"] == 90
    assert report["counts"]["by_language"]["l01"] == {"queries": 30, "passages": 30}
    assert set(report["map"]) == {"monolingual", "cross_lingual", "multilingual"}
    assert set(report["map_by_pair"]["l00"]) == set(task.languages)
    assert set(report["timing"]) >= {"embed_s", "rank_s", "search_s"}
    assert report["settings"]["model.pooling"] == "mean"
    diagonal = np.mean([report["map_by_pair"][name][name] for name in task.languages])
    assert report["map"]["monolingual"] == pytest.approx(diagonal)
    assert len(messages) == 4
    assert messages[2].startswith("toy: mAP monolingual 0.")


def test_the_report_shows_intervals(tmp_path: Path) -> None:
    task = parallel_task(languages=3, per_language=30)
    report_options = ReportOptions(
        groups=LanguageGroups({"pair": ("l00", "l01")}, frozenset({"l00"}))
    )
    report = evaluate_task(
        task, given_embedder(task), Ranks(), tmp_path, report_options=report_options
    )
    low, high = report["intervals"]["map.multilingual"]
    assert low < report["map"]["multilingual"] < high
    assert list(report["groups"]) == ["seen", "unseen", "pair"]
    assert report["spread"]["map.monolingual"]["gap"] > 0
    page = (tmp_path / "report.html").read_text("utf-8")
    markdown = (tmp_path / "report.md").read_text("utf-8")
    figure_ = f"{report['map']['multilingual']:.3f}"
    assert f'<b>{figure_}</b><span class="between">{low:.3f} to {high:.3f}</span>' in page
    assert f"{figure_} ({low:.3f} to {high:.3f})" in markdown
    for text in (page, markdown):
        assert "Complete@20" in text and "pair" in text and "First hit in own language" in text
        assert "95%, from 1,000 draws of query ids" in text
        assert "mAP monolingual over query languages: best" in text


def test_the_report_shows_consistency_and_what_cannot_be_reached(tmp_path: Path) -> None:
    task = parallel_task(languages=11, per_language=12)
    report = evaluate_task(task, given_embedder(task), Ranks(), tmp_path)
    consistency, bias = report["consistency"], report["bias"]
    for name in ("mrc", "rbo", "jaccard_at_10"):
        low, high = report["intervals"][f"consistency.{name}.mean"]
        assert low < consistency[name]["mean"] < high
        assert set(consistency[name]["by_language"]) == set(task.languages)
        pairs = consistency[f"{name}_by_pair"]
        assert pairs["l00"]["l03"] == pairs["l03"]["l00"] and "l00" not in pairs["l00"]
    assert bias["complete_at_10"]["mean"] is None, "11 relevant passages"
    assert bias["first_hit_expected_by_pair"]["l00"]["l05"] == pytest.approx(1 / 11)
    assert sum(bias["first_hit_by_pair"]["l00"].values()) == pytest.approx(1)
    assert list(report["left_out"]) == ["peer"]
    page = (tmp_path / "report.html").read_text("utf-8")
    markdown = (tmp_path / "report.md").read_text("utf-8")
    assert "| Complete@10 | - | more relevant passages than that |" in markdown
    assert (
        f"| Jaccard index of the top 10 | {consistency['jaccard_at_10']['mean']:.3f} (" in markdown
    )
    for text in (page, markdown):
        assert "Consistency of parallel queries" in text and "First result relevant" in text
        assert "PEER: no query has two relevant passages of one grade" in text


def test_a_task_without_parallel_queries_says_so(tmp_path: Path) -> None:
    task = make_task([0, 0, 1, 1], [0, 0, 1, 1], [[0, 2], [0, 1, 3], [1, 3], [2, 3, 0]])
    report = evaluate_task(task, given_embedder(task), Ranks(), tmp_path)
    assert report["left_out"] == {"consistency": "no query id occurs in two languages"}
    assert report["consistency"]["rbo"] == {"mean": None, "by_language": {}}
    assert 0 < report["bias"]["peer"]["mean"] <= 1
    assert not (tmp_path / "jaccard_by_pair.png").exists()
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "Consistency: no query id occurs in two languages" in page
    assert "Consistency of parallel queries" not in page


def test_the_page_is_one_file_and_escapes_texts(tmp_path: Path) -> None:
    task = parallel_task(languages=2, per_language=3)
    texts = [f"<script>alert({number})</script> ไทย 中文 עברית" for number in range(6)]
    task = replace(task, query_texts=texts, passage_texts=texts)
    evaluate_task(task, given_embedder(task), Ranks(), tmp_path)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(" in page
    assert "中文" in page
    assert "a &lt;given&gt; model" in page
    sources = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert [base64.b64decode(source)[1:4] for source in sources] == [b"PNG"]
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_fp16_shards_score_the_rounded_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hybrid_dist.evaluation.task_vectors.FP16_BLOCK", 100)
    task = parallel_task(3, 90)
    rng = np.random.default_rng(1)
    queries, passages = (unit_vectors(rng, len(task.query_ids)) for _ in range(2))
    given, known = GivenEmbedder(task, queries, passages), passages.astype(np.float16)
    half = evaluate_task(
        task,
        given,
        Ranks(),
        tmp_path / "half",
        report_options=ReportOptions(scoring=ScoringOptions(half=True)),
    )
    given = GivenEmbedder(task, queries, known.astype(np.float32))
    rounded = evaluate_task(task, given, Ranks(), tmp_path / "rounded")
    assert "passages rounded to float16" in half.pop("settings")["score"]
    for report in (half, rounded):
        del report["timing"], report["id"]
        report.pop("settings", None)
    assert json.dumps(half) == json.dumps(rounded)


@pytest.mark.parametrize("index", ["Flat", "IVF4,Flat"])
def test_a_search_by_faiss_gives_the_same_report(tmp_path: Path, index: str) -> None:
    pytest.importorskip("faiss")
    task = parallel_task(3, 90)
    rng = np.random.default_rng(1)
    given = GivenEmbedder(task, *(unit_vectors(rng, len(task.query_ids)) for _ in range(2)))
    asked = ReportOptions(scoring=ScoringOptions(search="faiss", index=index))
    report = evaluate_task(task, given, Ranks(), tmp_path / "faiss", report_options=asked)
    shared = evaluate_task(task, given, Ranks(), tmp_path / "auto")
    assert report["search"].startswith("faiss") and "as --search asks" in report["search"]
    assert shared["search"].startswith("torch") and "from the scores" in shared["search"]
    assert report["map"] == shared["map"]
    if index == "Flat":
        assert report["examples"] == shared["examples"] and report["bias"] == shared["bias"]


def test_codes_cost_what_rescoring_returns(tmp_path: Path) -> None:
    task = parallel_task(3, 90)
    rng = np.random.default_rng(1)
    meaning = np.tile(unit_vectors(rng, 90), (3, 1))
    noise = (unit_vectors(rng, len(task.query_ids)) for _ in range(2))
    given = GivenEmbedder(task, *((meaning + 1.2 * part) / 2.2 for part in noise))

    def report(quantise: str) -> dict[str, Any]:
        options = ReportOptions(scoring=ScoringOptions(quantisation=Quantisation.parse(quantise)))
        return evaluate_task(task, given, Ranks(), tmp_path / quantise, report_options=options)

    whole, bits, int8, rescored = map(report, ("none", "binary", "int8", "binary:270"))
    assert bits["settings"]["quantisation"] == (
        "one bit per dimension, scored as they are; 6 bytes per passage in place of 192"
    )
    for setting in ("monolingual", "cross_lingual", "multilingual"):
        assert bits["map"][setting] < int8["map"][setting] - 0.02
        assert abs(int8["map"][setting] - whole["map"][setting]) < 0.01
    for part in ("map", "bias", "consistency"):
        assert rescored[part] == whole[part], "every passage was scored again"


def test_a_shard_in_the_hosts_memory_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task([0, 1], [0, 0, 1], [[0], [2]])
    assert (
        "passages" not in evaluate_task(task, given_embedder(task), Ranks(), tmp_path)["settings"]
    )
    monkeypatch.setattr("hybrid_dist.evaluation.tiles.free_memory", lambda device: 1e6)
    report = evaluate_task(task, given_embedder(task), Ranks(), tmp_path)
    assert "in the host's memory on 1 of 1 processes" in report["settings"]["passages"]


def test_separate_pools_have_no_pooled_figure(tmp_path: Path) -> None:
    task = make_task([0, 0], [1, 1, 1, 2], [[0, 1], [2, 3]], one_pool=False)
    report = evaluate_task(task, given_embedder(task), Ranks(), tmp_path)
    assert report["map"]["multilingual"] is None
    assert report["map_by_language"] == report["bias"]["language_share"] == {}
    assert report["bias"]["rank_distance"]["mean"] is None
    assert set(report["map_by_pair"]["l00"]) == {"l01", "l02"}


def test_one_language_has_no_cross_lingual_figure(tmp_path: Path) -> None:
    task = make_task([0, 0], [0, 0, 0], [[0], [2]])
    report = evaluate_task(task, given_embedder(task), Ranks(), tmp_path)
    assert report["map"]["cross_lingual"] is None
    assert report["bias"]["rank_distance"]["mean"] is None
    assert report["map"]["monolingual"] == report["map"]["multilingual"]
    lines = (tmp_path / "report.md").read_text("utf-8").splitlines()
    row = next(line for line in lines if line.startswith("| mAP |"))
    assert row.split("|")[3].strip() == "-"


def test_thirty_languages(tmp_path: Path) -> None:
    task = parallel_task(languages=30, per_language=2)
    report = evaluate_task(task, given_embedder(task), Ranks(), tmp_path)
    assert len(report["map_by_language"]) == 30


def test_examples_are_the_best_and_the_worst(tmp_path: Path) -> None:
    task = parallel_task(languages=3, per_language=30)
    embedder = given_embedder(task)
    examples = evaluate_task(task, embedder, Ranks(), tmp_path)["examples"]
    best = [example["average_precision"] for example in examples["best"]]
    worst = [example["average_precision"] for example in examples["worst"]]
    assert best == sorted(best, reverse=True)
    assert worst == sorted(worst)
    assert max(worst) < min(best)
    queries = [(e["query"]["id"], e["query"]["language"]) for e in examples["worst"]]
    assert len({uid for uid, _ in queries}) == 6
    assert len({language for _, language in queries[:3]}) == 3
    for example in examples["best"]:
        first = min(place["rank"] for place in example["ranks"])
        if first <= len(example["found"]):
            assert example["found"][first - 1]["right"]


@pytest.mark.parametrize("kind", ["query", "passage"])
def test_vectors_that_are_not_finite_are_refused(tmp_path: Path, kind: str) -> None:
    task = parallel_task(languages=2, per_language=4)
    rng = np.random.default_rng(1)
    vectors = {"query": unit_vectors(rng, 8), "passage": unit_vectors(rng, 8)}
    vectors[kind][[1, 6], 3] = np.nan
    embedder = GivenEmbedder(task, vectors["query"], vectors["passage"])
    with pytest.raises(UserError, match=rf"2 {kind} vectors .*first: \w+ in l00, \w+ in l01"):
        evaluate_task(task, embedder, Ranks(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_figures_by_name(tmp_path: Path) -> None:
    task = parallel_task(languages=2, per_language=4)
    report = evaluate_task(task, given_embedder(task), Ranks(), tmp_path)
    values = figures(report)
    assert values["map.multilingual"] == report["map"]["multilingual"]
    assert values["map_by_pair.l00.l01"] == report["map_by_pair"]["l00"]["l01"]
    assert values["bias.rank_distance.mean"] == report["bias"]["rank_distance"]["mean"]
    assert "map" not in values


def pictured_id(png: bytes) -> str:
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        return str(image.info["hybrid_dist report"])


def test_all_files_of_a_report_carry_its_id(tmp_path: Path) -> None:
    task = parallel_task(languages=3, per_language=30)
    report = evaluate_task(
        task, given_embedder(task), Ranks(), tmp_path, report_options=ReportOptions(save_run=5)
    )
    name = report["id"]
    assert read_report(tmp_path / "report.json") == report
    assert PerQuery.load(tmp_path / "scores.npz").report == name
    for file in ("report.html", "report.md"):
        assert name in (tmp_path / file).read_text("utf-8")
    assert (tmp_path / "run.trec").read_text().splitlines()[0].endswith(f"_{name}")
    assert {pictured_id(file.read_bytes()) for file in tmp_path.glob("*.png")} == {name}
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(NAMES)
    again = evaluate_task(
        task, given_embedder(task), Ranks(), tmp_path, report_options=ReportOptions(save_run=5)
    )
    other = evaluate_task(task, given_embedder(task, 2), Ranks(), tmp_path)
    assert again["id"] == name != other["id"], "equal figures have one id"
    assert not (tmp_path / "run.trec").exists(), "that was the former report's"


@pytest.mark.parametrize("failing", ["scores.npz", "report.html", "report.md", "report.json"])
def test_a_failed_write_leaves_the_old_report(
    tmp_path: Path, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "toy"
    task = parallel_task(languages=2, per_language=4)
    evaluate_task(task, given_embedder(task), Ranks(), out)
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    make_handle = io.open

    def full(file: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if str(file).endswith(failing) and "w" in mode:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
        return make_handle(file, mode, *rest, **more)

    for place in ("io.open", "builtins.open"):
        monkeypatch.setattr(place, full)
    with pytest.raises(UserError, match=r"toy: cannot write the report \(No space left"):
        evaluate_task(task, given_embedder(task, 2), Ranks(), out)
    monkeypatch.undo()
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    assert [file.name for file in tmp_path.iterdir()] == ["toy"], "no draft stays"


def test_other_files_in_the_folder_are_kept(tmp_path: Path) -> None:
    task = parallel_task(languages=2, per_language=4)
    out = tmp_path / "toy"
    (out / "notes").mkdir(parents=True)
    (out / "notes" / "a.txt").write_text("mine")
    (out / "report.txt").write_text("mine, too")
    (out / "link").symlink_to("nowhere")
    (tmp_path / ".toy.0123abcd.part").mkdir()  # left by a process that was killed
    (tmp_path / ".toy.0123abcd.part" / "report.md").write_text("x")
    for seed in (1, 2):
        evaluate_task(task, given_embedder(task, seed), Ranks(), out)
        assert (out / "notes" / "a.txt").read_text() == "mine"
        assert (out / "report.txt").read_text() == "mine, too"
        assert (out / "link").readlink() == Path("nowhere")
    assert [file.name for file in tmp_path.iterdir()] == ["toy"]


def test_texts_and_names_are_escaped_in_pages(tmp_path: Path) -> None:
    odd = "<script>x</script> [a](b) | \x1b[31m `c` =1\n# d"
    task = parallel_task(languages=2, per_language=3)
    task = replace(task, path=odd, notes=(odd,), query_ids=[f"{n % 3}{odd}" for n in range(6)])
    embedder = given_embedder(task)
    embedder.name = odd
    report_options = ReportOptions({odd: odd}, LanguageGroups({odd: ("l00",)}))
    report = evaluate_task(task, embedder, Ranks(), tmp_path, report_options=report_options)
    for file in ("report.md", "report.html", "report.json"):
        text = (tmp_path / file).read_text("utf-8")
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", text), file
        assert file == "report.json" or "<script>x" not in text
    lines = (tmp_path / "report.md").read_text("utf-8").splitlines()
    assert sum(line.startswith("#") for line in lines) == 2, "title and settings"
    (row,) = (line for line in lines if line.startswith("| &lt;script"))
    assert len(re.split(r"(?<!\\)\|", row)) == 8
    assert report["model"] == odd


def test_the_report_is_strict_json(tmp_path: Path) -> None:
    constants = list[str]()
    task = make_task([0, 0], [0, 0, 0], [[0], [2]])
    evaluate_task(task, given_embedder(task), Ranks(), tmp_path)
    text = (tmp_path / "report.json").read_text("utf-8")
    content = json.loads(text, parse_constant=constants.append)
    assert constants == [], "NaN and Infinity are no JSON"
    assert content["map"]["cross_lingual"] is None, "a figure that this task does not have"
    assert content["bias"]["rank_distance"]["mean"] is None


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    task = parallel_task(languages=2, per_language=4)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write the report"):
        evaluate_task(task, given_embedder(task), Ranks(), tmp_path / "file" / "toy")


def test_a_plot_of_many_languages_is_scrolled_and_not_shrunk() -> None:
    """Its labels would be a few pixels high."""
    shown: dict[int, str] = {}
    for count in (11, 122):
        png = plots.map_by_pair(np.eye(count), [f"q{n:03d}" for n in range(count)])
        width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
        assert max(width, height) < 4096
        shown[count] = html.picture(png, "mAP")
    assert shown[11].startswith("<figure><img") and 'class="scroll"' in shown[122]
