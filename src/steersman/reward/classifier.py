"""A sequence classifier as scorer: the logit or probability of a class (toxicity, sentiment), or of a single label."""

from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from steersman.models.classifier import Classifier
from steersman.models.rows import run_rows
from steersman.reward.rows import Reads, encode_item
from steersman.reward.scorer import Item, Score

Output = Literal["logit", "probability"]


class ClassifierScorer:
    """Scores answers by a sequence classifier. The probability is always kept as a part of the score.

    `reads` is the model's input; None is its default: the answer alone for a classifier with several classes, the
    conversation for a one-label model, or a pair of texts if its tokeniser has a SEP token and no chat template.
    """

    def __init__(
        self,
        classifier: Classifier,
        tokeniser: Any,
        *,
        token_budget: int,
        name: str = "",
        output: Output = "logit",
        reads: Reads | None = None,
        max_length: int | None = None,
    ) -> None:
        self.name = name or (classifier.chosen if len(classifier.classes) > 1 or classifier.complement else "reward")
        self.classifier = classifier.eval()
        self.tokeniser = tokeniser
        self.reads: Reads = usual_reads(classifier, tokeniser) if reads is None else reads
        self._output: Output = output
        self._token_budget = token_budget
        context = getattr(classifier.hf.config.get_text_config(), "max_position_embeddings", None)
        limits = [limit for limit in (max_length, context, tokeniser.model_max_length) if limit is not None]
        self._limit = min(limits)

    def score(self, items: Sequence[Item]) -> list[Score]:
        if not items:
            return []
        encoded = [encode_item(self.tokeniser, item, reads=self.reads, limit=self._limit) for item in items]
        logits = run_rows(
            [row for row, _ in encoded],
            self.classifier.logits,
            pad_id=self.tokeniser.pad_token_id or 0,
            token_budget=self._token_budget,
            device=next(self.classifier.parameters()).device,
        )
        probabilities = self.classifier.probabilities_of(logits)
        values = self.classifier.scores_of(logits) if self._output == "logit" else probabilities
        return [
            Score(float(values[i]), {"probability": float(probabilities[i])}, note)
            for i, (_, note) in enumerate(encoded)
        ]

    def models(self) -> list[nn.Module]:
        return [self.classifier]


def usual_reads(classifier: Classifier, tokeniser: Any) -> Reads:
    if len(classifier.classes) > 1:
        return "answer"
    return "pair" if tokeniser.sep_token_id is not None and not tokeniser.chat_template else "conversation"
