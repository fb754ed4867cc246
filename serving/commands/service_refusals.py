"""What a running service refused, or why it was not reached, as commands say it."""

from __future__ import annotations

from rich.markup import escape

from rollcall_client import ConnectionFailed, ServiceError
from rollcall_client import RollcallError as ServiceRefusal
from serving.commands.console import messages
from serving.errors import CommandError

NOT_REACHED = (
    "See that the service runs (`rollcall serve` starts one here) and that the address is right "
    "(--url or ROLLCALL_URL)."
)


def explain_connection(error: ValueError) -> CommandError:
    """Why the client cannot be made: the URL or the token is none."""
    return CommandError(f"{error}; --url or ROLLCALL_URL says where, and `rollcall token` prints a token")


def fail_at_service(error: ServiceRefusal) -> None:
    """Say what a running service refused, or why it was not reached."""
    if isinstance(error, ServiceError):
        messages.print(f"[bold red]{escape(error.title)}[/] ({error.code}): {escape(error.detail)}")
        cure = "get a token with: rollcall token" if error.status == 401 else error.cure
        said = f" The request was {escape(error.request_id)}." if error.request_id else ""
    elif isinstance(error, ConnectionFailed):
        messages.print(f"[bold red]The service cannot be reached[/]: {escape(str(error))}")
        cure, said = NOT_REACHED, ""
    else:
        messages.print(f"[bold red]The service does not answer as it should[/]: {escape(str(error))}")
        cure, said = error.cure, ""
    messages.print(f"[bold]What to do:[/] {escape(cure)}{said}")
