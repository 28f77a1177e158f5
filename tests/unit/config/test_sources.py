"""Entries of data.train with settings, and a mix that changes over the steps."""

import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from hybrid_dist.commands.config import main as get
from hybrid_dist.config.flags import load
from hybrid_dist.config.resolve import from_yaml, to_yaml
from hybrid_dist.config.schema import Config, Data, changes_to_run
from hybrid_dist.config.sources import Mix, MixEnd, Source
from hybrid_dist.errors import UserError

ENTRIES = """\
data:
  train:
    - a.jsonl
    - {path: "b*.jsonl", weight: 3, query_prefix: "", mix: {cross_lingual: 1}}
batching:
  mix_end: {multilingual: 2}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "run.yaml"
    file.write_text(ENTRIES)
    return file


def test_an_entry_is_a_path_or_a_mapping(file: Path) -> None:
    config = load(["--config", str(file)], "program")
    second = Source(path="b*.jsonl", weight=3, query_prefix="", mix=Mix(cross_lingual=1))
    assert config.data.train == ("a.jsonl", second)
    assert config.data.train_paths == ("a.jsonl", "b*.jsonl")
    assert config.batching.mix_end.weights == Mix(multilingual=2)
    assert second.passage_prefix is None
    assert config == Config.load(file)
    built = Config(data=Data(train=("a.jsonl", second)), batching=config.batching)
    assert built == config


def test_a_mapping_of_a_path_alone_is_the_path(file: Path) -> None:
    file.write_text("data: {train: [{path: a.jsonl}, {path: b, weight: null}]}")
    assert Config.load(file).data.train == ("a.jsonl", "b")
    assert Data(train=(Source(path="a"),)).train == ("a",)


def test_a_resolved_file_keeps_the_settings(file: Path, tmp_path: Path) -> None:
    config = load(["--config", str(file)], "program")
    again = tmp_path / "config.yaml"
    again.write_text(to_yaml(config))
    assert from_yaml(again) == config
    assert load(["--config", str(again)], "program") == config


def test_flags_take_paths_and_replace_all_entries(file: Path) -> None:
    config = load(["--config", str(file), "--data.train", "x", "y z.jsonl"], "program")
    assert config.data.train == ("x", "y z.jsonl")
    config = load(["--config", str(file), "--batching.mix_end.monolingual", "1"], "program")
    assert config.batching.mix_end.weights == Mix(monolingual=1, multilingual=2)
    assert len(config.data.train) == 2


def test_without_an_end_the_mix_stays() -> None:
    assert Config().batching.mix_end.weights is None
    assert MixEnd(monolingual=0).weights == Mix()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{path: a, wieght: 2}", "data.train.0.wieght: unknown key; did you mean 'weight'?"),
        ("{path: a, queryprefix: x}", "data.train.0.queryprefix: unknown key; did you mean 'query"),
        ("{path: a, mix: {crosslingual: 1}}", "did you mean 'mix.cross_lingual'?"),
        ("{path: a, zzz: 1}", "data.train.0.zzz: unknown key (an entry has path, weight, mix, "),
        ("{path: a, weight: -1}", "data.train.0.weight: input should be greater than or equal"),
        ("{path: a, weight: .nan}", "data.train.0.weight: "),
        ("{path: a, weight: true}", "data.train.0.weight: expected a number"),
        ("{path: a, query_prefix: 3}", "data.train.0.query_prefix: input should be a valid string"),
        ("{path: a, mix: 3}", "data.train.0.mix: "),
        ("{path: a, mix: {monolingual: -1}}", "data.train.0.mix.monolingual: input should be"),
        ("{path: a, mix: {monolingual: 0}}", "data.train.0.mix: all weights are 0"),
        ("{weight: 1}", "data.train.0.path: is missing"),
        ("{path: a, weight: 0}", "data.train: all weights are 0, so no batch can be drawn"),
        ("[a]", "data.train.0: input should be a valid string"),
    ],
)
def test_wrong_entries_are_rejected_with_their_key(file: Path, text: str, expected: str) -> None:
    file.write_text(f"data: {{train: [{text}]}}")
    with pytest.raises(UserError, match=re.escape(expected)):
        load(["--config", str(file)], "program")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{monolingual: 0, multilingual: 0}", "batching.mix_end: all weights are 0"),
        ("{monolingual: -1}", "batching.mix_end.monolingual: input should be greater"),
        ("{monolingua: 1}", "batching.mix_end.monolingua: unknown key; did you mean 'batching.mix"),
    ],
)
def test_a_wrong_end_is_rejected(file: Path, value: str, expected: str) -> None:
    file.write_text(f"data: {{train: [a]}}\nbatching: {{mix_end: {value}}}")
    with pytest.raises(UserError, match=re.escape(expected)):
        load(["--config", str(file)], "program")


def test_one_entry_may_have_the_weight_zero(file: Path) -> None:
    file.write_text("data: {train: [{path: a, weight: 0}, b]}")
    assert Config.load(file).data.train_paths == ("a", "b")


def test_settings_of_a_source_make_another_run(file: Path) -> None:
    config = Config.load(file)
    first, second = config.data.train
    assert isinstance(second, Source)
    for changed in (replace(second, weight=2.0), replace(second, query_prefix=None), "b*.jsonl"):
        other = replace(config, data=Data(train=(first, changed)))
        assert changes_to_run(config, other).keys() == {"data.train"}
    assert asdict(config)["data"]["train"][1]["weight"] == 3.0


def test_where_the_mix_changes_the_number_of_steps_makes_another_run(file: Path) -> None:
    config = Config.load(file)
    longer = replace(config, train=replace(config.train, steps=2000))
    assert changes_to_run(config, longer) == {"train.steps": (1000, 2000)}
    constant = replace(config, batching=replace(config.batching, mix_end=MixEnd()))
    longer = replace(constant, train=replace(config.train, steps=2000))
    assert changes_to_run(constant, longer) == {}


def test_scripts_get_the_paths_of_entries(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    get(["get", "data.train", "--", "--config", str(file)])
    assert capsys.readouterr().out.splitlines() == ["a.jsonl", "b*.jsonl"]
