"""Recipes of other libraries become ours: every setting is one of the schema, and what has no counterpart is said."""

import json
from typing import Any

import pytest
from commandline import call

from steersman.assemble.stages import stage_of
from steersman.errors import UsageError
from steersman.importing.read import as_toml, read_foreign
from steersman.importing.shell import commands_in, options_of
from steersman.settings.base import check, load_settings

# As in LLaMA-Factory's examples/train_lora.
LLAMA_FACTORY_SFT = """
### model
model_name_or_path: meta-llama/Meta-Llama-3-8B-Instruct
trust_remote_code: false

### method
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all
deepspeed: examples/deepspeed/ds_z3_config.json

### dataset
dataset: identity,alpaca_en_demo
template: llama3
cutoff_len: 2048
max_samples: 1000
preprocessing_num_workers: 16

### output
output_dir: saves/llama3-8b/lora/sft
logging_steps: 10
save_steps: 500
plot_loss: true
overwrite_output_dir: true
report_to: none

### train
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
ddp_timeout: 180000000
brand_new_option: 7
"""
LLAMA_FACTORY_DPO = """
model_name_or_path: meta-llama/Meta-Llama-3-8B-Instruct
stage: dpo
finetuning_type: lora
lora_rank: 8
lora_alpha: 32
lora_target: q_proj,v_proj
pref_beta: 0.2
pref_loss: orpo
dataset: dpo_en_demo
output_dir: saves/dpo
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 5e-6
num_train_epochs: 3.0
val_size: 0.1
eval_steps: 500
quantization_bit: 4
"""
LLAMA_FACTORY_PPO = """
model_name_or_path: meta-llama/Meta-Llama-3-8B-Instruct
reward_model: saves/llama3-8b/lora/reward
stage: ppo
finetuning_type: lora
lora_rank: 8
dataset: alpaca_en_demo
output_dir: saves/ppo
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-5
num_train_epochs: 3.0
max_new_tokens: 512
top_k: 0
top_p: 0.9
"""
OPENRLHF_PPO = r"""
set -x
ray job submit --address="http://127.0.0.1:8265" \
   --runtime-env-json='{"working_dir": "/openrlhf"}' \
   -- python3 -m openrlhf.cli.train_ppo_ray \
   --ref_num_nodes 1 \
   --ref_num_gpus_per_node 8 \
   --vllm_num_engines 4 \
   --pretrain OpenRLHF/Llama-3-8b-sft-mixture \
   --reward_pretrain OpenRLHF/Llama-3-8b-rm-700k \
   --save_path /openrlhf/examples/test_scripts/final/llama3-8b-rlhf \
   --micro_train_batch_size 16 \
   --train_batch_size 128 \
   --rollout_batch_size 1024 \
   --n_samples_per_prompt 1 \
   --max_epochs 1 \
   --prompt_max_len 1024 \
   --max_samples 100000 \
   --generate_max_len 1024 \
   --zero_stage 3 \
   --bf16 \
   --actor_learning_rate 5e-7 \
   --critic_learning_rate 9e-6 \
   --init_kl_coef 0.01 \
   --prompt_data OpenRLHF/prompt-collection-v0.1 \
   --input_key context_messages \
   --apply_chat_template \
   --normalize_reward \
   --gradient_checkpointing \
   --use_wandb secret-token-of-wandb
"""
OPENRLHF_SFT = r"""
# the usual script
MODEL=meta-llama/Meta-Llama-3-8B
read -r -d '' training_commands <<EOF
openrlhf.cli.train_sft \
   --max_len 2048 \
   --dataset Open-Orca/OpenOrca \
   --input_key question \
   --output_key response \
   --train_batch_size 256 \
   --micro_train_batch_size 2 \
   --max_samples 500000 \
   --pretrain $MODEL \
   --save_path ./checkpoint/llama3-8b-sft \
   --save_steps -1 \
   --eval_steps -1 \
   --max_epochs 1 \
   --packing_samples \
   --learning_rate 5e-6 \
   --adam_betas 0.9 0.95 \
   --gradient_checkpointing
EOF
if [[ ${1} != "slurm" ]]; then
    deepspeed --module $training_commands
fi
"""
TRL_DPO = """
model_name_or_path: Qwen/Qwen2-0.5B-Instruct
dataset_name: trl-lib/ultrafeedback_binarized
learning_rate: 5.0e-7
num_train_epochs: 1
per_device_train_batch_size: 2
gradient_accumulation_steps: 8
beta: 0.05
loss_type: ipo
use_peft: true
lora_r: 32
lora_alpha: 16
output_dir: Qwen2-0.5B-DPO
gradient_checkpointing: true
push_to_hub: true
eval_strategy: steps
eval_steps: 50
"""
TRL_GRPO = (
    "accelerate launch --config_file zero3.yaml trl/scripts/grpo.py --model_name_or_path Qwen/Qwen2.5-0.5B-Instruct "
    "--dataset_name trl-lib/tldr --num_generations 8 --per_device_train_batch_size 16 --beta 0.04 --epsilon 0.2 "
    "--epsilon_high 0.28 --loss_type dapo --max_completion_length 256 --learning_rate 1e-6 --output_dir out"
)


