"""A reviser behind an endpoint that speaks the OpenAI API. Its replies are kept: nothing is asked twice."""

from collections.abc import Sequence
from dataclasses import dataclass

from steersman.constitution.render import ModelRequest
from steersman.evaluate.answers import Answer
from steersman.execution.context import RunContext
from steersman.judges.endpoint import EndpointJudge
from steersman.loading.judges import token_of
from steersman.records import Message, Prompt
from steersman.rollout.engine import Sampling
from steersman.runs.replies import Replies
from steersman.settings.judge import EndpointSettings

SETTING = "endpoint"


@dataclass(frozen=True)
class EndpointWriter:
    """A writer behind an endpoint. It writes at temperature 0: of the sampling, only the length is sent."""

    place: str
    endpoint: EndpointJudge

    @staticmethod
    def of(place: str, settings: EndpointSettings, run: RunContext) -> "EndpointWriter":
        """`place` is URL#name."""
        token = token_of(settings.token_env, f"{SETTING}.token_env")
        kept = Replies(run.path / "replies", run.world.rank)
        return EndpointWriter(
            place, EndpointJudge(place, settings, token=token, remembered=kept, notice=run.notice, setting=SETTING)
        )

    @property
    def name(self) -> str:
        return self.endpoint.name

    def fits(self, prompt: Prompt) -> bool:
        """The endpoint itself says what is too long for it."""
        return True

    def write(self, prompts: Sequence[Prompt], sampling: Sampling, seeds: Sequence[int]) -> list[Answer]:
        requests = [ModelRequest(prompt.messages or (Message("user", prompt.text or ""),)) for prompt in prompts]
        texts = self.endpoint.write(requests, sampling.max_new_tokens)
        return [Answer(text, len(text.split()), "end", seed) for text, seed in zip(texts, seeds, strict=True)]
