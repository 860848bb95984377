"""What the commands share: how they print, how they report errors, and the options that several have."""

import errno
import sys
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from typer.core import TyperGroup

from microexchange.settings import PlaceSettings
from trading_bots.faults import plain

console = Console()
errors = Console(stderr=True)

LogUrl = Annotated[
    str | None,
    typer.Option("--log", help="The log: amqp://… or postgresql://… Default: the log is in the database's server."),
]
DatabaseUrl = Annotated[
    str | None, typer.Option("--database", help="A Postgres server: postgresql://… Default: an embedded one.")
]
Namespace = Annotated[
    str, typer.Option("--namespace", help="Prefix of all names on shared servers: at most 32 of a-z 0-9 _")
]
Host = Annotated[
    str,
    typer.Option("--host", help="Address that the gateway and the feed listen on. 0.0.0.0 lets other machines connect."),
]
Port = Annotated[int, typer.Option(min=1, max=65535)]

BAD_USE = 2
"""Exit status of a command that was given something that it cannot use."""
_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
"""The base class of the errors that the parser of the command line raises. Typer exports only this subclass of it."""
_PATH_FIXES = {
    errno.ENOENT: "Check the path",
    errno.ENOTDIR: "A part of the path is a file: name a folder",
    errno.EEXIST: "A file has that name: name a folder",
    errno.EISDIR: "That is a folder: name a file",
    errno.EACCES: "You may not use it: choose a file or folder of your own",
    errno.EPERM: "You may not use it: choose a file or folder of your own",
    errno.EROFS: "Nothing can be written there: choose another folder",
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.ENOSPC: "Make room on the disk",
}


class CommandError(RuntimeError):
    """A command cannot do its work. `problem` says what failed and why, as 'what: why'; `fix` says what to do."""

    def __init__(self, problem: str, fix: str = "", status: int = 1) -> None:
        super().__init__(f"{problem.rstrip('.')}. {fix}" if fix else problem)
        self.problem = problem
        self.fix = fix
        self.status = status


def bad_use(problem: str, fix: str) -> CommandError:
    """The error of a command that was given something that it cannot use."""
    return CommandError(problem, fix, BAD_USE)


def fail(problem: object, fix: str = "", status: int = 1) -> typer.Exit:
    """Prints the problem and what to do, in red. Raise what it returns."""
    for head, text in (("microexchange", str(problem)), ("Fix", fix)):
        if text:
            end = "" if text.endswith((".", "?")) else "."
            errors.print(plain(f"{head}: {text}{end}"), style="red", markup=False, highlight=False, soft_wrap=True)
    return typer.Exit(status)


def path_error(error: OSError) -> CommandError:
    """The error of a file or a folder that cannot be used. Raises `error` itself where it is not about one."""
    if error.filename is None:
        raise error
    fix = _PATH_FIXES.get(error.errno or 0, "Choose another file or folder")
    reason = (error.strerror or type(error).__name__).lower()
    return CommandError(
        f"cannot use {str(error.filename)[:300]}: {reason}", fix, 1 if error.errno == errno.ENOSPC else BAD_USE
    )


def place_settings() -> PlaceSettings:
    """The settings that the environment has. Raises `CommandError`."""
    try:
        return PlaceSettings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"MX_{'_'.join(map(str, first['loc'])).upper()}"
        raise bad_use(f"the setting {name} cannot be used: {first['msg']}", f"Correct {name} in the environment") from error
    except SettingsError as error:
        raise bad_use(f"the settings cannot be read: {error}", "Correct MX_SECRETS_DIR in the environment") from error


class Commands(TyperGroup):
    """The commands. Whatever one of them raises for its user is printed in the same form."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Runs a command, and ends the process with its exit status."""
        run = partial(super().main, args, prog_name, complete_var, False, windows_expand_args, **extra)
        if not standalone_mode:
            return run()
        try:
            status = run()
        except typer.Abort:
            status = 130
        except CommandError as error:
            status = fail(error.problem, error.fix, error.status).exit_code
        except OSError as error:
            found = path_error(error)
            status = fail(found.problem, found.fix, found.status).exit_code
        except _USAGE_ERROR as error:
            status = _usage(error)
        sys.exit(status if isinstance(status, int) else 0)


def _usage(error: Any) -> int:
    """Prints an error of the parser. Where the arguments are missing altogether, that is the help text."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return BAD_USE
    command = error.ctx.command_path if error.ctx is not None else "microexchange"
    return fail(error.format_message(), f"'{command} --help' lists what it takes", BAD_USE).exit_code
