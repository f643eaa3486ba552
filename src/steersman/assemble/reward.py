"""`reward` put together: judgements -> a reward model (or an ensemble of them), its scale, and a report on how good it is."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from steersman.assemble.device import resolve_device, resolve_machine
from steersman.assemble.judgements import Judgements, one_sided, read_judgements
from steersman.assemble.language_model import LanguageModel, base_of, load_language_model, shard_model
from steersman.assemble.learner import groups_together
from steersman.assemble.material import content_of, sources_of
from steersman.assemble.repeat import RunResult
from steersman.assemble.run import KeptRun, keep_run
from steersman.assemble.supervised import Judged, Material, already_finished, conclude, learn
from steersman.data.load import ReadReport, load_records
from steersman.errors import DataError, UsageError
from steersman.methods.reward_model import Preference, Trainee
from steersman.models.adapters import set_trainable
from steersman.models.files import describe
from steersman.models.reward_model import (
    RewardModel,
    Scale,
    load_reward_adapter,
    load_reward_model,
    new_reward_model,
    save_reward_model,
)
from steersman.parallel.world import World, join
from steersman.records import Answers, Comparison, Completion, Demonstration, Label, Ranking
from steersman.reward.model import RewardModelScorer
from steersman.reward.rows import encode_item, through
from steersman.reward.scorer import Item
from steersman.runs.folder import atomic_write_text
from steersman.settings.parts import RunSettings
from steersman.settings.reward import RewardSettings
from steersman.text.tokeniser import give_pad, load_tokeniser
from steersman.train.checkpoint import load_weight_tensors, weight_tensors

ADAPTER = "reward"
# Enough answers that the mean is known to a twentieth of a standard deviation.
REFERENCE_ANSWERS = 512
SCORING_BUDGET = 4096


def run_reward(settings: RewardSettings, *, quiet: bool = False) -> RunResult:
    """Train a reward model, or each member of an ensemble; the same call on the same folder resumes."""
    if settings.members == 1:
        return run_member(settings, quiet=quiet)
    results: list[RunResult] = []
    for member in range(settings.members):
        out = Path(settings.run.out) / f"member-{member + 1}"
        run = settings.run.model_copy(update={"seed": settings.run.seed + member, "out": str(out)})
        results.append(run_member(settings.model_copy(update={"run": run, "members": 1}), quiet=quiet))
        if results[-1].ending == "stopped":
            return replace(results[-1], out=settings.run.out)
    return _ensemble(settings.run, results)


def run_member(settings: RewardSettings, *, quiet: bool) -> RunResult:
    next_command = f"steersman score YOUR-ANSWERS.jsonl --scorer {settings.run.out}"
    before = already_finished(settings, settings.run, next_command)
    if before is not None:
        return before
    with join(resolve_device(settings.run.device)) as world:
        torch.manual_seed(settings.run.seed)
        trainee, tokeniser = load_trainee(settings, world.device)
        backbone = trainee.reward.backbone
        machine = resolve_machine(settings.run, settings.train, width=backbone.hidden_size, kept=Path(settings.run.out))
        facts = {
            "threads": machine.threads,
            "deterministic": machine.facts,
            "data": content_of(settings.data),
            "parents": {"model": settings.model.path},
        }
        with machine.working(), keep_run(settings, settings.run, kind="reward", world=world, facts=facts) as kept:
            train, held_out = _read_both(settings, tokeniser, kept, backbone.context_length)
            for fact in one_sided(train.comparisons):
                kept.notice(fact)
            shard_model(trainee, backbone, world, entrances=("scores",))
            finish = learn(
                trainee,
                Material(
                    len(train),
                    train.group,
                    [] if held_out is None else [held_out.group(i) for i in range(len(held_out))],
                ),
                Preference(use_margin=settings.use_margin, centring=settings.centring),
                groups_together(pad_id=tokeniser.pad_token_id, device=world.device, multiple=machine.multiple),
                optimiser=settings.optimiser,
                train=settings.train,
                seed=settings.run.seed,
                checkpoint_every=settings.run.checkpoint_every,
                judged=Judged(
                    "loss",
                    higher_is_better=False,
                    derive=_loss,
                ),
                kept=kept,
                machine=machine,
                world=world,
                label="reward",
                quiet=quiet,
            )
            if finish.ending != "stopped":
                trainee.reward.scale = measure_scale(settings, trainee.reward, tokeniser, train, world)
            weights = weight_tensors(trainee) if world.size > 1 else None

            def save(folder: Path) -> None:
                whole = trainee.reward if weights is None else _on_one_process(settings, weights, trainee.reward.scale)
                save_reward_model(whole, tokeniser, folder)

            result = conclude(kept, finish, save=save, world=world, next_command=next_command)
            if result.ending != "stopped" and held_out is not None and held_out.comparisons and world.size == 1:
                _report(kept, trainee.reward, tokeniser, held_out.comparisons, quiet=quiet)
            return result


def _loss(found: Mapping[str, float]) -> Mapping[str, float]:
    return {"loss": found.get("preference", 0.0) + found.get("approval", 0.0)}


def load_trainee(settings: RewardSettings, device: torch.device) -> tuple[Trainee, Any]:
    """What is trained: a new reward model on a causal model, an adapter on its base, or an earlier reward model further."""
    path = Path(settings.model.path).expanduser()
    run_model = path / "model" if (path / "recipe.toml").exists() else path
    earlier = describe(run_model) if run_model.is_dir() else None
    if earlier is not None and earlier.kind == "reward":
        if settings.model.lora is not None:
            raise UsageError(
                f"{settings.model.path} is a whole reward model; it is trained further whole. Leave model.lora out, or begin an "
                "adapter on its causal base model instead"
            )
        tokeniser = load_tokeniser(run_model)
        give_pad(tokeniser)
        reward = load_reward_model(run_model, dtype=torch.float32, device=device)
        return Trainee(None, reward), tokeniser
    if earlier is not None and earlier.kind == "adapter" and earlier.notes.get("kind") == "reward":
        base = settings.model.model_copy(update={"path": base_of(str(run_model)), "lora": None})
        model = load_language_model(base, device)
        reward = load_reward_adapter(model.backbone, ADAPTER, run_model)
        set_trainable(model.backbone, [ADAPTER])
        return Trainee(model.backbone, reward), model.tokeniser
    model: LanguageModel = load_language_model(settings.model, device, adapter=ADAPTER)
    reward = new_reward_model(model.backbone, adapter=model.adapter)
    return Trainee(model.backbone if model.adapter else None, reward), model.tokeniser


def _read_both(
    settings: RewardSettings, tokeniser: Any, kept: KeptRun, context: int | None
) -> tuple[Judgements, Judgements | None]:
    found: list[Judgements | None] = []
    for held_out in (False, True):
        if held_out and not settings.data.held_out:
            found.append(None)
            continue
        reading = ReadReport()
        folder = kept.folder.path / "tokens" / ("held-out" if held_out else "train")
        judgements = read_judgements(
            settings.data,
            tokeniser,
            kept,
            held_out=held_out,
            context=context,
            ties=settings.ties,
            folder=folder,
            reading=reading,
        )
        found.append(judgements)
        side = "held out" if held_out else "to learn from"
        words = f"{0 if judgements is None else len(judgements):,} judged prompts {side}"
        if judgements is not None:
            words += f", {len(judgements.pairs):,} pairs, {len(judgements.rows):,} answers"
        if reading.malformed and not held_out:
            words += f"; {reading.malformed:,} bad rows are in {kept.folder.quarantine_path}"
        kept.notice(words)
    train, held = found
    assert train is not None
    return train, held


def measure_scale(
    settings: RewardSettings, reward: RewardModel, tokeniser: Any, train: Judgements, world: World
) -> Scale:
    """Mean and standard deviation of the scores of reference answers: then 0 is an ordinary answer, and 1 a good deal better."""
    if settings.reference is None:
        count = min(len(train.rows), REFERENCE_ANSWERS)
        # spread over all the answers, for neighbours share prompts
        rows = [train.rows.row(i * len(train.rows) // count) for i in range(count)]
        label = "the judged answers"
    else:
        items = _reference_answers(settings.reference)
        rows = [encode_item(tokeniser, item, reads="conversation", limit=settings.data.max_length)[0] for item in items]
        label = settings.reference
    if len(rows) < 2:
        raise DataError(
            f"reference={settings.reference}: {len(rows)} answers there; expected at least 2 to measure a mean and a spread"
        )
    reward.eval()
    scores = through(
        rows, reward.scores_by_head, pad_id=tokeniser.pad_token_id, token_budget=SCORING_BUDGET, device=world.device
    )
    return Scale(float(scores.mean()), max(float(scores.mean(1).std()), 1e-6), label)


def _reference_answers(source: str) -> list[Item]:
    sources_of(source)
    found: list[Item] = []
    for record in load_records(source):
        if isinstance(record, Demonstration | Label):
            found.append((record.prompt, record.completion.text))
        elif isinstance(record, Answers | Ranking):
            found.extend((record.prompt, completion.text) for completion in record.completions)
        elif isinstance(record, Comparison):
            found.extend([(record.prompt, record.first.text), (record.prompt, record.second.text)])
        if len(found) >= REFERENCE_ANSWERS:
            break
    return found[:REFERENCE_ANSWERS]


def _on_one_process(settings: RewardSettings, weights: dict[str, torch.Tensor], scale: Scale) -> RewardModel:
    trainee, _ = load_trainee(settings, torch.device("cpu"))
    load_weight_tensors(trainee, weights)
    trainee.reward.scale = scale
    return trainee.reward


def _report(
    kept: KeptRun, reward: RewardModel, tokeniser: Any, comparisons: tuple[Comparison, ...], *, quiet: bool
) -> None:
    """How good the model is on the held-out judgements: kept as quality.json, and said."""
    from steersman.evaluate.judged_pairs import judged_pairs
    from steersman.evaluate.reward_quality import measure_reward_quality, plain
    from steersman.evaluate.reward_quality_words import lines_of

    scorer = RewardModelScorer(reward, tokeniser, token_budget=SCORING_BUDGET)
    items = [(c.prompt, completion.text) for c in comparisons for completion in (c.first, c.second)]
    scores = [score.value for score in scorer.score(items)]

    def scored(completion: Completion, value: float) -> Completion:
        return replace(completion, scores={**completion.scores, "reward": value})

    rated = [
        replace(c, first=scored(c.first, scores[2 * i]), second=scored(c.second, scores[2 * i + 1]))
        for i, c in enumerate(comparisons)
    ]
    try:
        quality = measure_reward_quality(judged_pairs(rated, "reward"))
    except DataError as error:
        kept.notice(f"no report on held-out judgements: {error}")
        return
    atomic_write_text(kept.folder.path / "quality.json", json.dumps(plain(quality), indent=1))
    if not quiet:
        from rich.console import Console

        for line in lines_of(quality):
            Console(highlight=False).print(line)


def _ensemble(run: RunSettings, results: list[RunResult]) -> RunResult:
    """The folder that stands for all members; a scorer opened on it scores with each."""
    names = [str(Path(result.out).name) + "/model" for result in results]
    atomic_write_text(Path(run.out) / "ensemble.json", json.dumps({"kind": "ensemble", "members": names}, indent=1))
    held_out = {
        name: sum(result.held_out[name] for result in results) / len(results)
        for name in results[0].held_out
        if all(name in result.held_out for result in results)
    }
    last = results[-1]
    return replace(
        last,
        out=run.out,
        held_out=held_out,
        model=run.out,
        next_command=f"steersman score YOUR-ANSWERS.jsonl --scorer {run.out}",
    )
