"""Pair files: what is read, in which order, and how each kind of bad line is reported."""

import gzip
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybrid_dist.data.blocks import expand_globs
from hybrid_dist.data.pair_files import read_pair_files
from hybrid_dist.data.reading import Reading
from hybrid_dist.data.store.reader import Store
from hybrid_dist.errors import UserError
from tests.support.pair_lines import BAD_LINES, GOOD, line, write
from tests.support.published_files import write as write_published


def read_pairs(patterns: Sequence[str]) -> pa.Table:
    """All pairs of the files, sorted by language and uid; a pair given twice is kept once."""
    reading = Reading()
    blocks = read_pair_files(patterns, reading)
    return Store.build(blocks, reading=reading, name=", ".join(patterns)).table()


def rows(*patterns: str) -> list[tuple[str, str, str, str]]:
    return [tuple(row.values()) for row in read_pairs(patterns).to_pylist()]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "with space é.jsonl"])
def test_plain_and_compressed_files_read_alike(tmp_path: Path, name: str) -> None:
    file = write(tmp_path / name, line(), "", "   ", line(uid="u2", query="wer?"))
    assert rows(file) == [("u1", "en", "who?", "Ada did"), ("u2", "en", "wer?", "Ada did")]


def test_rows_come_by_language_then_uid_whatever_the_order_of_lines(tmp_path: Path) -> None:
    keys = [("u2", "fr"), ("u10", "de"), ("u1", "fr"), ("u2", "de"), ("é", "de"), ("z", "de")]
    forward = write(tmp_path / "a.jsonl", *(line(uid=u, lang=lang) for u, lang in keys))
    backward = write(tmp_path / "b.jsonl", *(line(uid=u, lang=lang) for u, lang in keys[::-1]))
    expected = sorted((lang, uid) for uid, lang in keys)
    for file in (forward, backward):
        assert [(lang, uid) for uid, lang, _, _ in rows(file)] == expected


