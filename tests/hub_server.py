"""A hub on this machine: the part of the Hugging Face hub's HTTP protocol that a bundle needs."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

__all__ = ["Hub", "serve_hub"]

_API = re.compile(
    r"/api/models/(?P<repo>[^/]+/[^/]+)/(?P<what>preupload|commit|revision|tree)/(?P<revision>[^/]+)"
)
_BATCH = re.compile(r"/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch")
_RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


class Hub:
    """What the hub holds.

    Attributes:
        address: Where it listens.
        files: Contents by repository and name.
        commits: The summary of every commit, by repository.
        private: Repositories that were made private.
        objects: Large files by sha256, before a commit names them.
        asked: Every request, as METHOD and path.
        tokens: Every authorization that was sent.
    """

    def __init__(self) -> None:
        self.address = ""
        self.files: dict[str, dict[str, bytes]] = {}
        self.commits: dict[str, list[str]] = {}
        self.private: set[str] = set()
        self.objects: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.tokens: set[str | None] = set()

    def head(self, repo: str) -> str:
        """The commit of a repository, as git names one."""
        digest = hashlib.sha1(repr(self.commits.get(repo)).encode(), usedforsecurity=False)
        for name, content in sorted(self.files[repo].items()):
            digest.update(name.encode() + b"\0" + content)
        return digest.hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlparse(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        self.hub.tokens.add(self.headers.get("Authorization"))
        body = self._body()
        if path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif match := _API.fullmatch(path):
            getattr(self, f"_{match['what']}")(match["repo"], body)
        elif match := _BATCH.fullmatch(path):
            self._batch(json.loads(body))
        elif path.startswith("/objects/"):
            self.hub.objects[path.removeprefix("/objects/")] = body
            self._send(200, b"")
        elif match := _RESOLVE.fullmatch(path):
            self._resolve(match["repo"], match["revision"], match["file"])
        else:
            self._json({"error": f"unknown {self.command} {path}"}, status=404)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _create(self, asked: dict[str, Any]) -> None:
        repo = (
            f"{asked['organization']}/{asked['name']}"
            if asked.get("organization")
            else asked["name"]
        )
        made = repo not in self.hub.files
        self.hub.files.setdefault(repo, {})
        if made and asked.get("private"):
            self.hub.private.add(repo)
        told = {"url": f"{self.hub.address}/{repo}", "id": repo, "name": repo}
        self._json(told if made else told | {"error": "exists"}, status=200 if made else 409)

    def _preupload(self, repo: str, body: bytes) -> None:
        """Text is committed as it is; what is not text goes to the store of large files."""
        assert repo in self.hub.files
        modes = []
        for file in json.loads(body)["files"]:
            sample = base64.b64decode(file["sample"])
            mode = "regular" if file["path"].endswith((".json", ".md")) and sample else "lfs"
            modes.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False})
        self._json({"files": modes})

    def _batch(self, asked: dict[str, Any]) -> None:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.hub.address}/objects/{one['oid']}"}}}
            for one in asked["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects})

    def _commit(self, repo: str, body: bytes) -> None:
        entries = [json.loads(line) for line in body.decode().splitlines()]
        for entry in entries:
            value = entry["value"]
            if entry["key"] == "header":
                self.hub.commits.setdefault(repo, []).append(value["summary"])
            elif entry["key"] == "file":
                self.hub.files[repo][value["path"]] = base64.b64decode(value["content"])
            else:
                assert entry["key"] == "lfsFile"
                content = self.hub.objects[value["oid"]]
                assert len(content) == value["size"]
                self.hub.files[repo][value["path"]] = content
        sha = self.hub.head(repo)
        address = f"{self.hub.address}/{repo}/commit/{sha}"
        self._json({"success": True, "commitUrl": address, "commitOid": sha, "hookOutput": ""})

    def _revision(self, repo: str, _body: bytes) -> None:
        if repo not in self.hub.files:
            self._missing("RepoNotFound", "Repository not found")
            return
        names = [{"rfilename": name} for name in self.hub.files[repo]]
        self._json({"id": repo, "modelId": repo, "sha": self.hub.head(repo), "siblings": names})

    def _tree(self, repo: str, _body: bytes) -> None:
        files = self.hub.files[repo]
        self._json(
            [
                {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                for name, content in files.items()
            ]
        )

    def _resolve(self, repo: str, revision: str, file: str) -> None:
        if repo not in self.hub.files:
            self._missing("RepoNotFound", "Repository not found")
            return
        sha = self.hub.head(repo)
        if revision not in {"main", "v1", sha}:
            self._missing("RevisionNotFound", "Invalid rev id")
            return
        content = self.hub.files[repo].get(file)
        if content is None:
            self._missing("EntryNotFound", "Entry not found")
            return
        tag = hashlib.sha256(content).hexdigest()
        self._send(200, content, {"ETag": f'"{tag}"', "X-Repo-Commit": sha})

    def _missing(self, code: str, text: str) -> None:
        self._json(
            {"error": text}, status=404, headers={"X-Error-Code": code, "X-Error-Message": text}
        )

    def _json(
        self, value: object, *, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        named = {"Content-Type": "application/json", **(headers or {})}
        self._send(status, json.dumps(value).encode(), named)

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """A hub that listens while the block runs."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield hub
        server.shutdown()
        thread.join()
