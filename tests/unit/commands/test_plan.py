"""`hybrid-dist plan`: it prints the batches that a run would train on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid_dist.batching import Plan
from hybrid_dist.commands.plan import main
from hybrid_dist.config.flags import load
from hybrid_dist.data.store.reader import open_sources
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens


def words(toy: Path, *more: str) -> list[str]:
    own = ["--data.train", str(toy / "train.jsonl"), "--model.name_or_path", str(toy / "model")]
    return [*own, "--model.max_passage_tokens", "128", "--batching.size", "13", *more]


def records(
    toy: Path, capsys: pytest.CaptureFixture[str], steps: int, *more: str
) -> list[dict[str, Any]]:
    main(["--steps", str(steps), "--json", *words(toy, *more)])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_steps_are_those_of_the_plan(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--batching.mix.multilingual", "1", "--seed", "4")
    steps = records(toy, capsys, 30, *more)
    config = load(words(toy, *more), "test")
    stores, sources = open_sources(config.data.train)
    plan = Plan(sources, config.batching, config.seed)
    assert [record["step"] for record in steps] == list(range(30))
    assert {record["kind"] for record in steps} == {"monolingual", "cross_lingual", "multilingual"}
    for record in steps:
        batch, index = plan.batch(record["step"]), stores[0].index
        assert (record["kind"], record["stream"]) == (batch.kind, batch.stream.name)
        for key, rows in (("query_lang", batch.query_row), ("passage_lang", batch.passage_row)):
            names = [index.languages[code] for code in index.row_language[rows]]
            assert [row[key] for row in record["rows"]] == names
        assert [row["uid"] for row in record["rows"]] == stores[0].uids(batch.query_row)


@pytest.mark.parametrize("world", [1, 3, 13])
def test_ranks_share_the_rows_and_their_tokens(
    world: int, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load(words(toy), "test")
    stores, sources = open_sources(config.data.train)
    plan = Plan(sources, config.batching, config.seed)
    tokens = TextTokens.load(config.model.name_or_path, EncoderSpec.of(config.model))
    for record in records(toy, capsys, 4, "--world-size", str(world)):
        batch, ranks = plan.batch(record["step"]), record["ranks"]
        assert len(ranks) == world
        assert sorted(row for rank in ranks for row in rank["rows"]) == list(range(13))
        queries = tokens.queries(stores[0].queries(batch.query_row))
        passages = tokens.passages(stores[0].passages(batch.passage_row))
        assert sum(rank["tokens"] for rank in ranks) == len(queries.ids) + len(passages.ids)


def test_without_json_it_shows_shares_streams_languages_and_small_streams(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "pairs.jsonl"
    lines = (toy / "train.jsonl").read_text().splitlines()
    few = [line for line in lines if '"qad"' in line][:5]
    small.write_text("\n".join([*(line for line in lines if '"qad"' not in line), *few]))
    main(["--steps", "100", *words(toy, "--data.train", str(small))])
    output = capsys.readouterr().out
    for part in ("50.00%", "parallel uids", "qaa", "█", "false negatives"):
        assert part in output
    assert "left out: qad: 5 pairs give no monolingual batch of 13" in output


def test_it_shows_sources_with_settings_and_a_mix_that_changes(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, train = tmp_path / "run.yaml", toy / "train.jsonl"
    file.write_text(
        f"data: {{train: [{train}, {{path: {train}, weight: 3, query_prefix: 'ask: '}}]}}\n"
        "batching: {mix: {monolingual: 1}, mix_end: {cross_lingual: 1}, size: 13}\n"
        f"model: {{name_or_path: {toy / 'model'}}}\ntrain: {{steps: 100}}\n"
    )
    main(["--config", str(file), "--steps", "100"])
    output = capsys.readouterr().out
    for part in ("90.0%", "10.0%", "75.00%", "25.00%", "'ask: '", "the model's", "80 to 99"):
        assert part in output
    main(["--config", str(file), "--steps", "100", "--json", "--world-size", "2"])
    steps = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    kinds = [record["kind"] for record in steps]
    assert abs(kinds[:50].count("monolingual") - 37.5) <= 1.5
    assert abs(kinds[50:].count("monolingual") - 12.5) <= 1.5


def test_tokens_of_ranks_include_translations(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--align.weight", "1", "--align.of", "both", "--align.share", "0.5")
    config = load(words(toy, *more), "test")
    stores, sources = open_sources(config.data.train)
    plan = Plan(sources, config.batching, config.seed, align=config.align)
    tokens = TextTokens.load(config.model.name_or_path, EncoderSpec.of(config.model))
    for record in records(toy, capsys, 4, "--world-size", "3", *more):
        batch = plan.batch(record["step"])
        assert batch.parallel is not None
        assert batch.parallel.query_row is not None and batch.parallel.passage_row is not None
        at = batch.parallel.aligned
        query_rows = [*batch.query_row, *batch.parallel.query_row[at]]
        passage_rows = [*batch.passage_row, *batch.parallel.passage_row[at]]
        queries = tokens.queries(stores[0].queries(np.array(query_rows)))
        passages = tokens.passages(stores[0].passages(np.array(passage_rows)))
        total = sum(rank["tokens"] for rank in record["ranks"])
        assert total == len(queries.ids) + len(passages.ids)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--steps", "0"], "--steps: 0 is too few"),
        (["--steps", "1000000000000"], "--steps: 1,000,000,000,000 are too many: every step up"),
        (["--steps", "10000001", "--json"], "give 10,000,000 or fewer"),
        (["--json", "--world-size", "14"], "13 pairs cannot be split over 14 ranks"),
        (["--batching.cross_lingual", "pairwise", "--batching.size", "4000"], "batching.size"),
    ],
)
def test_what_cannot_be_planned_is_refused(
    more: list[str], message: str, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words(toy), *more])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