def imported(tmp_path, text, name="theirs.yaml", **options):
    (tmp_path / name).write_text(text)
    return read_foreign(tmp_path / name, **options)


def checked(found) -> Any:
    """The settings as the schema takes them: each name is one of ours."""
    values = json.loads(json.dumps(found.settings))
    for name in found.missing:
        group, _, key = name.partition(".")
        values.setdefault(group, {})[key] = "x"
    return check(stage_of(found.method).schema, values)


def test_llama_factorys_sft(tmp_path):
    found = imported(tmp_path, LLAMA_FACTORY_SFT)
    settings = checked(found)
    assert (found.library, found.method, found.missing) == ("LLaMA-Factory", "sft", ())
    assert settings.model.path == "meta-llama/Meta-Llama-3-8B-Instruct"
    assert (settings.model.lora.rank, settings.model.lora.alpha) == (8, 16)
    assert (settings.data.source, settings.mix["alpaca_en_demo"].source) == ("identity", "alpaca_en_demo")
    assert (settings.data.max_length, settings.data.limit) == (2048, 1000)
    assert (settings.train.batch_size, settings.train.epochs, settings.train.precision) == (8, 3, "bf16")
    assert (settings.optimiser.learning_rate, settings.optimiser.warmup) == (1e-4, 0.1)
    assert settings.run.out == "saves/llama3-8b/lora/sft"
    assert found.without["deepspeed"].startswith("about processes")
    assert found.without["brand_new_option"] == "not known here"
    assert any("dataset_info.json" in remark for remark in found.remarks)


def test_a_data_set_is_looked_up_where_llama_factory_has_it(tmp_path):
    info = {
        "identity": {"file_name": "identity.json"},
        "alpaca_en_demo": {"hf_hub_url": "org/alpaca", "columns": {"prompt": "instruction", "response": "output"}},
    }
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps(info))
    settings = checked(imported(tmp_path, LLAMA_FACTORY_SFT))
    assert settings.data.source == str(tmp_path / "data" / "identity.json")
    assert settings.mix["alpaca_en_demo"].source == "org/alpaca"
    assert settings.data.columns.prompt == "instruction"


def test_llama_factorys_dpo_and_ppo(tmp_path):
    settings = checked(imported(tmp_path, LLAMA_FACTORY_DPO, devices=4))
    assert (settings.loss, settings.beta, settings.train.batch_size) == ("orpo", 0.2, 32)
    assert (settings.model.quantise, settings.model.lora.targets) == ("4bit", ["q_proj", "v_proj"])
    assert (settings.data.held_out, settings.train.evaluate_every, settings.optimiser.learning_rate) == (0.1, 500, 5e-6)
    settings = checked(imported(tmp_path, LLAMA_FACTORY_PPO))
    assert (settings.layout, settings.scorer.path) == ("adapters", "saves/llama3-8b/lora/reward")
    assert (settings.sampling.max_new_tokens, settings.sampling.top_p) == (512, 0.9)
    assert (settings.prompts.source, settings.prompts_per_iteration) == ("alpaca_en_demo", 8)


def test_openrlhfs_ppo(tmp_path):
    found = imported(tmp_path, OPENRLHF_PPO, "train_ppo.sh")
    settings = checked(found)
    assert (found.library, found.method) == ("OpenRLHF", "ppo")
    assert (settings.prompts_per_iteration, settings.update.minibatches, settings.update.epochs) == (1024, 8, 1)
    assert (settings.iterations, settings.prompts.limit) == (98, 100_000)
    assert (settings.optimiser.learning_rate, settings.value_learning_rate) == (5e-7, 9e-6)
    assert (settings.kl.coefficient, settings.score.normalise, settings.layout) == (0.01, "running", "separate")
    assert found.without["zero_stage"] == found.without["vllm_num_engines"]
    assert "secret-token-of-wandb" not in as_toml(found, "train_ppo.sh")
    assert settings.run.journal == ["wandb"]


