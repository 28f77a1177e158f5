"""Sections of a config: frozen dataclasses that validate their values however they are built."""

import dataclasses
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

from pydantic import TypeAdapter, ValidationError

from hybrid_dist.errors import UserError

T = TypeVar("T")
_validates = ContextVar("validates", default=True)


@contextmanager
def validation_deferred() -> Iterator[None]:
    """Build sections without validation: the caller validates the whole config afterwards."""
    token = _validates.set(False)
    try:
        yield
    finally:
        _validates.reset(token)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def section(cls: type[T]) -> type[T]:
    """A frozen dataclass that validates its values when it is built in Python.

    The check sits in `__init__`, which pydantic does not call when it builds a section from YAML:
    it has validated the values by then, and reports all problems of a file at once.
    """
    cls.__pydantic_config__ = {"extra": "forbid"}  # type: ignore[attr-defined]
    frozen = dataclass(frozen=True, kw_only=True)(cls)
    assign = frozen.__init__

    @functools.wraps(assign)
    def init(self: Any, **values: Any) -> None:
        assign(self, **values)
        if _validates.get():
            _validate(self)

    frozen.__init__ = init  # type: ignore[method-assign]
    return frozen


def _validate(built: Any) -> None:
    """Replace the values of a section by validated ones, as YAML gives them (lists as tuples)."""
    kind: Any = type(built)
    names = [each.name for each in dataclasses.fields(built)]
    try:
        valid = _adapter(kind).validate_python({name: getattr(built, name) for name in names})
    except ValidationError as error:
        from hybrid_dist.config.resolve import problems

        raise UserError("\n  ".join(problems(error, _key_of(kind)))) from None
    for name in names:
        object.__setattr__(built, name, getattr(valid, name))


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _key_of(kind: type) -> str:
    """The dotted key of a section's values in a config; empty for the config itself."""
    keys = {"Config": "", "Mix": "batching.mix", "MixEnd": "batching.mix_end"}
    return (keys | {"Source": "data.train"}).get(kind.__name__, kind.__name__.lower())
