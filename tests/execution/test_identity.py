"""A model folder is known by what is in it, not by its name alone."""

from steersman.execution.kept import identity_of
from steersman.models.tiny import write_tiny_model


def test_another_model_under_the_same_name_is_another(tmp_path):
    first = identity_of(str(write_tiny_model(tmp_path / "model", "llama", seed=0)))
    assert identity_of(str(tmp_path / "model")) == first
    write_tiny_model(tmp_path / "model", "llama", seed=1)
    assert identity_of(str(tmp_path / "model")) != first


def test_a_hub_id_is_its_own_name():
    assert identity_of("owner/name") == "owner/name"