def test_openrlhfs_sft_with_a_variable_and_a_here_document(tmp_path):
    settings = checked(imported(tmp_path, OPENRLHF_SFT, "train_sft.sh"))
    assert (settings.model.path, settings.data.source) == ("meta-llama/Meta-Llama-3-8B", "Open-Orca/OpenOrca")
    assert (settings.data.columns.prompt, settings.data.columns.completion) == ("question", "response")
    assert (settings.train.packing, settings.train.batch_size, settings.optimiser.betas) == (True, 256, (0.9, 0.95))
    assert settings.run.checkpoint_every == 100


def test_trls_dpo_and_grpo(tmp_path):
    found = imported(tmp_path, TRL_DPO)
    settings = checked(found)
    assert (found.library, found.method) == ("TRL", "dpo")
    assert (settings.beta, settings.loss, settings.length) == (0.05, "ipo", "mean")
    assert (settings.train.batch_size, settings.train.evaluate_every, settings.model.lora.rank) == (16, 50, 32)
    assert "export" in found.without["push_to_hub"]
    found = imported(tmp_path, TRL_GRPO, "grpo.sh")
    settings = checked(found)
    assert (found.method, found.missing) == ("ppo", ("scorer.path",))
    assert settings.advantage.estimator == "grpo"
    assert (settings.samples_per_prompt, settings.prompts_per_iteration) == (8, 2)
    assert (settings.kl.coefficient, settings.kl.loss_coefficient) == (0.0, 0.04)
    assert (settings.update.clip, settings.update.clip_high, settings.update.mean_over) == (0.2, 0.28, "tokens")


def test_the_command_writes_a_recipe_that_the_stage_takes(tmp_path, capfd):
    (tmp_path / "theirs.yaml").write_text(TRL_DPO)
    out = tmp_path / "dpo.toml"
    assert call(["recipe", "import", str(tmp_path / "theirs.yaml"), "--out", str(out)]) == 0
    said = capfd.readouterr().out
    assert f"next: steersman dpo {out}" in said
    assert "no counterpart: push_to_hub" in said
    settings: Any = load_settings(stage_of("dpo").schema, out, [])
    assert settings.beta == 0.05
    assert call(["recipe", "import", str(tmp_path / "theirs.yaml"), "--out", str(out)]) == 2
    assert "exists already" in capfd.readouterr().err
    assert call(["recipe", "import", str(tmp_path / "theirs.yaml"), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["settings"]["loss"] == "ipo"


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("x.yaml", "a: [1", "is no YAML on line"),
        ("x.yaml", "- a\n- b\n", "holds a list"),
        ("x.yaml", "colour: red\n", "none of their names"),
        ("x.yaml", "model_name_or_path: a/b\noutput_dir: x\n", "give --method"),
        ("x.yaml", "model_name_or_path: a/b\nstage: dance\n", "stage='dance' has no counterpart"),
        ("x.sh", "echo hello\n", "no recipe that can be imported"),
        ("x.sh", "python -m openrlhf.cli.train_dance --pretrain x\n", "train_dance has no counterpart"),
        ("x.sh", 'python "unclosed\n', "no recipe that can be imported"),
    ],
)
def test_what_is_no_recipe_is_refused(tmp_path, name, text, why):
    with pytest.raises(UsageError, match=why):
        imported(tmp_path, text, name)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(UsageError, match="there is no file"):
        read_foreign(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_foreign(tmp_path / "bytes.yaml")
    with pytest.raises(UsageError, match="--devices 0"):
        read_foreign(tmp_path / "bytes.yaml", devices=0)


def test_command_lines_are_read_as_a_shell_reads_them():
    words = list(commands_in("A=1 \n# no\nrun --x \\\n  $A --flag --y=2e-3 --z a b\n"))
    assert words == [["run", "--x", "1", "--flag", "--y=2e-3", "--z", "a", "b"]]
    assert options_of(words[0][1:]) == {"x": 1, "flag": True, "y": 2e-3, "z": ["a", "b"]}
