"""Damage that knows a format: another type of value, a key too many, a header that lies."""

import io
import json
import random
import re
import struct
import zipfile
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TOKEN, KEY = "@@token@@", "@@key@@"
NUMBERS = (
    "0", "-1", "1", "2", "1.5", "1e999", "-1e999", "1e-400", "NaN", "Infinity", "2147483648",
    "9223372036854775808", "1" + "0" * 30, "9" * 5000, "-0", "1E400", "4294967297",
)  # fmt: skip
STRINGS = (
    '""', '" "', '"\\u0000"', '"a\\u0000b"', '"\\ud800"', '"a\\udfffb"', '"\\ud83d\\ude00"',
    '"\\u001b[31mred"', '"\\u202eabc"', '"e\\u0301"', '"\\ufeff"', '"\\n"', '"a\\tb"', '"a b"',
    '"../../etc"', '"/etc/passwd"', '"=1+1"', '"<script>alert(1)</script>"', '"\\\\[/b]"',
    '"[red]"', '"en"', '"zz"', '"zh_TW"', '"1"', '"null"', '"nan"', f'"{"a" * 70_000}"',
    '"\\u3000"', '"\\u1161"', '"\\u0338"', '"x"',
)  # fmt: skip
OTHERS = (
    "null", "true", "false", "[]", "{}", "[[]]", "[null]", '[""]', '["a", 1]', '{"a": {}}',
    "[1e999]", "[" * 3000 + "]" * 3000, '{"a":' * 3000 + "1" + "}" * 3000, '["a", "b"]', "[0]",
)  # fmt: skip


def json_token(rng: random.Random) -> str:
    return rng.choice(rng.choice([NUMBERS, STRINGS, OTHERS]))


def json_value(rng: random.Random, content: bytes) -> bytes:
    """A JSON text with one value of it replaced, or one key removed, renamed or repeated."""
    text = content.decode()
    holder = [json.loads(text)]
    indents = (None, 1, 2, 4)
    indent = next((n for n in indents if json.dumps(holder[0], indent=n) == text.strip()), None)
    container, key = _place(rng, holder)
    repeated = _change(rng, container, key, whole=container is holder)
    changed = json.dumps(holder[0], indent=indent, ensure_ascii=rng.random() < 0.5)
    changed = changed.replace(f'"{TOKEN}"', json_token(rng)).replace(
        f'"{KEY}"', json.dumps(repeated)
    )
    return (changed + "\n" * text.endswith("\n")).encode("utf-8", "surrogatepass")


def _place(rng: random.Random, holder: list[Any]) -> tuple[Any, Any]:
    """A list or an object in a JSON value and a key of it; near ones are as likely as deep ones."""
    container, key = holder, 0
    while isinstance(container[key], list | dict) and container[key] and rng.random() < 0.8:
        container = container[key]
        key = rng.choice([*(container if isinstance(container, dict) else range(len(container)))])
    return container, key


def _change(rng: random.Random, container: Any, key: Any, whole: bool) -> str:
    """Change the value under a key; says which key comes twice, if one does."""
    act = rng.random()
    if isinstance(container, dict) and act < 0.4:
        if act < 0.15:
            del container[key]
        elif act < 0.25:
            other = rng.choice(["x", "", key.upper(), f"{key} ", f" {key}", "\0"])
            container[other] = container.pop(key)
        else:
            container[KEY] = TOKEN
            return str(key)
    elif isinstance(container, list) and act < 0.4 and not whole:
        if act < 0.2:
            container.insert(rng.randrange(len(container)), rng.choice(container))
        else:
            del container[key]
    elif type(container[key]) is int and act < 0.7:
        container[key] += rng.choice([1, -1, 1000, -container[key], 2**31, 2**40])
    else:
        container[key] = TOKEN
    return ""


def json_line(rng: random.Random, content: bytes) -> bytes:
    """The same in one of many lines."""
    lines = content.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    lines[at] = json_value(rng, lines[at])
    return b"".join(lines)


