"""Operations by hand for a model small enough to count."""

import pytest

from steersman.costs.memory import Bytes, activations, keys_and_values, logits
from steersman.costs.shape import Shape, shape_of_config
from steersman.costs.work import forward_operations, iteration_parts, training_operations

# 2 layers; queries and outputs 8 x 8, keys and values 8 x 4 each: 64 + 64 + 32 + 32 = 192; feed-forward 3 x 8 x 10 =
# 240
SHAPE = shape_of_config(
    {
        "model_type": "llama",
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 10,
        "vocab_size": 20,
        "tie_word_embeddings": True,
    },
    name="by hand",
)


def test_the_shape_is_read_as_transformers_names_it():
    assert (SHAPE.size, SHAPE.attention, SHAPE.feed_forward, SHAPE.matrices) == (4, 192, 240, 864)
    gpt2 = shape_of_config(
        {"model_type": "gpt2", "n_embd": 8, "n_layer": 2, "n_head": 2, "vocab_size": 20, "n_positions": 64}, name="x"
    )
    assert (gpt2.inner, gpt2.gated, gpt2.tied, gpt2.context) == (32, False, True, 64)


def test_a_forward_pass_is_two_operations_a_weight_and_token():
    # one row of 3 tokens, all read: 2 x 3 x 864 products; attention 2 x 8 x 9 a layer; logits 2 x 3 x 160
    assert forward_operations(SHAPE, [3], [3], logits=True) == 2 * 3 * 864 + 2 * (16 * 9) + 2 * 3 * 160


def test_what_nobody_reads_is_not_counted():
    # of two of the three tokens the last layer needs keys and values (64 weights) only, and one row of its square: 9 -
    # 4
    whole_layer, keys = 432, 64
    expected = 2 * 3 * whole_layer + 2 * 3 * keys + 2 * 1 * (whole_layer - keys) + 16 * 9 + 16 * 5
    assert forward_operations(SHAPE, [3], [1], logits=False) == expected


def test_a_frozen_base_has_no_gradient_of_its_own():
    forward = forward_operations(SHAPE, [3], [3], logits=True)
    assert training_operations(SHAPE, [3], [3], logits=True, rank=None) == 3 * forward
    # rank 1: (8 + 8) x 2 for queries and outputs, (8 + 4) x 2 for keys and values, 3 x 18 feed-forward, two layers
    assert SHAPE.lora_parameters == 2 * (32 + 24 + 54)
    assert training_operations(SHAPE, [3], [3], logits=True, rank=2) == 2 * forward + 6 * 3 * 2 * 220


def test_an_iteration_is_its_stages():
    common = {"epochs": 4, "prompts": [3, 5], "answers": [2, 4], "rank": None}
    shared = iteration_parts(SHAPE, layout="shared", scorer=None, **common)
    separate = iteration_parts(SHAPE, layout="separate", scorer=SHAPE, **common)
    whole, answers = [5, 9], [2, 4]
    assert shared["update"] == 4 * training_operations(SHAPE, whole, answers, logits=True, rank=None)
    assert shared["score"] == forward_operations(SHAPE, whole, answers, logits=True)
    critic = training_operations(SHAPE, whole, answers, logits=False, rank=None)
    assert separate["update"] == shared["update"] + 4 * critic
    assert separate["collect"] == shared["collect"]
    assert separate["score"] > shared["score"]


def test_bytes_are_added_role_by_role():
    assert (Bytes(weights=3, logits=1) + Bytes(weights=2)).rows()["weights"] == 5
    assert Bytes(weights=3, logits=1).total == 4
    assert keys_and_values(SHAPE, 2, 10) == 4 * 2 * 2 * 10 * 2 * 4
    assert logits(SHAPE, 6) == 2 * 4 * 6 * 20
    assert logits(SHAPE, 6, learns=True) == logits(SHAPE, 6) + 4 * 160


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_memory_of_activations_grows_with_the_tokens(family):
    config = {"model_type": family, "hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "vocab_size": 9}
    shape: Shape = shape_of_config(config, name=family)
    once = activations(shape, 10, 10, checkpointing=False)
    assert activations(shape, 20, 10, checkpointing=False) == 2 * once
    assert activations(shape, 10, 10, checkpointing=True) < once
    assert activations(shape, 10, 10, checkpointing=False, read=0.1) <= once
