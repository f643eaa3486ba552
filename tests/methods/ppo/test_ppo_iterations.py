"""What the loop does around its stages, on the smallest toy and quickly: measures, keeps, ends, obeys the watch."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from toy import KeepsNothing, Problem, Tabular, TabularEngine, ToyScorer, run_toy, toy_settings

from steersman.errors import ServiceError
from steersman.methods.ppo.evaluation import objective
from steersman.methods.ppo.held_out import HeldOut
from steersman.methods.ppo.kl_controller import next_coefficient
from steersman.methods.ppo.memory import Memory
from steersman.methods.ppo.watched import act, finding_rows, numbers, sentence, stops
from steersman.reward.scorer import Item, Score
from steersman.settings.shaping import KlSettings
from steersman.watch.records import Finding, WatchMemory, WatchReport

PROBLEM = Problem(3, 2, 0)
FEW = {"epochs": 1, "minibatches": 1}
RATE = 1.0
"""So large that the first step is the best and later ones go too far."""


class Keeps(KeepsNothing):
    """Remembers what was kept; asks for a stop after some iteration."""

    def __init__(self, stop_at: int | None = None, *, forgetful: bool = False) -> None:
        super().__init__()
        self.saved: dict[int, Any] = {}
        self.best: list[tuple[int, str, float]] = []
        self.believed: list[int] = []
        self.again: list[tuple[int, str, float]] = []
        self.found: list[Mapping[str, Any]] = []
        self.kept_samples: dict[int, int] = {}
        self.held_out: dict[int, list[Mapping[str, Any]]] = {}
        self.shown: list[tuple[int, Mapping[str, float]]] = []
        self.stop_at, self.forgetful = stop_at, forgetful

    def save(self, step: int, snapshot: Any) -> None:
        self.saved[step] = snapshot

    def save_best(self, step: int, snapshot: Any, measure: str, value: float) -> None:
        self.saved[step] = snapshot
        self.best.append((step, measure, value))

    def save_believed(self, step: int, snapshot: Any) -> None:
        self.saved[step] = snapshot
        self.believed.append(step)

    def mark_best_again(self, step: int, measure: str, value: float) -> None:
        self.again.append((step, measure, value))

    def best_weights(self, step: int) -> Any:
        return None if self.forgetful else self.saved[step].weights

    def save_due(self) -> bool:
        return False

    def stop_requested(self) -> bool:
        return self.stop_at is not None and any(row["step"] >= self.stop_at for row in self.rows)

    def show(self, step: int, numbers: Mapping[str, float]) -> None:
        self.shown.append((step, numbers))

    def samples(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        self.kept_samples[step] = len(rows)

    def held_out_answers(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        self.held_out[step] = list(rows)

    def findings(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.found += rows


class Alike(ToyScorer):
    """Gives every answer the same score."""

    def score(self, items: Sequence[Item]) -> list[Score]:
        return [Score(1.0) for _ in items]


class Done:
    """A run of the toy, with what it left."""

    def __init__(
        self,
        iterations: int = 3,
        *,
        keeper: Keeps | None = None,
        rate: float = 0.5,
        held_out: int = 0,
        engine: type[TabularEngine] = TabularEngine,
        batch: int = 8,
        memory: Memory | None = None,
        **more: Any,
    ) -> None:
        given = {name: more.pop(name) for name in ("watch", "scorer") if name in more}
        settings = toy_settings(PROBLEM, iterations=iterations, batch=batch, beta=0.1, **{"update": FEW, **more})
        self.keeper, self.memory = keeper or Keeps(), memory or Memory(0.1)
        self.actors = Tabular(PROBLEM)
        self.engine = engine(self.actors)
        self.outcome = run_toy(
            PROBLEM,
            settings,
            self.actors,
            self.engine,
            learning_rate=rate,
            value_rate=rate,
            keeper=self.keeper,
            held_out=held_out,
            memory=self.memory,
            **given,
        )

    @property
    def measured(self) -> list[dict[str, Any]]:
        return [row for row in self.keeper.rows if any(name.startswith("held-out") for name in row)]

    @property
    def learned(self) -> list[dict[str, Any]]:
        return [row for row in self.keeper.rows if row not in self.measured]


def quiet(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Without what depends on the clock."""
    return [{name: value for name, value in row.items() if "second" not in name} for row in rows]


