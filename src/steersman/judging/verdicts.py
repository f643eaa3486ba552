"""Conversion of a verdict into a record: positions on the screen are mapped back to the answers of the file."""

from steersman.judging.queue import Item
from steersman.judging.session import Verdict
from steersman.records import Comparison, Completion, Demonstration, Ranking, digest_of

Judgement = Comparison | Ranking | Demonstration


def record_id(item_id: str, annotator: str) -> str:
    """The id of one annotator's judgement of one item. It is unique across annotators, so label files can be merged."""
    return f"{item_id}-{digest_of(annotator)[:6]}"


def item_of(record: Judgement) -> str:
    """The id of the judged item, from a record's id."""
    return record.id.rpartition("-")[0]


def record_of(item: Item, verdict: Verdict, annotator: str, time: str, seconds: float) -> Judgement:
    """The record that goes into the label file."""
    name = record_id(item.id, annotator)
    metadata: dict[str, object] = {"seconds": round(seconds, 2)}
    if item.repeats:
        metadata["repeats"] = record_id(item.repeats, annotator)
    if verdict.choice == "written":
        source = None if verdict.source is None else item.at(verdict.source)
        completion = source if source is not None and source.text == verdict.text else Completion(verdict.text)
        return Demonstration(item.prompt, completion, annotator, name)
    if verdict.ranks:
        if verdict.choice == "all_bad":
            metadata["all_bad"] = True
        if verdict.unordered:
            metadata["unordered"] = [item.shown[place] for place in verdict.unordered]
        if verdict.note:
            metadata["rationale"] = verdict.note
        rank_of = {item.shown[place]: rank for place, rank in enumerate(verdict.ranks)}
        ranks = tuple(rank_of[index] for index in range(len(item.completions)))
        return Ranking(item.prompt, item.completions, ranks, annotator, item.shown, time, name, metadata)
    first, second = item.completions
    chosen = {"left": 0, "right": 1}.get(verdict.choice)
    return Comparison(
        prompt=item.prompt,
        first=first,
        second=second,
        preference=0.5 if chosen is None else 1.0 - item.shown[chosen],
        margin=None if verdict.strength is None else float(verdict.strength),
        both_bad=verdict.choice == "both_bad",
        annotator=annotator,
        shown="first" if item.shown[0] == 0 else "second",
        rationale=verdict.note,
        time=time,
        id=name,
        metadata=metadata,
    )


def words_of(record: Judgement) -> str:
    """A judgement as text, for the message after an undo."""
    match record:
        case Comparison():
            if record.both_bad:
                return "both bad"
            if record.tied:
                return "a tie"
            left = (record.preference > 0.5) == (record.shown == "first")
            return f"{'A' if left else 'B'} was better"
        case Ranking():
            return "a ranking"
    return "your answer, now a draft again"
