"""A stage's identity changes with what its output follows from, and with nothing else."""

import pytest
from small_commands import RECIPE, Commands, write_recipe

from steersman.rounds.identity import identities
from steersman.rounds.recipe import read_graph


@pytest.fixture
def hashes_of(tmp_path):
    def hashes(text: str = RECIPE, *overrides: str, commands: Commands | None = None) -> dict[str, str]:
        graph = read_graph(write_recipe(tmp_path, text), list(overrides), commands or Commands())
        return {name: one.hash for name, one in identities(graph).items()}

    return hashes


def changed(before: dict[str, str], now: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != now[name]}


def test_comments_order_and_defaults_change_nothing(hashes_of):
    text = RECIPE.replace('text = "one"', '# a comment\ntext = "one"\nsize = "auto"')
    assert hashes_of(text) == hashes_of()


def test_a_changed_setting_changes_its_stage_and_all_that_follow(hashes_of):
    assert changed(hashes_of(), hashes_of(RECIPE, "second.text=other")) == {"second", "model"}


def test_the_seed_changes_the_stages_that_have_one(hashes_of):
    assert changed(hashes_of(), hashes_of(RECIPE, "seed=8")) == {"model"}


def test_the_manner_of_a_run_and_where_it_writes_change_nothing(hashes_of, tmp_path):
    manner = hashes_of(RECIPE, "model.run.checkpoint_every=3", "model.run.threads=2", f"out={tmp_path}/elsewhere")
    assert manner == hashes_of()


def test_a_new_version_of_a_command_changes_its_stages(hashes_of):
    commands = Commands()
    commands.train.version = 2
    assert changed(hashes_of(), hashes_of(commands=commands)) == {"model"}


@pytest.mark.parametrize("written", ["{file}", "{file}?limit=3", "{file}:function", "judge:{file}"])
def test_the_content_of_a_file_counts_and_not_its_times(hashes_of, tmp_path, written):
    file = tmp_path / "data.jsonl"
    file.write_text("one")
    override = f"first.data={written.format(file=file)}"
    before = hashes_of(RECIPE, override)
    file.touch()
    assert hashes_of(RECIPE, override) == before
    file.write_text("two")
    assert changed(before, hashes_of(RECIPE, override)) == {"first", "second", "model"}


def test_the_content_of_a_folder_counts(hashes_of, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("one")
    before = hashes_of(RECIPE, f"first.data={tmp_path}/model")
    (tmp_path / "model" / "weights").write_text("two")
    assert changed(before, hashes_of(RECIPE, f"first.data={tmp_path}/model")) == {"first", "second", "model"}


def test_a_choice_is_no_file_even_if_there_is_one_of_its_name(hashes_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = hashes_of()
    (tmp_path / "auto").write_text("a file")
    assert hashes_of() == before


def test_new_judgements_in_a_project_change_the_stages_that_read_it_and_a_snapshot_stays(
    hashes_of, tmp_path, monkeypatch
):
    from store_pairs import pair

    from steersman.store.database import open_store
    from steersman.store.imports import ImportReport, Wishes, from_records, import_arriving
    from steersman.store.projects import create_project
    from steersman.store.snapshots import freeze

    monkeypatch.setenv("STEERSMAN_STORE", str(tmp_path / "studio.db"))
    recipes = [
        f'[stages.a]\ncommand = "write"\ndata = "studio:helpful{snapshot}"\n' for snapshot in ("", "?snapshot=1")
    ]
    with open_store(create=True) as database:
        project = create_project(database, "helpful")
        import_arriving(project, from_records([pair(1, annotator="ann")], Wishes()), ImportReport())
        freeze(project)
        before = [hashes_of(recipe)["a"] for recipe in recipes]
        assert [hashes_of(recipe)["a"] for recipe in recipes] == before
        import_arriving(project, from_records([pair(2, annotator="ann")], Wishes()), ImportReport())
        after = [hashes_of(recipe)["a"] for recipe in recipes]
    assert after[0] != before[0]
    assert after[1] == before[1]