def test_the_answers_to_held_out_prompts_are_kept_with_their_numbers():
    done = Done(2, held_out=4, evaluation={"every": 2})
    assert sorted(done.keeper.held_out) == [0, 2]
    first = done.keeper.held_out[0]
    assert len(first) == 4
    assert [row["prompt_id"] for row in first] == [row["prompt_id"] for row in done.keeper.held_out[2]]
    assert sum(row["score"] for row in first) / 4 == pytest.approx(done.measured[0]["held-out score"], abs=1e-5)
    assert sum(row["kl"] for row in first) / 4 == pytest.approx(done.measured[0]["held-out KL to reference"], abs=1e-5)


def test_held_out_scores_do_not_move_the_running_scale():
    running = {"score": {"normalise": "running"}}
    with_them, without = Done(2, held_out=4, **running), Done(2, **running)
    assert quiet(with_them.learned) == quiet(without.learned)
    assert with_them.memory.scale == without.memory.scale
    assert with_them.memory.scale.count == 16, "two iterations of eight answers"


def test_it_is_measured_at_the_start_every_so_often_and_at_the_end():
    assert [row["step"] for row in Done(5, held_out=2, evaluation={"every": 2}).measured] == [0, 2, 4, 5]
    assert Done(2).measured == []


def test_the_objective_is_the_score_less_the_price_of_the_kl():
    rows = Done(2, held_out=6, evaluation={"every": 1}).measured
    assert rows[0]["held-out KL to reference"] == pytest.approx(0.0, abs=1e-6), "the policy begins as the reference"
    for row in rows:
        price = 0.1 * row["held-out KL to reference"]
        assert row["held-out shaped score"] == pytest.approx(row["held-out score"])
        assert row["held-out objective"] == pytest.approx(row["held-out score"] - price)
        assert row["held-out answer length"] == 2.0
        assert row["held-out ended with EOS"] == 0.0
    assert rows[1]["held-out KL to reference"] != 0.0


def test_the_objective_is_of_the_shaped_score_at_the_present_coefficient():
    shaping = {"normalise": "running", "clip": 0.5, "missing_eos_penalty": 0.25}
    steering = {"controller": "adaptive", "target": 0.01, "horizon_iterations": 1.0}
    done = Done(3, held_out=6, evaluation={"every": 1}, score=shaping, kl=steering, rate=RATE)
    coefficients = [row["KL coefficient"] for row in done.learned]
    assert coefficients[-1] != 0.1
    for row, coefficient in zip(done.measured, [*coefficients, done.memory.kl_coefficient], strict=True):
        # every answer is cut off, and no score is above the clip
        assert -0.75 <= row["held-out shaped score"] <= 0.25
        price = coefficient * row["held-out KL to reference"]
        assert row["held-out objective"] == pytest.approx(row["held-out shaped score"] - price)
    assert any(row["held-out score"] != pytest.approx(row["held-out shaped score"]) for row in done.measured)


def test_the_best_evaluation_is_judged_by_the_scale_and_the_coefficient_of_now():
    settings = toy_settings(PROBLEM, iterations=1, batch=1, beta=0.1, score={"normalise": "running", "clip": 1.0})
    memory = Memory(0.1)
    found = HeldOut([3.0, 9.0], [False, False], [2, 2], span_reward=0.5, kl=2.0)
    # no scale yet: that of the scores themselves, mean 6 and deviation 3, gives -1 and 1
    assert objective(found, settings, memory) == pytest.approx(0.0 + 0.5 - 0.1 * 2.0)
    # mean 1 and deviation 4: 0.5 and 2, which is clipped to 1
    memory.scale.add([-3.0, 5.0])
    assert objective(found, settings, memory) == pytest.approx(0.75 + 0.5 - 0.1 * 2.0)
    memory.kl_coefficient = 1.0
    assert objective(found, settings, memory) == pytest.approx(0.75 + 0.5 - 1.0 * 2.0)
    # the facts of a checkpoint hold what this needs, and those of an earlier release do not
    memory.best_held_out = found
    facts = json.loads(json.dumps(memory.facts()))
    assert Memory.of(facts) == memory
    del facts["best_held_out"]
    assert Memory.of(facts).best_held_out is None


