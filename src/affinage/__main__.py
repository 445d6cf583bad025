"""`python -m affinage`: the command `affinage`."""

from affinage.cli import main

if __name__ == "__main__":
    main()
