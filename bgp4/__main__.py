"""`python -m bgp4`."""

from bgp4.cli.main import main

if __name__ == "__main__":
    main()
