"""Find: encoders, exact vector search, lexical search."""
