"""As much of a W&B server as its client needs to send a run or a workspace.

A row has the number that the client gives it. A client that resumes a run asks for the number of
rows; one that does not ask writes over them.
"""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

PROJECT = {"id": "p", "name": "a project", "entity": {"id": "e", "name": "me"}}
BUCKET = {"id": "b", "name": "run", "displayName": "run", "config": "{}", "project": PROJECT}
VIEWER = {"id": "v", "entity": "me", "username": "me", "email": "me@me", "flags": "{}"}
ANSWERS: dict[str, dict[str, Any]] = {
    "Viewer": {"viewer": VIEWER | {"teams": {"edges": []}}},
    "CreateRunFiles": {"createRunFiles": {"runID": "run", "uploadHeaders": [], "files": []}},
    "GetDefaultEntity": {"viewer": VIEWER},
    "UpsertView2": {"upsertView": {"view": {"id": "w", "name": "nw-w-v"}, "inserted": True}},
}


class Server:
    """Serves until it is closed; then its port refuses."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.views: list[dict[str, Any]] = []
        rows, views = self.rows, self.views

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers.get("content-length", 0)))
                answer: dict[str, Any] = {}
                if self.path == "/graphql":
                    asked = json.loads(content)
                    (name,) = re.findall(r"^\s*(?:query|mutation) (\w+)", asked["query"])
                    answers = ANSWERS | {"RunResumeStatus": _resumed(rows)}
                    if name == "UpsertBucket":
                        bucket = BUCKET | {"name": asked["variables"]["name"]}
                        answers[name] = {"upsertBucket": {"bucket": bucket, "inserted": not rows}}
                    answer["data"] = answers.get(name, {})
                    if name == "UpsertView2":
                        views.append(asked["variables"])
                elif self.path.endswith("/file_stream"):
                    history = json.loads(content).get("files", {}).get("wandb-history.jsonl", {})
                    lines = list(map(json.loads, history.get("content", ())))
                    begin = history.get("offset", 0)
                    rows[begin : begin + len(lines)] = lines
                body = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words: Any) -> None:
                """Nothing: pytest would show every request."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that W&B's client in this process talks to."""
    running = Server()
    monkeypatch.setenv("WANDB_BASE_URL", running.url)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    yield running
    running.close()


def _resumed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What a client has to know of a run to go on with it."""
    if not rows:
        return {"model": {"bucket": None}}
    known = {
        "historyLineCount": len(rows),
        "historyTail": json.dumps([json.dumps(rows[-1])]),
        "eventsLineCount": 0,
        "eventsTail": "[]",
        "logLineCount": 0,
        "summaryMetrics": "{}",
        "wandbConfig": '{"t": 1}',
        "tags": [],
    }
    return {"model": {"bucket": BUCKET | known}}
