"""The state of the session: its newest reports. A pure fold of reports: no I/O, no clock."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from microexchange.records import Record
from microexchange.reports import OrderReport
from microexchange.round_activity import RoundActivity
from microexchange.session_commands import Assignment, SessionState
from microexchange.session_reports import (
    NewsPublished,
    RoleAssigned,
    RoundEnded,
    SessionChanged,
    SessionPlanned,
    TenderAnswered,
    TenderOffered,
)
from microexchange.session_scores import Round

MAX_NEWS = 1_000
"""The news that the feed shows. Older news is in the table `events`."""

Place = tuple[str, str]
"""The kind of a report, and its key among the reports of this kind."""
SESSION, PLAN, NEWS, ROLE, ROUND, TENDER = "session", "plan", "news", "role", "round", "tender"
BEGUN, ACTIVITY = "begun", "activity"
KINDS: dict[str, type[msgspec.Struct]] = {
    SESSION: SessionChanged,
    PLAN: SessionPlanned,
    NEWS: NewsPublished,
    ROLE: RoleAssigned,
    ROUND: RoundEnded,
    TENDER: TenderOffered,
    BEGUN: SessionChanged,
    ACTIVITY: RoundActivity,
}
"""The type of the reports of each kind. `begun` is the report of the start of a round, by its number."""
_KEYS: dict[type[Record], tuple[str, str]] = {
    NewsPublished: (NEWS, "news_id"),
    RoleAssigned: (ROLE, "client_id"),
    RoundEnded: (ROUND, "round_number"),
    TenderOffered: (TENDER, "tender_id"),
}
"""The kind of reports of each type, and the field that is their key."""
R = TypeVar("R", bound=msgspec.Struct)


class SessionData:
    """The reports that make the state of the session."""

    def __init__(self) -> None:
        self.reports: dict[Place, msgspec.Struct] = {}
        """By kind and key. News is in order of time."""

    def apply(self, report: Record) -> set[Place]:
        """Apply a report, and return the places that have changed. Other reports change nothing."""
        if isinstance(report, SessionPlanned):
            changed = {(PLAN, ""), *self.reports}
            self.reports.clear()
            self.reports[(PLAN, "")] = report
            return changed
        if isinstance(report, SessionChanged):
            place = SESSION, ""
            changed = {place} | self._remove_earlier_session(report)
            if report.state not in (SessionState.RUNNING, SessionState.PAUSED):
                withdrawn = {other for other in self.reports if other[0] == TENDER}
                changed |= withdrawn
                for other in withdrawn:
                    del self.reports[other]
            changed |= self._note_state(report)
            self.reports[place] = report
            return changed
        if type(report) not in _KEYS:
            return set()
        kind, field = _KEYS[type(report)]
        place = kind, str(getattr(report, field))
        self.reports[place] = report
        if isinstance(report, RoundEnded):
            return {place} | self._note_roles(report)
        return {place} | (self._remove_old_news() if kind == NEWS else set())

    def _note_state(self, changed: SessionChanged) -> set[Place]:
        """Start or stop the times of quotes, and clear the activity of a round in its lobby."""
        before, state, number = self.session, changed.state, changed.round_number
        if state is SessionState.LOBBY:
            removed = {place for place in self.reports if place == (BEGUN, str(number))}
            removed |= {(ACTIVITY, _activity_key(number, one.client_id)) for one in self.activities(number)}
            for place in removed:
                del self.reports[place]
            return removed
        touched = self.activities(number)
        for activity in touched:
            if state is SessionState.RUNNING:
                activity.start_clock(changed.timestamp)
            else:
                activity.stop_clock(changed.timestamp)
        places = {(ACTIVITY, _activity_key(number, activity.client_id)) for activity in touched}
        if state is SessionState.RUNNING and (before is None or before.state is SessionState.LOBBY):
            self.reports[(BEGUN, str(number))] = changed
            places.add((BEGUN, str(number)))
        return places

    def _note_roles(self, result: RoundEnded) -> set[Place]:
        """Keep the roles and values of the round. Those of the next round may differ."""
        places = set()
        for client_id, _, _ in result.values:
            activity, role = self.activity(client_id, result.round_number), self.role(client_id)
            activity.role, activity.values = role.role, role.values
            place = ACTIVITY, _activity_key(result.round_number, client_id)
            self.reports[place] = activity
            places.add(place)
        return places

    @property
    def is_running(self) -> bool:
        """True while a round is running."""
        return self.session is not None and self.session.state is SessionState.RUNNING

    def note_order(self, report: OrderReport, was_open: bool, is_open: bool) -> Place:
        """Add a report of an order in a running round to the activity of its client. Return the place that has changed."""
        activity, place = self._current(report.client_id)
        activity.add_order(report, was_open, is_open)
        return place

    def note_tender(self, answer: TenderAnswered) -> Place:
        """Add the lots of a tender to the activity of its client. Return the place that has changed."""
        activity, place = self._current(answer.client_id)
        activity.add_lots(answer.symbol, answer.lots)
        return place

    def _current(self, client_id: str) -> tuple[RoundActivity, Place]:
        """Return the activity of a client in the current round, and its place. A new one is stored."""
        number = self.session.round_number if self.session is not None else 0
        place = ACTIVITY, _activity_key(number, client_id)
        found = self.reports.get(place)
        if not isinstance(found, RoundActivity):
            found = self.reports[place] = RoundActivity(client_id, number)
        return found, place

    def activity(self, client_id: str, round_number: int) -> RoundActivity:
        """Return the activity of a client in a round. It is empty if the client has done nothing."""
        found = self.reports.get((ACTIVITY, _activity_key(round_number, client_id)))
        return found if isinstance(found, RoundActivity) else RoundActivity(client_id, round_number)

    def activities(self, round_number: int) -> list[RoundActivity]:
        """Return the activities of a round."""
        return [one for one in self._all(RoundActivity) if one.round_number == round_number]

    def round(self, result: RoundEnded, tick_values: Mapping[str, int]) -> Round:
        """Return what the scores of a round are made from."""
        activities = {one.client_id: one for one in self.activities(result.round_number)}
        return Round(result, activities, self.assignments(result.round_number), tick_values)

    def tasks(self, client_id: str) -> tuple[RoundActivity, tuple[Assignment, ...], int | None]:
        """Return the activity of a client in the current round, its assignments, and its profit after the end."""
        session = self.session
        if session is None:
            return RoundActivity(client_id, 0), (), None
        number = session.round_number
        result = self.result(number) if session.state in (SessionState.ENDED, SessionState.CLOSED) else None
        values = {client: end - start for client, start, end in result.values} if result is not None else {}
        return self.activity(client_id, number), self.assignments(number), values.get(client_id)

    def began_at(self, round_number: int) -> int | None:
        """Return the time at which a round began, in nanoseconds. None if it has not begun."""
        found = self.reports.get((BEGUN, str(round_number)))
        return found.timestamp if isinstance(found, SessionChanged) else None

    def assignments(self, round_number: int) -> tuple[Assignment, ...]:
        """Return the assignments of a round."""
        if self.session is not None and self.session.round_number == round_number:
            return self.session.assignments
        return self.plan.rounds[round_number - 1].assignments if self.plan is not None else ()

    def _remove_earlier_session(self, changed: SessionChanged) -> set[Place]:
        """Remove the reports of an earlier session, whose plan an older version has reported."""
        if self.plan is not None and self.plan.session_id == changed.session_id:
            return set()
        if self.session is not None and self.session.session_id == changed.session_id:
            return set()
        removed = set(self.reports)
        self.reports.clear()
        return removed

    def _remove_old_news(self) -> set[Place]:
        oldest = [place for place in self.reports if place[0] == NEWS][:-MAX_NEWS]
        for place in oldest:
            del self.reports[place]
        return set(oldest)

    def load(self, stored: list[tuple[str, str, Any]]) -> None:
        """Replace the state with stored reports: kind, key and report."""
        stored.sort(key=lambda row: getattr(row[2], "news_id", getattr(row[2], "tender_id", 0)))
        self.reports = {(kind, key): report for kind, key, report in stored}

    @property
    def session(self) -> SessionChanged | None:
        """The newest state of the session. None if no session was planned."""
        report = self.reports.get((SESSION, ""))
        return report if isinstance(report, SessionChanged) else None

    @property
    def plan(self) -> SessionPlanned | None:
        """The plan of the session. None if no session was planned."""
        report = self.reports.get((PLAN, ""))
        return report if isinstance(report, SessionPlanned) else None

    def news_for(self, client_id: str, is_admin: bool) -> list[NewsPublished]:
        """Return the news that a client may read, newest first. An empty id may read what everybody may, the admin all."""
        return [news for news in reversed(self._all(NewsPublished)) if is_admin or may_read(news.clients, client_id)]

    def tenders_for(self, client_id: str, is_admin: bool, now: int) -> list[TenderOffered]:
        """Return the tenders that a client may answer at `now`, newest first. The admin may read all."""
        return [
            tender
            for tender in reversed(self._all(TenderOffered))
            if tender.expires_at > now and (is_admin or may_read(tender.clients, client_id))
        ]

    def result(self, round_number: int) -> RoundEnded | None:
        """Return the result of a round of the session. None if it has not ended."""
        report = self.reports.get((ROUND, str(round_number)))
        return report if isinstance(report, RoundEnded) else None

    def graded_results(self) -> list[RoundEnded]:
        """Return the results of the rounds that count for grades."""
        if self.session is None:
            return []
        found = [self.result(number) for number, (_, _, practice) in enumerate(self.session.rounds, 1) if not practice]
        return [result for result in found if result is not None]

    def role(self, client_id: str) -> RoleAssigned:
        """Return the role of a client. A client without a role has an empty one."""
        report = self.reports.get((ROLE, client_id))
        return report if isinstance(report, RoleAssigned) else RoleAssigned(0, client_id, "", {})

    def roles(self) -> list[RoleAssigned]:
        """Return the roles of all clients that have one, by name."""
        return sorted((role for role in self._all(RoleAssigned) if role.role), key=lambda role: role.client_id)

    def _all(self, kind: type[R]) -> list[R]:
        return [report for report in self.reports.values() if isinstance(report, kind)]


def _activity_key(round_number: int, client_id: str) -> str:
    return f"{round_number} {client_id}"


def may_read(clients: list[str] | None, client_id: str) -> bool:
    """Return whether a client may read what is for `clients`, or for everybody if it is None."""
    return clients is None or client_id in clients
