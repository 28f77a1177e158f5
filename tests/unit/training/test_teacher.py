"""Teachers: which are rejected, and that their vectors belong to the student's texts."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid_dist.batching import Plan
from hybrid_dist.commands import prepare
from hybrid_dist.config.resolve import check_consistency
from hybrid_dist.config.schema import Batching, Config, Data, Distill, Model, Train
from hybrid_dist.config.sources import Mix
from hybrid_dist.data.store.columns import save_array
from hybrid_dist.data.store.reader import Store, open_sources
from hybrid_dist.data.store.teacher_vectors import PASSAGES, QUERIES, write_teacher_vectors
from hybrid_dist.errors import UserError
from hybrid_dist.model.embedder import TextEmbedder
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.feed import Feed
from hybrid_dist.training.teacher import ChunkTexts, Teacher
from hybrid_dist.training.teacher_sources import load_teacher
from tests.support.disks import disk, fill
from tests.support.small_models import write_model

WIDTH = 32
"""Of the toy's model."""


@pytest.fixture(scope="module")
def teacher(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with prefixes and lengths of its own."""
    folder = tmp_path_factory.mktemp("teacher") / "model"
    own = {"query_prefix": "ask ", "passage_prefix": "", "max_passage_tokens": 20}
    return write_model(folder, toy / "model", 5, **own)


@pytest.fixture(scope="module")
def pairs(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of the toy, some with hard negatives."""
    lines = []
    for number, line in enumerate((toy / "train.jsonl").read_text("utf-8").splitlines()[::4]):
        pair = json.loads(line)
        pair["negatives"] = [f"{n} {pair['passage']}" for n in range(number % 3)]
        lines.append(json.dumps(pair))
    file = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    file.write_text("\n".join(lines), "utf-8")
    return file


@pytest.fixture(scope="module")
def store(pairs: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("store") / "store"
    prepare.main(["pairs", str(pairs), "--out", str(out), "--teacher", str(teacher)])
    return out


def loaded(toy: Path, data: tuple[Path, ...], name: object, **distill: Any) -> Teacher | None:
    config = Config(
        model=Model(name_or_path=str(toy / "model")),
        data=Data(train=tuple(map(str, data))),
        distill=Distill(teacher=str(name), **distill),
        train=Train(precision="fp32"),
    )
    stores, _ = open_sources(config.data.train)
    return load_teacher(config, stores, WIDTH)


def refusal(toy: Path, data: tuple[Path, ...], name: object, **distill: Any) -> str:
    with pytest.raises(UserError) as refused:
        loaded(toy, data, name, **distill)
    return str(refused.value)


@pytest.mark.parametrize("kind", ["stored", "model"])
def test_vectors_are_those_of_the_students_texts(
    kind: str, toy: Path, store: Path, teacher: Path
) -> None:
    """On one of two ranks, in three chunks: queries, passages, then hard negatives."""
    stores, sources = open_sources([str(store)])
    batching = Batching(size=24, hard_negatives=2, mix=Mix(monolingual=1, cross_lingual=1))
    plan, ranks = Plan(sources, batching, seed=3), Ranks(1, 2)
    student = Model(name_or_path=str(toy / "model"))
    tokens = TextTokens.load(student.name_or_path, EncoderSpec.of(student))
    of_run = loaded(toy, (store,), "stored" if kind == "stored" else teacher)
    assert of_run is not None and of_run.width == WIDTH
    of_run.place(Ranks())
    embedder, negatives = TextEmbedder.load(teacher, device="cpu"), 0
    feed = Feed(plan, stores, tokens, ranks, chunk_size=4, mask=True, teacher=of_run)
    for work in feed.steps(0, 4):
        assert work.teacher is not None and work.batch.negatives is not None
        queries, candidates = of_run.vectors(work.teacher)
        rows, texts = work.shard.rows, stores[0]
        drawn = work.batch.negatives.passages[work.batch.negatives.of(rows)]
        passages = texts.passages(work.batch.passage_row[rows]) + texts.passage_texts(drawn)
        wanted = embedder.encode_queries(texts.queries(work.batch.query_row[rows]))
        np.testing.assert_allclose(queries.numpy(), wanted, rtol=0, atol=5e-4)
        wanted = embedder.encode_passages(passages)
        np.testing.assert_allclose(candidates.numpy(), wanted, rtol=0, atol=5e-4)
        assert not queries.requires_grad
        negatives += len(drawn)
    assert negatives > 20


def test_prefixes_of_a_teacher_may_be_given(
    toy: Path, pairs: Path, teacher: Path, tmp_path: Path
) -> None:
    """As for a model that names its own in a README only."""
    stores, _ = open_sources([str(pairs)])
    own = {"query_prefix": "look: ", "passage_prefix": "text: "}
    of_run = loaded(toy, (pairs,), teacher, **own)
    assert of_run is not None
    of_run.place(Ranks())
    rows, passages = np.arange(4), np.arange(4)
    inputs = of_run.inputs(0, [ChunkTexts(rows, passages)])
    queries, candidates = of_run.vectors(inputs)
    embedder = TextEmbedder.load(teacher, "cpu", query_prefix="look: ", passage_prefix="text: ")
    wanted = embedder.encode_queries(stores[0].queries(rows))
    np.testing.assert_allclose(queries.numpy(), wanted, rtol=0, atol=1e-5)
    wanted = embedder.encode_passages(stores[0].passage_texts(passages))
    np.testing.assert_allclose(candidates.numpy(), wanted, rtol=0, atol=1e-5)
    words = ["pairs", str(pairs), "--out", str(tmp_path / "s"), "--teacher", str(teacher)]
    prefixes = ["--teacher-query-prefix", "look: ", "--teacher-passage-prefix", "text: "]
    prepare.main([*words, *prefixes])
    stored = Store.open(str(tmp_path / "s")).teacher
    assert stored is not None
    np.testing.assert_allclose(stored.queries[rows], queries.numpy(), rtol=0, atol=1e-3)
    assert "distill.query_prefix: stored vectors" in refusal_of_config(toy, pairs)


def refusal_of_config(toy: Path, pairs: Path) -> str:
    with pytest.raises(UserError) as refused:
        check_consistency(
            Config(
                data=Data(train=(str(pairs),)),
                distill=Distill(teacher="stored", query_prefix="look: "),
            )
        )
    return str(refused.value)


def test_weight_0_has_no_teacher(toy: Path, pairs: Path) -> None:
    """And loads none, so that a study can vary the weight alone."""
    assert loaded(toy, (pairs,), "no such model", weight=0) is None


def test_stores_without_vectors_are_refused(toy: Path, pairs: Path, store: Path) -> None:
    message = refusal(toy, (store, pairs), "stored")
    assert message.startswith(f"distill.teacher: is stored, but {pairs} holds no vectors")
    assert "--teacher MODEL" in message


def test_stores_of_two_teachers_are_refused(
    toy: Path, pairs: Path, store: Path, tmp_path: Path
) -> None:
    other, out = write_model(tmp_path / "other", toy / "model", 6), tmp_path / "store"
    prepare.main(["pairs", str(pairs), "--out", str(out), "--teacher", str(other)])
    message = refusal(toy, (store, out), "stored")
    assert message.startswith(f"distill.teacher: {store} holds vectors of ")
    assert f"but {out} those of another teacher, {other}" in message


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"arithmetic": "bf16"},
            "those of the same name with other settings (arithmetic: fp32 and bf16); prepare both "
            "with the same files of the teacher, on the same kind of device",
        ),
        ({}, "those of another model of that name: its weights or tokenizer differ"),
    ],
)
def test_what_differs_between_two_preparations_is_named(
    changed: dict[str, str], message: str, store: Path, tmp_path: Path
) -> None:
    """As if the second store had been prepared on a GPU, or with other weights."""
    stores = [Store(Path(shutil.copytree(store, tmp_path / name))) for name in ("cpu", "gpu")]
    other = stores[1].teacher
    assert other is not None and other.settings["arithmetic"] == "fp32"
    other.settings, other.fingerprint = {**other.settings, **changed}, "another"
    data = Data(train=tuple(str(tmp_path / name) for name in ("cpu", "gpu")))
    config = Config(data=data, distill=Distill(teacher="stored"))
    with pytest.raises(UserError) as refused:
        load_teacher(config, stores, WIDTH)
    assert f"but {tmp_path / 'gpu'} {message}" in str(refused.value)


