"""A reward model behind vLLM's /classify, or that of `steersman serve`: one conversation a request, one score a reply.

`use_activation: false` asks for the score itself; without it vLLM gives a sigmoid of it.
"""

import json
import math
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from steersman.errors import ServiceError
from steersman.reward.scorer import Item
from steersman.reward.service import RetryableError, beginning

ENDING = "/classify"


def speaks_classify(url: str) -> bool:
    """Whether an address is that of such a route."""
    return urlsplit(url).path.rstrip("/").endswith(ENDING)


def model_in(url: str) -> str | None:
    """The model that an address names after #, where its server has several."""
    return urlsplit(url).fragment or None


def classify_body(item: Item, model: str | None) -> bytes:
    prompt, answer = item
    before = [{"role": "user", "content": prompt.text}] if prompt.text is not None else []
    before += [{"role": message.role, "content": message.content} for message in prompt.messages]
    body: dict[str, Any] = {
        "messages": [*before, {"role": "assistant", "content": answer}],
        "use_activation": False,
        "add_generation_prompt": False,
        "add_special_tokens": False,
    }
    if model is not None:
        body["model"] = model
    if prompt.text is not None:
        # for our own server: what the model was trained to do with a plain prompt
        body |= {"plain_prompt": True, "continued": prompt.continued}
    return json.dumps(body).encode()


def read_classify(body: bytes, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The score by its key; `RetryableError` if the reply has none, ServiceError if the model is no reward model."""
    try:
        found = json.loads(body)["data"]
        probs = found[0]["probs"]
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        raise RetryableError(f"a reply without data[0].probs: {beginning(body)}") from None
    if not isinstance(probs, list) or len(found) != 1 or len(keys) != 1:
        raise RetryableError(f"a reply with {len(found)} results for one answer")
    if len(probs) != 1:
        raise ServiceError(
            f"the service gives {len(probs)} classes for an answer; expected a reward model with one label"
        )
    value = probs[0]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RetryableError(f"a score that is no finite number: {str(value)[:40]!r}")
    return {keys[0]: {"score": float(value), "parts": {}, "note": ""}}
