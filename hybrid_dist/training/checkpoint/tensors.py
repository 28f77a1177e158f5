"""The parts of a checkpoint, and checks of their tensors before any of them is used."""

from collections.abc import Collection, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

Shape = tuple[int, ...]
DTYPE = "F32"
"""The type of all tensors in a checkpoint, as safetensors names it."""
WEIGHTS, STEP = "weights", "step"
MOMENTS = ("exp_avg", "exp_avg_sq")
"""The parts of a checkpoint: weights, and AdamW's state under its own names."""
AVERAGE = "moving_average"
"""The part that runs with train.ema have too."""


class MismatchError(Exception):
    """Why a checkpoint cannot be resumed from; the message follows the name of the file."""


def names_in(file: Path) -> set[str]:
    try:
        with safe_open(file, framework="pt") as tensors:
            return set(tensors.keys())
    except OSError as error:
        raise MismatchError(f"cannot be read ({error.strerror or error})") from None
    except SafetensorError as error:
        raise MismatchError(f"is damaged ({error})") from None


def check(file: Path, expected: Mapping[str, Shape], beside: Collection[str] = ()) -> None:
    """Reject a file whose tensors are not exactly the expected ones, of these shapes, in fp32.

    A tensor of another shape would silently be broadcast, one of another type rounded. `beside`:
    names that are not checked.
    """
    if odd := sorted(names_in(file).difference(beside) ^ expected.keys()):
        raise MismatchError(f"is of another model; one of both lacks {odd[0]}")
    with safe_open(file, framework="pt") as tensors:
        for name, shape in expected.items():
            stored = tensors.get_slice(name)
            stored_shape = tuple(stored.get_shape())
            if stored_shape != shape:
                raise MismatchError(
                    f"is of another model; {name} is {_shown(stored_shape)} in it and "
                    f"{_shown(shape)} here"
                )
            if stored.get_dtype() != DTYPE:
                raise MismatchError(
                    f"is of another type; {name} is {stored.get_dtype()}, not {DTYPE}"
                )


def check_counts(file: Path, names: Collection[str], most: int) -> None:
    """Reject step counts that no run can have reached."""
    with safe_open(file, framework="pt") as tensors:
        for name in names:
            count = float(tensors.get_tensor(name))
            if not (count.is_integer() and 0 <= count <= most):
                raise MismatchError(f"is damaged; {name} is {count:g}, which is no number of steps")


def _shown(shape: Shape) -> str:
    return " x ".join(map(str, shape)) or "a single number"
