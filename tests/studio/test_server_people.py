"""Signing in, by link and by password; sessions; and one person's data, handed out and erased."""

import json
import re

import pytest

from steersman.errors import UsageError
from steersman.store.claims import tasks_left
from steersman.store.entry import make_invite
from steersman.store.events import verify_events
from steersman.store.people import has_admin, members_of
from steersman.store.reading import read_labels
from steersman.store.reading_cursor import cursor_of
from steersman.store.snapshots import freeze, read_snapshot
from steersman.store.standing import rebuild
from steersman.studio.limits import RateLimit
from steersman.studio.links import first_link, invite_from_machine

PASSWORD = "a good long password"


def names_in(site) -> list[str]:
    with site.database.read() as connection:
        return [one.pseudonym for one in members_of(connection, site.project.id)]


def test_a_link_is_used_once_and_not_by_a_preview(site):
    secret = site.invite("reviewer")
    for _ in range(3):
        assert "as a reviewer" in site.stranger().get(f"/join/{secret}").text, "a preview uses nothing up"
    ann = site.stranger()
    assert ann.join(secret, "Ann").status_code == 200
    assert ann.get("/api/me").json()["roles"] == {"helpful": "reviewer"}
    late = site.stranger()
    assert late.get(f"/join/{secret}").status_code == 404
    assert "was used already" in late.get(f"/join/{secret}").text


def test_a_link_ends_and_holds_only_as_a_hash(site):
    with site.database.write() as connection:
        secret = make_invite(connection, "labeller", found=site.project, days=1e-9)
    assert site.stranger().get(f"/join/{secret}").status_code == 404
    path = site.database.place.path
    if path is not None:
        kept = b"".join(one.read_bytes() for one in path.parent.glob(path.name + "*"))
        assert secret.encode() not in kept
        assert site.invite("labeller").encode() not in kept


def test_the_first_start_makes_one_admin_and_no_more(site):
    assert not has_admin(site.database)
    old, new = first_link(site.database), first_link(site.database)
    assert site.stranger().get(f"/join/{old}").status_code == 404, "the link of an earlier start is none any more"
    ada = site.stranger()
    ada.join(new, "Ada")
    assert ada.get("/api/me").json()["admin"] is True
    assert first_link(site.database) == ""


def test_an_admin_who_is_locked_out_gets_in_from_the_machine(site):
    ada = site.admin()
    ada.post("/api/me/sign-out-everywhere")
    assert ada.get("/api/me").status_code == 401
    secret, what = invite_from_machine(site.database, "viewer", project=None, name="ada", days=1.0)
    assert what == "signs Ada in again"
    back = site.stranger()
    back.join(secret, "")
    assert back.get("/api/me").json()["admin"] is True
    other, _ = invite_from_machine(site.database, "admin", project=None, name=None, days=1.0)
    new = site.stranger()
    new.join(other, "Bea")
    assert new.get("/api/people").status_code == 200
    with pytest.raises(UsageError, match="a labeller is invited to a project: --project NAME"):
        invite_from_machine(site.database, "labeller", project=None, name=None, days=1.0)
    with pytest.raises(UsageError, match="nobody is called 'Zoe'"):
        invite_from_machine(site.database, "labeller", project=None, name="Zoe", days=1.0)


def test_somebody_comes_back_by_a_password(site):
    site.person("Ann", password=PASSWORD)
    visit = site.stranger()
    visit.get("/sign-in")
    wrong = visit.send("POST", "/sign-in", data={"name": "ann", "password": "wrong password"})
    assert (wrong.status_code, "name or password are not right" in wrong.text) == (403, True)
    nobody = visit.send("POST", "/sign-in", data={"name": "nobody", "password": "wrong password"})
    assert wrong.text.replace("ann", "") == nobody.text.replace("nobody", "")
    right = visit.send("POST", "/sign-in", data={"name": " ANN ", "password": PASSWORD})
    assert right.status_code == 200
    assert visit.get("/api/me").json()["name"] == "Ann"


def test_short_passwords_and_names_that_are_taken_are_refused_and_the_link_stays(site):
    site.person("Ann")
    secret, visit = site.invite("labeller"), site.stranger()
    assert "10 letters or more" in visit.join(secret, "Ben", "short").text
    assert "somebody is called" in visit.join(secret, "aNN").text
    assert "1 to 100 letters" in visit.join(secret, "  ").text
    assert visit.join(secret, "Ben").status_code == 200


