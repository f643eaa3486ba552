"""Linear heads on a trunk's hidden states: a value head per position, a reward head per answer.

They compute in float32 whatever the trunk's dtype (float64 under a float64 trunk): they are tiny, and a score or value
in bfloat16 has three digits.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from steersman.errors import ModelError
from steersman.models.files import HEADS
from steersman.models.finite import check_loaded


def _in_float32_at_least(
    hidden: Float[Tensor, "*shape hidden"], weight: Float[Tensor, "out hidden"]
) -> Float[Tensor, "*shape out"]:
    kind = torch.promote_types(hidden.dtype, torch.float32)
    with torch.autocast(hidden.device.type, enabled=False):
        return hidden.to(kind) @ weight.to(kind).T


class ValueHead(nn.Module):
    """Value head: the expected return at each position.

    It starts at zero, as in lm-human-preferences: before training the advantage is then the reward itself, not noise.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, hidden_size))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, hidden: Float[Tensor, "*shape hidden"]) -> Float[Tensor, "*shape"]:
        return _in_float32_at_least(hidden, self.weight).squeeze(-1) + self.bias

    def start_from(self, head: "RewardHead", *, mean: float, std: float) -> None:
        """Initialise as the reward model's (normalised) score, as in the TL;DR reproduction (arXiv 2403.17031)."""
        with torch.no_grad():
            self.weight.copy_(head.weight.mean(0, keepdim=True) / std)
            self.bias.fill_(-mean / std)


class RewardHead(nn.Module):
    """Reward head: the score of an answer at its last token; several heads make an ensemble.

    It has no bias: comparisons determine only differences of scores, and Hugging Face's own heads have none.
    """

    def __init__(self, hidden_size: int, *, heads: int) -> None:
        super().__init__()
        # Stiennon et al. 2020 (arXiv 2009.01325), appendix: N(0, 1 / sqrt(d + 1)).
        self.weight = nn.Parameter(torch.randn(heads, hidden_size) / (hidden_size + 1) ** 0.5)

    @property
    def heads(self) -> int:
        return self.weight.shape[0]

    def forward(self, hidden: Float[Tensor, "batch hidden"]) -> Float[Tensor, "batch heads"]:
        return _in_float32_at_least(hidden, self.weight)


def last_token_hidden(
    hidden: Float[Tensor, "batch time hidden"], lengths: Int[Tensor, " batch"]
) -> Float[Tensor, "batch hidden"]:
    """The hidden state at the last token of each row, padding not counted."""
    return hidden[torch.arange(len(lengths), device=hidden.device), lengths - 1]


def save_heads(heads: Mapping[str, nn.Module], folder: str | Path) -> None:
    """Save named heads as one safetensors file in their model's folder."""
    from safetensors.torch import save_file

    state = {f"{name}.{key}": value for name, head in heads.items() for key, value in head.state_dict().items()}
    Path(folder).mkdir(parents=True, exist_ok=True)
    save_file({key: value.detach().cpu().contiguous() for key, value in state.items()}, Path(folder) / HEADS)


def load_heads(heads: Mapping[str, nn.Module], folder: str | Path) -> None:
    """Load these heads from the file written by `save_heads`."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(folder) / HEADS
    try:
        state = load_file(path)
        for name, head in heads.items():
            head.load_state_dict({k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"the heads in {path} cannot be loaded: {str(error).strip().splitlines()[0]}; expected the heads "
            f"{', '.join(heads)} of the same model. Save the model again, or name the folder it was saved to"
        ) from error
    check_loaded(path, state.items())
