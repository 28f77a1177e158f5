"""A run's config from files, flags and Python, and how wrong values are rejected."""

import ast
import dataclasses
import inspect
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hybrid_dist.config import schema as configs
from hybrid_dist.config import sources
from hybrid_dist.config.flags import load
from hybrid_dist.config.hints import OF_OTHER_TRAINERS, hint
from hybrid_dist.config.resolve import from_yaml, to_yaml
from hybrid_dist.config.schema import Batching, Config, Data, Loss, Optim, changes_to_run, flatten
from hybrid_dist.config.section import validation_deferred
from hybrid_dist.config.sources import Mix
from hybrid_dist.config.strict_yaml import read_yaml
from hybrid_dist.errors import UserError

TRAIN = ("--data.train", "pairs.jsonl")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a run.yaml"


def loaded(file: Path, text: str, *flags: str) -> Config:
    file.write_text(text, "utf-8")
    return load(["--config", str(file), *flags], "program")


def refusal(file: Path, text: str, *flags: str) -> str:
    with pytest.raises(UserError) as error:
        loaded(file, text, *flags)
    return str(error.value)


DATA = "data:\n  train: [pairs.jsonl]\n"


def test_flags_change_single_values_of_a_file(file: Path) -> None:
    text = DATA + "optim:\n  lr: 0.5\n  warmup_steps: 7\n"
    config = loaded(file, text, "--optim.lr", "2e-4", "--run.name=Ünï code")
    assert config.optim.lr == 2e-4
    assert config.optim.warmup_steps == 7
    assert config.run.name == "Ünï code"
    assert config.data.train == ("pairs.jsonl",)
    assert config.loss == Config().loss


@pytest.mark.parametrize(
    "flags",
    [
        ("--batching.size", "64"),
        ("--batching.size=64",),
        ("--batching.size=2", "--batching.size=64"),
    ],
    ids=["space", "equals sign", "twice: the last"],
)
def test_both_spellings_of_a_flag_mean_the_same(flags: tuple[str, ...]) -> None:
    assert load([*TRAIN, *flags], "program").batching.size == 64


@pytest.mark.parametrize("spelling", ["--config {}", "--config={}"])
def test_both_spellings_of_the_config_flag_work_in_any_position(file: Path, spelling: str) -> None:
    named = spelling.split(" ")
    file.write_text(DATA + "seed: 5\n")
    named = [word.format(file) for word in named]
    assert load([*named, "--train.steps=3"], "program") == load(["--train.steps=3", *named], "p")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--config"], "expects a YAML file"),
        (["--config="], "expects a YAML file"),
        (["--config", "--seed", "1"], "expects a YAML file"),
        (["--config", "a.yaml", "--config=b.yaml"], "given twice (a.yaml and b.yaml)"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
    ],
)
def test_a_wrong_config_flag_is_rejected(words: list[str], expected: str) -> None:
    with pytest.raises(UserError, match=re.escape(expected)):
        load(words, "program")


def test_a_list_flag_takes_several_values() -> None:
    config = load(["--data.train", "a b.jsonl", "c-*.jsonl", "--seed", "3"], "program")
    assert config.data.train == ("a b.jsonl", "c-*.jsonl")
    assert config.seed == 3


@pytest.mark.parametrize("spelling", ["3e-5", "3.0e-5", "0.00003", "+3E-5", ".3e-4"])
def test_every_spelling_of_a_number_is_a_number(file: Path, spelling: str) -> None:
    assert loaded(file, f"{DATA}optim:\n  lr: {spelling}\n").optim.lr == pytest.approx(3e-5)
    assert isinstance(read_yaml(file)["optim"]["lr"], float)


@pytest.mark.parametrize("word", ["no", "on", "off", "yes", "y", "NO"])
def test_language_codes_that_yaml_takes_for_booleans_stay_words(file: Path, word: str) -> None:
    assert loaded(file, f"data:\n  train: [{word}]\nrun:\n  name: {word}\n").run.name == word


@pytest.mark.parametrize(("word", "value"), [("true", True), ("False", False)])
def test_booleans_are_spelled_alike_in_files_and_flags(file: Path, word: str, value: bool) -> None:
    config = loaded(file, f"{DATA}loss:\n  symmetric: {word}\n", f"--train.compile={word}")
    assert config.loss.symmetric is value
    assert config.train.compile is value


