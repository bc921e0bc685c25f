"""Where Antiphon meets what is no actor: folders (``files``), ``threads``, ``logging``."""
