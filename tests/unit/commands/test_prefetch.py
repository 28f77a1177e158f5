"""Prefetching for nodes without a network: the real client of the hub, offline."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from hybrid_dist.commands import prefetch
from tests.support.small_models import unended, write_model

COMMIT = "0123456789012345678901234567890123456789"
Ended = tuple[int, str, str]
Fetch = Callable[..., Ended]


@pytest.fixture
def fetch(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Fetch:
    """Run the command with more options: its exit code, output and errors."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "run.yaml").write_text(
        f"model: {{init: scratch, name_or_path: {toy / 'model'}}}\n"
        f"data: {{train: [{toy / 'train.jsonl'}]}}\neval: {{tasks: ['toy:{toy}']}}\n"
    )

    def fetch(*words: str) -> Ended:
        code = 0
        try:
            prefetch.main([str(tmp_path / "run.yaml"), *words])
        except SystemExit as end:
            code = int(end.code or 0)
        return (code, *capsys.readouterr())

    return fetch


def test_a_run_of_folders_has_nothing_to_fetch(fetch: Fetch, toy: Path, tmp_path: Path) -> None:
    code, out, err = fetch()
    assert code == 0, err
    assert f"toy:{toy}: here\n{toy / 'model'}: sizes and tokenizer in {toy / 'model'}" in out
    assert not (tmp_path / "cache").exists()


def test_what_is_in_the_cache_is_found_without_a_network(
    fetch: Fetch, toy: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    repository = cache / "models--someone--retriever"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(COMMIT)
    shutil.copytree(toy / "model", repository / "snapshots" / COMMIT)
    code, out, err = fetch("--model.name_or_path", "someone/retriever")
    assert code == 0, err
    assert f"someone/retriever: sizes and tokenizer in {cache}\n" in out


def test_a_teacher_is_fetched_too(fetch: Fetch, toy: Path, tmp_path: Path) -> None:
    teacher = write_model(tmp_path / "teacher", toy / "model", 1)
    code, out, err = fetch("--distill.teacher", str(teacher))
    assert code == 0, err
    assert f"{teacher}: the teacher in {teacher}\n" in out
    code, _, err = fetch("--distill.teacher", "someone/teacher")
    assert code == 2
    assert "distill.teacher: someone/teacher" in err


def test_missing_data_is_reported_with_what_to_do(fetch: Fetch, toy: Path) -> None:
    code, out, err = fetch("--model.name_or_path", "someone/retriever")
    assert (code, out) == (2, f"toy:{toy}: here\n")
    assert (
        "the hub was not accessed (HF_HUB_OFFLINE is set, or it cannot be reached): run "
        "`hybrid-dist prefetch CONFIG`" in err
    )
    code, _, err = fetch("--eval.tasks", "squad:hf://someone/queries")
    assert code == 2
    assert "hf://someone/queries: is not in the hub's cache" in err
    code, _, err = fetch("--data.train", "nowhere.jsonl")
    assert code == 2 and "nowhere.jsonl" in err


def test_last_pooling_without_an_end_of_texts_is_refused(
    fetch: Fetch, toy: Path, tmp_path: Path
) -> None:
    model = str(unended(toy, tmp_path / "model"))
    code, _, err = fetch("--model.name_or_path", model, "--model.pooling", "last")
    assert code == 2
    assert "model.pooling: last takes the vector of a text's last token" in err
