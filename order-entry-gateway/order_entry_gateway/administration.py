"""The requests of the admin, and the opening of accounts."""

import msgspec

from microexchange.commands import Command, ListSecurity, OpenAccount, SetTradingState
from microexchange.enums import TradingState
from microexchange.records import Record
from microexchange.refusals import Code, Refusal
from microexchange.reports import AccountOpened, CommandRejected
from order_entry_gateway.order_service import OrderService
from order_entry_gateway.requests import ClientRequest, FundingRequest, open_account, open_funded


class Administration:
    """The requests of the admin to the engine, and the opening of accounts."""

    def __init__(self, order_service: OrderService) -> None:
        self._order_service = order_service

    async def request(self, command: Command) -> list[Record]:
        """Send a command, and return all reports that it caused.

        Raises:
            Refusal: The engine rejected the command, or its outcome is not known.
        """
        reports = await self._order_service.request(command)
        for report in reports:
            if isinstance(report, CommandRejected):
                raise Refusal(Code(report.code), report.text)
        return reports

    async def set_state(self, symbol: str, state: TradingState) -> None:
        """Move a security's market to another state.

        Raises:
            Refusal: As `request` does.
        """
        command_id, now = self._order_service.next_command(even_if_full=True)
        await self.request(SetTradingState(command_id, now, symbol, state))

    async def open_account(self, request: ClientRequest) -> AccountOpened:
        """Open an account with the endowment.

        Raises:
            Refusal: The account was not opened, or the outcome is not known.
        """
        service = self._order_service
        command_id, now = service.next_command()
        return await self._open(open_account(request, service.state.securities, service.endowment, command_id, now))

    async def fund_account(self, client_id: str, request: FundingRequest) -> AccountOpened | None:
        """Open an account on the admin's terms. Return None if the client has an account already, which stays as it is.

        Raises:
            Refusal: `CLIENT_EXISTS`: one of the accounts is the house's and the other is not. Otherwise as `open_account`
                raises it.
        """
        service = self._order_service
        command_id, now = service.next_command()
        try:
            command = open_funded(request, client_id, service.state.securities, service.endowment, command_id, now)
            return await self._open(command)
        except Refusal as refusal:
            # The gateway has read all earlier reports of the engine, so its list of accounts is complete.
            if refusal.code is Code.CLIENT_EXISTS and (client_id in service.state.house) == request.house:
                return None
            raise

    async def _open(self, command: OpenAccount) -> AccountOpened:
        for report in await self._order_service.request(command):
            if isinstance(report, AccountOpened):
                return report
            if isinstance(report, CommandRejected):
                raise Refusal(Code(report.code), report.text, "client_id")
        raise Refusal(Code.INTERNAL, "the engine's answer has no report of the account")

    def list_security(self, listing: ListSecurity) -> None:
        """List a security without waiting, unless it is listed.

        Raises:
            Refusal: As `OrderService.next_command` does.
        """
        if listing.symbol not in self._order_service.state.securities:
            command_id, now = self._order_service.next_command(even_if_full=True)
            self._order_service.send_unanswered(msgspec.structs.replace(listing, command_id=command_id, timestamp=now))
