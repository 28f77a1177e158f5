"""Files of a model folder or hub repository. They are untrusted: no code of theirs is run."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from hybrid_dist.data.blocks import path_exists
from hybrid_dist.errors import UserError, nearest_folder, short
from hybrid_dist.runtime.files import read_json as read_json_file
from hybrid_dist.runtime.network import reaches

KEY, TRUST = "model.name_or_path", "set model.trust_remote_code: true"
"""What messages call the setting that names a model, and the one that allows its code."""

MAX_MESSAGE = 300
"""Characters of a library's message that are shown."""


@contextmanager
def naming_flag(flag: str) -> Iterator[None]:
    """Have messages name a command's flag and --trust-remote-code instead of config keys."""
    try:
        yield
    except UserError as error:
        message = str(error).replace(KEY, flag).replace(TRUST, "give --trust-remote-code")
        raise UserError(message) from None


def check_name(name: str) -> None:
    """Refuse a path at which there is no folder, before anything looks for it on the hub."""
    if not is_folder(name):
        _check_path(name)
        _check_hub(name)


def is_at_hand(name: str) -> bool:
    """Whether the files of a model can be read here: in a folder, on the hub or in its cache.

    A path or a name that is nearly a folder's is refused instead.
    """
    if is_folder(name):
        return True
    _check_path(name)
    from huggingface_hub import constants

    if _is_cached(name) or (not constants.is_offline_mode() and reaches(constants.ENDPOINT)):
        return True
    if near := nearest_folder(name):
        raise UserError(f"{KEY}: {short(name)} is no folder{near}")
    return False


def _check_path(name: str) -> None:
    is_path = name.startswith((".", "/", "~")) or name.count("/") > 1 or name.endswith("/")
    if is_path and path_exists(name):
        raise UserError(f"{KEY}: {name}: is a file; name its folder")
    if is_path:
        raise UserError(f"{KEY}: {name}: no such folder{nearest_folder(name)}")


def _check_hub(name: str) -> None:
    """Where the hub cannot be reached, use its cache from here on, or fail if that has no such
    model. The hub's client would try for a minute, and print a line for every try."""
    from huggingface_hub import constants

    if constants.is_offline_mode() or reaches(constants.ENDPOINT):
        return
    constants.HF_HUB_OFFLINE = True
    if _is_cached(name):
        return
    if near := nearest_folder(name):
        raise UserError(f"{KEY}: {short(name)} is no folder{near}")
    raise UserError(
        f"{KEY}: {short(name)} is no folder, and {constants.ENDPOINT} cannot be reached to look "
        "for a model of this name: run `hybrid-dist prefetch CONFIG` where there is a network, "
        "with the same HF_HOME, or name a folder"
    )


def _is_cached(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(name, "config.json"), str)
    except HFValidationError:
        return False


def find(name: str, file: str) -> Path | None:
    """A file of a model folder or hub repository; None if it has no such file."""
    check_name(name)
    from transformers.utils import cached_file

    with loading(name, file):
        path = cached_file(name, file, _raise_exceptions_for_missing_entries=False)
    return None if path is None else Path(path)


def read_object(name: str, file: str) -> dict[str, Any] | None:
    """The JSON object in a file of a model; None if it has no such file."""
    path = find(name, file)
    return None if path is None else json_object(path)


def json_object(file: Path) -> dict[str, Any]:
    content = read_json_file(file)
    if not isinstance(content, dict):
        raise UserError(f"{file}: expected a JSON object, not {kind_of(content)}")
    return content


def kind_of(content: Any) -> str:
    """JSON's name for the type of a value."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return "null" if content is None else names.get(type(content), "a number")


@contextmanager
def loading(name: str, what: str, trusted: bool = True) -> Iterator[None]:
    """Turn whatever a library raises while it reads a model's files into one UserError.

    On damaged files transformers, tokenizers and safetensors raise nearly every type of error, and
    panics of Rust code are not even an `Exception`.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, UserError) and str(error).startswith("model."):
            raise
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        where = "folder" if is_folder(name) else "folder or reachable model on the hub"
        raise UserError(
            f"{KEY}: {name} is no {where} with {what} ({reason(error)})"
            f"{own_code(name, trusted)}{_offline(name)}"
            f"{'' if is_folder(name) else nearest_folder(name)}"
        ) from None


def reason(error: BaseException) -> str:
    """The first line of an error's message, with its type if the message alone says little."""
    if isinstance(error, UnpicklingError):  # its message advises loading the file unsafely
        return "damaged, or a pickle that holds more than weights"
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    line = (
        line if len(line) <= MAX_MESSAGE else f"{line[:MAX_MESSAGE]} ..."
    )  # it may quote the file
    if line and isinstance(error, UserError | OSError | ValueError | RuntimeError):
        return line
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def is_folder(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):  # too long, or contains a NUL
        return False


def refuse_code(name: str, config: Mapping[str, Any]) -> None:
    """Reject a model that only its own Python code can load."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    kind = config.get("model_type")
    known = isinstance(kind, str) and kind in MODEL_MAPPING_NAMES
    if not known and (code := own_code(name, trusted=False)):
        raise UserError(f"{KEY}: {name} is of a type that transformers does not know{code}")


def own_code(name: str, trusted: bool) -> str:
    """A clause for messages: which Python code a model brings, and how to allow it. Empty if it
    brings none or is trusted."""
    if trusted:
        return ""
    references: set[str] = set()
    for file in ("config.json", "tokenizer_config.json"):
        try:
            references |= set(_strings((read_object(name, file) or {}).get("auto_map")))
        except UserError:  # reported where the file is read
            continue
    if not references:
        return ""
    files = sorted(set(map(_code_file, references)))
    return (
        f"; it brings Python code of its own ({', '.join(files)}), which was not run: read it, and "
        f"if you trust it, {TRUST}"
    )


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def _code_file(reference: str) -> str:
    """`module.Class` as its file, `owner/repository--module.Class` as that repository's."""
    repository, dashes, module = reference.rpartition("--")
    file = f"{module.rpartition('.')[0] or module}.py"
    return f"{file} of {repository}" if dashes else file


def _offline(name: str) -> str:
    """A clause for messages if the hub may not be accessed: what to do."""
    from huggingface_hub.constants import is_offline_mode

    if is_folder(name) or not is_offline_mode():
        return ""
    return (
        "; the hub was not accessed (HF_HUB_OFFLINE is set, or it cannot be reached): run "
        "`hybrid-dist prefetch CONFIG` without it where there is a network, with the same HF_HOME"
    )
