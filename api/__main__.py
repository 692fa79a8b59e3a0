"""``python -m api``: the same command line, for the processes that `counterfoil serve` starts itself."""

from __future__ import annotations

import sys

from api.cli import main
from api.cli.serving import child_api

if __name__ == "__main__":
    if sys.argv[1:] == ["child-api"]:
        child_api()
    else:
        main()
