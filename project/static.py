"""The pages' own files, under names that change with their content."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedStaticFilesStorage(CompressedManifestStaticFilesStorage):
    """WhiteNoise's storage, which also renames what our ES modules import from each other.

    Django's own switch for this does so in every JavaScript file, and stumbles over those of other packages.
    """

    patterns = (
        *CompressedManifestStaticFilesStorage.patterns,
        ("nightjar/*.js", ((r"""(?P<matched>from\s+["'](?P<url>\./[^"']+)["'])""", 'from "%(url)s"'),)),
    )
