"""Terminal output of `steersman data`: the lines of an inspection, a conversion and a split."""

from collections.abc import Iterable, Sequence

from steersman.data.convert import ConvertReport
from steersman.data.inspect import Inspection, Leak
from steersman.data.load import ReadReport
from steersman.data.split import SplitReport

_WIDTH = 40


def reading_lines(report: ReadReport) -> list[str]:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in report.kinds.items()) or "none"
    lines = [f"{report.source}: {report.rows:,} rows, {report.records:,} records ({kinds})"]
    formats = sorted(set(report.formats.values()))
    lines += (
        [
            f"  format        {', '.join(formats)}"
            + (f" in {len(report.formats)} files" if len(report.formats) > 1 else "")
        ]
        if formats
        else []
    )
    for reason, count in report.left_out.most_common():
        lines.append(f"  left out      {count:,} × {reason}")
    if report.malformed:
        lines.append(f"  malformed     {report.malformed:,} of {report.rows:,} rows")
    for reason, count in report.reasons.most_common():
        lines.append(f"    {count:,} × {reason}")
        lines += [f"      {example}" for example in report.examples[reason]]
    return lines


def inspection_lines(seen: Inspection) -> list[str]:
    found = seen.as_dict()
    lines = reading_lines(seen.report)
    repeats = found["duplicates"]
    lines.append(f"  prompts       {found['distinct_prompts']:,} distinct")
    lines.append(f"  duplicates    {repeats['exact']:,} exact, {repeats['normalised']:,} ignoring case and spacing")
    pairs = found["comparisons"]
    if pairs["count"]:
        lines.append(
            f"  ties          {_percent(pairs['share_of_ties'])} ({pairs['ties']:,}, of them "
            f"{pairs['both_bad']:,} both bad)"
        )
        lines.append(
            f"  preferred     the first {_percent(pairs['first_preferred'])}, the longer "
            f"{_percent(pairs['longer_preferred'])}"
        )
        if pairs["shown_first_preferred"] is not None:
            lines.append(
                f"  position      the answer shown first won {_percent(pairs['shown_first_preferred'])} "
                "(healthy: near 50 %)"
            )
    for name, counts in (
        ("thumbs", found["thumbs"]),
        ("classes", found["classes"]),
        ("annotators", found["annotators"]["most"]),
    ):
        if counts:
            total = f"{found['annotators']['count']:,}: " if name == "annotators" else ""
            lines.append(f"  {name:<13} {total}{', '.join(f'{key} {count:,}' for key, count in counts.items())}")
    for name, lengths in found["lengths"].items():
        marks = ", ".join(f"{mark} {lengths[mark]:,}" for mark in ("median", "p95", "p99", "longest"))
        lines += ["", f"  {name}: mean {lengths['mean']:,}, {marks}", *_bars(lengths["bars"])]
    return lines


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _bars(bars: dict[str, int]) -> Iterable[str]:
    most = max(bars.values(), default=1)
    for name, count in bars.items():
        eighths = round(8 * _WIDTH * count / most)
        bar = "█" * (eighths // 8) + ("▏▎▍▌▋▊▉"[eighths % 8 - 1] if eighths % 8 else "")
        yield f"  {name:>15} {bar or ('▏' if count else '')} {count:,}"


def leak_lines(leaks: Sequence[Leak]) -> list[str]:
    lines: list[str] = []
    for leak in leaks:
        if not leak.prompts:
            lines.append(f"no prompt of {leak.second} is in {leak.first}")
            continue
        lines.append(
            f"LEAK: {leak.prompts:,} prompts ({leak.records:,} records) of {leak.second} are also in "
            f"{leak.first}, such as"
        )
        lines += [f"    {example!r}" for example in leak.examples]
    return lines


def conversion_lines(report: ConvertReport) -> list[str]:
    lines = [f"wrote {report.written:,} {report.target} rows to {report.path}"]
    if report.pairs_from_rankings:
        lines.append(f"  rankings became {report.pairs_from_rankings:,} pairs")
    for reason, count in report.set_aside.most_common():
        lines.append(f"  set aside     {count:,} × {reason}")
    if report.set_aside_path:
        lines.append(f"  these records are saved in the native format, in {report.set_aside_path}")
    for name, count in report.lost.most_common():
        lines.append(f"  lost          {name} of {count:,} records: {report.target} has no field for it")
    return lines


def split_lines(report: SplitReport) -> list[str]:
    total = sum(report.records.values())
    return [
        f"{name:<12} {count:>10,} records  {_percent(count / total if total else None):>7}  {report.files[name]}"
        for name, count in report.records.items()
    ]
