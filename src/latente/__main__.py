"""python -m latente."""

from latente.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
