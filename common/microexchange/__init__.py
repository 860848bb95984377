"""What every service of the exchange shares: messages, numbers, the log, settings, authentication, the service loop.

Imports go one way: the services import this package, and this package imports none of them.
"""

__version__ = "0.1.0"