def test_attempts_to_sign_in_are_limited(site):
    burst, _ = site.app.state.studio.settings.attempts
    site.app.state.studio.attempts = RateLimit(burst, 1e-6)  # as if all came at once
    site.person("Ann", password=PASSWORD)
    visit = site.stranger()
    visit.get("/sign-in")
    statuses = [
        visit.send("POST", "/sign-in", data={"name": "ann", "password": f"wrong {number}"}).status_code
        for number in range(12)
    ]
    assert statuses[:10] == [403] * 10
    assert statuses[-1] == 429
    assert int(visit.send("POST", "/sign-in", data={"name": "ann", "password": PASSWORD}).headers["retry-after"]) >= 1


def test_requests_of_one_person_are_limited(site):
    ann, ben = site.person("Ann"), site.person("Ben")
    site.app.state.studio.requests = RateLimit(5, 1e-6)
    statuses = [ann.get("/api/me").status_code for _ in range(8)]
    assert statuses == [200] * 5 + [429] * 3
    assert ben.get("/api/me").status_code == 200


def test_a_session_rotates_and_ends(site, tasks, monkeypatch):
    tasks(2)
    ann = site.person("Ann", password=PASSWORD)
    cookie = site.app.state.studio.cookie
    before = ann.client.cookies[cookie]
    assert ann.next()
    ann.post("/api/me/password", {"old": PASSWORD, "new": "another long password"})
    after = ann.client.cookies[cookie]
    assert after != before
    assert ann.get("/api/me").status_code == 200
    thief = site.stranger()
    thief.client.cookies.set(cookie, before)
    assert thief.get("/api/me").status_code == 401
    ann.get("/")
    ann.send("POST", "/sign-out")
    assert ann.get("/api/me").status_code == 401
    thief.client.cookies.set(cookie, after)
    assert thief.get("/api/me").status_code == 401, "signing out ends the session on the server"
    assert len(site.person("Ben").next(ahead=2)) == 2, "what was held is given back"


def test_a_session_ends_after_idleness_and_after_its_life(site, monkeypatch):
    import steersman.store.entry as entry

    ann, settings = site.person("Ann"), site.app.state.studio.settings
    now = entry.time.time()
    monkeypatch.setattr(entry.time, "time", lambda: now + settings.idle - 60)
    assert ann.get("/api/me").status_code == 200
    monkeypatch.setattr(entry.time, "time", lambda: now + 2 * settings.idle)
    assert ann.get("/api/me").status_code == 401
    assert ann.get("/projects/helpful/label", follow_redirects=False).headers["location"] == (
        "/sign-in?next=%2Fprojects%2Fhelpful%2Flabel"
    )


@pytest.mark.parametrize(
    "there", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:x", "\t//x"]
)
def test_signing_in_leads_nowhere_else(site, there):
    site.person("Ann", password=PASSWORD)
    visit = site.stranger()
    visit.get("/sign-in")
    form = {"name": "ann", "password": PASSWORD, "next": there}
    assert visit.send("POST", "/sign-in", data=form, follow_redirects=False).headers["location"] == "/"


def test_cookies_are_for_the_server_alone(site):
    visit = site.stranger()
    secret = site.invite("labeller")
    visit.get(f"/join/{secret}")
    reply = visit.send("POST", f"/join/{secret}", data={"name": "Ann"}, follow_redirects=False)
    cookie = next(one for one in reply.headers.get_list("set-cookie") if site.app.state.studio.cookie + "=" in one)
    assert re.search(r"httponly", cookie, re.IGNORECASE)
    assert re.search(r"samesite=lax", cookie, re.IGNORECASE)


def labelled(site, tasks, *, free_text: str = "MY-REASON"):
    tasks(3)
    ann = site.person("Ann Example")
    for task in ann.next(ahead=2):
        ann.event("label", task["id"], choice="first", rationale=free_text, seconds=1)
    ann.event("comment", 1, text=free_text)
    ann.event("skip", 3, rationale=free_text)
    return ann


def test_a_person_gets_all_that_is_kept_of_them(site, tasks):
    ann = labelled(site, tasks)
    me = ann.get("/api/me").json()["person"]
    data = ann.get(f"/api/people/{me}/data").json()
    assert data["person"]["name"] == "Ann Example"
    (project,) = data["projects"]
    assert [one["kind"] for one in project["events"]] == ["label", "label", "comment", "skip"]
    assert json.dumps(project["events"]).count("MY-REASON") == 4
    assert [one["action"] for one in data["log"]] == ["join", "sign_in"]
    assert site.person("Ben").get(f"/api/people/{me}/data").status_code == 404
    assert site.admin().get(f"/api/people/{me}/data").json() == data