def test_a_coefficient_that_grew_does_not_make_an_early_policy_the_best():
    """The first policy scored 0.2 at a KL of 0, the later one 1.0 at a KL of 1. While beta is 0.1 the later one is
    better, by the raw score it always is; once beta is 2 the first one is."""
    settings = toy_settings(PROBLEM, iterations=1, batch=1, beta=0.1)
    memory = Memory(0.1)
    first = HeldOut([0.2], [False], [2], kl=0.0)
    later = HeldOut([1.0], [False], [2], kl=1.0)
    assert objective(later, settings, memory) > objective(first, settings, memory)
    memory.kl_coefficient = 2.0
    assert objective(later, settings, memory) < objective(first, settings, memory)


def test_measuring_uses_the_raw_score_of_so_many_prompts_as_are_asked_for():
    class Counting(ToyScorer):
        asked: list[int]

        def score(self, items: Sequence[Item]) -> list[Score]:
            self.asked.append(len(items))
            return [Score(7.0) for _ in items]

    scorer = Counting(PROBLEM)
    scorer.asked = []
    done = Done(
        1, held_out=6, evaluation={"every": 1, "prompts": 4}, scorer=scorer, score={"normalise": "running", "clip": 1.0}
    )
    assert scorer.asked == [4, 8, 4]
    assert [row["held-out score"] for row in done.measured] == [7.0, 7.0]


def test_a_warm_up_teaches_the_critic_and_moves_neither_policy_nor_coefficient_nor_patience():
    steering = {"controller": "adaptive", "target": 2.0}
    asked = {"held_out": 2, "evaluation": {"every": 1, "patience": 2}, "kl": steering, "batch": 32}
    asked |= {"update": {"epochs": 8, "minibatches": 1, "value_clip": None}, "advantage": {"critic_lambda": 1.0}}
    done = Done(6, value_warmup=6, rate=0.3, scorer=Alike(PROBLEM), **asked)
    assert torch.equal(done.actors.logits, PROBLEM.reference_logits)
    assert done.outcome.ending == "finished"
    assert [row["KL coefficient"] for row in done.learned] == [0.1] * 6
    # every answer is worth the same, and the critic comes to expect it of every state that was met
    assert done.actors.values.tolist() == pytest.approx([1.0] * PROBLEM.prefixes, abs=0.2)
    free = Done(2, rate=0.1, **asked)
    assert not torch.equal(free.actors.logits, PROBLEM.reference_logits)
    assert free.learned[-1]["KL coefficient"] < 0.1


def test_the_best_weights_are_kept_and_put_back():
    done = Done(4, held_out=8, evaluation={"every": 1}, rate=RATE, keep="best")
    values = [row["held-out objective"] for row in done.measured]
    best = values.index(max(values))
    assert 0 < best < 4, "neither the first nor the last, or nothing is shown"
    assert (done.outcome.ending, done.outcome.iteration, done.outcome.best_iteration) == ("finished", 4, best)
    assert done.keeper.best[-1] == (best, "objective", max(values))
    assert torch.equal(done.actors.logits, done.keeper.saved[best].weights["logits"])
    assert done.keeper.saved[best].state["facts"]["best_iteration"] == best


def test_the_last_weights_stay_where_they_are_asked_for_or_the_best_are_gone():
    last = Done(4, held_out=8, evaluation={"every": 1}, rate=RATE, keep="last")
    assert (last.outcome.best_iteration, last.keeper.best) == (4, [])
    assert torch.equal(last.actors.logits, last.keeper.saved[4].weights["logits"])
    gone = Done(4, held_out=8, evaluation={"every": 1}, rate=RATE, keep="best", keeper=Keeps(forgetful=True))
    assert torch.equal(gone.actors.logits, last.actors.logits)


def test_patience_ends_a_run_that_no_longer_gains():
    # nothing is learned, so that no measurement is better than the first
    done = Done(9, held_out=2, evaluation={"every": 1, "patience": 2}, rate=0.0, keep="best")
    assert (done.outcome.ending, done.outcome.iteration, done.outcome.best_iteration) == ("converged", 2, 0)
    assert (done.memory.ending, done.memory.measurements_since_best) == ("converged", 2)
    assert 2 in done.keeper.saved


