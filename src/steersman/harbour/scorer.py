"""`harbour:taste`: the true taste (gold reward) as a scorer, for measuring only. Training on it would be cheating."""

from collections.abc import Sequence

from steersman.harbour.taste import features
from steersman.reward.scorer import Item, Score

PLACE = "harbour:taste"


class TrueTaste:
    name = "taste"

    def score(self, items: Sequence[Item]) -> list[Score]:
        found = [features(prompt.shown, answer) for prompt, answer in items]
        return [
            Score(
                seen.taste,
                {"toxic": float(seen.toxic), "exaggerated": float(seen.exaggerated), "on point": float(seen.on_point)},
            )
            for seen in found
        ]
