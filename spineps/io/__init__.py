"""Files in and out: the strict NIfTI reader, the only writer, POI files."""