def test_exports_and_events_carry_pseudonyms(site, tasks):
    labelled(site, tasks)
    ada = site.admin()
    for path in ("export", "export?to=native", "events", "progress", "card"):
        reply = ada.get(f"/api/projects/helpful/{path}")
        assert reply.status_code == 200
        assert "Ann Example" not in reply.text
    assert "annotator-" in ada.get("/api/projects/helpful/export").text
    assert "Ann Example" in ada.get("/api/projects/helpful/members").text


@pytest.mark.parametrize("labels", [False, True])
def test_a_person_is_erased_and_a_tombstone_stays(site, tasks, labels, tmp_path):
    ann, ada = labelled(site, tasks), site.admin()
    (before,) = names_in(site)
    one = freeze(site.project)
    run = site.app.state.studio.settings.runs[0] / "reward"
    run.mkdir(parents=True)
    (run / "recipe.toml").write_text('[data]\nsource = "studio:helpful?snapshot=1"\n')
    me = ann.get("/api/me").json()["person"]
    done = ada.send("DELETE", f"/api/people/{me}", params={"labels": labels}).json()
    assert (done["snapshots"], done["runs"]) == ({"helpful": [1]}, ["reward"])
    assert done["labels"] == (2 if labels else 0)
    assert ann.get("/api/me").status_code == 401
    everything = ada.get("/api/projects/helpful/events").text + ada.get("/api/projects/helpful/export").text
    everything += ada.get("/api/people").text + ada.get("/api/audit").text
    assert not [text for text in ("Ann Example", "MY-REASON", before) if text in everything]
    kept = list(read_labels(site.project, cursor_of(site.project)))
    assert len(kept) == (0 if labels else 2)
    assert {label.annotator[:8] for label in kept} <= {"removed-"}
    assert [row["kind"] for row in ada.get("/api/projects/helpful/events").json()][:2] == ["label", "label"]
    assert verify_events(site.project) == 5
    assert rebuild(site.project) == len(kept)
    ben = site.person("Ben")
    assert tasks_left(site.project, names_in(site)[-1]) == (3 if labels else 1)
    assert len(ben.next(ahead=3)) == (3 if labels else 1)
    with pytest.raises(Exception, match="is not what it was"):
        list(read_snapshot(site.project, one))
    assert site.stranger().join(site.invite("labeller"), "Ann Example").status_code == 200, "the name is free again"


def test_what_somebody_wrote_goes_with_them(site):
    from steersman.records import Message, Prompt
    from steersman.store.content import Content
    from steersman.store.items import NewItem, add_items

    add_items(site.project, [NewItem(Content("demonstration", Prompt((Message("user", "Hello?"),))), overlap=1)])
    ann = site.person("Ann")
    (task,) = ann.next()
    ann.event("label", task["id"], text="MY OWN WORDS")
    me = ann.get("/api/me").json()["person"]
    assert ann.send("DELETE", f"/api/people/{me}").json()["labels"] == 1
    assert list(read_labels(site.project, cursor_of(site.project))) == []
    assert len(site.person("Ben").next()) == 1, "somebody else writes it"


def test_the_last_admin_stays(site):
    ada = site.admin()
    me = ada.get("/api/me").json()["person"]
    refused = ada.send("DELETE", f"/api/people/{me}")
    assert "the studio's only admin" in refused.json()["error"]["message"]
    assert ada.send("PUT", f"/api/people/{me}/admin", json={"admin": False}).status_code == 409
    bea = site.admin("Bea")
    assert bea.send("DELETE", f"/api/people/{me}").status_code == 200


def test_the_log_says_who_did_what_without_names(site, tasks):
    ada = site.admin()
    ada.post("/api/projects/helpful/invites", {"role": "viewer"})
    ada.get("/api/projects/helpful/export")
    rows = ada.get("/api/audit").json()
    assert [one["action"] for one in rows] == ["export", "invite", "sign_in", "join"]
    assert {one["name"] for one in rows} == {"Ada"}
    assert "Ada" not in json.dumps([one["about"] for one in rows])
    assert len(ada.get("/api/audit", params={"before": rows[1]["number"], "limit": 1}).json()) == 1
