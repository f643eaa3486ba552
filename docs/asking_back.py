"""An environment in Harbour: the prompt leaves open what is meant, and a good model asks back. See environments.md."""

from typing import Any

from steersman.harbour.taste import features, true_taste


class AskingBack:
    """At most two turns: a question back, then the answer to what the user says; or a guess at once.

    The score is the true taste of the last turn. A guess may be true, but it answers nothing.
    """

    def reset(self, prompt: str, metadata: dict[str, Any]) -> None:
        self.prompt, self.meant, self.clear = prompt, metadata["meant"], metadata["clear"]
        self.asked = False

    def step(self, text: str) -> str | float:
        if self.asked:
            return true_taste(self.clear, text)
        if features(self.prompt, text).worst != "good":
            return true_taste(self.prompt, text)
        self.asked = True
        return self.meant
