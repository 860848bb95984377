"""Whether a service is ready to do its work."""


class Health:
    """Whether a service is ready, and why not. Readiness is what `/health/ready` says."""

    def __init__(self) -> None:
        self.waiting_for: dict[str, str] = {}
        """Reasons not to be ready, by topic; empty when ready."""

    def wait(self, topic: str, reason: str) -> None:
        """Not ready for this reason, until `clear(topic)`."""
        self.waiting_for[topic] = reason

    def clear(self, topic: str) -> None:
        """Nothing stands against readiness in this respect any more."""
        self.waiting_for.pop(topic, None)
