"""A short form of `./mx soak`."""

from pathlib import Path

import pytest

from tests.soak.run import Soak, draw, parser, save, summary_of


@pytest.mark.slow
def test_a_soak_samples_all_processes_kills_one_and_audits_the_exchange(tmp_path: Path) -> None:
    options = ["--hours", "0.012", "--bots", "4", "--visitors", "2", "--kill-minutes", "0.3", "--sample-seconds", "2"]
    soak = Soak(parser().parse_args([*options, "--compete-minutes", "60"]))
    try:
        soak.play()
    finally:
        soak.running.close()
    assert soak.differences == []
    last = soak.samples[-1]
    services = {"matching_engine", "clearinghouse", "market_data_feed", "order_entry_gateway"}
    assert services | {"trading_bots", "launcher", "postgres, without its cache"} <= {
        name for taken in soak.samples for name in taken.processes
    }
    assert all(process.megabytes > 5 for process in last.processes.values())
    assert last.disk["postgres"] > 10
    assert soak.answers[201] > 10
    assert soak.events.total() >= 1
    assert "orders" in summary_of(soak)
    save(tmp_path / "samples.csv", soak.samples)
    draw(tmp_path / "soak.svg", soak.samples)
    assert (tmp_path / "samples.csv").read_text().count("\n") > len(soak.samples)
    assert "</svg>" in (tmp_path / "soak.svg").read_text()
