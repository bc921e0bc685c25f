"""Whether a folder is a place where SQLite's promises hold."""

from __future__ import annotations

from pathlib import Path

from antiphon.errors import StartError

NETWORK = frozenset(
    {"9p", "afpfs", "afs", "ceph", "cifs", "coda", "davfs", "fuse.ceph", "fuse.davfs"}
    | {"fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "gfs2", "glusterfs", "lustre"}
    | {"ncpfs", "nfs", "nfs3", "nfs4", "ocfs2", "smb3", "smbfs", "webdav"}
)
"""File systems whose locks and shared memory don't hold between machines."""


def refuse_network(folder: Path) -> None:
    """Raise if *folder* lies on a network file system.

    Raises:
        StartError: It does; a WAL there can be damaged by a second machine.
    """
    kind = file_system(folder)
    if kind in NETWORK:
        raise StartError(
            f"cannot keep the log in {folder}: it is on a network file system ({kind});"
            " choose a local folder"
        )


def file_system(folder: Path) -> str:
    """The type of the file system that holds *folder*, in lower case; '' if unknown."""
    import psutil  # imported late: reading mounts is needed once, at a start

    real = folder.resolve()
    if str(real).startswith("\\\\"):
        return "smbfs"  # a UNC path on Windows
    mounts = {Path(p.mountpoint): p.fstype for p in psutil.disk_partitions(all=True)}
    for place in (real, *real.parents):
        if place in mounts:
            return str(mounts[place]).lower()
    return ""
