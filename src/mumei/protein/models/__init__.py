"""Models of protein sequences, by backend: `load_model` takes a name such as `esm2:facebook/esm2_t6_8M_UR50D`."""
