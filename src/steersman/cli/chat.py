"""`steersman chat`: chat with a model in the terminal."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from steersman import printing
from steersman.cli.command import Json, say
from steersman.cli.recipes import Recipe

if TYPE_CHECKING:
    from steersman.inference.conversation import Conversation

EXAMPLE = "Example: steersman chat runs/sft --temperature 0.7"


def chat(
    model: Annotated[
        str, typer.Argument(help="A model or run folder, an adapter folder, a hub id, harbour:base or tiny:llama.")
    ],
    prompt: Annotated[str | None, typer.Option(help="Answer this prompt and exit.")] = None,
    system: Annotated[str | None, typer.Option(help="A system message.")] = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy decoding.")] = 1.0,
    top_p: Annotated[
        float,
        typer.Option(min=0.01, max=1.0, help="Nucleus sampling: the most likely tokens with this total probability."),
    ] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Maximum length of an answer, in tokens.")] = 256,
    q_beta: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="beta of an ILQL model's decoding: logits + beta * (Q - V). Its own beta if not given."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same answers.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """Chat with a model; answers are streamed. /new starts a new conversation, /quit or Ctrl-D exits."""
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
            printing.say(piece, end="", flush=True)

    if prompt is not None:
        answer = conversation.say(prompt, show)
        return say({"prompt": prompt, "answer": answer}, as_json=json, lines=[""])
    _converse(conversation, show, as_json=json)
    return None


def _converse(conversation: "Conversation", show: Callable[[str], None], *, as_json: bool) -> None:
    """Answer each input line until the input ends; also from a pipe."""
    interactive = sys.stdin.isatty()
    while True:
        try:
            message = input("you> " if interactive else "")
        except (EOFError, KeyboardInterrupt):
            printing.say()
            return
        if message.strip() in ("/quit", "/exit"):
            return
        if message.strip() == "/new":
            conversation.forget()
            continue
        if not message.strip():
            continue
        answer = conversation.say(message, show)
        say({"prompt": message, "answer": answer}, as_json=as_json, lines=[""])