def test_kinds_missing_from_a_files_mix_have_weight_0(file: Path) -> None:
    text = DATA + "batching:\n  mix:\n    multilingual: 2\n"
    only = {"monolingual": 0.0, "cross_lingual": 0.0, "multilingual": 2.0}
    assert dataclasses.asdict(loaded(file, text).batching.mix) == only
    flagged = loaded(file, text, "--batching.mix.monolingual", "1")
    assert dataclasses.asdict(flagged.batching.mix) == only | {"monolingual": 1.0}


def test_a_section_without_keys_keeps_its_defaults(file: Path) -> None:
    assert loaded(file, DATA + "optim:\n").optim == Config().optim


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed: 1\nseed: 2\n", "key 'seed' is given twice, again in line 2"),
        ("optim:\n  lr: 1\n  weight_decay: 0\n  lr: 2\n", "'lr' is given twice, again in line 4"),
        ("optim: {lr: 1\n", "is not valid YAML"),
        ("optim:\n\tlr: 1\n", "is not valid YAML"),
        ("seed: !!python/object/apply:os.getcwd []\n", "is not valid YAML"),
        ("- seed\n", "expected sections"),
        ("", "expected sections"),
        ("just words\n", "expected sections"),
        ("optimm:\n  lr: 1\n", "optimm: unknown key"),
        ("optim:\n  learning_rate: 1\n", "learning_rate: unknown key; here it is optim.lr"),
        ("learning_rate: 1\n", "learning_rate: unknown key; here it is optim.lr"),
        ("losses:\n  temperature: 1\n", "losses: unknown key; did you mean 'loss'?"),
        (
            "train:\n  per_device_train_batch_size: 8\n",
            "unknown key; here it is batching.size, the pairs of all GPUs together",
        ),
        (
            "optim:\n  warmup_step: 1\n",
            "warmup_step: unknown key; did you mean 'optim.warmup_steps'",
        ),
        ("train:\n  lr: 1\n", "train.lr: unknown key; did you mean 'optim.lr'"),
        ("optim: 3\n", "optim:"),
        ("optim:\n  lr: fast\n", "optim.lr: input should be a valid number"),
        ("train:\n  steps: 1.5\n", "train.steps: input should be a valid integer"),
        ("train:\n  steps: 0\n", "train.steps: input should be greater than or equal to 1"),
        ("train:\n  precision: fp8\n", "train.precision: input should be 'fp32', 'bf16' or 'fp16'"),
        ("data:\n  train: a.jsonl\n", "data.train: expected a list"),
        ("loss:\n  temperature: 0\n", "loss.temperature: input should be greater than"),
        ("loss:\n  temperature: .nan\n", "loss.temperature:"),
        ("loss:\n  temperature: .inf\n", "loss.temperature:"),
        ("loss:\n  temperature: -1\n", "loss.temperature:"),
        ("batching:\n  size: 1\n", "batching.size:"),
        ("batching:\n  mix:\n    monolingual: -1\n", "batching.mix.monolingual:"),
        ("model:\n  dropout: 1\n", "model.dropout:"),
        ("seed: -1\n", "seed:"),
    ],
)
def test_a_wrong_file_is_rejected_with_file_and_key(file: Path, text: str, expected: str) -> None:
    message = refusal(file, text)
    assert message.startswith(f"{file}:")
    assert expected in message


def test_all_wrong_keys_of_a_file_are_listed_at_once(file: Path) -> None:
    message = refusal(file, "optim:\n  lr: no\nloss:\n  temprature: 1\n")
    assert "optim.lr" in message
    assert "did you mean 'loss.temperature'" in message


def test_a_file_that_is_not_text_is_rejected(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00seed")
    with pytest.raises(UserError, match="is not valid YAML"):
        load(["--config", str(file)], "program")


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--optim.lrr", "--optim.lrr: unknown option; did you mean '--optim.lr'?"),
        ("--optim.learning-rate=1", "--optim.learning-rate: unknown option; here it is --optim.lr"),
        ("--max_steps", "--max_steps: unknown option; here it is --train.steps"),
        ("--model", "--model: unknown option; here it is --model.name_or_path"),
        ("--train.lr", "--train.lr: unknown option; did you mean '--optim.lr'?"),
        ("--nothing.like.it", "--nothing.like.it: unknown option (--help lists them all)"),
    ],
)
def test_an_unknown_flag_is_refused_with_the_key_that_is_meant(flag: str, expected: str) -> None:
    with pytest.raises(UserError) as error:
        load([*TRAIN, flag, "1"], "program")
    assert str(error.value) == expected


