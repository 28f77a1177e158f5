"""Teachers: vectors stored with the pairs, or a model.

Ranks do not share out a model: each has all of it, outside of the strategy, and encodes its own
texts.
"""

from collections.abc import Sequence

import numpy as np
import torch

from hybrid_dist.config.schema import STORED, Config
from hybrid_dist.data.store.reader import Store
from hybrid_dist.data.store.teacher_vectors import TeacherVectors
from hybrid_dist.errors import UserError
from hybrid_dist.losses.distillation import Vectors
from hybrid_dist.model.encoder import BiEncoder, Chunk, Encoder
from hybrid_dist.model.packing import PackedTexts
from hybrid_dist.model.repository import KEY
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.checkpoint.trained_model import load_weights
from hybrid_dist.training.feed import StoreTokens
from hybrid_dist.training.initial_model import DTYPES, choose_attention
from hybrid_dist.training.teacher import ChunkTexts, Teacher, TeacherInputs


class StoredTeacher:
    """Vectors that `prepare --teacher` has put in every store of the run."""

    def __init__(self, stored: Sequence[TeacherVectors]) -> None:
        self._stored = stored

    @property
    def width(self) -> int:
        return self._stored[0].width

    @property
    def description(self) -> str:
        return f"vectors of {self._stored[0].model} in the stores, {self.width} dimensions"

    def place(self, ranks: Ranks) -> None:
        pass

    def inputs(self, source: int, chunks: Sequence[ChunkTexts]) -> TeacherInputs:
        stored = self._stored[source]
        queries = stored.queries[np.concatenate([chunk.query_rows for chunk in chunks])]
        passages = [chunk.candidates[: len(chunk.query_rows)] for chunk in chunks]
        negatives = [chunk.candidates[len(chunk.query_rows) :] for chunk in chunks]
        candidates = stored.passages[np.concatenate(passages + negatives)]
        return TeacherInputs((torch.from_numpy(queries), torch.from_numpy(candidates)))

    def vectors(self, inputs: TeacherInputs) -> Vectors:
        if inputs.vectors is None:
            raise ValueError("these inputs are another teacher's: they hold no vectors")
        return inputs.vectors


class ModelTeacher:
    """A model that encodes the texts of every step, in the student's chunks and precision, without
    dropout and gradients."""

    def __init__(
        self,
        name: str,
        encoder: Encoder,
        tokens: TextTokens,
        stores: Sequence[Store],
        precision: str,
    ) -> None:
        self._name, self._dtype = name, DTYPES[precision]
        self._encoder = encoder.eval().requires_grad_(False)
        self._model = BiEncoder(encoder, temperature=1.0, learn_temperature=False)
        self._tokens = [StoreTokens(store, tokens) for store in stores]

    @property
    def width(self) -> int:
        return self._encoder.width

    @property
    def description(self) -> str:
        how = self._encoder.encoding_description
        return f"{self._name}, {self.width} dimensions; its texts are {how}"

    def place(self, ranks: Ranks) -> None:
        choose_attention(self._encoder, self._dtype, ranks)
        self._model.to(ranks.device)

    def inputs(self, source: int, chunks: Sequence[ChunkTexts]) -> TeacherInputs:
        tokens = self._tokens[source]
        packed = (
            Chunk(
                PackedTexts.of(tokens.queries(chunk.query_rows)),
                PackedTexts.of(tokens.passages(chunk.candidates)),
            )
            for chunk in chunks
        )
        return TeacherInputs(chunks=tuple(packed))

    def vectors(self, inputs: TeacherInputs) -> Vectors:
        kind = inputs.chunks[0].queries.ids.device.type
        reduced = self._dtype is not torch.float32
        with torch.no_grad(), torch.autocast(kind, self._dtype, enabled=reduced):
            queries, candidates, _ = self._model(inputs.chunks)
        return queries, candidates


def load_teacher(config: Config, stores: Sequence[Store], student_width: int) -> Teacher | None:
    """The teacher of a run, checked; None if it has none, or neither loss nor masks need one."""
    distill = config.distill
    if not config.needs_teacher:
        return None
    teacher: Teacher
    if distill.teacher == STORED:
        teacher = StoredTeacher(_stored_vectors(config.data.train_paths, stores))
    else:
        encoder, tokens = load_model(config)
        teacher = ModelTeacher(distill.teacher, encoder, tokens, stores, config.train.precision)
    if distill.weight and distill.kind != "scores" and teacher.width != student_width:
        raise UserError(
            f"distill.kind: {distill.kind} compares vectors, but those of the teacher have "
            f"{teacher.width} dimensions and those of {config.model.name_or_path} have "
            f"{student_width}; set distill.kind to scores, or choose another teacher"
        )
    return teacher


def load_model(config: Config) -> tuple[Encoder, TextTokens]:
    """The model that distill.teacher names, with its prefixes; messages name that key."""
    distill = config.distill
    try:
        encoder, tokens = load_weights(distill.teacher, config.model.trust_remote_code)
        return encoder, tokens.with_prefixes(distill.query_prefix, distill.passage_prefix)
    except UserError as error:
        message = str(error).replace(KEY, "distill.teacher")
        if message.startswith("model."):  # a key of the student cannot help
            message = f"distill.teacher: {distill.teacher}: {message}"
        raise UserError(message) from None


def _stored_vectors(names: Sequence[str], stores: Sequence[Store]) -> list[TeacherVectors]:
    stored: list[TeacherVectors] = []
    for name, store in zip(names, stores, strict=True):
        if store.teacher is None:
            raise UserError(
                f"distill.teacher: is {STORED}, but {name} holds no vectors of a teacher; prepare "
                "it with `hybrid-dist prepare SOURCE PATH --out STORE --teacher MODEL`"
            )
        stored.append(store.teacher)
        if store.teacher.fingerprint != stored[0].fingerprint:
            raise UserError(
                f"distill.teacher: {names[0]} holds vectors of {stored[0].model}, but {name} "
                + _difference(stored[0], store.teacher)
            )
    return stored


def _difference(first: TeacherVectors, other: TeacherVectors) -> str:
    """What makes the other vectors those of another teacher, and what to do."""
    if other.model != first.model:
        return f"those of another teacher, {other.model}; prepare both with the same --teacher"
    differing = [
        f"{key}: {first.settings.get(key)} and {other.settings.get(key)}"
        for key in sorted(first.settings.keys() | other.settings.keys())
        if first.settings.get(key) != other.settings.get(key)
    ]
    if differing:
        return (
            f"those of the same name with other settings ({'; '.join(differing)}); prepare both "
            "with the same files of the teacher, on the same kind of device"
        )
    return (
        "those of another model of that name: its weights or tokenizer differ; prepare both with "
        "the same files of the teacher"
    )
