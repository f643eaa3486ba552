"""The API against what its own description (OpenAPI) says may be sent, and against much that it does not."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from store_pairs import pairs_in
from studio_visits import ADDRESS, Site

from steersman.store.projects import create_project
from steersman.studio.app import create_app
from steersman.studio.settings import StudioSettings

SKIPPED = ("/api/projects/{project}/progress/stream", "/api/runs/{run}/stream")
"""They do not end."""
EACH = 5
"""Examples of each operation."""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("schema")
    app = create_app(str(folder / "studio.db"), StudioSettings(requests=(10**9, 1e9), attempts=(10**9, 1e9)))
    project = create_project(app.state.studio.database, "helpful")
    pairs_in(project, 5, overlap=3)
    site = Site(app)
    ada = site.admin()
    token = ada.post("/api/tokens", {"name": "schema", "scope": "manage"}).json()["secret"]
    yield app, token
    site.close()


def test_nothing_that_is_sent_makes_the_server_fail(served):
    """For each operation: examples that fit its description, and ones that do not. None ends in a server error."""
    app, token = served
    schema = schemathesis.openapi.from_dict(app.openapi())
    schema.app = app
    tried: list[str] = []
    for result in schema.get_all_operations():
        operation: Any = result.ok()  # pyright: ignore[reportAttributeAccessIssue]
        if operation.path in SKIPPED:
            continue
        _try(operation, token)
        tried.append(f"{operation.method} {operation.path}")
    assert len(tried) >= 35


def _try(operation: Any, token: str) -> None:
    modes = st.sampled_from(list(GenerationMode))
    cases = modes.flatmap(lambda mode: operation.as_strategy(generation_mode=mode))

    @settings(
        max_examples=EACH,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def check(case: Any) -> None:
        if "project" in (case.path_parameters or {}):
            case.path_parameters["project"] = "helpful"
        reply = case.call(base_url=ADDRESS, headers={"Authorization": f"Bearer {token}"})
        assert reply.status_code < 500, (operation.label, case.as_curl_command(), reply.text[:300])

    check()
