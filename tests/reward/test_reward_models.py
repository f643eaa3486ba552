"""Reward models, ensembles of adapters and classifiers as scorers."""

import json
import random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steersman.batches import pad_rows
from steersman.errors import ModelError, UsageError
from steersman.models.adapters import add_lora
from steersman.models.classifier import load_classifier
from steersman.models.files import write_notes
from steersman.models.loading import fit_vocabulary, load_causal
from steersman.models.reward_model import Scale, new_reward_model, save_reward_model
from steersman.models.rows import padded_groups
from steersman.models.tiny import tiny_tokeniser, write_tiny_model
from steersman.records import Completion, Message, Prompt
from steersman.reward import classifier as classifier_scorer
from steersman.reward.classifier import ClassifierScorer
from steersman.reward.ensemble import EnsembleScorer
from steersman.reward.http import HttpOptions, HttpScorer
from steersman.reward.model import RewardModelScorer, open_reward_scorer
from steersman.reward.open import Opening, open_scorer
from steersman.reward.rows import encode_item, score_row
from steersman.reward.verifiable import VerifiableScorer, Verification
from steersman.text.template import encode_completion

CPU = torch.device("cpu")


def opening(**given):
    usual = {
        "dtype": torch.float32,
        "device": CPU,
        "token_budget": 200,
        "belief": "mean",
        "pessimism": 0.0,
        "positive": None,
        "output": "logit",
        "reads": None,
        "normalised": True,
        "max_length": None,
        "revision": None,
        "trust_remote_code": False,
        "http": HttpOptions(4, 1, 5.0, 5.0, ("127.0.0.1",), None),
        "remembered": {},
        "notice": print,
        "verification": Verification("exact", None, None, 1e-6, False),
    }
    return Opening(**{**usual, **given})


def items(count=12):
    words = [
        "A",
        "dog",
        "is",
        "a",
        "good",
        "friend",
        "and",
        "I",
        "like",
        "cricket",
        "for",
        "the",
        "heart",
        "of",
        "this",
        "question",
    ]
    draw = random.Random(7)
    text = lambda most: " ".join(draw.choices(words, k=draw.randint(1, most)))  # noqa: E731
    return [
        (Prompt(messages=(Message("user", text(9)),)) if i % 3 else Prompt(text=text(5)), text(20))
        for i in range(count)
    ]


def values(scorer, given):
    return [score.value for score in scorer.score(given)]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("base"), "llama")


@pytest.fixture(scope="module")
def whole(base, tmp_path_factory):
    """A saved reward model of one head whose scale was measured."""
    torch.manual_seed(1)
    model = new_reward_model(load_causal(base, dtype=torch.float32, device="cpu"))
    model.scale = Scale(0.5, 2.0, "reward")
    return save_reward_model(model, tiny_tokeniser(), tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def adapters(base, tmp_path_factory):
    """Two reward adapters on one base, with other weights and other scales."""
    folders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        backbone = load_causal(base, dtype=torch.float32, device="cpu")
        add_lora(backbone, "reward", rank=4, alpha=32)
        for name, parameter in backbone.hf.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.2)
        model = new_reward_model(backbone, adapter="reward")
        model.scale = Scale(0.1 * seed, 1.0 + seed)
        folders.append(str(save_reward_model(model, tiny_tokeniser(), tmp_path_factory.mktemp("adapter"))))
    return folders


def test_an_adapter_s_tokeniser_may_have_a_pad_that_its_base_lacks(tmp_path):
    tokeniser = tiny_tokeniser()
    base = write_tiny_model(tmp_path / "base", "llama", vocabulary=len(tokeniser))
    tokeniser.add_special_tokens({"pad_token": "[NOTHING]"})
    backbone = load_causal(base, dtype=torch.float32, device="cpu")
    assert fit_vocabulary(backbone, tokeniser)
    add_lora(backbone, "reward", rank=4, alpha=32)
    save_reward_model(new_reward_model(backbone, adapter="reward"), tokeniser, tmp_path / "adapter")
    scorer = open_reward_scorer(tmp_path / "adapter", token_budget=10_000)
    assert scorer.model.backbone.vocabulary == len(tokeniser)
    given = items(4)
    assert values(scorer, given) == pytest.approx([values(scorer, [one])[0] for one in given], abs=1e-5)


@pytest.fixture(scope="module")
def heads(base, tmp_path_factory):
    """A reward model of three heads."""
    torch.manual_seed(3)
    model = new_reward_model(load_causal(base, dtype=torch.float32, device="cpu"), heads=3)
    return save_reward_model(model, tiny_tokeniser(), tmp_path_factory.mktemp("heads"))


@pytest.fixture(scope="module")
def toxicity(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("toxicity"), "bert", classes=("clean", "toxic"))


