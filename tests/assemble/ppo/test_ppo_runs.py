"""PPO as a whole run on small models: every family in every layout, where critics begin, how runs end, and bad
input."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from plainly import write_rows
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import steersman
from steersman.batches import TokenRow, pad_rows
from steersman.errors import DataError, ModelError, SteersmanError, UsageError
from steersman.methods.ppo.loop import iterate
from steersman.models.loading import load_causal
from steersman.models.reward_model import Scale, load_reward_model, new_reward_model, save_reward_model
from steersman.models.tiny import FAMILIES, write_tiny_model
from steersman.records import Prompt
from steersman.reward.model import open_reward_scorer
from steersman.runs.checkpoints import CheckpointStore
from steersman.runs.journal import read_rows
from steersman.text.tokeniser import load_tokeniser

pytestmark = pytest.mark.slow

PROMPTS = ["What is a dog?", "I like cricket.", "Why is exercise good?", "Hello", "So it is", "Tell me a story."]
LAYOUTS = {
    "adapters": {"model": {"lora": {"rank": 4}}},
    "adapters-own-critic": {"model": {"lora": {"rank": 4}}},
    "shared": {},
    "separate": {},
}


def vowels(answer: str) -> float:
    return 0.2 * sum(answer.count(letter) for letter in "aeiou")


def usual(model, out, **more):
    """The arguments of a short run."""
    plain = {
        "model": model,
        "prompts": PROMPTS,
        "reward": vowels,
        "out": out,
        "iterations": 2,
        "prompts_per_iteration": 4,
        "sampling": {"max_new_tokens": 6},
        "update": {"epochs": 2, "minibatches": 2},
        "optimiser": {"learning_rate": 1e-3},
        "compute": {"kernels": "default", "tokens_per_micro_batch": 60},
        "run": {"device": "cpu", "threads": 1},
        "prompts.held_out": "none",
    }
    for key, value in more.items():
        plain[key] = {**plain[key], **value} if isinstance(value, dict) and isinstance(plain.get(key), dict) else value
    lora = plain.pop("lora", None)
    return {**plain, **({"model.lora": lora} if lora else {})}


@pytest.fixture
def improve(tiny, tmp_path):
    """A run of some iterations on tiny Llama."""

    def run(**more):
        arguments = usual(tiny("llama"), **{"out": tmp_path / "run", **more})
        return steersman.ppo(quiet=True, **arguments)

    return run


@pytest.fixture
def opened(tiny, tmp_path):
    def run(family="llama", **more):
        return steersman.open_ppo(**usual(tiny(family), **{"out": tmp_path / "run", **more}))

    return run


def journal(out) -> list[dict]:
    return [row for row in read_rows(Path(out) / "journal.jsonl")[0] if "score" in row]


def notices(out) -> str:
    return "\n".join(row["notice"] for row in read_rows(Path(out) / "journal.jsonl")[0] if "notice" in row)


def plain_log_probs(model, row: TokenRow) -> torch.Tensor:
    with torch.no_grad():
        found = model(input_ids=row.ids[None]).logits[0, :-1].log_softmax(-1).gather(1, row.ids[1:, None])[:, 0]
    return found[row.loss_mask[1:]]


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_runs_an_iteration_in_every_layout(family, layout, opened, tiny):
    lora = {"rank": 4} if layout.startswith("adapters") else None
    with opened(family, layout=layout, lora=lora) as run:
        parts, actors = run.parts, run.actors
        start = AutoModelForCausalLM.from_pretrained(tiny(family)).eval()
        done = iterate(parts, run.settings, run.memory)
        samples = [one.scored.sample for one in done.experience]
        for one in done.experience:
            expected = plain_log_probs(start, one.scored.sample.row)
            assert torch.allclose(one.scored.sample.rollout.log_probs, expected, atol=1e-4)
            assert torch.allclose(one.scored.old_log_probs, expected, atol=1e-4)
        assert abs(done.row["KL to reference"]) < 1e-5
        assert done.stats.first["ratio from 1"] < 1e-4
        assert done.stats.first["clip fraction"] == 0.0
        assert done.row["engine mismatch"] < 1e-4
        assert done.stats.steps == 4
        batch = pad_rows([sample.row for sample in samples], pad_id=1)
        before = torch.cat([plain_log_probs(start, sample.row) for sample in samples])
        with torch.no_grad():
            assert torch.allclose(actors.reference(batch, temperature=1.0), before, atol=1e-4)
            now, _, values = actors.policy(batch, temperature=1.0, with_entropy=False)
        assert float((now - before).abs().max()) > 1e-3, "the policy has learned"
        assert float(values.abs().max()) > 0, "and so has the critic"
        after = iterate(parts, run.settings, run.memory)
        assert after.row["engine mismatch"] < 1e-4, "the engine answers with what was learned"
        assert {one.scored.sample.rollout.version for one in after.experience} == {1}


def test_a_tracker_gets_the_answers_that_the_run_keeps(improve):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    result = improve(**{"run.journal": ["tensorboard"], "prompts.held_out": 0.5, "samples_kept": 3})
    events = EventAccumulator(str(Path(result.out) / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Tensors("answers")] == [1, 2]
    table = make_ndarray(events.Tensors("answers")[1].tensor_proto).tolist()
    written = [
        json.loads(line) for line in (Path(result.out) / "samples/iteration-000002.jsonl").read_text().splitlines()
    ]
    assert len(written) == 3
    assert [row[table[0].index(b"answer")].decode() for row in table[1:]] == [row["answer"] for row in written]
    assert {event.step for event in events.Tensors("held-out answers")} >= {0}


def test_the_exact_kl_is_the_sum_over_the_vocabulary_and_top_k_of_all_is_the_same(opened, tiny):
    kl = {"estimator": "full", "coefficient": 0.1}
    with opened(kl=kl) as run:
        iterate(run.parts, run.settings, run.memory)
        done = iterate(run.parts, run.settings, run.memory)
        reference = AutoModelForCausalLM.from_pretrained(tiny("llama"))
        actors, rows = run.actors, [one.scored.sample.row for one in done.experience]
        batch = pad_rows(rows, pad_id=1)
        with torch.no_grad():
            full = actors.exact_kl(batch, temperature=0.8, top_k=None)
            top = actors.exact_kl(batch, temperature=0.8, top_k=10_000)
            few = actors.exact_kl(batch, temperature=0.8, top_k=3)
            expected = []
            for row in rows:
                ours, theirs = (
                    (model(input_ids=row.ids[None]).logits[0, :-1] / 0.8).log_softmax(-1)
                    for model in (actors.backbone.hf, reference)
                )
                expected.append((ours.exp() * (ours - theirs)).sum(-1)[row.loss_mask[1:]])
        assert torch.allclose(full, torch.cat(expected), atol=1e-5)
        assert torch.allclose(top, full, atol=1e-6)
        assert bool((few <= full + 1e-6).all())
        assert float(full.max()) > 0
        assert all(float(one.scored.kl.min()) >= -1e-6 for one in done.experience)


def test_importance_weights_come_on_when_the_engine_disagrees_and_that_is_said(opened):
    class Disagreeing:
        """An engine whose log-probabilities are off by 0.3."""

        def __init__(self, engine):
            self.engine, self.version = engine, engine.version

        def generate(self, *arguments, **more):
            found = self.engine.generate(*arguments, **more)
            return replace(found, log_probs=found.log_probs - 0.3)

        def load_weights(self, state, version):
            self.engine.load_weights(state, version)

    with opened() as run:
        agreeing = iterate(run.parts, run.settings, run.memory)
        assert not run.memory.importance
        assert all(bool((one.importance == 1).all()) for one in agreeing.experience)
        run.parts.engine.refresh(1)
        done = iterate(replace(run.parts, engine=Disagreeing(run.parts.engine)), run.settings, run.memory)
        assert run.memory.importance
        assert done.row["engine mismatch"] == pytest.approx(0.3, abs=1e-3)
        for one in done.experience:
            assert torch.allclose(one.importance, torch.full_like(one.importance, math.exp(0.3)), atol=1e-3)
        from steersman.watch.health import verdicts

        assert any("truncated importance weights correct for it now" in words for words in verdicts(done.row))


@pytest.fixture
def reward_folder(tmp_path) -> Path:
    """A reward model from another start than the policy, with a scale."""
    base = write_tiny_model(tmp_path / "other", "llama", seed=5)
    model = new_reward_model(load_causal(base, dtype=torch.float32, device="cpu"))
    model.scale = Scale(mean=0.4, std=2.0)
    return save_reward_model(model, load_tokeniser(base), tmp_path / "reward")


def test_a_critic_from_a_reward_model_begins_at_its_normalised_score(opened, reward_folder):
    with opened(layout="separate", critic=str(reward_folder)) as run:
        rows = [TokenRow(torch.randint(5, 300, (n,)), torch.arange(n) == n - 1) for n in (4, 9, 6)]
        with torch.no_grad():
            values = run.actors.policy(pad_rows(rows, pad_id=1), temperature=1.0, with_entropy=False)[2]
            model = load_reward_model(reward_folder, dtype=torch.float32, device="cpu")
            # the value stands before the last token, the score at the end of what was said so far
            said = pad_rows([TokenRow(row.ids[:-1], row.loss_mask[:-1]) for row in rows], pad_id=1)
            expected = model.normalised(model.scores(said))
        assert torch.allclose(values, expected, atol=1e-5)
        assert float(values.abs().max()) > 0.05


@pytest.mark.parametrize("layout", ["shared", "adapters", "adapters-own-critic"])
def test_a_head_on_the_policys_trunk_begins_as_the_reward_models_normalised_score(layout, opened, tiny, tmp_path):
    # a reward model whose trunk is the policy's base: the first values are its scores
    model = new_reward_model(load_causal(tiny("llama"), dtype=torch.float32, device="cpu"))
    model.scale = Scale(mean=0.4, std=2.0)
    folder = save_reward_model(model, load_tokeniser(tiny("llama")), tmp_path / "alike")
    lora = {"lora": {"rank": 4}} if layout.startswith("adapters") else {}
    with opened(layout=layout, critic=str(folder), **lora) as run:
        rows = [TokenRow(torch.randint(5, 300, (n,)), torch.arange(n) == n - 1) for n in (4, 9, 6)]
        with torch.no_grad():
            values = run.actors.policy(pad_rows(rows, pad_id=1), temperature=1.0, with_entropy=False)[2]
            said = pad_rows([TokenRow(row.ids[:-1], row.loss_mask[:-1]) for row in rows], pad_id=1)
            expected = model.normalised(model.scores(said))
        assert torch.allclose(values, expected, atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_while_the_critic_warms_up_the_policy_is_held(layout, opened, tmp_path):
    lora = {"lora": {"rank": 4}} if layout.startswith("adapters") else {}
    with opened(layout=layout, value_warmup=2, iterations=3, **lora) as run:
        actors = run.actors
        critic = {"value_head", "critic"}

        def weights():
            own = actors.value_adapter
            named = {name: p.detach().clone() for name, p in actors.named_parameters() if p.requires_grad}
            ours = {name for name in named if name.split(".")[0] in critic or (own and f".{own}." in name)}
            return {name: named[name] for name in named if name not in ours}, {name: named[name] for name in ours}

        policy, values = weights()
        for _ in range(2):
            done = iterate(run.parts, run.settings, run.memory)
            assert "policy loss" not in done.row
            assert done.row["value loss"] > 0
            assert done.row["ratio from 1, first minibatch"] < 1e-4
        held, learned = weights()
        assert all(torch.equal(policy[name], held[name]) for name in policy)
        assert any(not torch.equal(values[name], learned[name]) for name in values)
        done = iterate(run.parts, run.settings, run.memory)
        assert done.row["policy loss"] != 0
        moved, _ = weights()
        assert any(not torch.equal(policy[name], moved[name]) for name in policy)


def test_a_run_stopped_in_the_warm_up_goes_on_to_the_same_numbers(improve):
    asked = {"iterations": 3, "value_warmup": 2, "run": {"checkpoint_every": 1}}
    result = improve(**asked)
    out = Path(result.out)
    rows = [
        {name: value for name, value in row.items() if "second" not in name and name != "time"} for row in journal(out)
    ]
    (out / "ending.json").unlink()
    for later in sorted((out / "checkpoints").glob("step-*"))[1:]:
        shutil.rmtree(later)
    improve(**asked)
    again = [
        {name: value for name, value in row.items() if "second" not in name and name != "time"} for row in journal(out)
    ]
    assert len(rows) == 3
    assert again == rows


def test_a_critic_can_begin_as_a_value_head_that_trl_saved(opened, tiny, tmp_path):
    # what trl's AutoModelForCausalLMWithValueHead.save_pretrained writes: the model's own names, and v_head.summary
    folder = tmp_path / "trl"
    shutil.copytree(tiny("llama"), folder)
    state = load_file(folder / "model.safetensors")
    weight, bias = torch.randn(1, 32), torch.tensor([0.7])
    extra = {"v_head.summary.weight": weight, "v_head.summary.bias": bias}
    save_file({**state, **extra}, folder / "model.safetensors", metadata={"format": "pt"})
    with opened(layout="separate", critic=f"trl:{folder}") as run:
        rows = [TokenRow(torch.randint(5, 300, (7,)), torch.arange(7) >= 3)]
        with torch.no_grad():
            values = run.actors.policy(pad_rows(rows, pad_id=1), temperature=1.0, with_entropy=False)[2]
            hidden = AutoModelForCausalLM.from_pretrained(tiny("llama")).model(rows[0].ids[None]).last_hidden_state
        assert torch.allclose(values, (hidden[0, 2:6] @ weight[0]) + 0.7, atol=1e-4)


def test_a_critic_that_does_not_fit_is_refused(opened, tiny, tmp_path):
    def begin(critic: str, **more) -> None:
        with opened(critic=critic, out=tmp_path / f"run-{len(list(tmp_path.iterdir()))}", **more):
            raise AssertionError("it was taken")

    with pytest.raises(ModelError, match=r"holds no v_head\.summary\.weight"):
        begin(f"trl:{tiny('llama')}", layout="separate")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="pickles, which are not opened"):
        begin(f"trl:{tmp_path / 'old'}", layout="separate")
    with pytest.raises(UsageError, match="choose layout=separate"):
        begin("trl:somewhere")
    base = write_tiny_model(tmp_path / "wide", "llama", vocabulary=400)
    model = new_reward_model(load_causal(base, dtype=torch.float32, device="cpu"))
    folder = save_reward_model(model, None, tmp_path / "reward")
    with pytest.raises(UsageError, match="they must be the same"):
        begin(str(folder), layout="separate")
    with pytest.raises(UsageError, match=r"both must come from one base; .* 400 tokens and the policy "):
        begin(str(folder), layout="shared")


def test_dropout_in_adapters_is_refused(opened):
    with (
        pytest.raises(UsageError, match="noise of two dropout masks"),
        opened(layout="adapters", lora={"rank": 4, "dropout": 0.1}),
    ):
        pass


def test_a_reward_model_with_another_tokeniser_reads_the_text(opened, tmp_path):
    base = write_tiny_model(tmp_path / "other", "gpt2", vocabulary=290, chat=False, seed=3)
    model = new_reward_model(load_causal(base, dtype=torch.float32, device="cpu"))
    folder = save_reward_model(model, load_tokeniser(base), tmp_path / "reward")
    with opened(reward=str(folder)) as run:
        done = iterate(run.parts, run.settings, run.memory)
        alone = open_reward_scorer(folder)
        for one in done.experience:
            found = alone.score([(one.scored.sample.prompt, one.scored.sample.text)])[0]
            assert one.scored.raw_score == pytest.approx(found.value, abs=1e-4)
        assert len({one.scored.raw_score for one in done.experience}) > 1


def test_prompts_that_share_an_id_keep_their_own_words(opened):
    twins = [Prompt(text="A dog", id="same"), Prompt(text="I like cricket", id="same")]
    with opened(prompts=twins, prompts_per_iteration=2) as run:
        done = iterate(run.parts, run.settings, run.memory)
        asked = {one.scored.sample.rollout.prompt_ids for one in done.experience}
        assert len(asked) == 2
        assert len({one.scored.sample.rollout.seed for one in done.experience}) == 2


def test_the_pretraining_mix_keeps_the_loss_of_ordinary_text_lower(improve, tmp_path):
    texts = [{"text": f"The answer to question {i} is that nobody knows, thank you for asking me."} for i in range(12)]
    source = write_rows(tmp_path / "texts.jsonl", texts)
    losses = {}
    for name, update in (("without", {}), ("with", {"pretraining": str(source), "pretraining_coefficient": 2.0})):
        result = improve(out=tmp_path / name, iterations=4, update=update, optimiser={"learning_rate": 5e-3})
        model = AutoModelForCausalLM.from_pretrained(result.model)
        from steersman.text.tokeniser import load_tokeniser

        tokeniser = load_tokeniser(result.model)
        with torch.no_grad():
            ids = [torch.tensor([tokeniser(row["text"])["input_ids"]]) for row in texts]
            losses[name] = sum(float(model(input_ids=row, labels=row).loss) for row in ids) / len(ids)
    assert losses["with"] < losses["without"] - 0.3
    rows = journal(tmp_path / "with")
    assert rows[-1]["pretraining"] < rows[0]["pretraining"]


def test_the_kl_is_measured_from_a_reference_that_is_not_the_initial_policy(opened, tiny, tmp_path):
    other = write_tiny_model(tmp_path / "other", seed=5)
    with opened(reference=str(other)) as run:
        start, reference = (AutoModelForCausalLM.from_pretrained(path).eval() for path in (tiny("llama"), other))
        for one in iterate(run.parts, run.settings, run.memory).experience:
            row = one.scored.sample.row
            assert torch.allclose(one.scored.old_log_probs, plain_log_probs(start, row), atol=1e-4)
            assert torch.allclose(one.scored.reference_log_probs, plain_log_probs(reference, row), atol=1e-4)
            assert not torch.allclose(one.scored.reference_log_probs, one.scored.old_log_probs, atol=1e-3)


def test_a_reference_with_other_tokens_is_refused(opened, tmp_path):
    other = write_tiny_model(tmp_path / "other", vocabulary=300)
    refused = pytest.raises(UsageError, match=f"reference={other} has another vocabulary than")
    with refused, opened(reference=str(other)):
        pass


def test_the_run_ends_at_the_kl_limit_and_says_so(improve, tmp_path):
    result = improve(iterations=20, kl={"limit": 0.02}, optimiser={"learning_rate": 2e-2})
    assert result.ending == "KL limit"
    assert 1 < result.step < 20
    assert journal(result.out)[-1]["KL to reference"] > 0.02
    assert f"the run ended at iteration {result.step}: KL limit" in notices(result.out)
    # killed before its model was written: the same call ends the same way, and learns nothing more
    (Path(result.out) / "ending.json").unlink()
    shutil.rmtree(result.model)
    again = improve(iterations=20, kl={"limit": 0.02}, optimiser={"learning_rate": 2e-2})
    assert (again.ending, again.step) == ("KL limit", result.step)
    assert (Path(result.model) / "config.json").exists()


def test_the_run_ends_when_held_out_answers_get_no_better_and_the_best_weights_are_kept(improve):
    result = improve(
        iterations=20,
        reward=lambda answer: 1.0,
        kl={"coefficient": 0.0},
        evaluation={"every": 1, "patience": 2, "prompts": 2},
        keep="best",
        **{"prompts.held_out": 0.5},
    )
    assert result.ending == "converged"
    assert (result.step, result.best_step) == (2, 0)
    assert "the run ended at iteration 2: converged" in notices(result.out)
    best = load_file(Path(result.out) / "checkpoints" / "step-000000" / "weights.safetensors")
    saved = load_file(Path(result.model) / "model.safetensors")
    assert torch.equal(saved["lm_head.weight"], best["backbone.hf.lm_head.weight"])


def test_the_reward_rises_and_the_folder_holds_what_a_run_leaves(improve):
    result = improve(
        iterations=12, prompts_per_iteration=32, optimiser={"learning_rate": 3e-3}, kl={"coefficient": 0.0}
    )
    rows = journal(result.out)
    assert sum(row["score"] for row in rows[-3:]) / 3 > sum(row["score"] for row in rows[:3]) / 3 + 0.05
    out = Path(result.out)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in (out / "model").iterdir()}
    assert (out / "critic" / "heads.safetensors").exists()
    sample = json.loads((out / "samples" / "iteration-000001.jsonl").read_text().splitlines()[0])
    assert len(sample["ids"]) == len(sample["values"]) == len(sample["advantages"]) == len(sample["offsets"])
    assert (
        improve(
            iterations=12, prompts_per_iteration=32, optimiser={"learning_rate": 3e-3}, kl={"coefficient": 0.0}
        ).ending
        == "already finished"
    )


# ---------------------------------------------------------------- bad input


def raising(answers: list[str]) -> list[float]:
    raise RuntimeError("no connection")


FAULTS = {
    "raises": (lambda answers: raising(answers), SteersmanError, "raised RuntimeError: no connection"),
    "NaN": (lambda answers: [math.nan] * len(answers), DataError, "expected a finite number"),
    "too few": (lambda answers: [1.0], DataError, "expected a list of 4 numbers"),
    "words": (lambda answers: ["good"] * len(answers), DataError, "returned 'good'"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_reward_that_goes_wrong_ends_the_run_with_its_last_checkpoint_whole(name, improve, tmp_path):
    fault, kind, words = FAULTS[name]
    calls = 0

    def reward(answers: list[str]) -> list[float]:
        nonlocal calls
        calls += 1
        return fault(answers) if calls == 3 else [float(len(answer)) for answer in answers]

    more = {"iterations": 4, "reward": reward, "run": {"device": "cpu", "threads": 1, "checkpoint_every": 1}}
    with pytest.raises(kind, match=words):
        improve(**more)
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    found = store.latest()
    assert found is not None
    assert found.step == 2
    assert store.verify(found.path) == []
    # repaired, the same call goes on from there
    assert improve(**more).step == 4
    assert [row["step"] for row in journal(tmp_path / "run")] == [1, 2, 3, 4]


def test_prompts_that_are_too_long_are_left_out_and_counted(improve):
    result = improve(prompts=[*PROMPTS, "word " * 200])
    assert "6 prompts to learn from, 0 held out; 1 left out: longer than 122 tokens" in notices(result.out)


def test_prompts_of_further_sources_are_learned_from_too_each_once(improve, tmp_path):
    more = write_rows(tmp_path / "more.jsonl", [{"prompt": PROMPTS[0]}, {"prompt": "Is it cold?"}, {"prompt": "Why?"}])
    asked = {"prompts": PROMPTS, "prompts.more": [str(more)]}
    result = improve(**asked, iterations=1)
    assert f"{len(PROMPTS) + 2} prompts to learn from, 0 held out" in notices(result.out)
    write_rows(more, [{"prompt": "Something else?"}])
    with pytest.raises(SteersmanError, match="more prompts 1"):
        improve(**asked, iterations=2, run={"extend": True})


def test_prompts_that_cannot_be_used_are_refused(improve, tmp_path):
    with pytest.raises(DataError, match="all 2 are longer than 122 tokens"):
        improve(prompts=["word " * 200, "other " * 300], out=tmp_path / "long")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match=r"no prompts .*expected at least one"):
        improve(prompts=tmp_path / "empty.jsonl", out=tmp_path / "none")
    with pytest.raises(UsageError, match="leaves no room for a prompt"):
        improve(sampling={"max_new_tokens": 128}, out=tmp_path / "room")
    with pytest.raises(UsageError, match=r"a share below 1, or a second source; seen 1\.5"):
        improve(out=tmp_path / "share", **{"prompts.held_out": 1.5})
    with pytest.raises(DataError, match="every prompt fell into the held-out share"):
        improve(prompts=["Hello"], out=tmp_path / "all", **{"prompts.held_out": 0.9999})
    source = write_rows(tmp_path / "prompts.jsonl", [{"prompt": "Hello"}])
    with pytest.raises(DataError, match="no demonstrations or texts there"):
        improve(out=tmp_path / "mix", update={"pretraining": str(source)})


def test_layouts_and_adapters_must_agree(improve):
    with pytest.raises(UsageError, match=r"give model\.lora\.rank"):
        improve(layout="adapters")
    with pytest.raises(UsageError, match=r"choose layout=adapters to use model\.lora"):
        improve(lora={"rank": 4})


def test_preference_over_reference_answers_is_paid_in_place_of_the_score(opened, improve, tmp_path):
    with opened(score={"preference_over": 3}) as run:
        done = iterate(run.parts, run.settings, run.memory)
    rows = [
        json.loads(line) for line in (tmp_path / "run" / "scorer" / "reference-answers.jsonl").read_text().splitlines()
    ]
    assert {row["prompt"] for row in rows} == set(PROMPTS)
    for row in rows:
        assert row["scores"] == pytest.approx([vowels(answer) for answer in row["answers"]])
    assert len({answer for row in rows for answer in row["answers"]}) > len(rows), "several different answers"
    of = {row["prompt"]: row["scores"] for row in rows}
    for one in done.experience:
        sample = one.scored.sample
        mine = vowels(sample.text)
        chances = [1 / (1 + math.exp(theirs - mine)) for theirs in of[sample.prompt.shown]]
        assert one.scored.score == pytest.approx(sum(chances) / 3)
        assert one.scored.parts["before"] == pytest.approx(mine)
    assert 0 < done.row["score"] < 1


def test_reference_answers_are_drawn_once_and_the_same_again_if_their_file_is_gone(opened, tmp_path):
    path = tmp_path / "run" / "scorer" / "reference-answers.jsonl"
    with opened(score={"preference_over": 2}):
        before = path.read_text()
    assert "drawing 2 answers of the starting model to each of 6 prompts" in notices(tmp_path / "run")
    with opened(score={"preference_over": 2}):
        pass
    assert path.read_text() == before
    assert "drawing" not in notices(tmp_path / "run")
    path.write_text(before[:-20])
    with opened(score={"preference_over": 2}):
        pass
    assert path.read_text() == before


def test_a_preference_cannot_be_believed_less(opened, tiny, tmp_path):
    paths = []
    for number in (1, 2):
        reward = new_reward_model(load_causal(tiny("llama"), dtype=torch.float32, device="cpu"))
        paths.append(str(save_reward_model(reward, None, tmp_path / f"reward-{number}")))
        shutil.copy(tiny("llama") / "tokenizer.json", paths[-1])
        shutil.copy(tiny("llama") / "tokenizer_config.json", paths[-1])
    more = {"reward": paths, "score": {"preference_over": 1}, "watch": {"action": "conservative"}}
    with pytest.raises(UsageError, match="on another scale"), opened(**more):
        pass


def test_only_the_prompts_that_a_run_will_ask_get_reference_answers(opened, tmp_path):
    with opened(score={"preference_over": 1}, prompts_per_iteration=2, iterations=1) as run:
        rows = (tmp_path / "run" / "scorer" / "reference-answers.jsonl").read_text().splitlines()
        assert len(rows) == 2
        done = iterate(run.parts, run.settings, run.memory)
        assert {one.scored.sample.prompt.shown for one in done.experience} == {json.loads(r)["prompt"] for r in rows}
        with pytest.raises(DataError, match="no reference answers to compare with"):
            iterate(run.parts, run.settings, run.memory)
