"""`python -m matching_engine`: the matching engine as a process."""

from matching_engine.service import EngineService, EngineSettings
from microexchange.service import run_service


def main() -> None:
    """Run the matching engine until it receives a signal to stop."""
    run_service("matching-engine", EngineSettings, EngineService)


if __name__ == "__main__":
    main()
