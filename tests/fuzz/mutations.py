"""Damage as it happens to files: bits, bytes, lines, encodings, compression, and whole files."""

import gzip
import random
from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from tests.fuzz import formats
from tests.fuzz.edits import Edit, Tree, splice

Damage = Callable[[random.Random, bytes], bytes]

SPECIAL = [
    b"\0", b"\x1b[31m", b"\x1b]0;title\x07", "\u202e".encode(), b"\xed\xa0\x80", b"\xff", b"\xc3",
    b"\n", b"\r", b"\t", b"\x0b", b"\x0c", b"\xc2\x85", "\u2028".encode(), b" ", "\u00a0".encode(),
    "e\u0301".encode(), "\ufeff".encode(), b'"', b"\\", b"\\ud800", b"{", b"}", b"[", b",", b":",
    b"-", b"0", b"9" * 30, b"NaN", b"1e999", b"null",
]  # fmt: skip


def flip_bit(rng: random.Random, content: bytes) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


def change_byte(rng: random.Random, content: bytes) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]


def insert_bytes(rng: random.Random, content: bytes) -> bytes:
    at = rng.randrange(len(content) + 1)
    return content[:at] + rng.randbytes(rng.choice([1, 1, 2, 4, 8, 100])) + content[at:]


def insert_special(rng: random.Random, content: bytes) -> bytes:
    at = rng.randrange(len(content) + 1)
    return content[:at] + rng.choice(SPECIAL) + content[at:]


def delete_bytes(rng: random.Random, content: bytes) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + content[at + rng.choice([1, 1, 2, 4, 8, 100]) :]


def repeat_bytes(rng: random.Random, content: bytes) -> bytes:
    at = rng.randrange(len(content))
    piece = content[at : at + rng.choice([1, 8, 64])]
    return content[:at] + piece + content[at:]


def zero_bytes(rng: random.Random, content: bytes) -> bytes:
    """What a lost block of a disk leaves."""
    at = rng.randrange(len(content))
    end = min(len(content), at + rng.choice([8, 64, 512, 4096]))
    return content[:at] + bytes(end - at) + content[end:]


def truncate(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randrange(len(content))]


def empty(rng: random.Random, content: bytes) -> bytes:
    return b""


def append(rng: random.Random, content: bytes) -> bytes:
    return content + rng.choice([b"\n", b"\0" * 8, content, rng.randbytes(16), b"{}", b"\x1a"])


EVERY: Sequence[Damage] = (
    flip_bit, flip_bit, change_byte, insert_bytes, delete_bytes, repeat_bytes, zero_bytes, truncate,
    empty, append,
)  # fmt: skip


