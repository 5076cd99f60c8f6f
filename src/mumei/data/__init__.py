"""Biomedical corpora under harmonised schemas, from native files, checked."""
