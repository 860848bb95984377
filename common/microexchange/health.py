"""The readiness of a service, and its warnings."""


class Health:
    """The reasons why a service is not ready, and the warnings of a service that is. `/health/ready` reports both."""

    def __init__(self) -> None:
        self.waiting_for: dict[str, str] = {}
        """Reasons by subject, for example `database`. The service is ready if there is none."""
        self.warnings: dict[str, str] = {}
        """Warnings by subject, for example `disk`. They do not change whether the service is ready."""

    def wait(self, subject: str, reason: str) -> None:
        """Set the reason of `subject`: the service is not ready until `clear(subject)`."""
        self.waiting_for[subject] = reason

    def clear(self, subject: str) -> None:
        """Remove the reason of `subject`, if there is one."""
        self.waiting_for.pop(subject, None)

    def warn(self, subject: str, text: str) -> None:
        """Set the warning of `subject`."""
        self.warnings[subject] = text

    def drop_warning(self, subject: str) -> None:
        """Remove the warning of `subject`, if there is one."""
        self.warnings.pop(subject, None)
