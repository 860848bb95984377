"""`python -m clearinghouse`: the clearinghouse as a process."""

from clearinghouse.service import ClearingService, ClearingSettings
from microexchange.service import run_service


def main() -> None:
    """Runs the clearinghouse until it is told to stop."""
    run_service("clearinghouse", ClearingSettings, ClearingService)


if __name__ == "__main__":
    main()
