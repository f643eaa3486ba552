"""The Observatory's server: which runs there are, what is sent of them, and how little; who may see it."""

import json
import os
from pathlib import Path

import pytest
from observed_runs import PLAIN, long_journal, ppo_run, rounds_folder, sft_run
from payloads import PATHS
from store_pairs import pairs_in
from studio_visits import Site

from steersman.runs.columns import read_columns
from steersman.runs.folder import RunFolder
from steersman.runs.journal import Journal
from steersman.runs.lock import lock_run
from steersman.store.projects import create_project
from steersman.studio.app import create_app
from steersman.studio.observatory.drawn import BUCKETS, charts_for
from steersman.studio.observatory.folders import RunFolders, id_of
from steersman.studio.observatory.people import JudgedModels, points_of
from steersman.studio.observatory.routes_live import AT_ONCE, LiveRun
from steersman.studio.observatory.standing import standing_of, time_left
from steersman.studio.settings import StudioSettings

PAGE_BYTES, MESSAGE_BYTES = 200_000, 4_000
"""The most bytes that curves of a journal of 50,000 rows may have, and a message about one new row."""


@pytest.fixture
def runs(tmp_path) -> Path:
    folder = tmp_path / "runs"
    ppo_run(folder / "ppo")
    ppo_run(folder / "strong-kl", steps=30, coefficient=0.5, state="stopped")
    sft_run(folder / "nested" / "sft")
    rounds_folder(folder / "rounds")
    return folder


@pytest.fixture
def site(tmp_path, runs):
    app = create_app(str(tmp_path / "studio.db"), StudioSettings(runs=(runs,)))
    create_project(app.state.studio.database, "helpful")
    site = Site(app)
    yield site
    site.close()


def named(site: Site) -> dict[str, str]:
    return {one.name: one.id for one in site.app.state.studio.runs.runs().values()}


def test_runs_are_found_below_the_folders_and_links_are_not_followed(runs, tmp_path):
    ppo_run(outside := tmp_path / "outside" / "secret")
    (runs / "link").symlink_to(outside)
    found = RunFolders((runs,))
    names = [one.name for one in found.runs().values()]
    assert {"ppo", "strong-kl", "nested/sft"} <= {*names}
    assert not any("secret" in name or "link" in name for name in names)
    (graph,) = found.graphs().values()
    assert graph.name == "rounds"
    assert {one.within for one in found.runs().values() if one.name.startswith("rounds/")} == {graph.id}
    assert found.run_at(runs / "ppo" / "model") == found.run(id_of(runs.absolute() / "ppo"))
    assert found.run_at(outside) is None
    assert RunFolders((tmp_path / "nowhere",)).runs() == {}


@pytest.mark.parametrize(
    "path", ["/runs/{}", "/runs/{}/lineage", "/api/runs/{}", "/rounds/{}", "/runs/compare?run={}&run={}"]
)
def test_no_part_of_an_address_is_a_path(site, path):
    ada = site.admin()
    for payload in (*PATHS, "ppo", "nested/sft", "."):
        quoted = "".join(f"%{byte:02x}" for byte in payload.encode("utf-8", "surrogatepass"))
        reply = ada.get(path.replace("{}", quoted), follow_redirects=False)
        assert reply.status_code in (307, 400, 404, 422), (payload, reply.status_code)
        assert "root:" not in reply.text


def test_pages_show_what_the_folders_hold(site):
    ada = site.person("Vera", "viewer")
    names = named(site)
    page = ada.get("/runs").text
    assert 'href="/runs/' + names["nested/sft"] in page
    assert "strong-kl" in page
    run = ada.get(f"/runs/{names['ppo']}").text
    for words in (
        "40 of 40",
        "Frozen and updated",
        "Findings of the watch",
        "Over-optimisation",
        PLAIN[2],
        'id="microscope"',
    ):
        assert words in run, words
    assert "style=" not in run, "the policy of the page would refuse it"
    assert "Made from" in ada.get(f"/runs/{names['ppo']}/lineage").text
    found = ada.get(f"/runs/compare?run={names['ppo']}&run={names['strong-kl']}").text
    assert "kl.coefficient" in found
    (graph,) = site.app.state.studio.runs.graphs()
    rounds = ada.get(f"/rounds/{graph}").text
    assert "promote-1" in rounds
    assert "about" in rounds
    assert f"0 {PLAIN[0]}" in ada.get(f"/rounds/{graph}?q=0+why").text
    key = rounds.split(f"/rounds/{graph}/prompts/")[1][:16]
    assert "Round 2" in ada.get(f"/rounds/{graph}/prompts/{key}").text
    assert ada.get(f"/rounds/{graph}/prompts/{'0' * 16}").status_code == 404


