"""A model on its way to the Hugging Face hub: its files, its card, and what to know before."""

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hybrid_dist.errors import UserError, nearest_folder
from hybrid_dist.model import card
from hybrid_dist.model.repository import reason
from hybrid_dist.model.spec import FILE as SPEC
from hybrid_dist.model.spec import read_modules
from hybrid_dist.reporting.model_card import run_card
from hybrid_dist.runtime.files import bytes_of
from hybrid_dist.runtime.network import reaches
from hybrid_dist.tracking.report_json import REPORT
from hybrid_dist.training.checkpoint.trained_model import is_checkpoint

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
LICENSE = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*", re.ASCII)
"""The hub's names of licences look so; it says itself which of them it knows."""
REFUSED = {
    401: "the hub does not know the token; log in again with `hf auth login`",
    403: "the token may not write there; give it the right to, or choose another namespace",
}


@dataclass(frozen=True)
class Publication:
    """The files of a model by their paths in the repository, and notes for the user."""

    name: str
    files: Mapping[str, Path | bytes]
    card: str
    notes: tuple[str, ...]

    @classmethod
    def of(cls, source: Path, name: str, license: str | None = None) -> "Publication":
        """Of a run folder or an exported model; writes nothing."""
        _check_name(name)
        model = _model_folder(source)
        text, notes = _card(source, model, name)
        text, more = _licensed(text, license, model / card.FILE)
        notes += more
        files: dict[str, Path | bytes] = {
            file.relative_to(model).as_posix(): file for file in _files(model)
        }
        return cls(name, files | {card.FILE: text.encode()}, text, tuple(notes))

    def lines(self) -> list[str]:
        """Each file with its size, and the sum."""
        sizes = {
            path: len(file) if isinstance(file, bytes) else file.stat().st_size
            for path, file in self.files.items()
        }
        width = max(map(len, sizes))
        lines = [f"{path:<{width}}  {bytes_of(size):>10}" for path, size in sizes.items()]
        return [*lines, f"{len(sizes)} files, {bytes_of(sum(sizes.values()))}"]

    def upload(self, private: bool, say: Callable[[str], None]) -> str:
        """Commit all files at once, to a new repository if there is none; the URL."""
        from huggingface_hub import CommitOperationAdd, HfApi
        from huggingface_hub.errors import HfHubHTTPError

        _check_access()
        api = HfApi()
        try:
            api.create_repo(self.name, private=private or None, exist_ok=True)
            if private and not api.model_info(self.name).private:
                raise UserError(
                    f"--private: {self.name} exists and is public; make it private in its settings "
                    "on the hub, or leave --private out"
                )
            operations = [CommitOperationAdd(path, file) for path, file in self.files.items()]
            with warnings.catch_warnings(record=True) as noticed:
                warnings.simplefilter("always", UserWarning)
                commit = api.create_commit(
                    self.name, operations, commit_message="Upload a model of hybrid_dist"
                )
            for each in noticed:
                say(f"the hub notes: {each.message}")
            return str(commit.commit_url)
        except HfHubHTTPError as error:
            status = error.response.status_code
            raise UserError(f"--to {self.name}: {REFUSED.get(status, reason(error))}") from None
        except UserError:
            raise
        except Exception as error:  # of the HTTP library, another one in each version of the client
            raise UserError(
                f"--to {self.name}: not uploaded ({reason(error)}); start the same command again"
            ) from None


def _files(model: Path) -> list[Path]:
    """The files of a model: those of its folder, and of the folders of its modules."""
    folders = [model]
    if (model / "modules.json").is_file():
        folders += [model / path for path in read_modules(model / "modules.json").values() if path]
    return sorted(
        file
        for folder in folders
        for file in folder.iterdir()
        if file.is_file() and file.name[0] != "."
    )


def _check_name(name: str) -> None:
    if "/" not in name.strip("/"):
        raise UserError(f"--to {name}: has no namespace; give USER/{name} or ORGANISATION/{name}")
    if not NAME.fullmatch(name) or len(name) > 96 or "--" in name or ".." in name:
        raise UserError(
            f"--to {name}: is no name on the hub; give NAMESPACE/NAME of letters, digits, '-', '_' "
            "and '.', 96 characters at most"
        )


def _check_access() -> None:
    """Refuse before anything is sent what the hub would refuse later."""
    from huggingface_hub import constants, get_token

    if constants.is_offline_mode():
        raise UserError("HF_HUB_OFFLINE is set; unset it where there is a network")
    if get_token() is None:
        raise UserError(
            "no token of the hub: log in with `hf auth login`, or set HF_TOKEN to a token that may "
            "write"
        )
    if not reaches(constants.ENDPOINT):
        raise UserError(
            f"{constants.ENDPOINT} cannot be reached; start the same command where there is a "
            "network, or copy the folder there (--dry-run shows its files)"
        )


def _model_folder(source: Path) -> Path:
    if is_checkpoint(source):
        raise UserError(
            f"{source}: is a checkpoint; write its model with `hybrid-dist export {source} --out "
            "DIR`, then push DIR"
        )
    is_run = (source / "config.yaml").is_file()
    model = source / "model" if is_run else source
    if (model / SPEC).is_file():
        return model
    if is_run:
        raise UserError(
            f"{source}: this run has no model/ yet; wait for its end, or export one of its "
            "checkpoints/"
        )
    problem = "is no run folder and no exported model" if source.is_dir() else "no such folder"
    raise UserError(f"{source}: {problem}{nearest_folder(str(source))}")


def _card(source: Path, model: Path, name: str) -> tuple[str, list[str]]:
    """The card that goes with the model, and what to know about it."""
    file, notes = model / card.FILE, []
    text = file.read_text("utf-8", "replace") if file.is_file() else ""
    if text and not card.is_unchanged(text):
        own = card.addressed(text, name)
        but = "" if own == text else f", but for its examples, which load {name}"
        return own, [f"{file} was edited: it is uploaded as it is{but}"]
    if model != source:
        text = run_card(source, model, source / "eval", name)
        if not any((source / "eval").glob(f"*/{REPORT}")):
            notes.append(
                "the run has no evaluation, and the card says so; add one with `hybrid-dist "
                f"evaluate --model {source} --task TASK --out {source / 'eval'}`"
            )
        if (source / "interrupted").exists():
            notes.append("the run is not finished: this is the best model of its evaluations")
    else:
        text = card.addressed(text, name) if text else card.card(model, source=name)
    return text, notes


def _licensed(text: str, wanted: str | None, file: Path) -> tuple[str, list[str]]:
    """The card with the licence that is wanted; a note if it states none."""
    if wanted is not None and not LICENSE.fullmatch(wanted):
        raise UserError(
            f"--license {wanted}: is no name of a licence on the hub; give one in small letters, "
            "such as apache-2.0, mit, cc-by-4.0 or other"
        )
    stated = card.license_of(text)
    if wanted is None or stated == wanted:
        return text, [] if stated else ["the card states no licence; --license NAME states one"]
    if stated:
        raise UserError(
            f"--license {wanted}: {file} states {stated}; change it there, or leave --license out"
        )
    return card.licensed(text, wanted), []
