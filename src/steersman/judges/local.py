"""A judge that is a language model in this process: the log-probs of whole choices, from one forward pass a request.

The choices are token sequences. A row holds the request and the beginning that several choices share, if they have one
(as "1" and "10" do), so that each position is computed once.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steersman.batches import TokenRow, pad_rows
from steersman.constitution.render import ModelRequest
from steersman.errors import ModelError
from steersman.judges.reading import ChoiceReading
from steersman.maths.judgement import exclusive_log_probs
from steersman.models.acting import acting_as
from steersman.models.answer_kl import ModelView
from steersman.models.language_model import LanguageModel
from steersman.models.rows import padded_groups
from steersman.records import Message, Prompt
from steersman.rollout.engine import Engine, Sampling
from steersman.text.template import encode_continuations, encode_prompt
from steersman.text.tokeniser import decode

TOGETHER = 64
"""Requests that reasons are written to at once."""
_NO_SPACE_AFTER = "([{\"'\u201c\u2018"


@dataclass(frozen=True)
class _Choices:
    """A request as token ids: the prompt, and each choice."""

    prompt: list[int]
    choices: list[list[int]]

    @property
    def rows(self) -> dict[tuple[int, ...], list[tuple[int, ...]]]:
        """Beginnings that no other beginning continues, each with those that it holds: what to compute."""
        heads = sorted({tuple(ids[:n]) for ids in self.choices for n in range(len(ids))}, key=len)
        whole = [head for head in heads if not any(other[: len(head)] == head for other in heads if other != head)]
        left, rows = set(heads), {}
        for row in whole:
            rows[row] = [head for head in heads if head in left and row[: len(head)] == head]
            left -= set(rows[row])
        return rows


class LocalJudge:
    """A language model as a judge. `writer` makes the engine that writes reasons, when it is needed."""

    def __init__(
        self,
        model: LanguageModel,
        name: str,
        *,
        voice: ModelView,
        writer: Callable[[], Engine],
        token_budget: int,
    ) -> None:
        self.name = name
        self._model, self._voice, self._budget = model, voice, token_budget
        self._writer = writer
        self._engine: Engine | None = None

    def refuse_unfit(self, requests: Sequence[ModelRequest]) -> None:
        """Raise if the tokeniser splits the choices unevenly, or if a request does not fit into the context."""
        for request in requests:
            if not request.choices:
                continue
            encoded = self._encoded(request)
            context = self._model.context_length
            needed = len(encoded.prompt) + max(map(len, encoded.choices))
            if context is not None and needed > context:
                raise ModelError(
                    f"the judge {self.name} has a context of {context} tokens, and a question with the shortest "
                    f"answers needs {needed}; choose a model with a longer context, or shorter templates in the "
                    "constitution ([judge])"
                )

    def read(self, requests: Sequence[ModelRequest]) -> list[ChoiceReading]:
        """The log-probs of each request's choices; a request that does not fit into the context gets no verdict."""
        encoded = [self._encoded(request) for request in requests]
        context = self._model.context_length
        fits = [
            i
            for i, one in enumerate(encoded)
            if context is None or len(one.prompt) + max(map(len, one.choices)) <= context
        ]
        found = [ChoiceReading(None, f"longer than the judge's context of {context} tokens") for _ in requests]
        for i, reading in zip(fits, self._read([encoded[i] for i in fits]), strict=True):
            found[i] = reading
        return found

    def write(self, requests: Sequence[ModelRequest], max_tokens: int) -> list[str]:
        """Greedy replies; none to a request that fills the context."""
        self._engine = self._engine or self._writer()
        tokeniser, context = self._model.tokeniser, self._model.context_length
        prompts = [encode_prompt(tokeniser, _prompt(one), control=one.control) for one in requests]
        fits = [i for i, ids in enumerate(prompts) if context is None or len(ids) < context]
        found = [""] * len(requests)
        for start in range(0, len(fits), TOGETHER):
            some = fits[start : start + TOGETHER]
            drawn = self._engine.generate([prompts[i] for i in some], Sampling(max_tokens, 0.0), seeds=0)
            for i, rollout in zip(some, drawn, strict=True):
                found[i] = decode(tokeniser, rollout.ids).strip()
        return found

    def _encoded(self, request: ModelRequest) -> _Choices:
        spaced = [_after(request.opening, choice) for choice in request.choices]
        tokeniser, prompt = self._model.tokeniser, _prompt(request)
        prompt, choices = encode_continuations(tokeniser, prompt, spaced, control=request.control)
        _check_even(self.name, request.choices, choices, self._model)
        return _Choices(prompt, choices)

    def _read(self, encoded: Sequence[_Choices]) -> list[ChoiceReading]:
        """Log-probs of the choices. Their first tokens follow the prompt, further ones the choice's own beginning."""
        wanted = [(i, row, heads) for i, one in enumerate(encoded) for row, heads in one.rows.items()]
        rows = [torch.tensor([*encoded[i].prompt, *row]) for i, row, _ in wanted]
        after: list[dict[tuple[int, ...], Tensor]] = [{} for _ in encoded]
        backbone = self._voice[0]
        with torch.no_grad(), acting_as(*self._voice):
            for members in padded_groups([[len(ids)] for ids in rows], self._budget):
                batch = pad_rows(
                    [TokenRow(rows[m], torch.zeros(len(rows[m]), dtype=torch.bool)) for m in members],
                    pad_id=self._model.pad_id,
                ).to(backbone.device)
                longest = max(len(head) for m in members for head in wanted[m][2])
                states = None
                if backbone.readout is not None:
                    states = backbone.hidden(
                        batch, torch.full_like(batch.lengths, longest + 1).clamp(max=batch.lengths)
                    )
                logits = None if states is not None else backbone.hf(input_ids=batch.ids, use_cache=False).logits
                for place, m in enumerate(members):
                    i, _, heads = wanted[m]
                    at = torch.tensor(
                        [len(encoded[i].prompt) + len(head) - 1 for head in heads], device=backbone.device
                    )
                    here = backbone.logits_of(states[place, at]) if states is not None else logits[place, at]  # type: ignore[index]
                    log_probs = torch.log_softmax(here.double(), dim=-1).cpu()
                    after[i].update({head: log_probs[k] for k, head in enumerate(heads)})
        return [self._reading(one, found) for one, found in zip(encoded, after, strict=True)]

    def _reading(self, encoded: _Choices, after: dict[tuple[int, ...], Tensor]) -> ChoiceReading:
        sums = [
            math.fsum(float(after[tuple(ids[:n])][token]) for n, token in enumerate(ids)) for ids in encoded.choices
        ]
        return ChoiceReading(tuple(exclusive_log_probs(encoded.choices, sums)))