def test_two_to_four_runs_are_compared(site):
    ada, names = site.admin(), named(site)
    one, two = names["ppo"], names["strong-kl"]
    for query in (f"run={one}", f"run={one}&run={one}", "&".join(f"run={each}" for each in names.values())):
        assert ada.get(f"/runs/compare?{query}").status_code == 400
    found = ada.get(f"/api/runs/compare?run={one}&run={two}").json()
    score = next(chart for chart in found["main"] if chart["key"] == "score")
    assert [curve["name"] for curve in score["curves"]] == ["ppo", "strong-kl"]
    assert len(score["x"]) == 40
    assert score["curves"][1]["mean"][-1] is None


def test_the_programs_interface_tells_how_a_run_stands(site):
    ada, names = site.admin(), named(site)
    assert {one["state"] for one in ada.get("/api/runs").json() if one["id"] in (names["ppo"], names["strong-kl"])} == {
        "finished",
        "stopped",
    }
    found = ada.get(f"/api/runs/{names['ppo']}").json()
    assert (found["step"], found["steps"], found["unit"]) == (40, 40, "iteration")
    assert found["notices"][0]["text"] == f"iteration 40: {PLAIN[2]}"
    curves = ada.get(f"/api/runs/{names['ppo']}/curves").json()
    kl = next(chart for chart in curves["main"] if chart["key"] == "KL to reference")
    assert kl["band"] == [-0.5, 20.0]
    assert [curve["name"] for curve in kl["curves"]] == ["each iteration", "held out"]


def test_fifty_thousand_rows_are_few_bytes_and_no_spike_is_lost(tmp_path):
    path = tmp_path / "runs" / "long"
    ppo_run(path, steps=40)
    journal = RunFolder(path).journal_path
    long_journal(journal, 50_000)
    folders = RunFolders((tmp_path / "runs",))
    (run,) = folders.runs().values()
    with folders.journal(run) as columns:
        sent = json.dumps(charts_for(columns)["main"], separators=(",", ":"))
        assert len(sent) < PAGE_BYTES
        assert len(json.dumps(charts_for(columns), separators=(",", ":"))) < 4 * PAGE_BYTES
        score = json.loads(sent)[0]["curves"][0]
        assert len(score["mean"]) == BUCKETS
        assert max(one for one in score["high"] if one is not None) == 99.0
        live = LiveRun(folders, run, columns.cursor, len(columns))
        before = columns.bytes_read
    live.look()
    with Journal(journal, clock=lambda: 1.0) as writing:
        writing.write({"step": 50_001, "score": 0.5, "KL to reference": 1.0})
    events = {one.event: one for one in live.look()}
    assert json.loads(events["rows"].data)["new"]["score"] == [[50_001, 0.5]]
    assert len(events["rows"].data) < MESSAGE_BYTES
    with folders.journal(run) as columns:
        assert columns.bytes_read - before < 200, "only what is new is read"


def test_what_is_live_follows_a_growing_a_cut_and_a_waiting_run(runs):
    folders = RunFolders((runs,))
    run = folders.run(id_of(runs.absolute() / "ppo"))
    folder = RunFolder(run.path)
    with folders.journal(run) as columns:
        live = LiveRun(folders, run, columns.cursor, len(columns))
    first = live.look()
    assert [one.event for one in first] == ["stands"]
    assert live.look() == []
    with Journal(folder.journal_path) as journal:
        journal.write({"step": 41, "score": 1.0})
        assert [one.event for one in live.look()] == ["rows", "stands"]
        for step in range(AT_ONCE + 1):
            journal.write({"step": 42 + step, "score": 1.0})
        assert next(one.event for one in live.look()) == "again"
        journal.truncate_to(20)
        assert next(one.event for one in live.look()) == "again"
        journal.write({"step": 21, "notice": "resumed at iteration 20"})
        found = {one.event: one for one in live.look()}
    assert json.loads(found["stands"].data)["notices"][0]["text"] == "resumed at iteration 20"
    folder.samples_path(41).write_text("")
    assert "answers" in [one.event for one in live.look()]
    # Who comes back with an old cursor is told to begin again; with a good one, only what is new.
    assert LiveRun(folders, run, 12345, 7).look()[0].event == "again"