@pytest.fixture(scope="module")
def scorers(whole, adapters, heads, toxicity):
    return {
        "whole": open_scorer([str(whole)], opening()),
        "adapters": open_scorer(adapters, opening(belief="min")),
        "heads": open_scorer([str(heads)], opening(belief="pessimistic", pessimism=1.0)),
        "classifier": open_scorer([str(toxicity)], opening(positive="toxic")),
    }


@pytest.mark.parametrize("kind", ["whole", "adapters", "heads", "classifier"])
@settings(max_examples=3, deadline=None)
@given(order=st.permutations(range(6)), first=st.integers(0, 6))
def test_order_and_batch_size_change_nothing(scorers, kind, order, first):
    scorer, six = scorers[kind], items(6)
    alone = [values(scorer, [item])[0] for item in six]
    shuffled = [six[i] for i in order]
    found = values(scorer, shuffled[:first]) + values(scorer, shuffled[first:])
    assert found == pytest.approx([alone[i] for i in order], abs=1e-5)
    assert max(alone) - min(alone) > 1e-3


def test_a_score_is_that_of_the_row_that_was_trained_on_in_the_saved_scale(whole):
    scorer = open_reward_scorer(whole)
    prompt = Prompt(messages=(Message("user", "I like cricket."),))
    row = encode_completion(scorer.tokeniser, prompt, Completion("That is fine."), max_length=100)
    assert row == score_row(scorer.tokeniser, prompt, Completion("That is fine."), max_length=100)
    with torch.no_grad():
        batch = pad_rows(
            [encode_item(scorer.tokeniser, (prompt, "That is fine."), reads="conversation", limit=100)[0]], pad_id=1
        )
        assert tuple(batch.ids[0].tolist()) == row.ids
        raw = float(scorer.model.scores(batch)[0])
    score = scorer.score([(prompt, "That is fine.")])[0]
    assert score.value == pytest.approx((raw - 0.5) / 2.0, abs=1e-6)
    assert score.parts["raw"] == pytest.approx(raw, abs=1e-6)
    bare = RewardModelScorer(scorer.model, scorer.tokeniser, token_budget=100, normalised=False)
    assert values(bare, [(prompt, "That is fine.")])[0] == pytest.approx(raw, abs=1e-6)


def test_adapters_of_an_ensemble_share_one_base_and_each_keeps_its_own_scores(adapters):
    ensemble = open_scorer(adapters, opening(belief="mean"))
    assert isinstance(ensemble, EnsembleScorer)
    one, two = ensemble.members
    assert isinstance(one, RewardModelScorer)
    assert isinstance(two, RewardModelScorer)
    assert one.model.backbone is two.model.backbone
    given = items(5)
    alone = [values(open_scorer([folder], opening()), given) for folder in adapters]
    assert alone[0] != pytest.approx(alone[1], abs=1e-3)
    found = ensemble.score(given)
    for i, score in enumerate(found):
        assert (score.parts["member 1"], score.parts["member 2"]) == pytest.approx((alone[0][i], alone[1][i]), abs=1e-5)
        assert score.value == pytest.approx((alone[0][i] + alone[1][i]) / 2, abs=1e-5)


def test_a_folder_may_stand_for_all_members_of_an_ensemble(adapters, tmp_path):
    (tmp_path / "ensemble.json").write_text(json.dumps({"kind": "ensemble", "members": adapters}))
    given = items(3)
    together = values(open_scorer([str(tmp_path)], opening()), given)
    assert together == pytest.approx(values(open_scorer(adapters, opening()), given), abs=1e-6)
    (tmp_path / "ensemble.json").write_text(json.dumps({"kind": "ensemble", "members": []}))
    with pytest.raises(ModelError, match="names no members"):
        open_scorer([str(tmp_path)], opening())


def test_several_heads_are_an_ensemble_of_their_own(heads):
    given = items(4)
    mean, low = (open_scorer([str(heads)], opening(belief=belief)).score(given) for belief in ("mean", "min"))
    for average, worst in zip(mean, low, strict=True):
        parts = [average.parts[f"head {h}"] for h in (1, 2, 3)]
        assert average.value == pytest.approx(sum(parts) / 3)
        assert average.parts["raw"] == pytest.approx(sum(parts) / 3)
        assert worst.value == pytest.approx(min(parts))


def test_a_conversation_too_long_is_cut_and_says_so(whole):
    scorer = open_reward_scorer(whole, max_length=24)
    short, long = scorer.score([(Prompt(text="A dog"), "is good."), (Prompt(text="A dog " * 40), "is good.")])
    assert short.note == ""
    assert long.note == "cut to the 24 tokens that the model reads"


