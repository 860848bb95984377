"""The databases of the exchange: their tables, and the migrations that make them."""
