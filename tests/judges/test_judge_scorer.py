"""A judge is a scorer: in every method that takes one, by default the frozen reference, never the policy."""

import json
import math

import pytest
import torch
from commandline import call
from openai_server import openai_server

from steersman.constitution.document import Constitution
from steersman.constitution.load import load_constitution
from steersman.errors import DataError, UsageError
from steersman.judges.judge import Judge
from steersman.judges.reading import ChoiceReading, ScriptedJudge
from steersman.judges.scorer import JudgeScorer
from steersman.loading.judges import judge_identity
from steersman.loading.scorers import load_scorer, stamped_scorer
from steersman.records import Answers, Completion, Principle, Prompt, to_dict
from steersman.settings.base import check, load_settings
from steersman.settings.dpo import OnlineDpoSettings
from steersman.settings.judge import JudgeSettings
from steersman.settings.ppo import PpoSettings
from steersman.settings.score import ScorerSettings

CPU = torch.device("cpu")
PROMPT = Prompt(text="Tell me of tea.")
OWN = """
[[principles]]
name = "clear"
critique_request = "What is unclear?"
revision_request = "Say it clearly."
comparison_question = "Which is clearer?"
[judge]
comparison = "{conversation}|{first}|{second}|{question}"
rating = "{conversation}|{answer}|{question}"
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.toml").write_text(OWN)
    return tmp_path / "own.toml"


def shares(*values):
    return ChoiceReading(tuple(math.log(value) for value in values))


def test_an_answer_is_compared_with_the_references():
    constitution = Constitution("test", (Principle("long", "x", comparison_question="Longer?"),))

    def script(request):
        if "hm" in request.messages[-1].content:
            return ChoiceReading(None, "no choice")
        text = request.messages[-1].content
        return shares(0.9, 0.1) if text.index("mine") < text.index("theirs") else shares(0.3, 0.7)

    judge = Judge(ScriptedJudge(script), constitution, check(JudgeSettings, {}))
    scorer = JudgeScorer(judge, lambda prompts: ["theirs"] * len(prompts), list)
    good, broken = scorer.score([(PROMPT, "mine"), (PROMPT, "hm mine")])
    # the preference is (0.9 + 0.7) / 2 = 0.8
    assert (good.value, good.parts) == (pytest.approx(0.6), {"long": pytest.approx(0.8)})
    assert (broken.value, broken.note) == (-1.0, "no verdict of the judge: no choice")
    assert scorer.score([]) == []
    assert scorer.name == "judge:test"


def test_an_equal_answer_scores_nothing(own, tiny):
    settings = {"path": f"judge:{own}", "judge": {"model": str(tiny("llama")), "max_new_tokens": 4}}
    scorer = load_scorer(check(ScorerSettings, settings), CPU)
    others = scorer._opponents([PROMPT])  # type: ignore[attr-defined]
    (same,) = scorer.score([(PROMPT, others[0])])
    assert same.value == pytest.approx(0.0, abs=1e-6)
    again, twice = scorer.score([(PROMPT, "tea is warm"), (PROMPT, "tea is warm")])
    assert again.value == twice.value
    assert -1 <= again.value <= 1


def test_answers_of_a_file_are_compared_with(own, tiny, tmp_path):
    file = tmp_path / "answers.jsonl"
    file.write_text(json.dumps(to_dict(Answers(PROMPT, (Completion("tea is warm"),)))) + "\n")
    settings = {
        "path": f"judge:{own}",
        "judge": {"model": str(tiny("llama")), "answers": str(file)},
    }
    scorer = load_scorer(check(ScorerSettings, settings), CPU)
    assert scorer.score([(PROMPT, "tea is warm")])[0].value == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(DataError, match="no answer to compare with"):
        scorer.score([(Prompt(text="Something else"), "x")])


def test_ratings_lie_between_minus_one_and_one(own, tiny):
    settings = {"path": f"judge:{own}", "judge": {"model": str(tiny("llama")), "mode": "rate"}}
    found = load_scorer(check(ScorerSettings, settings), CPU).score([(PROMPT, "tea is warm"), (PROMPT, "x")])
    assert all(-1 < score.value < 1 for score in found)


def test_an_endpoint_compares_with_answers_of_a_named_reference(own, tiny):
    with openai_server() as server:
        judge = {"model": f"{server.url}#m", "endpoint": {"allow": ["127.0.0.1"]}}
        with pytest.raises(UsageError, match=r"scorer\.judge\.reference"):
            load_scorer(check(ScorerSettings, {"path": "judge:general", "judge": judge}), CPU)
        judge |= {"reference": str(tiny("llama")), "max_new_tokens": 2}
        scorer = load_scorer(check(ScorerSettings, {"path": "judge:general", "judge": judge}), CPU)
        (score,) = scorer.score([(PROMPT, "a long answer of many words")])
        assert score.value == pytest.approx(0.6)
        assert len(server.requests) == 2


def test_in_a_run_the_judge_is_the_model_that_it_starts_from():
    usual = ["prompts.source=p.jsonl", "scorer.path=judge:general", "run.out=o"]
    ppo = load_settings(PpoSettings, None, ["model.path=m", *usual])
    assert (ppo.scorer.judge.model, ppo.scorer.judge.reference) == ("m", "m")
    named = load_settings(PpoSettings, None, ["model.path=m", "scorer.judge.model=n", *usual])
    assert (named.scorer.judge.model, named.scorer.judge.reference) == ("n", "m")
    other = load_settings(OnlineDpoSettings, None, ["model.path=m", "reference=r", *usual])
    assert other.scorer.judge.model == "r"
    plain = load_settings(PpoSettings, None, ["model.path=m", "prompts.source=p", "scorer.path=x.py:f", "run.out=o"])
    assert plain.scorer.judge.model is None
    summed = load_settings(
        PpoSettings,
        None,
        [
            "model.path=m",
            "prompts.source=p",
            "scorer.sum.a.path=judge:general",
            "scorer.sum.b.path=x.py:f",
            "run.out=o",
        ],
    )
    assert (summed.scorer.sum["a"].judge.model, summed.scorer.sum["b"].judge.model) == ("m", None)


def test_without_a_model_there_is_no_judge():
    with pytest.raises(UsageError, match=r"judge\.model says who judges"):
        load_scorer(check(ScorerSettings, {"path": "judge:general"}), CPU)


def test_the_stamp_knows_the_constitution_and_the_judge(own, tiny):
    judge = check(JudgeSettings, {"model": str(tiny("llama")), "constitution": str(own)})
    name, places = judge_identity(judge)
    assert load_constitution(own).hash in name
    assert places == [str(tiny("llama"))]
    settings = check(ScorerSettings, {"path": f"judge:{own}", "judge": {"model": str(tiny("llama"))}})
    assert "sha256:" in stamped_scorer(settings)
    endpoint = check(JudgeSettings, {"model": "https://host/v1#m"})
    assert judge_identity(endpoint)[0].endswith("https://host/v1#m")


def prompts_file(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Tell me of {word}."}) + "\n" for word in ("tea", "rain", "bread")))
    return path


METHODS = {
    "ppo": ["iterations=2", "prompts_per_iteration=3", "sampling.max_new_tokens=4", "optimiser.learning_rate=0.05"],
    "rloo": ["iterations=1", "prompts_per_iteration=3", "sampling.max_new_tokens=4", "scorer.judge.mode=rate"],
    "online-dpo": ["train.steps=1", "train.batch_size=2", "sampling.max_new_tokens=4"],
    "best-of-n": ["n=2", "sampling.max_new_tokens=4", "train.steps=1", "held_out=none"],
}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_a_judge_on_the_command_line(method, own, tiny, tmp_path):
    out = tmp_path / "run"
    common = [] if method == "best-of-n" else ["prompts.held_out=none"]
    words = [method, f"model.path={tiny('llama')}", f"prompts.source={prompts_file(tmp_path)}", f"run.out={out}"]
    words += ["--scorer", f"judge:{own}", "scorer.judge.max_new_tokens=4", "run.device=cpu", *common, *METHODS[method]]
    assert call(words) == 0
    recipe = (out / "recipe.toml").read_text()
    assert f'model = "{tiny("llama")}"' in recipe.partition("[scorer.judge]")[2]
    if method == "ppo":
        rows = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
        scores = [row["score"] for row in rows if "score" in row]
        assert scores
        assert all(-1 <= score <= 1 for score in scores)


def test_the_judge_is_never_the_policy_that_is_being_updated(own, tiny, tmp_path, monkeypatch):
    """Its weights stay those of the starting model while the policy's change."""
    from steersman.assemble.ppo import run as ppo_run

    seen = []
    plain = ppo_run.scorer_of

    def watched(*given, **more):
        seen.append(plain(*given, **more))
        return seen[-1]

    monkeypatch.setattr(ppo_run, "scorer_of", watched)
    words = [f"model.path={tiny('llama')}", f"prompts.source={prompts_file(tmp_path)}", f"run.out={tmp_path / 'run'}"]
    words += [f"scorer.path=judge:{own}", "scorer.judge.max_new_tokens=4", "run.device=cpu", "prompts.held_out=none"]
    settings = load_settings(PpoSettings, None, [*words, *METHODS["ppo"]])
    with ppo_run.open_ppo(settings) as opened:
        (judge,) = seen[0].models()
        before = {name: value.clone() for name, value in judge.state_dict().items()}
        policy = {name: value.clone() for name, value in opened.actors.backbone.state_dict().items()}
        mine = {id(parameter) for parameter in opened.actors.parameters()}
        assert not mine & {id(parameter) for parameter in judge.parameters()}
        ppo_run.ppo(opened.parts, settings, opened.memory)
        assert all(torch.equal(before[name], value) for name, value in judge.state_dict().items())
        moved = [not torch.equal(policy[name], value) for name, value in opened.actors.backbone.state_dict().items()]
    assert any(moved)
