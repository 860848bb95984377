"""The result of an ordeal."""

from collections import Counter


class Outcome:
    """The faults, the answers to orders, and all differences."""

    def __init__(
        self,
        faults: Counter[str],
        answers: Counter[str],
        lost: list[str],
        twice: list[str],
        found: list[str],
        codes: Counter[str],
    ) -> None:
        self.faults, self.answers, self.lost, self.twice, self.found, self.codes = faults, answers, lost, twice, found, codes

    @property
    def is_clean(self) -> bool:
        """Return whether no order was lost or doubled and the audit found no difference."""
        return not (self.lost or self.twice or self.found)

    def __str__(self) -> str:
        lines = [
            "faults injected: "
            + f"{self.faults.total()} ("
            + ", ".join(f"{count} x {name.replace('_', ' ')}" for name, count in sorted(self.faults.items()))
            + ")",
            f"orders accepted: {self.answers['accepted']}, rejected by the engine: {self.answers['rejected']}, "
            f"refused without being sent: {self.answers['refused']}, without an answer: {self.answers['unknown']}",
            f"orders lost, or present in spite of a refusal: {len(self.lost)}",
            f"orders that exist twice: {len(self.twice)}",
            f"audit: {'clean after each fault' if not self.found else f'{len(self.found)} differences'}",
        ]
        return "\n".join([*lines, *self.lost[:10], *self.twice[:10], *self.found[:10]])
