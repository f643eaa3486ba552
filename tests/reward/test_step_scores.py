"""The scores of a process reward model by hand: its least probable step."""

import math

import pytest
import torch
from torch import Tensor

from steersman.batches import TokenBatch
from steersman.models.backbone import Backbone
from steersman.models.heads import RewardHead
from steersman.models.loading import load_causal
from steersman.models.reward_model import RewardModel, Scale, trunk_of
from steersman.models.tiny import tiny_tokeniser, write_tiny_model
from steersman.records import Message, Prompt
from steersman.reward.conservative import is_ensemble
from steersman.reward.model import RewardModelScorer

ASKED = Prompt((Message("user", "2 + 2?"),))
TOKENISER = tiny_tokeniser()


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = write_tiny_model(tmp_path_factory.mktemp("base"), "llama")
    return trunk_of(load_causal(folder, dtype=torch.float32, device="cpu"))


class Steps(RewardModel):
    """The log-odds of a row's first step are log 3, of its second -log 3, of its third 0: probabilities 3/4, 1/4, 1/2.
    The features are a row's length and the number of rows before it in its batch."""

    def step_logits_and_features(self, batch: TokenBatch) -> tuple[Tensor, Tensor]:
        odds = torch.tensor([math.log(3), -math.log(3), 0.0])
        features = torch.stack([batch.lengths.float(), torch.arange(len(batch.lengths)).float()], dim=1)
        return torch.cat([odds[: int(row.sum())] for row in batch.loss_mask]), features


@pytest.mark.parametrize("budget", [1, 10**6])
def test_the_score_is_the_least_probable_step_s(trunk: Backbone, budget: int):
    model = Steps(trunk, RewardHead(trunk.hidden_size, heads=1), adapter=None, scale=Scale())
    model.scores_steps = True
    scorer = RewardModelScorer(model, TOKENISER, token_budget=budget)
    answers = ["one step", "first\nsecond", "first\n\nsecond\nthird"]
    scores, features = scorer.score_and_features([(ASKED, answer) for answer in answers])
    assert [score.value for score in scores] == pytest.approx([0.75, 0.25, 0.25])
    assert [list(score.parts) for score in scores] == [["mean of steps", "last step", "steps"]] * 3
    expected = [[0.75, 0.75, 1.0], [0.5, 0.25, 2.0], [0.5, 0.5, 3.0]]
    for score, parts in zip(scores, expected, strict=True):
        assert list(score.parts.values()) == pytest.approx(parts)
    assert features.shape == (3, 2)
    assert features[0, 0] < features[2, 0], "a longer answer's row is longer"


def test_no_answers_have_no_scores_and_as_wide_features(trunk: Backbone):
    model = RewardModel(trunk, RewardHead(trunk.hidden_size, heads=2), adapter=None, scale=Scale())
    scorer = RewardModelScorer(model, TOKENISER, token_budget=100)
    scores, features = scorer.score_and_features([])
    assert (scores, features.shape) == ([], (0, trunk.hidden_size))
    assert is_ensemble(scorer), "several heads are several members"
