"""The operations of the HTTP side, a file for each subject.

Each class has ``operations()``, rows of the table that ``operations.py`` explains; each
handler is a few lines around the bus, the actors or the workers. Refusals are raised, and
become problem+json in ``problems.py``.
"""
