"""Actors with a purpose, strangers to each other: they talk by message and by the bus."""
