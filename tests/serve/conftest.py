"""Tiny models with random weights, and one server for the tests that leave it as it is."""

from collections.abc import Iterator

import pytest
import torch
from serving import Running, running

from steersman.models.heads import RewardHead
from steersman.models.language_model import LanguageModel
from steersman.models.loading import load_causal
from steersman.models.reward_model import RewardModel, Scale, trunk_of
from steersman.models.tiny import CHAT_TEMPLATE, write_tiny_model
from steersman.reward.model import RewardModelScorer
from steersman.serve.models import ServedModels, ServedScorer, serve_language
from steersman.serve.options import ServeOptions
from steersman.text.tokeniser import load_tokeniser

TOOLS = "{% if tools %}{{ '<|system|>Tools: ' + (tools | tojson) + '\n' }}{% endif %}"


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("llama"), "llama", context=256)


@pytest.fixture(scope="session")
def new_language(model_folder, tmp_path_factory):
    """A served tiny model of its own."""

    def load(*, rows=8, length=None, tools=False, name="tiny", context=256):
        folder = model_folder
        if context != 256:
            folder = write_tiny_model(tmp_path_factory.mktemp("longer"), "llama", context=context)
        tokeniser = load_tokeniser(folder)
        if tools:
            tokeniser.chat_template = TOOLS + CHAT_TEMPLATE
        model = LanguageModel(load_causal(folder, dtype=torch.float32, device="cpu"), tokeniser, None, False)
        return serve_language(name, model, rows=rows, length=length, created=1)

    return load


@pytest.fixture(scope="session")
def scorer(model_folder):
    torch.manual_seed(3)
    backbone = trunk_of(load_causal(model_folder, dtype=torch.float32, device="cpu"))
    model = RewardModel(backbone, RewardHead(backbone.hidden_size, heads=1), adapter=None, scale=Scale(0.4, 2.0))
    return RewardModelScorer(model, load_tokeniser(model_folder), token_budget=1024)


@pytest.fixture(scope="session")
def served(new_language, scorer) -> Iterator[Running]:
    """One server for all tests that leave it as it is."""
    language, tools = new_language(), new_language(tools=True, rows=2, name="tools")
    models = ServedModels({"tiny": language, "tools": tools}, {"judge": ServedScorer("judge", scorer, "taste", 1)})
    with running(models, ServeOptions(port=0)) as found:
        yield found
