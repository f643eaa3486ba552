"""Sequence classifiers as scorers: published reward models with one label, and classifiers with a class chosen by name.

Encoders (BERT and similar) work here, since the attention mask is passed. The score is the logit of the chosen class,
which is unbounded; its probability is used for measurements (toxicity).
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
from steersman.models.loading import ModelSource, open_model


class Classifier(nn.Module):
    """A Hugging Face sequence classifier.

    The score is that of class `index`, or with `complement` of "not that class".
    """

    def __init__(
        self, hf: nn.Module, *, classes: tuple[str, ...], index: int, name: str, complement: bool = False
    ) -> None:
        super().__init__()
        self.hf: Any = hf
        self.classes = classes
        self.index = index
        self.complement = complement
        self.name = name
        self.original_dropout: dict[str, float] = {}

    @property
    def config(self) -> Any:
        return self.hf.config

    def forward(self, batch: TokenBatch) -> Float[Tensor, " batch"]:
        return self.scores(batch)

    def logits(self, batch: TokenBatch) -> Float[Tensor, "batch classes"]:
        if batch.segments is not None:
            raise ModelError("a classifier scores whole rows, and this batch is packed; pad it instead")
        mask = batch.attention_mask
        pad = self.hf.config.get_text_config().pad_token_id
        # Decoders look for the last token that is not their own PAD, so padding must use the model's PAD id.
        ids = batch.ids if pad is None else torch.where(mask, batch.ids, pad)
        if pad is None and not bool(mask.all()):
            raise ModelError(
                f"{self.name!r} has no PAD token, so rows of different lengths cannot be scored in one batch; "
                "set one (ensure_pad_token takes the tokeniser's PAD id)"
            )
        return self.hf(input_ids=ids, attention_mask=mask.long()).logits.float()

    @property
    def chosen(self) -> str:
        """The name of the scored class, or "not <class>" for its complement."""
        return f"not {self.classes[self.index]}" if self.complement else self.classes[self.index]

    def scores(self, batch: TokenBatch) -> Float[Tensor, " batch"]:
        """The logit of the chosen class."""
        return self.scores_of(self.logits(batch))

    def probabilities(self, batch: TokenBatch) -> Float[Tensor, " batch"]:
        """The probability of the chosen class."""
        return self.probabilities_of(self.logits(batch))

    def scores_of(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, " batch"]:
        """The logit of the chosen class; for a complement, the log-odds of all other classes."""
        own = logits[:, self.index]
        if not self.complement:
            return own
        if self._independent:
            return -own
        others = torch.arange(logits.shape[1], device=logits.device) != self.index
        return logits[:, others].logsumexp(-1) - own

    def probabilities_of(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, " batch"]:
        """Sigmoid for multi-label classifiers (and for a single class), else softmax over the classes."""
        own = (logits.sigmoid() if self._independent else logits.softmax(-1))[:, self.index]
        return 1 - own if self.complement else own

    @property
    def _independent(self) -> bool:
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
    """A classifier or one-label reward model from a folder or hub id.

    `positive` names the class whose logit is the score; None if there is one class. "not toxic" means the complement of
    the class toxic, if no class has the name "not toxic".
    """
    from transformers import AutoModelForSequenceClassification

    hf, original_dropout = open_model(
        AutoModelForSequenceClassification,
        ModelSource(path_or_id, revision, trust_remote_code),
        dtype=dtype,
        device=device,
    )
    classes = tuple(str(hf.config.id2label[i]) for i in sorted(hf.config.id2label))
    return _classifier(hf, original_dropout, classes, positive, path_or_id)


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
    """A classifier to be trained: this model's trunk with a new output layer for these classes."""
    from transformers import AutoModelForSequenceClassification

    with _without_warnings():
        hf, original_dropout = open_model(
            AutoModelForSequenceClassification,
            ModelSource(path_or_id, revision, trust_remote_code),
            dtype=dtype,
            device=device,
            labels=len(classes),
        )
    hf.config.id2label = dict(enumerate(classes))
    hf.config.label2id = {name: i for i, name in enumerate(classes)}
    return _classifier(hf, original_dropout, tuple(classes), positive, path_or_id)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silences transformers' warning that the output layer is new: it is meant to be.

    Other missing weights raise anyway.
    """
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _classifier(
    hf: nn.Module, original_dropout: dict[str, float], classes: tuple[str, ...], positive: str | None, name: str | Path
) -> Classifier:
    index, complement = class_or_complement(classes, positive, str(name))
    classifier = Classifier(hf, classes=classes, index=index, name=str(name), complement=complement)
    classifier.original_dropout = original_dropout
    return classifier


def class_or_complement(classes: Sequence[str], positive: str | None, name: str) -> tuple[int, bool]:
    """The index of the class, and whether its complement is meant: "not x" without such a class, but with a class x."""
    known = {label.casefold() for label in classes}
    wanted = "" if positive is None else positive.casefold()
    if wanted not in known and wanted.startswith("not ") and wanted.removeprefix("not ") in known:
        return class_index(classes, wanted.removeprefix("not "), name), True
    return class_index(classes, positive, name), False


def class_index(classes: Sequence[str], positive: str | None, name: str) -> int:
    """The index of the class with this name, ignoring case; the name may be None only if there is a single class."""
    if positive is None and len(classes) == 1:
        return 0
    if positive is None:
        raise ModelError(
            f"{name!r} has the classes {', '.join(classes)}; say which class's logit is the score (positive=...)"
        )
    matching = [i for i, label in enumerate(classes) if label == positive]
    matching = matching or [i for i, label in enumerate(classes) if label.lower() == positive.lower()]
    if len(matching) != 1:
        raise ModelError(f"{name!r} has no class {positive!r}; its classes are {', '.join(classes)}. Name one of these")
    return matching[0]


def ensure_pad_token(classifier: Classifier, tokeniser: Any) -> None:
    """Set the model's PAD token to the tokeniser's if it has none, and add an embedding row for it if needed."""
    config = classifier.hf.config.get_text_config()
    if config.pad_token_id is None:
        config.pad_token_id = tokeniser.pad_token_id
    if config.pad_token_id >= classifier.hf.get_input_embeddings().weight.shape[0]:
        classifier.hf.resize_token_embeddings(len(tokeniser), mean_resizing=False)


def save_classifier(classifier: Classifier, tokeniser: Any, folder: str | Path) -> Path:
    """Save a standard folder for AutoModelForSequenceClassification, with the class names."""
    folder = Path(folder)
    with dropout_restored(classifier):
        classifier.hf.save_pretrained(folder)
    write_notes(folder, {"kind": "classifier", "positive": classifier.chosen})
    if tokeniser is not None:
        tokeniser.save_pretrained(folder)
    return folder
