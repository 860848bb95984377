"""Views with all legs, deposits and withdrawals, and indexes for statements."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_CASH_LEGS = """
CREATE VIEW cash_legs (instruction, account, units) AS
SELECT instruction, leg.account, leg.units FROM settlements
CROSS JOIN LATERAL (VALUES
    (buyer, -buyer_pays - buyer_fee),
    (seller, seller_receives - seller_fee),
    ('$fees', buyer_fee + seller_fee),
    ('$spread', buyer_pays - seller_receives)
) AS leg(account, units)
WHERE status = 'SETTLED'
UNION ALL
SELECT instruction, leg.account, leg.units FROM transfers
CROSS JOIN LATERAL (VALUES (client_id, cash), ('$issuer', -cash)) AS leg(account, units)
WHERE status = 'SETTLED'
"""
_SHARE_LEGS = """
CREATE VIEW share_legs (instruction, account, symbol, lots) AS
SELECT instruction, leg.account, symbol, leg.lots FROM settlements
CROSS JOIN LATERAL (VALUES (buyer, quantity), (seller, -quantity)) AS leg(account, lots)
WHERE status = 'SETTLED'
UNION ALL
SELECT instruction, leg.account, share.key, leg.lots FROM transfers
CROSS JOIN LATERAL jsonb_each_text(shares) AS share(key, value)
CROSS JOIN LATERAL (VALUES (client_id, share.value::bigint), ('$issuer', -share.value::bigint)) AS leg(account, lots)
WHERE status = 'SETTLED'
"""


def upgrade() -> None:
    op.add_column("transfers", sa.Column("opens", sa.Boolean, nullable=False, server_default=sa.true()))
    op.add_column("transfers", sa.Column("memo", sa.Text, nullable=False, server_default=""))
    op.create_index("transfers_by_client", "transfers", ["client_id", "instruction"])
    op.create_index("settlements_by_buyer", "settlements", ["buyer", "instruction"])
    op.create_index("settlements_by_seller", "settlements", ["seller", "instruction"])
    op.execute(_CASH_LEGS)
    op.execute(_SHARE_LEGS)


def downgrade() -> None:
    op.execute("DROP VIEW share_legs")
    op.execute("DROP VIEW cash_legs")
    op.drop_index("settlements_by_seller")
    op.drop_index("settlements_by_buyer")
    op.drop_index("transfers_by_client")
    op.drop_column("transfers", "memo")
    op.drop_column("transfers", "opens")
