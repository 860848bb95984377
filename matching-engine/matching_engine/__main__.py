"""`python -m matching_engine`: the matching engine as a process."""

import asyncio

from matching_engine.service import EngineService, EngineSettings
from microexchange.service import run_service


def main() -> None:
    """Runs the matching engine until it is told to stop."""
    settings = EngineSettings()

    async def run(stop: asyncio.Event) -> None:
        await EngineService(settings).run(stop)

    run_service("matching-engine", settings, run)


if __name__ == "__main__":
    main()
