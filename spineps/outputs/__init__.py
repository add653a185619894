"""Results to files: names, pictures, tables, the record of the run."""