def truncate_at_line(rng: random.Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    kept = b"".join(lines[: rng.randrange(len(lines))])
    return kept[:-1] if rng.random() < 0.3 else kept


def duplicate_line(rng: random.Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
    return b"".join(lines)


def drop_line(rng: random.Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    del lines[rng.randrange(len(lines))]
    return b"".join(lines)


def swap_lines(rng: random.Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


def join_lines(rng: random.Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    lines[at] = lines[at].rstrip(b"\r\n")
    return b"".join(lines)


def blank_line(rng: random.Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    blank = rng.choice([b"\n", b" \n", b"\t\n", b"\r\n", b"\xc2\xa0\n", b"\0\n"])
    lines.insert(rng.randrange(len(lines) + 1), blank)
    return b"".join(lines)


def encoding(rng: random.Random, content: bytes) -> bytes:
    text = content.decode("utf-8", "replace")
    name = rng.choice(["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "utf-7", "cp037"])
    return text.encode(name, "replace")


def line_ends(rng: random.Random, content: bytes) -> bytes:
    return content.replace(b"\n", rng.choice([b"\r\n", b"\r", b"\n\r", b"\n\n"]))


TEXT: Sequence[Damage] = (
    *EVERY, insert_special, insert_special, truncate_at_line, duplicate_line, drop_line, swap_lines,
    join_lines, blank_line, encoding, line_ends,
)  # fmt: skip


def gzip_members(rng: random.Random, content: bytes) -> bytes:
    """Trailing garbage, a second member, a damaged end, none of it compressed."""
    plain = gzip.decompress(content)
    half = len(plain) // 2
    return rng.choice(
        [
            content + b"garbage",
            content + b"\0" * 16,
            content + b"\x1f\x8b",
            content + gzip.compress(b"", mtime=0),
            gzip.compress(plain[:half], mtime=0) + gzip.compress(plain[half:], mtime=0),
            gzip.compress(plain[:half], mtime=0) + gzip.compress(plain[half:], mtime=0)[:-9],
            content[:-8] + b"\0\0\0\0" + content[-4:],
            content[:-4] + b"\0\0\0\0",
            content[:-8],
            gzip.compress(content, mtime=0),
            plain,
        ]
    )


STRUCTURED: Mapping[str, Sequence[Damage]] = {
    ".json": (formats.json_value,),
    ".jsonl": (formats.json_line,),
    ".tsv": (formats.cell,),
    ".trec": (formats.cell,),
    ".txt": (formats.cell,),
    ".yaml": (formats.yaml_line, formats.yaml_line, formats.yaml_text),
    ".npy": (formats.npy_header, formats.npy_values),
    ".npz": (formats.npz_member,),
    ".parquet": (formats.parquet_table,),
    ".safetensors": (formats.safetensors_header,),
}
BINARY = {".npy", ".npz", ".parquet", ".safetensors", ".arrow"}


def damaged(rng: random.Random, name: str, content: bytes) -> bytes:
    """The content of a file after some accident; the same where the accident does not apply."""
    if not content:
        return rng.randbytes(8) if rng.random() < 0.5 else b"\n"
    stem, dot, suffix = name.rpartition(".")
    if f"{dot}{suffix}" in (".gz", ".zst"):
        return _compressed(rng, stem, suffix, content)
    known = STRUCTURED.get(f"{dot}{suffix}", ())
    general = EVERY if f"{dot}{suffix}" in BINARY else TEXT
    damage = rng.choice(known) if known and rng.random() < 0.5 else rng.choice(general)
    try:
        return damage(rng, content)
    except Exception:
        return flip_bit(rng, content)  # an earlier accident left nothing of the format


def _compressed(rng: random.Random, stem: str, suffix: str, content: bytes) -> bytes:
    chance = rng.random()
    try:
        if suffix == "gz" and chance < 0.2:
            return gzip_members(rng, content)
        if chance < 0.6:
            return rng.choice(EVERY)(rng, content)
        if suffix == "gz":
            return gzip.compress(damaged(rng, stem, gzip.decompress(content)), mtime=0)
        plain = pa.CompressedInputStream(pa.py_buffer(content), "zstd").read()
        return bytes(pa.compress(damaged(rng, stem, plain), codec="zstd", asbytes=True))
    except Exception:
        return flip_bit(rng, content)


WHOLE_FILES = ("remove", "folder", "loop", "nowhere", "forbid", "swap", "swap", "copy")


def draw(rng: random.Random, tree: Tree, among: Sequence[str] = ()) -> list[Edit]:
    """One accident or two to the files, or to those of them that are named."""
    tree, edits = dict(tree), list[Edit]()
    names = sorted(among or tree)
    for _ in range(rng.choice([1, 1, 1, 1, 2])):
        name = rng.choice(names)
        if rng.random() < 0.1:
            other = rng.choice(sorted(tree))
            do = rng.choice(WHOLE_FILES)
            edits.append(Edit(do, name, other=other if do in ("swap", "copy") else ""))
            continue
        new = damaged(rng, name, tree[name])
        edits.append(splice(name, tree[name], new))
        tree[name] = new
    return edits
