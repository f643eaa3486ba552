"""Text classification from labelled texts. Loss = mean over texts of -log p(class | text)."""

from collections.abc import Mapping, Sequence

from torch.nn import functional

from steersman.batches import LabelledBatch, LabelledRow
from steersman.models.classifier import Classifier
from steersman.train.objective import Sums, Term


class TextClass:
    """The objective of a single-label classifier: softmax cross-entropy."""

    def weights(self, units: Sequence[LabelledRow]) -> Mapping[str, float]:
        return {"loss": float(len(units))}

    def __call__(self, model: Classifier, batch: LabelledBatch) -> Sums:
        logits = model.logits(batch.tokens)
        loss = functional.cross_entropy(logits, batch.labels, reduction="sum")
        right = (logits.detach().argmax(-1) == batch.labels).sum()
        return Sums({"loss": Term(loss, 1.0)}, {"accuracy": (float(right), float(len(batch.labels)))})
