"""`judge`: answers, judged pairs or attacks -> an AI judge's verdicts, in a run folder.

verdicts.jsonl  one row for each record, on disk before the next batch: each pair's verdict, by principle
labels.jsonl    the verdicts as comparisons, in the format of people's labels
trust.json      with against: the judge beside people, or beside known answers
attacks.json    with attack: how often each family of attack strings beats an honest answer
replies/        an endpoint's replies: the same command asks for nothing twice
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from steersman.data.write import RowWriter
from steersman.errors import Preempted
from steersman.evaluate.reward_quality import plain
from steersman.execution.kept import OpenRunFolder, keep_run
from steersman.execution.machine import on_threads, resolve_device
from steersman.inference.judge_inputs import attacks_of, data_hashes, every_principle, records_to_judge
from steersman.inference.verdicts import VerdictFile
from steersman.judges.attacks import AttackResult, AttackSet, measure_attacks, pairs_of_attacks
from steersman.judges.endpoint import EndpointJudge
from steersman.judges.forecast import JudgeForecast, forecast_of, words_of_forecast
from steersman.judges.judge import Judge, JudgeVerdict
from steersman.judges.labels import label_of
from steersman.judges.pairing import ChosenPair, judge_records
from steersman.judges.result import JudgeResult
from steersman.judges.trust import measure_trust
from steersman.loading.judges import JudgeModels, judge_identity, open_judge
from steersman.loading.sources import register_sources
from steersman.parallel.world import World
from steersman.records import Comparison, Record, to_dict
from steersman.runs.commands import command_line
from steersman.runs.folder import atomic_write_text
from steersman.runs.identity import scorer_identity
from steersman.runs.replies import Replies
from steersman.runs.stamp import MachineFacts, RunIdentity
from steersman.settings.judge_run import JudgeRunSettings
from steersman.settings.parts import RunSettings

LABELS, TRUST, ATTACKS = "labels.jsonl", "trust.json", "attacks.json"


def run_judge(settings: JudgeRunSettings, *, quiet: bool = False) -> JudgeResult:
    """Judge; the same call on the same folder continues."""
    register_sources()
    place = settings.run
    settings = every_principle(settings)
    run = RunSettings(out=place.out, seed=settings.judge.seed, device=place.device, threads=place.threads)
    records = records_to_judge(settings)
    attacks = attacks_of(settings)
    device = resolve_device(place.device)
    threads = place.threads or torch.get_num_threads()
    name, places = judge_identity(settings.judge)
    identity = RunIdentity("judge", {"run": run.seed}, data_hashes(settings), {"judge": scorer_identity(name, places)})
    world = World.alone()
    facts = MachineFacts(threads, world.device.type, world.size, {})
    with on_threads(threads), keep_run(settings, run, identity, facts, world) as kept:
        kept.resume_point(world)
        replies = Replies(kept.folder.path / "replies") if settings.judge.at_endpoint else {}
        judge = open_judge(settings.judge, JudgeModels(device), replies, kept.notice)
        if isinstance(judge.engine, EndpointJudge):
            kept.notice(words_of_forecast(_forecast(judge, records, attacks, settings)))
        result = _judge_all(settings, records, judge, kept, quiet=quiet)
        if settings.against is not None:
            result = _with_trust(result, records, judge, kept)
        if attacks is not None:
            result = replace(result, attacks=_attacked(judge, attacks, kept), at_most=settings.attack.at_most)
        if isinstance(judge.engine, EndpointJudge):
            spent = judge.engine.budget.spent
            result = replace(result, asked=(spent.calls, spent.tokens))
        kept.end("finished", len(records), "finished")
    return result


def forecast_judge(settings: JudgeRunSettings) -> JudgeForecast:
    """What `run_judge` would ask now. Nothing is asked, and nothing is written."""
    register_sources()
    settings = every_principle(settings)
    records, attacks = records_to_judge(settings), attacks_of(settings)
    folder = Path(settings.run.out) / "replies"
    replies = Replies(folder) if settings.judge.at_endpoint and folder.is_dir() else {}
    judge = open_judge(settings.judge, JudgeModels(resolve_device(settings.run.device)), replies, lambda words: None)
    return _forecast(judge, records, attacks, settings)


def _judge_all(
    settings: JudgeRunSettings, records: Sequence[Record], judge: Judge, kept: OpenRunFolder, *, quiet: bool
) -> JudgeResult:
    """Judge record by record in batches, and write the labels. Verdicts that are there already stay."""
    found: list[list[tuple[ChosenPair, JudgeVerdict]]] = []
    with (
        VerdictFile(kept.folder.path, records) as file,
        kept.progress("judge", len(records), done=file.done, silent=quiet),
    ):
        found += file.earlier
        step, tournament = settings.records_at_once, settings.pairs == "tournament"
        while file.done < len(records):
            start = file.done
            # batches begin at fixed places, so that a continued run is the same as an unbroken one
            some = records[start : start - start % step + step]
            judged = judge_records(some, judge.compare, tournament=tournament, seed=settings.judge.seed)
            file.append(judged)
            found += judged
            mean = mean_sureness([verdict for one in judged for _, verdict in one])
            kept.journal({"step": file.done, "pairs": float(sum(map(len, judged))), "sureness": mean})
            kept.show(file.done, {"sureness": mean})
            if kept.stop_requested() and file.done < len(records):
                raise Preempted(
                    f"stopped after {file.done:,} of {len(records):,} records, as asked; the same command goes on"
                )
    abstentions: dict[str, int] = {}
    verdicts = [(one, verdict) for pairs in found for one, verdict in pairs]
    for _, verdict in verdicts:
        if verdict.preference is None:
            abstentions[verdict.problem] = abstentions.get(verdict.problem, 0) + 1
    labels = kept.folder.path / LABELS
    judged_pairs = [(one, verdict) for one, verdict in verdicts if verdict.preference is not None]
    if records:
        with RowWriter(labels) as writer:
            for one, verdict in judged_pairs:
                writer.write(to_dict(label_of(one, verdict, judge)))
    return JudgeResult(
        out=settings.run.out,
        judge=judge.name,
        constitution=judge.constitution.name,
        records=len(records),
        pairs=len(verdicts),
        judged=len(judged_pairs),
        abstentions=abstentions,
        labels=str(Path(settings.run.out) / LABELS) if records and settings.against is None else "",
        next_command=_next_command(settings),
        sureness=mean_sureness([verdict for _, verdict in judged_pairs]),
    )


def mean_sureness(verdicts: Sequence[JudgeVerdict]) -> float:
    """The mean of |2p - 1| over the verdicts that are no abstentions."""
    shares = [abs(2 * verdict.preference - 1) for verdict in verdicts if verdict.preference is not None]
    return sum(shares) / len(shares) if shares else 0.0


def _with_trust(result: JudgeResult, records: Sequence[Record], judge: Judge, kept: OpenRunFolder) -> JudgeResult:
    """The result with the judge's trust. Several people's judgements of a pair have one verdict, asked once a row."""
    comparisons = [one for one in records if isinstance(one, Comparison)]
    with VerdictFile(kept.folder.path, records) as file:
        verdicts = [pairs[0][1] for pairs in file.earlier]
    trust = measure_trust(judge.name, judge.constitution.name, comparisons, verdicts)
    atomic_write_text(kept.folder.path / TRUST, json.dumps(plain(trust), indent=1, ensure_ascii=False))
    return replace(result, trust=trust)


def _attacked(judge: Judge, attacks: AttackSet, kept: OpenRunFolder) -> AttackResult:
    result = measure_attacks(judge, attacks, judge.compare(pairs_of_attacks(attacks)))
    atomic_write_text(kept.folder.path / ATTACKS, json.dumps(plain(result), indent=1))
    return result


def _forecast(
    judge: Judge, records: Sequence[Record], attacks: AttackSet | None, settings: JudgeRunSettings
) -> JudgeForecast:
    strings = [] if attacks is None else pairs_of_attacks(attacks)
    return forecast_of(judge, records, strings, tournament=settings.pairs == "tournament")


def _next_command(settings: JudgeRunSettings) -> str:
    """A reward model from the labels, or a page of what was measured."""
    out, model = Path(settings.run.out), settings.judge.model
    if settings.data is None or settings.attack.source is not None:
        return command_line("report", out)
    if settings.judge.at_endpoint:
        return command_line("data", "inspect", out / LABELS)
    return command_line(
        "reward", "--model", model, "--data", out / LABELS, "--out", out.with_name(f"{out.name}-reward")
    )
