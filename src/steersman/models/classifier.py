"""Sequence classifiers as scorers: published reward models with one label, and classifiers whose class is chosen by name.

Encoders (BERT and the like) are welcome here: they see the attention mask. The score is the logit of the chosen class,
which has no ceiling; its probability is there for measuring (toxicity).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steersman.batches import TokenBatch
from steersman.errors import ModelError
from steersman.models.files import dropout_restored, write_notes
from steersman.models.loading import open_model


class Classifier(nn.Module):
    """A Hugging Face sequence classifier; `index` is the class that counts as the score, or whose `complement` does."""

    def __init__(
        self, hf: nn.Module, *, classes: tuple[str, ...], index: int, name: str, complement: bool = False
    ) -> None:
        super().__init__()
        self.hf: Any = hf
        self.classes = classes
        self.index = index
        self.complement = complement
        self.name = name
        self.silenced: dict[str, float] = {}

    @property
    def config(self) -> Any:
        return self.hf.config

    def forward(self, batch: TokenBatch) -> Float[Tensor, " batch"]:
        return self.scores(batch)

    def logits(self, batch: TokenBatch) -> Float[Tensor, "batch classes"]:
        if batch.segments is not None:
            raise ModelError("a classifier judges whole rows, and this batch is packed; pad it instead")
        mask = batch.attention_mask
        pad = self.hf.config.get_text_config().pad_token_id
        # Decoders look for the last token that is not their own PAD, whatever the batch was padded with.
        ids = batch.ids if pad is None else torch.where(mask, batch.ids, pad)
        if pad is None and not bool(mask.all()):
            raise ModelError(
                f"{self.name!r} has no PAD token, so rows of different length cannot be judged "
                "together; give it one (fit_pad with the id of the tokeniser's PAD)"
            )
        return self.hf(input_ids=ids, attention_mask=mask.long()).logits.float()

    @property
    def chosen(self) -> str:
        """What the score is of: the class, or that it does not hold."""
        return f"not {self.classes[self.index]}" if self.complement else self.classes[self.index]

    def scores(self, batch: TokenBatch) -> Float[Tensor, " batch"]:
        """The logit of the chosen class."""
        return self.scores_of(self.logits(batch))

    def probabilities(self, batch: TokenBatch) -> Float[Tensor, " batch"]:
        """The probability of the chosen class."""
        return self.probabilities_of(self.logits(batch))

    def scores_of(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, " batch"]:
        """Of a class its own logit; of a complement the log-odds that the class does not hold."""
        own = logits[:, self.index]
        if not self.complement:
            return own
        if self._by_itself:
            return -own
        others = torch.arange(logits.shape[1], device=logits.device) != self.index
        return logits[:, others].logsumexp(-1) - own

    def probabilities_of(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, " batch"]:
        """Each class by itself where several may hold at once (or there is only one), else all classes against one another."""
        own = (logits.sigmoid() if self._by_itself else logits.softmax(-1))[:, self.index]
        return 1 - own if self.complement else own

    @property
    def _by_itself(self) -> bool:
        return self.hf.config.problem_type == "multi_label_classification" or len(self.classes) == 1


def load_classifier(
    path_or_id: str | Path,
    *,
    positive: str | None,
    dtype: torch.dtype,
    device: torch.device | str,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> Classifier:
    """A classifier or one-label reward model. `positive` names the class whose logit is the score; None if there is one. Where no class is
    called so, "not toxic" is the complement of the class toxic."""
    from transformers import AutoModelForSequenceClassification

    hf, silenced = open_model(
        AutoModelForSequenceClassification,
        path_or_id,
        dtype=dtype,
        device=device,
        revision=revision,
        trust_remote_code=trust_remote_code,
    )
    classes = tuple(str(hf.config.id2label[i]) for i in sorted(hf.config.id2label))
    return _classifier(hf, silenced, classes, positive, path_or_id)


def new_classifier(
    path_or_id: str | Path,
    *,
    classes: Sequence[str],
    positive: str | None,
    dtype: torch.dtype,
    device: torch.device | str,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> Classifier:
    """A classifier to be trained: this model's trunk under a new output layer for these classes."""
    from transformers import AutoModelForSequenceClassification

    with _no_report():
        hf, silenced = open_model(
            AutoModelForSequenceClassification,
            path_or_id,
            dtype=dtype,
            device=device,
            revision=revision,
            trust_remote_code=trust_remote_code,
            labels=len(classes),
        )
    hf.config.id2label = dict(enumerate(classes))
    hf.config.label2id = {name: i for i, name in enumerate(classes)}
    return _classifier(hf, silenced, tuple(classes), positive, path_or_id)


@contextmanager
def _no_report() -> Iterator[None]:
    """Transformers warns that the output layer is new, which is what was asked for; what else is missing is an error of ours."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _classifier(
    hf: nn.Module, silenced: dict[str, float], classes: tuple[str, ...], positive: str | None, name: str | Path
) -> Classifier:
    index, complement = class_or_complement(classes, positive, str(name))
    classifier = Classifier(hf, classes=classes, index=index, name=str(name), complement=complement)
    classifier.silenced = silenced
    return classifier


def class_or_complement(classes: Sequence[str], positive: str | None, name: str) -> tuple[int, bool]:
    """The class with this name; or, where "not x" is wanted and there is no such class but an x, x and that its complement is meant."""
    known = {label.casefold() for label in classes}
    wanted = "" if positive is None else positive.casefold()
    if wanted not in known and wanted.startswith("not ") and wanted.removeprefix("not ") in known:
        return class_index(classes, wanted.removeprefix("not "), name), True
    return class_index(classes, positive, name), False


def class_index(classes: Sequence[str], positive: str | None, name: str) -> int:
    """The class with this name, capitals aside; it may go unnamed only where there is no choice."""
    if positive is None and len(classes) == 1:
        return 0
    if positive is None:
        raise ModelError(
            f"{name!r} has the classes {', '.join(classes)}; say which one's logit is the score (positive=...)"
        )
    matching = [i for i, label in enumerate(classes) if label == positive]
    matching = matching or [i for i, label in enumerate(classes) if label.lower() == positive.lower()]
    if len(matching) != 1:
        raise ModelError(f"{name!r} has no class {positive!r}; its classes are {', '.join(classes)}. Name one of these")
    return matching[0]


def fit_pad(classifier: Classifier, tokeniser: Any) -> None:
    """Let the model know the tokeniser's PAD where it knows none, with a row for it if there is none."""
    config = classifier.hf.config.get_text_config()
    if config.pad_token_id is None:
        config.pad_token_id = tokeniser.pad_token_id
    if config.pad_token_id >= classifier.hf.get_input_embeddings().weight.shape[0]:
        classifier.hf.resize_token_embeddings(len(tokeniser), mean_resizing=False)


def save_classifier(classifier: Classifier, tokeniser: Any, folder: str | Path) -> Path:
    """An ordinary folder for AutoModelForSequenceClassification, with the classes' names."""
    folder = Path(folder)
    with dropout_restored(classifier):
        classifier.hf.save_pretrained(folder)
    write_notes(folder, {"kind": "classifier", "positive": classifier.chosen})
    if tokeniser is not None:
        tokeniser.save_pretrained(folder)
    return folder