def test_a_classifier_gives_the_logit_or_the_probability_of_the_named_class(toxicity):
    given = items(4)
    both = {
        (positive, output): values(open_scorer([str(toxicity)], opening(positive=positive, output=output)), given)
        for positive in ("toxic", "clean")
        for output in ("logit", "probability")
    }
    plain = load_classifier(toxicity, positive="toxic", dtype=torch.float32, device="cpu")
    tokeniser = tiny_tokeniser()
    for i, (_, answer) in enumerate(given):
        with torch.no_grad():
            logits = plain.hf(**tokeniser(answer, return_tensors="pt")).logits[0]
        assert both["toxic", "logit"][i] == pytest.approx(float(logits[1]), abs=1e-5)
        assert both["clean", "logit"][i] == pytest.approx(float(logits[0]), abs=1e-5)
        assert both["toxic", "probability"][i] == pytest.approx(float(logits.softmax(-1)[1]), abs=1e-5)
        assert both["toxic", "probability"][i] + both["clean", "probability"][i] == pytest.approx(1.0, abs=1e-6)


def test_a_class_that_is_not_there_is_refused_with_those_that_are(toxicity):
    with pytest.raises(ModelError, match="no class 'rude'; its classes are clean, toxic"):
        open_scorer([str(toxicity)], opening(positive="rude"))
    with pytest.raises(ModelError, match="has the classes clean, toxic"):
        open_scorer([str(toxicity)], opening())


def test_a_classifier_remembers_the_class_it_was_trained_for(tmp_path):
    write_tiny_model(tmp_path, "distilbert", classes=("clean", "toxic"))
    write_notes(tmp_path, {"kind": "classifier", "positive": "toxic"})
    scorer = open_scorer([str(tmp_path)], opening())
    assert scorer.name == "toxic"


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_published_reward_models_of_any_family_score(tmp_path, family):
    write_tiny_model(tmp_path, family, classes=("helpfulness",))
    scorer = open_scorer([str(tmp_path)], opening())
    assert isinstance(scorer, ClassifierScorer)
    assert (scorer.name, scorer.reads) == ("reward", "conversation")
    assert scorer.models() == [scorer.classifier]
    given = items(4)
    assert values(scorer, given) == pytest.approx([values(scorer, [item])[0] for item in given], abs=1e-5)
    for score in scorer.score(given):
        assert score.parts["probability"] == pytest.approx(float(torch.tensor(score.value).sigmoid()), abs=1e-6)


def test_an_encoder_that_knows_two_texts_is_shown_a_pair():
    tokeniser = tiny_tokeniser(chat=False)
    tokeniser.add_special_tokens({"sep_token": "[SEP]", "cls_token": "[CLS]"})
    from tokenizers.processors import TemplateProcessing

    ids = [("[CLS]", tokeniser.cls_token_id), ("[SEP]", tokeniser.sep_token_id)]
    tokeniser.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=ids
    )
    row, note = encode_item(tokeniser, (Prompt(text="A dog"), "is [SEP] good"), reads="pair", limit=64)
    text = tokeniser.decode(row.ids.tolist())
    assert note == ""
    assert text.replace(" ", "") == "[CLS]Adog[SEP]is[SEP]good[SEP]"
    # The [SEP] that somebody typed is plain characters; only the template's two are the control token.
    assert row.ids.tolist().count(tokeniser.sep_token_id) == 2
    short, note = encode_item(tokeniser, (Prompt(text="A dog " * 50), "is good"), reads="pair", limit=20)
    assert len(short.ids) == 20
    assert "cut to the 20" in note


def test_an_empty_answer_is_scored_too(toxicity, whole):
    for scorer in (open_scorer([str(toxicity)], opening(positive="toxic")), open_reward_scorer(whole)):
        assert len(scorer.score([(Prompt(text="Say"), ""), (Prompt(text="Say"), "A dog")])) == 2


def test_no_items_give_no_scores(scorers):
    assert [scorer.score([]) for scorer in scorers.values()] == [[], [], [], []]


def test_a_language_model_is_no_scorer(base, tmp_path):
    with pytest.raises(ModelError, match="without a reward head"):
        open_scorer([str(base)], opening())
    backbone = load_causal(base, dtype=torch.float32, device="cpu")
    add_lora(backbone, "policy", rank=2, alpha=32)
    from steersman.models.adapters import save_adapter

    save_adapter(backbone, "policy", tmp_path)
    tiny_tokeniser().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="of the kind adapter without a reward head"):
        open_scorer([str(tmp_path)], opening())