def test_globs_name_files_once_and_in_order(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    names = ["b.jsonl", "a.jsonl", "deep/er/c.jsonl"]
    for name in names:
        write(tmp_path / name, line(uid=name))
    files = expand_globs([f"{tmp_path}/**/*.jsonl", f"{tmp_path}/a.jsonl"])
    assert files == [tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "deep/er/c.jsonl"]
    assert [uid for uid, *_ in rows(f"{tmp_path}/**/*.jsonl")] == sorted(names)


def test_uids_are_shared_by_files_read_together(tmp_path: Path) -> None:
    english = write(tmp_path / "en.jsonl", line())
    german = write(tmp_path / "de.jsonl", line(lang="de", query="wer?"))
    assert [(uid, lang) for uid, lang, _, _ in rows(english, german)] == [
        ("u1", "de"),
        ("u1", "en"),
    ]


def test_text_is_normalized_so_that_one_letter_has_one_form(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", line(uid="e\u0301", query="cafe\u0301?", passage="A\u030a"))
    assert rows(file) == [("é", "en", "café?", "Å")]
    assert rows(file)[0][2] == "caf\u00e9?"


def test_a_number_as_uid_is_its_text(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", line(uid=7), line(uid="7"), line(uid=2**70))
    assert [uid for uid, *_ in rows(file)] == [str(2**70), "7"]


def test_a_pair_given_twice_is_kept_once(tmp_path: Path) -> None:
    one = write(tmp_path / "a.jsonl", line(), line(extra="ignored"))
    other = write(tmp_path / "b.jsonl.gz", line(query="who?"))
    assert rows(one, other) == [("u1", "en", "who?", "Ada did")]


@pytest.mark.parametrize("first", ["null", "[]", "1"])
def test_a_first_line_without_an_object_is_named(tmp_path: Path, first: str) -> None:
    file = write(tmp_path / "a.jsonl", first, line())
    with pytest.raises(UserError, match=r"a\.jsonl:1: expected an object with uid"):
        read_pairs([file])


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize(("bad", "message"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_named_by_file_and_line(
    tmp_path: Path, bad: str | bytes, message: str, compressed: bool
) -> None:
    name = "pairs.jsonl.gz" if compressed else "pairs.jsonl"
    file = write(tmp_path / name, line(), "", bad, line(uid="u3"))
    with pytest.raises(UserError) as refusal:
        read_pairs([file])
    assert str(refusal.value).startswith(f"{file}:3: ")
    assert message in str(refusal.value)


def test_a_parquet_column_whose_name_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([GOOD | {"extra": "x"}]), tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content.replace(b"extra", b"e\xfftra"))
    with pytest.raises(UserError, match=r"a\.parquet: not a readable Parquet file"):
        read_pairs([str(tmp_path / "a.parquet")])


def test_other_text_for_a_uid_names_both_places(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", line(uid="x"), line())
    second = write(tmp_path / "b.jsonl", line(query="other?"))
    with pytest.raises(UserError) as refusal:
        read_pairs([first, second])
    assert f"{second}:1: " in str(refusal.value)
    assert f"{first}:2;" in str(refusal.value)


def test_a_gzip_file_cut_short_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl.gz"
    write(file, *(line(uid=f"u{n}", query=f"{n * 7919}?") for n in range(1000)))
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"a\.jsonl\.gz:\d+: broken gzip file"):
        read_pairs([str(file)])


def test_a_gzip_file_with_changed_bytes_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl.gz"
    write(file, *(line(uid=f"u{n}", query=f"{n * 7919}?") for n in range(1000)))
    content = bytearray(file.read_bytes())
    content[-8:-4] = b"\0\0\0\0"  # its checksum
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.jsonl\.gz:\d+: broken gzip file"):
        read_pairs([str(file)])


def test_a_plain_file_called_gz_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl.gz"
    file.write_text(line())
    with pytest.raises(UserError, match=r"a\.jsonl\.gz:1: broken gzip file"):
        read_pairs([str(file)])


def test_files_without_a_pair_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", "", "", "  ")
    with pytest.raises(UserError, match="no pair in these files"):
        read_pairs([file])


@pytest.mark.parametrize("name", ["b.jsonl", "b.jsonl.gz", "b.jsonl.zst"])
@pytest.mark.parametrize("packed", [False, True])
def test_an_empty_file_of_a_glob_is_refused(tmp_path: Path, name: str, packed: bool) -> None:
    """Whether the file is empty or what it unpacks to: either may be a copy that failed."""
    write(tmp_path / "a.jsonl", line())
    empty = write_published(tmp_path / name, "") if packed else tmp_path / name
    empty.write_bytes(empty.read_bytes() if packed else b"")
    with pytest.raises(UserError, match=rf"{name}: is empty, .*copy it again, or leave it out"):
        read_pairs([f"{tmp_path}/*.jsonl*"])


@pytest.mark.parametrize(
    "damage",
    [lambda raw: raw[:5], lambda raw: raw[:-1], lambda raw: raw + b"x", lambda raw: raw + raw[:12]],
    ids=["header cut", "a byte short", "a byte more", "second member cut"],
)
@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_what_is_not_whole_members_is_refused(
    tmp_path: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    file = write_published(tmp_path / name, line() + "\n")
    read_pairs([str(file)])
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError, match=rf"{name}:\d+: broken (gzip|zstd) file \(.*copy it again"):
        read_pairs([str(file)])


def test_two_members_are_one_file(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl.gz"
    lines = [gzip.compress(line(uid=uid).encode() + b"\n") for uid in ("u1", "u2")]
    file.write_bytes(b"".join(lines))
    assert [uid for uid, *_ in rows(str(file))] == ["u1", "u2"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (line(passage="?").replace('"?"', "[" * 900 + "]" * 900), "'passage', found [["),
        (line(passage="?").replace('"?"', "[" * 100_000), "not JSON"),
        (line(uid="?").replace('"?"', "9" * 5000), "not JSON (Exceeds the limit (4300 digits)"),
    ],
    ids=["nested", "nested too deeply", "5,000 digits"],
)
def test_values_that_python_cannot_hold_are_named(tmp_path: Path, bad: str, message: str) -> None:
    file = write(tmp_path / "a.jsonl", line(), bad)
    with pytest.raises(UserError) as refusal:
        read_pairs([file])
    assert str(refusal.value).startswith(f"{file}:2: ")
    assert message in str(refusal.value)
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize("first", ["null", "null null", "true", "[]", '"a"', " null"])
def test_a_first_line_that_is_no_object_is_named(tmp_path: Path, first: str) -> None:
    """Arrow's JSON reader ends the process on a null there."""
    file = write(tmp_path / "a.jsonl", first, line())
    with pytest.raises(UserError, match=r"a.jsonl:1: (expected an object|not JSON)"):
        read_pairs([file])


@pytest.mark.parametrize("pattern", ["missing.jsonl", "no-*.jsonl", ""])
def test_a_path_or_glob_that_names_nothing_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_pairs([f"{tmp_path}/nowhere/{pattern}"])


def test_a_folder_is_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a folder; name its pair files"):
        read_pairs([str(tmp_path)])


@pytest.mark.parametrize("value", [f"{'9' * 5000}", "[" * 9999 + "]" * 9999], ids=["long", "deep"])
@pytest.mark.parametrize("beside_a_bad_line", [False, True])
def test_what_is_in_a_field_that_is_ignored_refuses_no_line(
    tmp_path: Path, value: str, beside_a_bad_line: bool
) -> None:
    """Whether a line is good does not depend on the lines that happen to be read with it."""
    good = line(uid="u9").replace("{", f'{{"ignored": {value}, ', 1)
    file = write(tmp_path / "a.jsonl", good, *(["{}"] if beside_a_bad_line else []))
    reading = Reading(skip_bad=1)
    blocks = [row for block in read_pair_files([file], reading) for row in block.to_pylist()]
    assert [row["uid"] for row in blocks] == ["u9"]
    assert len(reading.bad) == beside_a_bad_line


def test_no_negatives_are_null_or_an_empty_list_or_nothing(tmp_path: Path) -> None:
    lines = (line(uid="1", negatives=None), line(uid="2", negatives=[]), line(uid="3"))
    assert [uid for uid, *_ in rows(write(tmp_path / "a.jsonl", *lines))] == ["1", "2", "3"]
