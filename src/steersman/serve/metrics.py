"""What Prometheus may read: requests, answers, tokens and times."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from steersman.rollout.live_row import LiveRow

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class ServeMetrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        model = ("model",)
        self.prompt_tokens = Counter("steersman_prompt_tokens", "Tokens of prompts", model, registry=self.registry)
        self.tokens = Counter("steersman_generated_tokens", "Tokens generated", model, registry=self.registry)
        self.answers = Counter(
            "steersman_answers", "Answers by why they ended", (*model, "reason"), registry=self.registry
        )
        self.scores = Counter("steersman_scores", "Answers scored", model, registry=self.registry)
        self.refused = Counter("steersman_refused", "Requests refused since too many were open", registry=self.registry)
        self.seconds = Histogram(
            "steersman_request_seconds", "Seconds of a request", ("route",), buckets=SECONDS, registry=self.registry
        )
        self.open = Gauge("steersman_open_answers", "Answers being generated or waiting", model, registry=self.registry)
        self.rows = Gauge("steersman_rows", "Answers being generated", model, registry=self.registry)
        self.version = Gauge("steersman_weight_version", "Number of the weights", model, registry=self.registry)
        self.failures = Gauge("steersman_failed_answers", "Answers that an error ended", registry=self.registry)

    def begin(self, name: str, rows: Sequence[LiveRow]) -> None:
        self.open.labels(name).inc(len(rows))
        self.prompt_tokens.labels(name).inc(sum(len(row.prompt) for row in rows))

    def end(self, name: str, rows: Sequence[LiveRow]) -> None:
        self.open.labels(name).dec(len(rows))
        self.tokens.labels(name).inc(sum(len(row.tokens) for row in rows))
        for row in rows:
            self.answers.labels(name, row.ended or "cancelled").inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)