def test_tasks_of_a_run_may_have_labels_and_need_different_ones() -> None:
    tasks = ("pairs:x", "mine=pairs:y=z")
    assert load([*TRAIN, "--eval.tasks", *tasks], "program").eval.tasks == tasks
    for wrong, expected in (
        (("pairs:x", "pairs:y"), "eval.tasks: pairs:x and pairs:y are both called pairs; label"),
        (("mine=x.jsonl",), "eval.tasks: 'mine=x.jsonl' is not NAME:PATH"),
    ):
        with pytest.raises(UserError, match=re.escape(expected)):
            load([*TRAIN, "--eval.tasks", *wrong], "program")


def test_what_other_trainers_call_a_key_leads_to_one_that_exists() -> None:
    keys = flatten(Config())
    for name, (key, _) in OF_OTHER_TRAINERS.items():
        assert key in keys and name not in keys
        assert key in hint(f"train.{name}"), name


@pytest.mark.parametrize("flag", ["--optim.lr=fast", "--train.steps=1.5", "--train.precision=fp8"])
def test_a_wrong_flag_ends_the_program_and_is_named(
    flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        load([*TRAIN, flag], "program")
    assert end.value.code == 2
    printed = capsys.readouterr()
    assert flag.split("=")[0] in printed.out + printed.err


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((), "data.train: no pair file is given"),
        ((*TRAIN, "--loss.temperature=0"), "command line:\n  loss.temperature:"),
        (
            (*TRAIN, "--batching.mix.monolingual=0", "--batching.mix.cross_lingual=0"),
            "batching.mix: all weights are 0",
        ),
        ((*TRAIN, "--eval.every=5"), "eval.every: is 5, but there is nothing to evaluate"),
        ((*TRAIN, "--eval.metric=dev/loss"), "eval.metric: is dev/loss, but there are no held-out"),
        ((*TRAIN, "--eval.patience=3"), "eval.patience: is 3, but nothing is evaluated during"),
        (
            (*TRAIN, "--checkpoint.every=3", "--checkpoint.keep_every=4"),
            "checkpoint.keep_every: 4 is no multiple of checkpoint.every, 3",
        ),
        (
            (*TRAIN, "--checkpoint.every=0", "--checkpoint.keep_every=4"),
            "checkpoint.keep_every: 4 is no multiple of checkpoint.every, 0",
        ),
        ((*TRAIN, "--eval.tasks", "toy"), "eval.tasks: 'toy' is not NAME:PATH"),
        ((*TRAIN, "--eval.tasks", ":toy"), "eval.tasks: ':toy' is not NAME:PATH"),
        ((*TRAIN, "--eval.tasks", "toy:"), "eval.tasks: 'toy:' is not NAME:PATH"),
        ((*TRAIN, "--align.weight=-1"), "align.weight: input should be greater than or equal to 0"),
        ((*TRAIN, "--align.share=0"), "align.share: input should be greater than 0"),
        (
            (*TRAIN, "--align.weight=1", "--align.kind=jsd", "--align.of=both"),
            "align.of: is both, but align.kind jsd compares rankings",
        ),
        ((*TRAIN, "--distill.kind=mse"), "distill.kind: is mse, but there is no teacher"),
        ((*TRAIN, "--distill.weight=2"), "distill.weight: is 2.0, but there is no teacher"),
        (
            (*TRAIN, "--distill.teacher=m", "--distill.weight=-1"),
            "distill.weight: input should be greater than or equal to 0",
        ),
        ((*TRAIN, "--run.name", ".."), "run.name: '..' names no folder"),
        ((*TRAIN, "--run.name="), "run.name: '' names no folder"),
        ((*TRAIN, "--run.name", "../elsewhere"), "run.name: '../elsewhere' names no folder"),
        ((*TRAIN, "--run.name", "/elsewhere"), "run.name: '/elsewhere' names no folder"),
        ((*TRAIN, "--seed=99999999999999999999"), "command line:\n  seed:"),
        ((*TRAIN, "--batching.mix.monolingual=1e308"), "batching.mix.monolingual:"),
        ((*TRAIN, "--loss.temperature=1e-300"), "command line:\n  loss.temperature:"),
    ],
)
def test_impossible_values_are_rejected_with_the_key(flags: tuple[str, ...], expected: str) -> None:
    with pytest.raises(UserError, match=re.escape(expected)):
        load(flags, "program")


