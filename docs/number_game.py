"""An environment for `steersman ppo` and `rloo`: the model has a few turns to find a number. See environments.md."""

import re
from typing import Any


class NumberGame:
    """Each prompt brings its number from 1 to 9 as `answer`. The score is 1, less 0.2 for each wrong guess."""

    def reset(self, metadata: dict[str, Any]) -> None:
        self.number, self.score = int(metadata["answer"]), 1.0

    def step(self, text: str) -> str | float:
        found = re.search("[1-9]", text)
        if found is None:
            return "Say a number from 1 to 9."
        guess = int(found.group())
        if guess == self.number:
            return self.score
        self.score -= 0.2
        return "Higher." if guess < self.number else "Lower."
