"""`hybrid-dist push`: what it uploads to a hub, and what it refuses before and after."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from hybrid_dist.commands import push
from hybrid_dist.model.card import is_unchanged as card_is_unchanged
from hybrid_dist.model.embedder import TextEmbedder
from hybrid_dist.runtime import network
from tests.support.hub_server import TOKEN, Hub
from tests.support.saved_models import finished_run, saved

Ended = tuple[int, str, str]
Push = Callable[..., Ended]


@pytest.fixture(scope="module")
def finished(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(toy, tmp_path_factory.mktemp("runs") / "hybrid")


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "hybrid"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    served = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", served.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # large files go by git-lfs: xet, the other way, is a service of its own beside the hub
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield served
    served.close()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Push:
    def run(*words: object) -> Ended:
        code = 0
        try:
            push.main([*map(str, words)])
        except SystemExit as end:
            code = int(end.code or 0)
        return (code, *capsys.readouterr())

    return run


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def test_a_run_is_uploaded_with_its_card(run: Push, hub: Hub, folder: Path, tmp_path: Path) -> None:
    before = contents(folder / "model")
    code, out, err = run(folder, "--to", "me/a-retriever", "--private")
    assert code == 0, err
    assert out.splitlines()[-1] == f"{hub.url}/me/a-retriever/commit/1"
    repository = hub.repositories["me/a-retriever"]
    uploaded = dict(repository["files"])
    assert repository["private"]
    assert uploaded.keys() == before.keys() and len(hub.large) == 2
    text = uploaded.pop("README.md").decode()
    assert uploaded == {name: before[name] for name in uploaded}
    assert 'SentenceTransformer("me/a-retriever")' in text
    metadata: Any = ModelCard(text).data
    assert metadata.model_name == "a-retriever" and metadata.base_model == "xlm-roberta-base"
    assert {each.dataset_type for each in metadata.eval_results} == {"toy"}
    assert contents(folder / "model") == before, "the run's own folder is left alone"
    for name, content in uploaded.items():
        (tmp_path / "got" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "got" / name).write_bytes(content)
    ours, theirs = (
        TextEmbedder.load(place, "cpu").encode_queries(["bo du"])
        for place in (folder, tmp_path / "got")
    )
    assert (ours == theirs).all()


def test_a_dry_run_shows_files_and_card_and_asks_no_hub(
    run: Push, hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    code, out, err = run(folder, "--to", "me/a-retriever", "--dry-run")
    assert code == 0 and hub.requests == []
    weights = (folder / "model/model.safetensors").stat().st_size
    assert any(
        line.split()[0] == "model.safetensors" and line.endswith("kB")
        for line in out.splitlines()
        if line
    )
    assert weights > 1000 and f"{len(contents(folder / 'model'))} files, " in out
    assert "library_name: sentence-transformers" in out and "### toy" in out
    assert "states no licence" in err and "nothing was uploaded to me/a-retriever" in err


def test_only_files_of_the_model_are_uploaded(run: Push, folder: Path) -> None:
    (folder / "model/eval").mkdir()
    (folder / "model/eval/scores.npz").write_bytes(b"queries of users")
    code, out, _ = run(folder, "--to", "me/a-retriever", "--dry-run")
    assert code == 0 and "scores.npz" not in out and "1_Pooling/config.json" in out


def test_a_run_without_evaluation_says_so(run: Push, folder: Path) -> None:
    shutil.rmtree(folder / "eval")
    (folder / "interrupted").touch()
    code, out, err = run(folder, "--to", "me/a-retriever", "--dry-run")
    assert code == 0
    assert "No evaluation is recorded with this model." in out and "model-index" not in out
    assert "the run has no evaluation, and the card says so; add one with `hybrid-dist eval" in err
    assert "the run is not finished" in err


def test_an_edited_card_is_uploaded_as_it_is(run: Push, hub: Hub, folder: Path) -> None:
    card = folder / "model/README.md"
    card.write_text(card.read_text().replace("---\n", "---\nlicense: mit\n", 1))
    code, _, err = run(folder, "--to", "me/a-retriever")
    assert code == 0
    assert "README.md was edited: it is uploaded as it is, but for its examples, which" in err
    assert "states no licence" not in err
    uploaded = hub.repositories["me/a-retriever"]["files"]["README.md"].decode()
    assert 'SentenceTransformer("me/a-retriever")' in uploaded
    assert uploaded == card.read_text().replace("path/to/this/folder", "me/a-retriever")
    card.write_text("no metadata")
    code, _, err = run(folder, "--to", "me/a-retriever")
    assert code == 0 and "the hub notes: Warnings while validating metadata" in err


@pytest.mark.parametrize("is_edited", [False, True])
def test_a_licence_is_stated_in_the_card(
    is_edited: bool, run: Push, hub: Hub, folder: Path
) -> None:
    card = folder / "model/README.md"
    if is_edited:
        card.write_text(card.read_text() + "\nOur own words.\n")
    before = card.read_bytes()
    code, _, err = run(folder, "--to", "me/a-retriever", "--license", "apache-2.0")
    assert code == 0 and "states no licence" not in err
    text = hub.repositories["me/a-retriever"]["files"]["README.md"].decode()
    metadata: Any = ModelCard(text).data
    assert metadata.license == "apache-2.0" and metadata.library_name == "sentence-transformers"
    assert "apache-2.0, as in the metadata above." in text and "Not stated." not in text
    assert card_is_unchanged(text) is not is_edited
    assert card.read_bytes() == before, "the run's own card is left alone"


@pytest.mark.parametrize("metadata", ["", "---\n---\n", "---\nlicense:\n---\n"])
def test_a_licence_goes_with_metadata_that_has_none(metadata: str, run: Push, folder: Path) -> None:
    (folder / "model/README.md").write_text(f"{metadata}Our own words.\n")
    code, out, _ = run(folder, "--to", "me/a", "--license", "mit", "--dry-run")
    assert code == 0 and "---\nlicense: mit\n---\nOur own words." in out


@pytest.mark.parametrize(
    ("stated", "wanted", "message"),
    [
        ("", "MIT", "--license MIT: is no name of a licence on the hub; give one in small letters"),
        ("", "my own", "--license my own: is no name of a licence"),
        ("license: mit\n", "apache-2.0", "README.md states mit; change it there"),
    ],
)
def test_licences_that_are_refused(
    stated: str, wanted: str, message: str, run: Push, folder: Path
) -> None:
    card = folder / "model/README.md"
    card.write_text(card.read_text().replace("---\n", f"---\n{stated}", 1))
    code, out, err = run(folder, "--to", "me/a", "--license", wanted, "--dry-run")
    assert (code, out) == (2, "") and message in err


def test_an_exported_model_is_uploaded_under_its_name(
    run: Push, hub: Hub, toy: Path, tmp_path: Path
) -> None:
    saved(toy / "model", tmp_path / "model")
    assert run(tmp_path / "model", "--to", "me/exported")[0] == 0
    text = hub.repositories["me/exported"]["files"]["README.md"].decode()
    assert 'SentenceTransformer("me/exported")' in text
    assert not hub.repositories["me/exported"]["private"]


def test_a_public_repository_is_not_used_as_a_private_one(
    run: Push, hub: Hub, folder: Path
) -> None:
    assert run(folder, "--to", "me/public")[0] == 0
    hub.repositories["me/public"]["files"] = {}
    code, _, err = run(folder, "--to", "me/public", "--private")
    assert code == 2 and "me/public exists and is public; make it private" in err
    assert hub.repositories["me/public"]["files"] == {}


@pytest.mark.parametrize(
    ("name", "token", "message"),
    [
        ("retriever", TOKEN, "--to retriever: has no namespace; give USER/retriever or ORG"),
        ("me/a retriever", TOKEN, "--to me/a retriever: is no name on the hub"),
        ("me/a/b", TOKEN, "--to me/a/b: is no name on the hub"),
        ("me/b", "", "no token of the hub: log in with `hf auth login`, or set HF_TOKEN"),
        ("me/b", "hf_other", "--to me/b: the hub does not know the token; log in again"),
        ("others/b", TOKEN, "--to others/b: the token may not write there"),
    ],
)
def test_names_and_tokens_that_a_hub_refuses(
    name: str,
    token: str,
    message: str,
    run: Push,
    hub: Hub,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.setenv("HF_TOKEN", token)
    code, _, err = run(folder, "--to", name)
    assert code == 2 and message in err
    assert hub.repositories == {}


def test_a_hub_that_cannot_be_reached(
    run: Push, hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    hub.close()
    network.reaches.cache_clear()
    code, _, err = run(folder, "--to", "me/b")
    assert code == 2 and f"{hub.url} cannot be reached" in err
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    code, _, err = run(folder, "--to", "me/b")
    assert code == 2 and "HF_HUB_OFFLINE is set; unset it" in err


def test_what_is_no_model_is_refused(run: Push, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    shutil.rmtree(folder / "model")
    for place, message in (
        (folder, "this run has no model/ yet"),
        (tmp_path / "empty", "is no run folder and no exported model"),
        (tmp_path / "hybrd", f"no such folder; did you mean '{folder}'?"),
    ):
        code, out, err = run(place, "--to", "me/b", "--dry-run")
        assert (code, out) == (2, "") and message in err
