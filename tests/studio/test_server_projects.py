"""Running a project over the API: create, describe, import with a preview, decide, export; the client; webhooks."""

import gzip
import hashlib
import hmac
import io
import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from store_pairs import pairs_in
from studio_server import Server

from steersman.errors import ServiceError, UsageError
from steersman.records import Comparison
from steersman.store.database import open_store
from steersman.store.entry import make_token
from steersman.store.people import add_person
from steersman.store.projects import create_project, find_project
from steersman.store.webhooks import list_webhooks
from steersman.studio import Client
from steersman.studio.serve import Serving, open_socket, refuse_open_address
from steersman.studio.settings import StudioSettings
from steersman.studio.webhooks import send_new, signature_of

HELPFUL = "/api/projects/helpful"


def test_a_project_is_created_described_paused_and_closed(site):
    ada = site.admin()
    said = {"name": "kind", "title": "Kindness", "guidelines": "Be *kind*.", "licence": "CC-BY-4.0"}
    assert ada.post("/api/projects", said).status_code == 201
    assert "already" in ada.post("/api/projects", said).json()["error"]["message"]
    attributes = [{"name": "kind", "title": "Kind", "least": 1, "most": 7}]
    changed = ada.send("PATCH", "/api/projects/kind", json={"attributes": attributes, "state": "paused"})
    assert changed.json()["changed"] == ["attributes", "state"]
    shown = ada.get("/api/projects/kind").json()
    assert (shown["title"], shown["state"], shown["attributes"]) == ("Kindness", "paused", attributes)
    assert shown["guidelines"] == "<p>Be <em>kind</em>.</p>\n"
    bad = ada.send("PATCH", "/api/projects/kind", json={"attributes": [{"name": "x", "least": 3, "most": 1}]})
    assert "goes from its least to its most" in bad.json()["error"]["message"]
    assert ada.send("PATCH", "/api/projects/kind", json={"state": "gone"}).status_code == 422


def upload(visit, name, content):
    return visit.send("POST", f"{HELPFUL}/files", files={"file": (name, content)})


def test_a_file_of_a_known_format_shows_itself_and_is_imported(site):
    ada = site.person("Ada", "admin")
    rows = [{"prompt": f"Question {n}?", "chosen": "yes", "rejected": "no"} for n in range(3)]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    seen = upload(ada, "../../pairs.jsonl.gz", gzip.compress(content)).json()
    assert (seen["format"], seen["columns"]) == ("trl-preference", ["prompt", "chosen", "rejected"])
    assert seen["rows"] == rows
    wanted = {"file": seen["file"], "round": "r1", "annotator": "team"}
    told = ada.post(f"{HELPFUL}/imports", wanted).json()
    assert (told["items"], told["labels"], told["read"]["source"]) == (3, 3, "../../pairs.jsonl.gz")
    assert ada.post(f"{HELPFUL}/imports", wanted).json()["labels"] == 0, "the same import adds nothing"


def test_a_table_of_ones_own_is_imported_by_its_columns(site):
    ada = site.person("Ada", "admin")
    table = b"question,old model,new model\nWhy?,Because.,So.\nHow?,Thus.,Like this.\n"
    seen = upload(ada, "answers.csv", table).json()
    assert seen["columns"] == ["question", "old model", "new model"]
    assert seen["rows"][0] == {"question": "Why?", "old model": "Because.", "new model": "So."}
    wanted = {"file": seen["file"], "task": "pair", "overlap": 2}
    wanted["columns"] = {"prompt": "question", "answers": ["old model", "new model"]}
    told = ada.post(f"{HELPFUL}/imports", wanted).json()
    assert (told["tasks"], told["read"]["malformed"]) == (2, 0)
    (task, _) = ada.next(ahead=2)
    assert {one["text"] for one in task["answers"]} == {"Because.", "So."}
    assert "old model" not in json.dumps(task)
    wanted["columns"]["prompt"] = "queston"
    refused = ada.post(f"{HELPFUL}/imports", wanted)
    assert refused.status_code == 422
    assert "did you mean 'question'?" in refused.json()["error"]["message"]


def test_a_file_that_is_none_is_refused_in_words(site):
    ada, bea = site.person("Ada", "admin"), site.person("Bea", "admin")
    assert "ends in .jsonl" in upload(ada, "photo.png", b"x").json()["error"]["message"]
    seen = upload(ada, "bad.jsonl", b'{"a": \n\xff\xfe{}\n').json()
    assert seen["bad"].startswith("row 1: ")
    wanted = {"file": seen["file"]}
    assert ada.post(f"{HELPFUL}/imports", wanted).status_code in (201, 422)
    assert "upload it again" in bea.post(f"{HELPFUL}/imports", wanted).json()["error"]["message"]


