"""What docs/performance.md quotes, each runnable by one command: `./mx bench NAME [--json]`."""
