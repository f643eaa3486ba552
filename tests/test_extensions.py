"""Extensions: the example package, installed by pip and used through the command line; and packages that are broken."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from steersman import extensions
from steersman.data.formats.registry import FORMATS, detect, format_named
from steersman.errors import SteersmanError, UsageError
from steersman.inference.doctor import examine
from steersman.records import Prompt
from steersman.reward.extension import extension_scorer
from steersman.runs.journal import read_rows
from steersman.settings.base import load_settings
from steersman.settings.ppo import PpoSettings, RlooSettings

EXAMPLE = Path(__file__).parents[1] / "examples" / "extension"
INTERVIEWS = [{"interviewer": f"Question {i}?", "guest": "I am glad that you ask!"} for i in range(8)]


@pytest.fixture
def declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """A function that installs a package with these entry points and this code."""

    def install(entry_points: str, code: str, package: str = "broken") -> Path:
        folder = tmp_path / "site" / package
        about = folder / f"{package}-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(entry_points)
        (folder / f"{package}_code.py").write_text(code)
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, f"{package}_code", raising=False)
        extensions._declared.cache_clear()
        return folder

    yield install
    extensions._declared.cache_clear()


def scorer_of(declare: Callable[..., Path], code: str) -> Any:
    declare("[steersman.scorers]\nmine = broken_code:mine\n", code)
    return extension_scorer("mine")


def test_functions_scorers_and_classes_of_scorers_score(declare: Callable[..., Path]):
    code = (
        "from steersman.reward.scorer import Score\n"
        "def plain(answer): return len(answer)\n"
        "class Twice:\n    name = 'twice'\n    def score(self, items): return [Score(2.0 * len(a)) for _, a in items]\n"
        "ready = Twice()\n"
    )
    names = "[steersman.scorers]\n" + "".join(f"{one} = broken_code:{one}\n" for one in ("plain", "Twice", "ready"))
    declare(names, code)
    assert extensions.extension_names("steersman.scorers") == ["Twice", "plain", "ready"]
    found = [extension_scorer(one).score([(Prompt(text="a"), "four")])[0].value for one in ("plain", "Twice", "ready")]
    assert found == [4.0, 8.0, 8.0]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "import no_such_module\n",
            r"cannot be loaded: ModuleNotFoundError.*no_such_module.*\(broken_code\.py, line 1\)",
        ),
        ("other = 1\n", r"cannot be loaded: AttributeError"),
        ("raise SystemExit(0)\n", r"cannot be loaded: SystemExit"),
        ("mine = 3\n", r"is of type int; expected a Scorer, a class of one"),
        ("class mine:\n    def __init__(self, path): ...\n", r"raised TypeError.*path"),
        ("class mine: ...\n", r"is of type mine; expected a Scorer"),
        ("def mine(reply): return 1\n", r"takes \(reply\); expected arguments among"),
    ],
)
def test_a_scorer_that_cannot_be_used_names_its_package(declare: Callable[..., Path], code: str, message: str):
    with pytest.raises(SteersmanError, match=message) as caught:
        scorer_of(declare, code)
    assert "'mine'" in str(caught.value)
    if "takes" not in message:
        assert "broken 1.0 (broken_code:mine)" in str(caught.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise KeyError('x')", r"'mine' of broken 1\.0 .* raised KeyError: 'x' \(broken_code\.py, line 3\)"),
        ("return [1.0]", "given 1 answers and returned 1 values; expected a list of as many Scores"),
    ],
)
def test_a_scorer_that_fails_while_it_scores_names_its_package(declare: Callable[..., Path], body: str, message: str):
    scorer = scorer_of(declare, f"class mine:\n    name = 'm'\n    def score(self, items): {body}\n")
    with pytest.raises(SteersmanError, match=message):
        scorer.score([(Prompt(text="a"), "b")])


def test_an_unknown_name_is_told_with_the_nearest_and_a_double_one_with_both(declare: Callable[..., Path]):
    with pytest.raises(UsageError, match="no installed package brings the scorer 'politness'; none is installed"):
        extension_scorer("politness")
    declare("[steersman.scorers]\npoliteness = broken_code:f\n", "")
    with pytest.raises(UsageError, match="did you mean extension:politeness"):
        extension_scorer("politness")
    with pytest.raises(UsageError, match="installed are politeness"):
        extension_scorer("zzz")
    declare("[steersman.scorers]\npoliteness = other_code:f\n", "", "other")
    with pytest.raises(
        UsageError, match=r"declared twice, by .*other 1.0.* and by .*broken 1.0|broken 1.0.* and by .*other"
    ):
        extension_scorer("politeness")


def test_a_format_of_a_package_is_tried_after_ours(declare: Callable[..., Path]):
    code = (
        "from steersman.data.formats.format import Format\n"
        "greedy = Format('greedy', 'everything', ('question',), lambda row: True, lambda row: [])\n"
    )
    declare("[steersman.data_formats]\ngreedy = broken_code:greedy\n", code)
    assert detect([{"chosen": "a", "rejected": "b"}]) in FORMATS.values()
    assert detect([{"wholly": "unknown"}]).name == "greedy"
    assert format_named("greedy").title == "everything"
    declare("[steersman.data_formats]\nodd = other_code:Format\n", code, "other")
    with pytest.raises(
        UsageError, match=r"the data format 'odd' of other 1.0 .* is the class Format; expected a steersman"
    ):
        format_named("odd")
    with pytest.raises(UsageError, match="did you mean greedy"):
        format_named("gredy")


ESTIMATORS = "[steersman.advantage_estimators]\nmine = broken_code:mine\n"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def mine(given, settings): raise ValueError('no')\n", r"raised ValueError: no \(broken_code\.py, line 1\)"),
        ("def mine(given, settings): return given.rewards\n", "returned Tensor; expected two tensors"),
        (
            "def mine(given, settings): return given.rewards[:, :1], given.rewards\n",
            r"expected two tensors, advantages and returns, each of shape \[2, 3\]",
        ),
        ("def mine(given, settings): return given.rewards / 0, given.rewards\n", "not finite"),
        ("mine = 'text'\n", "is of type str; expected a function"),
    ],
)
def test_an_estimator_that_is_wrong_names_itself(declare: Callable[..., Path], code: str, message: str):
    import torch

    from steersman.methods.ppo.extension import extension_estimator
    from steersman.methods.ppo.token_rewards import TokenRewards
    from steersman.settings.advantage import AdvantageSettings

    declare(ESTIMATORS, code)
    rewards = torch.ones(2, 3)
    given = TokenRewards(torch.ones(2, 3, dtype=torch.bool), rewards, rewards * 0, None, torch.tensor([0, 1]))
    with pytest.raises(SteersmanError, match=message) as caught:
        extension_estimator("mine")(given, AdvantageSettings())
    assert "'mine'" in str(caught.value)


def ppo_settings(schema: type, *more: str) -> Any:
    usual = ("model.path=m", "prompts.source=p", "scorer.path=s", "run.out=o")
    return load_settings(schema, None, [*usual, *more])


def test_settings_know_whether_an_estimator_has_a_critic(declare: Callable[..., Path]):
    with_critic = "[steersman.advantage_estimators_with_critic]\none = broken_code:mine\n"
    declare(ESTIMATORS + with_critic, "def mine(): ...\n")
    assert not ppo_settings(PpoSettings, "advantage.estimator=extension:mine").advantage.has_critic
    assert ppo_settings(PpoSettings, "advantage.estimator=extension:one").advantage.has_critic
    assert ppo_settings(RlooSettings, "advantage.estimator=extension:mine").advantage.estimator == "extension:mine"
    with pytest.raises(UsageError, match="estimator=extension:mine has no critic; leave it out"):
        ppo_settings(PpoSettings, "advantage.estimator=extension:mine", "value_warmup=3")
    with pytest.raises(UsageError, match="estimator=extension:one needs a critic, but RLOO has none"):
        ppo_settings(RlooSettings, "advantage.estimator=extension:one")
    with pytest.raises(UsageError, match=r"advantage\.estimator.*expected 'gae', 'rloo', .* or extension:NAME.*'grop'"):
        ppo_settings(PpoSettings, "advantage.estimator=grop")


def test_a_detector_that_fails_names_its_package(declare: Callable[..., Path]):
    from steersman.watch.baseline import baseline
    from steersman.watch.detectors.detector import DetectorInput
    from steersman.watch.extension import extension_detector
    from steersman.watch.records import IterationAnswers, WatchedAnswer

    code = (
        "from steersman.watch.detectors.detector import Detector\n"
        "def fails(inputs): raise RuntimeError('what')\n"
        "mine = Detector('x', 'above', fails, lambda inputs: [], lambda inputs, value: '')\n"
        "words = Detector('x', 'above', lambda inputs: 'many', lambda inputs: [], lambda inputs, value: '')\n"
    )
    declare("[steersman.detectors]\nmine = broken_code:mine\nwords = broken_code:words\nno = broken_code:fails\n", code)
    answer = WatchedAnswer(Prompt(text="a"), "b c", 2, True, 0.5, {}, 0.1, 1.0)
    current = IterationAnswers([answer, answer], {}, [])
    inputs = DetectorInput(current, baseline(current, None), None, None, None)
    with pytest.raises(SteersmanError, match=r"the detector 'mine' of broken 1\.0 .* raised RuntimeError: what"):
        extension_detector("mine").measure(inputs)
    with pytest.raises(
        SteersmanError, match=r"'words' of broken 1.0 .* is of type str; expected a number from `measure`"
    ):
        extension_detector("words").measure(inputs)
    with pytest.raises(UsageError, match=r"'no' of broken 1.0 .* expected a steersman.watch.detectors"):
        extension_detector("no")


def test_limits_and_actions_of_other_detectors_go_together():
    limit = "watch.extensions.exclamations=2"
    settings = ppo_settings(PpoSettings, limit, "watch.actions.exclamations=stop")
    assert settings.watch.extensions == {"exclamations": 2.0}
    assert settings.watch.actions == {"exclamations": "stop"}
    with pytest.raises(
        UsageError, match=r"watch.actions.exclamations: there is no such detector; expected one of 'gap'"
    ):
        ppo_settings(PpoSettings, "watch.actions.exclamations=stop")
    with pytest.raises(UsageError, match=r"give its limit as watch.limits.kl"):
        ppo_settings(PpoSettings, "watch.extensions.kl=2")


def test_the_doctor_lists_extensions_and_what_is_wrong(declare: Callable[..., Path], tmp_path: Path):
    declare("[steersman.scorers]\nfine = broken_code:fine\nlost = broken_code:lost\n", "def fine(answer): return 1.0\n")
    found = {one.name: one for one in examine(tmp_path) if one.name.startswith("extension")}
    assert found["extension fine"].verdict == "good"
    assert "broken 1.0 (broken_code:fine)" in found["extension fine"].words
    assert found["extension lost"].verdict == "bad"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment with the example package, which pip has built and installed without an index."""
    target = tmp_path_factory.mktemp("extension") / "site"
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--target", str(target)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, str(EXAMPLE)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    source = str(Path(extensions.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(target), source]), "CUDA_VISIBLE_DEVICES": ""}


