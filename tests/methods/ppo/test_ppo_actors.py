"""PPO's models in each layout: who learns, who stays, where the critic begins, what is asked of whom."""

import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_ppo_reading import LAYOUTS, actors_of, tiny

from steersman.batches import TokenBatch, TokenRow, pad_rows
from steersman.errors import ModelError, UsageError
from steersman.maths.kl import full_kl
from steersman.methods.ppo.actors import CRITIC, make_actors, shard_actors
from steersman.methods.ppo.critic import TRL_BIAS, TRL_WEIGHT, own_critic, save_critic
from steersman.models.adapters import add_lora
from steersman.models.heads import ValueHead, load_heads
from steersman.models.language_model import LanguageModel
from steersman.models.loading import load_causal
from steersman.models.reward_model import Scale, new_reward_model, save_reward_model
from steersman.models.tiny import write_tiny_model
from steersman.parallel.world import World
from steersman.settings.base import check
from steersman.settings.ppo import PpoSettings


def settings(**given: Any) -> PpoSettings:
    model = {"path": "tiny", **given.pop("model", {})}
    usual = {"model": model, "prompts": {"source": "p"}, "scorer": {"path": "s"}, "run": {"out": "o"}}
    return check(PpoSettings, {**usual, **given})


def made(tmp_path, **given: Any):
    backbone = tiny(tmp_path / "policy")
    adapter = None
    if given.get("layout", "shared").startswith("adapters"):
        given["model"] = {"lora": {"rank": 4, "alpha": 8}}
        adapter = "policy"
        add_lora(backbone, adapter, rank=4, alpha=8)
    return make_actors(settings(**given), LanguageModel(backbone, None, adapter, False))


def batch(*lengths: int) -> TokenBatch:
    """Rows of prompts of two tokens and answers of the rest."""
    generator = torch.Generator().manual_seed(1)
    rows = [TokenRow(torch.randint(5, 300, (n,), generator=generator), torch.arange(n) >= 2) for n in lengths]
    return pad_rows(rows, pad_id=0)


def learning(model: torch.nn.Module | None) -> set[str]:
    return set() if model is None else {name for name, p in model.named_parameters() if p.requires_grad}


def test_in_the_shared_layout_the_whole_model_learns_beside_a_frozen_copy(tmp_path):
    actors = made(tmp_path)
    assert actors.critic is None
    assert learning(actors.backbone)
    assert learning(actors.frozen) == set()
    assert not actors.frozen.training
    assert actors.values_on_the_policys_trunk
    rows = batch(4, 6)
    assert torch.equal(
        actors.reference(rows, temperature=0.7), actors.policy(rows, temperature=0.7, with_entropy=False)[0]
    )
    assert actors.values(rows).tolist() == [0.0] * 6, "a value head begins at zero"


def test_a_method_without_a_critic_has_none(tmp_path):
    actors = made(tmp_path, advantage={"estimator": "rloo"}, samples_per_prompt=2)
    assert (actors.value_head, actors.critic, actors.values(batch(4))) == (None, None, None)
    assert not actors.values_on_the_policys_trunk
    assert not actors.critic_apart


def test_in_the_separate_layout_the_critic_is_a_copy_of_its_own(tmp_path):
    actors = made(tmp_path, layout="separate")
    assert actors.critic is not None
    assert not actors.values_on_the_policys_trunk
    assert actors.critic_apart
    before = actors.policy(batch(5), temperature=1.0, with_entropy=False)[0]
    with torch.no_grad():
        for parameter in actors.critic.parameters():
            parameter.zero_()
    assert torch.equal(actors.policy(batch(5), temperature=1.0, with_entropy=False)[0], before)


@pytest.mark.parametrize("layout", ["adapters", "adapters-own-critic"])
def test_with_adapters_nothing_but_they_and_the_head_learns(tmp_path, layout: str):
    actors = made(tmp_path, layout=layout)
    own = layout == "adapters-own-critic"
    names = learning(actors.backbone)
    assert {name.split(".")[-2] for name in names} == ({"policy", CRITIC} if own else {"policy"})
    assert all("lora_" in name for name in names)
    assert (actors.policy_adapter, actors.value_adapter) == ("policy", CRITIC if own else None)
    assert (actors.critic, actors.frozen) == (None, None)
    assert actors.critic_apart == own
    assert actors.values_on_the_policys_trunk == (not own)


def test_the_critic_s_adapter_is_made_as_the_policy_s(tmp_path):
    actors = made(tmp_path, layout="adapters-own-critic")
    configs = actors.backbone.peft.peft_config
    assert (configs[CRITIC].r, configs[CRITIC].lora_alpha) == (4, 8)
    assert configs[CRITIC].target_modules == configs["policy"].target_modules


