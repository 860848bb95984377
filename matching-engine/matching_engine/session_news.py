"""`PublishNews` and `AssignRole`: news with an audience, and the roles of clients in a session."""

from matching_engine.context import Outcome
from matching_engine.exchange import Exchange
from matching_engine.reports import accepted, rejected, unknown_client, unknown_symbol
from matching_engine.session import Session
from matching_engine.session_checks import MAX_VALUES, refuse_news
from microexchange.commands import Command
from microexchange.numbers import MAX_TICKS
from microexchange.refusals import Code
from microexchange.session_commands import MAX_NAME, AssignRole, PublishNews, ScheduledNews
from microexchange.session_reports import NewsPublished, RoleAssigned

NO_SESSION = "no session is planned: plan one first"
SKIPPED = "An event did not happen"
"""The headline of the news to the admin about an event of the plan that was not possible."""


def audience(session: Session | None, role: str, client_id: str) -> list[str] | None:
    """Return the clients with a role, or the one client, in order of their names. None for everybody."""
    if client_id:
        return [client_id]
    if not role:
        return None
    return sorted(client for client, own in (session.roles if session is not None else {}).items() if own == role)


def publish_news(exchange: Exchange, command: PublishNews, outcome: Outcome) -> None:
    """Apply a `PublishNews`."""
    refusal = refuse_news(exchange, command)
    clients = audience(exchange.session, command.role, command.client_id)
    if refusal is not None:
        outcome.reports.append(rejected(command, "", *refusal))
    elif command.client_id and command.client_id not in exchange.accounts:
        outcome.reports.append(unknown_client(command, command.client_id))
    elif clients == []:
        text = f"no client has the role {command.role}: assign it first"
        outcome.reports.append(rejected(command, "", Code.INVALID_FIELD, text))
    else:
        outcome.reports.append(accepted(command))
        outcome.reports.append(_published(command.command_id, command, command, clients))


def publish_scheduled(exchange: Exchange, news: ScheduledNews, command: Command, outcome: Outcome) -> None:
    """Publish news of the plan. If nobody has its role, nobody receives it."""
    clients = audience(exchange.session, news.role, news.client_id)
    outcome.reports.append(_published(exchange.new_id(), news, command, clients))


def report_skipped(exchange: Exchange, text: str, command: Command, outcome: Outcome) -> None:
    """Tell the admin that an event of the plan did not happen. `text` is the reason."""
    news = NewsPublished(exchange.new_id(), command.timestamp, SKIPPED, text, [], {})
    outcome.reports.append(news)


def _published(
    news_id: int, news: PublishNews | ScheduledNews, command: Command, clients: list[str] | None
) -> NewsPublished:
    return NewsPublished(news_id, command.timestamp, news.headline, news.text, clients, news.value_changes)


def assign_role(exchange: Exchange, command: AssignRole, outcome: Outcome) -> None:
    """Apply an `AssignRole`."""
    session, client_id, reports = exchange.session, command.client_id, outcome.reports
    unlisted = next((symbol for symbol in command.values if symbol not in exchange.markets), None)
    values = [ticks for unit_values in command.values.values() for ticks in unit_values]
    if session is None:
        reports.append(rejected(command, client_id, Code.NO_SESSION, NO_SESSION))
    elif client_id not in exchange.accounts:
        reports.append(unknown_client(command, client_id))
    elif unlisted is not None:
        reports.append(unknown_symbol(command, unlisted))
    elif len(command.role) > MAX_NAME or not all(0 <= ticks <= MAX_TICKS for ticks in values) or len(values) > MAX_VALUES:
        text = f"role must have {MAX_NAME} characters at most, and values {MAX_VALUES} units from 0 to {MAX_TICKS} ticks"
        reports.append(rejected(command, client_id, Code.INVALID_FIELD, text))
    else:
        session.roles.pop(client_id, None)
        session.values.pop(client_id, None)
        if command.role:
            session.roles[client_id] = command.role
            session.values[client_id] = command.values
        reports.append(accepted(command))
        reports.append(RoleAssigned(command.timestamp, client_id, command.role, command.values if command.role else {}))
