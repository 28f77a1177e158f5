"""Prefetching for nodes without a network: the real client of the hub, offline."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.small_models import unended, write_model

COMMIT = "0123456789012345678901234567890123456789"


def prefetch(toy: Path, cache: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hybrid_dist", "prefetch", str(toy.parent / "run.yaml")]
    (toy.parent / "run.yaml").write_text(
        f"model: {{init: scratch, name_or_path: {toy / 'model'}}}\n"
        f"data: {{train: [{toy / 'train.jsonl'}]}}\neval: {{tasks: ['toy:{toy}']}}\n"
    )
    offline = {"HF_HOME": str(cache), "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [*command, *words], capture_output=True, text=True, env=os.environ | offline
    )


def test_a_run_of_folders_has_nothing_to_fetch(toy: Path, tmp_path: Path) -> None:
    done = prefetch(toy, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (
        f"toy:{toy}: here\n{toy / 'model'}: sizes and tokenizer in {toy / 'model'}" in done.stdout
    )
    assert not list(tmp_path.iterdir())


def test_what_is_in_the_cache_is_found_without_a_network(toy: Path, tmp_path: Path) -> None:
    repository = tmp_path / "models--someone--retriever"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(COMMIT)
    shutil.copytree(toy / "model", repository / "snapshots" / COMMIT)
    done = prefetch(toy, tmp_path, "--model.name_or_path", "someone/retriever")
    assert done.returncode == 0, done.stderr
    assert f"someone/retriever: sizes and tokenizer in {tmp_path}\n" in done.stdout


def test_a_teacher_is_fetched_too(toy: Path, tmp_path: Path) -> None:
    teacher = write_model(tmp_path / "teacher", toy / "model", 1)
    done = prefetch(toy, tmp_path / "cache", "--distill.teacher", str(teacher))
    assert done.returncode == 0, done.stderr
    assert f"{teacher}: the teacher in {teacher}\n" in done.stdout
    done = prefetch(toy, tmp_path / "cache", "--distill.teacher", "someone/teacher")
    assert done.returncode == 2
    assert "distill.teacher: someone/teacher" in done.stderr


def test_missing_data_is_reported_with_what_to_do(toy: Path, tmp_path: Path) -> None:
    done = prefetch(toy, tmp_path, "--model.name_or_path", "someone/retriever")
    assert (done.returncode, done.stdout) == (2, f"toy:{toy}: here\n")
    assert (
        "the hub was not accessed (HF_HUB_OFFLINE is set, or it cannot be reached): run "
        "`hybrid-dist prefetch CONFIG`" in done.stderr
    )
    done = prefetch(toy, tmp_path, "--eval.tasks", "squad:hf://someone/queries")
    assert done.returncode == 2
    assert "hf://someone/queries: is not in the hub's cache" in done.stderr
    done = prefetch(toy, tmp_path, "--data.train", "nowhere.jsonl")
    assert done.returncode == 2 and "nowhere.jsonl" in done.stderr


def test_last_pooling_without_an_end_of_texts_is_refused(toy: Path, tmp_path: Path) -> None:
    model = str(unended(toy, tmp_path / "model"))
    done = prefetch(toy, tmp_path, "--model.name_or_path", model, "--model.pooling", "last")
    assert done.returncode == 2
    assert "model.pooling: last takes the vector of a text's last token" in done.stderr
