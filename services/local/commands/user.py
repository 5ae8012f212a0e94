"""`clipwatch user`: who may log in. The options; services/recorder/users.py does the work on the database."""

from __future__ import annotations

from typing import Annotated

import typer

from services.local.commands.command_line import JsonObject, SiteConfig, database_address, on_site
from shared.terminal_text import say, say_json

app = typer.Typer(help="Users: who may log in, and as what.", no_args_is_help=True)
UserName = Annotated[str, typer.Argument(help="The user's name.", metavar="NAME")]
FromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from stdin, not from the terminal.")
]
Cameras = Annotated[
    list[str] | None, typer.Option("--camera", help="A camera it sees; may be given often; none: all.")
]


@app.command("add")
def add(
    name: UserName,
    role: Annotated[str, typer.Option("--role", help="viewer, operator or admin.")] = "viewer",
    camera: Cameras = None,
    password_stdin: FromStdin = False,
    config: SiteConfig = None,
) -> None:
    """Make a user; asks for the password twice. From then on the page asks for a login.

    Example: [bold]clipwatch user add ada --role admin[/bold]
    """
    from services.recorder import users

    address = database_address(config)
    options = users.UserOptions(name, role, camera or ())
    password = users.read_password(password_stdin)
    made = on_site(lambda: users.add_user(address, options, password))
    say(f"made the user '{made.name}', {made.role}")


@app.command("passwd")
def passwd(name: UserName, password_stdin: FromStdin = False, config: SiteConfig = None) -> None:
    """Give a user another password, also a forgotten one; all sessions of the user end.

    Example: [bold]clipwatch user passwd ada[/bold]
    """
    from services.recorder import users

    address = database_address(config)
    password = users.read_password(password_stdin)
    on_site(lambda: users.set_password(address, name, password))
    say("changed; all sessions of this user have ended")


@app.command("list")
def list_users(as_json: JsonObject = False, config: SiteConfig = None) -> None:
    """List the users with role, cameras and last login.

    Example: [bold]clipwatch user list[/bold]
    """
    from services.recorder import users

    address = database_address(config)
    found = on_site(lambda: users.list_users(address))
    if not as_json:
        say(*users.user_lines(found))
        return
    rows = [
        {
            "name": user.name,
            "role": user.role,
            "cameras": None if user.cameras is None else sorted(user.cameras),
            "created_at": user.created_at.isoformat(),
            "seen_at": user.seen_at.isoformat() if user.seen_at else None,
        }
        for user in found
    ]
    say_json({"users": rows})


@app.command("rm")
def remove(name: UserName, config: SiteConfig = None) -> None:
    """Remove a user; all sessions of the user end. The last admin stays.

    Example: [bold]clipwatch user rm bob[/bold]
    """
    from services.recorder import users

    address = database_address(config)
    on_site(lambda: users.remove_user(address, name))
    say("removed; all sessions of this user have ended")