@pytest.mark.parametrize("what", [("--eval.tasks", "toy:t"), ("--data.dev", "dev.jsonl")])
def test_tasks_or_dev_pairs_are_enough_to_evaluate(what: tuple[str, str]) -> None:
    assert load([*TRAIN, "--eval.every=5", *what], "program").eval.every == 5


def test_a_key_that_was_renamed_is_rejected_with_its_new_name(file: Path, tmp_path: Path) -> None:
    expected = r"batching.language_temperature: is called (--)?batching.language_alpha now"
    old = tmp_path / "old.yaml"
    old.write_text("batching: {language_temperature: 0.5}\ndata: {train: [a.jsonl]}\n")
    with pytest.raises(UserError, match=expected):
        load(["--config", str(old)], "test")
    for flag in (["--batching.language_temperature", "1"], ["--batching.language_temperature=1"]):
        with pytest.raises(UserError, match=expected):
            load(["--config", str(file), *flag], "test")
    assert from_yaml(old).batching.language_alpha == 0.5, "run folders of older versions go on"
    old.write_text("train: {hang_minutes: 30}\ndata: {train: [a.jsonl]}\n")
    with pytest.raises(UserError, match=r"train.hang_minutes: is called hang_minutes.step now"):
        load(["--config", str(old)], "test")
    assert from_yaml(old).hang_minutes.step == 30


def test_a_resolved_file_gives_the_same_run_again(file: Path) -> None:
    flags = [
        "--model.query_prefix",
        "Frage: \n«é» 🙂 𠮷 \ufffe",
        "--model.dropout=0.1",
        "--optim.lr=1e-7",
    ]
    config = load([*TRAIN, *flags, "--run.name", "no", "--eval.tasks", "a:b c", "d:e"], "program")
    file.write_text(to_yaml(config), "utf-8")
    assert from_yaml(file) == config
    assert load(["--config", str(file)], "program") == config


