"""The databases of the exchange: their tables, their migrations, and the conversion of records to rows and back."""
