"""The command ``antiphon``: arguments in, a server or a client out.

``main`` is the entry; the commands are in ``tree.py``. A command that only
asks a server loads nothing of it, and is done in a fraction of a second.
"""

from antiphon.cli.entry import main

__all__ = ["main"]
