"""`dpo` as a whole: every loss learns, the reference is asked once, runs resume, models are plain folders, bad wishes
are refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
from plainly import judged, write_rows

import steersman.assemble.dpo as dpo
from steersman.assemble.sft import run_sft
from steersman.cli.main import main
from steersman.errors import ModelError, UsageError
from steersman.runs.journal import read_rows
from steersman.settings.base import load_settings, to_toml
from steersman.settings.dpo import LOSSES, USED_BY, DpoSettings
from steersman.settings.sft import SftSettings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def judgements(tmp_path_factory) -> Path:
    return write_rows(tmp_path_factory.mktemp("judged") / "judgements.jsonl", judged(48, 1, noise=0))


@pytest.fixture(scope="module")
def kept_back(tmp_path_factory) -> Path:
    return write_rows(tmp_path_factory.mktemp("judged") / "kept-back.jsonl", judged(24, 2, noise=0))


@pytest.fixture
def settings(tiny, judgements, kept_back, tmp_path) -> Callable[..., DpoSettings]:
    def make(*more: str) -> DpoSettings:
        usual = [f"model.path={tiny('llama')}", f"data.source={judgements}", f"data.held_out={kept_back}"]
        usual += [f"run.out={tmp_path / 'run'}", "run.device=cpu", "run.threads=1", "train.kernels=default"]
        usual += ["train.batch_size=12", "train.steps=24", "train.evaluate_every=8", "optimiser.learning_rate=3e-3"]
        return load_settings(DpoSettings, None, [*usual, "optimiser.warmup=0", *more])

    return make


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        ("loss=dpo",),
        ("loss=robust", "label_smoothing=0.1"),
        ("loss=ipo", "length=mean", "beta=0.5"),
        ("loss=hinge",),
        ("loss=simpo", "beta=2"),
        ("loss=orpo",),
        ("loss=dpo", "likelihood=0.2"),
        ("loss=dpo", "length=mean", "beta=1"),
        ("loss=dpo", "length=desensitised"),
        ("loss=apo_zero", "length=mean", "beta=1"),
        ("divergence=jensen_shannon", "length=mean", "beta=1"),
    ],
    ids=["dpo", "robust", "ipo", "hinge", "simpo", "orpo", "rpo", "mean", "desensitised", "apo", "jensen-shannon"],
)
def test_every_loss_learns_to_prefer_what_people_preferred(settings, more):
    result = dpo.run_dpo(settings(*more), quiet=True)
    rows, _ = read_rows(Path(result.out) / "journal.jsonl")
    held_out = [row["held-out loss"] for row in rows if row.get("held-out loss") is not None]
    assert held_out[-1] < held_out[0]
    assert result.held_out["accuracy"] >= 0.7


def test_kto_learns_from_pairs_and_from_thumbs(settings, tmp_path):
    result = dpo.run_dpo(settings("loss=kto", "beta=0.3"), quiet=True)
    assert result.held_out["log ratio, liked"] > result.held_out["log ratio, disliked"] + 0.5
    thumbs = [
        {
            "kind": "label",
            "prompt": row["prompt"],
            "completion": row[side],
            "desirable": (side == "first") == bool(row["preference"]),
        }
        for row in judged(40, 3, noise=0)
        for side in ("first", "second")
    ]
    source = write_rows(tmp_path / "thumbs.jsonl", thumbs)
    words = ("loss=kto", "beta=0.3", f"data.source={source}", f"run.out={tmp_path / 'thumbs'}")
    result = dpo.run_dpo(settings(*words), quiet=True)
    assert result.held_out["log ratio, liked"] > result.held_out["log ratio, disliked"] + 0.5


def test_before_the_first_step_the_policy_is_the_reference(settings):
    result = dpo.run_dpo(settings("train.steps=1", "train.evaluate_every=1"), quiet=True)
    first = read_rows(Path(result.out) / "journal.jsonl")[0]
    row = next(row for row in first if row.get("loss") is not None)
    assert row["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert row["log ratio"] == pytest.approx(0.0, abs=1e-4)


def test_a_run_that_is_stopped_half_way_ends_as_one_that_was_not(settings, tmp_path, monkeypatch):
    whole = dpo.run_dpo(settings(f"run.out={tmp_path / 'whole'}"), quiet=True)
    asked: list[str] = []
    real = dpo.reference_log_probs

    def asking(count, row, reference, path, **more):
        asked.append("read" if path.exists() else "measured")
        return real(count, row, reference, path, **more)

    monkeypatch.setattr(dpo, "reference_log_probs", asking)
    words = (f"run.out={tmp_path / 'parted'}", "run.checkpoint_every=5")
    from steersman.train.core import Learner

    step, seen = Learner.step, []

    def dies(self, units, objective):
        seen.append(1)
        if len(seen) == 8:
            raise KeyboardInterrupt
        return step(self, units, objective)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "step", dies)
        with pytest.raises(KeyboardInterrupt):
            dpo.run_dpo(settings(*words), quiet=True)
    parted = dpo.run_dpo(settings(*words), quiet=True)
    assert asked == ["measured", "measured", "read", "read"]
    one, two = (Path(result.model) / "model.safetensors" for result in (whole, parted))
    assert one.read_bytes() == two.read_bytes()


def test_an_adapter_learns_and_is_saved_as_one(settings):
    result = dpo.run_dpo(settings("model.lora.rank=4", "optimiser.learning_rate=3e-2"), quiet=True)
    assert (Path(result.model) / "adapter_config.json").exists()
    assert result.held_out["accuracy"] >= 0.7


def test_another_reference_counts_from_there(settings, tiny, tmp_path, judgements):
    words = [
        f"model.path={tiny('llama')}",
        f"data.source={judgements}",
        f"run.out={tmp_path / 'sft'}",
        "take_chosen=true",
    ]
    words += ["run.device=cpu", "run.threads=1", "train.steps=4", "optimiser.learning_rate=3e-3", "data.held_out=none"]
    tuned = run_sft(load_settings(SftSettings, None, words), quiet=True)
    result = dpo.run_dpo(settings(f"reference={tuned.out}", "train.steps=1", "train.evaluate_every=1"), quiet=True)
    first = next(row for row in read_rows(Path(result.out) / "journal.jsonl")[0] if row.get("log ratio") is not None)
    assert abs(first["log ratio"]) > 0.1


def test_a_reference_with_another_tokeniser_is_refused(settings, tiny):
    with pytest.raises(ModelError, match="another tokeniser"):
        dpo.run_dpo(settings("reference=harbour:base"), quiet=True)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("train.packing=true",), "packing"),
        (
            ("loss=simpo", "reference=x"),
            "loss=simpo has no place for reference; it is used by dpo, robust, ipo, hinge, apo_zero, apo_down, kto",
        ),
        (("loss=orpo", "beta=0.2"), "has no place for beta"),
        (("loss=kto", "label_smoothing=0.1"), "has no place for label_smoothing; it is used by every other"),
        (("loss=kto", "ties=drop"), "has no place for ties"),
        (("loss=kto", "likelihood=1"), "has no place for likelihood"),
        (("loss=apo_zero", "length=desensitised"), "apo_zero needs one log-ratio for each answer"),
        (("divergence=forward_kl", "length=desensitised"), "divergence=forward_kl needs one log-ratio"),
        (("divergence_alpha=0.3",), "divergence_alpha is the alpha of divergence=alpha"),
        (
            ("loss=kto", "divergence=alpha"),
            "loss=kto has no place for divergence; it is used by dpo, robust, ipo, hinge",
        ),
        (("loss=hinge", "use_margin=true"), "has no place for use_margin; it is used by dpo. Leave"),
        (("gamma=1",), "loss=dpo has no place for gamma; it is used by simpo"),
        (("odds=1",), "it is used by orpo"),
        (("undesirable_weight=2",), "it is used by kto"),
        (("loss=simpo", "alpha=0.1"), "has no place for alpha"),
        (("alpha=0.1",), "length=desensitised"),
        (("loss=robust",), "label_smoothing"),
        (("loss=orpo", "length=mean"), "has no place for length"),
        (("loss=kto", "use_margin=true"), "no place for"),
    ],
)
def test_wishes_that_contradict_one_another_are_refused(settings, words, match):
    with pytest.raises(UsageError, match=match):
        dpo.run_dpo(settings(*words), quiet=True)


def test_the_command_and_its_recipe_run(tiny, tmp_path, capsys, monkeypatch):
    words = [
        "dpo",
        "dpo-harbour",
        "--model",
        "harbour:base",
        "--data",
        "harbour:comparisons?count=24",
        "--out",
        str(tmp_path / "run"),
    ]
    words += [
        "data.held_out=harbour:comparisons/heldout?count=8",
        "train.steps=2",
        "train.evaluate_every=2",
        "train.batch_size=8",
    ]
    monkeypatch.setattr("sys.argv", ["steersman", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    assert "steersman chat" in capsys.readouterr().out


def test_every_setting_that_a_loss_reads_has_a_place_in_the_table():
    """The other way round than refusing: what the objective asks the settings for is used by the loss that asks."""
    shared = {"model", "data", "loss", "optimiser", "train", "distance", "run"}
    assert set(DpoSettings.model_fields) - shared == set(USED_BY)
    assert set(LOSSES) == {loss for losses in USED_BY.values() for loss in losses}


def test_a_resolved_recipe_of_any_loss_is_not_refused(settings, tmp_path):
    for loss, more in (("orpo", ()), ("kto", ()), ("robust", ("label_smoothing=0.1",))):
        path = tmp_path / f"{loss}.toml"
        wished = settings(f"loss={loss}", *more)
        path.write_text(to_toml(wished))
        again = load_settings(DpoSettings, path, [])
        dpo._check(again)
        assert again == wished


def test_the_distance_from_the_reference_is_measured_on_answers_of_its_own(settings, tmp_path):
    far = dpo.run_dpo(settings("beta=0.05"), quiet=True)
    near = dpo.run_dpo(settings("beta=0.05", "train.steps=2", f"run.out={tmp_path / 'near'}"), quiet=True)
    assert far.held_out["KL to reference"] > 2 * near.held_out["KL to reference"] > 0
    rows = [row for row in read_rows(Path(far.out) / "journal.jsonl")[0] if "held-out KL to reference" in row]
    assert [row["step"] for row in rows] == [far.best_step]
    again = dpo.run_dpo(settings("beta=0.05"), quiet=True)
    assert again.ending == "already finished"
    assert again.held_out == far.held_out
    none = dpo.run_dpo(settings("distance.prompts=0", f"run.out={tmp_path / 'none'}"), quiet=True)
    assert "KL to reference" not in none.held_out


def test_the_distance_is_the_same_by_adapters_off_and_by_a_second_model(settings, tiny, tmp_path):
    words = ("model.lora.rank=4", "optimiser.learning_rate=3e-2", "train.steps=8")
    one = dpo.run_dpo(settings(*words), quiet=True)
    two = dpo.run_dpo(settings(*words, f"reference={tiny('llama')}", f"run.out={tmp_path / 'two'}"), quiet=True)
    assert one.held_out["KL to reference"] > 0.01
    assert one.held_out["KL to reference"] == pytest.approx(two.held_out["KL to reference"], rel=1e-4)


def test_a_run_killed_after_it_was_measured_is_not_measured_twice(settings, monkeypatch):
    whole = dpo.run_dpo(settings("train.steps=4"), quiet=True)

    def dies(*_, **__):
        raise KeyboardInterrupt

    folder = f"{whole.out}-killed"
    with monkeypatch.context() as patch:
        patch.setattr(dpo, "conclude", dies)
        with pytest.raises(KeyboardInterrupt):
            dpo.run_dpo(settings("train.steps=4", f"run.out={folder}"), quiet=True)
    monkeypatch.setattr(dpo, "distance", dies)
    again = dpo.run_dpo(settings("train.steps=4", f"run.out={folder}"), quiet=True)
    assert again.held_out == whole.held_out
    rows = [row for row in read_rows(Path(folder) / "journal.jsonl")[0] if "held-out KL to reference" in row]
    assert len(rows) == 1
