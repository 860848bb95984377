"""`./mx profile DIR`: flame graphs of the four services under a steady load, sampled from outside by py-spy."""

import argparse
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from benchmarks import servers
from benchmarks.end_to_end import loaders
from benchmarks.gateway import WARM_UP_SECONDS

CLIENTS = 100


def main() -> None:
    """Start an exchange, load it, sample its services and print the paths of the graphs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder for the graphs")
    parser.add_argument("--rate", type=int, default=3000, help="requests a second (3000)")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--log", choices=("embedded", "rabbitmq"), default="embedded")
    options = parser.parse_args()
    spy = shutil.which("py-spy", path=sysconfig.get_path("scripts")) or "py-spy"
    options.folder.mkdir(parents=True, exist_ok=True)
    with servers.postgres() as database, tempfile.TemporaryDirectory() as data:
        log = database if options.log == "embedded" else servers.rabbitmq()
        if log is None:
            sys.exit(f"mx: no RabbitMQ at {servers.AMQP_URL.rpartition('@')[2]}: start one, or use --log embedded")
        namespace = f"flames{int(time.time())}_"
        unlimited = {"MX_REQUESTS_PER_SECOND": "0"}
        with (
            servers.fresh(database, log, namespace),
            servers.exchange(database, log, namespace, Path(data), **unlimited) as services,
        ):
            url = services["order_entry_gateway"].url
            processes, results = loaders(url, CLIENTS, options.rate, options.seconds + 4)
            time.sleep(WARM_UP_SECONDS + 2)
            profilers = {
                name: subprocess.Popen(
                    [spy, "record", "--pid", str(service.process.pid), "--duration", str(options.seconds), "--rate", "100",
                     "--nonblocking", "--output", str(options.folder / f"{name}.svg")],
                    stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                )
                for name, service in services.items()
            }  # fmt: skip
            errors = {name: profiler.communicate()[1] for name, profiler in profilers.items()}
            for _ in processes:
                results.get(timeout=60)
    failed = {name: text.strip() for name, text in errors.items() if profilers[name].returncode}
    for name in profilers:
        print(failed.get(name) or f"{options.folder / name}.svg")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