@pytest.mark.parametrize("kind", ["cosine", "mse"])
def test_vectors_of_another_width_are_refused(
    kind: str, toy: Path, pairs: Path, tmp_path: Path
) -> None:
    sizes = json.loads((toy / "model" / "config.json").read_text())
    wide = tmp_path / "wide"
    wide.mkdir()
    for file in (toy / "model").iterdir():
        (wide / file.name).write_bytes(file.read_bytes())
    (wide / "config.json").write_text(json.dumps(sizes | {"hidden_size": 2 * WIDTH}))
    teacher = write_model(tmp_path / "teacher", wide, 1)
    message = refusal(toy, (pairs,), teacher, kind=kind)
    assert message.startswith(f"distill.kind: {kind} compares vectors")
    assert "have 64 dimensions" in message and "have 32; set distill.kind to scores" in message
    assert loaded(toy, (pairs,), teacher, kind="scores") is not None


@pytest.mark.parametrize("file", [QUERIES, PASSAGES])
def test_vectors_of_other_texts_are_damage(file: str, pairs: Path, tmp_path: Path) -> None:
    def annotate(folder: Path) -> dict[str, Any]:
        def encode(texts: Sequence[str]) -> np.ndarray:
            return np.zeros((len(texts), 4))

        about = write_teacher_vectors(folder, encode, encode, {"model": "m", "fingerprint": "f"})
        save_array(folder / file, np.zeros(4 * 7, np.float16))
        return {"teacher": about}

    Store.build(str(pairs), tmp_path / "store", annotate=annotate)
    kind = file.removesuffix(".npy")
    with pytest.raises(UserError, match=rf"store: is damaged: {kind}: is of other texts"):
        Store(tmp_path / "store")


def test_a_teacher_that_is_no_model_is_refused_by_its_own_key(
    toy: Path, pairs: Path, tmp_path: Path
) -> None:
    message = refusal(toy, (pairs,), tmp_path)
    assert "distill.teacher: " in message and "model.name_or_path" not in message


def test_a_disk_without_room_is_refused_before_any_text_is_encoded(
    store: Path, tmp_path: Path
) -> None:
    def encode(texts: Sequence[str]) -> np.ndarray:
        assert not texts
        return np.empty((0, WIDTH), np.float32)

    description = {"model": "m", "fingerprint": "f"}
    with disk(tmp_path / "disk", "size=2m") as place:
        shutil.copytree(store, place / "store")
        fill(place, left=4096)
        with pytest.raises(UserError, match=r"needed, .*of an interrupted command are lost"):
            write_teacher_vectors(place / "store", encode, encode, description)