def _prompt(request: ModelRequest) -> Prompt:
    """The messages as a prompt; an opening is the reply's beginning, which the model continues."""
    opened = (Message("assistant", request.opening),) if request.opening else ()
    return Prompt((*request.messages, *opened))


def _after(opening: str, choice: str) -> str:
    """The choice as it continues an opening: after a space, unless one of the two has it or a bracket comes before."""
    joined = not opening or opening[-1].isspace() or choice[:1].isspace() or opening[-1] in _NO_SPACE_AFTER
    return choice if joined else f" {choice}"


def _check_even(name: str, words: Sequence[str], choices: Sequence[Sequence[int]], model: LanguageModel) -> None:
    """Raise if choices that should look alike to the model have different numbers of tokens, or the same tokens.

    Grades of two digits may have one more.
    """
    for length in {len(word.strip()) for word in words} if len(words) > 2 else {0}:
        alike = [i for i, word in enumerate(words) if len(words) == 2 or len(word.strip()) == length]
        counts = {len(choices[i]) for i in alike}
        if len(counts) > 1:
            pieces = "; ".join(_in_pieces(model, words[i], choices[i]) for i in alike)
            raise ModelError(
                f"the tokeniser of the judge {name} splits the choices into different numbers of tokens, and the one "
                f"with more would always look less likely: {pieces}. Give other choices ([judge] choices of the "
                "constitution, judge.replies), or another judge"
            )
    if len({tuple(ids) for ids in choices}) < len(choices):
        raise ModelError(
            f"the tokeniser of the judge {name} has the same tokens for two of the choices {', '.join(words)}; give "
            "others ([judge] choices of the constitution, judge.replies)"
        )


def _in_pieces(model: LanguageModel, word: str, ids: Sequence[int]) -> str:
    pieces = ", ".join(repr(decode(model.tokeniser, [token])) for token in ids)
    return f"{word.strip()!r} is {len(ids)} ({pieces})"
