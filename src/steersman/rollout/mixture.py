"""An engine that samples from the geometric mixture of two models.

Each token's probability is proportional to policy^(1 - share) * reference^share (Nash-MD, arXiv 2312.00886; TRL's
`mixture_coef`).

It runs both models over the whole text for each token, without a KV cache, so it is slow beside the native engine.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from steersman.batches import TokenRow, pad_rows
from steersman.maths.tokens import gather_before
from steersman.models.acting import acting_as
from steersman.models.answer_kl import ModelView
from steersman.models.rows import padded_groups
from steersman.rollout.batch import FinishReason, Rollout, RolloutBatch
from steersman.rollout.engine import OnToken, Sampling, check_request, limit_of, seeds_for
from steersman.rollout.request import Ending
from steersman.rollout.sampler import draw
from steersman.rollout.uniforms import uniforms


class MixtureEngine:
    """`share` is the reference's: 0 is the policy, 1 the reference. `version` counts nothing: the models are used as
    they are."""

    version = 0

    def __init__(
        self,
        policy: ModelView,
        reference: ModelView,
        *,
        share: float,
        ending: Ending,
        token_budget: int,
    ) -> None:
        self._models = ((policy, 1 - share), (reference, share))
        self._ending, self._end_ids, self._budget = ending, frozenset(ending.end_ids), token_budget
        self._never = torch.tensor(sorted(ending.never_ids), dtype=torch.long) if ending.never_ids else None

    def load_weights(self, state: object, version: int) -> None:
        """The models are the caller's own, so there is nothing to load."""

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        samples: int = 1,
        seeds: Sequence[int] | int,
        on_token: OnToken | None = None,
    ) -> RolloutBatch:
        backbone = self._models[0][0][0]
        check_request(prompts, samples, backbone.vocabulary, backbone.context_length)
        room = [limit_of(backbone.context_length, prompt, sampling) for prompt in prompts]
        each = seeds_for(seeds, len(prompts), samples)
        numbers = uniforms(each, sampling.max_new_tokens)
        stops, least = self._ending.stops(sampling), sampling.min_new_tokens
        answers: list[list[int]] = [[] for _ in each]
        log_probs: list[list[float]] = [[] for _ in each]
        finish: list[FinishReason] = ["length" for _ in each]
        going = list(range(len(each)))
        for t in range(sampling.max_new_tokens):
            rows = [[*prompts[i // samples], *answers[i]] for i in going]
            logits = self._logits(rows)
            seen = self._seen(rows, logits) if sampling.repetition_penalty != 1 else None
            barred = self._ends(logits, sampling) if t < least else None
            drawn = draw(logits, numbers[going, t], sampling, seen=seen, barred=barred, never=self._never)
            still: list[int] = []
            for i, token, log_prob in zip(going, drawn.ids.tolist(), drawn.log_probs.tolist(), strict=True):
                answers[i].append(token)
                log_probs[i].append(log_prob)
                if on_token is not None:
                    on_token(i // samples, i % samples, token, log_prob)
                if token in self._end_ids:
                    finish[i] = "end"
                elif token in sampling.stop_ids or (stops is not None and t + 1 >= least and stops.found(answers[i])):
                    finish[i] = "stop"
                elif t + 1 < room[i // samples]:
                    still.append(i)
            going = still
            if not going:
                break
        found: list[Rollout] = []
        for i, seed in enumerate(each):
            said = torch.tensor(log_probs[i])
            prompt = tuple(prompts[i // samples])
            found.append(
                Rollout(i // samples, i % samples, prompt, tuple(answers[i]), said, said, finish[i], seed, self.version)
            )
        return RolloutBatch.of(found)

    def _seen(self, rows: Sequence[Sequence[int]], logits: Tensor) -> Tensor:
        seen = torch.zeros_like(logits, dtype=torch.bool)
        for i, row in enumerate(rows):
            seen[i, torch.tensor(row)] = True
        return seen

    def _ends(self, logits: Tensor, sampling: Sampling) -> Tensor:
        ends = torch.zeros_like(logits, dtype=torch.bool)
        ends[:, sorted({*self._end_ids, *sampling.stop_ids})] = True
        return ends

    def _logits(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """The weighted sum of both models' logits after each row, on the CPU. Its softmax is the mixture."""
        # A target in the place of the next token marks the state before it; which token it is does not matter.
        batched = [TokenRow(torch.tensor([*row, 0]), torch.arange(len(row) + 1) == len(row)) for row in rows]
        parts: dict[int, Tensor] = {}
        for members in padded_groups([row.lengths for row in batched], self._budget):
            total: Tensor | None = None
            for (backbone, adapter), share in self._models:
                batch = pad_rows([batched[i] for i in members], pad_id=0).to(backbone.device)
                with torch.no_grad(), acting_as(backbone, adapter):
                    states = gather_before(backbone.hidden(batch, batch.needed_positions), batch.loss_mask)
                    found = share * backbone.logits_of(states).float().cpu()
                total = found if total is None else total + found
            assert total is not None
            parts.update(zip(members, total, strict=True))
        return torch.stack([parts[i] for i in range(len(rows))])
