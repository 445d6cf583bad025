"""BLEnD from the hub, against a stand-in server on this machine: pinned, resumed, offline, refused."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from affinage.config import DataConfig
from affinage.data import load
from affinage.data.hub import hub_files
from affinage.records import UserError

OLD, NEW = "a" * 40, "b" * 40
REPOSITORY = "nayeon212/BLEnD"
CARD = """\
---
license: cc-by-sa-4.0
configs:
- config_name: annotations
  data_files: [{split: US, path: data/annotations_hf/US_data.json}]
- config_name: multiple-choice-questions
  data_files:
  - split: test
    path: data/mc_questions_hf/*.json
---
# BLEnD
"""


def rows(count: int) -> bytes:
    row = {
        "ID": "Al-en-01",
        "country": "US",
        "prompt": "What is a common snack in the US? Without any explanation, choose one.",
        "choices": {"A": "popcorn", "B": "olives"},
        "choice_countries": {"A": "US", "B": "Spain"},
        "answer_idx": "A",
    }
    return json.dumps([{"MCQID": f"Al-en-01_{number}", **row} for number in range(count)]).encode()


@dataclass
class Hub:
    """What the server serves, and what it was asked."""

    versions: dict[str, dict[str, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    cut: int | None = None
    """Bytes after which a file's transfer breaks off; None for whole files."""
    ranges: list[str] = field(default_factory=list)


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            hub.asked.append(self.path)
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            revision = re.search(rf"/datasets/{REPOSITORY}/(?:revision|resolve|tree)/(\w+)", self.path)
            commit = {"main": NEW}.get(revision[1], revision[1]) if revision else ""
            files = hub.versions.get(commit)
            if files is None:
                code = "RevisionNotFound" if REPOSITORY in self.path else "RepoNotFound"
                self.reply(404, b"{}", body, {"X-Error-Code": code, "X-Error-Message": "not there"})
            elif "/resolve/" in self.path:
                name = self.path.split(f"/{commit}/" if f"/{commit}/" in self.path else "/main/", 1)[1]
                self.file(files[name], commit, body)
            elif "/tree/" in self.path:
                tree = [
                    {"type": "file", "path": name, "size": len(content), "oid": sha256(content).hexdigest()[:40]} for name, content in files.items()
                ]
                self.reply(200, json.dumps(tree).encode(), body, {"Content-Type": "application/json"})
            else:
                info = {"id": REPOSITORY, "sha": commit, "private": False, "siblings": [{"rfilename": name} for name in files]}
                self.reply(200, json.dumps(info).encode(), body, {"Content-Type": "application/json"})

        def file(self, content: bytes, commit: str, body: bool) -> None:
            headers = {"ETag": f'"{sha256(content).hexdigest()[:40]}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
            asked = self.headers.get("Range")
            if asked is None or not body:
                self.reply(200, content, body, headers)
                return
            hub.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").split("-")[0])
            self.reply(206, content[start:], body, {**headers, "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"})

        def reply(self, status: int, content: bytes, body: bool, headers: dict[str, str]) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                whole = hub.cut is None or "mc_questions" not in self.path
                self.wfile.write(content if whole else content[: hub.cut])
                self.close_connection = not whole

    return Handler


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub of two versions; the package's hub library is pointed at it as HF_ENDPOINT would, with an empty cache."""
    card = {"README.md": CARD.encode(), "evaluation/large.bin": b"not asked for"}
    name = "data/mc_questions_hf/mc.json"
    state = Hub({OLD: {**card, name: rows(1)}, NEW: {**card, name: rows(3)}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(state))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    # The library reads HF_ENDPOINT and HF_HUB_CACHE once, when it is imported.
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    huggingface_hub.close_session()
    yield state
    huggingface_hub.close_session()
    server.shutdown()
    server.server_close()
    thread.join()


def blend(path: str) -> DataConfig:
    return DataConfig(source="blend", path=path)


def test_the_newest_version_is_fetched_and_its_commit_recorded(hub: Hub) -> None:
    dataset = load(blend("hub"))
    assert (len(dataset), dataset.revision) == (3, NEW)
    assert not any("large.bin" in path or "annotations" in path for path in hub.asked)


def test_a_version_can_be_pinned(hub: Hub) -> None:
    dataset = load(blend(f"hub@{OLD}"))
    assert (len(dataset), dataset.revision) == (1, OLD)


def test_without_a_network_the_cache_serves(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = load(blend("hub"))
    asked = len(hub.asked)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = load(blend("hub"))
    assert (again.digest, again.revision, len(hub.asked)) == (fetched.digest, NEW, asked)
    with pytest.raises(UserError, match=rf"hub data set {REPOSITORY} at {OLD}: found no connection and no copy in the cache"):
        load(blend(f"hub@{OLD}"))


def test_no_network_and_no_cache_is_a_clear_error(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="found no connection and no copy in the cache") as caught:
        load(blend("hub"))
    assert "Connect and run again" in str(caught.value)


def test_a_revision_or_data_set_that_is_not_there_is_refused_by_name(hub: Hub) -> None:
    with pytest.raises(UserError, match=r"at nowhere: found the hub's refusal.*Check the revision"):
        load(blend("hub@nowhere"))
    with pytest.raises(UserError, match="hub data set nobody/nothing: found the hub's refusal"):
        hub_files("nobody/nothing", "multiple-choice-questions", None)


def test_a_card_without_the_configuration_is_refused(hub: Hub) -> None:
    hub.versions[NEW]["README.md"] = b"# no header"
    with pytest.raises(UserError, match="expected the configuration multiple-choice-questions"):
        load(blend("hub"))


def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(hub: Hub) -> None:
    content = hub.versions[NEW]["data/mc_questions_hf/mc.json"] = rows(2000)
    hub.cut = len(content) // 3
    assert len(load(blend("hub"))) == 2000
    starts = [int(re.findall(r"\d+", asked)[0]) for asked in hub.ranges]
    assert starts == sorted(starts)
    assert starts[-1] > 0


def test_a_transfer_that_brings_nothing_is_given_up_and_what_came_is_kept(hub: Hub) -> None:
    hub.cut = 0
    with pytest.raises(UserError, match=r"a fetch that broke off.*Run again"):
        load(blend("hub"))
    hub.cut = None
    hub.asked.clear()
    assert len(load(blend("hub"))) == 3
    assert not any("README" in path for path in hub.asked)
