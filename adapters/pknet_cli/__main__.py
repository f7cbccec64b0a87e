"""`python -m pknet_cli` is the command `pknet`."""

from __future__ import annotations

from pknet_cli.main import main

if __name__ == "__main__":
    main()