def test_a_run_killed_after_its_end_ends_the_same_way_again():
    memory = Memory(0.1, iteration=3, best_value=1.0, best_iteration=3, ending="KL limit")
    done = Done(9, memory=memory)
    assert (done.outcome.ending, done.outcome.iteration, done.keeper.rows) == ("KL limit", 3, [])


def test_the_kl_limit_ends_the_run_after_the_iteration_that_passed_it():
    free = Done(6, rate=1.0)
    kls = [row["KL to reference"] for row in free.learned]
    limit = sorted(kls)[3]
    first = next(i for i, kl in enumerate(kls) if kl > limit)
    done = Done(6, rate=1.0, kl={"coefficient": 0.1, "limit": limit}, held_out=2, evaluation={"every": 100})
    assert (done.outcome.ending, done.outcome.iteration) == ("KL limit", first + 1)
    assert [row["step"] for row in done.measured] == [0, first + 1], "the end is measured whenever it comes"


def test_a_stop_saves_the_iteration_it_came_at():
    done = Done(5, keeper=Keeps(stop_at=2), held_out=2, evaluation={"every": 100}, keep="best")
    assert (done.outcome.ending, done.outcome.iteration) == ("stopped", 2)
    assert list(done.keeper.saved) == [0, 2], "the best so far, and where it stopped"
    assert done.memory.ending == "finished", "a run that was stopped goes on"
    assert Done(2, keeper=Keeps(stop_at=2)).outcome.ending == "finished"


def test_checkpoints_are_taken_every_so_often_and_at_the_end():
    run = {"out": "toy", "seed": 0, "checkpoint_every": 2}
    done = Done(5, run=run)
    assert list(done.keeper.saved) == [2, 4, 5]
    assert [done.keeper.saved[step].state["facts"]["iteration"] for step in (2, 4, 5)] == [2, 4, 5]
    facts = done.keeper.saved[4].state["facts"]
    assert Memory.of(facts).facts() == facts


def test_a_run_resumed_from_a_checkpoint_learns_the_same_as_one_that_was_not():
    run = {"out": "toy", "seed": 0, "checkpoint_every": 2}
    whole = Done(4, run=run, kl={"controller": "adaptive", "target": 0.05}, score={"normalise": "running"})
    memory = Memory.of(whole.keeper.saved[2].state["facts"])
    assert (memory.iteration, memory.samples, memory.scale.count) == (2, 16, 16)
    assert memory.kl_coefficient == whole.learned[2]["KL coefficient"] != 0.1


def test_a_service_that_fails_leaves_the_run_saved_where_it_was():
    class Failing(ToyScorer):
        calls = 0

        def score(self, items: Sequence[Item]) -> list[Score]:
            self.calls += 1
            if self.calls == 3:
                raise ServiceError("nobody answers")
            return super().score(items)

    keeper = Keeps()
    with pytest.raises(ServiceError):
        Done(5, keeper=keeper, scorer=Failing(PROBLEM))
    assert list(keeper.saved) == [2]
    assert keeper.saved[2].state["facts"]["samples"] == 16


def test_answers_are_counted_and_some_are_kept():
    done = Done(3, samples_kept=3)
    assert [row["answers so far"] for row in done.learned] == [8, 16, 24]
    assert done.keeper.kept_samples == {1: 3, 2: 3, 3: 3}
    assert [step for step, _ in done.keeper.shown] == [1, 2, 3]
    assert done.keeper.shown[0][1]["score"] == done.learned[0]["score"]
    times = [name for name in done.learned[0] if name.startswith("seconds to")]
    assert times == ["seconds to collect", "seconds to score", "seconds to watch", "seconds to update"]
    assert all(done.learned[0][name] >= 0 for name in times)


def test_what_is_outside_its_healthy_range_is_said_once():
    # a policy of three tokens and two steps has a small entropy after such steps
    done = Done(6, rate=5.0, batch=32)
    said = [words for words in done.keeper.notices if ": entropy is" in words]
    assert len(said) <= 1
    names = [words.split(": ")[1].split(" is ")[0] for words in done.keeper.notices]
    assert len(set(names)) == len(names) > 0
    assert names == done.memory.reported


