"""Backups: dumps that hold no keys of people, and base backups with the log of what follows them; and the way back."""

from adapters.backups.dump import dump as dump_ledger
from adapters.backups.following import Following
from adapters.backups.restoring import Restored, Wish, is_database
from adapters.backups.restoring import restore as restore_backup
from adapters.backups.tools import BackupError

__all__ = [
    "BackupError",
    "Following",
    "Restored",
    "Wish",
    "dump_ledger",
    "is_database",
    "restore_backup",
]
