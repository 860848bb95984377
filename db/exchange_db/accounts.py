"""The exchange's own accounts, beside those of its clients."""

ISSUER = "$issuer"
"""The account that all cash and shares come from: what it is below zero is what clients and the exchange have."""
FEES = "$fees"
"""The exchange's income from fees."""
SPREAD = "$spread"
"""The exchange's income from trades in which the buyer pays more than the seller receives."""
