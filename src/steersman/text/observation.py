"""What an environment replies to a model, as the tokens that stand between two of its turns."""

from typing import Literal

from steersman.records import Message, Prompt
from steersman.text.rendering import Passage, after_turn, guard, tokenise
from steersman.text.tokeniser import Tokeniser

Role = Literal["user", "tool"]


def encode_observation(
    tokeniser: Tokeniser, prompt: Prompt, text: str, *, role: Role, ended_by: int, longest: int
) -> list[int]:
    """The ids between a turn whose last sampled token is `ended_by` and the model's next turn.

    In a conversation the chat template puts the observation into a message of this role. After a plain prompt they are
    the observation's own. Its text never becomes control tokens, and is cut to `longest` tokens.
    """
    words = tokenise(tokeniser, guard(tokeniser, text).reveal())
    if len(words[0]) > longest:
        text = text[: words[1][longest][0]] if longest else ""
        words = tokenise(tokeniser, guard(tokeniser, text).reveal())
    if prompt.text is not None:
        return words[0]
    passage: Passage = after_turn(tokeniser, [*prompt.messages], Message(role, text))
    ids = tokenise(tokeniser, passage)[0]
    # The template's end-of-turn token was sampled already, unless the turn was cut off or ended by a stop string.
    return ids[1:] if ids[:1] == [ended_by] else ids
