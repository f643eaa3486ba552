"""Classifiers of any kind score: the logit of the class that was named, the same as plain transformers gives."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from steersman.batches import TokenBatch, pack_rows, pad_rows
from steersman.errors import ModelError
from steersman.models.classifier import (
    class_index,
    class_or_complement,
    ensure_pad_token,
    load_classifier,
    new_classifier,
    save_classifier,
)
from steersman.models.files import describe
from steersman.models.tiny import tiny_tokeniser, write_tiny_model


def opened(path, positive=None):
    return load_classifier(path, positive=positive, dtype=torch.float32, device="cpu")


@pytest.mark.parametrize("family", ["bert", "distilbert", "gpt2", "llama"])
def test_the_named_class_gives_the_score(family, batch, tmp_path):
    write_tiny_model(tmp_path, family, classes=("calm", "Toxic", "other"))
    classifier = opened(tmp_path, "toxic").train()
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.no_grad():
        logits = plain(input_ids=batch.ids, attention_mask=batch.attention_mask.long()).logits
        assert torch.allclose(classifier(batch), logits[:, 1], atol=1e-5)
        assert torch.allclose(classifier.probabilities(batch), logits.softmax(-1)[:, 1], atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "distilbert", "llama"])
def test_padding_changes_no_score(family, rows, tmp_path):
    write_tiny_model(tmp_path, family, classes=("only",))
    classifier = opened(tmp_path)
    together = classifier.scores(pad_rows(rows, pad_id=77, pad_multiple=16))
    alone = torch.cat([classifier.scores(pad_rows([row], pad_id=1)) for row in rows])
    assert torch.allclose(together, alone, atol=1e-5)
    one = classifier.probabilities(pad_rows(rows, pad_id=77))
    assert torch.allclose(one, together.sigmoid(), atol=1e-5), "one label has a probability of its own"


def test_labels_that_hold_together_have_probabilities_of_their_own(batch, tmp_path):
    write_tiny_model(tmp_path, "bert", classes=("toxic", "insult"))
    classifier = opened(tmp_path, "insult")
    classifier.config.problem_type = "multi_label_classification"
    assert torch.allclose(classifier.probabilities(batch), classifier.scores(batch).sigmoid())


@pytest.mark.parametrize("classes", [("toxic",), ("calm", "Toxic"), ("calm", "toxic", "other")])
def test_the_complement_of_a_class_is_the_log_odds_that_it_does_not_hold(classes, batch, tmp_path):
    write_tiny_model(tmp_path, "bert", classes=classes)
    toxic, clean = opened(tmp_path, "toxic"), opened(tmp_path, "not toxic")
    with torch.no_grad():
        shares, others = toxic.probabilities(batch).double(), clean.probabilities(batch).double()
        assert torch.allclose(shares + others, torch.ones(len(shares), dtype=torch.float64))
        assert torch.allclose(clean.scores(batch).double(), (others / shares).log(), atol=1e-4)
    assert clean.chosen.casefold() == "not toxic"


def test_a_class_that_is_called_not_something_is_itself(batch, tmp_path):
    write_tiny_model(tmp_path, "bert", classes=("not toxic", "toxic"))
    clean = opened(tmp_path, "Not Toxic")
    assert (clean.index, clean.complement) == (0, False)
    with torch.no_grad():
        assert torch.equal(clean.scores(batch), clean.logits(batch)[:, 0])


def test_a_missing_class_is_said_with_those_there_are():
    assert class_index(("neg", "pos"), "pos", "x") == 1
    with pytest.raises(ModelError, match="no class 'good'; its classes are neg, pos"):
        class_index(("neg", "pos"), "good", "x")
    with pytest.raises(ModelError, match="no class 'not good'; its classes are neg, pos"):
        class_or_complement(("neg", "pos"), "not good", "x")
    with pytest.raises(ModelError, match="has the classes neg, pos; say which"):
        class_index(("neg", "pos"), None, "x")
    with pytest.raises(ModelError, match="no class 'POS'"):
        class_index(("Pos", "pos"), "POS", "x")


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_new_classifier_learns_and_is_saved(family, batch, tmp_path):
    write_tiny_model(tmp_path / "base", family)
    classifier = new_classifier(
        tmp_path / "base", classes=("no", "yes"), positive="yes", dtype=torch.float32, device="cpu"
    ).train()
    optimiser = torch.optim.Adam(classifier.parameters(), lr=1e-2)
    wanted = torch.tensor([0, 1, 0, 1, 1])
    losses = []
    for _ in range(15):
        loss = torch.nn.functional.cross_entropy(classifier.logits(batch), wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    save_classifier(classifier, tiny_tokeniser(), tmp_path / "trained")
    folder = describe(tmp_path / "trained")
    assert (folder.kind, folder.classes, folder.notes["positive"]) == ("classifier", ("no", "yes"), "yes")
    with torch.no_grad():
        again = opened(tmp_path / "trained", "yes")
        assert torch.allclose(again.scores(batch), classifier.scores(batch), atol=1e-5)


def test_a_classifier_without_pad_is_given_one(rows, tmp_path):
    write_tiny_model(tmp_path, "llama", classes=("only",))
    classifier = opened(tmp_path)
    classifier.config.pad_token_id = None
    batch = pad_rows(rows, pad_id=1)
    with pytest.raises(ModelError, match="has no PAD token"):
        classifier.scores(batch)
    alone = classifier.scores(pad_rows(rows[:1], pad_id=1))
    tokeniser = tiny_tokeniser()
    tokeniser.add_special_tokens({"pad_token": "<|another|>"})
    ensure_pad_token(classifier, tokeniser)
    assert classifier.config.pad_token_id == 320
    assert torch.allclose(classifier.scores(batch)[:1], alone, atol=1e-5)


def test_packed_rows_are_refused(rows, tmp_path):
    write_tiny_model(tmp_path, "bert", classes=("only",))
    packed = pack_rows(rows, pad_id=1, capacity=40)
    assert isinstance(packed, TokenBatch)
    with pytest.raises(ModelError, match="this batch is packed"):
        opened(tmp_path).scores(packed)
