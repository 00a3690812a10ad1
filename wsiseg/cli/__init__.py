"""The command line: words into calls, errors into one line and an exit status. Nothing is computed here."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from wsiseg import __version__
from wsiseg.errors import WsisegError, printable

if TYPE_CHECKING:
    from types import FrameType

COMMANDS = {
    "run": "wsiseg.cli.run:run",
    "cohort": "wsiseg.cli.cohort:cohort",
    "info": "wsiseg.cli.look:info",
    "plan": "wsiseg.cli.look:plan",
    "status": "wsiseg.cli.run:status",
    "verify": "wsiseg.cli.run:verify",
    "export": "wsiseg.cli.export:export",
    "view": "wsiseg.cli.view:view",
    "prepare": "wsiseg.cli.prepare:prepare",
    "train": "wsiseg.cli.train:train",
    "evaluate": "wsiseg.cli.evaluate:evaluate",
    "compare": "wsiseg.cli.compare:compare",
    "models": "wsiseg.cli.support:models",
    "sample": "wsiseg.cli.support:sample",
    "doctor": "wsiseg.cli.support:doctor",
}
"""Command to `module:function`, in the order of `--help`; loaded on use, so that help is quick."""


class _Commands(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(import_module(module), name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="wsiseg")
def wsiseg() -> None:
    """Nuclei from whole-slide images: a mask pyramid, a table and polygons that open in QuPath.

    Begin with `wsiseg sample DIR` for a real slide and `wsiseg run SLIDE -o OUT`.
    """


class _Terminated(BaseException):
    """SIGTERM arrived. No `Exception`, so that nothing on the way takes it for a failure."""


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise _Terminated


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the status that `docs/errors.md` lists."""
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file name need not be text on Linux
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_status(arguments))


def _status(arguments: list[str] | None) -> int:
    try:
        wsiseg.main(args=arguments, prog_name="wsiseg", standalone_mode=False)
    except WsisegError as error:
        _say(str(error))
        return error.exit_status
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except click.UsageError as error:
        help_command = error.ctx.command_path if error.ctx else "wsiseg"
        _say(f"error[E-USAGE]: {error.format_message()} See `{help_command} --help`.")
        return 2
    except (KeyboardInterrupt, click.Abort):
        _say("stopped; what is finished is kept, and the same command goes on from there")
        return 130
    except _Terminated:
        _say("told to end; what is finished is kept, and the same command goes on from there")
        return 143
    except BrokenPipeError:  # the reader of our output, say `head`, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:  # noqa: BLE001 - the last stop: a bug keeps its traceback and gets its own status
        traceback.print_exc()
        _say("this is a bug in wsiseg; please report it with the lines above and `wsiseg doctor`")
        return 1
    return 0


def _say(text: str) -> None:
    click.echo(f"wsiseg: {printable(text)}", err=True)


def print_json(content: dict[str, Any]) -> None:
    """Print one JSON document to stdout."""
    import orjson

    click.echo(orjson.dumps(content, option=orjson.OPT_INDENT_2).decode())