def test_an_engine_with_a_copy_of_the_weights_gives_it_back_and_takes_the_new_ones_up():
    class WithACopy(TabularEngine):
        def __init__(self, actors: Tabular) -> None:
            super().__init__(actors)
            self.done: list[str] = []

        def release(self) -> None:
            self.done.append("release")

        def refresh(self, version: int) -> None:
            self.done.append(f"refresh {version}")

    assert Done(2, engine=WithACopy).engine.done == ["release", "refresh 1", "release", "refresh 2"]  # pyright: ignore[reportAttributeAccessIssue]


def test_prompts_whose_answers_all_score_alike_are_left_out_if_wanted():
    groups = {"estimator": "rloo", "leave_out_equal": True}
    done = Done(1, advantage=groups, scorer=Alike(PROBLEM))
    assert done.learned[0]["optimiser steps"] == 0
    assert (
        Done(1, advantage={**groups, "leave_out_equal": False}, scorer=Alike(PROBLEM)).learned[0]["optimiser steps"]
        == 1
    )


def test_the_coefficient_follows_its_controller():
    assert next_coefficient(KlSettings(controller="fixed"), 0.3, 99.0, 8) == 0.3
    adaptive = KlSettings(controller="adaptive", target=2.0, horizon=100.0)
    # error (2.2 - 2) / 2 = 0.1; 1 + 0.1 * 10 / 100 = 1.01; errors are held at 0.2
    assert next_coefficient(adaptive, 0.5, 2.2, 10) == pytest.approx(0.5 * 1.01)
    assert next_coefficient(adaptive, 0.5, 50.0, 10) == pytest.approx(0.5 * 1.02)
    assert next_coefficient(adaptive, 0.5, -1.0, 10) == pytest.approx(0.5 * 0.98)
    # more answers than the horizon count as the horizon
    assert next_coefficient(adaptive, 0.5, 50.0, 1000) == pytest.approx(0.5 * 1.2)
    # by default the horizon is 3 iterations, however many answers one holds: 1 + 0.2 / 3
    for answers in (1, 64, 4096):
        by_default = KlSettings(controller="adaptive", target=2.0)
        assert next_coefficient(by_default, 0.5, 50.0, answers) == pytest.approx(0.5 * (1 + 0.2 / 3))
    seeking = KlSettings(controller="target", target=2.0)
    # exp(0.1 * log(4 / 2)) = 2^0.1, and 2 at most
    assert next_coefficient(seeking, 0.5, 2.0, 10) == pytest.approx(0.5)
    assert next_coefficient(seeking, 0.5, 4.0, 10) > 0.5 > next_coefficient(seeking, 0.5, 1.0, 10)


def found(action: str, step: int = 1) -> Finding:
    return Finding(step, "length", 2.5, 2.0, "answers grow", action, ())  # type: ignore[arg-type]


class ScriptedWatch:
    """A watch whose looks are written down."""

    def __init__(self, *looks: WatchReport, restores: bool = False) -> None:
        self.looks, self.restores = list(looks), restores
        self.saw: list[int] = []
        self.paid: list[bool] = []

    def look(self, answers: Sequence[Any], memory: WatchMemory, *, iteration: int) -> WatchReport:
        self.saw.append(len(answers))
        looked = self.looks[iteration]
        if looked.best:
            memory.best_value, memory.best_step = 1.5, iteration
        return looked

    def paying(self, scorer: Any, memory: WatchMemory) -> Any:
        self.paid.append(memory.conservative)
        return scorer

    def raised(self, coefficient: float) -> float:
        return 2 * coefficient


def look(*actions: str, best: bool = False) -> WatchReport:
    findings = [found(action) for action in actions]
    return WatchReport({"length": 2.5}, findings, actions, best)  # type: ignore[arg-type]


def test_the_watch_sees_every_answer_and_its_numbers_are_journaled():
    watch = ScriptedWatch(look(), look())
    done = Done(2, watch=watch)
    assert watch.saw == [8, 8]
    assert [row["watch length"] for row in done.learned] == [2.5, 2.5]
    assert done.keeper.found == []
    assert not any("watch length" in row for row in Done(1).learned)


