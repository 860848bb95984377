"""`python -m order_entry_gateway`: the order-entry gateway as a process."""

from microexchange.service import run_service
from order_entry_gateway.service import GatewayService, GatewaySettings


def main() -> None:
    """Run the order-entry gateway until it receives a signal to stop."""
    run_service("order-entry-gateway", GatewaySettings, GatewayService)


if __name__ == "__main__":
    main()
