"""Answers that have ended, on the device, and the batch that is made of them in one transfer."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steersman.rollout.batch import FinishReason, RolloutBatch, answer_columns, prompt_columns, token_index
from steersman.rollout.request import GenerationRequest, Ticket


@dataclass(frozen=True, slots=True)
class Finished:
    """Answers that ended in the same step. `columns` are their tokens on the device: ids, log-probs, sampling
    log-probs, and entropies and values where they are known."""

    answers: list[tuple[Ticket, FinishReason]]
    lengths: list[int]
    columns: list[Tensor]


def assembled(finished: Sequence[Finished], request: GenerationRequest) -> RolloutBatch:
    """One batch of these answers, in the order of prompts and samples."""
    answers = [answer for part in finished for answer in part.answers]
    lengths = torch.tensor([length for part in finished for length in part.lengths])
    order = sorted(range(len(answers)), key=lambda i: (answers[i][0].prompt, answers[i][0].sample))
    ids, *numbers = (torch.cat(parts) for parts in zip(*(part.columns for part in finished), strict=True))
    index = token_index((lengths.cumsum(0) - lengths)[order], lengths[order]).to(ids.device)
    # The numbers are packed as 32-bit patterns, so that all columns leave the device in one transfer.
    packed = torch.stack([ids.int(), *(column.view(torch.int32) for column in numbers)])[:, index].cpu()
    unpacked = [column.view(torch.float32) for column in packed[1:]]
    whole: list[tuple[int, int, int, int, FinishReason, int]] = [
        (ticket.prompt, ticket.sample, ticket.seed, request.version, reason, length)
        for (ticket, reason), length in zip((answers[i] for i in order), lengths[order].tolist(), strict=True)
    ]
    asked = sorted({ticket.prompt for ticket, _ in answers})
    return RolloutBatch(
        **prompt_columns([request.prompts[prompt] for prompt in asked]),
        **answer_columns(whole),
        ids=packed[0].long(),
        log_probs=unpacked[0],
        sampling_log_probs=unpacked[1],
        entropies=unpacked[2] if len(unpacked) > 2 else None,
        values=unpacked[3] if len(unpacked) > 3 else None,
    )
