"""Design: protein sequences and structures."""
