"""Load data sets from arrays, files, folders and downloads."""
