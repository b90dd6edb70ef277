"""The array libraries: the only package with code that depends on which library it is."""
