"""f-DPO (Wang et al. 2023, arXiv 2309.16240): DPO for a penalty other than the reverse KL of PPO.

Where the penalty is a divergence D_f(policy || reference), the implicit reward of an answer is beta * f'(u), with u =
policy / reference of the whole answer; DPO's is beta * log u. Constants that cancel between two answers are left out.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# exp(20) is 5e8: an answer that much less likely than under the reference cannot be told from a worse one.
_LARGEST_EXPONENT = 20.0

Answers = Float[Tensor, " answers"]


def alpha_reward(log_ratio: Answers, *, alpha: float) -> Answers:
    """f'(u) = (1 - u^-alpha) / alpha of the alpha-divergence, 0 < alpha <= 1: the reverse KL as alpha approaches 0, the
    forward KL at 1 (-1 / u, with a constant)."""
    return -torch.expm1((-alpha * log_ratio).clamp(max=_LARGEST_EXPONENT)) / alpha


def jensen_shannon_reward(log_ratio: Answers) -> Answers:
    """f'(u) = log(2 u / (1 + u)) of the Jensen-Shannon divergence, less the constant log 2: never above 0."""
    return -F.softplus(-log_ratio)