def test_broken_reward_models_say_what_is_wrong(base, adapters, tmp_path):
    model = new_reward_model(load_causal(base, dtype=torch.float32, device="cpu"))
    model.scale = Scale(0.0, 0.0)
    with pytest.raises(ModelError, match="deviation above 0"):
        RewardModelScorer(model, tiny_tokeniser(), token_budget=100)
    model.scale = Scale()
    with pytest.raises(UsageError, match="at least 2 tokens"):
        RewardModelScorer(model, tiny_tokeniser(), token_budget=100, max_length=1)
    import shutil
    from pathlib import Path

    shutil.copytree(adapters[0], tmp_path / "lost")
    config = json.loads((Path(adapters[0]) / "adapter_config.json").read_text())
    (tmp_path / "lost" / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": None}))
    with pytest.raises(ModelError, match="does not say which base"):
        open_reward_scorer(tmp_path / "lost")
    with pytest.raises(UsageError, match="no scorer was named"):
        open_scorer([], opening())


def test_a_function_is_opened_by_its_file(tmp_path):
    (tmp_path / "mine.py").write_text("def short(answer):\n    return -len(answer)\n")
    assert values(open_scorer([f"{tmp_path}/mine.py:short"], opening()), [(Prompt(text="Say"), "abc")]) == [-3.0]


@given(st.lists(st.integers(1, 90), max_size=40), st.integers(1, 300))
def test_padded_groups_hold_each_row_once_within_the_budget(lengths, budget):
    batches = padded_groups([(length,) for length in lengths], budget)
    assert sorted(i for members in batches for i in members) == list(range(len(lengths)))
    for members in batches:
        assert len(members) == 1 or len(members) * max(lengths[i] for i in members) <= budget


def test_vocabulary_that_grew_for_a_pad_is_fitted_before_adapters_are_loaded(tmp_path):
    """The tokeniser has no PAD of its own; training gave it one, which made the embedding grow."""
    from steersman.text.tokeniser import give_pad

    folder = write_tiny_model(tmp_path / "base", "llama")
    tokeniser = tiny_tokeniser(vocabulary=320, pad=None)
    tokeniser.add_tokens([f"<|extra{i}|>" for i in range(320 - len(tokeniser))])
    give_pad(tokeniser)
    assert len(tokeniser) == 321
    backbone = load_causal(folder, dtype=torch.float32, device="cpu")
    fit_vocabulary(backbone, tokeniser)
    add_lora(backbone, "reward", rank=2, alpha=32)
    saved = save_reward_model(new_reward_model(backbone, adapter="reward"), tokeniser, tmp_path / "adapter")
    assert len(open_reward_scorer(saved).score(items(3))) == 3


def test_addresses_and_checks_are_scorers_by_their_names():
    assert isinstance(open_scorer(["http://127.0.0.1:1/x"], opening()), HttpScorer)
    checking = open_scorer(["verify:numeric"], opening())
    assert isinstance(checking, VerifiableScorer)
    assert values(checking, [(Prompt(text="Two and two?", metadata={"answer": "4"}), "It is 4.")]) == [1.0]
    with pytest.raises(UsageError, match="did you mean verify:numeric"):
        open_scorer(["verify:number"], opening())
    with pytest.raises(UsageError, match="expected one of verify:exact"):
        open_scorer(["verify:taste"], opening())


def test_a_tokeniser_whose_pad_is_the_first_token_or_missing_scores_the_same(whole):
    class Padded:
        """The same tokeniser with another PAD: no score depends on it."""

        def __init__(self, tokeniser, pad):
            self._tokeniser, self.pad_token_id = tokeniser, pad

        def __getattr__(self, name):
            return getattr(self._tokeniser, name)

        def __call__(self, *texts, **how):
            return self._tokeniser(*texts, **how)

    scorer = open_reward_scorer(whole, token_budget=200)
    expected = [score.value for score in scorer.score(items())]
    for pad in (0, None):
        again = RewardModelScorer(scorer.model, Padded(scorer.tokeniser, pad), token_budget=200)
        assert [score.value for score in again.score(items())] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("pad", "expected"), [(7, 7), (None, 0)])
def test_a_classifier_s_rows_are_padded_with_its_own_pad_or_else_with_0(pad, expected, monkeypatch):
    used: list[int] = []

    def run(rows, forward, *, pad_id, token_budget, device):
        used.append(pad_id)
        return torch.zeros(len(rows), 1)

    monkeypatch.setattr(classifier_scorer, "run_rows", run)
    monkeypatch.setattr(classifier_scorer, "encode_item", lambda *_, **__: ("row", ""))
    made: Any = classifier_scorer.ClassifierScorer.__new__(classifier_scorer.ClassifierScorer)
    vars(made).update(
        tokeniser=SimpleNamespace(pad_token_id=pad),
        classifier=SimpleNamespace(
            logits=None,
            parameters=lambda: iter([torch.zeros(1)]),
            probabilities_of=lambda logits: logits[:, 0],
            scores_of=lambda logits: logits[:, 0],
        ),
        reads="answer",
        _output="logit",
        _token_budget=9,
        _limit=9,
    )
    made.score([(Prompt(text="?"), "a")])
    assert used == [expected]
