"""Making and upgrading the databases, from every earlier revision."""

from collections.abc import Iterator

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from typer.testing import CliRunner

from exchange_db import tables
from exchange_db.migrate import ALL, alembic_config, check, migrate
from exchange_launcher.cli import app
from microexchange.databases import CLEARING_DATA, EXCHANGE_LOG, MARKET_DATA, database_url
from tests.conftest import drop_databases, new_namespace

METADATA = {CLEARING_DATA: tables.clearing_data, MARKET_DATA: tables.market_data, EXCHANGE_LOG: tables.exchange_log}


@pytest.fixture
def namespace(postgres_url: str) -> Iterator[str]:
    namespace = new_namespace()
    yield namespace
    drop_databases(postgres_url, namespace)


def at_head(url: str, namespace: str) -> bool:
    return all(has == newest is not None for has, newest in check(url, namespace).values())


def test_an_empty_server_gets_all_three_databases(postgres_url: str, namespace: str) -> None:
    assert migrate(postgres_url, namespace) == [namespace + name for name in ALL]
    assert at_head(postgres_url, namespace)


def test_a_second_migration_changes_nothing_and_keeps_the_rows(postgres_url: str, namespace: str) -> None:
    migrate(postgres_url, namespace)
    url = database_url(postgres_url, namespace, CLEARING_DATA)
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO accounts VALUES ('alice', 5)")
    assert migrate(postgres_url, namespace) == []
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT client_id, cash FROM accounts").fetchall() == [("alice", 5)]


@pytest.mark.parametrize("name", ALL)
def test_every_revision_upgrades_to_the_newest_and_back(postgres_url: str, namespace: str, name: str) -> None:
    url = database_url(postgres_url, namespace, name)
    config = alembic_config(name, url)
    revisions = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    migrate(postgres_url, namespace, [name], "base")
    for revision in reversed(revisions):
        migrate(postgres_url, namespace, [name], revision)
        migrate(postgres_url, namespace, [name])
        assert check(postgres_url, namespace, [name])[namespace + name] == (revisions[0], revisions[0])
        command.downgrade(config, "base")


def test_the_migration_turns_a_peak_of_equity_into_one_of_profit(postgres_url: str, namespace: str) -> None:
    migrate(postgres_url, namespace, [MARKET_DATA], "0006")
    url = database_url(postgres_url, namespace, MARKET_DATA)
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO clients VALUES ('ada', 90, false, 100, 3, 130, 40), ('new', 0, false, 0, 0, 0, 0)")
        connection.execute("CREATE TABLE equity_day PARTITION OF equity FOR VALUES FROM (0) TO (100)")
        connection.execute("INSERT INTO equity VALUES ('ada', 10, 130), ('ada', 20, 95)")
    migrate(postgres_url, namespace, [MARKET_DATA])
    with psycopg.connect(url) as connection:
        query = "SELECT client_id, peak, drawdown, profit, gains, house FROM clients ORDER BY client_id"
        assert connection.execute(query).fetchall() == [("ada", 30, 40, -5, 0, False), ("new", 0, 0, 0, 0, False)]


def test_the_migration_begins_positions_at_the_last_price_with_fills_that_are_not_settled(
    postgres_url: str, namespace: str
) -> None:
    migrate(postgres_url, namespace, [MARKET_DATA], "0007")
    url = database_url(postgres_url, namespace, MARKET_DATA)
    fill = (
        "INSERT INTO order_reports (report_id, order_id, command_id, timestamp, client_id, client_order_id, symbol, side, "
        "order_type, quantity, exec_type, status, leaves_quantity, cumulative_quantity, notional, last_quantity, "
        "last_price, fee, trade_id, liquidity, code, text) VALUES "
        "(%s, %s, 1, 1, 'ada', '', 'X', %s, 'limit', 9, 'TRADE', 'FILLED', 0, 9, 0, %s, 50, 0, %s, '', '', '')"
    )
    with psycopg.connect(url) as connection:
        for table in ("order_reports", "settlement_reports"):
            connection.execute(f"CREATE TABLE {table}_day PARTITION OF {table} FOR VALUES FROM (0) TO (100)")
        connection.execute(
            "INSERT INTO securities (symbol, name, tick_size, lot_size, tick_value, reference_price, maker_fee_bps, "
            "taker_fee_bps, last_price, book_sequence) VALUES ('X', 'X', '0.01', '1', 10, 40, 0, 0, 50, 0)"
        )
        connection.execute("INSERT INTO holdings VALUES ('ada', 'X', 7), ('bob', 'X', 3)")
        connection.execute("INSERT INTO settlement_reports VALUES (1, 1, 'SETTLED', 5, 0, '[]', '[]', '')")
        connection.execute(fill, (1, 1, "buy", 7, 5))
        connection.execute(fill, (2, 2, "sell", 4, 6))
    migrate(postgres_url, namespace, [MARKET_DATA])
    with psycopg.connect(url) as connection:
        query = "SELECT client_id, quantity, cost, realised, fees, trades FROM positions ORDER BY client_id"
        assert connection.execute(query).fetchall() == [("ada", 3, 1500, 0, 0, 0), ("bob", 3, 1500, 0, 0, 0)]


@pytest.mark.parametrize("name", ALL)
def test_the_migrations_make_the_tables_of_the_code(postgres_url: str, postgres_namespace: str, name: str) -> None:
    url = database_url(postgres_url, postgres_namespace, name)
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA[name]) == []
    engine.dispose()


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO accounts VALUES ('alice', -1)",
        "INSERT INTO holdings VALUES ('alice', 'X', -1)",
        "INSERT INTO accounts VALUES ('$spread', -1)",
    ],
)
def test_the_database_refuses_negative_balances(postgres_url: str, postgres_namespace: str, statement: str) -> None:
    url = database_url(postgres_url, postgres_namespace, CLEARING_DATA)
    with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(statement.encode())


def test_the_issuer_may_have_negative_balances(postgres_url: str, postgres_namespace: str) -> None:
    with psycopg.connect(database_url(postgres_url, postgres_namespace, CLEARING_DATA)) as connection:
        connection.execute("INSERT INTO accounts VALUES ('$issuer', -1)")
        connection.execute("INSERT INTO holdings VALUES ('$issuer', 'X', -1)")


def test_the_migrate_command_makes_the_databases(postgres_url: str, namespace: str) -> None:
    for expected in ("(new)", "revision"):
        result = CliRunner().invoke(app, ["migrate", "--database", postgres_url, "--namespace", namespace])
        assert result.exit_code == 0, result.output
        assert expected in result.output
    assert at_head(postgres_url, namespace)


def test_an_unreachable_server_is_an_error_that_names_its_address() -> None:
    result = CliRunner().invoke(app, ["migrate", "--database", "postgresql://me:secret@127.0.0.1:1"])
    assert result.exit_code == 1
    assert "127.0.0.1:1" in result.output
    assert "secret" not in result.output
