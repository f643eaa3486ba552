"""PPO for language models on one page of plain torch: what Steersman's loop computes, without its speed and settings.

`python docs/ppo_on_one_page.py` trains a small random transformer to say token 3. A test compares it with Steersman.
All tensors are [answer, time]; column t is about token t + 1, which is predicted from the tokens up to t.
"""

import copy

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM

PROMPTS, EOS, MAX_NEW_TOKENS, TEMPERATURE = [[1, 4], [1, 5, 6], [1, 7], [1, 8, 9, 10]] * 4, 2, 8, 1.0
KL_COEFFICIENT, GAMMA, LAMBDA = 0.05, 1.0, 0.95
CLIP, VALUE_CLIP, VALUE_COEFFICIENT, ENTROPY_COEFFICIENT = 0.2, 0.2, 0.1, 0.01
EPOCHS, MINIBATCHES, LEARNING_RATE, EPSILON, MAX_GRAD_NORM = 4, 4, 3e-3, 1e-5, 1.0


class Policy(torch.nn.Module):
    """A causal language model, with a value head on the same hidden states."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        super().__init__()
        self.model, self.value_head = model, torch.nn.Linear(model.config.hidden_size, 1)
        torch.nn.init.zeros_(self.value_head.weight)
        torch.nn.init.zeros_(self.value_head.bias)

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Log-prob of each next token, entropy of its distribution, and value of the state before it."""
        out = self.model(ids, output_hidden_states=True)
        log_probs = (out.logits[:, :-1] / TEMPERATURE).log_softmax(-1)
        values = self.value_head(out.hidden_states[-1][:, :-1]).squeeze(-1)
        return log_probs.gather(-1, ids[:, 1:, None]).squeeze(-1), -(log_probs.exp() * log_probs).sum(-1), values


@torch.no_grad()
def answer_to(prompt: list[int], policy: Policy) -> list[int]:
    """An answer, sampled token by token until EOS or the limit."""
    ids = list(prompt)
    while len(ids) < len(prompt) + MAX_NEW_TOKENS and (len(ids) == len(prompt) or ids[-1] != EOS):
        logits = policy.model(torch.tensor([ids])).logits[0, -1] / TEMPERATURE
        ids.append(int(torch.multinomial(logits.softmax(-1), 1)))
    return ids[len(prompt) :]


def padded(prompts: list[list[int]], answers: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids of prompts and answers, padded on the right, and a mask that is True where a column is about the answer."""
    rows = [torch.tensor(prompt + answer) for prompt, answer in zip(prompts, answers, strict=True)]
    masks = [torch.arange(1, len(row)) >= len(prompt) for prompt, row in zip(prompts, rows, strict=True)]
    return pad_sequence(rows, batch_first=True), pad_sequence(masks, batch_first=True)


def whiten(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean 0 and variance 1 over the answer tokens of the whole batch."""
    chosen = values[mask]
    return torch.where(mask, (values - chosen.mean()) / (chosen.var(unbiased=False) + 1e-8).sqrt(), 0)


@torch.no_grad()
def experience(policy: Policy, reference: Policy, ids, mask, scores):
    """Old log-probs and values, advantages, returns. A token's reward is -beta * KL, and the score on the last."""
    old_log_probs, _, old_values = policy(ids)
    rewards = torch.where(mask, -KL_COEFFICIENT * (old_log_probs - reference(ids)[0]), 0)
    last = mask.shape[1] - 1 - mask.flip(1).int().argmax(1)
    rewards[torch.arange(len(ids)), last] += scores
    # GAE, backwards in time: advantage = delta + gamma * lambda * next advantage; after the last token both are 0.
    values, advantages = torch.where(mask, old_values, 0), torch.zeros_like(rewards)
    next_value, next_advantage = torch.zeros(len(ids)), torch.zeros(len(ids))
    for t in reversed(range(mask.shape[1])):
        delta = rewards[:, t] + GAMMA * next_value - values[:, t]
        next_advantage = torch.where(mask[:, t], delta + GAMMA * LAMBDA * next_advantage, 0)
        next_value, advantages[:, t] = values[:, t], next_advantage
    return old_log_probs, old_values, whiten(advantages, mask), advantages + values


def losses(policy: Policy, ids, mask, old_log_probs, old_values, advantages, returns):
    """The clipped policy loss, the clipped value loss and the entropy loss, each a mean over answer tokens."""
    log_probs, entropies, values = policy(ids)
    ratio = (log_probs - old_log_probs).exp()
    policy_loss = torch.max(-advantages * ratio, -advantages * ratio.clamp(1 - CLIP, 1 + CLIP))
    near = old_values + (values - old_values).clamp(-VALUE_CLIP, VALUE_CLIP)
    value_loss = 0.5 * torch.max((values - returns) ** 2, (near - returns) ** 2)
    return {"policy": policy_loss[mask].mean(), "value": value_loss[mask].mean(), "entropy": -entropies[mask].mean()}


def update(policy: Policy, optimiser: torch.optim.Optimizer, batch: tuple[torch.Tensor, ...], minibatches):
    """One optimiser step for each minibatch; returns the losses of each."""
    found = []
    for members in minibatches:
        terms = losses(policy, *(column[members] for column in batch))
        optimiser.zero_grad()
        (terms["policy"] + VALUE_COEFFICIENT * terms["value"] + ENTROPY_COEFFICIENT * terms["entropy"]).backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), MAX_GRAD_NORM)
        optimiser.step()
        found.append({name: term.item() for name, term in terms.items()})
    return found


def main(iterations: int = 15) -> list[float]:
    """Train; returns the mean score of each iteration."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    policy = Policy(LlamaForCausalLM(LlamaConfig(vocab_size=16, **sizes)))
    reference = copy.deepcopy(policy)
    optimiser = torch.optim.AdamW(policy.parameters(), lr=LEARNING_RATE, eps=EPSILON, weight_decay=0.0)
    means = []
    for iteration in range(iterations):
        answers = [answer_to(prompt, policy) for prompt in PROMPTS]
        scores = torch.tensor([float(answer.count(3)) for answer in answers])
        ids, mask = padded(PROMPTS, answers)
        batch = (ids, mask, *experience(policy, reference, ids, mask, scores))
        minibatches = [part.tolist() for _ in range(EPOCHS) for part in torch.randperm(len(ids)).chunk(MINIBATCHES)]
        update(policy, optimiser, batch, minibatches)
        means.append(scores.mean().item())
        print(f"iteration {iteration + 1}: score {means[-1]:.2f}")
    return means


if __name__ == "__main__":
    main()
