"""As much of the Hugging Face hub as an upload needs: repositories, large files, commits."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_of_the_tests"
LARGE = (".safetensors", "tokenizer.json")
"""Ends of the names of files that are sent by git-lfs."""


class Hub:
    """Serves until it is closed; keeps what it was sent."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, Any]] = {}
        """By name: `private`, and `files`."""
        self.large: dict[str, bytes] = {}
        """Content of large files by SHA-256."""
        self.requests: list[str] = []
        self.namespace = "me"
        """The only namespace that the token may write to."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, content: bytes) -> tuple[int, dict[str, Any]]:
        """The status and the body of a request's answer."""
        if path == "/api/repos/create":
            return self._create(json.loads(content))
        if path == "/api/validate-yaml":
            text = json.loads(content)["content"]
            return (200, {}) if text.startswith("---\n") else (200, {"warnings": [NO_METADATA]})
        if path.startswith("/large/"):
            name = path.removeprefix("/large/")
            assert hashlib.sha256(content).hexdigest() == name
            self.large[name] = content
            return 200, {}
        name = "/".join(path.removeprefix("/api/models").strip("/").split("/")[:2])
        name = name.removesuffix(".git")
        if name not in self.repositories:
            return 404, {"error": "Repository not found"}
        if path.endswith("/preupload/main"):
            return 200, {"files": [_mode(file["path"]) for file in json.loads(content)["files"]]}
        if path.endswith("/info/lfs/objects/batch"):
            return 200, {"transfer": "basic", "objects": [*map(self._place, _objects(content))]}
        if path.endswith("/commit/main"):
            return self._commit(name, [json.loads(line) for line in content.splitlines()])
        return 200, {"id": name, "modelId": name, "private": self.repositories[name]["private"]}

    def _create(self, wanted: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = f"{wanted['organization']}/{wanted['name']}"
        if wanted["organization"] != self.namespace:
            return 403, {"error": "You don't have the rights to create a model there"}
        if name in self.repositories:
            return 409, {"error": "exists", "url": f"{self.url}/{name}"}
        private = wanted.get("private", wanted.get("visibility") == "private")
        self.repositories[name] = {"private": bool(private), "files": {}}
        return 200, {"url": f"{self.url}/{name}", "name": name}

    def _place(self, file: dict[str, Any]) -> dict[str, Any]:
        return {**file, "actions": {"upload": {"href": f"{self.url}/large/{file['oid']}"}}}

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> tuple[int, dict[str, Any]]:
        files = self.repositories[name]["files"]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.large[value["oid"]]
        return 200, {"commitUrl": f"{self.url}/{name}/commit/1", "commitOid": "1" * 40}


NO_METADATA = {"message": "empty or missing yaml metadata in repo card"}


def _mode(path: str) -> dict[str, Any]:
    return {
        "path": path,
        "uploadMode": "lfs" if path.endswith(LARGE) else "regular",
        "shouldIgnore": False,
    }


def _objects(content: bytes) -> list[dict[str, Any]]:
    objects: list[dict[str, Any]] = json.loads(content)["objects"]
    return objects


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _respond(self) -> None:
            content = self._content()
            path = self.path.partition("?")[0]
            hub.requests.append(path)
            status, body = 401, {"error": "Invalid credentials in Authorization header"}
            if path.startswith("/large/") or self.headers["authorization"] == f"Bearer {TOKEN}":
                status, body = hub.answer(path, content)
            answer = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def _content(self) -> bytes:
            if self.headers.get("transfer-encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("content-length", 0)))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        do_GET = do_POST = do_PUT = _respond

        def log_message(self, *words: Any) -> None:
            """Nothing: pytest would show every request."""

    return Handler
