"""`steersman studio` without another word: the studio in a browser; and `steersman studio invite`."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, no_type_check

import typer

from steersman.cli.command import Json, say
from steersman.cli.recipes import Recipe
from steersman.cli.studio import Store, app
from steersman.errors import MissingLibrary, UsageError

Host = Annotated[str, typer.Option(help="The address to listen at. Others than this machine's need TLS.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")]
HostName = Annotated[
    list[str] | None, typer.Option("--host-name", help="A name by which browsers reach the studio.", show_default=False)
]
Certificate = Annotated[Path | None, typer.Option(help="For https: the certificate's file (PEM).", show_default=False)]
Key = Annotated[Path | None, typer.Option(help="For https: the key's file (PEM).", show_default=False)]
Proxy = Annotated[bool, typer.Option("--proxy", help="A reverse proxy on this machine speaks https for the studio.")]
Plain = Annotated[
    bool, typer.Option("--allow-plain-http", help="Listen for other machines without TLS, in a network you trust.")
]
Webhooks = Annotated[bool, typer.Option("--webhooks", help="Let admins of projects have addresses told of events.")]
Allow = Annotated[
    list[str] | None,
    typer.Option(help="A private address that webhooks and --responder may reach.", show_default=False),
]
Responder = Annotated[
    str,
    typer.Option(
        help="The model that people write to in red-teaming, as URL#NAME; its key from STEERSMAN_RESPONDER_KEY.",
        show_default=False,
    ),
]
Runs = Annotated[
    list[Path] | None,
    typer.Option(help="A folder of runs to show; may be given several times. Default: runs.", show_default=False),
]
RUNS = (Path("runs"),)
Empty = Annotated[
    bool, typer.Option("--empty", help="Do not make the example in a store without projects, and train nothing.")
]


@app.callback(invoke_without_command=True)
@no_type_check  # typer knows its context by this annotation and passes one of its own class
def studio(
    context: typer.Context,
    host: Host = "127.0.0.1",
    port: Port = 8400,
    host_name: HostName = None,
    certificate: Certificate = None,
    key: Key = None,
    proxy: Proxy = False,
    allow_plain_http: Plain = False,
    webhooks: Webhooks = False,
    allow: Allow = None,
    responder: Responder = "",
    runs: Runs = None,
    empty: Empty = False,
    store: Store = None,
    json: Json = False,
) -> None:
    """People judge in a browser. Without another command it starts on a project of Harbour, the example."""
    if context.invoked_subcommand is not None:
        given = [name for name in context.params if str(context.get_parameter_source(name)).endswith("COMMANDLINE")]
        if given:
            option = given[0].replace("_", "-")
            raise UsageError(f"--{option} stands after the command: steersman studio {context.invoked_subcommand} …")
        return
    serve(
        host,
        port,
        host_name,
        certificate,
        key,
        proxy,
        allow_plain_http,
        webhooks,
        allow,
        responder,
        runs,
        empty,
        store,
        None,
        json,
    )


@app.command(epilog="Example: steersman studio serve --host 0.0.0.0 --certificate cert.pem --key key.pem")
def serve(
    host: Host = "127.0.0.1",
    port: Port = 8400,
    host_name: HostName = None,
    certificate: Certificate = None,
    key: Key = None,
    proxy: Proxy = False,
    allow_plain_http: Plain = False,
    webhooks: Webhooks = False,
    allow: Allow = None,
    responder: Responder = "",
    runs: Runs = None,
    empty: Empty = False,
    store: Store = None,
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """Serve the studio until it is stopped (Ctrl-C). The first start prints a link that makes its reader the admin."""
    try:
        from steersman.assemble.serving import serve_studio
        from steersman.studio.responder import parse_place
        from steersman.studio.serve import Ready, Serving
        from steersman.studio.settings import StudioSettings
    except ImportError as error:
        raise MissingLibrary(f"the studio needs {error.name}; install it: pip install 'steersman[studio]'") from error
    if proxy and not host_name:
        raise UsageError("behind a proxy the studio must know its name: --host-name label.example.org")
    if host in ("0.0.0.0", "::") and not host_name:
        raise UsageError(f"with --host {host} the studio must know its names: --host-name NAME, as browsers write it")
    shown = f"[{host}]" if ":" in host else host
    names = (*(host_name or ()), *(() if host in ("127.0.0.1", "0.0.0.0", "::") else (shown,)))
    settings = StudioSettings(
        host,
        port,
        names,
        webhooks=webhooks,
        allowed=tuple(allow or ()),
        runs=tuple(runs or RUNS),
        responder=responder,
        responder_token=os.environ.get("STEERSMAN_RESPONDER_KEY") or None,
    )
    if responder:
        parse_place(responder, settings)

    def ready(found: Ready) -> None:
        lines = [f"the studio is at {found.url} (Ctrl-C stops it)"]
        if found.link:
            lines += ["  open this link once to become its admin:", f"  {found.link}"]
        say(asdict(found), as_json=json, lines=lines)

    serve_studio(store, settings, Serving(certificate, key, proxy, allow_plain_http), ready, empty=empty)


@app.command(epilog="Example: steersman studio invite --role labeller --project helpful")
def invite(
    role: Annotated[str, typer.Option(help="labeller, reviewer, admin or viewer.")] = "labeller",
    project: Annotated[
        str | None,
        typer.Option(help="To this project; an admin without one is of the whole studio.", show_default=False),
    ] = None,
    person: Annotated[
        str | None, typer.Option(help="A way back for somebody who is known by this name.", show_default=False)
    ] = None,
    days: Annotated[float, typer.Option(help="How long the link can be used.")] = 7.0,
    address: Annotated[str, typer.Option(help="The studio's address, as people reach it.")] = "http://127.0.0.1:8400",
    store: Store = None,
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """Make a link that can be used once. It works from this machine also for an admin who is locked out."""
    from steersman.store.database import open_store
    from steersman.studio.links import invite_from_machine

    with open_store(store) as database:
        secret, what = invite_from_machine(database, role, project=project, name=person, days=days)
    url = f"{address.rstrip('/')}/join/{secret}"
    say({"url": url, "days": days}, as_json=json, lines=[f"this link {what}, once, within {days:g} days:", f"  {url}"])
