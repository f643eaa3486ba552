"""One model in `evaluate`: its answers, its KL from the reference, its perplexity and its multiple-choice accuracy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from steersman.batches import TokenRow
from steersman.data.choices import Choice
from steersman.evaluate.answers import DocumentLogProb, MeasuredAnswer, ModelAnswers
from steersman.inference.draw import AnsweringModel, draw, prompt_seeds
from steersman.loading.scorers import load_scorer
from steersman.models.acting import acting_as
from steersman.models.answer_kl import ModelView, row_figures
from steersman.models.language_model import LanguageModel
from steersman.models.rows import log_probs_of
from steersman.records import Completion, Demonstration, Document, Prompt
from steersman.rollout.batch import Rollout
from steersman.rollout.engine import Sampling
from steersman.settings.evaluate import EvaluateSettings
from steersman.settings.score import ScorerSettings
from steersman.text.template import (
    Encoded,
    decode,
    encode_completion,
    encode_demonstration,
    encode_document,
)

TOGETHER = 64
TOKEN_BUDGET = 4096
"""Padded tokens in one forward pass of both models."""
LONGEST = 1024


@dataclass(frozen=True)
class EvaluationTask:
    """What every model of an evaluation is given."""

    prompts: Sequence[Prompt]
    corpus: Sequence[Document | Demonstration]
    choices: Sequence[Choice]
    exam: Sequence[Prompt]


@dataclass(frozen=True)
class Opened:
    name: str
    path: str
    model: LanguageModel

    @property
    def voice(self) -> ModelView:
        return self.model.backbone, self.model.adapter

    @property
    def answering(self) -> AnsweringModel:
        return AnsweringModel.of(self.name, self.model)

    @property
    def longest(self) -> int:
        return min(self.model.backbone.context_length or LONGEST, LONGEST)


def evaluate_model(
    opened: Opened,
    reference: Opened | None,
    task: EvaluationTask,
    settings: EvaluateSettings,
    progress: Callable[[int], None],
) -> ModelAnswers:
    """All measurements that need the model itself. Scores are computed later, for all models together."""
    opened.answering.refuse_long(task.prompts)
    notes: list[str] = []
    alike = reference is not None and same_tokens(opened.model, reference.model)
    if reference is not None and not alike:
        notes.append(
            f"{opened.name} and {reference.name} have different tokenisers: KL compares distributions token by "
            "token and cannot be taken; "
            "the perplexity is that of the answer's words, read with the reference's own tokens"
        )
    guide = opened.model.guide
    if guide is not None and guide.beta:
        notes.append(
            f"{opened.name}'s answers lean on its Q heads (beta {guide.beta:g}); KL, entropy and perplexity are "
            "those of its policy "
            "without them"
        )
    grid: list[list[MeasuredAnswer]] = []
    for start in range(0, len(task.prompts), TOGETHER):
        group = task.prompts[start : start + TOGETHER]
        grid += _answers(opened, reference, group, settings, alike=alike)
        progress(start + len(group))
    corpus = [_document(opened, record) for record in task.corpus]
    return ModelAnswers(
        opened.name,
        opened.path,
        grid,
        _perplexity_sums(opened, corpus),
        _chosen(opened, task.choices),
        _accuracy(opened, task.exam, settings),
        notes,
    )


def same_tokens(one: LanguageModel, other: LanguageModel) -> bool:
    """Whether every id means the same token to both tokenisers, so that the distributions can be compared."""
    return (
        one.tokeniser.get_vocab() == other.tokeniser.get_vocab()
        and one.backbone.vocabulary == other.backbone.vocabulary
        and one.backbone.readout is not None
        and other.backbone.readout is not None
    )


def _answers(
    opened: Opened, reference: Opened | None, group: Sequence[Prompt], settings: EvaluateSettings, *, alike: bool
) -> list[list[MeasuredAnswer]]:
    model, drawing = opened.model, settings.drawing
    sampling = Sampling(**{**drawing.model_dump(exclude={"answers"}), "stop": tuple(drawing.stop)})
    seeds = prompt_seeds(group, settings.run.seed, samples=drawing.answers)
    drawn = draw(opened.answering, group, sampling, samples=drawing.answers, seeds=seeds)
    rollouts = drawn.rollouts
    figures = row_figures(
        [rollout.row for rollout in rollouts],
        opened.voice,
        reference.voice if reference is not None and alike else None,
        pad_id=model.pad_id,
        token_budget=TOKEN_BUDGET,
        temperature=drawing.temperature,
    )
    texts = [answer.text for answer in drawn.answers]
    read: list[tuple[float, int] | None] = [None] * len(rollouts)
    if reference is not None and not alike:
        read = list(_reference_log_probs(reference, group, rollouts, texts))
    elif figures.reference_log_prob is not None:
        read = [(float(v), len(r.ids)) for v, r in zip(figures.reference_log_prob, rollouts, strict=True)]
    found: list[list[MeasuredAnswer]] = [[] for _ in group]
    for i, rollout in enumerate(rollouts):
        found[rollout.prompt].append(
            MeasuredAnswer(
                drawn=drawn.answers[i],
                log_prob=float(figures.log_prob[i]),
                entropy=float(figures.entropy[i]),
                kl=None if figures.kl is None else float(figures.kl[i]),
                reference_log_prob=None if (seen := read[i]) is None else seen[0],
                reference_tokens=0 if seen is None else seen[1],
            )
        )
    return found


def _reference_log_probs(
    reference: Opened, group: Sequence[Prompt], rollouts: Sequence[Rollout], texts: Sequence[str]
) -> list[tuple[float, int]]:
    """Log-probability and number of tokens of each answer's text, encoded with the reference's tokeniser."""
    encoded = [
        encode_completion(
            reference.model.tokeniser,
            group[rollout.prompt],
            Completion(text),
            max_length=reference.longest,
            truncate="left",
        )
        for rollout, text in zip(rollouts, texts, strict=True)
    ]
    return [(sum(values), len(values)) for values in _log_probs(reference, encoded)]


def _log_probs(opened: Opened, encoded: Sequence[Encoded]) -> list[list[float]]:
    rows = [TokenRow(torch.tensor(e.ids), torch.tensor(e.loss)) for e in encoded]
    with acting_as(*opened.voice):
        pad = opened.model.pad_id
        return [values.tolist() for values in log_probs_of(rows, opened.model.backbone, pad, TOKEN_BUDGET)]


def _document(opened: Opened, record: Document | Demonstration) -> Encoded:
    if isinstance(record, Document):
        return encode_document(opened.model.tokeniser, record, max_length=opened.longest)
    return encode_demonstration(opened.model.tokeniser, record, max_length=opened.longest)


def _perplexity_sums(opened: Opened, corpus: Sequence[Encoded]) -> list[DocumentLogProb]:
    """Log-probability, tokens and bytes of each text. A text longer than the context is truncated to it."""
    found: list[DocumentLogProb] = []
    for encoded, values in zip(corpus, _log_probs(opened, corpus) if corpus else [], strict=True):
        learned = [i for i, said in zip(encoded.ids, encoded.loss, strict=True) if said]
        size = len(decode(opened.model.tokeniser, learned).encode())
        found.append(DocumentLogProb(sum(values), len(values), size))
    return found


def _chosen(opened: Opened, questions: Sequence[Choice]) -> list[tuple[bool, bool]]:
    """Whether the likeliest choice is correct, by sum and by mean over characters. Each choice is scored as a complete
    answer, EOS included."""
    encoded = [
        encode_completion(
            opened.model.tokeniser, question.prompt, Completion(words), max_length=opened.longest, truncate="left"
        )
        for question in questions
        for words in question.choices
    ]
    left = iter(_log_probs(opened, encoded) if encoded else [])
    found: list[tuple[bool, bool]] = []
    for question in questions:
        sums = [sum(next(left)) for _ in question.choices]
        shares = [total / len(words) for total, words in zip(sums, question.choices, strict=True)]
        found.append((sums.index(max(sums)) == question.right, shares.index(max(shares)) == question.right))
    return found


def _accuracy(opened: Opened, exam: Sequence[Prompt], settings: EvaluateSettings) -> list[bool]:
    """Whether the likeliest choice of each question is correct."""
    if not exam or settings.exam is None:
        return []
    opened.answering.refuse_long(exam)
    drawn = draw(opened.answering, exam, Sampling(settings.exam.max_new_tokens, 0.0), seeds=0)
    scorer = load_scorer(ScorerSettings(path=settings.exam.how, verify=settings.exam.verify), torch.device("cpu"))
    items = [(prompt, answer.text) for prompt, answer in zip(exam, drawn.answers, strict=True)]
    return [score.value == 1.0 for score in scorer.score(items)]