CELLS = (
    "", " ", "0", "-1", "1e999", "nan", "1.5", "9" * 40, "9" * 5000, "x y", "\0", "\x1b[31m",
    "\u202e", "e\u0301", "\ufeff1", '"a"', "\u0661", "1_0", "+1", " 1", "0x1", "inf", "-inf",
    "a\vb", "a\x85b", "a\u2028b",
)  # fmt: skip


def cell(rng: random.Random, content: bytes) -> bytes:
    """Columns with one cell replaced, added, doubled or removed."""
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    gap = b"\t" if b"\t" in lines[at] else b" "
    cells = lines[at].split(gap)
    place, act = rng.randrange(len(cells)), rng.random()
    if act < 0.6:
        cells[place] = rng.choice(CELLS).encode()
    elif act < 0.7:
        cells.insert(place, rng.choice(CELLS).encode())
    elif act < 0.8:
        cells.insert(place, cells[place])
    else:
        del cells[place]
    lines[at] = gap.join(cells)
    return b"\n".join(lines)


YAML_VALUES = (
    "null", "~", "[]", "{}", "true", "no", "0", "-1", "1e3", "1e999", ".nan", "-.inf", "0x10",
    "1_000", "012", "'3'", '"3"', "1.0", "2", "3.0e-5", "9" * 5000, "[1, 2]", "{a: 1}", "{[a]: b}",
    "{? {a: 1} : b}", '!!int ""', "!!int 3", "!!float x", "!!str 3", "!!bool maybe",
    "!!binary AAAA", "!!set {a}",
    "!!timestamp 2001-01-01", "!!timestamp x", "2001-01-01", "!!python/object/apply:os.getcwd []",
    "!x y", "&a [*a]", "*nothing", "<<", "{<<: {steps: 3}}", "[" * 2000, "[" * 500 + "]" * 500,
    '"\\x1b[31m"', '"\\0"', "'a\u202eb'", "|\n    text", "'unclosed", "a: b: c", "@x", "`x", "%x",
    "1:30", "2026-13-45", "=", "\ufeff", "😀", "- x", "a" * 300, "../x", "/", ".",
    "10" * 10, "0.1", "!!omap [a: 1]", "!!pairs [a]", "!!null x", "!!map []", "!!seq {}",
    "!!merge x",
)  # fmt: skip
BOMB = "".join(
    f"  {one}: &{one} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, one in zip("abcdefgh", "bcdefghi", strict=True)
)


def yaml_line(rng: random.Random, content: bytes) -> bytes:
    """The value or the key of one line replaced."""
    lines = content.decode().split("\n")
    at = rng.choice([n for n, line in enumerate(lines) if ":" in line or "-" in line])
    mark = ":" if ":" in lines[at] else "-"
    key, _, value = lines[at].partition(mark)
    act = rng.random()
    if act < 0.75:
        lines[at] = f"{key}{mark} {rng.choice(YAML_VALUES)}"
    elif act < 0.85:
        lines[at] = f"{key}{rng.choice('xX_ ')}{mark}{value}"
    else:
        space = key[: len(key) - len(key.lstrip())]
        lines[at] = f"{space}{rng.choice(YAML_VALUES)}{mark}{value}"
    return "\n".join(lines).encode()


def yaml_text(rng: random.Random, content: bytes) -> bytes:
    """Documents, directives, aliases, and how lines are set in."""
    text = content.decode()
    line = rng.choice(text.split("\n"))
    changes = [
        f"---\n{text}---\n{text}",
        f"%YAML 9.9\n---\n{text}",
        f"%TAG ! tag:x,1:\n---\n{text}",
        f"data:\n  train: [x]\n  a: &a [x]\n{BOMB}",
        f"x: &a [x]\n{BOMB.replace('  ', '')}{text}",
        text.replace("  ", "\t", 1),
        text.replace("  ", "   ", 1),
        text.replace(line, f" {line}", 1),
        text.replace(line, line.lstrip(), 1),
        f"<<: *x\n{text}",
        f"{text}\n...\nx",
        f"[{text}]",
        text.replace("\n", "\n# \x07\n", 1),
    ]
    return rng.choice(changes).encode()


