"""Opens scorers by name: reward models, adapters, ensembles, classifiers, `file.py:function`, URLs, `verify:KIND`,
`extension:NAME`.

Adapters on the same base share one copy of it, so an ensemble of adapters needs the memory of one model.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from steersman.errors import ModelError, UsageError
from steersman.extensions import PREFIX
from steersman.models.backbone import Backbone
from steersman.models.classifier import ensure_pad_token, load_classifier
from steersman.models.files import describe, read_json
from steersman.reward.classifier import ClassifierScorer, Output
from steersman.reward.ensemble import Belief, EnsembleScorer
from steersman.reward.extension import extension_scorer
from steersman.reward.function import load_function
from steersman.reward.http import HttpOptions, HttpScorer, ReplyCache
from steersman.reward.model import open_reward_scorer
from steersman.reward.rows import Reads
from steersman.reward.scorer import Scorer
from steersman.reward.verifiable import KINDS, Kind, VerifiableScorer, Verification
from steersman.text.tokeniser import give_pad, load_tokeniser

ENSEMBLE = "ensemble.json"
"""In a folder: {"kind": "ensemble", "members": [folders, relative to this one]}."""
ADDRESSES = ("http://", "https://")
VERIFY = "verify:"


@dataclass(frozen=True)
class Opening:
    """Options for opening scorers: device, dtype, budget, and what is scored how."""

    dtype: torch.dtype
    device: torch.device
    token_budget: int
    belief: Belief
    pessimism: float
    positive: str | None
    output: Output
    reads: Reads | None
    normalised: bool
    max_length: int | None
    revision: str | None
    trust_remote_code: bool
    http: HttpOptions
    remembered: ReplyCache
    notice: Callable[[str], None]
    verification: Verification


def open_scorer(places: Sequence[str], opening: Opening) -> Scorer:
    """The scorer with this name; for several names, or an ensemble folder, their ensemble."""
    if not places:
        raise UsageError(
            "no scorer was named; expected a reward model, a classifier, file.py:function, a URL or verify:numeric"
        )
    bases: dict[str, Backbone] = {}
    members = [_open(member, opening, bases) for place in places for member in members_of(place)]
    if len(members) == 1:
        return members[0]
    return EnsembleScorer(members, belief=opening.belief, pessimism=opening.pessimism, name="reward")


def check_place(place: str) -> None:
    """Raise now what opening would raise for a function, a verifier or an extension that does not exist. No model is
    loaded."""
    if place.startswith(VERIFY):
        _kind_of_verifier(place.removeprefix(VERIFY))
    elif place.startswith(PREFIX):
        extension_scorer(place.removeprefix(PREFIX))
    elif not place.startswith(ADDRESSES) and (place.rpartition(":")[0].endswith(".py") or place.endswith(".py")):
        load_function(place)


def members_of(place: str) -> list[str]:
    """The member folders of an ensemble, or the name itself."""
    folder = Path(place).expanduser()
    if not (folder / ENSEMBLE).exists():
        return [place]
    members = read_json(folder / ENSEMBLE).get("members")
    if not isinstance(members, list) or not members:
        raise ModelError(f"{folder / ENSEMBLE} names no members; expected a list of folders. Train the ensemble again")
    return [str(folder / str(member)) for member in members]


def _open(place: str, opening: Opening, bases: dict[str, Backbone]) -> Scorer:
    if place.startswith(ADDRESSES):
        return HttpScorer(place, opening.http, remembered=opening.remembered, notice=opening.notice)
    if place.startswith(VERIFY):
        return _verifying(place.removeprefix(VERIFY), opening)
    if place.startswith(PREFIX):
        return extension_scorer(place.removeprefix(PREFIX))
    name, _, _ = place.rpartition(":")
    if name.endswith(".py") or place.endswith(".py"):
        return load_function(place)
    folder = describe(place) if Path(place).expanduser().is_dir() else None
    if folder is not None and (folder.notes.get("kind") == "reward" or folder.kind in ("adapter", "causal")):
        return open_reward_scorer(
            place,
            dtype=opening.dtype,
            device=opening.device,
            token_budget=opening.token_budget,
            bases=bases,
            belief=opening.belief,
            pessimism=opening.pessimism,
            max_length=opening.max_length,
            normalised=opening.normalised,
        )
    # One-label models of any family, encoders too, are scored by transformers' sequence classifiers.
    known = opening.positive or (folder.notes.get("positive") if folder is not None else None)
    loading = {"revision": opening.revision, "trust_remote_code": opening.trust_remote_code}
    tokeniser = load_tokeniser(place, **loading)
    give_pad(tokeniser)
    classifier = load_classifier(place, positive=known, dtype=opening.dtype, device=opening.device, **loading)
    ensure_pad_token(classifier, tokeniser)
    return ClassifierScorer(
        classifier,
        tokeniser,
        token_budget=opening.token_budget,
        output=opening.output,
        reads=opening.reads,
        max_length=opening.max_length,
    )


def _verifying(kind: str, opening: Opening) -> Scorer:
    return VerifiableScorer(replace(opening.verification, kind=_kind_of_verifier(kind)))


def _kind_of_verifier(kind: str) -> Kind:
    known: Kind | None = next((name for name in KINDS if name == kind), None)
    if known is None:
        near = difflib.get_close_matches(kind, KINDS, n=1)
        hint = (
            f"did you mean {VERIFY}{near[0]}?"
            if near
            else f"expected one of {', '.join(VERIFY + name for name in KINDS)}"
        )
        raise UsageError(f"there is no verifier {VERIFY}{kind}; {hint}")
    return known