@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_and_log_probs_alone_are_those_of_the_policy_s_forward_pass(tmp_path, layout: str):
    actors, rows = actors_of(layout, tmp_path).eval(), batch(4, 7, 3)
    log_probs, entropies, values = actors.policy(rows, temperature=0.7, with_entropy=True)
    alone, alone_entropies = actors.policy_log_probs(rows, temperature=0.7, with_entropy=True)
    torch.testing.assert_close(alone, log_probs)
    torch.testing.assert_close(alone_entropies, entropies)
    assert len(log_probs) == 8
    if layout == "no critic":
        assert values is None
        assert actors.values(rows) is None
    else:
        torch.testing.assert_close(actors.values(rows), values)
    assert actors.policy(rows, temperature=0.7, with_entropy=False)[1] is None


@pytest.mark.parametrize("layout", ["shared", "adapters", "adapters-own-critic"])
def test_the_kl_is_that_of_the_two_whole_distributions(tmp_path, layout: str):
    actors, rows = actors_of(layout, tmp_path).eval(), batch(5, 4)
    ids, mask = rows.ids, rows.loss_mask
    with torch.no_grad():
        if layout == "shared":
            with torch.no_grad():
                for parameter in actors.backbone.parameters():
                    parameter.mul_(0.9)
            here, there = (m.hf(input_ids=ids).logits for m in (actors.backbone, actors.frozen))
        else:
            with actors._as("policy"):
                here = actors.backbone.hf(input_ids=ids).logits
            with actors._as(None):
                there = actors.backbone.hf(input_ids=ids).logits
        # the logits that predict a token stand one place before it
        ours, theirs = (logits[:, :-1][mask[:, 1:]] / 0.7 for logits in (here, there))
        torch.testing.assert_close(
            actors.exact_kl(rows, temperature=0.7, top_k=None), full_kl(ours, theirs), rtol=1e-3, atol=1e-5
        )
        chosen = ids[mask][:, None]
        expected = theirs.log_softmax(-1).gather(-1, chosen)[:, 0]
        torch.testing.assert_close(actors.reference(rows, temperature=0.7), expected, rtol=1e-4, atol=1e-4)
        text = (0.7 * ours).log_softmax(-1).gather(-1, chosen)[:, 0]
        torch.testing.assert_close(actors.pretraining(rows), text, rtol=1e-4, atol=1e-4)


def test_a_critic_begun_as_the_policy_leaves_it_alone(tmp_path):
    policy = tiny(tmp_path / "policy")
    critic, head = own_critic("policy", policy)
    assert head(torch.ones(1, 64)).tolist() == [0.0]
    ours = {id(p) for p in policy.parameters()}
    assert all(id(p) not in ours for p in critic.parameters())
    assert critic.readout is None, "a critic predicts no tokens"


def reward_folder(tmp_path, **given: Any):
    torch.manual_seed(2)
    made = write_tiny_model(tmp_path / "base", "llama", hidden=64, **given)
    model = new_reward_model(load_causal(made, dtype=torch.float32, device="cpu"))
    model.scale = Scale(mean=2.0, std=4.0)
    save_reward_model(model, None, tmp_path / "reward" / "model")
    return model


def test_a_critic_begun_as_a_reward_model_foresees_its_normalised_score(tmp_path):
    model = reward_folder(tmp_path)
    row = TokenRow(torch.tensor([7, 8, 9, 10]), torch.tensor([False, False, False, True]))
    rows = pad_rows([row], pad_id=0)
    # the value before the last target stands on the third token; the score of the first three tokens is read there too
    scored = model.normalised(
        model.scores(pad_rows([TokenRow(row.ids[:3], torch.zeros(3, dtype=torch.bool))], pad_id=0))
    )
    policy = tiny(tmp_path / "policy")
    for folder in (tmp_path / "reward" / "model", tmp_path / "reward"):
        if folder.name == "reward":
            (folder / "recipe.toml").touch()
        critic, head = own_critic(str(folder), policy)
        value = head(critic.hidden(rows))[0, 2]
        assert value.item() == pytest.approx(scored.item(), abs=1e-4)


def test_a_critic_that_reads_other_tokens_is_refused(tmp_path):
    reward_folder(tmp_path, vocabulary=400)
    with pytest.raises(UsageError, match="has a vocabulary of 400 tokens and the policy one of 320"):
        own_critic(str(tmp_path / "reward" / "model"), tiny(tmp_path / "policy"))


def trl_folder(folder, **tensors: torch.Tensor):
    write_tiny_model(folder, "llama", hidden=64)
    path = folder / "model.safetensors"
    save_file({**load_file(path), **tensors}, path, metadata={"format": "pt"})
    return folder


