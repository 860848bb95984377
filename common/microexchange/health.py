"""The readiness of a service."""


class Health:
    """The reasons why a service is not ready. `/health/ready` reports them."""

    def __init__(self) -> None:
        self.waiting_for: dict[str, str] = {}
        """Reasons by subject, for example `database`. The service is ready if there is none."""

    def wait(self, subject: str, reason: str) -> None:
        """Set the reason of `subject`: the service is not ready until `clear(subject)`."""
        self.waiting_for[subject] = reason

    def clear(self, subject: str) -> None:
        """Remove the reason of `subject`, if there is one."""
        self.waiting_for.pop(subject, None)
