"""`steersman schema`: a JSON schema that says of each setting what it is, for every method."""

import json

import pytest
from typer.testing import CliRunner

from steersman.assemble.stages import STAGES
from steersman.cli.main import app
from steersman.errors import UsageError
from steersman.settings.base import all_keys


@pytest.mark.parametrize("method", STAGES)
def test_the_schema_of_each_method_has_every_setting(method: str):
    found = CliRunner().invoke(app, ["schema", method])
    assert found.exit_code == 0
    schema = json.loads(found.stdout)
    assert set(schema["properties"]) == {key.partition(".")[0] for key in all_keys(STAGES[method].schema)}
    assert schema["additionalProperties"] is False


def test_an_unknown_method_is_refused_with_the_known_ones():
    error = CliRunner().invoke(app, ["schema", "pppo"]).exception
    assert isinstance(error, UsageError)
    assert "expected one of sft, sample" in str(error)
