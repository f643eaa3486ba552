"""For a trainer: rollouts as token ids, and new weights between two steps, under vLLM's names."""

import threading
import time

import httpx2
import pytest
import torch
from safetensors.torch import save, save_file
from serving import WEIGHTS_KEY, running

from steersman.rollout.engine import Sampling
from steersman.serve.models import ServedModels
from steersman.serve.options import ServeOptions

KEY = {"authorization": f"Bearer {WEIGHTS_KEY}"}
BYTES = {**KEY, "content-type": "application/octet-stream"}
IDS = [5, 6, 7, 8]


@pytest.fixture
def server(new_language, tmp_path):
    models = ServedModels({"tiny": new_language(rows=4)}, {})
    with running(models, ServeOptions(port=0, weights_key=WEIGHTS_KEY), weights_folder=tmp_path) as found:
        yield found


def post(server, route, *, status=200, headers=KEY, **sent):
    reply = httpx2.post(f"{server.address}{route}", headers=headers, timeout=120, **sent)
    assert reply.status_code == status, reply.text
    return reply.json()


def generate(server, tokens=20, **sampling):
    return post(
        server,
        "/inference/v1/generate",
        json={"token_ids": IDS, "sampling_params": {"max_tokens": tokens, "ignore_eos": True, **sampling}},
    )["choices"]


def engine(server):
    return server.state.models.languages["tiny"].engine


def changed(server, by=0.05):
    return {k: v + by for k, v in engine(server).backbone.hf.state_dict().items() if "layernorm" in k}


def update(server, weights, version):
    post(server, "/start_weight_update")
    post(server, "/update_weights", headers=BYTES, content=save(weights))
    return post(server, "/finish_weight_update", json={"weight_version": version})


def test_tokens_in_and_tokens_out(server):
    found = generate(server, temperature=0.7, top_k=9, seed=4, logprobs=0, n=2)
    work = lambda: engine(server).generate([IDS], Sampling(20, 0.7, top_k=9), seeds=[4])[0]  # noqa: E731
    alone = server.state.worker.call(work).result(60)
    ids = found[0]["token_ids"][: len(alone.ids)]
    assert tuple(ids) == alone.ids
    ours = found[0]["steersman"]
    assert ours["seed"] == 4
    assert ours["log_probs"][: len(ids)] == pytest.approx(alone.log_probs.tolist(), abs=1e-4)
    assert ours["sampling_log_probs"][: len(ids)] == pytest.approx(alone.sampling_log_probs.tolist(), abs=1e-4)
    assert found[0]["logprobs"]["content"][0]["token"] == f"token_id:{ids[0]}"
    assert found[0]["weight_versions"] == [{"version": "0", "start": 0, "end": 20}]
    assert found[1]["token_ids"] != found[0]["token_ids"]


def test_new_weights_hold_from_the_next_token_on(server):
    before = generate(server, seed=1)[0]
    found = {}
    asked = threading.Thread(target=lambda: found.update(generate(server, 200, seed=2)[0]))
    asked.start()
    live = server.state.models.languages["tiny"].live
    while not live.running:
        time.sleep(0.005)
    assert post(server, "/pause?mode=keep") == {"status": "paused"}
    assert httpx2.get(f"{server.address}/is_paused", headers=KEY).json() == {"is_paused": True}
    assert update(server, changed(server), "17")["version"] == 17
    assert httpx2.get(f"{server.address}/weight_info", headers=KEY).json() == {"weight_version": "17"}
    assert asked.is_alive()
    post(server, "/reset_prefix_cache")
    post(server, "/resume")
    asked.join(60)
    first, second = found["weight_versions"]
    assert (first["version"], second["version"], second["end"]) == ("0", "17", 200)
    assert first["end"] == second["start"]
    after = generate(server, seed=1)[0]
    assert after["token_ids"] != before["token_ids"]
    assert after["weight_versions"][0]["version"] == "17"


def test_checksums_tell_what_is_there(server):
    sums = post(server, "/weight_checker", json={"action": "checksum"})["checksums"]
    assert set(sums) == set(engine(server).backbone.hf.state_dict())
    same = post(server, "/weight_checker", json={"action": "compare", "baseline": sums})
    assert same == {"match": True, "mismatches": []}
    weights = changed(server)
    update(server, weights, "1")
    other = post(server, "/weight_checker", json={"action": "compare", "baseline": sums})
    assert other == {"match": False, "mismatches": sorted(weights)}


def test_weights_come_from_a_file_in_the_folder(server, tmp_path):
    weights = changed(server, 0.5)
    save_file(weights, tmp_path / "new.safetensors")
    post(server, "/init_weight_transfer_engine", json={"init_info": {}})
    post(server, "/start_weight_update")
    post(server, "/update_weights", json={"update_info": {"path": "new.safetensors"}})
    post(server, "/finish_weight_update", json={})
    name = next(iter(weights))
    assert torch.equal(engine(server).backbone.hf.state_dict()[name], weights[name])
    post(server, "/start_weight_update")
    for path, status in (("../../etc/passwd", 403), ("missing.safetensors", 400), (None, 400)):
        post(server, "/update_weights", status=status, json={"update_info": {"path": path}})


def test_weights_that_do_not_fit_change_nothing(server):
    before = generate(server, seed=3)[0]["token_ids"]
    name, weight = next(iter(changed(server).items()))
    post(server, "/update_weights", status=409, headers=BYTES, content=save({name: weight}))
    post(server, "/finish_weight_update", status=409, json={})
    post(server, "/start_weight_update")
    post(server, "/start_weight_update", status=409)
    wrong = [{name: weight[:3]}, {"nothing": weight}, {name: weight * float("nan")}]
    for content in (b"no safetensors", *(save({k: v.contiguous() for k, v in one.items()}) for one in wrong)):
        post(server, "/update_weights", status=400, headers=BYTES, content=content)
    post(server, "/finish_weight_update", json={})
    assert generate(server, seed=3)[0]["token_ids"] == before


@pytest.mark.parametrize("mode", ["abort", "wait"])
def test_a_pause_ends_what_runs_or_waits_for_it(server, mode):
    found = {}
    asked = threading.Thread(target=lambda: found.update(generate(server, 200, seed=2)[0]))
    asked.start()
    while not server.state.models.languages["tiny"].live.running:
        time.sleep(0.005)
    post(server, f"/pause?mode={mode}")
    asked.join(60)
    if mode == "wait":
        assert (len(found["token_ids"]), found["finish_reason"]) == (200, "length")
    else:
        assert len(found["token_ids"]) < 200
        assert found["finish_reason"] == "abort"
    late = threading.Thread(target=lambda: found.update(late=generate(server, 3)))
    late.start()
    time.sleep(0.3)
    assert "late" not in found
    post(server, "/resume")
    late.join(60)
    assert len(found["late"][0]["token_ids"]) == 3


def test_requests_are_aborted_by_their_id(server):
    body = {"token_ids": IDS, "sampling_params": {"max_tokens": 200, "ignore_eos": True}, "request_id": "mine"}
    found = {}
    asked = threading.Thread(target=lambda: found.update(post(server, "/inference/v1/generate", json=body)))
    asked.start()
    while not server.state.models.languages["tiny"].live.running:
        time.sleep(0.005)
    assert post(server, "/abort_requests", json={"request_ids": ["others"]})["aborted"] == 0
    assert post(server, "/abort_requests", json={"request_ids": ["mine"]})["aborted"] == 1
    asked.join(60)
    assert found["choices"][0]["finish_reason"] == "abort"
