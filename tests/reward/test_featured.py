"""A reward model's features are kept from the forward pass that made its scores."""

import numpy as np
import pytest
import torch

from steersman.models.heads import RewardHead
from steersman.models.loading import load_causal
from steersman.models.reward_model import RewardModel, Scale, trunk_of
from steersman.models.tiny import tiny_tokeniser, write_tiny_model
from steersman.records import Prompt
from steersman.reward.ensemble import EnsembleScorer
from steersman.reward.featured import keep_features
from steersman.reward.function import FunctionScorer
from steersman.reward.model import RewardModelScorer

ITEMS = [(Prompt(text="Say"), answer) for answer in ("one", "two and a half")]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> RewardModelScorer:
    folder = write_tiny_model(tmp_path_factory.mktemp("base"), "llama")
    trunk = trunk_of(load_causal(folder, dtype=torch.float32, device="cpu"))
    head = RewardHead(trunk.hidden_size, heads=1)
    torch.nn.init.normal_(head.weight)
    model = RewardModel(trunk, head, adapter=None, scale=Scale())
    return RewardModelScorer(model, tiny_tokeniser(), token_budget=100, name="judge")


def test_the_features_are_those_of_the_items_scored_last(judge: RewardModelScorer):
    scorer, keeper = keep_features(judge)
    assert keeper is scorer
    assert keeper is not None
    assert (keeper.name, keeper.features) == ("judge", None)
    scores = keeper.score(ITEMS)
    expected, features = judge.score_and_features(ITEMS)
    assert scores == expected
    assert np.array_equal(keeper.features, features)
    # the raw score is the head's product with the features
    weight = judge.model.head.weight.detach().double().numpy()[0]
    assert [score.value for score in scores] == pytest.approx(list(keeper.features @ weight), abs=1e-5)
    assert keeper.models() == judge.models()
    assert keeper.models()[0] is judge.model


def test_of_an_ensemble_the_first_member_s_are_kept_and_its_scores_stay(judge: RewardModelScorer):
    plain = FunctionScorer(lambda answer: float(len(answer)), name="length")
    ensemble = EnsembleScorer([judge, plain], belief="mean")
    before = ensemble.score(ITEMS)
    scorer, keeper = keep_features(ensemble)
    assert scorer is ensemble
    assert keeper is not None
    assert scorer.score(ITEMS) == before
    assert keeper.features is not None
    assert len(keeper.features) == 2


def test_what_has_no_features_is_left_as_it_is(judge: RewardModelScorer):
    plain = FunctionScorer(lambda answer: 1.0, name="one")
    assert keep_features(plain) == (plain, None)
    last = EnsembleScorer([plain, judge], belief="mean")
    assert keep_features(last) == (last, None)