def steersman(environment: dict[str, str], *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "steersman", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def improve(installed: dict[str, str], tiny: Callable[[str], Path], tmp_path: Path) -> Callable[..., Any]:
    interviews = tmp_path / "interviews.jsonl"
    interviews.write_text("".join(json.dumps(row) + "\n" for row in INTERVIEWS))
    usual = [
        *("ppo", f"model.path={tiny('llama')}", f"prompts.source={interviews}", f"run.out={tmp_path / 'run'}"),
        *("scorer.path=extension:politeness", "iterations=2", "prompts_per_iteration=4", "sampling.max_new_tokens=6"),
        *("run.device=cpu", "run.threads=1", "compute.kernels=default", "prompts.held_out=none"),
    ]
    return lambda *more, code=0: steersman(installed, *usual, *more, code=code)


@pytest.mark.slow
def test_one_command_uses_the_example_package_s_scorer_estimator_format_and_detector(
    improve: Callable[..., Any], installed: dict[str, str], tmp_path: Path
):
    improve("advantage.estimator=extension:batch-mean", "watch.extensions.exclamations=2")
    rows = [row for row in read_rows(tmp_path / "run" / "journal.jsonl")[0] if "score" in row]
    assert [row["step"] for row in rows] == [1, 2]
    assert all("watch exclamations" in row for row in rows)
    assert all("value" not in row for row in rows), "there is no critic"
    samples = (tmp_path / "run" / "samples" / "iteration-000001.jsonl").read_text().splitlines()
    answers = [json.loads(line) for line in samples]
    for one in answers:
        assert one["raw_score"] == pytest.approx(politeness_by_hand(one["answer"]), abs=1e-6)
    # advantages are the answer's whole reward less the batch's mean, whitened over all tokens: one number an answer
    assert all(len({*one["advantages"]}) <= 1 for one in answers)
    shown = steersman(installed, "data", "inspect", str(tmp_path / "interviews.jsonl"), "--json")
    (source,) = json.loads(shown.stdout)["sources"]
    assert (*source["formats"].values(), source["good_rows"]) == ("interview", 8)


def politeness_by_hand(answer: str) -> float:
    polite = ("please", "thank", "glad", "welcome", "sorry")
    words = answer.lower().split()
    return sum(word.strip(".,!?") in polite for word in words) - 0.1 * len(words)


@pytest.mark.slow
def test_an_estimator_with_a_critic_has_its_values(improve: Callable[..., Any], tmp_path: Path):
    improve("advantage.estimator=extension:one-step", "iterations=1")
    rows = [row for row in read_rows(tmp_path / "run" / "journal.jsonl")[0] if "score" in row]
    assert all("value" in row for row in rows)


@pytest.mark.slow
def test_a_name_that_no_package_declares_ends_the_command_with_one_line(improve: Callable[..., Any]):
    done = improve("advantage.estimator=extension:batch-maen", code=2)
    assert "no installed package brings the advantage estimator 'batch-maen'" in done.stderr
    assert "did you mean extension:batch-mean?" in done.stderr


@pytest.mark.slow
def test_a_broken_package_ends_the_command_with_one_line(
    improve: Callable[..., Any], installed: dict[str, str], declare: Callable[..., Path]
):
    folder = declare("[steersman.detectors]\nlost = broken_code:lost\n", "import no_such_module\n")
    installed["PYTHONPATH"] = os.pathsep.join([str(folder), installed["PYTHONPATH"]])
    done = improve("watch.extensions.lost=1", code=2)
    assert "the detector 'lost' of broken 1.0 (broken_code:lost) cannot be loaded: ModuleNotFoundError" in done.stderr
