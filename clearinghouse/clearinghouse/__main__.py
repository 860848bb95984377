"""`python -m clearinghouse`: the clearinghouse as a process."""

from clearinghouse.service import ClearingService, ClearingSettings
from microexchange.service import run_service


def main() -> None:
    """Run the clearinghouse until a signal stops it."""
    run_service("clearinghouse", ClearingSettings, ClearingService)


if __name__ == "__main__":
    main()