def test_the_curves_say_from_where_the_stream_goes_on(site):
    names, ada = named(site), site.admin()
    curves = ada.get(f"/api/runs/{names['ppo']}/curves").json()
    assert curves["rows"] == len(
        read_columns(RunFolder(site.app.state.studio.runs.run(names["ppo"]).path).journal_path)
    )
    assert ada.get(f"/api/runs/{'0' * 16}/stream").status_code == 404
    assert ada.get(f"/api/runs/{names['ppo']}/stream?cursor=-1").status_code == 422


def test_the_time_left_follows_the_pace_since_the_last_start(tmp_path):
    path = tmp_path / "journal.jsonl"
    rows = [{"step": step, "time": 100.0 * step} for step in range(1, 5)]
    rows += [{"step": 4, "time": 9000.0, "notice": "resumed at iteration 4"}]
    rows += [{"step": step, "time": 9000.0 + 10 * (step - 4)} for step in range(5, 9)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_columns(path)
    assert time_left(found, 20, now=9040.0) == pytest.approx(120.0)
    assert time_left(found, 20, now=9044.0) == pytest.approx(116.0)
    assert time_left(found, 20, now=9999.0) == pytest.approx(110.0)
    assert time_left(found, None, now=9040.0) is None


def test_a_run_that_is_locked_is_running(runs):
    folders = RunFolders((runs,))
    run = folders.run(id_of(runs.absolute() / "strong-kl"))
    with lock_run(run.path), folders.journal(run) as columns:
        found = standing_of(run, columns)
    assert (found.summary.state, found.planned) == ("running", 40)
    assert found.left is not None


def test_peoples_judgements_of_a_runs_answers_are_its_points(site, runs):
    (pair,) = pairs_in(site.project, 1, overlap=3)
    first, second = (one.model for one in pair.content.completions)
    for name, choice in (("Ann", "first"), ("Ben", "first"), ("Cem", "tie")):
        visit = site.person(name)
        (task,) = visit.next()
        order = [one["text"] for one in task["answers"]]
        place = order.index(pair.content.completions[0].text)
        chosen = choice if choice == "tie" else ("first", "second")[place]
        assert visit.event("label", pair.id, choice=chosen).status_code == 200
    judged = JudgedModels()
    pairs = judged.of(site.project)
    assert pairs[first, second] == (2.5, 3)
    assert judged.of(site.project) is pairs, "counted once for a state of the project"
    path = (runs / "ppo").absolute()
    renamed = {(str(path / "checkpoints" / "step-000020"), "runs/sft"): pairs[first, second]}
    (point,) = points_of(path, "runs/sft", read_columns(RunFolder(path).journal_path), [renamed], runs.parent)
    assert (point.name, point.won, point.judged) == ("step-000020", 2.5, 3)
    assert point.kl == pytest.approx(1.0)
    assert points_of(path, "other", read_columns(RunFolder(path).journal_path), [renamed], runs.parent) == []


def test_a_labeller_sees_no_run_and_a_token_only_with_the_right_to_read(site):
    names = named(site)
    ann, vera = site.person("Ann"), site.person("Vera", "viewer")
    assert "/runs" not in ann.get("/").text
    assert 'href="/runs"' in vera.get("/").text
    for path in ("/runs", f"/runs/{names['ppo']}", "/api/runs", f"/api/runs/{names['ppo']}/stream"):
        assert ann.get(path).status_code == 403, path
    made = {
        scope: vera.post("/api/tokens", {"name": scope, "scope": scope}).json()["secret"] for scope in ("read", "label")
    }
    made["one"] = vera.post("/api/tokens", {"name": "one", "scope": "read", "project": "helpful"}).json()["secret"]

    def status(scope: str) -> int:
        headers = {"Authorization": f"Bearer {made[scope]}"}
        return site.stranger().client.get("/api/runs", headers=headers).status_code

    assert [status(scope) for scope in made] == [200, 200, 403]


def test_a_folder_that_cannot_be_read_takes_no_page_down(site, runs):
    (runs / "ppo" / "stamp.json").write_text("{")
    (runs / "ppo" / "planned.json").write_text("[]")
    with RunFolder(runs / "ppo").journal_path.open("ab") as file:
        file.write(b"\xff\xfe\n[1]\n{\n" + os.urandom(64) + b"\n")
    ada, names = site.admin(), named(site)
    assert ada.get("/runs").status_code == 200
    page = ada.get(f"/runs/{names['ppo']}")
    assert page.status_code == 200
    assert "damaged" in page.text
