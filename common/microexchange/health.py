"""Whether a service is ready to work."""


class Health:
    """The reasons why a service is not ready. `/health/ready` reports them."""

    def __init__(self) -> None:
        self.waiting_for: dict[str, str] = {}
        """Reasons by topic. The service is ready if there is none."""

    def wait(self, topic: str, reason: str) -> None:
        """Set the reason of `topic`: the service is not ready until `clear(topic)`."""
        self.waiting_for[topic] = reason

    def clear(self, topic: str) -> None:
        """Remove the reason of `topic`, if there is one."""
        self.waiting_for.pop(topic, None)
