"""Asks once, shortly, whether the Hugging Face hub has a model. Its libraries ask for each file, again and again, which
takes a minute where a name is wrong or there is no network."""

from functools import lru_cache
from pathlib import Path

from steersman.errors import ModelError

SECONDS = 10.0
"""How long the hub has to answer."""
ONE_OF = ("config.json", "adapter_config.json", "tokenizer_config.json")


@lru_cache
def refuse_unknown(name: str, revision: str | None = None) -> None:
    """Raise if `name` is neither a folder nor in the hub's cache, and the hub does not have it or cannot be asked."""
    from huggingface_hub import HfApi, constants, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    try:
        if any(isinstance(try_to_load_from_cache(name, file, revision=revision), str) for file in ONE_OF):
            return
        if constants.HF_HUB_OFFLINE:
            raise ModelError(f"{_looked_for(name)}. The hub was not asked, since HF_HUB_OFFLINE is set")
        HfApi(endpoint=constants.ENDPOINT).model_info(name, revision=revision, timeout=SECONDS)
    except ModelError:
        raise
    except GatedRepoError:
        return  # the hub has it; loading the files tells what is missing
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"{_looked_for(name)}, and {constants.ENDPOINT} has no such model (or it is private: hf auth login). Check "
            "the name: organisation/model on the hub, or a folder"
        ) from error
    except HFValidationError as error:
        raise ModelError(f"{_looked_for(name)}, and it can be no name of the hub: {error}") from error
    except HfHubHTTPError:
        return  # the hub is there and says something else; loading the files tells what
    except Exception as error:  # of the network: connection, name service, time limit, certificates
        raise ModelError(
            f"{_looked_for(name)}, and {constants.ENDPOINT} could not be asked within {SECONDS:g} s "
            f"({type(error).__name__}: {str(error)[:200]}). Check the name and the network"
        ) from error


def _looked_for(name: str) -> str:
    from huggingface_hub import constants

    return (
        f"no model {name!r} was found: there is no folder of this name in {Path.cwd()}, and it is not in the hub's "
        f"cache {constants.HF_HUB_CACHE}"
    )
