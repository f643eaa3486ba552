"""Secrets are hidden by what they mean, in every file and message of a run. Ordinary settings are not hidden."""

from pathlib import Path

import pytest
from commandline import call
from hypothesis import given
from hypothesis import strategies as st
from moody_server import moody_server

from steersman.assemble.stages import STAGES
from steersman.errors import ServiceError, UsageError
from steersman.records import Prompt
from steersman.reward.exchange import checked_addresses, parse_url
from steersman.reward.http import HttpOptions, HttpScorer
from steersman.secrets import conceal, concealed, concealed_arguments, is_secret
from steersman.settings.base import all_keys


def test_no_setting_of_ours_is_hidden():
    keys = {key for stage in STAGES.values() for key in all_keys(stage.schema)}
    assert len(keys) > 200
    assert [key for key in sorted(keys) if is_secret(key)] == []


@pytest.mark.parametrize(
    "name",
    ["max_new_tokens", "eos_token", "pad_token", "token_env", "tokens", "monkey", "keyword", "sort_keys", "tokenizer"],
)
def test_the_word_alone_hides_nothing(name):
    assert concealed_arguments([f"sampling.{name}=64", f"--{name}", "64"]) == [f"sampling.{name}=64", f"--{name}", "64"]


@pytest.mark.parametrize(
    "name", ["api_key", "api-key", "apiKey", "key", "hf_token", "token", "client_secret", "password", "Authorization"]
)
def test_names_of_secrets_hide_their_values(name):
    assert concealed_arguments([f"judge.{name}=sesame", f"--{name}", "sesame", "--seed", "1"]) == [
        f"judge.{name}=***", f"--{name}", "***", "--seed", "1",
    ]  # fmt: skip
    assert concealed({"scorer": {name: "sesame", "path": "runs/reward"}}) == {
        "scorer": {name: "***", "path": "runs/reward"}
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:sesame@host/score", "https://***@host/score"),
        ("http://host:80/?api_key=sesame&model=large: refused", "http://host:80/?api_key=***&model=large: refused"),
        ("(https://host/score?key=sesame).", "(https://host/score?key=***)."),
        ("https://host/score?sesame", "https://host/score?***"),
        ("https://host/score?sig=sesame#token=sesame", "https://host/score?sig=***#token=***"),
        ("https://host/score?key=${KEY}", "https://host/score?key=${KEY}"),
        ("harbour:comparisons?count=4000&seed=1", "harbour:comparisons?count=4000&seed=1"),
        ("{'Authorization': 'Bearer sesame'}", "{'Authorization': 'Bearer ***'}"),
        ("X-API-Key: sesame", "X-API-Key: ***"),
        ("OPENAI_API_KEY='sesame' is wrong", "OPENAI_API_KEY='***' is wrong"),
        ("settings are key=value", "settings are key=value"),
    ],
)  # fmt: skip
def test_what_is_hidden_in_a_text(text, shown):
    assert conceal(text) == shown
    assert conceal(shown) == shown


@given(st.text("abcXYZ019-._~%+", min_size=4), st.sampled_from(["key", "api_key", "sig", "anything"]))
def test_no_value_of_a_query_is_left(value, name):
    assert conceal(f"the scorer https://host/score?n=1&{name}={value}&v=2 failed") == (
        f"the scorer https://host/score?n=1&{name}=***&v=2 failed"
    )


def test_a_variable_of_the_environment_is_sent_and_never_kept(monkeypatch):
    monkeypatch.setenv("SCORER_KEY", "open sesame")
    endpoint = parse_url("https://host/score?key=${SCORER_KEY}", ())
    assert endpoint.path == "/score?key=open%20sesame"
    assert endpoint.shown == "https://host/score?key=${SCORER_KEY}"
    assert endpoint.without_secrets("no key 'open sesame', nor open%20sesame") == "no key '***', nor ***"
    monkeypatch.delenv("SCORER_KEY")
    with pytest.raises(UsageError, match="the environment has no SCORER_KEY"):
        parse_url("https://host/score?key=${SCORER_KEY}", ())


def test_a_secret_in_an_address_travels_encrypted_or_to_an_allowed_address_only():
    open_address = "http://8.8.8.8/score?model=large&api_key=sesame"
    with pytest.raises(
        UsageError, match=r"api_key=\*\*\* is not encrypted, so the secret in its address could be read"
    ):
        checked_addresses(parse_url(open_address, ()), secret=False)
    checked_addresses(parse_url(open_address, ("8.8.8.8",)), secret=False)
    checked_addresses(parse_url(open_address.replace("http:", "https:"), ()), secret=False)
    checked_addresses(parse_url("http://8.8.8.8/score?model=large", ()), secret=False)


def test_an_address_of_a_kept_recipe_says_what_is_missing():
    with pytest.raises(UsageError, match=r"kept without its secrets; give scorer\.path again"):
        parse_url("https://host/score?key=***", ())


def files_with(word: str, folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and word.encode() in path.read_bytes()]


@pytest.mark.slow
def test_a_runs_files_its_messages_and_its_report_hold_no_secret(tmp_path, capfd):
    out = tmp_path / "run"
    with moody_server(lambda number: "status 503" if number == 0 else "well") as server:
        words = [
            *("rloo", "--model", "tiny:llama", "--prompts", "harbour:prompts?count=4", "--out", str(out)),
            *("iterations=1", "prompts_per_iteration=4", "sampling.max_new_tokens=4", "watch.action=off"),
            *("--scorer", f"{server.url}?api_key=sesame&key=sesame", "scorer.http.allow=['127.0.0.1']"),
        ]
        assert call(words) == 0
    told = capfd.readouterr()
    assert "requests had to be repeated" in told.err
    assert call(["report", str(out), "--microscope", "0"]) == 0
    told_of_report = capfd.readouterr()
    assert files_with("sesame", out) == []
    assert "sesame" not in told.out + told.err + told_of_report.out + told_of_report.err
    assert "sampling.max_new_tokens=4" in (out / "stamp.json").read_text()
    assert "?api_key=***" in (out / "recipe.toml").read_text()


@pytest.mark.parametrize("mood", ["echo 403", "echo 200"])
def test_a_service_that_repeats_the_key_it_refuses_does_not_make_it_known(mood):
    told: list[str] = []
    with moody_server(lambda number: mood) as server:
        options = HttpOptions(4, 1, 5.0, 0.2, ("127.0.0.1",), "open-sesame")
        scorer = HttpScorer(f"{server.url}?key=sesame-two", options, remembered={}, notice=told.append)
        with pytest.raises(ServiceError) as refused:
            scorer.score([(Prompt(text="Hi"), "Hello")])
    assert "no such key" in str(refused.value)
    assert "sesame" not in str(refused.value) + "".join(told)


def test_a_password_in_an_address_within_another_is_hidden_also_when_it_is_encoded():
    plain = "--data=studio:helpful?store=postgresql://ann:sesame@host/d"
    encoded = "--data=studio:helpful?store=postgresql%3A%2F%2Fann%3Asesame%40host%2Fd"
    assert concealed_arguments([plain, encoded]) == [
        "--data=studio:helpful?store=postgresql://***@host/d",
        "--data=studio:helpful?store=postgresql%3A%2F%2F***%40host%2Fd",
    ]


def test_a_databases_user_is_a_name_and_shown_while_a_lone_token_is_hidden():
    assert conceal("postgresql://ann@host/d") == "postgresql://ann@host/d"
    assert conceal("postgresql+psycopg://ann:sesame@host/d") == "postgresql+psycopg://***@host/d"
    assert conceal("https://sesame@host/d") == "https://***@host/d"
