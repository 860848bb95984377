"""`python -m microexchange.healthcheck URL`: exit with 0 if the service at URL is ready. Containers run it."""

import sys
import urllib.error
import urllib.request

from microexchange.plain_text import plain


def main(url: str) -> int:
    """Print the answer of `URL/health/ready`. Return 0 if the service is ready, 1 otherwise."""
    try:
        with urllib.request.urlopen(f"{url}/health/ready", timeout=3) as answer:  # noqa: S310 - our own address  # nosec B310
            print(plain(answer.read().decode(errors="replace")))
    except urllib.error.HTTPError as error:
        print(plain(error.read().decode(errors="replace")))
        return 1
    except OSError as error:
        print(plain(str(error)))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