def test_a_critic_may_begin_with_the_value_head_that_trl_trained(tmp_path):
    weight, bias = torch.full((1, 64), 0.5), torch.tensor([0.25])
    folder = trl_folder(tmp_path / "trl", **{TRL_WEIGHT: weight, TRL_BIAS: bias})
    critic, head = own_critic(f"trl:{folder}", tiny(tmp_path / "policy"))
    assert torch.equal(head.weight, weight)
    assert torch.equal(head.bias, bias)
    assert critic.readout is None


def test_a_folder_without_trl_s_value_head_is_refused_and_pickles_are_named(tmp_path):
    policy = tiny(tmp_path / "policy")
    folder = trl_folder(tmp_path / "trl", **{TRL_WEIGHT: torch.zeros(1, 64)})
    with pytest.raises(ModelError, match=r"holds no v_head\.summary\.weight and v_head\.summary\.bias") as refused:
        own_critic(f"trl:{folder}", policy)
    assert "pickles" not in str(refused.value)
    (folder / "pytorch_model.bin").touch()
    with pytest.raises(ModelError, match="pickles"):
        own_critic(f"trl:{folder}", policy)


@pytest.mark.parametrize(
    ("layout", "trunk"),
    [
        ("shared", "the policy's"),
        ("separate", "own model"),
        ("adapters", "the policy's"),
        ("adapters-own-critic", "own adapter"),
    ],
)
def test_a_critic_is_saved_with_what_it_has_of_its_own(tmp_path, layout: str, trunk: str):
    actors = actors_of(layout, tmp_path)
    save_critic(actors, actors.value_head, tmp_path / "critic-saved" / "deep")
    folder = tmp_path / "critic-saved" / "deep"
    head = ValueHead(64)
    load_heads({"value": head}, folder)
    assert torch.equal(head.weight, actors.value_head.weight)
    notes = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    assert any(
        note.get("kind") == "critic" and note.get("trunk") == trunk and note.get("family") == "llama" for note in notes
    )
    assert (folder / "model.safetensors").exists() == (layout == "separate")
    assert any("adapter" in path.name for path in folder.rglob("*")) == (layout == "adapters-own-critic")


def test_one_process_shares_nothing_out(tmp_path):
    actors = made(tmp_path)
    assert shard_actors(actors, World.alone()) is actors.backbone
    assert not actors.sharded


def test_several_processes_share_the_models_out_and_the_engine_has_a_copy(tmp_path):
    actors = made(tmp_path, layout="separate")
    assert actors.critic_apart
    plain = shard_actors(actors, World(0, 2, torch.device("cpu"), None))
    assert plain is not actors.backbone
    ours = {id(p) for p in actors.parameters()}
    assert all(id(p) not in ours for p in plain.parameters())
    assert actors.sharded
    assert not actors.critic_apart, "sharded models run together"


def test_a_value_head_on_the_policy_s_trunk_may_begin_as_a_reward_model_s(tmp_path):
    model = reward_folder(tmp_path)
    policy = load_causal(tmp_path / "base", dtype=torch.float32, device="cpu")
    for folder in (tmp_path / "reward" / "model", tmp_path / "reward"):
        if folder.name == "reward":
            (folder / "recipe.toml").touch()
        asked = settings(critic=str(folder))
        actors = make_actors(asked, LanguageModel(policy, None, None, False))
        rows = pad_rows([TokenRow(torch.tensor([7, 8, 9, 10]), torch.tensor([False, False, False, True]))], pad_id=0)
        read = pad_rows([TokenRow(torch.tensor([7, 8, 9]), torch.zeros(3, dtype=torch.bool))], pad_id=0)
        # the trunks are the same still, so the value before the last token is the score of what stands before it
        assert actors.values(rows).item() == pytest.approx(model.normalised(model.scores(read)).item(), abs=1e-4)


def test_a_value_head_of_another_base_is_refused(tmp_path):
    reward_folder(tmp_path, layers=3)
    with pytest.raises(
        UsageError,
        match=r"the reward model is a llama of 3 layers, width 64 and 320 tokens and the policy a llama of 2 layers, "
        r"width 64 and 320 tokens",
    ):
        made(tmp_path, critic=str(tmp_path / "reward" / "model"))


def test_a_reference_in_bf16_has_half_the_memory_and_nearly_the_policys_numbers(tmp_path):
    actors = made(tmp_path, compute={"reference_dtype": "bfloat16"})
    policy, frozen = actors.backbone, actors.frozen
    assert policy.dtype == torch.float32
    assert frozen.dtype == torch.bfloat16
    assert not any(p.requires_grad for p in frozen.parameters())
    assert all(p.requires_grad for p in policy.parameters())
    sizes = [sum(p.nbytes for p in one.parameters()) for one in (frozen, policy)]
    assert 2 * sizes[0] == sizes[1]
    given = batch(9, 5)
    seen, expected = actors.reference(given, temperature=1.0).float(), policy.log_probs(given)[0]
    assert 0 < (seen - expected).abs().max() < 0.1