def test_a_finding_is_kept_and_said_with_what_is_done_about_it():
    done = Done(3, watch=ScriptedWatch(look(), look("raise-kl"), look()))
    assert [row["KL coefficient"] for row in done.learned] == [0.1, 0.1, 0.2], "from the next iteration on"
    assert done.keeper.found == finding_rows(look("raise-kl"))
    assert done.keeper.found[0]["detector"] == "length"
    assert "iteration 2: watch, length 2.5 (limit 2): answers grow. The KL coefficient is raised" in done.keeper.notices


def test_the_ensemble_is_believed_less_from_the_next_iteration_on():
    watch = ScriptedWatch(look("conservative"), look())
    done = Done(2, watch=watch)
    assert watch.paid == [False, True]
    assert done.memory.watch.conservative


def test_a_stop_by_the_watch_ends_the_run_there():
    done = Done(5, watch=ScriptedWatch(look(), look("stop")), held_out=2, evaluation={"every": 100})
    assert (done.outcome.ending, done.outcome.iteration) == ("stopped by the watch", 2)
    assert 2 in done.keeper.saved
    assert [row["step"] for row in done.measured] == [0, 2]


def test_the_weights_that_the_watch_believes_in_are_kept_and_restored():
    watch = ScriptedWatch(look(), look(best=True), look("restore"), restores=True)
    done = Done(5, watch=watch, held_out=4, evaluation={"every": 100})
    assert done.keeper.believed == [1]
    assert done.keeper.saved[1].state["facts"]["iteration"] == 1
    assert (done.outcome.ending, done.outcome.iteration, done.outcome.best_iteration) == ("stopped by the watch", 3, 1)
    assert torch.equal(done.actors.logits, done.keeper.saved[1].weights["logits"])
    assert done.keeper.again == [(1, "what the watch believes", 1.5)]
    assert "the weights of iteration 1, the best by what the watch believes, are restored" in done.keeper.notices
    assert done.outcome.held_out != done.memory.held_out, "what was restored is measured"


def test_weights_to_restore_that_are_gone_leave_the_last_ones():
    watch = ScriptedWatch(look(best=True), look("restore"), restores=True)
    done = Done(5, watch=watch, keeper=Keeps(forgetful=True))
    assert (done.outcome.iteration, done.outcome.best_iteration, done.keeper.again) == (2, 2, [])


@pytest.mark.parametrize(
    ("action", "stopped", "words"),
    [
        ("warn", False, ""),
        ("raise-kl", False, ". The KL coefficient is raised"),
        ("conservative", False, ". From now on the ensemble's scores are taken conservatively"),
        ("stop", True, ". The run ends here"),
        ("restore", True, ". The run ends here, and the best weights are restored"),
    ],
)
def test_each_action_does_what_it_says(action: str, stopped: bool, words: str):
    memory, looked = WatchMemory(), look(action)
    coefficient = act(looked, ScriptedWatch(), memory, 0.25)
    assert coefficient == (0.5 if action == "raise-kl" else 0.25)
    assert memory.conservative == (action == "conservative")
    assert memory.restored == (action == "restore")
    assert stops(looked) is stopped
    assert sentence(looked.findings[0]) == f"watch, length 2.5 (limit 2): answers grow{words}"


def test_without_a_watch_there_is_nothing_to_say_or_to_stop_for():
    assert numbers(None) == {}
    assert stops(None) is False


class OffEngine(TabularEngine):
    """Its log-probabilities are a tenth of a nat off."""

    def generate(self, *given: Any, **named: Any) -> Any:
        found = super().generate(*given, **named)
        return replace(found, log_probs=found.log_probs - 0.1)


def test_an_engine_that_disagrees_with_the_trainer_is_corrected_for_by_importance_weights():
    plain = {"advantage": {"whiten": False}}
    off, right = Done(1, engine=OffEngine, **plain), Done(1, **plain)
    assert off.learned[0]["engine mismatch"] == pytest.approx(0.1, abs=1e-5)
    assert (off.memory.importance, right.memory.importance) == (True, False)
    assert any("engine mismatch is" in words for words in off.keeper.notices)
    # trainer / engine = exp(0.1) multiplies the policy loss
    assert off.learned[0]["policy loss"] == pytest.approx(math.exp(0.1) * right.learned[0]["policy loss"], rel=1e-4)
    assert not Done(1, engine=OffEngine, update={**FEW, "mismatch_bound": 0.11}).memory.importance
