"""Many runs as one: grids of settings, the folder of a sweep, and what comes out of it."""
