"""The KL of answers against the plainest loop: one row at a time, full logits, the definition."""

import pytest
import torch

from steersman.batches import TokenRow
from steersman.models.answer_kl import answer_kl, row_figures
from steersman.models.loading import load_causal
from steersman.models.tiny import write_tiny_model


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two models of one shape with different weights."""
    folder = write_tiny_model(tmp_path_factory.mktemp("kl") / "llama", "llama")
    one, other = (load_causal(str(folder), dtype=torch.float32, device=torch.device("cpu")) for _ in range(2))
    with torch.no_grad():
        for parameter in other.hf.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return one.eval(), other.eval()


def rows(*lengths: tuple[int, int]) -> list[TokenRow]:
    """(prompt, answer) lengths, with ids that are all different from row to row."""
    made = []
    for i, (prompt, answer) in enumerate(lengths):
        ids = torch.arange(prompt + answer) * (i + 3) % 50 + 5
        made.append(TokenRow(ids, torch.arange(prompt + answer) >= prompt))
    return made


def plainly(row: TokenRow, model, other, temperature: float) -> float:
    """sum over the answer's tokens of sum over the vocabulary of p log(p / q)"""
    total = 0.0
    with torch.no_grad():
        p = (model.hf(input_ids=row.ids[None]).logits[0] / temperature).log_softmax(-1)
        q = (other.hf(input_ids=row.ids[None]).logits[0] / temperature).log_softmax(-1)
    for t in range(len(row.ids)):
        if row.loss_mask[t]:
            total += float((p[t - 1].exp() * (p[t - 1] - q[t - 1])).sum())
    return total


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_kl_of_answers_is_the_definition_summed_over_the_answers_tokens(models, temperature):
    given = rows((3, 4), (5, 1), (2, 9), (4, 4))
    found = answer_kl(given, (models[0], None), (models[1], None), pad_id=0, token_budget=24, temperature=temperature)
    wanted = [plainly(row, models[0], models[1], temperature) for row in given]
    assert min(wanted) > 1e-3
    torch.testing.assert_close(found, torch.tensor(wanted), rtol=1e-4, atol=1e-5)


def test_how_rows_share_batches_changes_nothing_and_a_model_is_at_no_distance_from_itself(models):
    given = rows((3, 4), (5, 1), (2, 9))
    voices = (models[0], None), (models[1], None)
    small = answer_kl(given, *voices, pad_id=0, token_budget=1, temperature=1.0)
    large = answer_kl(given, *voices, pad_id=0, token_budget=1000, temperature=1.0)
    torch.testing.assert_close(small, large, rtol=1e-4, atol=1e-5)
    itself = answer_kl(given, voices[0], voices[0], pad_id=0, token_budget=1000, temperature=1.0)
    assert float(itself.abs().max()) < 1e-6


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_all_figures_of_a_row_are_their_definitions(models, temperature):
    model, other = models
    given = rows((3, 4), (5, 1), (2, 9))
    found = row_figures(given, (model, None), (other, None), pad_id=0, token_budget=24, temperature=temperature)
    assert found.kl is not None
    assert found.reference_log_prob is not None
    for i, row in enumerate(given):
        with torch.no_grad():
            p = (model.hf(input_ids=row.ids[None]).logits[0, :-1] / temperature).log_softmax(-1)[row.loss_mask[1:]]
            q = other.hf(input_ids=row.ids[None]).logits[0, :-1].log_softmax(-1)[row.loss_mask[1:]]
        said = row.ids[row.loss_mask][:, None]
        assert float(found.log_prob[i]) == pytest.approx(float(p.gather(1, said).sum()), rel=1e-4)
        assert float(found.entropy[i]) == pytest.approx(float(-(p.exp() * p).sum()), rel=1e-4)
        assert float(found.reference_log_prob[i]) == pytest.approx(float(q.gather(1, said).sum()), rel=1e-4)
        assert float(found.kl[i]) == pytest.approx(plainly(row, model, other, temperature), rel=1e-3)
    alone = row_figures(given, (model, None), None, pad_id=0, token_budget=24, temperature=temperature)
    assert (alone.kl, alone.reference_log_prob) == (None, None)
    torch.testing.assert_close(alone.entropy, found.entropy)
