"""`python -m clearinghouse`: the clearinghouse as a process."""

import asyncio

from clearinghouse.service import ClearingService, ClearingSettings
from microexchange.service import run_service


def main() -> None:
    """Runs the clearinghouse until it is told to stop."""
    settings = ClearingSettings()

    async def run(stop: asyncio.Event) -> None:
        await ClearingService(settings).run(stop)

    run_service("clearinghouse", settings, run)


if __name__ == "__main__":
    main()
