"""Code that all services of the exchange share: records, numbers, the log, settings, authentication, the service loop.

The services import this package. It imports none of them.
"""

__version__ = "0.1.0"
