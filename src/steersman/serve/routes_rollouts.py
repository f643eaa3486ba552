"""For a trainer: token ids in and out, and the hand-over of weights, under vLLM's names. Behind a key of their own."""

import asyncio
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Query, Request

from steersman.rollout.live_row import LiveRow, LiveToken
from steersman.serve.answering import reason_of, unless_hung_up
from steersman.serve.problems import ApiError, bad_request
from steersman.serve.replies import new_id
from steersman.serve.state import ServerState, state_of
from steersman.serve.weights import WeightUpdates, file_in
from steersman.serve.wire import TokensRequest, room_for, rows_of
from steersman.serve.worker import PauseMode

router = APIRouter()
Server = Annotated[ServerState, Depends(state_of)]


@router.post("/inference/v1/generate")
async def generate(request: Request, body: TokensRequest, server: Server) -> dict[str, Any]:
    """Answers to one prompt, as ids. Beside vLLM's fields `steersman` holds what a trainer needs: the log-probs at the
    sampling temperature, those of the distribution that was drawn from, the seed, and the version of each token."""
    body.sampling_params.refuse_unknown()
    if body.stream:
        raise bad_request("token ids are not streamed; leave stream out", "stream", "unsupported_parameter")
    language, asked = server.models.language(body.model), body.sampling_params
    ids = tuple(body.token_ids)
    limit = room_for(len(ids), asked.max_tokens, language.live.capacity)
    rows = rows_of(ids, asked, asked.n, max_tokens=limit, alternatives=asked.logprobs)
    began, request_id = time.monotonic(), body.request_id or new_id("generate")
    await unless_hung_up(request, server.answers.whole(language, rows, request_id))
    server.metrics.seconds.labels(request.url.path).observe(time.monotonic() - began)
    return {"request_id": request_id, "choices": [_choice(i, row) for i, row in enumerate(rows)]}


def _choice(index: int, row: LiveRow) -> dict[str, Any]:
    return {
        "index": index,
        "token_ids": row.ids,
        "finish_reason": reason_of(row),
        "logprobs": None if row.alternatives is None else {"content": [_token(token) for token in row.tokens]},
        "weight_versions": _versions(row),
        "steersman": {
            "log_probs": [token.log_prob for token in row.tokens],
            "sampling_log_probs": [token.sampling_log_prob for token in row.tokens],
            "seed": row.seed,
            "ended": row.ended,
        },
    }


def _token(token: LiveToken) -> dict[str, Any]:
    top = [{"token": f"token_id:{id}", "logprob": value, "bytes": None} for id, value in token.alternatives]
    return {"token": f"token_id:{token.id}", "logprob": token.plain_log_prob, "bytes": None, "top_logprobs": top}


def _versions(row: LiveRow) -> list[dict[str, Any]]:
    """Which weights sampled which tokens: [{"version", "start", "end"}, …]."""
    found: list[dict[str, Any]] = []
    for i, token in enumerate(row.tokens):
        if found and found[-1]["version"] == str(token.version):
            found[-1]["end"] = i + 1
        else:
            found.append({"version": str(token.version), "start": i, "end": i + 1})
    return found


@router.post("/pause")
async def pause(server: Server, mode: Annotated[PauseMode, Query()] = "abort") -> dict[str, Any]:
    await asyncio.wrap_future(server.worker.pause(mode))
    return {"status": "paused"}


@router.post("/resume")
async def resume(server: Server) -> dict[str, Any]:
    await asyncio.wrap_future(server.worker.resume())
    return {"status": "resumed"}


@router.get("/is_paused")
async def is_paused(server: Server) -> dict[str, Any]:
    return {"is_paused": server.worker.paused}


@router.post("/abort_requests")
async def abort_requests(
    server: Server, request_ids: Annotated[list[str] | None, Body(embed=True)] = None
) -> dict[str, Any]:
    """Abort these requests; without ids, all."""
    rows = [row for row, name in server.answers.open.items() if not request_ids or name in request_ids]
    server.worker.abort(rows)
    return {"status": "aborted", "aborted": len(rows)}


@router.post("/init_weight_transfer_engine")
async def init_weight_transfer(
    server: Server, init_info: Annotated[dict[str, Any] | None, Body(embed=True)] = None
) -> dict[str, Any]:
    """Nothing has to be made ready: weights come as safetensors, in the body or in a file."""
    _updates(server)
    return {"message": "Weight transfer initialized"}


@router.post("/start_weight_update")
async def start_weight_update(server: Server) -> dict[str, Any]:
    _updates(server).start()
    return {"message": "Weight update started"}


@router.post("/update_weights")
async def update_weights(request: Request, server: Server) -> dict[str, Any]:
    """Some of the new weights: safetensors as the body (application/octet-stream), or {"update_info": {"path"}}."""
    updates = _updates(server)
    if request.headers.get("content-type", "").startswith("application/octet-stream"):
        data: Any = await request.body()
    else:
        try:
            sent = await request.json()
        except ValueError:
            raise bad_request("the body is no valid JSON; expected {'update_info': {...}}", "update_info") from None
        data = file_in(server.weights_folder, sent.get("update_info") if isinstance(sent, dict) else None)
    taken = await asyncio.to_thread(updates.take, data)
    return {"message": "Weights updated", "weights": taken}


@router.post("/finish_weight_update")
async def finish_weight_update(
    server: Server, weight_version: Annotated[str | None, Body(embed=True, max_length=100)] = None
) -> dict[str, Any]:
    number = await asyncio.wrap_future(server.worker.call(lambda: _updates(server).finish(weight_version)))
    for name, language in server.models.languages.items():
        server.metrics.version.labels(name).set(language.engine.version)
    return {"message": "Weight update finished", "version": number}


@router.post("/reset_prefix_cache")
async def reset_prefix_cache(server: Server) -> dict[str, Any]:
    """There is no cache of prefixes: nothing old can be read after an update."""
    return {"status": "ok"}


@router.post("/update_weight_version")
async def update_weight_version(
    server: Server, new_version: Annotated[str, Body(embed=True, max_length=100)]
) -> dict[str, Any]:
    _updates(server).version = new_version
    return {"success": True, "new_version": new_version}


@router.get("/weight_info")
async def weight_info(server: Server) -> dict[str, Any]:
    return {"weight_version": _updates(server).version}


@router.post("/weight_checker")
async def weight_checker(
    server: Server,
    action: Annotated[Literal["checksum", "compare"], Body(embed=True)],
    baseline: Annotated[dict[str, str] | None, Body(embed=True)] = None,
) -> dict[str, Any]:
    sums = await asyncio.wrap_future(server.worker.call(_updates(server).checksums))
    if action == "checksum":
        return {"checksums": sums}
    if baseline is None:
        raise bad_request("action compare needs a baseline", "baseline")
    wrong = sorted(name for name in sums.keys() | baseline.keys() if sums.get(name) != baseline.get(name))
    return {"match": not wrong, "mismatches": wrong}


@router.get("/get_world_size")
async def get_world_size(server: Server) -> dict[str, Any]:
    return {"world_size": 1}


def _updates(server: ServerState) -> WeightUpdates:
    if server.updates is None:
        count = len(server.models.languages)
        raise ApiError(400, f"weights are updated where one language model is served; this server has {count}")
    return server.updates