def test_a_chunk_size_is_a_number_or_auto(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    for text, value in (("auto", "auto"), ("64", 64), ("'64'", 64), ("0", 0)):
        file.write_text(f"data: {{train: [a]}}\ntrain: {{chunk_size: {text}}}\n")
        assert Config.load(file).train.chunk_size == value
        given = load(["--data.train", "a", "--train.chunk_size", text.strip("'")], "program")
        assert given.train.chunk_size == value
    for wrong in ("-1", "1.5", "true", "all"):
        file.write_text(f"data: {{train: [a]}}\ntrain: {{chunk_size: {wrong}}}\n")
        with pytest.raises(UserError, match=r"train.chunk_size: expected a number of pairs .*auto"):
            Config.load(file)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--train.chunk_size", "8"), "train.chunk_tokens: is 4096, but train.chunk_size is 8"),
        (("--train.chunk_size", "auto"), "is 4096, but train.chunk_size is auto; give one of them"),
        (
            ("--train.chunk_tokens", "319"),
            "train.chunk_tokens: 319 is less than a pair may have, 320",
        ),
        (
            ("--batching.hard_negatives", "15"),
            "4096 is less than a pair with its 15 hard negatives may have, 4160",
        ),
        (("--train.chunk_tokens=-1",), "train.chunk_tokens: input should be greater"),
    ],
)
def test_chunks_are_cut_in_one_way_that_any_pair_fits(
    flags: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(UserError, match=re.escape(expected)):
        load([*TRAIN, "--train.chunk_tokens=4096", *flags], "program")
    assert load([*TRAIN, "--train.chunk_tokens=320"], "program").train.chunk_size == 0


def test_the_given_values_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().optim.lr = 1.0  # type: ignore[misc]


FREE = ("data.stage", "train.steps", "train.chunk_size", "train.chunk_tokens")
FREE_SECTIONS = ("run", "log", "eval", "checkpoint", "hang_minutes")


def changed(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case tuple():
            return (*value, "new")
        case dict():
            return {**value, "new": 2.0}
        case str():
            return f"{value} new"
        case None:
            return 0.5
    return value + 1


def test_any_key_but_the_free_ones_makes_another_run() -> None:
    """Held for every key there is, so that a new one must choose its side."""
    old = Config()
    for key, value in flatten(old).items():
        *path, last = key.split(".")
        holders: list[Any] = [old]
        for name in path:
            holders.append(getattr(holders[-1], name))
        with validation_deferred():  # most changed values are none that a run may have
            new = dataclasses.replace(holders[-1], **{last: changed(value)})
            for holder, name in zip(holders[-2::-1], path[::-1], strict=True):
                new = dataclasses.replace(holder, **{name: new})
        free = key in FREE or key.split(".")[0] in FREE_SECTIONS
        assert changes_to_run(old, new) == ({} if free else {key: (value, changed(value))})


def documented() -> Iterator[tuple[str, str, str | None]]:
    """Section, field and docstring (the string below a field) of all fields that hold a value."""
    modules = (configs, sources)
    for node in [node for part in modules for node in ast.parse(inspect.getsource(part)).body]:
        if not (isinstance(node, ast.ClassDef) and node.decorator_list):
            continue
        for field, below in zip(node.body, [*node.body[1:], None], strict=True):
            if not isinstance(field, ast.AnnAssign):
                continue
            if "default_factory" in ast.unparse(field) and "=dict" not in ast.unparse(field):
                continue  # a section
            text = None
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                text = str(below.value.value)
            yield node.name, ast.unparse(field.target), text


def test_every_field_is_explained_by_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load(["--help"], "program")
    shown = "".join(re.findall(r"\w+", capsys.readouterr().out))
    fields = list(documented())
    assert all(text for section, _, text in fields if section == "Source")
    fields = [each for each in fields if each[0] != "Source"]  # settings of a file, not flags
    assert len(fields) == len(flatten(Config()))
    for section, field, text in fields:
        assert text, f"{section}.{field} has no docstring"
        assert "".join(re.findall(r"\w+", text)) in shown, f"{section}.{field}"


@pytest.mark.parametrize("name", ["2024-01-01", "1:30", "on", "0x1F"])
def test_names_that_old_yaml_takes_for_other_things_stay_names(file: Path, name: str) -> None:
    assert loaded(file, DATA + f"run:\n  name: {name}\n").run.name == name


NOT_YAML = {
    "a list as a key": ("{[a]: b}", "a list or a mapping is no key, line 1"),
    "a mapping as a key": ("seed: 1\n? {a: b}\n: c", "a list or a mapping is no key, line 2"),
    "an empty int": ('seed: 1\noptim: {lr: !!int ""}', "'' is no int, line 2"),
    "an empty float": ('optim: {lr: !!float ""}', "'' is no float, line 1"),
    "a word as a boolean": ("loss: {symmetric: !!bool maybe}", "'maybe' is no bool, line 1"),
    "a word as a time": ("run: {name: !!timestamp x}", "'x' is no timestamp, line 1"),
    "5,000 digits": (f"seed: {'9' * 5000}", "is no int, line 1"),
    "deep nesting": ("[" * 5000, "nested too deeply"),
    "a torn list": ("seed: [1", "line 1, column"),
}


@pytest.mark.parametrize(("text", "expected"), NOT_YAML.values(), ids=NOT_YAML)
def test_what_is_no_yaml_is_rejected_with_its_line(file: Path, text: str, expected: str) -> None:
    message = refusal(file, text)
    assert message.startswith(f"{file}: is not valid YAML: ")
    assert expected in message and "unicode string" not in message and len(message) < 500


def bomb(open_: str, close: str) -> str:
    """Nine aliases of nine aliases, nine deep: 400 million values in a kilobyte."""
    lines = ["a0: &a0 {x: 1}"]
    for level in range(1, 10):
        some = ", ".join(f"{'' if open_ == '[' else f'k{i}: '}*a{level - 1}" for i in range(9))
        lines.append(f"a{level}: &a{level} {open_}{some}{close}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("kind", ["[]", "{}"])
@pytest.mark.parametrize(
    "where", ["data: {train: *a9}", "run: {name: *a9}", "model: *a9", "log: {tags: [*a9]}"]
)
def test_an_alias_bomb_is_rejected_in_a_few_lines_and_at_once(
    file: Path, kind: str, where: str
) -> None:
    start = time.process_time()
    assert len(refusal(file, bomb(*kind) + where)) < 5000
    assert time.process_time() - start < 5


def test_merges_of_merges_are_rejected_before_they_fill_the_memory(file: Path) -> None:
    merges = "".join(
        f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 12)
    )
    assert "merges more than 10,000 keys, line 6" in refusal(file, f"a0: &a0 {{x: 1}}\n{merges}")


def test_a_merge_takes_the_keys_of_another_mapping(file: Path) -> None:
    text = "eval: &same {every: 5}\nlog: {<<: *same, project: x}\ndata: {train: [a], dev: [b]}\n"
    assert loaded(file, text).log.every == 5


def test_of_many_problems_the_first_ten_are_listed(file: Path) -> None:
    message = refusal(file, f"data: {{train: [{'1, ' * 5000}]}}")
    assert len(message.splitlines()) == 12
    assert message.endswith("and 4990 more")


HUGE = str(10**20)
NUMBERS = [
    key
    for key, value in flatten(Config()).items()
    if isinstance(value, int | float) and not isinstance(value, bool)
]
WRONG_KINDS = {
    "true": [*NUMBERS, "model.dropout", "batching.language_weights.de"],
    HUGE: NUMBERS,
    "1": ["train.compile", "loss.symmetric"],
    "0.0": ["model.trust_remote_code"],
    '"a\\0b"': ["run.dir", "model.name_or_path", "data.train"],
    '"\\ud800"': ["model.query_prefix", "log.project", "eval.tasks"],
}


@pytest.mark.parametrize(
    ("value", "key"), [(value, key) for value, keys in WRONG_KINDS.items() for key in keys]
)
def test_every_value_is_of_its_kind_and_bounded(file: Path, value: str, key: str) -> None:
    *sections, name = key.split(".")
    value = f"[{value}]" if key in ("data.train", "eval.tasks") else value
    tree = f"{': {'.join([*sections, name])}: {value}" + "}" * len(sections)
    assert f"{key}" in refusal(file, tree)


@pytest.mark.parametrize("key", [key for key in NUMBERS if isinstance(flatten(Config())[key], int)])
def test_an_integer_as_a_flag_is_bounded(key: str) -> None:
    with pytest.raises(UserError, match=rf"{re.escape(key)}: input should be less than"):
        load([*TRAIN, f"--{key}={HUGE}"], "program")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--run.name", "a" * 256), "run.name: 'aaa"),
        (("--run.name", "sweep/" + "é" * 128), "takes 256 bytes, more than 255"),
        (("--run.dir", "a" * 256), "run.dir: 'aaa"),
        (("--run.dir", "a/" * 2000), "takes 4,000 bytes, more than 3,500"),
        (("--run.name", os.fsdecode(b"\xff")), "run.name: holds a NUL or a character"),
        (("--model.query_prefix", os.fsdecode(b"\xff")), "model.query_prefix: holds a NUL or a"),
        (("--model.max_query_tokens=1",), "model.max_query_tokens: input should be greater"),
    ],
)
def test_names_that_no_disk_takes_and_texts_that_nothing_encodes(
    flags: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(UserError, match=re.escape(expected)) as rejected:
        load([*TRAIN, *flags], "program")
    assert len(str(rejected.value)) < 300
    assert str(rejected.value).isprintable() or "\n  " in str(rejected.value)


def test_the_longest_name_that_a_disk_takes_is_taken(tmp_path: Path) -> None:
    name = "é" * 127 + "a"  # 255 bytes
    config = load([*TRAIN, "--run.dir", str(tmp_path), "--run.name", name], "program")
    config.run.folder.mkdir()
    assert [folder.name for folder in tmp_path.iterdir()] == [name]
    with pytest.raises(OSError, match="File name too long"):
        (tmp_path / f"{name}a").mkdir()


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: Loss(temperature=-1), "loss: {temperature: -1}"),
        (lambda: Loss(symmetric=1), "loss: {symmetric: 1}"),  # type: ignore[arg-type]
        (lambda: Optim(lr=True), "optim: {lr: true}"),
        (lambda: Batching(size=1, hard_negatives=-1), "batching: {size: 1, hard_negatives: -1}"),
        (lambda: Mix(monolingual=-1), "batching: {mix: {monolingual: -1}}"),
        (lambda: Data(train="a.jsonl"), "data: {train: a.jsonl}"),  # type: ignore[arg-type]
        (lambda: Config(seed=-1), "seed: -1"),
        (lambda: dataclasses.replace(Config(), seed=-1), "seed: -1"),
    ],
)
def test_python_rejects_what_yaml_rejects_with_the_same_words(
    build: Callable[[], Any], text: str, file: Path
) -> None:
    with pytest.raises(UserError) as error:
        build()
    assert refusal(file, text).removeprefix(f"{file}:\n  ") == str(error.value)


