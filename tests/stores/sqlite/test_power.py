"""What survives a power cut: everything that was acknowledged or shown."""

from __future__ import annotations

import random
from pathlib import Path

import apsw
import pytest
from tests.stores.sqlite.power import KINDS, power_disk, power_rounds


def test_what_was_acknowledged_or_shown_survives_a_power_cut(tmp_path: Path) -> None:
    """Whatever the disk kept of what was written after its last sync."""
    counts = power_rounds(tmp_path, 12)
    assert counts["acknowledged"] > 0
    assert counts["shown"] > 0


@pytest.mark.long
@pytest.mark.timeout(300)
def test_many_power_cuts(tmp_path: Path) -> None:
    counts = power_rounds(tmp_path, 60, seed=2)
    assert set(KINDS) <= counts.keys()


def test_the_disk_forgets_what_was_not_synced(tmp_path: Path) -> None:
    """The layer itself: without syncs nothing is left, with them everything is."""
    for synchronous, left in (("OFF", b""), ("FULL", None)):
        path = tmp_path / f"{synchronous}.db"
        with power_disk() as disk:
            db = apsw.Connection(str(path))
            db.execute(f"PRAGMA synchronous = {synchronous}; CREATE TABLE t (x)")
            image = disk.cut("dropped", random.Random(1))
            db.close()
        assert image[path.name] == (path.read_bytes() if left is None else left)
