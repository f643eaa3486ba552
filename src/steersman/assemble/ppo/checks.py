"""What is wrong with a run's settings is said before its models are loaded: what they name and what PPO cannot do."""

from steersman.assemble.ppo.environment import playing_of
from steersman.errors import UsageError
from steersman.extensions import PREFIX
from steersman.methods.ppo.critic import TRL
from steersman.methods.ppo.extension import extension_estimator
from steersman.parallel.world import World
from steersman.reward.extension import extension_scorer
from steersman.settings.ppo import PpoSettings
from steersman.watch.extension import extension_detector


def check_settings(settings: PpoSettings) -> None:
    playing_of(settings, World.alone())
    _check_extensions(settings)
    lora = settings.model.lora
    if lora is not None and lora.dropout:
        raise UsageError(
            f"model.lora.dropout is {lora.dropout}; PPO compares two probabilities of one token, and the noise of two "
            "dropout masks would be in their ratio. Leave it at 0"
        )
    if settings.critic.startswith(TRL) and settings.layout != "separate":
        raise UsageError(
            f"critic={settings.critic} begins a critic with a model of its own, and in layout={settings.layout} there "
            "is none; choose layout=separate"
        )


def _check_extensions(settings: PpoSettings) -> None:
    """Raise what loading them would raise later."""
    if settings.advantage.estimator.startswith(PREFIX):
        extension_estimator(settings.advantage.estimator.removeprefix(PREFIX))
    for name in settings.watch.extensions:
        extension_detector(name)
    paths = [settings.scorer.path, *(part.path for part in settings.scorer.sum.values())]
    for path in paths:
        if isinstance(path, str) and path.startswith(PREFIX):
            extension_scorer(path.removeprefix(PREFIX))