def test_a_reviewer_decides_and_training_reads_the_decision(site, tasks):
    from steersman.store.reading import read_records
    from steersman.store.reading_cursor import cursor_of

    tasks(1)
    ann, rae = site.person("Ann"), site.person("Rae", "reviewer")
    (task,) = ann.next()
    ann.event("label", task["id"], choice="tie")
    decision = {"key": "d-1", "task": task["id"], "choice": "first", "rationale": "it is true"}
    assert rae.post(f"{HELPFUL}/decisions", decision).json() == {"event": 2, "counts": True}
    (record,) = read_records(site.project, cursor_of(site.project))
    assert isinstance(record, Comparison)
    assert record.rationale == "it is true"
    assert rae.post(f"{HELPFUL}/decisions", {**decision, "key": "d-2", "choice": "cannot_judge"}).status_code == 400


def test_exports_are_files_of_each_ending(site, tasks):
    import pyarrow.parquet as pq

    tasks(3)
    ann, ada = site.person("Ann"), site.admin()
    (task,) = ann.next()
    ann.event("label", task["id"], choice="first")
    reply = ada.get(f"{HELPFUL}/export")
    assert reply.headers["content-disposition"] == 'attachment; filename="helpful-full.jsonl"'
    rows = [json.loads(line) for line in reply.text.splitlines()]
    assert [row["kind"] for row in rows] == ["answers", "answers", "comparison"]
    assert [
        json.loads(x) for x in gzip.decompress(ada.get(f"{HELPFUL}/export?ending=jsonl.gz").content).splitlines()
    ] == rows
    assert pq.read_table(io.BytesIO(ada.get(f"{HELPFUL}/export?ending=parquet").content)).num_rows == 3
    assert len(ada.get(f"{HELPFUL}/export?to=trl-preference").text.splitlines()) == 1
    assert ada.get(f"{HELPFUL}/export?to=nonsense").status_code == 400
    assert ada.get(f"{HELPFUL}/export?snapshot=7").status_code == 400
    made = ada.post(f"{HELPFUL}/snapshots").json()
    assert made["source"] == "studio:helpful?snapshot=1"
    assert ada.get(f"{HELPFUL}/snapshots").json()[0]["hash"] == made["hash"]
    assert ada.get(f"{HELPFUL}/card").json()["rows"] == 3


def test_progress_counts_tasks_and_people(site, tasks):
    tasks(3, overlap=2)
    ann, ada = site.person("Ann"), site.admin()
    ann.event("label", ann.next()[0]["id"], choice="first")
    ann.next(ahead=1)
    found = ada.get(f"{HELPFUL}/progress").json()
    assert {name: found[name] for name in ("tasks", "wanted", "given", "held", "finished")} == {
        "tasks": 3,
        "wanted": 6,
        "given": 1,
        "held": 1,
        "finished": 0,
    }
    assert [(one["role"], one["labels"]) for one in found["annotators"]] == [("labeller", 1)]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/x",
        "http://localhost/x",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "http://10.0.0.1/",
        "http://0x7f.1/",
        "ftp://example.org/",
        "file:///etc/passwd",
        "https://user:password@example.org/",
        "https://example.org/${HOME}",
        "nothing",
    ],
)
def test_webhooks_lead_to_public_addresses_only(site, url):
    ada = site.admin()
    assert ada.post(f"{HELPFUL}/webhooks", {"url": url}).status_code == 409, "off by default"
    site.app.state.studio.settings = replace(site.app.state.studio.settings, webhooks=True)
    assert ada.post(f"{HELPFUL}/webhooks", {"url": url}).status_code == 400
    assert list_webhooks(site.database) == []


