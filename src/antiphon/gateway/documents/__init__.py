"""The documents that describe the wire, made from what the wire is made of. Pure.

OpenAPI and the page that shows it come from the table of operations; AsyncAPI from the
frames; both from the Structs, whose docstrings describe their fields.
"""
