"""Backup and restore of the whole system: all rows and all files, whichever database and storage they lie in.

A backup folder holds any number of backups and, once for all of them, the files:

    FOLDER/
      files/3f/3f0c…-9b27c4d0/media.mp4     under the names that they have in the storage; none ever changes
      2026-11-26T160305Z/                   a backup
        manifest.json                       what it is, and the SHA-256 of what follows
        manifest.sha256                     as `sha256sum` writes it
        detection.media.jsonl.gz            a table: its columns, then a row a line
        files.jsonl.gz                      each file with its size and SHA-256

Rows are written column by column as the database's migrations describe them, not as the code of the day does: so a
backup can be read by any later version, and neither it nor the restored database depends on SQLite or PostgreSQL.
"""


class BackupError(Exception):
    """Why a backup cannot be made, read or restored: a sentence that says what to do."""
