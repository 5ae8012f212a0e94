"""`clipwatch token`: API tokens of programs. The options; services/recorder/users.py does the work on the database."""

from __future__ import annotations

from typing import Annotated

import typer

from services.local.commands.command_line import JsonObject, SiteConfig, database_address, on_site
from shared.terminal_text import say, say_json

app = typer.Typer(help="API tokens: what lets programs in.", no_args_is_help=True)


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Which program it is for.", metavar="NAME")],
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="look, operate, admin or metrics; may be given often; none: look."),
    ] = None,
    camera: Annotated[
        list[str] | None, typer.Option("--camera", help="A camera it sees; may be given often; none: all.")
    ] = None,
    days: Annotated[
        float | None, typer.Option("--days", help="It ends after so many days; none: never.")
    ] = None,
    config: SiteConfig = None,
) -> None:
    """Make a token and print it: it is shown this once.

    Example: [bold]clipwatch token add grafana --days 365[/bold]
    """
    from services.recorder import users

    address = database_address(config)
    options = users.TokenOptions(name, scope or ("look",), camera or (), days)
    print(on_site(lambda: users.add_token(address, options)).text)  # its own characters only, shown this once


@app.command("list")
def list_tokens(as_json: JsonObject = False, config: SiteConfig = None) -> None:
    """List the tokens with scopes, end and last use; never a token itself.

    Example: [bold]clipwatch token list[/bold]
    """
    from services.recorder import users

    address = database_address(config)
    found = on_site(lambda: users.list_tokens(address))
    if not as_json:
        say(*users.token_lines(found))
        return
    rows = [
        {
            "id": token.id,
            "name": token.name,
            "scopes": sorted(token.scopes),
            "cameras": None if token.cameras is None else sorted(token.cameras),
            "ends_at": token.ends_at.isoformat() if token.ends_at else None,
            "used_at": token.used_at.isoformat() if token.used_at else None,
        }
        for token in found
    ]
    say_json({"tokens": rows})


@app.command("rm")
def remove(
    name: Annotated[str, typer.Argument(help="The token's name or id.", metavar="NAME")],
    config: SiteConfig = None,
) -> None:
    """End a token, by its name or id.

    Example: [bold]clipwatch token rm grafana[/bold]
    """
    from services.recorder import users

    address = database_address(config)
    on_site(lambda: users.end_token(address, name))
    say("ended")
