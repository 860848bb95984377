"""Output, errors and options that several commands share."""

import errno
import os
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import typer
from pydantic import SecretStr, ValidationError
from pydantic_settings import SettingsError
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text
from typer.core import TyperGroup

from microexchange.plain_text import plain
from microexchange.settings import PlaceSettings


class PlainConsole(Console):
    """A console that prints text from outside without its control characters, in messages, tables and bars."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Render a string. Tables measure the result, so it has its escapes already."""
        return super().render_str(plain(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render an object. The sequences of the console itself are control segments, and stay."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(plain(segment.text), segment.style)


console = PlainConsole()
errors = PlainConsole(stderr=True)

BAD_USE = 2
"""The exit status of a command that cannot use an argument, a setting or a file."""
_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
"""The base class of the errors of the command-line parser. Typer exports only this subclass of it."""
_PATH_FIXES = {
    errno.ENOENT: "Check the path",
    errno.ENOTDIR: "A part of the path is a file: name a folder",
    errno.EEXIST: "A file has that name: name a folder",
    errno.EISDIR: "It is a folder: name a file",
    errno.EACCES: "You have no permission to use it: choose a file or folder of your own",
    errno.EPERM: "You have no permission to use it: choose a file or folder of your own",
    errno.EROFS: "The file system is read-only: choose another folder",
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.ENOSPC: "Free some space on the disk",
}


def program_name() -> str:
    """Return the name by which the user started this program: `./mx`, or `microexchange`."""
    return os.environ.get("MX_COMMAND") or "microexchange"


class CommandError(RuntimeError):
    """A command that cannot do its work.

    `problem` states what failed and why, in the form "what: why". `fix` states what the user can do. `status` is the exit
    status of the command.
    """

    def __init__(self, problem: str, fix: str = "", status: int = 1) -> None:
        super().__init__(f"{problem.rstrip('.')}. {fix}" if fix else problem)
        self.problem = problem
        self.fix = fix
        self.status = status


def bad_use(problem: str, fix: str) -> CommandError:
    """Return the error of a command that cannot use an argument, a setting or a file."""
    return CommandError(problem, fix, BAD_USE)


def fail(problem: object, fix: str = "", status: int = 1) -> typer.Exit:
    """Print the problem and its fix in red. Return the exception that ends the command."""
    for head, text in (("microexchange", str(problem)), ("Fix", fix)):
        if text:
            end = "" if text.endswith((".", "?")) else "."
            errors.print(f"{head}: {text}{end}", style="red", markup=False, highlight=False, soft_wrap=True)
    return typer.Exit(status)


def path_error(error: OSError) -> CommandError:
    """Return the error of a file or folder that cannot be used.

    Raises:
        OSError: `error` is not about a file or folder. It is raised again.
    """
    if error.filename is None:
        raise error
    fix = _PATH_FIXES.get(error.errno or 0, "Choose another file or folder")
    reason = (error.strerror or type(error).__name__).lower()
    return CommandError(
        f"cannot use {str(error.filename)[:300]}: {reason}", fix, 1 if error.errno == errno.ENOSPC else BAD_USE
    )


def given_or_secret(given: str | None, setting: SecretStr | None) -> str | None:
    """Return the value of a flag, or else that of a setting. None if neither is there."""
    return given or (setting.get_secret_value() if setting else None)


def place_settings() -> PlaceSettings:
    """Return the settings in the environment that locate an exchange.

    Raises:
        CommandError: A setting has a value that cannot be used.
    """
    try:
        return PlaceSettings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"MX_{'_'.join(map(str, first['loc'])).upper()}"
        raise bad_use(f"the setting {name} cannot be used: {first['msg']}", f"Correct {name} in the environment") from error
    except SettingsError as error:
        raise bad_use(f"the settings cannot be read: {error}", "Correct MX_SECRETS_DIR in the environment") from error


class Commands(TyperGroup):
    """The group of all commands. It prints every error in the same form."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command, and end the process with its exit status."""
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
    """Print an error of the command-line parser, and return the exit status. Without any arguments, print the help text."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return BAD_USE
    command = error.ctx.command_path.replace("microexchange", program_name(), 1) if error.ctx else program_name()
    return fail(error.format_message(), f"'{command} --help' shows how to use it", BAD_USE).exit_code
