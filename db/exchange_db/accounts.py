"""The accounts of the exchange itself."""

ISSUER = "$issuer"
"""The other side of every deposit. Its negative balances are the cash and shares of all other accounts."""
FEES = "$fees"
"""The income from fees."""
SPREAD = "$spread"
"""The income from trades in which the buyer pays more than the seller receives."""
