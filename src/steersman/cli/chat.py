"""`steersman chat`: talk with a model in the terminal."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from steersman.cli.command import Json, say
from steersman.judging.inert import inert

if TYPE_CHECKING:
    from steersman.inference.conversation import Conversation

EXAMPLE = "Example: steersman chat runs/sft --temperature 0.7"


def chat(
    model: Annotated[
        str, typer.Argument(help="A model or run folder, an adapter folder, a hub id, harbour:base or tiny:llama.")
    ],
    prompt: Annotated[str | None, typer.Option(help="Answer this and leave, instead of a conversation.")] = None,
    system: Annotated[str | None, typer.Option(help="A system message to begin with.")] = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 always takes the likeliest token.")] = 1.0,
    top_p: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Draw from the likeliest tokens that make up this share.")
    ] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The longest answer.")] = 256,
    q_beta: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="How much answers lean on the Q heads of a model that ilql made; its own beta if not given."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same answers.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    json: Json = False,
) -> None:
    """Talk with a model; its words appear as they come. /new begins anew, /quit or Ctrl-D leaves."""
    from steersman.inference.conversation import Conversation
    from steersman.loading.saved import open_model
    from steersman.rollout.engine import Sampling

    conversation = Conversation(
        open_model(model, device=device),
        system=system,
        sampling=Sampling(max_new_tokens, temperature, top_p=top_p, q_beta=q_beta),
        seed=seed,
    )

    def show(piece: str) -> None:
        if not json:
            print(inert(piece), end="", flush=True)

    if prompt is not None:
        answer = conversation.say(prompt, show)
        return say({"prompt": prompt, "answer": answer}, as_json=json, lines=[""])
    _converse(conversation, show, as_json=json)
    return None


def _converse(conversation: "Conversation", show: Callable[[str], None], *, as_json: bool) -> None:
    """Lines in, answers out, until the input ends; also from a pipe."""
    asking = sys.stdin.isatty()
    while True:
        try:
            words = input("you> " if asking else "")
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if words.strip() in ("/quit", "/exit"):
            return
        if words.strip() == "/new":
            conversation.forget()
            continue
        if not words.strip():
            continue
        answer = conversation.say(words, show)
        say({"prompt": words, "answer": answer}, as_json=as_json, lines=[""])
