"""The tensors in a checkpoint's files: looked at before any of them is used."""

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

Shape = tuple[int, ...]
DTYPE = "F32"
"""Of all tensors in a checkpoint."""


class MismatchError(Exception):
    """Why a checkpoint's content cannot be gone on from, in words that follow its file."""


def names_in(file: Path) -> set[str]:
    try:
        with safe_open(file, framework="pt") as tensors:
            return set(tensors.keys())
    except OSError as error:
        raise MismatchError(f"cannot be read ({error.strerror or error})") from None
    except SafetensorError as error:
        raise MismatchError(f"is damaged ({error})") from None


def check(file: Path, wanted: Mapping[str, Shape], beside: Collection[str] = ()) -> None:
    """Refuse a file whose tensors are not exactly these, of these shapes, in fp32.

    A tensor of another shape would be broadcast, and one of another type rounded, without a word.
    `beside`: names that are not looked at.
    """
    if odd := sorted(names_in(file).difference(beside) ^ wanted.keys()):
        raise MismatchError(f"is of another model; one of both lacks {odd[0]}")
    with safe_open(file, framework="pt") as tensors:
        for name, shape in wanted.items():
            stored = tensors.get_slice(name)
            found = tuple(stored.get_shape())
            if found != shape:
                raise MismatchError(
                    f"is of another model; {name} is {_shown(found)} in it and {_shown(shape)} here"
                )
            if stored.get_dtype() != DTYPE:
                raise MismatchError(
                    f"is of another type; {name} is {stored.get_dtype()}, not {DTYPE}"
                )


def check_counts(file: Path, names: Collection[str], most: int) -> None:
    """Refuse counts of steps that no run can have come to."""
    with safe_open(file, framework="pt") as tensors:
        for name in names:
            count = float(tensors.get_tensor(name))
            if not (count.is_integer() and 0 <= count <= most):
                raise MismatchError(f"is damaged; {name} is {count:g}, which is no number of steps")


def whole_shape(parameter: torch.nn.Parameter) -> Shape:
    """Of a parameter that FSDP2 or ZeRO-3 may have split over ranks, too."""
    return tuple(getattr(parameter, "ds_shape", parameter.shape))


def _shown(shape: Shape) -> str:
    return " x ".join(map(str, shape)) or "a single number"
