"""Reward models as a whole: what was trained is what is opened, its scale, going on from an earlier one, reports,
refusals."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from commandline import call
from plainly import OTHERS, WORDS, judged, write_rows
from safetensors.torch import load_file

import steersman.assemble.reward.measure as reading
import steersman.assemble.reward.run as reward
from steersman.assemble.score import run_score
from steersman.assemble.sft import run_sft
from steersman.cli.main import main
from steersman.cli.repeat import with_seed
from steersman.data.load import load_records
from steersman.errors import DataError, ModelError, UsageError
from steersman.execution.ending import RunResult
from steersman.loading.scorers import load_scorer
from steersman.models.files import describe, read_json
from steersman.models.rows import run_rows
from steersman.models.tiny import tiny_tokeniser, write_tiny_model
from steersman.records import Comparison, Demonstration, Prompt
from steersman.reward.ensemble import EnsembleScorer
from steersman.reward.model import RewardModelScorer
from steersman.reward.rows import encode_item
from steersman.runs.journal import read_rows
from steersman.settings.base import check, load_settings
from steersman.settings.reward import RewardSettings
from steersman.settings.score import ScorerSettings, ScoreSettings
from steersman.settings.sft import SftSettings

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def judgements(tmp_path_factory) -> Path:
    return write_rows(tmp_path_factory.mktemp("judged") / "judgements.jsonl", judged(80, 1))


@pytest.fixture(scope="module")
def kept_back(tmp_path_factory) -> Path:
    """Each pair judged by three people."""
    return write_rows(tmp_path_factory.mktemp("judged") / "kept-back.jsonl", judged(8, 2, people=3))


@pytest.fixture
def settings(tiny, judgements, kept_back, tmp_path) -> Callable[..., RewardSettings]:
    def make(*more: str) -> RewardSettings:
        usual = [
            *(
                f"model.path={tiny('llama')}",
                f"data.source={judgements}",
                f"run.out={tmp_path / 'run'}",
                "run.device=cpu",
            ),
            *(
                "run.threads=1",
                "train.kernels=default",
                "train.batch_size=8",
                "train.steps=4",
                f"data.held_out={kept_back}",
            ),
            *("optimiser.learning_rate=3e-3", "train.evaluate_every=2", "train.keep=last"),
        ]
        return load_settings(RewardSettings, None, [*usual, *more])

    return make


@pytest.fixture
def teach(settings) -> Callable[..., RunResult]:
    return lambda *more: reward.run_reward(settings(*more), quiet=True)


@pytest.fixture
def trained(monkeypatch) -> list[reward.TrainableReward]:
    """What `run_reward` loaded, and has trained when it comes back."""
    found: list[reward.TrainableReward] = []
    load = reward.load_trainable

    def remember(*arguments):
        found.append(load(*arguments))
        return found[-1]

    monkeypatch.setattr(reward, "load_trainable", remember)
    return found


def items_of(path: Path) -> list[tuple[Prompt, str]]:
    records = [record for record in load_records(str(path)) if isinstance(record, Comparison)]
    return [(record.prompt, answer.text) for record in records for answer in (record.first, record.second)]


def opened(path: str | Path, **given):
    return load_scorer(check(ScorerSettings, {"path": str(path), **given}), CPU)


def scores(scorer, items) -> torch.Tensor:
    return torch.tensor([score.value for score in scorer.score(items)], dtype=torch.float64)


def trainee_scores(start: reward.TrainableReward, items) -> torch.Tensor:
    """One row at a time through the module that was trained."""
    rows = [encode_item(start.tokeniser, item, reads="conversation", limit=128)[0] for item in items]
    found = []
    for row in rows:
        batch = run_rows([row], start.trainee.scores_by_head, pad_id=1, token_budget=1, device=CPU)
        found.append(batch[0, 0])
    return torch.stack(found)


def notices(out: str) -> str:
    return "\n".join(row["notice"] for row in read_rows(Path(out) / "journal.jsonl")[0] if "notice" in row)


def column(out: str, name: str) -> dict[int, float]:
    return {row["step"]: row[name] for row in read_rows(Path(out) / "journal.jsonl")[0] if name in row}


@pytest.mark.parametrize(
    "family", ["llama", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gpt2", "gemma3"))]
)
def test_scores_of_the_saved_model_are_those_of_the_trained_one_in_plain_transformers_too(
    family, teach, tiny, trained, kept_back
):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    result = teach(f"model.path={tiny(family)}")
    items = items_of(kept_back)[:8]
    expected = trainee_scores(trained[0], items)
    assert expected.std() > 0.01
    assert torch.allclose(scores(opened(result.out, normalised=False), items), expected, atol=1e-5)
    plain = AutoModelForSequenceClassification.from_pretrained(result.model).eval()
    tokeniser = AutoTokenizer.from_pretrained(result.model)
    for (prompt, answer), score in zip(items, expected, strict=True):
        turns = [{"role": m.role, "content": m.content} for m in prompt.messages]
        ids = (
            tokeniser.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            + answer
            + tokeniser.eos_token
        )
        with torch.no_grad():
            found = plain(**tokeniser(ids, return_tensors="pt", add_special_tokens=False, return_token_type_ids=False))
        assert float(found.logits) == pytest.approx(float(score), abs=1e-5)


@pytest.fixture
def cohere(tmp_path) -> Path:
    """A family that transformers has no sequence classifier of."""
    from transformers import CohereConfig, CohereForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = CohereConfig(
        vocab_size=320, bos_token_id=0, eos_token_id=0, pad_token_id=1, max_position_embeddings=128, **sizes
    )
    CohereForCausalLM(config).save_pretrained(tmp_path / "cohere")
    tiny_tokeniser().save_pretrained(tmp_path / "cohere")
    return tmp_path / "cohere"


@pytest.mark.slow
def test_a_family_without_a_sequence_classifier_has_a_folder_of_ours(cohere, teach, trained, kept_back, tmp_path):
    first = teach(f"model.path={cohere}")
    assert (Path(first.model) / "heads.safetensors").exists()
    items = items_of(kept_back)[:6]
    assert torch.allclose(
        scores(opened(first.out, normalised=False), items), trainee_scores(trained[0], items), atol=1e-5
    )
    second = teach(f"model.path={first.out}", f"run.out={tmp_path / 'second'}", "train.steps=1")
    assert column(second.out, "held-out loss")[0] == pytest.approx(first.held_out["loss"], rel=1e-5)


@pytest.mark.slow
def test_an_adapter_opened_on_its_base_by_peft_has_the_scores_of_the_trained_one(teach, tiny, trained, kept_back):
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    result = teach("model.lora.rank=4", "optimiser.learning_rate=2e-2")
    items = items_of(kept_back)[:8]
    expected = trainee_scores(trained[0], items)
    assert torch.allclose(scores(opened(result.out, normalised=False), items), expected, atol=1e-5)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny("llama")), result.model).eval()
    head = load_file(Path(result.model) / "heads.safetensors")["score.weight"]
    for item, score in zip(items, expected, strict=True):
        row, _ = encode_item(trained[0].tokeniser, item, reads="conversation", limit=128)
        with torch.no_grad():
            hidden = model.base_model.model.model(input_ids=row.ids[None]).last_hidden_state[0, -1]  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
        assert float(head[0] @ hidden) == pytest.approx(float(score), abs=1e-5)


@pytest.mark.slow
def test_an_adapter_on_a_base_that_was_itself_an_adapter_takes_its_base_along(
    teach, tiny, trained, kept_back, tmp_path
):
    answers = write_rows(
        tmp_path / "shown.jsonl", [{"prompt": f"Tell {i}.", "completion": "A dog."} for i in range(16)]
    )
    tuned = run_sft(
        load_settings(
            SftSettings,
            None,
            [
                *(
                    f"model.path={tiny('llama')}",
                    f"data.source={answers}",
                    f"run.out={tmp_path / 'sft'}",
                    "run.device=cpu",
                ),
                *("model.lora.rank=4", "train.steps=4", "optimiser.learning_rate=5e-2", "data.held_out=none"),
                *("train.kernels=default", "run.threads=1"),
            ],
        ),
        quiet=True,
    )
    first = teach(f"model.path={tuned.out}", "model.lora.rank=4", "optimiser.learning_rate=2e-2")
    items = items_of(kept_back)[:8]
    assert torch.allclose(
        scores(opened(first.out, normalised=False), items), trainee_scores(trained[0], items), atol=1e-5
    )
    second = teach(f"model.path={first.out}", f"run.out={tmp_path / 'second'}", "train.steps=1")
    assert column(second.out, "held-out loss")[0] == pytest.approx(first.held_out["loss"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("lora", [(), ("model.lora.rank=2", "optimiser.learning_rate=2e-2")])
def test_an_ensemble_has_members_of_their_own_seed_and_order_and_is_opened_as_one(
    lora, teach, trained, kept_back, tmp_path
):
    result = teach("members=2", *lora)
    assert result.model == result.out == str(tmp_path / "run")
    assert read_json(tmp_path / "run" / "ensemble.json")["members"] == ["member-1/model", "member-2/model"]
    items = items_of(kept_back)[:8]
    one, two = (trainee_scores(start, items) for start in trained)
    assert not torch.allclose(one, two, atol=0.05)
    tokens = [column(str(tmp_path / "run" / f"member-{m}"), "tokens") for m in (1, 2)]
    assert tokens[0] != tokens[1], "both saw the data in the same order"
    scorer = opened(result.out, normalised=False)
    assert isinstance(scorer, EnsembleScorer)
    assert torch.allclose(scores(scorer, items), (one + two) / 2, atol=1e-5)
    worst = opened(result.out, normalised=False, belief="min")
    assert torch.allclose(scores(worst, items), torch.minimum(one, two), atol=1e-5)
    again = teach("members=2", *lora)
    assert (again.ending, again.held_out) == ("already finished", result.held_out)
    # and each member learns on from itself
    more = teach(f"model.path={result.out}", "members=2", f"run.out={tmp_path / 'more'}", "train.steps=1")
    for member in (1, 2):
        before, after = (column(str(Path(r.out) / f"member-{member}"), "held-out loss") for r in (result, more))
        assert after[0] == pytest.approx(before[4], rel=1e-5)
    with pytest.raises(UsageError, match=r"an ensemble of 2 reward models and members=1; give members=2"):
        teach(f"model.path={result.out}", f"run.out={tmp_path / 'other'}")


def test_repetitions_of_an_ensemble_share_no_member(settings, monkeypatch, tmp_path):
    seeds: list[int] = []

    def learn_nothing(given, *, quiet):
        seeds.append(given.run.seed)
        Path(given.run.out).mkdir(parents=True)
        return RunResult(given.run.out, "finished", 1, 1, {}, given.run.out, "")

    monkeypatch.setattr(reward, "run_member", learn_nothing)
    for offset in range(2):
        reward.run_reward(with_seed(settings("members=3"), offset), quiet=True)
    assert len(set(seeds)) == len(seeds) == 6


def test_scores_have_mean_0_and_deviation_1_on_the_judged_answers(teach, judgements):
    result = teach()
    found = scores(opened(result.out), items_of(judgements))
    assert float(found.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(found.std()) == pytest.approx(1.0, abs=1e-5)
    notes = read_json(Path(result.model) / "steersman.json")
    assert notes["std"] != 1.0
    assert notes["label"] == "the judged answers"
    raw = scores(opened(result.out, normalised=False), items_of(judgements))
    assert torch.allclose(found, (raw - notes["mean"]) / notes["std"])


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("members=2", "model.lora.rank=2", "centring=0")])
def test_with_a_reference_that_is_where_0_and_1_are(more, teach, tmp_path):
    shown = [{"prompt": f"Tell {i}.", "completion": " ".join(WORDS[: 1 + i % 9])} for i in range(30)]
    reference = write_rows(tmp_path / "shown.jsonl", shown)
    result = teach(f"reference={reference}", *more)
    items = [(r.prompt, r.completion.text) for r in load_records(str(reference)) if isinstance(r, Demonstration)]
    assert len(items) == 30
    scorer = opened(result.out)
    for member in scorer.members if isinstance(scorer, EnsembleScorer) else [scorer]:
        found = scores(member, items)
        assert float(found.mean()) == pytest.approx(0.0, abs=1e-5)
        assert float(found.std()) == pytest.approx(1.0, abs=1e-5)
        assert member.model.scale.label == str(reference)  # pyright: ignore[reportAttributeAccessIssue]


def test_every_kind_of_answers_can_be_the_reference(teach, tmp_path):
    prompt = {"messages": [{"role": "user", "content": "Tell me."}]}
    a, b = {"text": "A dog."}, {"text": "The game is good."}
    kinds = [
        {"kind": "answers", "prompt": prompt, "completions": [a, b]},
        {"kind": "ranking", "prompt": prompt, "completions": [a, b], "ranks": [1, 2]},
        {"kind": "comparison", "prompt": prompt, "first": a, "second": b, "preference": 1.0},
        {"kind": "label", "prompt": prompt, "completion": a, "desirable": True},
    ]
    reference = write_rows(tmp_path / "answers.jsonl", kinds)
    assert len(reading._reference_answers(str(reference))) == 7
    with pytest.raises(DataError, match=r"reference=.*one\.jsonl: 1 answers there; expected at least 2"):
        teach(f"reference={write_rows(tmp_path / 'one.jsonl', kinds[3:])}")


@pytest.mark.slow
@pytest.mark.parametrize("lora", [(), ("model.lora.rank=4",)])
def test_an_earlier_reward_model_is_where_the_next_one_starts(lora, teach, trained, kept_back, tmp_path):
    first = teach(*lora)
    second = teach(
        f"model.path={first.out}", f"run.out={tmp_path / 'second'}", f"data.source={kept_back}", "train.steps=12"
    )
    held = column(second.out, "held-out loss")
    assert held[0] == pytest.approx(first.held_out["loss"], rel=1e-5)
    assert held[12] < held[0]
    items = items_of(kept_back)[:8]
    before, after = (scores(opened(result.out, normalised=False), items) for result in (first, second))
    assert not torch.allclose(before, after, atol=0.01)
    assert torch.allclose(after, trainee_scores(trained[1], items), atol=1e-5)
    assert describe(first.model).kind == describe(second.model).kind == ("adapter" if lora else "reward")
    # a model's folder is as good as its run's
    third = teach(f"model.path={second.model}", f"run.out={tmp_path / 'third'}", "train.steps=1")
    assert column(third.out, "held-out loss")[0] == pytest.approx(held[12], rel=1e-5)


@pytest.mark.slow
def test_gradient_checkpointing_of_an_earlier_reward_model_changes_nothing(teach, tmp_path):
    first = teach()
    usual = teach(f"model.path={first.out}", f"run.out={tmp_path / 'usual'}")
    sparing = teach(f"model.path={first.out}", f"run.out={tmp_path / 'sparing'}", "model.gradient_checkpointing=true")
    assert list(column(sparing.out, "loss").values()) == pytest.approx(
        list(column(usual.out, "loss").values()), rel=1e-5
    )


def test_a_whole_reward_model_takes_no_adapter_and_no_answers_are_packed(teach, tmp_path):
    first = teach("train.steps=1")
    with pytest.raises(
        UsageError, match=r"is a whole reward model; it is trained further whole\. Leave model\.lora out"
    ):
        teach(f"model.path={first.out}", "model.lora.rank=4", f"run.out={tmp_path / 'second'}")
    with pytest.raises(UsageError, match=r"train\.packing lays several answers into one row"):
        teach("train.packing=true", f"run.out={tmp_path / 'packed'}")


def test_rows_as_long_as_the_context_are_not_padded_beyond_it(teach, tmp_path):
    model = write_tiny_model(tmp_path / "short", "gpt2", context=100)
    rows = judged(12, 3)
    for row in rows:
        row["first"]["text"] += " dog game" * 100
    source = write_rows(tmp_path / "long.jsonl", rows)
    result = teach(
        f"model.path={model}", f"data.source={source}", "train.kernels=onednn", f"reference={source}", "too_long=cut"
    )
    assert result.ending == "finished"
    assert "12 answers were cut to the model's context of 100 tokens" in notices(result.out)


def test_the_report_is_what_one_finds_by_scoring_the_held_out_judgements(teach, kept_back):
    result = teach("train.steps=12")
    quality = read_json(Path(result.out) / "quality.json")
    raw = scores(opened(result.out, normalised=False), items_of(kept_back)).reshape(-1, 2)
    records = [record for record in load_records(str(kept_back)) if isinstance(record, Comparison)]
    wants = torch.tensor([record.preference for record in records], dtype=torch.float64)
    gaps = raw[:, 0] - raw[:, 1]
    right = ((gaps > 0) == (wants > 0.5)).double().mean()
    assert quality["judgements"] == len(records) == 24
    assert quality["accuracy"]["estimate"] == pytest.approx(float(right))
    assert result.held_out["accuracy"] == pytest.approx(float(right))
    # the difference of raw scores is the log-odds, so the report's loss is the held-out loss
    loss = torch.nn.functional.softplus(-gaps * (2 * wants - 1)).mean()
    assert quality["calibration"]["whole"]["loss"] == pytest.approx(float(loss), rel=1e-5)
    assert result.held_out["loss"] == pytest.approx(float(loss), rel=1e-5)
    # three people judged each pair: how well they agree is the ceiling
    ceiling = quality["ceiling"]
    assert (ceiling["pairs"], ceiling["judgements"]) == (8, 24)
    assert 0.6 < ceiling["one_against_others"]["estimate"] <= 1.0
    assert [group["group"] for group in quality["by_annotator"]] == ["person-1", "person-2", "person-3"]


def test_a_model_that_knows_less_than_a_bag_of_words_is_told_so(teach, tmp_path, capsys):
    """One step at a rate of almost 0 is a coin; the word "friend" decides, which a bag of words learns from 80
    judgements, 15 % of them wrong."""
    held = write_rows(tmp_path / "held.jsonl", judged(120, 6, noise=0.0))
    result = teach(f"data.held_out={held}", "train.steps=1", "optimiser.learning_rate=1e-9")
    baselines = read_json(Path(result.out) / "quality.json")["baselines"]
    assert baselines["words"]["accuracy"]["estimate"] > 0.9
    assert baselines["words"]["lead"]["high"] < 0
    assert baselines["learned_from"] == "80 of the model's training judgements"
    assert baselines["verdict"].startswith("The model knows less than a bag of words")
    assert call(["report", result.out, "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "bag of words, as a baseline" in page
    assert "The model knows less than a bag of words" in page
    # what the scorer learned from is not known here
    assert call(["score", str(held), "--scorer", result.out, "--out", str(tmp_path / "scored.jsonl")]) == 0
    shown = " ".join("".join(capsys.readouterr()).split())
    assert "The model knows less than a bag of words" in shown
    assert "(both baselines learned from these judgements, each fifth predicted from the others)" in shown


def test_no_report_can_be_made_of_ties_and_that_is_said(teach, tmp_path):
    ties = [{**row, "preference": 0.5} for row in judged(6, 4)]
    result = teach(f"data.held_out={write_rows(tmp_path / 'ties.jsonl', ties)}")
    assert "no report on held-out judgements: all 6 judgements are ties" in notices(result.out)
    assert not (Path(result.out) / "quality.json").exists()


def test_a_held_out_share_that_is_empty_is_said(teach):
    result = teach("data.held_out=1e-9")
    assert "nothing fell into the held-out share" in notices(result.out)
    assert result.held_out == {}
    assert not (Path(result.out) / "quality.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_it_learns_what_people_prefer_through_noise(seed, teach, tmp_path):
    """A seventh of the labels is wrong on both sides, so 85 % is perfect; and 200 judgements measure it to 3 points."""
    source = write_rows(tmp_path / "many.jsonl", judged(400, 10 + seed))
    held = write_rows(tmp_path / "held.jsonl", judged(200, 20 + seed))
    result = teach(
        *(f"data.source={source}", f"data.held_out={held}", f"run.seed={seed}", "train.batch_size=16"),
        *("train.steps=60", "train.evaluate_every=20", "train.keep=best", "optimiser.learning_rate=5e-3"),
    )
    assert result.held_out["accuracy"] > 0.75
    assert read_json(Path(result.out) / "quality.json")["accuracy"]["low"] > 0.6


@pytest.mark.slow
@pytest.mark.parametrize("use_margin", ["true", "false"])
def test_rankings_thumbs_ties_and_margins_are_learned_together(use_margin, teach, tmp_path):
    prompt = {"messages": [{"role": "user", "content": "Tell me."}]}
    rows: list[dict] = [{**row, "margin": 2.0} for row in judged(20, 5)]
    for i, word in enumerate(OTHERS):
        texts = [{"text": f"friend {word}"}, {"text": word}, {"text": f"{word} {word}"}, {"text": f"{word} friend"}]
        rows.append({"kind": "ranking", "prompt": prompt, "completions": texts, "ranks": [1, 3, 4, 1]})
        rows.append({"kind": "label", "prompt": prompt, "completion": texts[i % 2], "desirable": i % 2 == 0})
        rows.append({"kind": "demonstration", "prompt": prompt, "completion": texts[0]})
    result = teach(
        f"data.source={write_rows(tmp_path / 'mixed.jsonl', rows)}", f"use_margin={use_margin}", "train.steps=10"
    )
    assert "38 judged prompts to learn from, 74 pairs, 85 answers" in notices(result.out)
    assert "9 left out: a record of the kind demonstration, which compares nothing" in notices(result.out)
    terms = {
        name for row in read_rows(Path(result.out) / "journal.jsonl")[0] for name in row if name.startswith("loss ")
    }
    assert terms == {"loss preference", "loss approval", "loss centring"}


def test_an_annotator_who_always_chooses_one_side_is_told_of_before_anything_is_learned(teach, tmp_path):
    rows = [{**row, "shown": "first" if row["preference"] else "second", "annotator": "ann"} for row in judged(30, 6)]
    result = teach(f"data.source={write_rows(tmp_path / 'sides.jsonl', rows)}", "train.steps=1")
    assert "annotator 'ann' chose the answer shown on the left in all 30 judgements" in notices(result.out)


@pytest.fixture
def command(monkeypatch, tmp_path, tiny, capsys):
    """The command line: its exit code and what it said."""

    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["steersman", *words])
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def thumbs(up: bool) -> list[dict]:
    rows = judged(8, 7)
    return [{"kind": "label", "prompt": row["prompt"], "completion": row["first"], "desirable": up} for row in rows]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (thumbs(True), "all 8 thumbs point up; a reward model needs both"),
        ([{**row, "preference": 0.5} for row in judged(9, 7)], "all 9 judgements are ties, so there is no preference"),
        (
            [{"prompt": "Hm?", "completion": "Dog."}] * 5,
            "5 × a record of the kind demonstration, which compares nothing",
        ),
        ([{"kind": "label", "prompt": {"text": "Hm?"}, "desirable": True}], "1 × a bad row, such as"),
    ],
)
def test_data_to_learn_nothing_from_are_refused_by_the_command_with_their_reason(rows, words, command, tiny, tmp_path):
    source = write_rows(tmp_path / "rows.jsonl", rows)
    given = ("--model", str(tiny("llama")), "--data", str(source), "--out", str(tmp_path / "run"), "--device", "cpu")
    code, said = command("reward", *given, "data.held_out=none", "train.kernels=default")
    assert code == DataError.exit_code
    assert f"steersman: {source}" in said
    assert words in said
    assert not (tmp_path / "run" / "model").exists()


def test_the_command_trains_reports_and_scores(command, tiny, judgements, kept_back, tmp_path):
    out = tmp_path / "run"
    given = (
        "--model",
        str(tiny("llama")),
        "--data",
        str(judgements),
        "--out",
        str(out),
        "--device",
        "cpu",
        "--seed",
        "3",
    )
    more = (f"data.held_out={kept_back}", "train.steps=4", "train.kernels=default", "run.threads=1")
    code, said = command("reward", *given, *more)
    assert code == 0, said
    for words in ("accuracy", "one against the others", "calibration", "positions", f"--scorer {out}"):
        assert words in said
    code, said = command("score", str(kept_back), "--scorer", str(out), "--out", str(tmp_path / "scored.jsonl"))
    assert code == 0, said
    assert "48 answers of 24 records" in said
    accuracy = read_json(out / "quality.json")["accuracy"]["estimate"]
    assert f"accuracy {accuracy:.1%}" in said
    code, said = command("reward", *given, *more, "--json")
    assert json.loads(said)["ending"] == "already finished"


def test_a_classifier_without_the_named_class_is_an_error_that_lists_its_classes(tmp_path, kept_back):
    write_tiny_model(tmp_path / "toxic", "bert", classes=("toxic", "clean"))
    with pytest.raises(ModelError, match="toxic, clean"):
        opened(tmp_path / "toxic", positive="rude")


def test_answers_of_a_policy_with_another_tokeniser_are_scored_by_their_text(teach, kept_back, tmp_path):
    """The reward model reads words and not the policy's tokens: what a tokeniser of another size wrote is tokenised
    anew."""
    from transformers import AutoTokenizer

    result = teach()
    policy = write_tiny_model(tmp_path / "policy", "gpt2", vocabulary=300, chat=False)
    theirs, ours = AutoTokenizer.from_pretrained(policy), AutoTokenizer.from_pretrained(result.model)
    items = items_of(kept_back)[:8]
    said = [(prompt, theirs.decode(theirs(text)["input_ids"])) for prompt, text in items]
    assert theirs(items[0][1])["input_ids"] != ours(items[0][1])["input_ids"]
    scorer = opened(result.out)
    assert torch.equal(scores(scorer, said), scores(scorer, items))


SHARED = Path(os.environ.get("STEERSMAN_SHARED_DATA", "/nowhere"))


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="STEERSMAN_SHARED_DATA names no folder")
@pytest.mark.parametrize(
    "name", ["hh-rlhf/harmless-base-test.jsonl.gz", "llmbar/natural.json", "llamafactory-demo/dpo_en_demo.json"]
)
def test_published_preferences_are_learned_from_and_scored(name, teach, tmp_path):
    few = ("data.limit=80", "data.max_length=120", "data.held_out=0.2", "train.steps=3")
    result = teach(f"data.source={SHARED / name}", *few)
    assert read_json(Path(result.out) / "quality.json")["judgements"] >= 10
    values = {"data": {"source": str(SHARED / name), "limit": 20}, "scorer": {"path": result.out}}
    found = run_score(check(ScoreSettings, {**values, "out": str(tmp_path / "scored.jsonl")}), quiet=True)
    assert (found.records, found.answers) == (20, 40)


def test_members_as_an_average_are_one_ordinary_reward_model_of_their_mean_weights(settings, judgements, tmp_path):
    result = reward.run_reward(settings("members=3", "members_as=average"), quiet=True)
    folders = [tmp_path / "run" / f"member-{m}" / "model" for m in (1, 2, 3)]
    states = [load_file(folder / "model.safetensors") for folder in folders]
    mean = load_file(Path(result.model) / "model.safetensors")
    assert set(mean) == set(states[0])
    for name, weights in mean.items():
        expected = sum(state[name].double() for state in states) / 3
        assert torch.allclose(weights.double(), expected, atol=1e-6), name
    assert any(not torch.equal(states[0][name], states[1][name]) for name in mean), "members are not the same"
    items = items_of(judgements)[:20]
    values = scores(opened(tmp_path / "run"), items)
    assert isinstance(opened(tmp_path / "run"), RewardModelScorer)
    notes = read_json(Path(result.model) / "steersman.json")
    assert notes["mean"] != read_json(folders[0] / "steersman.json")["mean"], "its scale was measured anew"
    assert float(values.mean()) == pytest.approx(0, abs=0.7)
    assert json.loads((tmp_path / "run" / "quality.json").read_text())["accuracy"]
    assert reward.run_reward(settings("members=3", "members_as=average"), quiet=True).ending == "already finished"


def test_members_that_are_averaged_begin_with_one_head_and_those_of_an_ensemble_do_not(settings, trained):
    heads = []
    for words in (["members_as=average", "run.out=OUT-a"], ["run.out=OUT-b"]):
        out = str(Path(settings().run.out).parent / words[-1][-1])
        reward.run_reward(
            settings("members=2", "optimiser.learning_rate=1e-12", *words[:-1], f"run.out={out}"), quiet=True
        )
        heads.append([start.trainee.reward.head.weight.detach().clone() for start in trained[-2:]])
    assert torch.allclose(heads[0][0], heads[0][1], atol=1e-6)
    assert not torch.allclose(heads[1][0], heads[1][1], atol=1e-2)


def test_what_has_no_average_is_refused(settings, teach, tmp_path):
    with pytest.raises(UsageError, match="such as members=4"):
        settings("members_as=average")
    with pytest.raises(UsageError, match="Leave model"):
        settings("members_as=average", "members=2", "model.lora.rank=4")
    teach("members=2", f"run.out={tmp_path / 'several'}")
    with pytest.raises(UsageError, match="began as one"):
        teach("members=2", "members_as=average", f"model.path={tmp_path / 'several'}")
