"""`python -m bgp4`."""

from bgp4.cli import main

if __name__ == "__main__":
    main()