def test_values_built_in_python_become_those_of_yaml(file: Path) -> None:
    built = Config(data=Data(train=["a"]), loss=Loss(temperature=1))  # type: ignore[arg-type]
    assert built == loaded(file, "data: {train: [a]}\nloss: {temperature: 1}\n")
    assert type(built.loss.temperature) is float and built.data.train == ("a",)
    with pytest.raises(TypeError, match="temprature"):
        Loss(temprature=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "overrides",
    [
        {"optim.lr": 0.5, "batching.mix.multilingual": 1, "seed": 3},
        {"optim": {"lr": 0.5}, "batching": {"mix": {"multilingual": 1}}, "seed": 3},
        {"optim": {}, "optim.lr": 0.5, "batching.mix": {"multilingual": 1}, "seed": 3},
    ],
    ids=["dotted keys", "nested", "mixed"],
)
def test_overrides_in_python_equal_flags(file: Path, overrides: dict[str, Any]) -> None:
    text = DATA + "optim: {warmup_steps: 7}\n"
    flags = ("--optim.lr=0.5", "--batching.mix.multilingual=1", "--seed=3")
    expected = loaded(file, text, *flags)
    assert Config.load(file, **overrides) == expected
    assert Config.load(str(file), **overrides).optim.warmup_steps == 7


