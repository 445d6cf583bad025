"""A model by its hub id, from a local stand-in of the hub: found by its commit, the same before and after its weights are there."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"

CODE = """
import json
from affinage.backbone import describe, load
from affinage.config import ModelConfig
config = ModelConfig(id="{name}", dtype="float32", device="cpu", revision={revision!r})
before = describe(config)[1]
backbone = load(config)
print(json.dumps([before.as_dict(), backbone.identity.as_dict(), backbone.tokens.stops]))
"""


@contextmanager
def hub(folder: Path) -> Iterator[str]:
    """Serves the files of one model, `org/tiny`; gives the address."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
            """Says nothing."""

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            path = self.path.split("?")[0]
            file = folder / path.rsplit("/", 1)[-1]
            tree = "/api/models/org/tiny/tree/"
            if path.startswith(tree) and path.removeprefix(tree).count("/") == 0:
                content = json.dumps([{"type": "file", "path": each.name, "size": 1, "oid": "0"} for each in folder.iterdir()]).encode()
            elif path.startswith("/api/models/org/tiny") and not path.startswith(tree):
                content = json.dumps({"id": "org/tiny", "sha": COMMIT, "siblings": [{"rfilename": each.name} for each in folder.iterdir()]}).encode()
            elif path.startswith("/org/tiny/resolve/") and file.is_file():
                content = file.read_bytes()
            else:
                code = "EntryNotFound" if "/org/tiny/" in path else "RepoNotFound"
                self.send_response(404)
                self.send_header("X-Error-Code", code)
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def loaded(name: str, revision: str | None, endpoint: str, cache: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Loads in a process of its own: the hub's library reads its environment when it is imported."""
    kept = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", **extra}
    code = CODE.format(name=name, revision=revision)
    return subprocess.run([sys.executable, "-c", code], env=kept, capture_output=True, text=True, check=False, timeout=120)


def test_a_hub_id_is_loaded_and_known_by_its_commit(tiny_folder: Path, tmp_path: Path) -> None:
    with hub(tiny_folder) as endpoint:
        first = loaded("org/tiny", None, endpoint, tmp_path)
        assert first.returncode == 0, first.stderr
        before, after, stops = json.loads(first.stdout)
        assert before == after
        assert before["revision"] == COMMIT
        assert stops == ["<|im_end|>"]
        missing = loaded("org/absent", None, endpoint, tmp_path)
    assert missing.returncode == 1
    assert "affinage.records.UserError: model org/absent: found" in missing.stderr
    again = loaded("org/tiny", None, endpoint, tmp_path, HF_HUB_OFFLINE="1")
    assert json.loads(again.stdout) == [before, after, stops], "without a network the cache serves"