DTYPES = ("<f2", "<f4", ">f4", "<f8", "<i4", "<i8", "<u8", "|b1", "|O", "|S4", "<U3", "|V8", "<c8",
          "<M8[s]", [("a", "<f4")], "<f4x", "", 3)  # fmt: skip


def npy_header(rng: random.Random, content: bytes) -> bytes:
    """A header that says something else; the numbers stay."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    shape, order, dtype = np.lib.format.read_array_header_1_0(stream)
    rows = shape[0] if shape else 0
    shapes = [(), (0,), (rows,), (rows + 1, *shape[1:]), (rows, 0), (0, *shape[1:]), (10**12, 3),
              (-1, *shape[1:]), (*shape, 1), shape[::-1], (2**63, 2), (True, 2), (1.5,), 3, None,
              (2**40, 2**40)]  # fmt: skip
    fields: dict[str, Any] = {"descr": dtype.str, "fortran_order": order, "shape": shape}
    key = rng.choice([*fields, "shape"])
    fields[key] = rng.choice(
        {"descr": DTYPES, "fortran_order": (True, 1, None), "shape": shapes}[key]
    )
    if rng.random() < 0.1:
        del fields[key]
    text = repr(fields).encode()
    text = rng.choice([text, text, text, text[:-1], b"[1]", b"{" * 300, text + b" " * 70_000])
    if rng.random() < 0.05:
        version = (rng.choice([0, 2, 3, 9]), rng.choice([0, 1]))
    length = struct.pack("<H" if version == (1, 0) else "<I", (len(text) + 1) % 65536)
    return b"\x93NUMPY" + bytes(version) + length + text + b"\n" + content[stream.tell() :]


def npy_values(rng: random.Random, content: bytes) -> bytes:
    """Other numbers, other kinds of them, none, or an archive under the same name."""
    array: Any = np.load(io.BytesIO(content)).copy()
    out, act = io.BytesIO(), rng.random()
    if act < 0.1:
        np.savez(out, array)
        return out.getvalue()
    if act < 0.6 and array.size and array.dtype.kind in "fiu":
        kinds: dict[str, list[Any]] = {"f": [np.nan, np.inf, -np.inf, 0, 1e-45, 3e38, -0.0, 6e4]}
        values = kinds.get(array.dtype.kind, [0, np.iinfo(array.dtype).max if array.size else 0])
        which = rng.choice([..., rng.randrange(len(array)), slice(0, 2)])
        with np.errstate(all="ignore"):
            array[which] = np.array(rng.choice(values)).astype(array.dtype)
        np.save(out, array)
        return out.getvalue()
    with np.errstate(all="ignore"):
        changed = rng.choice(
            [
                lambda: array[:0], lambda: array[..., :0], lambda: array[:-1], lambda: array[0],
                lambda: array.astype("f8") * 1e-300, lambda: array.astype("f8") * 1e300,
                lambda: array.astype(">f4"), lambda: array.astype("f2"), lambda: array.astype("i8"),
                lambda: array.astype(bool), lambda: array.astype("U5"), lambda: array[None],
                lambda: np.asfortranarray(array), lambda: array[::-1], lambda: array.astype("c16"),
                lambda: np.concatenate([array, array]), lambda: array * 0,
            ]
        )()  # fmt: skip
    np.save(out, changed)
    return out.getvalue()


def npz_member(rng: random.Random, content: bytes) -> bytes:
    """An archive with one array changed, missing, renamed, or there twice."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    at, act = rng.randrange(len(members)), rng.random()
    name, inner = members[at]
    if act < 0.3:
        members[at] = name, npy_header(rng, inner)
    elif act < 0.7:
        members[at] = name, npy_values(rng, inner)
    elif act < 0.8:
        del members[at]
    elif act < 0.9:
        members[at] = rng.choice(["x.npy", "", "../x.npy", name[:-4], f"{name}.npy"]), inner
    else:
        members[at] = name, members[rng.randrange(len(members))][1]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, inner in members:
            archive.writestr(zipfile.ZipInfo(name), inner)
    return out.getvalue()