def test_an_override_may_be_a_section_or_a_mapping_of_weights(file: Path) -> None:
    file.write_text(DATA + "batching: {language_weights: {de: 2}}\noptim: {warmup_steps: 7}\n")
    config = Config.load(file, optim=Optim(lr=0.5), **{"batching.language_weights": {"en": 3}})
    assert config.optim == Optim(lr=0.5)
    assert config.batching.language_weights == {"en": 3.0}, "replaced, not merged"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"optim.lrr": 1}, "overrides:\n  optim.lrr: unknown key; did you mean 'optim.lr'"),
        ({"optim": {"lrr": 1}}, "overrides:\n  optim.lrr: unknown key"),
        ({"optimm": {}}, "overrides:\n  optimm: unknown key"),
        ({"optim": 3}, "overrides:\n  optim:"),
        ({"seed.x": 3}, "overrides:\n  seed:"),
        ({"loss.temperature": -1, "seed": -1}, "overrides:\n  seed: "),
        ({"batching.language_temperature": 1}, "is called batching.language_alpha now"),
        ({"eval.every": 5}, "eval.every: is 5, but there is nothing to evaluate"),
    ],
)
def test_wrong_overrides_are_rejected_as_flags_are(
    file: Path, overrides: dict[str, Any], expected: str
) -> None:
    file.write_text(DATA)
    with pytest.raises(UserError, match=re.escape(expected)):
        Config.load(file, **overrides)


def test_a_wrong_file_is_named_before_overrides_are_read(file: Path) -> None:
    file.write_text("loss: {temperature: -1}\n")
    with pytest.raises(UserError, match=re.escape(f"{file}:\n  loss.temperature: ")):
        Config.load(file, **{"optim.lrr": 1})


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--loss.symmetric=True", "--loss.query-negatives=True"), "loss.query_negatives: cannot"),
        (("--loss.symmetric=True", "--loss.passage-negatives=True"), "loss.passage_negatives: can"),
        (("--batching.margin=0.1",), "batching.margin: is 0.1, but batching.false_negatives is"),
        (("--batching.margin_scores=teacher",), "batching.margin_scores: is teacher, but"),
        (("--loss.dims", "64", "64"), "loss.dims: [64, 64] names a number of dimensions twice"),
        (("--loss.dims", "0"), "loss.dims.0: input should be"),
        (("--loss.dims", "8", "--loss.dim-weights", "1", "2"), "loss.dim_weights: has 2 weights"),
        (("--loss.dims", "8", "--loss.dim-weights", "0"), "loss.dim_weights.0: input should be"),
        (("--loss.hardness=-1",), "loss.hardness: input should be greater"),
    ],
)
def test_options_of_the_loss_that_cannot_be_combined(flags: tuple[str, ...], expected: str) -> None:
    with pytest.raises(UserError, match=re.escape(expected)):
        load([*TRAIN, *flags], "program")
