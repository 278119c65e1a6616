"""The pages' own files, under names that change with their content."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedStaticFilesStorage(CompressedManifestStaticFilesStorage):
    """WhiteNoise's storage, which also renames what the ES modules import from each other."""

    support_js_module_import_aggregation = True
