"""`steersman serve`: models behind HTTP, as OpenAI's API and vLLM's routes for scores have it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from steersman.cli.command import Json
from steersman.cli.recipes import Recipe
from steersman.errors import MissingLibrary, UsageError
from steersman.printing import say, say_json

EXAMPLE = "Example: steersman serve runs/ppo reward=runs/reward --port 8000"


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]MODEL...",
            help="Runs, model folders, adapter folders, hub ids, harbour:base; reward models, classifiers and other "
            "scorers. The name is what clients ask for; by default it is the folder's.",
        ),
    ],
    host: Annotated[str, typer.Option(help="The address to listen on. Others than this machine need --api-keys.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free port.")] = 8000,
    api_keys: Annotated[
        Path | None, typer.Option(help="A file with a key on each line, one of which clients send.")
    ] = (None),
    host_name: Annotated[
        list[str] | None, typer.Option(help="A further name that the server is reached by, where there are no keys.")
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Answers that are generated at once.")] = None,
    max_length: Annotated[int | None, typer.Option(min=2, help="Tokens of a prompt with its answer.")] = None,
    waiting: Annotated[int, typer.Option(min=0, help="Answers that may wait; more are refused with status 429.")] = 256,
    max_body: Annotated[int, typer.Option(min=1024, help="The largest body of a request, in bytes.")] = 4 * 2**20,
    answer_time: Annotated[float, typer.Option(min=0.1, help="What an answer may take, in seconds.")] = 600.0,
    grace: Annotated[float, typer.Option(min=1.0, help="Seconds that running answers get at the end.")] = 30.0,
    allow_weight_updates: Annotated[
        bool, typer.Option(help="Turn on the routes for rollouts as token ids and for new weights (vLLM's names).")
    ] = False,
    weights_key: Annotated[Path | None, typer.Option(help="A file with the key for these routes.")] = None,
    weights_folder: Annotated[
        Path | None, typer.Option(help="Let new weights be read from files in this folder, too.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    json: Json = False,
    recipe: Recipe = None,
) -> None:
    """Serve models over HTTP: chat, completions and streams as OpenAI's API has them, scores as vLLM has them."""
    _need_libraries()
    from steersman.serve.options import ServeOptions, read_keys

    options = ServeOptions(
        host=host,
        port=port,
        api_keys=() if api_keys is None else read_keys(api_keys),
        weights_key=_key_of(allow_weight_updates, weights_key, read_keys),
        host_names=tuple(host_name or ()),
        max_body=max_body,
        waiting=waiting,
        answer_time=answer_time,
        grace=grace,
    )
    if weights_folder is not None and not weights_folder.expanduser().is_dir():
        raise UsageError(f"--weights-folder {weights_folder} is no folder; make it first")
    folder = None if weights_folder is None else weights_folder.expanduser()
    _answer(models, options, folder, device=device, rows=rows, length=max_length, as_json=json)


def _answer(models: list[str], options: Any, folder: Path | None, *, as_json: bool, **opening: Any) -> None:
    """Take the port, load the models, and answer until a signal comes."""
    from steersman.serve.app import create_app
    from steersman.serve.models import named, open_models
    from steersman.serve.run import address_of, how_to_reach, take_port
    from steersman.serve.run import serve as answer

    named(models)
    taken = take_port(options.host, options.port)
    opened = open_models(models, **opening)
    app = create_app(opened, options, weights_folder=folder)
    address = address_of(taken, options.host)

    def ready() -> None:
        if as_json:
            return say_json({"address": address, "models": opened.names, "rows": _rows_of(opened)})
        said = [f"serving on {address} (Ctrl-C stops it)", *how_to_reach(opened, address, options)]
        for name, (count, length) in _rows_of(opened).items():
            said.append(f"{name}: up to {count} answers at once, {length} tokens with the prompt")
        return say("\n".join(said), flush=True)

    answer(app, taken, options, ready)
    if not as_json:
        say("stopped")


def _rows_of(opened: Any) -> dict[str, list[int]]:
    return {name: [one.live.slots, one.live.capacity] for name, one in opened.languages.items()}


def _key_of(allowed: bool, path: Path | None, read: Any) -> str | None:
    if not allowed:
        if path is not None:
            raise UsageError("--weights-key is for the routes that --allow-weight-updates turns on; give that too")
        return None
    if path is None:
        raise UsageError(
            "--allow-weight-updates lets whoever has the key change the model; give --weights-key FILE, with one key. "
            "python -c 'import secrets; print(secrets.token_urlsafe(32))' makes one"
        )
    keys = read(path)
    if len(keys) != 1:
        raise UsageError(f"{path} holds {len(keys)} keys; expected one, the key for weights")
    return keys[0]


def _need_libraries() -> None:
    try:
        import steersman.serve.app  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        if isinstance(error, MissingLibrary) or (error.name or "").startswith("steersman"):
            raise
        raise MissingLibrary(
            f"serving needs {error.name}, which is not installed: pip install 'steersman[serve]'"
        ) from error