KINDS = (
    pa.int64(), pa.uint8(), pa.float64(), pa.bool_(), pa.binary(), pa.large_string(),
    pa.string_view(), pa.dictionary(pa.int32(), pa.string()), pa.list_(pa.string()),
    pa.large_list(pa.string()), pa.null(), pa.timestamp("s"), pa.decimal128(20, 2),
    pa.struct([("a", pa.string())]),
    pa.binary(3), pa.list_(pa.int64()), pa.list_(pa.list_(pa.string())),
    pa.map_(pa.string(), pa.string()),
)  # fmt: skip
CELL_VALUES = (None, "", " ", "\0", "\x1b[31m", "e\u0301", "zz", "en", "\u202e", "a" * 70_000, "1")


def parquet_table(rng: random.Random, content: bytes) -> bytes:
    """A table with other columns, types or values; or written another way."""
    table = pq.read_table(pa.BufferReader(content))
    at, act = rng.randrange(table.num_columns), rng.random()
    name = table.column_names[at]
    if act < 0.35:
        values = table.column(at).to_pylist()
        row = rng.randrange(len(values))
        values[row] = rng.choice(CELL_VALUES)
        if pa.types.is_list(table.schema.field(at).type):
            values[row] = rng.choice([None, [], [None], [""], ["a", "b"], ["\x1b"]])
        table = table.set_column(at, name, pa.array(values, table.schema.field(at).type))
    elif act < 0.6:
        table = table.set_column(at, name, _as_kind(table.column(at), rng.choice(KINDS)))
    elif act < 0.7:
        table = table.append_column(name, table.column(rng.randrange(table.num_columns)))
    elif act < 0.8:
        other = rng.choice(["x", "", name.upper(), "negatives", "uid"])
        names = [other if n == name else n for n in table.column_names]
        table = table.rename_columns(names)
    elif act < 0.85:
        table = table.remove_column(at)
    elif act < 0.9:
        table = table.slice(0, rng.choice([0, 1]))
    elif act < 0.95:
        table = pa.concat_tables([table, table.slice(0, 1)])
    out = pa.BufferOutputStream()
    compression = rng.choice(["snappy", "none", "gzip", "zstd", "brotli"])
    pq.write_table(
        table, out, compression=compression, row_group_size=rng.choice([1, 2, 1000]),
        use_dictionary=rng.random() < 0.5, data_page_version=rng.choice(["1.0", "2.0"]),
    )  # fmt: skip
    return bytes(out.getvalue())


def _as_kind(column: Any, kind: Any) -> Any:
    try:
        return column.cast(kind)
    except (pa.ArrowException, ValueError):
        pass
    if kind == pa.binary(3) or kind == pa.binary():
        return pa.array([b"\xff\x00a"] * len(column), kind)
    if kind == pa.list_(pa.string()) or kind == pa.large_list(pa.string()):
        return pa.array([["a", None]] * len(column), kind)
    return pa.nulls(len(column), kind)


def safetensors_header(rng: random.Random, content: bytes) -> bytes:
    """Other names, types, shapes or places of tensors; the numbers stay."""
    (length,) = struct.unpack("<Q", content[:8])
    header, rest = content[8 : 8 + length], content[8 + length :]
    act = rng.random()
    if act < 0.15:
        return (
            struct.pack("<Q", rng.choice([0, 1, length - 1, length + 1, 2**40, 2**63]))
            + content[8:]
        )
    if act < 0.4:
        kinds = ["F16", "BF16", "F64", "I64", "U8", "BOOL", "X", "F8_E4M3", "C64"]
        pattern = rb'"dtype":"\w+"'
        matches = [*re.finditer(pattern, header)]
        one = rng.choice(matches)
        new = f'"dtype":"{rng.choice(kinds)}"'.encode()
        header = header[: one.start()] + new + header[one.end() :]
    else:
        header = json_value(rng, header.rstrip())
    return struct.pack("<Q", len(header)) + header + rest
