"""Checks of nodes before a job starts, and config values for scripts."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import pytest

from hybrid_dist.commands import config
from hybrid_dist.errors import UserError
from hybrid_dist.runtime import preflight
from hybrid_dist.runtime.network import interface_of, name_interface, own_address


def test_nodes_that_share_a_folder_learn_of_all(tmp_path: Path) -> None:
    found: dict[int, list[dict[str, str]]] = {}

    def node(number: int) -> None:
        found[number] = preflight.meet(tmp_path / "meeting", number, 3, {"node": f"n{number}"}, 10)

    threads = [Thread(target=node, args=(number,)) for number in (2, 0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [{"node": f"n{n}"} for n in range(3)] for number in range(3)}


def test_a_folder_that_is_not_shared_is_reported_with_the_nodes_that_lack_it(
    tmp_path: Path,
) -> None:
    with pytest.raises(UserError, match="node 0, 2 of 0 to 2 wrote nothing there"):
        preflight.meet(tmp_path / "meeting", 1, 3, {"node": "b"}, seconds=0.3)


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written here .*; give a run\.dir"):
        preflight.meet(tmp_path / "file" / "meeting", 0, 1, {}, seconds=0.3)


def test_a_folder_of_the_container_s_own_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once on the node of the batch file, which sees its own files without delay."""
    meeting, token = tmp_path / "runs/meeting", "a 123"
    monkeypatch.setenv("CONTAINER", "an image")
    with pytest.raises(UserError, match=r"runs: is not .* add it to CONTAINER_MOUNTS .*an image"):
        preflight.check_token(meeting, token, "a", seconds=3600)
    assert not meeting.parent.exists(), "nothing is written that would hide the mistake"
    meeting.mkdir(parents=True)
    (meeting / "token").write_text("a 122\n")
    monkeypatch.delenv("CONTAINER")
    with pytest.raises(UserError, match=r"b does not see that; give a run\.dir on a disk"):
        preflight.check_token(meeting, token, "b", seconds=0.3)
    late = Thread(target=lambda: (time.sleep(0.3), (meeting / "token").write_text("a 123\n")))
    late.start()
    preflight.check_token(meeting, token, "b", seconds=60)
    late.join()


@pytest.mark.parametrize("given", ["", "soon", "0", "-1", "nan", "inf"])
def test_a_wait_that_is_no_time_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert preflight.minutes() == 10
    monkeypatch.setenv("NODE_CHECK_MINUTES", "0.5")
    assert preflight.minutes() == 0.5
    monkeypatch.setenv("NODE_CHECK_MINUTES", given)
    with pytest.raises(UserError, match=f"NODE_CHECK_MINUTES={given}: is no number"):
        preflight.minutes()


def test_versions_that_differ_are_both_reported() -> None:
    first = {"node": "a", "python": "3.11.2", "torch": "2.13.0"}
    same, other = first | {"node": "b"}, first | {"node": "c", "torch": "2.12.1"}
    preflight.check_versions([first, same])
    with pytest.raises(UserError, match=r"torch is 2\.13\.0 on a and 2\.12\.1 on c; give all"):
        preflight.check_versions([first, same, other])


def test_installed_versions_are_found_without_importing_torch() -> None:
    statement = "print(preflight.installed()['torch'], 'torch' in sys.modules)"
    code = f"import sys; from hybrid_dist.runtime import preflight; {statement}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    version, imported = done.stdout.split()
    assert version[0].isdigit() and imported == "False"


def test_an_address_leads_to_its_interface() -> None:
    assert own_address("127.0.0.1") == "127.0.0.1"
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("192.0.2.1") is None
    assert own_address("no such host.invalid") == ""


def test_gloo_keeps_the_interface_that_the_site_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "ib0")
    name_interface("192.0.2.1")
    assert os.environ["GLOO_SOCKET_IFNAME"] == "ib0"
    monkeypatch.delenv("GLOO_SOCKET_IFNAME")
    name_interface("127.0.0.1")
    assert "GLOO_SOCKET_IFNAME" not in os.environ, "processes of one machine need none"


def test_gloo_is_given_the_interface_that_reaches_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    outward = own_address("192.0.2.1")
    interface = interface_of(outward) if outward else None
    if interface in (None, "lo"):
        pytest.skip("this machine has no interface but its own")
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    name_interface("192.0.2.1")
    assert os.environ.pop("GLOO_SOCKET_IFNAME") == interface
    assert interface in {name for _, name in socket.if_nameindex()}


def test_scripts_can_read_values_of_a_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text("data: {train: [a.jsonl, 'b c.jsonl']}\nrun: {name: big}\n")
    words = ["run.folder", "data.train", "seed", "--", "--config", str(tmp_path / "run.yaml")]
    monkeypatch.setattr(sys, "argv", ["config", "get", *words, "--seed", "7"])
    config.main()
    assert capsys.readouterr().out == "runs/big\na.jsonl\nb c.jsonl\n7\n"
    tasks = ["xquad_r:hf://google/xquad", "own=pairs:/data/x.jsonl?skip_bad=3"]
    given = ["--eval.tasks", *tasks, "--model.name_or_path", "models/e5"]
    monkeypatch.setattr(sys, "argv", ["config", "get", "paths", *words[3:], *given])
    config.main()
    named = "runs a.jsonl|b c.jsonl|models/e5|auto|/data/x.jsonl"
    assert capsys.readouterr().out == named.replace(" a", "\na").replace("|", "\n") + "\n"
    monkeypatch.setattr(sys, "argv", ["config", "get", *words, "--optim.lr", "-1"])
    with pytest.raises(SystemExit) as ended:
        config.main()
    assert ended.value.code == 2
    assert "optim.lr" in capsys.readouterr().err
