"""The doctor on one machine; tests/launched has several processes."""

import io
import socket
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from rich.console import Console

from hybrid_dist.commands import doctor
from hybrid_dist.reporting.doctor_table import findings_table
from hybrid_dist.runtime import doctor as checks
from hybrid_dist.runtime import environment, faiss_build, operators
from hybrid_dist.runtime.faiss_build import FaissBuild
from hybrid_dist.runtime.finding import Finding
from hybrid_dist.runtime.ranks import Ranks
from tests.support.hub_server import Hub


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the compile of an operator, which tests/launched has."""
    monkeypatch.setattr(checks, "WRITTEN", 1 << 20)
    monkeypatch.setattr(operators, "build", lambda: ("deepspeed_shm_comm", ""))


def states(folder: Path) -> dict[str, Finding]:
    return {finding.what: finding for finding in checks.examine(Ranks(), folder)}


def test_every_part_has_a_line_and_nothing_is_left_behind(tmp_path: Path) -> None:
    findings = states(tmp_path / "runs")
    assert list(findings) == [
        *("GPUs", "FAISS", "run folder", "W&B", "model hub", "network", "cores", "memory"),
        *("memlock", "temporary files", "ECC", "Xid", "DeepSpeed", "processes", "collectives"),
    ]
    assert "MB/s written" in findings["run folder"].message
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_that_cannot_be_written_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "runs"
    assert states(folder)["run folder"].state == "wrong"
    with pytest.raises(SystemExit) as ended:
        doctor.main(["--folder", str(folder)])
    assert ended.value.code == 1
    assert "wrong" in capsys.readouterr().out


def test_missing_compilers_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    findings = states(tmp_path)["DeepSpeed"]
    assert findings.state == "wrong" and "g++ and ninja are missing" in findings.message


@pytest.mark.parametrize(
    ("build", "packages", "state", "message"),
    [
        (FaissBuild("1.15.1"), ["faiss-cpu 1.15.1"], "ok", "faiss-cpu 1.15.1; a search on the CPU"),
        (FaissBuild("1.15.1", True, True), ["faiss-gpu-cuvs 1.15.1"], "ok", "1.15.1 with cuVS; a"),
        (FaissBuild(problem="faiss is not installed"), [], "slow", "not installed; torch searches"),
        (FaissBuild("1", problem="gives wrong rows"), ["faiss-cpu 1"], "wrong", "1: gives wrong"),
        (FaissBuild("1.15.1"), ["faiss-cpu 1", "faiss-gpu 1"], "wrong", "faiss-cpu 1, faiss-gpu 1"),
    ],
)
def test_faiss_is_named_and_tried(
    monkeypatch: pytest.MonkeyPatch,
    build: FaissBuild,
    packages: list[str],
    state: str,
    message: str,
) -> None:
    monkeypatch.setattr(faiss_build, "try_faiss", lambda device: build)
    monkeypatch.setattr(faiss_build, "packages", lambda: packages)
    (finding,) = checks._faiss()
    assert finding.state == state and message in finding.message
    assert (finding.remedy == "") == (state == "ok")


def test_a_card_without_kernels_in_faiss_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    build = FaissBuild("1.15.1", True, False, "faiss 1.15.1 does not run on Old Card (sm_52)")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda _: "Old Card")
    monkeypatch.setattr("torch.version.cuda", "12.8")
    monkeypatch.setattr(faiss_build, "try_faiss", lambda device: build)
    monkeypatch.setattr(faiss_build, "packages", lambda: ["faiss-cpu 1.15.1"])
    (finding,) = checks._faiss()
    remedy = 'pip uninstall faiss-cpu, then pip install "hybrid_dist[gpu]"'
    assert (finding.state, finding.remedy) == ("slow", remedy)
    assert finding.message == f"{build.problem}; torch searches"


def test_a_name_that_nobody_knows_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "no-such-machine.invalid")
    assert states(tmp_path)["network"].state == "wrong"


def test_other_versions_on_another_machine_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Two(Ranks):
        """What another machine would say is put beside what this one does."""

        def gather(self, thing: Any) -> list[Any]:
            _, versions = thing
            return [("one", versions), ("two", versions | {"torch": "1.0"})]

    (findings, *_) = checks._together(Two())
    assert findings.state == "wrong"
    torch = environment.versions()["torch"]
    assert findings.message == f"one: torch {torch}; two: torch 1.0"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub with one model."""
    (tmp_path / "models--someone--retriever").mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path


def test_the_hub_is_really_asked(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    (finding,) = checks._hub()
    assert (finding.state, hub.requests) == ("ok", ["/api/models"])
    assert finding.message == f"{hub.url} answers; 1 model in {cache}"
    hub.close()
    (finding,) = checks._hub()
    assert finding.state == "slow" and f"{hub.url} does not answer (Conn" in finding.message
    assert finding.remedy.endswith("then HF_HUB_OFFLINE=1")


def test_an_offline_cache_without_models_is_reported(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (finding,) = checks._hub()
    assert (finding.state, finding.message[-len(str(cache)) - 11 :]) == (
        "ok",
        f"1 model in {cache}",
    )
    (cache / "models--someone--retriever").rmdir()
    (finding,) = checks._hub()
    assert finding.state == "slow" and "hybrid-dist prefetch" in finding.remedy


def test_findings_are_not_read_as_markup() -> None:
    shown = io.StringIO()
    findings = [Finding("run folder", "wrong", r"\[/b]: full", "[/] make room \x1b[1m")]
    Console(file=shown, width=100).print(findings_table(findings))
    assert r"\[/b]: full" in shown.getvalue() and r"[/] make room \x1b[1m" in shown.getvalue()