class Listener:
    """A server that keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.heard.append((self.headers["X-Steersman-Signature"], body))
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "Listener":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_a_webhook_hears_of_each_event_signed_and_without_texts(site, tasks):
    tasks(2)
    studio = site.app.state.studio
    studio.settings = replace(studio.settings, webhooks=True, allowed=("127.0.0.1",))
    ada, ann = site.admin(), site.person("Ann")
    with Listener() as listener:
        made = ada.post(f"{HELPFUL}/webhooks", {"url": listener.url}).json()
        assert made["secret"] not in ada.get(f"{HELPFUL}/webhooks").text
        ann.event("label", ann.next()[0]["id"], choice="tie", rationale="MY-REASON")
        (hook,) = list_webhooks(site.database)
        listener.status = 500
        with pytest.raises(OSError, match="status 500"):
            send_new(site.database, hook, studio.settings)
        listener.status = 200
        assert send_new(site.database, hook, studio.settings) == 1
        (hook,) = list_webhooks(site.database)
        assert send_new(site.database, hook, studio.settings) == 0
        signature, body = listener.heard[-1]
    assert signature == "sha256=" + hmac.new(made["secret"].encode(), body, hashlib.sha256).hexdigest()
    assert signature == signature_of(made["secret"], body)
    (event,) = json.loads(body)["events"]
    assert (event["number"], event["kind"], event["task"]) == (1, "label", 1)
    assert b"MY-REASON" not in body
    assert ada.send("DELETE", f"{HELPFUL}/webhooks/{made['webhook']}").status_code == 204


@pytest.mark.parametrize(
    ("host", "serving", "said"),
    [
        ("0.0.0.0", Serving(), "without TLS they would send passwords in the clear"),
        ("192.168.1.5", Serving(), "without TLS"),
        ("::", Serving(), "without TLS"),
        ("0.0.0.0", Serving(proxy=True), "without TLS"),
        ("127.0.0.1", Serving(certificate=Path("cert.pem")), "belong together"),
    ],
)
def test_an_open_address_without_tls_is_refused(host, serving, said):
    with pytest.raises(UsageError, match=said):
        refuse_open_address(host, serving)


def test_loopback_and_explicit_wishes_pass(tmp_path):
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        refuse_open_address(host, Serving())
    refuse_open_address("0.0.0.0", Serving(plain=True))
    (tmp_path / "cert.pem").touch()
    refuse_open_address("0.0.0.0", Serving(tmp_path / "cert.pem", tmp_path / "cert.pem"))
    with pytest.raises(UsageError, match="there is no file"):
        refuse_open_address("0.0.0.0", Serving(tmp_path / "cert.pem", tmp_path / "key.pem"))
    with open_socket("127.0.0.1", 0) as taken, pytest.raises(UsageError, match="give another one with --port"):
        open_socket("127.0.0.1", taken.getsockname()[1])


def test_encrypted_cookies_are_for_this_host_alone(address):
    from studio_visits import Site

    from steersman.studio.app import create_app

    app = create_app(address, StudioSettings(encrypted=True))
    create_project(app.state.studio.database, "helpful")
    site = Site(app)
    assert app.state.studio.cookie.startswith("__Host-")
    reply = site.stranger().get("/sign-in")
    assert "Secure" in reply.headers["set-cookie"]
    assert reply.headers["strict-transport-security"]
    site.close()


def test_the_client_labels_and_runs_a_project_on_a_real_server(address, tmp_path):
    with open_store(address, create=True) as database:
        pairs_in(create_project(database, "helpful"), 3)
        with database.write() as connection:
            ada = add_person(connection, "Ada", admin=True)
            token = make_token(connection, ada.id, "script", "manage")[1]
    server = Server(address, tmp_path, "--json")
    server.start()
    try:
        assert json.loads(server.said().splitlines()[0]) == {"url": server.url, "link": ""}
        with Client(server.url, token, project="helpful") as studio:
            assert studio.me()["name"] == "Ada"
            assert [one["project"] for one in studio.projects()] == ["helpful"]
            first, second = studio.next_tasks(ahead=2)
            assert studio.label(first["id"], choice="first", strength=2) == {"event": 1, "counts": True}
            assert studio.skip(second["id"], "unclear")["counts"] is False
            assert studio.undo()["task"]["id"] == second["id"]
            replies = studio.submit_all([{"key": "k", "kind": "label", "task": second["id"], "choice": "tie"}])
            assert replies == [{"event": 4, "counts": True}]
            assert studio.progress()["given"] == 2
            assert [one["kind"] for one in studio.events(after=2)] == ["undo", "label"]
            assert len(studio.export(tmp_path / "all.jsonl").read_text().splitlines()) == 3
            with pytest.raises(UsageError, match=r"refused POST .*\(422\): a pair needs a `choice`"):
                studio.label(first["id"])
            other = studio.create_project("other", title="Other")
            (tmp_path / "prompts.jsonl").write_text('{"prompt": "Hello?"}\n')
            assert other.import_file(tmp_path / "prompts.jsonl", task="demonstration")["tasks"] == 1
            assert other.invite("viewer").startswith(f"{server.url}/join/")
            assert other.change(state="closed")["changed"] == ["state"]
            assert other.describe()["state"] == "closed"
            # A reply that was lost: the same submission again, from a server that is another process now.
            server.kill()
            server.start()
            assert studio.submit({"key": "k", "kind": "label", "task": second["id"], "choice": "tie"}) == replies[0]
        with (
            Client(server.url, "steersman_wrong", project="helpful") as stranger,
            pytest.raises(UsageError, match="401"),
        ):
            stranger.describe()
    finally:
        assert server.stop() in (0, -15)
    import steersman.studio.client as client

    with (
        Client(server.url, token, project="helpful") as studio,
        pytest.raises(ServiceError, match="gave no reply in 2"),
    ):
        studio.ask("GET", "/api/me", attempts=2)
    with pytest.raises(UsageError, match="this needs a project"):
        client.Client(server.url, token).describe()
    with open_store(address) as database:
        assert find_project(database, "other").name == "other"
